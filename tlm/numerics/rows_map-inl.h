// Lane-by-lane row kernels. One compilation per SIMD target.
#if defined(NPUVP_NUMERICS_ROWS_MAP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NPUVP_NUMERICS_ROWS_MAP_INL_H_
#undef NPUVP_NUMERICS_ROWS_MAP_INL_H_
#else
#define NPUVP_NUMERICS_ROWS_MAP_INL_H_
#endif

#include <cstring>

#include "numerics/elementary-inl.h"
#include "numerics/rows.h"
#include "numerics/storage-inl.h"

HWY_BEFORE_NAMESPACE();
namespace npuvp::numerics {
namespace HWY_NAMESPACE {

// What a kernel does with one step: `run` on vectors of float32 (of the two halves of a step).
struct Add {
    static HWY_INLINE FloatVec run(FloatVec a, FloatVec b) { return hn::Add(a, b); }
};
struct Sub {
    static HWY_INLINE FloatVec run(FloatVec a, FloatVec b) { return hn::Sub(a, b); }
};
struct ReverseSub {
    static HWY_INLINE FloatVec run(FloatVec a, FloatVec b) { return hn::Sub(b, a); }
};
struct Mul {
    static HWY_INLINE FloatVec run(FloatVec a, FloatVec b) { return hn::Mul(a, b); }
};

template <Relation relation>
struct Compare {
    static HWY_INLINE FloatVec run(FloatVec a, FloatVec b) {
        const auto one = hn::Set(FloatTag(), 1.0f);
        if constexpr (relation == Relation::lt) return hn::IfThenElseZero(hn::Lt(a, b), one);
        if constexpr (relation == Relation::le) return hn::IfThenElseZero(hn::Le(a, b), one);
        if constexpr (relation == Relation::eq) return hn::IfThenElseZero(hn::Eq(a, b), one);
        if constexpr (relation == Relation::ge) return hn::IfThenElseZero(hn::Ge(a, b), one);
        if constexpr (relation == Relation::gt) return hn::IfThenElseZero(hn::Gt(a, b), one);
    }
};

// The ones with canonical results store without a second look at NaNs.
struct Exp {
    static constexpr bool canonical = true;
    static HWY_INLINE FloatVec run(FloatVec a) { return exp(a); }
};
struct ExpWithin87 {
    static constexpr bool canonical = true;
    static HWY_INLINE FloatVec run(FloatVec a) { return exp_of_bf16_within_87(a); }
};
struct ClampForExp {
    static constexpr bool canonical = false;
    static HWY_INLINE FloatVec run(FloatVec a) { return clamp_for_exp(a); }
};
struct Log {
    static constexpr bool canonical = true;
    static HWY_INLINE FloatVec run(FloatVec a) { return log(a); }
};
struct Reciprocal {
    static constexpr bool canonical = false;
    static HWY_INLINE FloatVec run(FloatVec a) { return reciprocal(a); }
};
struct Sqrt {
    static constexpr bool canonical = false;
    static HWY_INLINE FloatVec run(FloatVec a) { return hn::Sqrt(a); }
};
struct FloorPowerOfTwo {
    static constexpr bool canonical = true;
    static HWY_INLINE FloatVec run(FloatVec a) { return floor_power_of_two(a); }
};

inline constexpr std::uint16_t bf16_of_87 = 0x42AE;

template <class S>
using LaneOf = typename S::Lane;

// A row's last lanes that fill no step, in a buffer that does.
template <class S>
struct Tail {
    alignas(64) LaneOf<S> lanes[max_step_lanes] = {};
    explicit Tail(const LaneOf<S>* row, std::size_t count) {
        std::memcpy(lanes, row, count * sizeof(LaneOf<S>));
    }
};

template <class S, class Op>
HWY_INLINE void step_v(LaneOf<S>* d, const LaneOf<S>* a) {
    FloatVec a0 = hn::Zero(FloatTag()), a1 = a0;
    S::load(a, a0, a1);
    if constexpr (Op::canonical) {
        S::store_canonical(d, Op::run(a0), Op::run(a1));
    } else {
        S::store(d, Op::run(a0), Op::run(a1));
    }
}

template <class S, class Op>
void map_v(void* destination, const void* source, std::size_t n) {
    auto* d = static_cast<LaneOf<S>*>(destination);
    const auto* a = static_cast<const LaneOf<S>*>(source);
    const std::size_t step = step_lanes();
    std::size_t i = 0;
    for (; i + step <= n; i += step) step_v<S, Op>(d + i, a + i);
    if (i == n) return;
    Tail<S> tail(a + i, n - i);
    step_v<S, Op>(tail.lanes, tail.lanes);
    std::memcpy(d + i, tail.lanes, (n - i) * sizeof(LaneOf<S>));
}

// exp has a short way for BF16 operands of magnitude up to 87, which is nearly always all of them:
// it is taken for so many steps at a time. (A NaN has a larger magnitude, too.)
template <class S>
void exp_v(void* destination, const void* source, std::size_t n) {
    if constexpr (S::format == Format::bf16) {
        constexpr std::size_t steps = 16;
        auto* d = static_cast<LaneOf<S>*>(destination);
        const auto* a = static_cast<const LaneOf<S>*>(source);
        const typename S::LaneTag dl;
        const std::size_t step = step_lanes();
        std::size_t i = 0;
        for (; i + steps * step <= n; i += steps * step) {
            auto largest = hn::Zero(dl);
            for (std::size_t j = 0; j < steps; ++j) {
                const auto lanes = hn::LoadU(dl, a + i + j * step);
                largest = hn::Max(largest, hn::And(lanes, hn::Set(dl, LaneOf<S>{0x7FFF})));
            }
            if (hn::AllFalse(dl, hn::Gt(largest, hn::Set(dl, bf16_of_87)))) {
                for (std::size_t j = 0; j < steps; ++j) {
                    step_v<S, ExpWithin87>(d + i + j * step, a + i + j * step);
                }
            } else {
                map_v<S, Exp>(d + i, a + i, steps * step);
            }
        }
        map_v<S, Exp>(d + i, a + i, n - i);
    } else {
        map_v<S, Exp>(destination, source, n);
    }
}

template <class S, class Op>
HWY_INLINE void step_vv(LaneOf<S>* d, const LaneOf<S>* a, const LaneOf<S>* b) {
    FloatVec a0 = hn::Zero(FloatTag()), a1 = a0, b0 = a0, b1 = a0;
    S::load(a, a0, a1);
    S::load(b, b0, b1);
    S::store(d, Op::run(a0, b0), Op::run(a1, b1));
}

template <class S, class Op>
void map_vv(void* destination, const void* first, const void* second, std::size_t n) {
    auto* d = static_cast<LaneOf<S>*>(destination);
    const auto* a = static_cast<const LaneOf<S>*>(first);
    const auto* b = static_cast<const LaneOf<S>*>(second);
    const std::size_t step = step_lanes();
    std::size_t i = 0;
    for (; i + step <= n; i += step) step_vv<S, Op>(d + i, a + i, b + i);
    if (i == n) return;
    Tail<S> tail_a(a + i, n - i), tail_b(b + i, n - i);
    step_vv<S, Op>(tail_a.lanes, tail_a.lanes, tail_b.lanes);
    std::memcpy(d + i, tail_a.lanes, (n - i) * sizeof(LaneOf<S>));
}

template <class S, class Op>
HWY_INLINE void step_vf(LaneOf<S>* d, const LaneOf<S>* a, FloatVec f) {
    FloatVec a0 = hn::Zero(FloatTag()), a1 = a0;
    S::load(a, a0, a1);
    S::store(d, Op::run(a0, f), Op::run(a1, f));
}

template <class S, class Op>
void map_vf(void* destination, const void* source, float scalar, std::size_t n) {
    auto* d = static_cast<LaneOf<S>*>(destination);
    const auto* a = static_cast<const LaneOf<S>*>(source);
    const FloatVec f = hn::Set(FloatTag(), canonical(scalar));
    const std::size_t step = step_lanes();
    std::size_t i = 0;
    for (; i + step <= n; i += step) step_vf<S, Op>(d + i, a + i, f);
    if (i == n) return;
    Tail<S> tail(a + i, n - i);
    step_vf<S, Op>(tail.lanes, tail.lanes, f);
    std::memcpy(d + i, tail.lanes, (n - i) * sizeof(LaneOf<S>));
}

// Maximum, minimum and magnitude need no arithmetic: they work on the bits of whole lanes.
template <class S>
struct Bits {
    using Tag = typename S::LaneTag;
    using SignedTag = hn::RebindToSigned<Tag>;
    using Vec = hn::Vec<Tag>;
    using Lane = LaneOf<S>;
    static constexpr int sign_bit = 8 * sizeof(Lane) - 1;
    static constexpr Lane magnitude_mask = static_cast<Lane>(~(Lane{1} << sign_bit));

