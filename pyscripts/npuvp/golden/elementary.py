"""Elementary functions of float32 as sequences of float32 operations.

The specification is the text in ``tlm/numerics/elementary-inl.h``; every operation below is one
float32 operation there. All functions take and return arrays of any shape; NaNs are canonical.
"""

import numpy as np
import numpy.typing as npt

from npuvp.golden.formats import CANONICAL_NAN_FP32, Floats, canonical, float_bits, float_of_bits

__all__ = [
    "add",
    "clamp_for_exp",
    "exp",
    "floor_power_of_two",
    "log",
    "max",
    "min",
    "mul",
    "reciprocal",
    "sqrt",
    "sub",
]

f32 = np.float32


def _constant(hexadecimal: str) -> np.float32:
    return f32(float.fromhex(hexadecimal))


LN2_HIGH = _constant("0x1.62e4p-1")
LN2_LOW = _constant("0x1.7f7dp-20")
LOG2_E = _constant("0x1.7154p+0")
EXP_MAGIC = f32(1.5 * 2**23 + 127)
C2 = _constant("0x1.fffffcp-2")
C3 = _constant("0x1.555492p-3")
C4 = _constant("0x1.5558bcp-5")
C5 = _constant("0x1.1239c6p-7")
C6 = _constant("0x1.6a4154p-10")
LOG_POLYNOMIAL = tuple(_constant(c) for c in ("0x1.31e23ep-2", "0x1.995eccp-2", "0x1.55557ap-1"))
ROOT_HALF_BITS = np.int32(0x3F3504F3)
NAN = float_of_bits(CANONICAL_NAN_FP32)[()]
INFINITY = f32(np.inf)


def clamp_for_exp(x: npt.ArrayLike) -> Floats:
    """Clamps to +-88; a NaN stays the NaN it is."""
    x = np.asarray(x, dtype=f32)
    clamped = np.where(x > f32(88), f32(88), np.where(x < f32(-88), f32(-88), x))
    return np.where(np.isnan(x), x, clamped)


def exp(operand: npt.ArrayLike) -> Floats:
    """e^x with x clamped to +-88; error below 1.2 ulp, subnormal results rounded once more."""
    operand = np.asarray(operand, dtype=f32)
    with np.errstate(all="ignore"):
        x = clamp_for_exp(operand)
        t = x * LOG2_E + EXP_MAGIC
        k = t - EXP_MAGIC
        r = x - k * LN2_HIGH
        r = r - k * LN2_LOW
        s = r * r
        q = (s * C6 + (r * C5 + C4)) * s + (r * C3 + C2)
        p = (s * q + r) + f32(1)
        exponent = float_bits(t) << np.uint32(23)
        scale = float_of_bits(np.maximum(exponent, np.uint32(0x00400000)))
        return np.where(np.isnan(operand), NAN, p * scale)


def log(x: npt.ArrayLike) -> Floats:
    """Natural logarithm; zeros give -inf, negative numbers NaN; error below 1 ulp."""
    x = np.asarray(x, dtype=f32)
    with np.errstate(all="ignore"):
        small = x < f32(2.0**-126)
        y = np.where(small, x * f32(2.0**23), x)
        k0 = np.where(small, f32(-23), f32(0))
        i = y.view(np.int32) - ROOT_HALF_BITS
        k = (i >> np.int32(23)).astype(f32) + k0
        m = ((i & np.int32(0x7FFFFF)) + ROOT_HALF_BITS).view(f32)
        f = m - f32(1)
        s = f / (f32(2) + f)
        z = s * s
        h = (f32(0.5) * f) * f
        leading, *rest = LOG_POLYNOMIAL
        poly = np.full_like(z, leading)
        for coefficient in rest:
            poly = poly * z + coefficient
        poly = poly * z
        result = s * (h + poly) + k * LN2_LOW
        result = (result - h) + f
        result = result + k * LN2_HIGH
        result = np.where(x == INFINITY, INFINITY, result)
        result = np.where(x == f32(0), -INFINITY, result)
        return np.where(x >= f32(0), result, NAN)


def reciprocal(x: npt.ArrayLike) -> Floats:
    """1 / x, correctly rounded."""
    with np.errstate(all="ignore"):
        return canonical(f32(1) / np.asarray(x, dtype=f32))


def sqrt(x: npt.ArrayLike) -> Floats:
    """Square root, correctly rounded."""
    with np.errstate(all="ignore"):
        return canonical(np.sqrt(np.asarray(x, dtype=f32)))


def floor_power_of_two(x: npt.ArrayLike) -> Floats:
    """2^floor(log2 |x|), exactly; zeros give 0, infinities +inf."""
    x = np.asarray(x, dtype=f32)
    with np.errstate(all="ignore"):
        magnitude = np.abs(x)
        small = magnitude < f32(2.0**-126)
        y = np.where(small, magnitude * f32(2.0**24), magnitude)
        power = float_of_bits(float_bits(y) & np.uint32(0x7F800000))
        result = np.where(small, power * f32(2.0**-24), power)
        return np.where(np.isnan(x), NAN, result)


def add(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """a + b in float32."""
    with np.errstate(all="ignore"):
        return canonical(np.asarray(a, dtype=f32) + np.asarray(b, dtype=f32))


def sub(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """a - b in float32."""
    with np.errstate(all="ignore"):
        return canonical(np.asarray(a, dtype=f32) - np.asarray(b, dtype=f32))


def mul(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """a * b in float32."""
    with np.errstate(all="ignore"):
        return canonical(np.asarray(a, dtype=f32) * np.asarray(b, dtype=f32))


def _extreme(a: npt.ArrayLike, b: npt.ArrayLike, sign: int) -> Floats:
    a, b = np.broadcast_arrays(np.asarray(a, dtype=f32), np.asarray(b, dtype=f32))
    key_a, key_b = order_key(a), order_key(b)
    chosen = np.where(sign * key_a >= sign * key_b, a, b)
    chosen = np.where(np.isnan(a), b, np.where(np.isnan(b), a, chosen))
    return canonical(chosen)


def order_key(x: Floats) -> npt.NDArray[np.int64]:
    """Integers that order as the numbers do, -0 before +0 (NaNs have no place)."""
    bits = float_bits(x).astype(np.int64)
    magnitude = bits & 0x7FFFFFFF
    return np.where(bits >> 31 != 0, -1 - magnitude, magnitude)


def max(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """The larger one, of a number and a NaN the number; -0 is less than +0."""
    return _extreme(a, b, 1)


def min(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """The smaller one, of a number and a NaN the number; -0 is less than +0."""
    return _extreme(a, b, -1)
