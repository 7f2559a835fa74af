#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "numerics/bf16.h"
#include "numerics/mx.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "numerics/mx_decode.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

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

}  // namespace HWY_NAMESPACE
}  // namespace npuvp::numerics
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npuvp::numerics {

HWY_EXPORT(decode_e4m3_bf16);

namespace {

float element_value(const MxTraits& t, unsigned code) {
    const unsigned sign_bit = 1u << (t.element_bits - 1);
    if (t.kind == MxKind::ocp_int) {
        const int value =
            static_cast<int>(code) - ((code & sign_bit) != 0 ? 2 * static_cast<int>(sign_bit) : 0);
        return std::ldexp(static_cast<float>(value), -static_cast<int>(t.mantissa_bits));
    }
    const unsigned field = (code & (sign_bit - 1)) >> t.mantissa_bits;
    const unsigned mantissa = code & ((1u << t.mantissa_bits) - 1);
    const unsigned all_ones = (1u << t.exponent_bits) - 1;
    const bool ieee_specials = t.kind == MxKind::plena || t.exponent_bits == 5;
    const bool e4m3 = t.kind == MxKind::ocp_float && t.exponent_bits == 4;
    float value;
    if (ieee_specials && field == all_ones) {
        value = float_of_bits(mantissa == 0 ? 0x7F800000u : canonical_nan_fp32);
    } else if (e4m3 && field == all_ones && mantissa == 7) {
        value = float_of_bits(canonical_nan_fp32);
    } else if (field == 0) {
        const int exponent = t.kind == MxKind::plena ? -t.bias : 1 - t.bias;
        value =
            std::ldexp(static_cast<float>(mantissa), exponent - static_cast<int>(t.mantissa_bits));
    } else {
        value = std::ldexp(static_cast<float>(mantissa | 1u << t.mantissa_bits),
                           static_cast<int>(field) - t.bias - static_cast<int>(t.mantissa_bits));
    }
    return (code & sign_bit) != 0 ? -value : value;
}

using ValueTable = std::array<float, 256>;

const ValueTable& value_table(MxFormat format) {
    static const auto tables = [] {
        std::array<ValueTable, mx_formats> all{};
        for (std::size_t f = 0; f < mx_formats; ++f) {
            const MxTraits& t = mx_traits(static_cast<MxFormat>(f));
            if (!t.scaled()) continue;
            for (unsigned code = 0; code < 1u << t.element_bits; ++code) {
                all[f][code] = element_value(t, code);
            }
        }
        return all;
    }();
    return tables[static_cast<std::size_t>(format)];
}

float scale_value(const MxTraits& t, std::uint8_t scale) {
    if (t.kind == MxKind::plena) {
        if (scale == 255) return float_of_bits(0x7F800000u);
        if (scale == 0) return 0.0f;
    }
    if (scale == 255) return float_of_bits(canonical_nan_fp32);
    return float_of_bits(scale == 0 ? 0x00400000u : static_cast<std::uint32_t>(scale) << 23);
}

unsigned element_code(unsigned bits, const std::uint8_t* elements, std::size_t i) {
    if (bits == 8) return elements[i];
    const std::size_t at = i * bits;
    unsigned window = elements[at / 8];
    // The next byte only where the element reaches into it: it may not exist.
    if (at % 8 + bits > 8) window |= static_cast<unsigned>(elements[at / 8 + 1]) << 8;
    return (window >> (at % 8)) & ((1u << bits) - 1);
}

void store(Format out, void* row, std::size_t i, float value) {
    if (out == Format::bf16) {
        static_cast<std::uint16_t*>(row)[i] = float_to_bf16(value);
    } else {
        static_cast<float*>(row)[i] = canonical(value);
    }
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

void decode_plain(MxFormat format, const std::uint8_t* elements, std::size_t n, Format out,
                  void* row) {
    for (std::size_t i = 0; i < n; ++i) {
        if (format == MxFormat::fp32) {
            float value;
            std::memcpy(&value, elements + 4 * i, 4);
            store(out, row, i, value);
        } else {
            std::uint16_t bits;
            std::memcpy(&bits, elements + 2 * i, 2);
            store(out, row, i,
                  format == MxFormat::bf16 ? bf16_to_float(bits) : half_to_float(bits));
        }
    }
}

void decode_scaled(MxFormat format, std::size_t block, const std::uint8_t* elements,
                   const std::uint8_t* scales, std::size_t begin, std::size_t end, Format out,
                   void* row) {
    const MxTraits& t = mx_traits(format);
    const ValueTable& values = value_table(format);
    for (std::size_t i = begin; i < end;) {
        const float scale = scale_value(t, scales[i / block]);
        const std::size_t block_end = std::min(end, (i / block + 1) * block);
        for (; i < block_end; ++i) {
            store(out, row, i, values[element_code(t.element_bits, elements, i)] * scale);
        }
    }
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
    std::size_t done = 0;
    if (format == MxFormat::mxfp8_e4m3 && out == Format::bf16 &&
        (block == 8 || block == 16 || block == 32)) {
        const std::size_t whole = n / block;
        if (in_range(scales, whole) &&
            HWY_DYNAMIC_DISPATCH(decode_e4m3_bf16)(block, elements, scales, whole * block,
                                                   static_cast<std::uint16_t*>(row))) {
            done = whole * block;
        }
    }
    decode_scaled(format, block, elements, scales, done, n, out, row);
}

}  // namespace npuvp::numerics
#endif
