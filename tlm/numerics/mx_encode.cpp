#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "numerics/bf16.h"
#include "numerics/mx.h"
#include "numerics/rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "numerics/mx_encode.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#ifndef NPUVP_NUMERICS_MX_ENCODE_ONCE
#define NPUVP_NUMERICS_MX_ENCODE_ONCE
namespace npuvp::numerics {

// 2^exponent, exponent in -149..127.
inline float power_of_two(int exponent) {
    return float_of_bits(exponent >= -126 ? static_cast<std::uint32_t>(exponent + 127) << 23
                                          : 1u << (exponent + 149));
}

// What turns a scaled number into an element's code. On the uniform grid below the least normal
// number (integers: everywhere), adding a large number leaves the rounding to the addition.
struct Codes {
    explicit Codes(const MxTraits& t)
        : integer(t.kind == MxKind::ocp_int),
          bits(t.element_bits),
          mantissa_bits(t.mantissa_bits),
          bias(t.bias),
          emax(t.emax) {
        const int mantissa = static_cast<int>(t.mantissa_bits);
        const int exponent = integer ? 0 : 1 - t.bias;
        least_normal = power_of_two(exponent);
        uniform = power_of_two(exponent + 23 - mantissa);
        shift = 23 - mantissa;
        rebias = static_cast<std::uint32_t>(127 - t.bias) << mantissa;
        largest = integer ? (1u << (bits - 1)) - 1 : (float_bits(t.max) >> shift) - rebias;
    }

    bool integer;
    unsigned bits;
    unsigned mantissa_bits;
    int bias;
    int emax;
    float least_normal;
    float uniform;
    int shift;
    std::uint32_t rebias;
    std::uint32_t largest;
};

}  // namespace npuvp::numerics
#endif

HWY_BEFORE_NAMESPACE();
namespace npuvp::numerics {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> ocp_codes(D d, const Codes& c, hn::Vec<D> y) {
    const hn::RebindToUnsigned<D> du;
    const auto bits = hn::BitCast(du, y);
    const auto sign = hn::ShiftRight<31>(bits);
    const auto magnitude = hn::And(bits, hn::Set(du, 0x7FFFFFFFu));
    const auto number = hn::BitCast(d, magnitude);
    const auto large = hn::Set(d, c.uniform);
    const auto on_grid = hn::Sub(hn::BitCast(du, hn::Add(number, large)), hn::BitCast(du, large));
    const auto most = hn::Set(du, c.largest);
    if (c.integer) {
        const auto code = hn::Min(on_grid, most);
        const auto all = hn::Set(du, (1u << c.bits) - 1);
        // -code in two's complement where the sign is set.
        return hn::And(hn::Add(hn::Xor(code, hn::Sub(hn::Zero(du), sign)), sign), all);
    }
    const auto last = hn::And(hn::ShiftRightSame(magnitude, c.shift), hn::Set(du, 1u));
    const auto half = hn::Set(du, (1u << (c.shift - 1)) - 1);
    const auto rounded = hn::ShiftRightSame(hn::Add(hn::Add(magnitude, half), last), c.shift);
    const auto small = hn::RebindMask(du, hn::Lt(number, hn::Set(d, c.least_normal)));
    const auto code = hn::IfThenElse(small, on_grid, hn::Sub(rounded, hn::Set(du, c.rebias)));
    return hn::Or(hn::Min(code, most), hn::ShiftLeftSame(sign, static_cast<int>(c.bits) - 1));
}

// Every operation but the first addition is exact.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> plena_codes(D d, const Codes& c, hn::Vec<D> x,
                                                        hn::Vec<D> y) {
    const hn::RebindToUnsigned<D> du;
    const hn::RebindToSigned<D> di;
    const auto magnitude = hn::Abs(y);
    const auto shifted = hn::BitCast(di, hn::Add(magnitude, hn::Set(d, 1e-9f)));
    const auto unclamped = hn::Sub(hn::ShiftRight<23>(shifted), hn::Set(di, 127));
    const auto lowest = hn::Set(di, -c.bias);
    const auto highest = hn::Set(di, c.emax);
    const auto exponent = hn::Min(hn::Max(unclamped, lowest), highest);
    const auto scale = hn::BitCast(d, hn::ShiftLeft<23>(hn::Sub(hn::Set(di, 127), exponent)));
    const auto hidden =
        hn::IfThenElseZero(hn::RebindMask(d, hn::Ne(exponent, lowest)), hn::Set(d, 1.0f));
    const float steps = power_of_two(static_cast<int>(c.mantissa_bits));
    const auto scaled = hn::Mul(hn::Sub(hn::Mul(magnitude, scale), hidden), hn::Set(d, steps));
    const auto quarters = hn::Mul(hn::Trunc(hn::Mul(scaled, hn::Set(d, 4.0f))), hn::Set(d, 0.25f));
    const auto most = hn::Set(d, steps - 1.0f);
    const auto above = hn::RebindMask(d, hn::Gt(unclamped, highest));
    const auto number = hn::Round(hn::IfThenElse(above, most, quarters));
    const auto mantissa = hn::ConvertTo(di, hn::Max(hn::Min(number, most), hn::Zero(d)));
    const auto field =
        hn::ShiftLeftSame(hn::Sub(exponent, lowest), static_cast<int>(c.mantissa_bits));
    const auto sign = hn::IfThenElseZero(hn::RebindMask(du, hn::Lt(y, hn::Zero(d))),
                                         hn::Set(du, 1u << (c.bits - 1)));
    const auto code = hn::Or(hn::BitCast(du, hn::Or(field, mantissa)), sign);
    // Zeros and NaNs give code 0; the conversion above saw whatever the latter led to.
    const auto is_number = hn::Gt(hn::Abs(x), hn::Zero(d));
    return hn::IfThenElseZero(hn::RebindMask(du, is_number), code);
}

