#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "numerics/bf16.h"
#include "numerics/mx.h"
#include "numerics/rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "numerics/mx_decode.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#ifndef NPUVP_NUMERICS_MX_DECODE_ONCE
#define NPUVP_NUMERICS_MX_DECODE_ONCE
namespace npuvp::numerics {

// What turns an element's code into its value. From the codes `infinity` and `nan` on (after the
// sign is removed) stand these.
struct Elements {
    explicit Elements(const MxTraits& t)
        : integer(t.kind == MxKind::ocp_int),
          sign(1u << (t.element_bits - 1)),
          sign_shift(32 - static_cast<int>(t.element_bits)),
          mantissa_shift(23 - static_cast<int>(t.mantissa_bits)),
          rebias(static_cast<std::uint32_t>(127 - t.bias) << 23),
          least_normal(1u << t.mantissa_bits) {
        const int subnormal = integer ? 0 : t.kind == MxKind::plena ? -t.bias : 1 - t.bias;
        least = std::ldexp(1.0f, subnormal - static_cast<int>(t.mantissa_bits));
        const std::uint32_t all_ones = ((1u << t.exponent_bits) - 1) << t.mantissa_bits;
        if (t.kind == MxKind::plena || t.exponent_bits == 5) {
            infinity = all_ones;
            nan = all_ones + 1;
        } else if (t.exponent_bits == 4) {
            nan = all_ones + 7;
        }
    }

    bool integer;
    std::uint32_t sign;
    int sign_shift;
    int mantissa_shift;
    std::uint32_t rebias;
    std::uint32_t least_normal;
    float least = 0;
    std::uint32_t infinity = 256;
    std::uint32_t nan = 256;
};

}  // namespace npuvp::numerics
#endif

