// How rows in a storage format meet vectors of float32. One compilation per SIMD target.
#if defined(NPUVP_NUMERICS_STORAGE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NPUVP_NUMERICS_STORAGE_INL_H_
#undef NPUVP_NUMERICS_STORAGE_INL_H_
#else
#define NPUVP_NUMERICS_STORAGE_INL_H_
#endif

#include "hwy/highway.h"
#include "numerics/bf16.h"

HWY_BEFORE_NAMESPACE();
namespace npuvp::numerics {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVec = hn::Vec<FloatTag>;
using WordTag = hn::RebindToUnsigned<FloatTag>;

/// A step is what two vectors of float32 hold: `first` and `second`. In BF16 these are the even and
/// the odd lanes of the step, which separate without a shuffle.
struct Bf16Storage {
    using Lane = std::uint16_t;
    using LaneTag = hn::ScalableTag<Lane>;
    static constexpr Format format = Format::bf16;
    static constexpr Lane infinity = 0x7F80;
    static constexpr Lane nan = canonical_nan_bf16;
    static constexpr Lane one = 0x3F80;

    static float to_float(Lane lane) { return bf16_to_float(lane); }
    static Lane of_float(float value) { return float_to_bf16(value); }

    static HWY_INLINE void load(const Lane* p, FloatVec& first, FloatVec& second) {
        const FloatTag df;
        const WordTag dw;
        const auto words = hn::BitCast(dw, hn::LoadU(LaneTag(), p));
        first = hn::BitCast(df, hn::ShiftLeft<16>(words));
        second = hn::BitCast(df, hn::And(words, hn::Set(dw, 0xFFFF0000u)));
    }

    // Rounds; the payload of a NaN survives (its low half must be zero, which holds for what
    // arithmetic makes of BF16 operands and canonical NaNs).
    static HWY_INLINE hn::Vec<LaneTag> round(FloatVec first, FloatVec second) {
        const WordTag dw;
        const LaneTag dl;
        const auto even = hn::BitCast(dw, first);
        const auto odd = hn::BitCast(dw, second);
        const auto high =
            hn::OddEven(hn::BitCast(dl, odd), hn::BitCast(dl, hn::ShiftRight<16>(even)));
        const auto low =
            hn::OddEven(hn::BitCast(dl, hn::ShiftLeft<16>(odd)), hn::BitCast(dl, even));
        // Up where low > 1/2, or low = 1/2 and high is odd.
        const auto sum = hn::SaturatedAdd(low, hn::And(high, hn::Set(dl, Lane{1})));
        const auto up = hn::Gt(sum, hn::Set(dl, Lane{0x8000}));
        return hn::Sub(high, hn::VecFromMask(dl, up));
    }

    static HWY_INLINE void store(Lane* p, FloatVec first, FloatVec second) {
        const LaneTag dl;
        const auto lanes = round(first, second);
        const auto magnitude = hn::And(lanes, hn::Set(dl, Lane{0x7FFF}));
        const auto is_nan = hn::Gt(magnitude, hn::Set(dl, infinity));
        hn::StoreU(hn::IfThenElse(is_nan, hn::Set(dl, nan), lanes), dl, p);
    }

    // For results that are no NaN but canonical ones.
    static HWY_INLINE void store_canonical(Lane* p, FloatVec first, FloatVec second) {
        hn::StoreU(round(first, second), LaneTag(), p);
    }
};

struct Fp32Storage {
    using Lane = std::uint32_t;
    using LaneTag = hn::ScalableTag<Lane>;
    static constexpr Format format = Format::fp32;
    static constexpr Lane infinity = 0x7F800000u;
    static constexpr Lane nan = canonical_nan_fp32;
    static constexpr Lane one = 0x3F800000u;

    static float to_float(Lane lane) { return float_of_bits(lane); }
    static Lane of_float(float value) { return float_bits(canonical(value)); }

    static HWY_INLINE void load(const Lane* p, FloatVec& first, FloatVec& second) {
        const FloatTag df;
        const LaneTag dl;
        first = hn::BitCast(df, hn::LoadU(dl, p));
        second = hn::BitCast(df, hn::LoadU(dl, p + hn::Lanes(dl)));
    }

    static HWY_INLINE void store_canonical(Lane* p, FloatVec first, FloatVec second) {
        const LaneTag dl;
        hn::StoreU(hn::BitCast(dl, first), dl, p);
        hn::StoreU(hn::BitCast(dl, second), dl, p + hn::Lanes(dl));
    }

    static HWY_INLINE void store(Lane* p, FloatVec first, FloatVec second) {
        const FloatTag df;
        const auto nans = hn::BitCast(df, hn::Set(LaneTag(), nan));
        store_canonical(p, hn::IfThenElse(hn::IsNaN(first), nans, first),
                        hn::IfThenElse(hn::IsNaN(second), nans, second));
    }
};

/// Lanes of a step, at run time and at most.
HWY_INLINE std::size_t step_lanes() {
    return 2 * hn::Lanes(FloatTag());
}
inline constexpr std::size_t max_step_lanes = 2 * hn::MaxLanes(FloatTag());

}  // namespace HWY_NAMESPACE
}  // namespace npuvp::numerics
HWY_AFTER_NAMESPACE();

#endif