template <std::size_t width>
void block_codes(const Codes& c, bool plena, const float* x, float inverse, std::size_t count,
                 std::uint8_t* codes) {
    const hn::CappedTag<float, width> d;
    const hn::Rebind<std::uint8_t, decltype(d)> d8;
    for (std::size_t i = 0; i < count; i += hn::Lanes(d)) {
        const auto v = hn::LoadU(d, x + i);
        const auto y = hn::Mul(v, hn::Set(d, inverse));
        const auto code = plena ? plena_codes(d, c, v, y) : ocp_codes(d, c, y);
        hn::StoreU(hn::TruncateTo(d8, code), d8, codes + i);
    }
}

// Codes, one byte each, of a block's numbers times `inverse`.
void encode_block(const Codes& c, bool plena, const float* x, float inverse, std::size_t count,
                  std::uint8_t* codes) {
    if (count % 16 == 0) return block_codes<16>(c, plena, x, inverse, count, codes);
    if (count % 4 == 0) return block_codes<4>(c, plena, x, inverse, count, codes);
    block_codes<1>(c, plena, x, inverse, count, codes);
}

template <std::size_t width>
std::uint32_t block_largest(const float* x, std::size_t count) {
    const hn::CappedTag<std::uint32_t, width> du;
    const hn::RebindToFloat<decltype(du)> d;
    auto largest = hn::Zero(du);
    for (std::size_t i = 0; i < count; i += hn::Lanes(du)) {
        const auto bits = hn::BitCast(du, hn::LoadU(d, x + i));
        largest = hn::Max(largest, hn::And(bits, hn::Set(du, 0x7FFFFFFFu)));
    }
    return hn::GetLane(hn::MaxOfLanes(du, largest));
}

