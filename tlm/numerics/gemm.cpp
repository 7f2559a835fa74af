#include "numerics/gemm.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "numerics/bf16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "numerics/gemm.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace npuvp::numerics {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::ScalableTag<float>;
using Vec = hn::Vec<Tag>;

// Depth of a packed block (a panel of b and the rows of a tile stay in the first-level cache), rows
// of a packed block of a, vectors side by side in a tile, and its rows: as many as the registers
// can hold.
constexpr std::size_t block_depth = 128;
constexpr std::size_t block_rows = 768;
constexpr std::size_t tile_vectors = 2;
#if HWY_TARGET <= HWY_AVX3
constexpr std::size_t tile_rows = 12;
#else
constexpr std::size_t tile_rows = 6;
#endif

// What decides whether products are exact: over the finite non-zero elements the largest and the
// least magnitude and all mantissa bits that occur.
struct Range {
    std::uint32_t largest = 0;
    std::uint32_t least_minus_one = 0xFFFFFFFFu;
    std::uint32_t mantissas = 0;

    // count is a multiple of the vectors' lanes: packed blocks are padded.
    void include(const float* x, std::size_t count) {
        const hn::RebindToUnsigned<Tag> du;
        const auto infinity = hn::Set(du, 0x7F800000u);
        const auto one = hn::Set(du, 1u);
        auto most = hn::Zero(du);
        auto least = hn::Set(du, 0xFFFFFFFFu);
        auto bits = hn::Zero(du);
        for (std::size_t i = 0; i < count; i += hn::Lanes(du)) {
            const auto lanes = hn::BitCast(du, hn::Load(Tag(), x + i));
            const auto magnitude = hn::And(lanes, hn::Set(du, 0x7FFFFFFFu));
            const auto finite = hn::IfThenElseZero(hn::Lt(magnitude, infinity), magnitude);
            most = hn::Max(most, finite);
            least = hn::Min(least, hn::Sub(finite, one));
            bits = hn::Or(bits, finite);
        }
        largest = std::max(largest, hn::GetLane(hn::MaxOfLanes(du, most)));
        least_minus_one = std::min(least_minus_one, hn::GetLane(hn::MinOfLanes(du, least)));
        alignas(64) std::uint32_t lanes[hn::MaxLanes(Tag())];
        hn::Store(bits, du, lanes);
        for (std::size_t i = 0; i < hn::Lanes(du); ++i) mantissas |= lanes[i];
    }

    bool empty() const { return largest == 0; }
    int largest_exponent() const { return static_cast<int>(largest >> 23) - 127; }
    // Of the last mantissa bit that may be set.
    int last_bit_exponent() const {
        const std::uint32_t least = least_minus_one + 1;
        const int exponent = std::max(static_cast<int>(least >> 23), 1) - 127;
        return exponent + 1 - significant_bits();
    }
    int significant_bits() const {
        int bits = 24;
        for (std::uint32_t m = mantissas | 1u << 23; (m & 1u) == 0; m >>= 1) --bits;
        return bits;
    }
};

// Whether every product of finite elements is a float32: then a fused multiplication and addition
// rounds as the two operations do.
bool exact_products(const Range& a, const Range& b) {
    if (a.empty() || b.empty()) return true;
    return a.significant_bits() + b.significant_bits() <= 24 &&
           a.last_bit_exponent() + b.last_bit_exponent() >= -149 &&
           a.largest_exponent() + b.largest_exponent() + 2 <= 128;
}

HWY_INLINE void pack_row(const std::uint16_t* from, std::size_t count, float* d) {
    const hn::RebindToUnsigned<Tag> du;
    const hn::Rebind<std::uint16_t, Tag> dh;
    std::size_t i = 0;
    for (; i + hn::Lanes(du) <= count; i += hn::Lanes(du)) {
        const auto words = hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(dh, from + i)));
        hn::StoreU(hn::BitCast(Tag(), words), Tag(), d + i);
    }
    for (; i < count; ++i) d[i] = bf16_to_float(from[i]);
}

HWY_INLINE void pack_row(const float* from, std::size_t count, float* d) {
    std::memcpy(d, from, count * sizeof(float));
}

HWY_INLINE float element(std::uint16_t x) {
    return bf16_to_float(x);
}
HWY_INLINE float element(float x) {
    return x;
}

template <class T>
HWY_INLINE void pack_elements(const T* x, std::size_t row_stride, std::size_t column_stride,
                              std::size_t rows, std::size_t columns, float* d, std::size_t pitch) {
    if (column_stride == 1) {
        for (std::size_t r = 0; r < rows; ++r) pack_row(x + r * row_stride, columns, d + r * pitch);
        return;
    }
    // Along the columns of the source: the destination stays in the cache.
    for (std::size_t c = 0; c < columns; ++c) {
        const T* from = x + c * column_stride;
        for (std::size_t r = 0; r < rows; ++r) d[r * pitch + c] = element(from[r * row_stride]);
    }
}

// rows * columns elements of a matrix from (row, column) on as float32, row after row `pitch`
// apart, which is a multiple of the vectors' lanes; what pads a row is zero.
void pack(const MatrixView& v, std::size_t row, std::size_t column, std::size_t rows,
          std::size_t columns, float* d, std::size_t pitch) {
    if (columns < pitch) std::fill_n(d, rows * pitch, 0.0f);
    const std::size_t origin = row * v.row_stride + column * v.column_stride;
    if (v.format == Format::bf16) {
        pack_elements(static_cast<const std::uint16_t*>(v.data) + origin, v.row_stride,
                      v.column_stride, rows, columns, d, pitch);
    } else {
        pack_elements(static_cast<const float*>(v.data) + origin, v.row_stride, v.column_stride,
                      rows, columns, d, pitch);
    }
}

