"""The task of the shipped models: addition of seven-digit numbers with the carries written out.

A prompt is ``aaaaaaa+bbbbbbb=`` (16 characters, leading zeros kept). The answer is the carries into
the columns from the highest to the tens, a semicolon, and the sum of eight digits:
``0493827+0518264=`` -> ``0111101;01012091``. It fills 16 positions; whatever is generated beyond is
end-of-text. A carry depends on the column to its right, so an answer is best found in several
denoising steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ANSWER", "DIGITS", "PROMPT", "Operands", "answer", "held_out", "operands", "prompt"]

DIGITS = 7
PROMPT = 2 * DIGITS + 2
ANSWER = 2 * DIGITS + 2

_HELD_OUT_MODULUS = 16


@dataclass(frozen=True)
class Operands:
    """Pairs of summands.

    Attributes:
        a, b: int64, shape (N,), 0..9999999.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]


def _held_out(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    # A multiplicative hash of the pair: the split must not show in any digit.
    key = (a * 10**DIGITS + b).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    kept: NDArray[np.bool_] = (key >> np.uint64(60)) % np.uint64(_HELD_OUT_MODULUS) == 0
    return kept


def operands(
    rng: np.random.Generator, count: int, *, held_out: bool, chains: float = 0.0
) -> Operands:
    """Draws pairs from one side of the split.

    Args:
        rng: source of the draws.
        count: N.
        held_out: from the pairs kept for evaluation (1 in 16) or from those for training.
        chains: fraction of pairs in which most columns add up to nine, so that carries run far;
            0 for operands of uniform digits.
    """
    base = 10 ** np.arange(DIGITS, dtype=np.int64)
    kept_a: list[NDArray[np.int64]] = []
    kept_b: list[NDArray[np.int64]] = []
    missing = count
    while missing > 0:
        draw = 2 * missing + 32 * (_HELD_OUT_MODULUS if held_out else 1)
        a = rng.integers(0, 10, (draw, DIGITS))
        b = rng.integers(0, 10, (draw, DIGITS))
        nine = (rng.random((draw, DIGITS)) < 0.7) & (rng.random((draw, 1)) < chains)
        b = np.where(nine, 9 - a, b)
        first, second = a @ base, b @ base
        keep = np.flatnonzero(_held_out(first, second) == held_out)[:missing]
        kept_a.append(first[keep])
        kept_b.append(second[keep])
        missing -= len(keep)
    return Operands(np.concatenate(kept_a), np.concatenate(kept_b))


def prompt(a: int, b: int) -> str:
    """The prompt for a + b, 16 characters.

    Raises:
        ValueError: a summand is not in 0..9999999.
    """
    for name, value in (("a", a), ("b", b)):
        if not 0 <= value < 10**DIGITS:
            raise ValueError(f"summand {name} = {value}, allowed: 0..{10**DIGITS - 1}")
    return f"{a:0{DIGITS}d}+{b:0{DIGITS}d}="


def answer(a: int, b: int) -> str:
    """The answer to `prompt(a, b)`, 16 characters."""
    carries = []
    for column in range(DIGITS, 0, -1):
        power = 10**column
        carries.append(str((a % power + b % power) // power))
    return "".join(carries) + f";{a + b:0{DIGITS + 1}d}"


def held_out(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Held-out (prompt, answer) pairs with uniform digits; the same for a seed on any machine."""
    pairs = operands(np.random.default_rng(seed), count, held_out=True)
    return [
        (prompt(a, b), answer(a, b))
        for a, b in zip(pairs.a.tolist(), pairs.b.tolist(), strict=True)
    ]
