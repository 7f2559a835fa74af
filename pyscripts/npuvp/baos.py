"""Quantised KV caches and BAOS: the algebra, operation by operation as the machine carries it out.

Every value between operations is BF16 (held as float32 here), every operation is one float32
operation that is rounded once to BF16, and conversions to MX are those of the DMA engine (OCP: the
block's exponent is that of its largest magnitude minus emax, elements to nearest even, saturating).
An implementation that follows these functions keeps what the machine keeps.

The published idea (arXiv 2601.20706 v2): at the warm pass of a block K and V of the whole canvas are
recomputed anyway; factors per channel are taken there, normalised K and V are cached in 4 bits, and
refine passes fold the factors into Q and into the output. What no public text says is chosen here:

* Factors belong to (layer, row of the batch, KV head, channel): the largest magnitude over *all*
  positions of the canvas, prompt and padding included, in the warm pass. K is taken after RoPE.
* ``pow2``: rounded up to a power of two by its exponent, so that normalising and folding are exact;
  ``bf16``: the maximum itself, which costs a rounding where it divides and where it multiplies. For
  integer elements the maximum is stretched by `headroom` (8/7 for MXINT4) first: MX takes its scale
  from the exponent alone, so a magnitude of exactly 1 would be kept with half the levels, and one
  just below would saturate; 7/8 is the largest that an integer of four bits holds.
* Without a choice (`DEFAULT_ROUNDING`) integer elements get ``bf16``, floating-point elements
  ``pow2``: what was measured best (docs/baos.md).
* A channel whose maximum is below 2^-100 (zero included) has the factor 1.
* MX blocks run along the channels of one head and one token, of K and of V: 32 channels, or the head
  if it is shorter.
* The warm pass attends to its own K and V in BF16, unquantised, as it would without a cache format;
  only then (and only the rows that the cache mode keeps are ever read again) is the cache written.
* In a refine pass every fresh row (dual: the block; prefix: block and suffix) is divided by the
  factors of the warm pass, quantised, and put into the cache; all keys and values are read from
  the cache, fresh ones too. Plain quantised caches do the same with all factors 1.
* Output and Q are multiplied in refine passes only.

One refine pass for one head, ``f_k`` and ``f_v`` of its KV head::

    cache_k[fresh] = encode(normalise(k, f_k));  cache_v[fresh] = encode(normalise(v, f_v))
    o = fold(attend(fold(q, f_k), decode(cache_k), decode(cache_v)), f_v)

where `attend` is that of BF16 caches, its output rounded to BF16 before the last fold.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npuvp.golden.formats import bf16_to_float, float_to_bf16
from npuvp.golden.mx import mx_decode_row, mx_encode_row, mx_traits

__all__ = [
    "DEFAULT_ROUNDING",
    "TINY",
    "CacheFormat",
    "Factors",
    "cached",
    "factors",
    "fold",
    "headroom",
    "kv_block",
    "normalise",
    "round_trip",
]

Floats = NDArray[np.float32]
Factors = Literal["pow2", "bf16"]

TINY = 2.0**-100
"""Channels whose maximum is below have the factor 1: their reciprocal would leave BF16."""

_ELEMENTS = {"mxfp4": "mxfp4_e2m1"}

DEFAULT_ROUNDING: dict[str, Factors] = {"ocp_int": "bf16", "ocp_float": "pow2"}
"""How factors are rounded where a name does not say, by kind of element."""


@dataclass(frozen=True)
class CacheFormat:
    """What a plan's `kv_format` says.

    Attributes:
        element: MX format of the cache, or "bf16".
        smoothed: Whether BAOS normalises what is quantised.
        factors: How its factors are rounded; None: as suits the element.
    """

    element: str
    smoothed: bool = False
    factors: Factors | None = None

    @staticmethod
    @cache
    def parse(kv_format: str) -> "CacheFormat":
        """From ``bf16``, ``mxint4``, ``baos-mxint4``, ``baos-mxint4-pow2``, ``baos-mxfp4-bf16``, ...

        Raises:
            ValueError: No such format.
        """
        name = kv_format.removeprefix("baos-")
        smoothed = name != kv_format
        rounding: Factors | None = None
        for known in get_args(Factors):
            if smoothed and name.endswith(f"-{known}"):
                name, rounding = name.removesuffix(f"-{known}"), known
        element = _ELEMENTS.get(name, name)
        traits = mx_traits(element)
        if (element != "bf16" and not traits.name.startswith("mx")) or (
            smoothed and name == "bf16"
        ):
            raise ValueError(f"kv_format {kv_format!r}: not a format of a cache")
        return CacheFormat(element, smoothed, rounding)

    @property
    def rounding(self) -> Factors:
        """How factors are rounded."""
        return self.factors or DEFAULT_ROUNDING[mx_traits(self.element).kind]

    @property
    def quantised(self) -> bool:
        """Whether the cache holds MX blocks."""
        return self.element != "bf16"


def kv_block(head_dim: int) -> int:
    """Channels that share a scale in the cache: 32, or the whole head if it is shorter.

    Raises:
        ValueError: Blocks of 8, 16 or 32 do not divide the head.
    """
    block = min(32, head_dim)
    if block not in (8, 16, 32) or head_dim % block:
        raise ValueError(f"head_dim {head_dim}: blocks of {block} channels do not divide it")
    return block


def _bf16(x: ArrayLike) -> Floats:
    return bf16_to_float(float_to_bf16(np.asarray(x, np.float32)))


def headroom(element: str) -> float:
    """How much larger than a channel's maximum its BF16 factor is: a BF16 number.

    The next power of two over the largest element for integers (MXINT4: 8/7), so that the maximum
    becomes the largest element. For floating-point elements 1: their steps at the top are as wide as
    what would be won, and no such number was measured better in all models.
    """
    traits = mx_traits(element)
    if traits.kind != "ocp_int":
        return 1.0
    return float(_bf16(2.0 ** (traits.emax + 1) / traits.max))


def factors(x: ArrayLike, format: CacheFormat) -> Floats:
    """Factors of the warm pass.

    Args:
        x: K after RoPE, or V, BF16 values, shape (..., L, channels), all positions of the canvas.
        format: Of the cache.

    Returns:
        BF16 values, shape (..., channels).
    """
    largest: Floats = np.abs(np.asarray(x, np.float32)).max(axis=-2)
    if format.rounding == "pow2":
        mantissa, exponent = np.frexp(largest)  # in [0.5, 1)
        factor = np.ldexp(np.float32(1), exponent - (mantissa == 0.5)).astype(np.float32)
    else:
        factor = _bf16(largest * np.float32(headroom(format.element)))
    return np.where(largest < np.float32(TINY), np.float32(1), factor)


def normalise(x: ArrayLike, factor: ArrayLike) -> Floats:
    """x * (1 / factor), the reciprocal and the product each rounded to BF16.

    Args:
        x: BF16 values, shape (..., channels).
        factor: Broadcasts to `x`.
    """
    inverse = _bf16(np.float32(1) / np.asarray(factor, np.float32))
    return _bf16(np.asarray(x, np.float32) * inverse)


def fold(x: ArrayLike, factor: ArrayLike) -> Floats:
    """x * factor rounded to BF16: Q after RoPE by K's factors, the output by V's."""
    return _bf16(np.asarray(x, np.float32) * np.asarray(factor, np.float32))


def round_trip(x: ArrayLike, element: str, block: int) -> Floats:
    """What the cache gives back of BF16 rows.

    Args:
        x: Shape (..., head_dim).
        element: MX format, or "bf16": nothing changes.
        block: Channels that share a scale.
    """
    values = np.asarray(x, np.float32)
    if element == "bf16":
        return values
    codes, scales = mx_encode_row(element, block, float_to_bf16(values))
    return bf16_to_float(mx_decode_row(element, block, codes, scales, values.shape[-1], "bf16"))


def cached(x: ArrayLike, factor: ArrayLike | None, format: CacheFormat) -> Floats:
    """What a refine pass reads of rows that were put into the cache, still normalised.

    Args:
        x: K after RoPE, or V, shape (..., head_dim).
        factor: Of the warm pass, broadcasting to `x`; None without BAOS.
        format: Of the cache.
    """
    values = np.asarray(x, np.float32)
    if factor is not None:
        values = normalise(values, factor)
    return round_trip(values, format.element, kv_block(values.shape[-1]))
