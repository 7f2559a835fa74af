"""Generation whose confidences are computed in a stated precision."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npuvp.accuracy.schemes import Precision
from npuvp.generation import Generation, begin
from npuvp.generation.calls import Bools, Floats, Tokens
from npuvp.generation.candidates import chosen_probability
from npuvp.generation.masked import MaskedDiffusion
from npuvp.golden import elementary
from npuvp.golden.formats import bf16_to_float, float_to_bf16
from npuvp.model.spec import ModelSpec
from npuvp.plan import GenerationPlan

__all__ = ["confidences", "start"]


def _bf16(x: Floats) -> Floats:
    return bf16_to_float(float_to_bf16(x))


def confidences(
    logits: Floats, tokens: Tokens, wanted: Bools, precision: Precision
) -> NDArray[np.float64]:
    """softmax(logits)[token] where wanted, elsewhere 0.

    Args:
        logits: float32, shape (B, n, V).
        tokens: Chosen tokens, (B, n).
        wanted: Positions that matter, (B, n).
        precision: ``fp64``; ``fp32``; ``bf16``: float32 rounded to BF16, as LLaDA's code since
            2025-06; ``machine`` and ``mxfp8``: differences from the maximum and exponentials in
            BF16, float32 sum by halves and reciprocal, as the firmware (one chunk of the
            vocabulary).
    """
    if precision == "fp64":
        return chosen_probability(logits, tokens, wanted)
    result = np.zeros(tokens.shape)
    where = np.nonzero(wanted)
    x = logits[where]
    rows = np.arange(len(x))
    x = x - x.max(axis=-1, keepdims=True)
    if precision in ("fp32", "bf16"):
        grown = np.exp(x, dtype=np.float32)
        p = grown[rows, tokens[where]] / grown.sum(axis=-1, dtype=np.float32)
        result[where] = _bf16(p) if precision == "bf16" else p
        return result
    grown = _bf16(elementary.exp(_bf16(x)))
    half = 1
    while half < grown.shape[-1]:
        half *= 2
    total = np.pad(grown, ((0, 0), (0, half - grown.shape[-1])))
    while total.shape[-1] > 1:
        half = total.shape[-1] // 2
        total = total[:, :half] + total[:, half:]
    result[where] = grown[rows, tokens[where]] * elementary.reciprocal(total[:, 0])
    return result


class _Precise(MaskedDiffusion):
    """Masked diffusion with the confidences of a precision."""

    precision: Precision = "machine"

    def _confidence(self, logits: Floats, tokens: Tokens, wanted: Bools) -> NDArray[np.float64]:
        return confidences(logits, tokens, wanted, self.precision)


def start(
    spec: ModelSpec,
    plan: GenerationPlan,
    tokens: ArrayLike,
    precision: Precision,
) -> Generation:
    """A generation at its first call (`npuvp.generation.begin`).

    Args:
        spec, plan, tokens: As there.
        precision: Of the confidences. Dream and Fast-dLLM v2 compute theirs in float64 whatever it
            is.

    Raises:
        InputFault: Prompt, plan and model do not fit each other.
    """
    if plan.revision in ("dream", "fast-dllm-v2"):
        return begin(spec, plan, tokens)
    generation = _Precise(spec, plan, tokens)
    generation.precision = precision
    return generation
