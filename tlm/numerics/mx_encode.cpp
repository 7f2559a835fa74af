#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "numerics/bf16.h"
#include "numerics/mx.h"

namespace npuvp::numerics {

namespace {

constexpr std::uint32_t magnitude_mask = 0x7FFFFFFFu;
constexpr std::uint32_t infinity_bits = 0x7F800000u;

float load(Format in, const void* row, std::size_t i) {
    return in == Format::bf16 ? bf16_to_float(static_cast<const std::uint16_t*>(row)[i])
                              : static_cast<const float*>(row)[i];
}

// 2^exponent, exponent in -149..127.
float power_of_two(int exponent) {
    return float_of_bits(exponent >= -126 ? static_cast<std::uint32_t>(exponent + 127) << 23
                                          : 1u << (exponent + 149));
}

// floor(log2 x) of a positive finite number.
int floor_log2(float x) {
    if (x < 0x1p-126f) return floor_log2(x * 0x1p24f) - 24;
    return static_cast<int>(float_bits(x) >> 23) - 127;
}

void pack(unsigned bits, std::uint8_t* elements, std::size_t i, unsigned code) {
    if (bits == 8) {
        elements[i] = static_cast<std::uint8_t>(code);
        return;
    }
    // The bytes were cleared before.
    const std::size_t at = i * bits;
    const unsigned window = code << (at % 8);
    elements[at / 8] = static_cast<std::uint8_t>(elements[at / 8] | window);
    if (window > 0xFF) {
        elements[at / 8 + 1] = static_cast<std::uint8_t>(elements[at / 8 + 1] | window >> 8);
    }
}

// Rounds to the element's grid, to nearest even and saturating; adding a large number leaves the
// rounding to float32 addition where the grid is uniform (integers, element subnormals).
class OcpElement {
  public:
    explicit OcpElement(const MxTraits& t) : t_(t) {
        const int mantissa = static_cast<int>(t.mantissa_bits);
        min_exponent_ = t.kind == MxKind::ocp_int ? 128 : 1 - t.bias;
        const int uniform = t.kind == MxKind::ocp_int ? 0 : min_exponent_;
        magic_ = power_of_two(uniform + 23 - mantissa);
        shift_ = 23 - t.mantissa_bits;
        max_code_ = t.kind == MxKind::ocp_int ? (1u << (t.element_bits - 1)) - 1 : code_of(t.max);
    }

    unsigned encode(float y) const {
        const float magnitude = float_of_bits(float_bits(y) & magnitude_mask);
        const unsigned code = std::min(code_of(magnitude), max_code_);
        const bool negative = (float_bits(y) >> 31) != 0;
        const unsigned all = (1u << t_.element_bits) - 1;
        if (t_.kind == MxKind::ocp_int) return negative ? (0u - code) & all : code;
        return negative ? code | 1u << (t_.element_bits - 1) : code;
    }

  private:
    unsigned code_of(float magnitude) const {
        if (t_.kind == MxKind::ocp_int || magnitude < power_of_two(min_exponent_)) {
            return float_bits(magnitude + magic_) - float_bits(magic_);
        }
        const std::uint32_t bits = float_bits(magnitude);
        const std::uint32_t half = (1u << (shift_ - 1)) - 1 + ((bits >> shift_) & 1u);
        return ((bits + half) >> shift_) -
               (static_cast<std::uint32_t>(127 - t_.bias) << t_.mantissa_bits);
    }

