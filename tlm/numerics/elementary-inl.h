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

// ln 2 in two parts of 15 and 17 significant bits: the product of the first with the exponent of
// any float32 is exact, that of the second with any exponent within +-127.
inline constexpr float ln2_high = 0x1.62e4p-1f;
inline constexpr float ln2_low = 0x1.7f7dp-20f;

// NaN stays NaN (not canonicalised); other operands are clamped to +-88.
template <class V>
HWY_INLINE V clamp_for_exp(V x) {
    const hn::DFromV<V> d;
    const V clamped = hn::Min(hn::Max(x, hn::Set(d, -88.0f)), hn::Set(d, 88.0f));
    return hn::IfThenElse(hn::IsNaN(x), x, clamped);
}

// e^x, x clamped to +-88:
//   t = x * L + (1.5 * 2^23 + 127)    L = log2(e) in 15 bits; the addition rounds to an integer
//   k = t - (1.5 * 2^23 + 127)        exact
//   r = (x - k * ln2_high) - k * ln2_low     both products are exact
//   s = r * r
//   q = ((s * c6 + (r * c5 + c4)) * s) + (r * c3 + c2)
//   p = (s * q + r) + 1
//   result = p * 2^k                  exact, or rounded once where it is subnormal
// Error below 1.2 ulp. c2..c6: minimax fit of the relative error on +-ln(2)/2.
//
// A fused operation stands below only where the product is exact and the result therefore the same.
template <class V>
HWY_INLINE V exp_magic(hn::DFromV<V> d) {
    return hn::Set(d, 0x1.8p23f + 127.0f);
}

// p, from x and k.
template <class V>
HWY_INLINE V exp_fraction(V x, V k) {
    const hn::DFromV<V> d;
    const V r = hn::NegMulAdd(k, hn::Set(d, ln2_low), hn::NegMulAdd(k, hn::Set(d, ln2_high), x));
    const V s = hn::Mul(r, r);
    const V c45 = hn::Add(hn::Mul(r, hn::Set(d, 0x1.1239c6p-7f)), hn::Set(d, 0x1.5558bcp-5f));
    const V c23 = hn::Add(hn::Mul(r, hn::Set(d, 0x1.555492p-3f)), hn::Set(d, 0x1.fffffcp-2f));
    const V c456 = hn::Add(hn::Mul(s, hn::Set(d, 0x1.6a4154p-10f)), c45);
    const V q = hn::Add(hn::Mul(c456, s), c23);
    return hn::Add(hn::Add(hn::Mul(s, q), r), hn::Set(d, 1.0f));
}

// For any operand; NaN gives the canonical NaN.
template <class V>
HWY_INLINE V exp(V operand) {
    const hn::DFromV<V> d;
    const hn::RebindToUnsigned<decltype(d)> du;
    const V x = hn::Min(hn::Max(operand, hn::Set(d, -88.0f)), hn::Set(d, 88.0f));
    const V t = hn::Add(hn::Mul(x, hn::Set(d, 0x1.7154p+0f)), exp_magic<V>(d));
    const V p = exp_fraction(x, hn::Sub(t, exp_magic<V>(d)));
    // The low bits of t hold k + 127, the exponent field of 2^k; k = -127 needs the subnormal.
    const auto exponent = hn::ShiftLeft<23>(hn::BitCast(du, t));
    const auto scale = hn::Max(exponent, hn::Set(du, 0x00400000u));
    const V result = hn::Mul(p, hn::BitCast(d, scale));
    return hn::IfThenElse(hn::IsNaN(operand), hn::BitCast(d, hn::Set(du, canonical_nan_fp32)),
                          result);
}

// The same for BF16 operands within +-87 (for which the result is a normal number, and the product
// with L exact).
template <class V>
HWY_INLINE V exp_of_bf16_within_87(V x) {
    const hn::DFromV<V> d;
    const hn::RebindToUnsigned<decltype(d)> du;
    const V t = hn::MulAdd(x, hn::Set(d, 0x1.7154p+0f), exp_magic<V>(d));
    const V p = exp_fraction(x, hn::Sub(t, exp_magic<V>(d)));
    return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(du, t))));
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
