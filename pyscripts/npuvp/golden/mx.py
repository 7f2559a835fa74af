"""Microscaling formats: the twins of ``tlm/numerics/mx.h``.

The formats, their special values and every rounding are described there. Elements and scales are
arrays of ``uint8`` whose last axis belongs to one row; leading axes are rows treated alike.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from npuvp.golden.formats import (
    Floats,
    Row,
    canonical,
    float_to_bf16,
    to_float,
)

__all__ = [
    "MX_FORMATS",
    "MxTraits",
    "mx_decode_row",
    "mx_element_bytes",
    "mx_encode_row",
    "mx_scale_bytes",
    "mx_traits",
]

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class MxTraits:
    """One element format; ``kind`` is "ocp_float", "ocp_int", "plena" or "plain"."""

    name: str
    kind: str
    element_bits: int
    exponent_bits: int
    mantissa_bits: int
    bias: int
    emax: int
    max: float

    @property
    def scaled(self) -> bool:
        """Whether blocks of elements share a scale byte."""
        return self.kind != "plain"


MX_FORMATS = {
    t.name: t
    for t in (
        MxTraits("mxfp8_e4m3", "ocp_float", 8, 4, 3, 7, 8, 448.0),
        MxTraits("mxfp8_e5m2", "ocp_float", 8, 5, 2, 15, 15, 57344.0),
        MxTraits("mxfp6_e3m2", "ocp_float", 6, 3, 2, 3, 4, 28.0),
        MxTraits("mxfp6_e2m3", "ocp_float", 6, 2, 3, 1, 2, 7.5),
        MxTraits("mxfp4_e2m1", "ocp_float", 4, 2, 1, 1, 2, 6.0),
        MxTraits("mxint8", "ocp_int", 8, 0, 6, 0, 0, 1.984375),
        MxTraits("mxint4", "ocp_int", 4, 0, 2, 0, 0, 1.75),
        MxTraits("plena_e4m3", "plena", 8, 4, 3, 7, 7, 240.0),
        MxTraits("plena_e5m2", "plena", 8, 5, 2, 15, 15, 57344.0),
        MxTraits("plena_e3m4", "plena", 8, 3, 4, 3, 3, 15.5),
        MxTraits("plena_e2m5", "plena", 8, 2, 5, 1, 1, 3.9375),
        MxTraits("bf16", "plain", 16, 8, 7, 127, 127, float.fromhex("0x1.fep127")),
        MxTraits("fp16", "plain", 16, 5, 10, 15, 15, 65504.0),
        MxTraits("fp32", "plain", 32, 8, 23, 127, 127, float.fromhex("0x1.fffffep127")),
    )
}

f32 = np.float32


def mx_traits(name: str) -> MxTraits:
    """The format of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name not in MX_FORMATS:
        raise ValueError(f"element format {name!r} is not one of {', '.join(MX_FORMATS)}")
    return MX_FORMATS[name]


def mx_element_bytes(format: str, n: int) -> int:
    """Bytes of n packed elements."""
    return (n * mx_traits(format).element_bits + 7) // 8


