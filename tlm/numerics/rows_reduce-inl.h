// Row reductions. One compilation per SIMD target.
#if defined(NPUVP_NUMERICS_ROWS_REDUCE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NPUVP_NUMERICS_ROWS_REDUCE_INL_H_
#undef NPUVP_NUMERICS_ROWS_REDUCE_INL_H_
#else
#define NPUVP_NUMERICS_ROWS_REDUCE_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "numerics/rows_map-inl.h"

HWY_BEFORE_NAMESPACE();
namespace npuvp::numerics {
namespace HWY_NAMESPACE {

// The halving tree over the steps of a row, in registers: of the steps `stride` apart from the one
// at `p` on, `count` in all, the tree adds step j of the lower half to step j of the upper half.
// Seen from its root that is the sum of the even ones plus the sum of the odd ones.
template <class S>
HWY_INLINE void tree2(const LaneOf<S>* p, std::size_t stride, FloatVec& first, FloatVec& second) {
    FloatVec b0 = hn::Zero(FloatTag()), b1 = b0;
    S::load(p, first, second);
    S::load(p + stride, b0, b1);
    first = hn::Add(first, b0);
    second = hn::Add(second, b1);
}

template <class S>
HWY_INLINE void tree4(const LaneOf<S>* p, std::size_t stride, FloatVec& first, FloatVec& second) {
    FloatVec b0 = hn::Zero(FloatTag()), b1 = b0;
    tree2<S>(p, 2 * stride, first, second);
    tree2<S>(p + stride, 2 * stride, b0, b1);
    first = hn::Add(first, b0);
    second = hn::Add(second, b1);
}

template <class S>
HWY_INLINE void tree8(const LaneOf<S>* p, std::size_t stride, FloatVec& first, FloatVec& second) {
    FloatVec b0 = hn::Zero(FloatTag()), b1 = b0;
    tree4<S>(p, 2 * stride, first, second);
    tree4<S>(p + stride, 2 * stride, b0, b1);
    first = hn::Add(first, b0);
    second = hn::Add(second, b1);
}

template <class S>
void tree(const LaneOf<S>* p, std::size_t stride, std::size_t count, FloatVec& first,
          FloatVec& second) {
    if (count == 8) return tree8<S>(p, stride, first, second);
    if (count == 4) return tree4<S>(p, stride, first, second);
    if (count == 2) return tree2<S>(p, stride, first, second);
    if (count == 1) return S::load(p, first, second);
    constexpr std::size_t most_groups = 32;
    const std::size_t groups = count / 8;
    if (groups > most_groups) {
        FloatVec b0 = hn::Zero(FloatTag()), b1 = b0;
        tree<S>(p, 2 * stride, count / 2, first, second);
        tree<S>(p + stride, 2 * stride, count / 2, b0, b1);
        first = hn::Add(first, b0);
        second = hn::Add(second, b1);
        return;
    }
    // Three levels in registers, the others in this buffer.
    alignas(64) float sums[most_groups * max_step_lanes];
    const FloatTag df;
    const std::size_t lanes = hn::Lanes(df);
    for (std::size_t j = 0; j < groups; ++j) {
        tree8<S>(p + j * stride, groups * stride, first, second);
        hn::Store(first, df, sums + 2 * j * lanes);
        hn::Store(second, df, sums + (2 * j + 1) * lanes);
    }
    for (std::size_t h = groups * lanes; h > lanes; h /= 2) {
        for (std::size_t i = 0; i < h; i += lanes) {
            const auto sum = hn::Add(hn::Load(df, sums + i), hn::Load(df, sums + i + h));
            hn::Store(sum, df, sums + i);
        }
    }
    first = hn::Load(df, sums);
    second = hn::Load(df, sums + lanes);
}

HWY_INLINE float halve(float* x, std::size_t n) {
    for (std::size_t h = n / 2; h > 0; h /= 2) {
        for (std::size_t i = 0; i < h; ++i) x[i] = x[i] + x[i + h];
    }
    return x[0];
}

// The tree over the lanes of a vector.
template <class D>
HWY_INLINE float halve_lanes(D d, hn::Vec<D> v) {
    if constexpr (hn::MaxLanes(D()) > 4) {
        const hn::Half<D> dh;
        return halve_lanes(dh, hn::Add(hn::LowerHalf(dh, v), hn::UpperHalf(dh, v)));
    } else {
        alignas(16) float x[4];
        hn::Store(v, d, x);
        return halve(x, hn::Lanes(d));
    }
}

template <class S>
HWY_INLINE float row_sum(const LaneOf<S>* row, std::size_t n) {
    alignas(64) float x[max_step_lanes];
    const FloatTag df;
    const std::size_t step = step_lanes();
    if (n < step) {
        to_float_v<S>(x, row, n);
        return halve(x, n);
    }
    FloatVec first = hn::Zero(df), second = first;
    tree<S>(row, step, n / step, first, second);
    if constexpr (S::format == Format::bf16) {
        // Even and odd lanes stay apart until the last addition.
        return halve_lanes(df, first) + halve_lanes(df, second);
    } else {
        return halve_lanes(df, hn::Add(first, second));
    }
}

template <class S>
float sum(const void* source, std::size_t n, float f, const LaneMask* mask) {
    if (n == 0 || (n & (n - 1)) != 0) {
        throw std::invalid_argument("sum over " + std::to_string(n) +
                                    " lanes: a halving tree needs a power of two");
    }
    const auto* row = static_cast<const LaneOf<S>*>(source);
    if (mask == nullptr) return canonical(f + row_sum<S>(row, n));
    std::vector<LaneOf<S>> enabled(n);
    for (LaneRuns run(mask, n); run.next();) {
        if (!run.enabled()) continue;
        std::memcpy(enabled.data() + run.begin(), row + run.begin(),
                    run.length() * sizeof(LaneOf<S>));
    }
    return canonical(f + row_sum<S>(enabled.data(), n));
}

// Of the bits of some lanes the largest as signed integer and the smallest and largest as unsigned
// one; the extreme numbers and the presence of NaNs follow from them.
template <class S>
struct Extremes {
    using Lane = LaneOf<S>;
    static constexpr Lane sign = static_cast<Lane>(~Bits<S>::magnitude_mask);
    static constexpr Lane none = static_cast<Lane>(~Lane{0});