    const MxTraits& t_;
    int min_exponent_;
    float magic_;
    unsigned shift_;
    unsigned max_code_ = 0;
};

std::uint8_t encode_ocp_block(const MxTraits& t, const OcpElement& element, const float* x,
                              std::size_t count, std::size_t at, std::uint8_t* elements) {
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < count; ++i) {
        largest = std::max(largest, float_bits(x[i]) & magnitude_mask);
    }
    if (largest >= infinity_bits) return 255;
    const int e = largest == 0 ? -126 : floor_log2(float_of_bits(largest));
    const int exponent = std::max(e - t.emax, -127);
    const float inverse = power_of_two(-exponent);
    for (std::size_t i = 0; i < count; ++i) {
        pack(t.element_bits, elements, at + i, element.encode(x[i] * inverse));
    }
    return static_cast<std::uint8_t>(exponent + 127);
}

unsigned encode_plena(const MxTraits& t, float x, float inverse) {
    if (x == 0.0f || x != x) return 0;
    const float y = x * inverse;
    const float magnitude = std::fabs(y);
    const int mantissa = static_cast<int>(t.mantissa_bits);
    const unsigned top = (1u << t.mantissa_bits) - 1;
    const float shifted = magnitude + 1e-9f;
    const int unclamped = std::isinf(shifted) ? 128 : floor_log2(shifted);
    const int exponent = std::clamp(unclamped, -t.bias, t.emax);
    unsigned code = top;
    if (unclamped <= t.emax) {
        const float m = magnitude * power_of_two(-exponent);
        const float scaled = (exponent == -t.bias ? m : m - 1.0f) * power_of_two(mantissa);
        const float quarters = std::trunc(scaled * 4.0f) * 0.25f;
        const float rounded = std::nearbyint(quarters);
        code = static_cast<unsigned>(std::clamp(rounded, 0.0f, static_cast<float>(top)));
    }
    const unsigned sign = y < 0.0f ? 1u << (t.element_bits - 1) : 0u;
    return sign | static_cast<unsigned>(exponent + t.bias) << t.mantissa_bits | code;
}

std::uint8_t encode_plena_block(const MxTraits& t, const float* x, std::size_t count,
                                std::size_t at, std::uint8_t* elements) {
    float largest = 0.0f;
    for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(x[i]));
    if (largest == 0.0f) {
        std::fill_n(elements + at, count, std::uint8_t{0});
        return 0;
    }
    const float shifted = largest + 1e-9f;
    const int exponent = std::isinf(shifted) ? 127 : std::max(floor_log2(shifted), -127);
    const float inverse = power_of_two(-exponent);
    for (std::size_t i = 0; i < count; ++i) {
        elements[at + i] = static_cast<std::uint8_t>(encode_plena(t, x[i], inverse));
    }
    return static_cast<std::uint8_t>(exponent + 127);
}

std::uint16_t float_to_half(float value) {
    if (value != value) return 0x7E00;
    const std::uint32_t bits = float_bits(value);
    const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
    const float magnitude = float_of_bits(bits & magnitude_mask);
    if (magnitude >= 65520.0f) return sign | 0x7C00;
    if (magnitude < 0x1p-14f) {
        const float magic = 0.5f;
        return sign | static_cast<std::uint16_t>(float_bits(magnitude + magic) - float_bits(magic));
    }
    const std::uint32_t m = float_bits(magnitude);
    return sign |
           static_cast<std::uint16_t>(((m + 0xFFFu + ((m >> 13) & 1u)) >> 13) - (112u << 10));
}

void encode_plain(MxFormat format, Format in, const void* row, std::size_t n,
                  std::uint8_t* elements) {
    for (std::size_t i = 0; i < n; ++i) {
        const float value = canonical(load(in, row, i));
        if (format == MxFormat::fp32) {
            std::memcpy(elements + 4 * i, &value, 4);
        } else {
            const std::uint16_t bits =
                format == MxFormat::bf16 ? float_to_bf16(value) : float_to_half(value);
            std::memcpy(elements + 2 * i, &bits, 2);
        }
    }
}

}  // namespace

void mx_encode_row(MxFormat format, std::size_t block, Format in, const void* row, std::size_t n,
                   std::uint8_t* elements, std::uint8_t* scales) {
    const MxTraits& t = mx_traits(format);
    if (!t.scaled()) return encode_plain(format, in, row, n, elements);
    if (block == 0) throw std::invalid_argument("microscaling block of 0 elements");
    std::fill_n(elements, mx_element_bytes(format, n), std::uint8_t{0});
    const OcpElement element(t);
    std::vector<float> x(std::min(block, n));
    for (std::size_t begin = 0; begin < n; begin += block) {
        const std::size_t count = std::min(block, n - begin);
        for (std::size_t i = 0; i < count; ++i) x[i] = load(in, row, begin + i);
        scales[begin / block] =
            t.kind == MxKind::plena
                ? encode_plena_block(t, x.data(), count, begin, elements)
                : encode_ocp_block(t, element, x.data(), count, begin, elements);
    }
}

}  // namespace npuvp::numerics
