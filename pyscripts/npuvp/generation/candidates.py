"""From logits to one candidate token and one confidence per position.

Probabilities are computed in float64 from the logits as the model returns them. The published code
computes them in float64 (Fast-dLLM) or in the type of the logits (LLaDA, Dream, Fast-dLLM v2);
in BF16 that rounds everything above 0.998 to 1, so that ties decide.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npuvp.generation.calls import Bools, Floats, Tokens
from npuvp.generation.random import token_gumbel

__all__ = [
    "Place",
    "chosen_probability",
    "dream_candidates",
    "guided",
    "noisy_argmax",
    "v2_candidates",
]


@dataclass(frozen=True)
class Place:
    """Where logits stand, which is what random draws depend on.

    Attributes:
        positions: Canvas position of each logit row, shape (n,).
        wanted: Positions that matter, shape (B, n); candidates elsewhere are arbitrary.
        call: Number of the forward call.
        seed: Of the plan.
    """

    positions: NDArray[np.int64]
    wanted: Bools
    call: int
    seed: int

    def noise(self, vocab: int) -> Callable[[int, int], Floats]:
        """Gumbel noise (vocab,) of (row, index into positions)."""

        def draw(row: int, index: int) -> Floats:
            return token_gumbel(vocab, int(self.positions[index]), self.call, row, self.seed)

        return draw


def guided(logits: Floats, scale: float) -> Floats:
    """Classifier-free guidance u + (scale + 1) (c - u) of logits (2 B, n, V): shape (B, n, V)."""
    with_prompt, without = np.split(logits, 2)
    result: Floats = without + np.float32(scale + 1) * (with_prompt - without)
    return result


def noisy_argmax(logits: Floats, temperature: float, place: Place) -> Tokens:
    """Index of the largest logit + temperature * Gumbel; the lowest of equal ones. Shape (B, n).

    A sample of softmax(logits / temperature): the published exp(l) / (-log u)^T has the same
    largest element as l + T * (-log(-log u)).
    """
    if temperature == 0:
        best: Tokens = logits.argmax(axis=-1).astype(np.int32)
        return best
    draw = place.noise(logits.shape[-1])
    result = np.zeros(logits.shape[:2], np.int32)
    for row, index in np.argwhere(place.wanted):
        scores = logits[row, index] + np.float32(temperature) * draw(row, index)
        result[row, index] = scores.argmax()
    return result


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def chosen_probability(logits: Floats, tokens: Tokens, wanted: Bools) -> NDArray[np.float64]:
    """softmax(logits)[token] where wanted, elsewhere 0. Shape (B, n)."""
    result = np.zeros(tokens.shape)
    where = np.nonzero(wanted)
    probabilities = _softmax(logits[where].astype(np.float64))
    result[where] = probabilities[np.arange(len(probabilities)), tokens[where]]
    return result


def _nucleus(probabilities: NDArray[np.float64], top_p: float) -> Bools:
    """Tokens of one position to leave out: those behind the one whose cumulation passes top_p."""
    order = np.argsort(-probabilities, kind="stable")
    beyond = np.cumsum(probabilities[order]) > top_p
    beyond[1:] = beyond[:-1].copy()
    beyond[0] = False
    out = np.zeros(len(probabilities), bool)
    out[order] = beyond
    return out


def dream_candidates(
    logits: Floats,
    place: Place,
    score: str,
    *,
    temperature: float,
    top_p: float | None,
    top_k: int | None,
) -> tuple[Tokens, NDArray[np.float64]]:
    """Dream's `sample_tokens`.

    Args:
        logits: Shape (B, n, V), already shifted.
        place: Where they stand.
        score: ``probability`` of the token, ``margin`` of the two largest probabilities, or
            ``entropy``: sum p log(p + 1e-10).
        temperature, top_p, top_k: As in the plan; the last two act at temperature 0 as well.

    Returns:
        Tokens and scores, shape (B, n).
    """
    tokens = np.zeros(logits.shape[:2], np.int32)
    scores = np.zeros(logits.shape[:2])
    draw = place.noise(logits.shape[-1])
    for row, index in np.argwhere(place.wanted):
        x = logits[row, index].astype(np.float64)
        if temperature > 0:
            x = x / temperature
        if top_p is not None and top_p < 1:
            x = np.where(_nucleus(_softmax(x), top_p), -np.inf, x)
        if top_k is not None:
            x = np.where(x < np.sort(x)[-min(top_k, len(x))], -np.inf, x)
        token = int((x + draw(row, index)).argmax() if temperature > 0 else x.argmax())
        p = _softmax(x)
        tokens[row, index] = token
        if score == "margin":
            second, first = np.sort(p)[-2:] if len(p) > 1 else (0.0, p[0])
            scores[row, index] = first - second
        elif score == "entropy":
            scores[row, index] = (p * np.log(p + 1e-10)).sum()
        else:
            scores[row, index] = p[token]
    return tokens, scores


def v2_candidates(
    logits: Floats, place: Place, *, temperature: float, top_p: float | None
) -> tuple[Tokens, NDArray[np.float64]]:
    """Fast-dLLM v2's `sample_with_top_p`: token and its probability, shape (B, n).

    With a temperature the probability is that of the nucleus, renormalised; without one top_p is
    not used.
    """
    if temperature == 0:
        tokens = noisy_argmax(logits, 0.0, place)
        return tokens, chosen_probability(logits, tokens, place.wanted)
    return dream_candidates(
        logits, place, "probability", temperature=temperature, top_p=top_p, top_k=None
    )
