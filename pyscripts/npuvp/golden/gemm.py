"""Matrix multiplication, one float32 accumulator per output: twin of ``tlm/numerics/gemm.h``."""

import numpy as np

from npuvp.golden.formats import Floats, Row, canonical, to_float

__all__ = ["gemm"]

_FEW = 64
"""Outputs up to which one running sum along k is faster than k steps."""


def gemm(a: Row, b: Row, c: Floats | None = None) -> Floats:
    """The sum c + a @ b, k ascending, every product rounded to float32 before it is added.

    Args:
        a: shape (..., m, k), BF16 (uint16) or float32.
        b: shape (..., k, n), likewise.
        c: initial accumulators (..., m, n), float32; zeros if left out.

    Returns:
        Accumulators, float32, shape (..., m, n), NaNs canonical.

    Raises:
        ValueError: the inner dimensions differ.
    """
    x, y = to_float(a), to_float(b)
    k = x.shape[-1]
    if y.shape[-2] != k:
        raise ValueError(f"gemm: a has {k} columns, b has {y.shape[-2]} rows")
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    total = np.empty((*lead, x.shape[-2], y.shape[-1]), dtype=np.float32)
    total[...] = np.float32(0) if c is None else c
    if total.size <= _FEW:
        terms = np.empty((k + 1, *total.shape), dtype=np.float32)
        terms[0] = total
        with np.errstate(all="ignore"):
            columns = np.broadcast_to(x, (*lead, *x.shape[-2:])).swapaxes(-1, -2)
            rows = np.broadcast_to(y, (*lead, *y.shape[-2:]))
            products = columns[..., :, None] * rows[..., None, :]
            terms[1:] = np.moveaxis(products, -3, 0)
            return canonical(np.add.accumulate(terms, axis=0)[-1])
    columns = np.ascontiguousarray(np.moveaxis(x, -1, 0))
    product = np.empty_like(total)
    with np.errstate(all="ignore"):
        for p in range(k):
            np.multiply(columns[p][..., :, None], y[..., p, :][..., None, :], out=product)
            total += product
    return canonical(total)