def mx_scale_bytes(format: str, block: int, n: int) -> int:
    """Bytes of the scales of n elements."""
    return -(-n // block) if mx_traits(format).scaled else 0


@cache
def element_values(format: str) -> Floats:
    """Float32 values of every element code, without the scale; shape (2 ** element_bits,)."""
    t = mx_traits(format)
    code = np.arange(1 << t.element_bits)
    sign_bit = 1 << (t.element_bits - 1)
    if t.kind == "ocp_int":
        value = np.where(code & sign_bit, code - 2 * sign_bit, code)
        return (value * 2.0**-t.mantissa_bits).astype(f32)
    field = (code & (sign_bit - 1)) >> t.mantissa_bits
    mantissa = code & ((1 << t.mantissa_bits) - 1)
    subnormal_exponent = -t.bias if t.kind == "plena" else 1 - t.bias
    value = np.where(
        field == 0,
        np.ldexp(mantissa.astype(float), subnormal_exponent - t.mantissa_bits),
        np.ldexp(mantissa + float(1 << t.mantissa_bits), field - t.bias - t.mantissa_bits),
    )
    all_ones = field == (1 << t.exponent_bits) - 1
    if t.kind == "plena" or t.exponent_bits == 5:
        value = np.where(all_ones, np.where(mantissa == 0, np.inf, np.nan), value)
    elif format == "mxfp8_e4m3":
        value = np.where(all_ones & (mantissa == 7), np.nan, value)
    return canonical(np.where(code & sign_bit, -value, value).astype(f32))


def _scale_values(t: MxTraits) -> Floats:
    values = np.full(256, np.inf if t.kind == "plena" else np.nan, dtype=f32)
    values[:255] = np.ldexp(1.0, np.arange(255) - 127)
    if t.kind == "plena":
        values[0] = 0.0
    return values


def _unpack(t: MxTraits, elements: Bytes, n: int) -> npt.NDArray[np.uint8]:
    if t.element_bits == 8:
        return elements[..., :n]
    bits = np.unpackbits(elements, axis=-1, bitorder="little", count=n * t.element_bits)
    codes = bits.reshape(*bits.shape[:-1], n, t.element_bits)
    weights = np.uint8(1) << np.arange(t.element_bits, dtype=np.uint8)
    unpacked: npt.NDArray[np.uint8] = np.sum(codes * weights, axis=-1, dtype=np.uint8)
    return unpacked


def _pack(t: MxTraits, codes: npt.NDArray[np.uint8]) -> Bytes:
    if t.element_bits == 8:
        return codes
    bits = (codes[..., None] >> np.arange(t.element_bits, dtype=np.uint8)) & np.uint8(1)
    return np.packbits(bits.reshape(*codes.shape[:-1], -1), axis=-1, bitorder="little")


def _check_block(block: int) -> None:
    if block < 1:
        raise ValueError(f"microscaling block of {block} elements")


def mx_decode_row(
    format: str, block: int, elements: Bytes, scales: Bytes, n: int, out: str = "bf16"
) -> Row:
    """Elements and scales to rows of n lanes in the storage format ``out``.

    Args:
        format: name of the element format.
        block: elements that share a scale.
        elements: packed elements, uint8, shape (..., at least mx_element_bytes).
        scales: scale bytes, uint8, shape (..., at least mx_scale_bytes); not used by plain formats.
        n: lanes of a row.
        out: "bf16" (uint16 result) or "fp32" (float32 result).
    """
    t = mx_traits(format)
    if t.scaled:
        _check_block(block)
        values = element_values(format)[_unpack(t, elements, n)]
        scale = _scale_values(t)[scales[..., np.arange(n) // block]]
        with np.errstate(all="ignore"):
            x = canonical(values * scale)
    else:
        raw = np.ascontiguousarray(elements[..., : mx_element_bytes(format, n)])
        if format == "bf16":
            x = to_float(raw.view(np.uint16))
        else:
            x = raw.view(np.float16 if format == "fp16" else f32).astype(f32)
    if out == "bf16":
        return float_to_bf16(x)
    if out == "fp32":
        return canonical(x)
    raise ValueError(f"storage format {out!r} is not one of 'bf16', 'fp32'")


def _power_of_two(exponent: npt.ArrayLike) -> Floats:
    return np.ldexp(1.0, np.asarray(exponent, dtype=np.int64)).astype(f32)


def _floor_log2(x: Floats) -> npt.NDArray[np.int64]:
    """Exponents of positive finite float32 numbers, exactly; infinities give 128."""
    _, exponent = np.frexp(x.astype(np.float64))
    return np.where(np.isinf(x), 128, exponent.astype(np.int64) - 1)


def _encode_ocp(t: MxTraits, x: Floats) -> tuple[npt.NDArray[np.uint8], Bytes]:
    magnitude = np.abs(x)
    special = np.asarray(~np.isfinite(x).all(axis=-1))
    largest = np.where(special, f32(1), np.where(np.isfinite(x), magnitude, f32(0)).max(axis=-1))
    e = np.where(largest == 0, -126, _floor_log2(np.where(largest == 0, f32(1), largest)))
    exponent = np.maximum(e - t.emax, -127)
    with np.errstate(all="ignore"):
        y = x * _power_of_two(-exponent)[..., None]
        # On the grid of an element's exponent everything below is exact but for the rounding.
        exact = np.abs(np.where(np.isfinite(y), y, f32(0))).astype(np.float64)
    if t.kind == "ocp_int":
        p = np.zeros(exact.shape, dtype=np.int64)
    else:
        p = np.maximum(_floor_log2(np.where(exact == 0, 1e-300, exact)), 1 - t.bias)
    q = np.rint(np.ldexp(exact, t.mantissa_bits - p))
    value = np.minimum(np.ldexp(q, p - t.mantissa_bits), t.max)
    negative = np.signbit(y)
    if t.kind == "ocp_int":
        code = np.ldexp(value, t.mantissa_bits).astype(np.int64)
        code = np.where(negative, -code, code) & ((1 << t.element_bits) - 1)
    else:
        p = np.maximum(_floor_log2(np.where(value == 0, 1e-300, value)), 1 - t.bias)
        # Subnormals have one in the exponent as the smallest normals, and no hidden bit.
        code = ((p + t.bias - 1) << t.mantissa_bits) + np.ldexp(value, t.mantissa_bits - p).astype(
            np.int64
        )
        code = code | np.where(negative, 1 << (t.element_bits - 1), 0)
    code = np.where(special[..., None], 0, code)
    scale = np.where(special, 255, exponent + 127)
    return code.astype(np.uint8), scale.astype(np.uint8)


def _encode_plena(t: MxTraits, x: Floats) -> tuple[npt.NDArray[np.uint8], Bytes]:
    tiny = f32(1e-9)
    top = (1 << t.mantissa_bits) - 1
    with np.errstate(all="ignore"):
        largest = np.where(np.isnan(x), f32(0), np.abs(x)).max(axis=-1)
        e = np.clip(_floor_log2(largest + tiny), -127, 127)
        y = x * _power_of_two(-e)[..., None]
        magnitude = np.abs(y)
        unclamped = _floor_log2(np.where(np.isnan(magnitude), f32(1), magnitude + tiny))
        exponent = np.clip(unclamped, -t.bias, t.emax)
        m = magnitude * _power_of_two(-exponent)
        scaled = np.where(exponent == -t.bias, m, m - f32(1)) * f32(1 << t.mantissa_bits)
        rounded = np.clip(np.rint(np.trunc(scaled * f32(4)) * f32(0.25)), 0, top)
        mantissa = np.where(unclamped > t.emax, top, np.nan_to_num(rounded)).astype(np.int64)
    sign = np.where(y < 0, 1 << (t.element_bits - 1), 0)
    code = sign | (exponent + t.bias) << t.mantissa_bits | mantissa
    zero_block = largest == 0
    code = np.where((x == 0) | np.isnan(x) | zero_block[..., None], 0, code)
    scale = np.where(zero_block, 0, e + 127)
    return code.astype(np.uint8), scale.astype(np.uint8)


def mx_encode_row(format: str, block: int, row: Row) -> tuple[Bytes, Bytes]:
    """Rows in storage format to packed elements and scales.

    Args:
        format: name of the element format.
        block: elements that share a scale; the last block of a row may be partial.
        row: uint16 (BF16) or float32, shape (..., n).

    Returns:
        Elements, uint8, shape (..., mx_element_bytes), and scales, uint8, (..., mx_scale_bytes).
    """
    t = mx_traits(format)
    x = np.ascontiguousarray(to_float(row))
    n = x.shape[-1]
    lead = x.shape[:-1]
    if not t.scaled:
        plain: Row
        if format == "bf16":
            plain = float_to_bf16(x)
        elif format == "fp32":
            plain = canonical(x)
        else:
            with np.errstate(over="ignore"):
                half = canonical(x).astype(np.float16)
            plain = np.where(np.isnan(x), np.uint16(0x7E00), half.view(np.uint16))
        return np.ascontiguousarray(plain).view(np.uint8), np.zeros((*lead, 0), dtype=np.uint8)
    _check_block(block)
    blocks = -(-n // block)
    padded = np.zeros((*lead, blocks * block), dtype=f32)
    padded[..., :n] = x
    encode = _encode_plena if t.kind == "plena" else _encode_ocp
    codes, scales = encode(t, padded.reshape(*lead, blocks, block))
    codes = codes.reshape(*lead, blocks * block)[..., :n]
    return _pack(t, np.ascontiguousarray(codes)), scales