// One tile of `rows` rows: accumulators in registers, k ascending.
template <std::size_t rows, bool fused>
HWY_INLINE void tile(const float* a, const float* b, std::size_t depth, float* c,
                     std::size_t c_stride) {
    const Tag d;
    const std::size_t lanes = hn::Lanes(d);
    Vec sum[rows][tile_vectors];
#pragma GCC unroll 16
    for (std::size_t i = 0; i < rows; ++i) {
        sum[i][0] = hn::LoadU(d, c + i * c_stride);
        sum[i][1] = hn::LoadU(d, c + i * c_stride + lanes);
    }
    for (std::size_t p = 0; p < depth; ++p) {
        const auto b0 = hn::Load(d, b + p * tile_vectors * lanes);
        const auto b1 = hn::Load(d, b + p * tile_vectors * lanes + lanes);
#pragma GCC unroll 16
        for (std::size_t i = 0; i < rows; ++i) {
            const auto x = hn::Set(d, a[i * block_depth + p]);
            if constexpr (fused) {
                sum[i][0] = hn::MulAdd(x, b0, sum[i][0]);
                sum[i][1] = hn::MulAdd(x, b1, sum[i][1]);
            } else {
                sum[i][0] = hn::Add(sum[i][0], hn::Mul(x, b0));
                sum[i][1] = hn::Add(sum[i][1], hn::Mul(x, b1));
            }
        }
    }
#pragma GCC unroll 16
    for (std::size_t i = 0; i < rows; ++i) {
        hn::StoreU(sum[i][0], d, c + i * c_stride);
        hn::StoreU(sum[i][1], d, c + i * c_stride + lanes);
    }
}

template <bool fused>
HWY_INLINE std::size_t tiles(std::size_t rows_left, const float* a, const float* b,
                             std::size_t depth, float* c, std::size_t c_stride) {
    if (rows_left >= tile_rows) {
        tile<tile_rows, fused>(a, b, depth, c, c_stride);
        return tile_rows;
    }
    if (rows_left >= 4) {
        tile<4, fused>(a, b, depth, c, c_stride);
        return 4;
    }
    tile<1, fused>(a, b, depth, c, c_stride);
    return 1;
}

// All rows of a packed block against one packed panel of b.
template <bool fused>
void panel(std::size_t rows, std::size_t columns, const float* a, const float* b, std::size_t depth,
           float* c, std::size_t c_stride) {
    const std::size_t width = tile_vectors * hn::Lanes(Tag());
    if (columns == width) {
        for (std::size_t i = 0; i < rows;) {
            i += tiles<fused>(rows - i, a + i * block_depth, b, depth, c + i * c_stride, c_stride);
        }
        return;
    }
    // A panel's last columns: through a buffer of whole vectors.
    alignas(64) float buffer[tile_rows * tile_vectors * hn::MaxLanes(Tag())] = {};
    for (std::size_t i = 0; i < rows;) {
        const std::size_t height = std::min(rows - i, tile_rows);
        for (std::size_t r = 0; r < height; ++r) {
            std::copy_n(c + (i + r) * c_stride, columns, buffer + r * width);
        }
        const std::size_t done =
            tiles<fused>(rows - i, a + i * block_depth, b, depth, buffer, width);
        for (std::size_t r = 0; r < done; ++r) {
            std::copy_n(buffer + r * width, columns, c + (i + r) * c_stride);
        }
        i += done;
    }
}

float* aligned(std::vector<float>& storage, std::size_t count) {
    constexpr std::size_t alignment = 64;
    if (storage.size() < count + alignment) storage.resize(count + alignment);
    const auto address = reinterpret_cast<std::uintptr_t>(storage.data());
    return storage.data() + (alignment - address % alignment) % alignment / sizeof(float);
}

void blocked_gemm(std::size_t m, std::size_t n, std::size_t k, const MatrixView& a,
                  const MatrixView& b, float* c, std::size_t c_stride) {
    static thread_local std::vector<float> a_storage, b_storage;
    const std::size_t width = tile_vectors * hn::Lanes(Tag());
    const std::size_t most_rows = std::min(m, block_rows);
    float* packed_a = aligned(a_storage, most_rows * block_depth);
    float* packed_b = aligned(b_storage, width * block_depth);
    for (std::size_t i = 0; i < m; i += block_rows) {
        const std::size_t rows = std::min(m - i, block_rows);
        for (std::size_t p = 0; p < k; p += block_depth) {
            const std::size_t depth = std::min(k - p, block_depth);
            pack(a, i, p, rows, depth, packed_a, block_depth);
            Range range_a;
            for (std::size_t r = 0; r < rows; ++r)
                range_a.include(packed_a + r * block_depth, depth);
            for (std::size_t j = 0; j < n; j += width) {
                const std::size_t columns = std::min(n - j, width);
                pack(b, p, j, depth, columns, packed_b, width);
                Range range_b;
                range_b.include(packed_b, width * depth);
                const auto run = exact_products(range_a, range_b) ? panel<true> : panel<false>;
                run(rows, columns, packed_a, packed_b, depth, c + i * c_stride + j, c_stride);
            }
        }
    }
    for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < n; ++j) c[i * c_stride + j] = canonical(c[i * c_stride + j]);
    }
}

}  // namespace HWY_NAMESPACE
}  // namespace npuvp::numerics
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npuvp::numerics {

HWY_EXPORT(blocked_gemm);

void gemm(std::size_t m, std::size_t n, std::size_t k, const MatrixView& a, const MatrixView& b,
          float* c, std::size_t c_stride) {
    HWY_DYNAMIC_DISPATCH(blocked_gemm)(m, n, k, a, b, c, c_stride);
}

}  // namespace npuvp::numerics
#endif
