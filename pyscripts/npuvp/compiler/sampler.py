"""What a plan makes of logits: the token of a position, and the score that positions are ranked by."""

from dataclasses import dataclass
from typing import Literal

from npuvp.model.spec import ModelSpec
from npuvp.plan import GenerationPlan

__all__ = ["Sampler", "Score"]

Score = Literal["probability", "margin", "entropy", "uniform"]
_DREAM_SCORES: dict[str, Score] = {
    "origin": "uniform",
    "topk_margin": "margin",
    "entropy": "entropy",
}


@dataclass(frozen=True)
class Sampler:
    """How logits become a token and a score.

    Attributes:
        temperature: Factor of the Gumbel noise of the token; 0: argmax.
        sharpness: Factor of the logits in probabilities: 1, or 1 / temperature.
        score: ``probability`` of the token, ``margin`` of the two largest probabilities, ``entropy``
            (negative), or a ``uniform`` random number.
        hidden: Tokens that do not exist.
        outcast: Tokens without a probability, which can be chosen nevertheless.
        ranking_temperature: Positive: scores are divided by it and get Gumbel noise.
        guidance: Scale of classifier-free guidance; 0: none.
        top_p: Only the fewest most probable tokens remain whose probabilities reach this; 1: all.
        top_k: Only tokens as probable as the k-th remain, of those; 0: all.
    """

    temperature: float = 0.0
    sharpness: float = 1.0
    score: Score = "probability"
    hidden: tuple[int, ...] = ()
    outcast: tuple[int, ...] = ()
    ranking_temperature: float = 0.0
    guidance: float = 0.0
    top_p: float = 1.0
    top_k: int = 0

    @classmethod
    def of(cls, plan: GenerationPlan, spec: ModelSpec) -> "Sampler":
        """What a plan says, for a model."""
        if plan.revision == "fast-dllm-v2":
            if not plan.temperature:
                return cls()  # the published code has no use for top_p then
            return cls(plan.temperature, 1 / plan.temperature, top_p=plan.top_p or 1.0)
        if plan.revision == "dream":
            score = _DREAM_SCORES.get(plan.dream_algorithm, "probability")
            # What remains always holds the most probable token.
            matters = plan.temperature > 0 or score != "uniform"
            top_k = plan.top_k or 0
            return cls(
                plan.temperature,
                1 / plan.temperature if plan.temperature else 1.0,
                score,
                ranking_temperature=_ranking_temperature(plan),
                top_p=plan.top_p or 1.0 if matters else 1.0,
                top_k=top_k if matters and top_k < spec.vocab else 0,
            )
        outcast: tuple[int, ...] = ()
        if plan.confidence_eos_eot_inf:
            # The published code edits the noisy logits as well, which are the plain ones only
            # without noise.
            outcast = (plan.eot_id,) if plan.temperature else (spec.eos_id, plan.eot_id)
        return cls(
            plan.temperature,
            score="uniform" if plan.remasking == "random" else "probability",
            hidden=(spec.eos_id,) if plan.logits_eos_inf else (),
            outcast=outcast,
            guidance=plan.cfg_scale,
        )

    @property
    def words(self) -> tuple[str, ...]:
        """What FP SRAM holds of every sampled position.

        ``maxima`` becomes the score at the end.
        """
        names = ["maxima", "sums"]
        if self.temperature or self.outcast:
            names.append("best")
        if self.temperature:
            names.append("chosen")
        if self.score == "margin":
            names.append("second")
        if self.score == "entropy":
            names.append("weighted")
        return tuple(names)

    @property
    def restricted(self) -> bool:
        """Whether only some of the tokens remain."""
        return self.top_p < 1 or self.top_k > 0

    @property
    def search_words(self) -> tuple[str, ...]:
        """What FP SRAM holds of every sampled position while it is found out which tokens remain."""
        mass = ("mass", "above") if self.top_p < 1 else ()
        count = ("count",) if self.top_k else ()
        return ("level", *mass, *count) if self.restricted else ()

    @property
    def edited(self) -> tuple[int, ...]:
        """Tokens that are hidden or outcast, each once."""
        return tuple(dict.fromkeys(self.hidden + self.outcast))

    @property
    def draws(self) -> bool:
        """Whether anything is random."""
        return bool(self.temperature or self.ranking_temperature) or self.score == "uniform"


def _ranking_temperature(plan: GenerationPlan) -> float:
    """Only a fixed number of positions is drawn, those above a threshold are all taken."""
    fixed = plan.dream_algorithm not in ("origin", "confidence_threshold")
    return (plan.alg_temp or 0.0) if fixed else 0.0
