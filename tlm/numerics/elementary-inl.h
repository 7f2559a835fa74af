// Elementary functions of float32 as sequences of float32 operations, each rounded to nearest even
// and never contracted. This file is their specification; the golden twin
// (pyscripts/npuvp/golden/elementary.py) repeats it. One compilation per SIMD target.
#if defined(NPUVP_NUMERICS_ELEMENTARY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NPUVP_NUMERICS_ELEMENTARY_INL_H_
#undef NPUVP_NUMERICS_ELEMENTARY_INL_H_
#else
#define NPUVP_NUMERICS_ELEMENTARY_INL_H_
#endif

#include "hwy/highway.h"
#include "numerics/bf16.h"

HWY_BEFORE_NAMESPACE();
namespace npuvp::numerics {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class V>
HWY_INLINE V canonical_nan_or(V v) {
    const hn::DFromV<V> d;
    return hn::IfThenElse(
        hn::IsNaN(v),
        hn::BitCast(d, hn::Set(hn::RebindToUnsigned<hn::DFromV<V>>(), canonical_nan_fp32)), v);
}

// ln 2 in two parts: the first has 15 significant bits, so its product with any exponent of a
// float32 is exact.
inline constexpr float ln2_high = 0x1.62e4p-1f;
inline constexpr float ln2_low = 0x1.7f7d1cp-20f;

// NaN stays NaN (not canonicalised); other operands are clamped to +-88.
template <class V>
HWY_INLINE V clamp_for_exp(V x) {
    const hn::DFromV<V> d;
    const V clamped = hn::Min(hn::Max(x, hn::Set(d, -88.0f)), hn::Set(d, 88.0f));
    return hn::IfThenElse(hn::IsNaN(x), x, clamped);
}

// e^x, x clamped to +-88:
//   t = x * log2(e) + (1.5 * 2^23 + 127)   two roundings; the second one rounds to an integer
//   k = t - (1.5 * 2^23 + 127)             exact
//   r = (x - k * ln2_high) - k * ln2_low   the first product is exact
//   p = 1 + r (1 + r (c2 + r (c3 + r (c4 + r (c5 + r c6)))))   Horner: multiply, then add
//   result = p * 2^k                       exact, or rounded once where it is subnormal
// Error below 1 ulp. c2..c6: minimax fit of the relative error on +-ln(2)/2.
template <class V>
HWY_INLINE V exp(V operand) {
    const hn::DFromV<V> d;
    const hn::RebindToUnsigned<decltype(d)> du;
    const V magic = hn::Set(d, 0x1.8p23f + 127.0f);
    const V x = hn::Min(hn::Max(operand, hn::Set(d, -88.0f)), hn::Set(d, 88.0f));
    const V t = hn::Add(hn::Mul(x, hn::Set(d, 0x1.715476p+0f)), magic);
    const V k = hn::Sub(t, magic);
    // The product is exact, so a fused operation gives the same result.
    V r = hn::NegMulAdd(k, hn::Set(d, ln2_high), x);
    r = hn::Sub(r, hn::Mul(k, hn::Set(d, ln2_low)));
    V p = hn::Set(d, 0x1.6a4154p-10f);
    p = hn::Add(hn::Mul(p, r), hn::Set(d, 0x1.1239c6p-7f));
    p = hn::Add(hn::Mul(p, r), hn::Set(d, 0x1.5558bcp-5f));
    p = hn::Add(hn::Mul(p, r), hn::Set(d, 0x1.555492p-3f));
    p = hn::Add(hn::Mul(p, r), hn::Set(d, 0x1.fffffcp-2f));
    p = hn::Add(hn::Mul(p, r), hn::Set(d, 1.0f));
    p = hn::Add(hn::Mul(p, r), hn::Set(d, 1.0f));
    // The low bits of t hold k + 127, the exponent field of 2^k; k = -127 needs the subnormal.
    const auto exponent = hn::ShiftLeft<23>(hn::BitCast(du, t));
    const auto scale = hn::Max(exponent, hn::Set(du, 0x00400000u));
    const V result = hn::Mul(p, hn::BitCast(d, scale));
    return hn::IfThenElse(hn::IsNaN(operand), hn::BitCast(d, hn::Set(du, canonical_nan_fp32)),
                          result);
}

// Natural logarithm. Zeros give -infinity, negative numbers NaN, +infinity itself. Otherwise:
//   x < 2^-126: y = x * 2^23, k0 = -23; else y = x, k0 = 0
//   i = bits(y) - bits(sqrt(1/2)) as int32; k = (i >> 23, arithmetic) + k0
//   m = float of bits (i & 0x7FFFFF) + bits(sqrt(1/2)), in [sqrt(1/2), sqrt(2))
//   f = m - 1; s = f / (2 + f); z = s * s; h = (0.5 * f) * f
//   R = z (L1 + z (L2 + z L3))             Horner: multiply, then add
//   result = (((s * (h + R) + k * ln2_low) - h) + f) + k * ln2_high
// Error below 1 ulp. L1..L3: minimax fit of 2 atanh(s) / s - 2 in z = s^2.
template <class V>
HWY_INLINE V log(V x) {
    const hn::DFromV<V> d;
    const hn::RebindToSigned<decltype(d)> di;
    const hn::RebindToUnsigned<decltype(d)> du;
    const auto small = hn::Lt(x, hn::Set(d, 0x1p-126f));
    const V y = hn::IfThenElse(small, hn::Mul(x, hn::Set(d, 0x1p23f)), x);
    const V k0 = hn::IfThenElse(small, hn::Set(d, -23.0f), hn::Zero(d));
    const auto root_half = hn::Set(di, 0x3F3504F3);
    const auto i = hn::Sub(hn::BitCast(di, y), root_half);
    const V k = hn::Add(hn::ConvertTo(d, hn::ShiftRight<23>(i)), k0);
    const V m = hn::BitCast(d, hn::Add(hn::And(i, hn::Set(di, 0x7FFFFF)), root_half));
    const V f = hn::Sub(m, hn::Set(d, 1.0f));
    const V s = hn::Div(f, hn::Add(hn::Set(d, 2.0f), f));
    const V z = hn::Mul(s, s);
    const V h = hn::Mul(hn::Mul(hn::Set(d, 0.5f), f), f);
    V poly = hn::Set(d, 0x1.31e23ep-2f);
    poly = hn::Add(hn::Mul(poly, z), hn::Set(d, 0x1.995eccp-2f));
    poly = hn::Add(hn::Mul(poly, z), hn::Set(d, 0x1.55557ap-1f));
    poly = hn::Mul(poly, z);
    V result = hn::Add(hn::Mul(s, hn::Add(h, poly)), hn::Mul(k, hn::Set(d, ln2_low)));
    result = hn::Add(hn::Sub(result, h), f);
    result = hn::Add(result, hn::Mul(k, hn::Set(d, ln2_high)));

    const V infinity = hn::BitCast(d, hn::Set(du, 0x7F800000u));
    const V nan = hn::BitCast(d, hn::Set(du, canonical_nan_fp32));
    result = hn::IfThenElse(hn::Eq(x, infinity), infinity, result);
    result = hn::IfThenElse(hn::Eq(x, hn::Zero(d)), hn::Neg(infinity), result);
    // Ordered and not negative, or else NaN: one test for negative numbers and NaN operands.
    return hn::IfThenElse(hn::Ge(x, hn::Zero(d)), result, nan);
}

// Correctly rounded 1 / x.
template <class V>
HWY_INLINE V reciprocal(V x) {
    const hn::DFromV<V> d;
    return hn::Div(hn::Set(d, 1.0f), x);
}

// 2^floor(log2 |x|): the exponent field alone, of x * 2^24 where x is subnormal. Zeros give 0,
// infinities +infinity.
template <class V>
HWY_INLINE V floor_power_of_two(V x) {
    const hn::DFromV<V> d;
    const hn::RebindToUnsigned<decltype(d)> du;
    const V magnitude = hn::Abs(x);
    const auto small = hn::Lt(magnitude, hn::Set(d, 0x1p-126f));
    const V y = hn::IfThenElse(small, hn::Mul(magnitude, hn::Set(d, 0x1p24f)), magnitude);
    const V power = hn::BitCast(d, hn::And(hn::BitCast(du, y), hn::Set(du, 0x7F800000u)));
    const V result = hn::IfThenElse(small, hn::Mul(power, hn::Set(d, 0x1p-24f)), power);
    return hn::IfThenElse(hn::IsNaN(x), hn::BitCast(d, hn::Set(du, canonical_nan_fp32)), result);
}

}  // namespace HWY_NAMESPACE
}  // namespace npuvp::numerics
HWY_AFTER_NAMESPACE();

#endif