    static HWY_INLINE Vec magnitude(Vec v) { return hn::And(v, hn::Set(Tag(), magnitude_mask)); }

    static HWY_INLINE hn::Mask<Tag> is_nan(Vec v) {
        return hn::Gt(magnitude(v), hn::Set(Tag(), S::infinity));
    }

    // Orders as the numbers do, -0 before +0, when compared as signed integers; its own inverse.
    static HWY_INLINE hn::Vec<SignedTag> key(Vec v) {
        const SignedTag ds;
        const auto bits = hn::BitCast(ds, v);
        const auto flip = hn::And(hn::ShiftRight<sign_bit>(bits),
                                  hn::BitCast(ds, hn::Set(Tag(), magnitude_mask)));
        return hn::Xor(bits, flip);
    }

    static HWY_INLINE Vec of_key(hn::Vec<SignedTag> k) {
        const Tag d;
        return hn::BitCast(d, key(hn::BitCast(d, k)));
    }
};

template <class S>
struct Max {
    static HWY_INLINE typename Bits<S>::Vec run(typename Bits<S>::Vec a, typename Bits<S>::Vec b) {
        using B = Bits<S>;
        const auto larger = B::of_key(hn::Max(B::key(a), B::key(b)));
        return hn::IfThenElse(hn::Or(B::is_nan(a), B::is_nan(b)),
                              hn::Set(typename B::Tag(), S::nan), larger);
    }
};

template <class S>
struct Min {
    static HWY_INLINE typename Bits<S>::Vec run(typename Bits<S>::Vec a, typename Bits<S>::Vec b) {
        using B = Bits<S>;
        const auto smaller = B::of_key(hn::Min(B::key(a), B::key(b)));
        return hn::IfThenElse(hn::Or(B::is_nan(a), B::is_nan(b)),
                              hn::Set(typename B::Tag(), S::nan), smaller);
    }
};

template <class S, template <class> class Op>
void bits_vv(void* destination, const void* first, const void* second, std::size_t n) {
    auto* d = static_cast<LaneOf<S>*>(destination);
    const auto* a = static_cast<const LaneOf<S>*>(first);
    const auto* b = static_cast<const LaneOf<S>*>(second);
    const typename S::LaneTag dl;
    const std::size_t step = hn::Lanes(dl);
    std::size_t i = 0;
    for (; i + step <= n; i += step) {
        hn::StoreU(Op<S>::run(hn::LoadU(dl, a + i), hn::LoadU(dl, b + i)), dl, d + i);
    }
    if (i == n) return;
    Tail<S> tail_a(a + i, n - i), tail_b(b + i, n - i);
    hn::StoreU(Op<S>::run(hn::LoadU(dl, tail_a.lanes), hn::LoadU(dl, tail_b.lanes)), dl,
               tail_a.lanes);
    std::memcpy(d + i, tail_a.lanes, (n - i) * sizeof(LaneOf<S>));
}

// Rounding is monotonic: the scalar may be rounded before it is compared.
template <class S, template <class> class Op>
void bits_vf(void* destination, const void* source, float scalar, std::size_t n) {
    auto* d = static_cast<LaneOf<S>*>(destination);
    const auto* a = static_cast<const LaneOf<S>*>(source);
    const typename S::LaneTag dl;
    const auto f = hn::Set(dl, S::of_float(scalar));
    const std::size_t step = hn::Lanes(dl);
    std::size_t i = 0;
    for (; i + step <= n; i += step) {
        hn::StoreU(Op<S>::run(hn::LoadU(dl, a + i), f), dl, d + i);
    }
    if (i == n) return;
    Tail<S> tail(a + i, n - i);
    hn::StoreU(Op<S>::run(hn::LoadU(dl, tail.lanes), f), dl, tail.lanes);
    std::memcpy(d + i, tail.lanes, (n - i) * sizeof(LaneOf<S>));
}

template <class S>
void abs_v(void* destination, const void* source, std::size_t n) {
    auto* d = static_cast<LaneOf<S>*>(destination);
    const auto* a = static_cast<const LaneOf<S>*>(source);
    for (std::size_t i = 0; i < n; ++i) {
        const auto magnitude = static_cast<LaneOf<S>>(a[i] & Bits<S>::magnitude_mask);
        d[i] = magnitude > S::infinity ? S::nan : magnitude;
    }
}

template <class S>
void select_v(void* destination, const void* mask, const void* first, const void* second,
              std::size_t n) {
    auto* d = static_cast<LaneOf<S>*>(destination);
    const auto* m = static_cast<const LaneOf<S>*>(mask);
    const auto* a = static_cast<const LaneOf<S>*>(first);
    const auto* b = static_cast<const LaneOf<S>*>(second);
    for (std::size_t i = 0; i < n; ++i) {
        d[i] = (m[i] & Bits<S>::magnitude_mask) != 0 ? a[i] : b[i];
    }
}

template <class S>
void shift_v(void* destination, const void* source, std::size_t n, std::size_t count) {
    auto* d = static_cast<LaneOf<S>*>(destination);
    const std::size_t zeros = count < n ? count : n;
    std::memmove(d + zeros, source, (n - zeros) * sizeof(LaneOf<S>));
    std::memset(d, 0, zeros * sizeof(LaneOf<S>));
}

template <class S>
void fill_v(void* destination, float scalar, std::size_t n) {
    auto* d = static_cast<LaneOf<S>*>(destination);
    const auto lane = S::of_float(scalar);
    for (std::size_t i = 0; i < n; ++i) d[i] = lane;
}

template <class S>
void to_float_v(float* d, const void* source, std::size_t n) {
    const auto* a = static_cast<const LaneOf<S>*>(source);
    if constexpr (S::format == Format::bf16) {
        const FloatTag df;
        const WordTag dw;
        const hn::Rebind<std::uint16_t, FloatTag> dh;
        std::size_t i = 0;
        for (; i + hn::Lanes(df) <= n; i += hn::Lanes(df)) {
            const auto words = hn::ShiftLeft<16>(hn::PromoteTo(dw, hn::LoadU(dh, a + i)));
            hn::StoreU(hn::BitCast(df, words), df, d + i);
        }
        for (; i < n; ++i) d[i] = S::to_float(a[i]);
    } else {
        std::memmove(d, a, n * sizeof(float));
    }
}

template <class S>
void from_float_v(void* destination, const float* a, std::size_t n) {
    auto* d = static_cast<LaneOf<S>*>(destination);
    const FloatTag df;
    const WordTag dw;
    std::size_t i = 0;
    for (; i + hn::Lanes(df) <= n; i += hn::Lanes(df)) {
        const auto x = hn::LoadU(df, a + i);
        const auto canonical = hn::BitCast(dw, canonical_nan_or(x));
        if constexpr (S::format == Format::bf16) {
            const hn::Rebind<std::uint16_t, FloatTag> dh;
            const auto odd = hn::And(hn::ShiftRight<16>(canonical), hn::Set(dw, 1u));
            const auto sum = hn::Add(hn::Add(canonical, hn::Set(dw, 0x7FFFu)), odd);
            hn::StoreU(hn::TruncateTo(dh, hn::ShiftRight<16>(sum)), dh, d + i);
        } else {
            hn::StoreU(canonical, dw, d + i);
        }
    }
    for (; i < n; ++i) d[i] = S::of_float(a[i]);
}

// Lane masks: enabled runs are computed, disabled ones copy the first source.
template <class S>
HWY_INLINE void keep_first(void* d, const void* a, const LaneRuns& run) {
    if (d == a) return;
    std::memcpy(static_cast<LaneOf<S>*>(d) + run.begin(),
                static_cast<const LaneOf<S>*>(a) + run.begin(), run.length() * sizeof(LaneOf<S>));
}

template <class S>
HWY_INLINE void* at(void* row, const LaneRuns& run) {
    return static_cast<LaneOf<S>*>(row) + run.begin();
}

template <class S>
HWY_INLINE const void* at(const void* row, const LaneRuns& run) {
    return static_cast<const LaneOf<S>*>(row) + run.begin();
}

template <class S, void (*kernel)(void*, const void*, const void*, std::size_t)>
void masked_vv(void* d, const void* a, const void* b, std::size_t n, const LaneMask* mask) {
    for (LaneRuns run(mask, n); run.next();) {
        if (run.enabled()) {
            kernel(at<S>(d, run), at<S>(a, run), at<S>(b, run), run.length());
        } else {
            keep_first<S>(d, a, run);
        }
    }
}

template <class S, void (*kernel)(void*, const void*, float, std::size_t)>
void masked_vf(void* d, const void* a, float f, std::size_t n, const LaneMask* mask) {
    for (LaneRuns run(mask, n); run.next();) {
        if (run.enabled()) {
            kernel(at<S>(d, run), at<S>(a, run), f, run.length());
        } else {
            keep_first<S>(d, a, run);
        }
    }
}

template <class S, void (*kernel)(void*, const void*, std::size_t)>
void masked_v(void* d, const void* a, std::size_t n, const LaneMask* mask) {
    for (LaneRuns run(mask, n); run.next();) {
        if (run.enabled()) {
            kernel(at<S>(d, run), at<S>(a, run), run.length());
        } else {
            keep_first<S>(d, a, run);
        }
    }
}

template <class S>
void masked_exp(void* d, const void* a, std::size_t n, const LaneMask* mask) {
    for (LaneRuns run(mask, n); run.next();) {
        const auto kernel = run.enabled() ? exp_v<S> : map_v<S, ClampForExp>;
        kernel(at<S>(d, run), at<S>(a, run), run.length());
    }
}

}  // namespace HWY_NAMESPACE
}  // namespace npuvp::numerics
HWY_AFTER_NAMESPACE();

#endif