HWY_BEFORE_NAMESPACE();
namespace npuvp::numerics {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// One step of MXFP8 E4M3 to BF16 whose scale keeps every element a normal number, on the bits.
// A code's low seven bits, moved to the place of BF16's, stand for exponents that are 120 + E too
// small; a table brings the seven subnormal codes into that form (16 units too large, so that
// nothing is negative), and zeros are made at the end. `most` collects the largest magnitude.
template <class D>
HWY_INLINE void decode_e4m3_step(D d, const std::uint8_t* elements, hn::Vec<D> offset,
                                 std::uint16_t* row, hn::Vec<D>& most) {
    const hn::RebindToSigned<D> ds;
    const hn::Rebind<std::int8_t, D> d8;
    const hn::Repartition<std::uint8_t, D> db;
    alignas(16) static constexpr std::uint8_t subnormal[16] = {0, 0, 8, 12, 16, 18, 20, 22};
    const auto bytes = hn::LoadU(d8, reinterpret_cast<const std::int8_t*>(elements));
    const auto code = hn::BitCast(d, hn::PromoteTo(ds, bytes));
    const auto magnitude = hn::And(code, hn::Set(d, std::uint16_t{0x7F}));
    const auto from_table = hn::BitCast(
        d, hn::TableLookupBytes(hn::LoadDup128(db, subnormal), hn::BitCast(db, magnitude)));
    const auto is_small = hn::Lt(magnitude, hn::Set(d, std::uint16_t{8}));
    const auto level =
        hn::IfThenElse(is_small, from_table, hn::Add(magnitude, hn::Set(d, std::uint16_t{16})));
    const auto number = hn::Add(hn::ShiftLeft<4>(level), offset);
    const auto unsigned_value = hn::IfThenZeroElse(hn::Eq(magnitude, hn::Zero(d)), number);
    hn::StoreU(hn::OrAnd(unsigned_value, code, hn::Set(d, std::uint16_t{0x8000})), d, row);
    most = hn::Max(most, magnitude);
}

template <std::size_t block>
bool decode_e4m3_blocks(const std::uint8_t* elements, const std::uint8_t* scales, std::size_t n,
                        std::uint16_t* row) {
    const hn::CappedTag<std::uint16_t, block> d;
    const std::size_t step = hn::Lanes(d);
    auto most = hn::Zero(d);
    for (std::size_t i = 0; i < n; i += block) {
        // Exponents 120 + E - 2 (the table's 16 units) with E = scale - 127.
        const auto offset = hn::Set(d, static_cast<std::uint16_t>((scales[i / block] - 9) << 7));
        for (std::size_t j = i; j < i + block; j += step) {
            decode_e4m3_step(d, elements + j, offset, row + j, most);
        }
    }
    return hn::AllFalse(d, hn::Eq(most, hn::Set(d, std::uint16_t{0x7F})));
}

// Decodes whole blocks whose scales are in range; false if a NaN code occurred, which leaves the
// row undefined.
bool decode_e4m3_bf16(std::size_t block, const std::uint8_t* elements, const std::uint8_t* scales,
                      std::size_t n, std::uint16_t* row) {
    if (block == 32) return decode_e4m3_blocks<32>(elements, scales, n, row);
    if (block == 16) return decode_e4m3_blocks<16>(elements, scales, n, row);
    return decode_e4m3_blocks<8>(elements, scales, n, row);
}

// Values of `count` codes times a scale; count is a multiple of `width`.
template <std::size_t width>
void scaled_values(const Elements& e, const std::uint8_t* codes, float scale, std::size_t count,
                   float* x) {
    const hn::CappedTag<float, width> d;
    const hn::RebindToUnsigned<decltype(d)> du;
    const hn::RebindToSigned<decltype(d)> di;
    const hn::Rebind<std::uint8_t, decltype(d)> d8;
    const auto infinity = hn::BitCast(d, hn::Set(du, 0x7F800000u));
    const auto nan = hn::BitCast(d, hn::Set(du, canonical_nan_fp32));
    for (std::size_t i = 0; i < count; i += hn::Lanes(d)) {
        const auto code = hn::PromoteTo(du, hn::LoadU(d8, codes + i));
        auto value = hn::Zero(d);
        if (e.integer) {
            const auto number = hn::ShiftRightSame(
                hn::BitCast(di, hn::ShiftLeftSame(code, e.sign_shift)), e.sign_shift);
            value = hn::Mul(hn::ConvertTo(d, number), hn::Set(d, e.least));
        } else {
            const auto magnitude = hn::And(code, hn::Set(du, e.sign - 1));
            const auto small =
                hn::Mul(hn::ConvertTo(d, hn::BitCast(di, magnitude)), hn::Set(d, e.least));
            const auto normal = hn::BitCast(
                d, hn::Add(hn::ShiftLeftSame(magnitude, e.mantissa_shift), hn::Set(du, e.rebias)));
            value = hn::IfThenElse(
                hn::RebindMask(d, hn::Lt(magnitude, hn::Set(du, e.least_normal))), small, normal);
            value = hn::IfThenElse(
                hn::RebindMask(d, hn::Gt(magnitude, hn::Set(du, e.infinity - 1))), infinity, value);
            value = hn::IfThenElse(hn::RebindMask(d, hn::Gt(magnitude, hn::Set(du, e.nan - 1))),
                                   nan, value);
            const auto sign =
                hn::And(hn::ShiftLeftSame(code, e.sign_shift), hn::Set(du, 0x80000000u));
            value = hn::Or(value, hn::BitCast(d, sign));
        }
        hn::StoreU(hn::Mul(value, hn::Set(d, scale)), d, x + i);
    }
}

void element_values(const Elements& e, const std::uint8_t* codes, float scale, std::size_t count,
                    float* x) {
    if (count % 16 == 0) return scaled_values<16>(e, codes, scale, count, x);
    if (count % 4 == 0) return scaled_values<4>(e, codes, scale, count, x);
    scaled_values<1>(e, codes, scale, count, x);
}

}  // namespace HWY_NAMESPACE
}  // namespace npuvp::numerics
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npuvp::numerics {

HWY_EXPORT(decode_e4m3_bf16);
HWY_EXPORT(element_values);

namespace {

float scale_value(const MxTraits& t, std::uint8_t scale) {
    if (t.kind == MxKind::plena) {
        if (scale == 255) return float_of_bits(0x7F800000u);
        if (scale == 0) return 0.0f;
    }
    if (scale == 255) return float_of_bits(canonical_nan_fp32);
    return float_of_bits(scale == 0 ? 0x00400000u : static_cast<std::uint32_t>(scale) << 23);
}

// One byte per element of a packed bit stream.
void unpack(unsigned bits, const std::uint8_t* elements, std::size_t n, std::uint8_t* codes) {
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t at = i * bits;
        unsigned window = elements[at / 8];
        // The next byte only where the element reaches into it: it may not exist.
        if (at % 8 + bits > 8) window |= static_cast<unsigned>(elements[at / 8 + 1]) << 8;
        codes[i] = static_cast<std::uint8_t>((window >> (at % 8)) & ((1u << bits) - 1));
    }
}

void unpack_nibbles(const std::uint8_t* elements, std::size_t n, std::uint8_t* codes) {
    for (std::size_t i = 0; i < n / 2; ++i) {
        codes[2 * i] = elements[i] & 15u;
        codes[2 * i + 1] = elements[i] >> 4;
    }
    if (n % 2 != 0) codes[n - 1] = elements[n / 2] & 15u;
}

float half_to_float(std::uint16_t bits) {
    const unsigned field = (bits >> 10) & 31u;
    const unsigned mantissa = bits & 1023u;
    float value;
    if (field == 31) {
        value = float_of_bits(mantissa == 0 ? 0x7F800000u : canonical_nan_fp32);
    } else if (field == 0) {
        value = static_cast<float>(mantissa) * 0x1p-24f;
    } else {
        value = float_of_bits((field + 112) << 23 | mantissa << 13);
    }
    return (bits & 0x8000u) != 0 ? -value : value;
}

// Elements may stand at any address.
void decode_plain(MxFormat format, const std::uint8_t* elements, std::size_t n, Format out,
                  void* row) {
    std::vector<float> values(n);
    if (format == MxFormat::fp32) {
        std::memcpy(values.data(), elements, 4 * n);
    } else {
        std::vector<std::uint16_t> halves(n);
        std::memcpy(halves.data(), elements, 2 * n);
        if (format == MxFormat::bf16) {
            row_kernels(Format::bf16).to_float(values.data(), halves.data(), n);
        } else {
            std::transform(halves.begin(), halves.end(), values.begin(), half_to_float);
        }
    }
    row_kernels(out).from_float(row, values.data(), n);
}

void decode_scaled(MxFormat format, std::size_t block, const std::uint8_t* elements,
                   const std::uint8_t* scales, std::size_t n, Format out, void* row) {
    static thread_local std::vector<std::uint8_t> codes;
    static thread_local std::vector<float> values;
    const MxTraits& t = mx_traits(format);
    if (t.element_bits != 8) {
        codes.resize(std::max(codes.size(), n));
        if (t.element_bits == 4) {
            unpack_nibbles(elements, n, codes.data());
        } else {
            unpack(t.element_bits, elements, n, codes.data());
        }
        elements = codes.data();
    }
    values.resize(std::max(values.size(), n));
    const Elements e(t);
    for (std::size_t i = 0; i < n; i += block) {
        HWY_DYNAMIC_DISPATCH(element_values)
        (e, elements + i, scale_value(t, scales[i / block]), std::min(block, n - i),
         values.data() + i);
    }
    row_kernels(out).from_float(row, values.data(), n);
}

// Scales that keep every finite non-zero E4M3 element a normal BF16 number.
bool in_range(const std::uint8_t* scales, std::size_t count) {
    std::uint8_t least = 10, largest = 246;
    for (std::size_t i = 0; i < count; ++i) {
        least = std::min(least, scales[i]);
        largest = std::max(largest, scales[i]);
    }
    return least >= 10 && largest <= 246;
}

}  // namespace

void mx_decode_row(MxFormat format, std::size_t block, const std::uint8_t* elements,
                   const std::uint8_t* scales, std::size_t n, Format out, void* row) {
    if (!mx_traits(format).scaled()) return decode_plain(format, elements, n, out, row);
    if (block == 0) throw std::invalid_argument("microscaling block of 0 elements");
    const bool short_way = format == MxFormat::mxfp8_e4m3 && out == Format::bf16 &&
                           (block == 8 || block == 16 || block == 32) && n % block == 0 &&
                           in_range(scales, n / block);
    if (short_way && HWY_DYNAMIC_DISPATCH(decode_e4m3_bf16)(block, elements, scales, n,
                                                            static_cast<std::uint16_t*>(row))) {
        return;
    }
    decode_scaled(format, block, elements, scales, n, out, row);
}

}  // namespace npuvp::numerics
#endif