    // These initial values lose against every number: a negative NaN and a zero.
    Lane signed_max = none;
    Lane unsigned_min = none;
    Lane unsigned_max = 0;

    bool any_nan() const {
        return positive_nan() || unsigned_max > static_cast<Lane>(sign | S::infinity);
    }
    bool positive_nan() const { return signed_max < sign && signed_max > S::infinity; }
    // Without NaNs: some lane is positive, or else the negative one of least magnitude.
    Lane max() const { return signed_max < sign ? signed_max : unsigned_min; }
    // Without NaNs: the negative one of largest magnitude, or else the least positive one. With
    // negative lanes unsigned_max is one of them.
    Lane min() const { return unsigned_max >= sign ? unsigned_max : unsigned_min; }

    void include(const Extremes& other) {
        using Signed = std::make_signed_t<Lane>;
        if (static_cast<Signed>(other.signed_max) > static_cast<Signed>(signed_max)) {
            signed_max = other.signed_max;
        }
        unsigned_min = std::min(unsigned_min, other.unsigned_min);
        unsigned_max = std::max(unsigned_max, other.unsigned_max);
    }
    void include(Lane bits) { include(Extremes{bits, bits, bits}); }
};

// With `ignore_nan`, NaN lanes count as the negative NaN of all ones.
template <class S, bool ignore_nan>
Extremes<S> extremes(const LaneOf<S>* row, std::size_t n) {
    using B = Bits<S>;
    const typename B::Tag d;
    const typename B::SignedTag ds;
    Extremes<S> result;
    const auto all_ones = hn::Set(d, Extremes<S>::none);
    auto signed_max = hn::BitCast(ds, all_ones);
    auto unsigned_min = all_ones;
    auto unsigned_max = hn::Zero(d);
    const std::size_t step = hn::Lanes(d);
    const auto load = [d, all_ones](const LaneOf<S>* p) HWY_ATTR {
        const auto v = hn::LoadU(d, p);
        if constexpr (!ignore_nan) return v;
        return hn::IfThenElse(B::is_nan(v), all_ones, v);
    };
    std::size_t i = 0;
    for (; i + 4 * step <= n; i += 4 * step) {
        const auto a = load(row + i), b = load(row + i + step);
        const auto c = load(row + i + 2 * step), e = load(row + i + 3 * step);
        signed_max = hn::Max(signed_max, hn::Max(hn::Max(hn::BitCast(ds, a), hn::BitCast(ds, b)),
                                                 hn::Max(hn::BitCast(ds, c), hn::BitCast(ds, e))));
        unsigned_min = hn::Min(unsigned_min, hn::Min(hn::Min(a, b), hn::Min(c, e)));
        unsigned_max = hn::Max(unsigned_max, hn::Max(hn::Max(a, b), hn::Max(c, e)));
    }
    for (; i + step <= n; i += step) {
        const auto v = load(row + i);
        signed_max = hn::Max(signed_max, hn::BitCast(ds, v));
        unsigned_min = hn::Min(unsigned_min, v);
        unsigned_max = hn::Max(unsigned_max, v);
    }
    result.signed_max = static_cast<LaneOf<S>>(hn::GetLane(hn::MaxOfLanes(ds, signed_max)));
    result.unsigned_min = hn::GetLane(hn::MinOfLanes(d, unsigned_min));
    result.unsigned_max = hn::GetLane(hn::MaxOfLanes(d, unsigned_max));
    for (; i < n; ++i) {
        const bool is_nan = (row[i] & B::magnitude_mask) > S::infinity;
        result.include(ignore_nan && is_nan ? Extremes<S>::none : row[i]);
    }
    return result;
}

template <class S>
Extremes<S> enabled_extremes(const void* source, std::size_t n, const LaneMask* mask) {
    const auto* row = static_cast<const LaneOf<S>*>(source);
    Extremes<S> all;
    for (LaneRuns run(mask, n); run.next();) {
        if (!run.enabled()) continue;
        all.include(extremes<S, false>(row + run.begin(), run.length()));
    }
    return all;
}

HWY_INLINE bool any_enabled(std::size_t n, const LaneMask* mask) {
    for (LaneRuns run(mask, n); run.next();) {
        if (run.enabled()) return true;
    }
    return false;
}

template <class S>
float max(const void* source, std::size_t n, float f, const LaneMask* mask) {
    if (!any_enabled(n, mask)) return canonical(f);
    const auto all = enabled_extremes<S>(source, n, mask);
    if (all.any_nan()) return canonical(f);
    return npuvp::numerics::max(f, S::to_float(all.max()));
}

template <class S>
float min(const void* source, std::size_t n, float f, const LaneMask* mask) {
    if (!any_enabled(n, mask)) return canonical(f);
    const auto all = enabled_extremes<S>(source, n, mask);
    if (all.any_nan()) return canonical(f);
    return npuvp::numerics::min(f, S::to_float(all.min()));
}

// Index of the first lane that equals the number of these bits; one does.
template <class S>
HWY_INLINE std::size_t first_equal(const LaneOf<S>* row, std::size_t n, LaneOf<S> bits) {
    using B = Bits<S>;
    const typename B::Tag d;
    const bool zero = (bits & B::magnitude_mask) == 0;
    // Only the two zeros have several bit patterns: their sign is left out.
    const auto relevant = hn::Set(d, zero ? B::magnitude_mask : Extremes<S>::none);
    const auto wanted = hn::Set(d, zero ? LaneOf<S>{0} : bits);
    const std::size_t step = hn::Lanes(d);
    const auto equal = [d, relevant, wanted](const LaneOf<S>* p)
                           HWY_ATTR { return hn::Eq(hn::And(hn::LoadU(d, p), relevant), wanted); };
    std::size_t i = 0;
    for (; i + 4 * step <= n; i += 4 * step) {
        const auto lower = hn::Or(equal(row + i), equal(row + i + step));
        const auto upper = hn::Or(equal(row + i + 2 * step), equal(row + i + 3 * step));
        if (!hn::AllFalse(d, hn::Or(lower, upper))) break;
    }
    for (; i + step <= n; i += step) {
        const auto found = equal(row + i);
        if (!hn::AllFalse(d, found)) {
            return i + static_cast<std::size_t>(hn::FindFirstTrue(d, found));
        }
    }
    const LaneOf<S> mask = zero ? B::magnitude_mask : Extremes<S>::none;
    while ((row[i] & mask) != (zero ? 0 : bits)) ++i;
    return i;
}

template <class S>
bool max_index(const void* source, std::size_t n, const LaneMask* mask, float& best,
               std::uint32_t& index) {
    const auto* row = static_cast<const LaneOf<S>*>(source);
    bool found = false;
    for (LaneRuns run(mask, n); run.next();) {
        if (!run.enabled()) continue;
        const auto* lanes = row + run.begin();
        auto part = extremes<S, false>(lanes, run.length());
        if (part.positive_nan()) part = extremes<S, true>(lanes, run.length());
        const LaneOf<S> bits = part.max();
        // Bits of a NaN (no lane holds a number) compare false.
        if (!(S::to_float(bits) > best)) continue;
        const std::size_t lane = run.begin() + first_equal<S>(lanes, run.length(), bits);
        best = S::to_float(row[lane]);
        index = static_cast<std::uint32_t>(lane);
        found = true;
    }
    return found;
}

}  // namespace HWY_NAMESPACE
}  // namespace npuvp::numerics
HWY_AFTER_NAMESPACE();

#endif
