"""Top-k: the twins of ``tlm/numerics/topk.h``."""

import numpy as np
import numpy.typing as npt

from npuvp.golden import elementary
from npuvp.golden.formats import Floats, Row, canonical, from_float, to_float

__all__ = ["topk_mask", "topk_softmax"]


def _ranking(x: Floats) -> npt.NDArray[np.intp]:
    """Indices from the largest to the smallest; ties by index, NaN last."""
    key = np.where(np.isnan(x), -np.inf, x)
    return np.lexsort((np.arange(x.size), -key.astype(np.float64), np.isnan(x)))


def topk_mask(confidence: Row, mask: Row, n: int, k: int) -> Row:
    """Marks the k largest of the first n confidences whose mask lane is not zero.

    Ties go to the lower index, +0 and -0 tie, NaN ranks below every number.

    Args:
        confidence: at least n lanes, BF16 or FP32.
        mask: one row in BF16 or FP32.
        n: confidences to rank.
        k: how many to mark; with fewer candidates all of them are.

    Returns:
        A row like ``mask`` of ones and zeros.

    Raises:
        ValueError: n exceeds the lanes of the row.
    """
    if n > mask.shape[-1]:
        raise ValueError(f"top-k mask over {n} confidences: a row has {mask.shape[-1]} lanes")
    order = _ranking(to_float(confidence)[:n])
    candidates = order[to_float(mask)[order] != 0]
    marked = np.zeros(mask.shape, dtype=np.float32)
    marked[candidates[:k]] = 1
    return from_float(marked, mask)


def topk_softmax(
    logits: Row, k: int, over_all: bool = False
) -> tuple[npt.NDArray[np.uint32], Floats]:
    """The k largest logits, largest first, NaN as -inf, and their softmax weights.

    Args:
        logits: shape (n,), BF16 or FP32.
        k: how many to select, at most n.
        over_all: the weights add up to one over all n logits, otherwise over the selected ones.

    Returns:
        Indices (k,) and float32 weights (k,). Terms are added in order of rank, with ``over_all``
        in order of index. If every logit is -inf the weights are 0.
    """
    x = to_float(logits)
    if k > x.size:
        raise ValueError(f"top-k of {x.size} logits: k is {k}, allowed 0..{x.size}")
    x = np.where(np.isnan(x), np.float32(-np.inf), x)
    chosen = _ranking(x)[:k]
    indices = chosen.astype(np.uint32)
    if k == 0 or x[chosen[0]] == -np.inf:
        return indices, np.zeros(k, dtype=np.float32)
    with np.errstate(all="ignore"):
        e = np.where(x == -np.inf, np.float32(0), elementary.exp(x - x[chosen[0]]))
        total = np.float32(0)
        for term in e if over_all else e[chosen]:
            total = total + term
        return indices, canonical(e[chosen] / total)
