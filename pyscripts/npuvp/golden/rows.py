"""Row kernels: the twins of ``tlm/numerics/rows.h``, on the last axis of BF16 or FP32 arrays.

Every lane is computed in float32 and rounded once to the storage format; a NaN that arithmetic
stores is canonical. With a mask, disabled lanes receive the first source operand.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from npuvp.golden import elementary
from npuvp.golden.formats import Floats, Row, canonical, float_bits, from_float, to_float

__all__ = [
    "LaneMask",
    "abs",
    "add_vf",
    "add_vv",
    "compare_vf",
    "compare_vv",
    "exp",
    "fill",
    "floor_power_of_two",
    "log",
    "max",
    "max_index",
    "max_vf",
    "max_vv",
    "min",
    "min_vf",
    "min_vv",
    "mul_vf",
    "mul_vv",
    "reciprocal",
    "rsub_vf",
    "select",
    "shift",
    "sqrt",
    "sub_vf",
    "sub_vv",
    "sum",
]


class LaneMask(NamedTuple):
    """Lane i takes part where bit i // hlen of heads is set; from lane 32 * hlen on none does."""

    heads: int
    hlen: int

    def lanes(self, n: int) -> npt.NDArray[np.bool_]:
        """Enabled lanes of a row of n, shape (n,)."""
        head = np.arange(n) // self.hlen
        enabled: npt.NDArray[np.bool_] = (self.heads >> np.minimum(head, 31)) & 1 == 1
        return enabled & (head < 32)


def _keep_disabled(result: Row, first: Row, mask: LaneMask | None) -> Row:
    if mask is None:
        return result
    return np.where(mask.lanes(first.shape[-1]), result, first)


def _store(x: Floats, first: Row, mask: LaneMask | None) -> Row:
    return _keep_disabled(from_float(x, first), first, mask)


def add_vv(a: Row, b: Row, mask: LaneMask | None = None) -> Row:
    """The sum a + b."""
    return _store(elementary.add(to_float(a), to_float(b)), a, mask)


def sub_vv(a: Row, b: Row, mask: LaneMask | None = None) -> Row:
    """The difference a - b."""
    return _store(elementary.sub(to_float(a), to_float(b)), a, mask)


def mul_vv(a: Row, b: Row, mask: LaneMask | None = None) -> Row:
    """The product a * b."""
    return _store(elementary.mul(to_float(a), to_float(b)), a, mask)


def add_vf(a: Row, f: npt.ArrayLike, mask: LaneMask | None = None) -> Row:
    """The sum a + f with f in float32, unrounded."""
    return _store(elementary.add(to_float(a), f), a, mask)


def sub_vf(a: Row, f: npt.ArrayLike, mask: LaneMask | None = None) -> Row:
    """The difference a - f with f in float32, unrounded."""
    return _store(elementary.sub(to_float(a), f), a, mask)


def rsub_vf(a: Row, f: npt.ArrayLike, mask: LaneMask | None = None) -> Row:
    """The difference f - a with f in float32, unrounded."""
    return _store(elementary.sub(f, to_float(a)), a, mask)


def mul_vf(a: Row, f: npt.ArrayLike, mask: LaneMask | None = None) -> Row:
    """The product a * f with f in float32, unrounded."""
    return _store(elementary.mul(to_float(a), f), a, mask)


def _propagating(
    function: Callable[[Floats, Floats], Floats], a: Row, b: npt.ArrayLike, mask: LaneMask | None
) -> Row:
    x, y = to_float(a), np.asarray(b, dtype=np.float32)
    result = np.where(np.isnan(x) | np.isnan(y), elementary.NAN, function(x, y))
    return _store(result, a, mask)


def max_vv(a: Row, b: Row, mask: LaneMask | None = None) -> Row:
    """The larger one; NaN propagates, -0 is less than +0."""
    return _propagating(elementary.max, a, to_float(b), mask)


def min_vv(a: Row, b: Row, mask: LaneMask | None = None) -> Row:
    """The smaller one; NaN propagates, -0 is less than +0."""
    return _propagating(elementary.min, a, to_float(b), mask)


def max_vf(a: Row, f: npt.ArrayLike, mask: LaneMask | None = None) -> Row:
    """The larger of a lane and f; NaN propagates, -0 is less than +0."""
    return _propagating(elementary.max, a, f, mask)


def min_vf(a: Row, f: npt.ArrayLike, mask: LaneMask | None = None) -> Row:
    """The smaller of a lane and f; NaN propagates, -0 is less than +0."""
    return _propagating(elementary.min, a, f, mask)


_RELATIONS: dict[str, Callable[..., npt.NDArray[np.bool_]]] = {
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "ge": np.greater_equal,
    "gt": np.greater,
}


def compare_vf(relation: str, a: Row, f: npt.ArrayLike, mask: LaneMask | None = None) -> Row:
    """1 where ``a relation f`` holds ("lt", "le", "eq", "ge", "gt"), else 0; false for NaN."""
    if relation not in _RELATIONS:
        raise ValueError(f"relation {relation!r} is not one of {', '.join(_RELATIONS)}")
    with np.errstate(invalid="ignore"):
        holds = _RELATIONS[relation](to_float(a), np.asarray(f, dtype=np.float32))
    return _store(holds.astype(np.float32), a, mask)


