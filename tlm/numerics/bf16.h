#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "numerics/format.h"

namespace npuvp::numerics {

/// What arithmetic stores for a NaN, in the two storage formats.
inline constexpr std::uint32_t canonical_nan_fp32 = 0x7FC00000u;
inline constexpr std::uint16_t canonical_nan_bf16 = 0x7FC0u;

inline std::uint32_t float_bits(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float float_of_bits(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

/// A number is itself; a NaN of any sign and payload becomes 0x7FC00000.
inline float canonical(float value) {
    return value == value ? value : float_of_bits(canonical_nan_fp32);
}

/// Exact.
inline float bf16_to_float(std::uint16_t bits) {
    return float_of_bits(static_cast<std::uint32_t>(bits) << 16);
}

/// Rounds to nearest, ties to even; what is too large becomes infinite, subnormals are kept and a
/// NaN of any payload becomes 0x7FC0.
inline std::uint16_t float_to_bf16(float value) {
    if (value != value) return canonical_nan_bf16;
    const std::uint32_t bits = float_bits(value);
    return static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

/// The value that a register of the format keeps of the result of an arithmetic operation.
inline float round_to(Format format, float value) {
    return format == Format::bf16 ? bf16_to_float(float_to_bf16(value)) : canonical(value);
}

/// Bytes of one element.
inline std::size_t bytes_of(Format format) {
    return format == Format::bf16 ? 2 : 4;
}

}  // namespace npuvp::numerics
