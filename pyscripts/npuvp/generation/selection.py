"""Which positions are committed: pure functions of confidences.

The published code leaves the order of equal confidences to the sort it happens to use; here the
lower index comes first.
"""

import numpy as np
from numpy.typing import NDArray

from npuvp.generation.calls import Bools

__all__ = ["by_factor", "by_quota", "by_threshold"]

Confidences = NDArray[np.float64]


def _ranking(confidence: Confidences, eligible: Bools) -> NDArray[np.intp]:
    """Eligible indices of one row, best first."""
    order = np.argsort(-confidence, kind="stable")
    return order[eligible[order]]


def by_quota(confidence: Confidences, eligible: Bools, quota: NDArray[np.int64]) -> Bools:
    """The `quota[b]` best eligible positions of each row.

    Args:
        confidence: Shape (B, n).
        eligible: Shape (B, n).
        quota: Shape (B,).

    Returns:
        Shape (B, n).
    """
    chosen = np.zeros(eligible.shape, bool)
    for row, count in enumerate(quota):
        chosen[row, _ranking(confidence[row], eligible[row])[:count]] = True
    return chosen


def by_threshold(
    confidence: Confidences, eligible: Bools, threshold: float, *, strict: bool = False
) -> Bools:
    """Eligible positions that reach the threshold, and the best of each row in any case.

    Args:
        confidence, eligible: Shape (B, n).
        threshold: Least confidence.
        strict: It must be exceeded (Fast-dLLM v2).
    """
    above = confidence > threshold if strict else confidence >= threshold
    chosen: Bools = eligible & above
    for row in range(len(chosen)):
        chosen[row, _ranking(confidence[row], eligible[row])[:1]] = True
    return chosen


def by_factor(confidence: Confidences, eligible: Bools, factor: float) -> Bools:
    """As many of the best as Fast-dLLM's factor rule allows (facts 3.5).

    With sorted confidences c_1 >= ... >= c_n, those before the first c_i < 1 - factor / (i + 1),
    i >= 2, are committed; the first always. As in the published code, a first failure at i = n is
    committed too.
    """
    chosen = np.zeros(eligible.shape, bool)
    for row in range(len(chosen)):
        ranking = _ranking(confidence[row], eligible[row])
        n = len(ranking)
        count = n
        for i in range(2, n):
            if confidence[row, ranking[i - 1]] < 1 - factor / (i + 1):
                count = i - 1
                break
        chosen[row, ranking[:count]] = True
    return chosen