def compare_vv(relation: str, a: Row, b: Row, mask: LaneMask | None = None) -> Row:
    """1 where ``a relation b`` holds, else 0; see `compare_vf`."""
    return compare_vf(relation, a, to_float(b), mask)


def exp(a: Row, mask: LaneMask | None = None) -> Row:
    """e^a, clamped to +-88; disabled lanes receive the clamped operand."""
    x = to_float(a)
    clamped = from_float(elementary.clamp_for_exp(x), a)
    return _keep_disabled(from_float(elementary.exp(x), a), clamped, mask)


def reciprocal(a: Row, mask: LaneMask | None = None) -> Row:
    """1 / a."""
    return _store(elementary.reciprocal(to_float(a)), a, mask)


def log(a: Row, mask: LaneMask | None = None) -> Row:
    """Natural logarithm."""
    return _store(elementary.log(to_float(a)), a, mask)


def sqrt(a: Row, mask: LaneMask | None = None) -> Row:
    """Square root."""
    return _store(elementary.sqrt(to_float(a)), a, mask)


def abs(a: Row, mask: LaneMask | None = None) -> Row:
    """Magnitude; NaNs become canonical."""
    return _store(np.abs(to_float(a)), a, mask)


def floor_power_of_two(a: Row, mask: LaneMask | None = None) -> Row:
    """2^floor(log2 |a|)."""
    return _store(elementary.floor_power_of_two(to_float(a)), a, mask)


def select(mask: Row, a: Row, b: Row) -> Row:
    """Where the mask lane is not zero (NaN is not) a, else b; bits unchanged."""
    chosen: Row = np.where(to_float(mask) != 0, _bits(a), _bits(b)).view(a.dtype)
    return chosen


def _bits(row: Row) -> Row:
    return row if row.dtype == np.uint16 else float_bits(row)


def shift(a: Row, count: int) -> Row:
    """Lane i receives lane i - count, zero below; bits unchanged."""
    n = a.shape[-1]
    count = int(np.minimum(count, n))
    result = np.zeros_like(a)
    result[..., count:] = a[..., : n - count]
    return result


def fill(like: Row, f: float) -> Row:
    """A row of the shape and format of ``like`` that holds f, rounded."""
    return np.broadcast_to(from_float(np.float32(f), like), like.shape).copy()


def sum(a: Row, f: npt.ArrayLike = 0.0, mask: LaneMask | None = None) -> Floats:
    """f + halving tree (x[0:h] + x[h:2h] until one is left), in float32; shape without the lanes.

    Raises:
        ValueError: the number of lanes is no power of two.
    """
    x = to_float(a)
    n = x.shape[-1]
    if n == 0 or n & (n - 1):
        raise ValueError(f"sum over {n} lanes: a halving tree needs a power of two")
    if mask is not None:
        x = np.where(mask.lanes(n), x, np.float32(0))
    with np.errstate(all="ignore"):
        while x.shape[-1] > 1:
            h = x.shape[-1] // 2
            x = x[..., :h] + x[..., h:]
    return elementary.add(f, x[..., 0])


def _reduce_extreme(sign: int, a: Row, f: npt.ArrayLike, mask: LaneMask | None) -> Floats:
    x = to_float(a)
    if mask is not None:
        x = x[..., mask.lanes(x.shape[-1])]
    if x.shape[-1] == 0:
        return canonical(np.broadcast_to(np.asarray(f, dtype=np.float32), x.shape[:-1]))
    best = np.argmax(sign * elementary.order_key(x), axis=-1)
    part = np.take_along_axis(x, best[..., None], axis=-1)[..., 0]
    part = np.where(np.isnan(x).any(axis=-1), elementary.NAN, part)
    return elementary.max(f, part) if sign > 0 else elementary.min(f, part)


def max(a: Row, f: npt.ArrayLike = -np.inf, mask: LaneMask | None = None) -> Floats:
    """The larger of f and the enabled lanes; a NaN lane leaves f; shape without the lanes."""
    return _reduce_extreme(1, a, f, mask)


def min(a: Row, f: npt.ArrayLike = np.inf, mask: LaneMask | None = None) -> Floats:
    """The smaller of f and the enabled lanes; a NaN lane leaves f; shape without the lanes."""
    return _reduce_extreme(-1, a, f, mask)


def max_index(
    a: Row,
    best: npt.ArrayLike = -np.inf,
    index: npt.ArrayLike = 0,
    mask: LaneMask | None = None,
) -> tuple[npt.NDArray[np.bool_], Floats, npt.NDArray[np.uint32]]:
    """The first of the largest enabled lanes, where it is larger than ``best``.

    NaN never wins, +0 and -0 are equal.

    Returns:
        Whether it is larger, its value (else ``best``) and its lane (else ``index``), each of the
        shape of ``a`` without the lanes.
    """
    x = to_float(a)
    candidates = np.where(np.isnan(x), np.float32(-np.inf), x)
    if mask is not None:
        candidates = np.where(mask.lanes(x.shape[-1]), candidates, np.float32(-np.inf))
    lane = np.argmax(candidates, axis=-1)
    value = np.take_along_axis(candidates, lane[..., None], axis=-1)[..., 0]
    best = np.asarray(best, dtype=np.float32)
    with np.errstate(invalid="ignore"):
        found = np.asarray(value > best)
    return found, np.where(found, value, best), np.where(found, lane, index).astype(np.uint32)