// Bits of the largest magnitude of a block, a NaN's being larger than infinity's.
std::uint32_t largest_magnitude(const float* x, std::size_t count) {
    if (count % 16 == 0) return block_largest<16>(x, count);
    if (count % 4 == 0) return block_largest<4>(x, count);
    return block_largest<1>(x, count);
}

}  // namespace HWY_NAMESPACE
}  // namespace npuvp::numerics
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npuvp::numerics {

HWY_EXPORT(encode_block);
HWY_EXPORT(largest_magnitude);

namespace {

constexpr std::uint32_t magnitude_mask = 0x7FFFFFFFu;
constexpr std::uint32_t infinity_bits = 0x7F800000u;

// floor(log2 x) of a positive finite number.
int floor_log2(float x) {
    if (x < 0x1p-126f) return floor_log2(x * 0x1p24f) - 24;
    return static_cast<int>(float_bits(x) >> 23) - 127;
}

void pack(unsigned bits, const std::uint8_t* codes, std::size_t n, std::uint8_t* elements) {
    std::fill_n(elements, (n * bits + 7) / 8, std::uint8_t{0});
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t at = i * bits;
        const unsigned window = static_cast<unsigned>(codes[i]) << (at % 8);
        elements[at / 8] = static_cast<std::uint8_t>(elements[at / 8] | window);
        if (window > 0xFF) {
            elements[at / 8 + 1] = static_cast<std::uint8_t>(elements[at / 8 + 1] | window >> 8);
        }
    }
}

std::uint8_t encode_ocp(const Codes& c, const float* x, std::size_t count, std::uint8_t* codes) {
    const std::uint32_t largest = HWY_DYNAMIC_DISPATCH(largest_magnitude)(x, count);
    if (largest >= infinity_bits) {
        std::fill_n(codes, count, std::uint8_t{0});
        return 255;
    }
    const int e = largest == 0 ? -126 : floor_log2(float_of_bits(largest));
    const int exponent = std::max(e - c.emax, -127);
    HWY_DYNAMIC_DISPATCH(encode_block)(c, false, x, power_of_two(-exponent), count, codes);
    return static_cast<std::uint8_t>(exponent + 127);
}

std::uint8_t encode_plena(const Codes& c, const float* x, std::size_t count, std::uint8_t* codes) {
    float largest = float_of_bits(HWY_DYNAMIC_DISPATCH(largest_magnitude)(x, count));
    if (largest != largest) {
        largest = 0.0f;
        for (std::size_t i = 0; i < count; ++i) {
            if (x[i] == x[i]) largest = std::max(largest, std::fabs(x[i]));
        }
    }
    if (largest == 0.0f) {
        std::fill_n(codes, count, std::uint8_t{0});
        return 0;
    }
    const float shifted = largest + 1e-9f;
    const int exponent = std::isinf(shifted) ? 127 : floor_log2(shifted);
    HWY_DYNAMIC_DISPATCH(encode_block)(c, true, x, power_of_two(-exponent), count, codes);
    return static_cast<std::uint8_t>(exponent + 127);
}

std::uint16_t float_to_half(float value) {
    if (value != value) return 0x7E00;
    const std::uint32_t bits = float_bits(value);
    const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
    const std::uint32_t m = bits & magnitude_mask;
    const float magnitude = float_of_bits(m);
    if (magnitude >= 65520.0f) return sign | 0x7C00;
    if (magnitude < 0x1p-14f) {
        const float uniform = 0.5f;
        return sign |
               static_cast<std::uint16_t>(float_bits(magnitude + uniform) - float_bits(uniform));
    }
    return sign |
           static_cast<std::uint16_t>(((m + 0xFFFu + ((m >> 13) & 1u)) >> 13) - (112u << 10));
}

// Elements may stand at any address.
void encode_plain(MxFormat format, float* x, std::size_t n, std::uint8_t* elements) {
    if (format == MxFormat::fp32) {
        row_kernels(Format::fp32).from_float(x, x, n);
        std::memcpy(elements, x, 4 * n);
        return;
    }
    std::vector<std::uint16_t> halves(n);
    if (format == MxFormat::bf16) {
        row_kernels(Format::bf16).from_float(halves.data(), x, n);
    } else {
        std::transform(x, x + n, halves.begin(), float_to_half);
    }
    std::memcpy(elements, halves.data(), 2 * n);
}

}  // namespace

void mx_encode_row(MxFormat format, std::size_t block, Format in, const void* row, std::size_t n,
                   std::uint8_t* elements, std::uint8_t* scales) {
    static thread_local std::vector<float> x;
    static thread_local std::vector<std::uint8_t> unpacked;
    const MxTraits& t = mx_traits(format);
    if (t.scaled() && block == 0) {
        throw std::invalid_argument("microscaling block of 0 elements");
    }
    x.resize(std::max(x.size(), n));
    row_kernels(in).to_float(x.data(), row, n);
    if (!t.scaled()) return encode_plain(format, x.data(), n, elements);

    const bool packed = t.element_bits != 8;
    if (packed) unpacked.resize(std::max(unpacked.size(), n));
    std::uint8_t* codes = packed ? unpacked.data() : elements;
    const Codes c(t);
    const auto encode = t.kind == MxKind::plena ? encode_plena : encode_ocp;
    for (std::size_t i = 0; i < n; i += block) {
        scales[i / block] = encode(c, x.data() + i, std::min(block, n - i), codes + i);
    }
    if (packed) pack(t.element_bits, codes, n, elements);
}

}  // namespace npuvp::numerics
#endif
