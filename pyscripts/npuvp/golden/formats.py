"""Storage formats of rows, and the conversions between them and float32.

A row in BF16 is an array of ``uint16`` (the upper halves of float32 bit patterns), a row in FP32 an
array of ``float32``. The last axis is the lane; leading axes are rows that are treated alike.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "CANONICAL_NAN_BF16",
    "CANONICAL_NAN_FP32",
    "Floats",
    "Row",
    "bf16_to_float",
    "canonical",
    "float_bits",
    "float_of_bits",
    "float_to_bf16",
    "from_float",
    "round_to",
    "to_float",
]

Row = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint32]

CANONICAL_NAN_FP32 = np.uint32(0x7FC00000)
CANONICAL_NAN_BF16 = np.uint16(0x7FC0)


def float_bits(x: npt.ArrayLike) -> Words:
    """Bit patterns of float32 numbers, same shape."""
    return np.asarray(x, dtype=np.float32).view(np.uint32)


def float_of_bits(bits: npt.ArrayLike) -> Floats:
    """Float32 numbers of bit patterns, same shape."""
    return np.asarray(bits, dtype=np.uint32).view(np.float32)


def canonical(x: npt.ArrayLike) -> Floats:
    """Replaces every NaN by the one of bits 0x7FC00000; same shape."""
    x = np.asarray(x, dtype=np.float32)
    return float_of_bits(np.where(np.isnan(x), CANONICAL_NAN_FP32, float_bits(x)))


def bf16_to_float(bits: npt.ArrayLike) -> Floats:
    """BF16 bit patterns (uint16) to float32, exactly; same shape."""
    return float_of_bits(np.asarray(bits, dtype=np.uint16).astype(np.uint32) << np.uint32(16))


def float_to_bf16(x: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """Rounds float32 to BF16 (uint16), same shape.

    To nearest, ties to even; what is too large becomes infinite, subnormals are kept, any NaN
    becomes 0x7FC0.
    """
    x = np.asarray(x, dtype=np.float32)
    # In 64 bits, because the sum may carry out of the pattern of a NaN.
    bits = float_bits(x).astype(np.uint64)
    rounded = (bits + np.uint64(0x7FFF) + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)
    return np.where(np.isnan(x), CANONICAL_NAN_BF16, rounded.astype(np.uint16))


def round_to(format: str, x: npt.ArrayLike) -> Floats:
    """What a register of ``format`` ("bf16" or "fp32") keeps of the result of arithmetic."""
    if format == "bf16":
        return bf16_to_float(float_to_bf16(x))
    if format == "fp32":
        return canonical(x)
    raise ValueError(f"register format {format!r} is not one of 'bf16', 'fp32'")


def to_float(row: Row) -> Floats:
    """A row in either storage format to float32, exactly.

    Raises:
        TypeError: the array is neither uint16 (BF16) nor float32.
    """
    if row.dtype == np.uint16:
        return bf16_to_float(row)
    if row.dtype == np.float32:
        return row
    raise TypeError(f"a row has dtype uint16 (BF16) or float32, not {row.dtype}")


def from_float(x: npt.ArrayLike, like: Row) -> Row:
    """Rounds float32 to the storage format of the row ``like``, as a store of arithmetic does."""
    return float_to_bf16(x) if like.dtype == np.uint16 else canonical(x)
