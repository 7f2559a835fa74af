#pragma once

#include <cstddef>
#include <cstdint>

#include "numerics/format.h"
#include "numerics/lane_mask.h"

namespace npuvp::numerics {

/// Relations of the compare kernels, in the order of RowKernels::compare_vv. A comparison with NaN
/// is false; +0 and -0 are equal.
enum class Relation : std::uint8_t { lt, le, eq, ge, gt };
inline constexpr std::size_t relations = 5;

/// Kernels over rows of n contiguous lanes in one storage format.
///
/// Every lane is computed in float32 and rounded once to the storage format; a NaN that arithmetic
/// stores is canonical. A destination is distinct from each source or the same row. With a mask,
/// disabled lanes of the destination receive the first source operand unchanged (exp: clamped); no
/// mask (nullptr) enables all lanes. Scalars are float32 and are not rounded before they are used.
/// Results are bit for bit the same for every SIMD target.
struct RowKernels {
    using Vv = void (*)(void* d, const void* a, const void* b, std::size_t n, const LaneMask*);
    using Vf = void (*)(void* d, const void* a, float f, std::size_t n, const LaneMask*);
    using V = void (*)(void* d, const void* a, std::size_t n, const LaneMask*);
    using Reduce = float (*)(const void* a, std::size_t n, float f, const LaneMask*);

    Vv add_vv, sub_vv, mul_vv;
    Vf add_vf, sub_vf, mul_vf;  // sub: a - f
    Vf rsub_vf;                 // f - a
    /// NaN propagates; -0 is less than +0.
    Vv max_vv, min_vv;
    Vf max_vf, min_vf;
    /// 1 where the relation holds, else 0.
    Vv compare_vv[relations];
    Vf compare_vf[relations];

    /// Elementary functions as elementary-inl.h defines them; exp clamps its operand to +-88.
    V exp, reciprocal, log, sqrt;
    V abs;
    /// 2^floor(log2 |x|); 0 for zeros, infinity for infinities.
    V floor_power_of_two;

    /// mask lane not equal to zero (NaN is not) ? a : b, bits unchanged.
    void (*select)(void* d, const void* mask, const void* a, const void* b, std::size_t n);
    /// Lane i receives lane i - count, zero below; bits unchanged.
    void (*shift)(void* d, const void* a, std::size_t n, std::size_t count);
    void (*fill)(void* d, float f, std::size_t n);

    /// f + (halving tree x[0:h] + x[h:2h] until one is left), in float32; disabled lanes count as
    /// +0. n is a power of two.
    Reduce sum;
    /// The larger (smaller) of f and the enabled lanes, -0 less than +0. A NaN lane makes the
    /// vector part NaN, and of f and a NaN the result is f; both NaN give NaN.
    Reduce max, min;
    /// Where the first of the largest enabled lanes is larger than `best`: stores its value and its
    /// index and returns true. NaN never wins; +0 and -0 are equal.
    bool (*max_index)(const void* a, std::size_t n, const LaneMask*, float& best,
                      std::uint32_t& index);

    void (*to_float)(float* d, const void* a, std::size_t n);
    /// Rounds as a store of arithmetic does.
    void (*from_float)(void* d, const float* a, std::size_t n);
};

/// The kernels of a storage format for the best SIMD target of this processor. The reference stays
/// valid; fetch it once.
const RowKernels& row_kernels(Format format);

}  // namespace npuvp::numerics
