#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "numerics/format.h"

namespace npuvp::numerics {

/// How a tensor's elements stand in memory.
///
/// mx...: OCP Microscaling. A block of elements shares one E8M0 scale byte b of value 2^(b - 127);
/// b = 255 makes every element NaN. mxint4 is microxcaling's: two's complement times 2^-2.
/// plena_...: the narrow floats of the published PLENA emulator (see mx_decode_row).
/// bf16, fp16, fp32: plain, no scales.
enum class MxFormat : std::uint8_t {
    mxfp8_e4m3,
    mxfp8_e5m2,
    mxfp6_e3m2,
    mxfp6_e2m3,
    mxfp4_e2m1,
    mxint8,
    mxint4,
    plena_e4m3,
    plena_e5m2,
    plena_e3m4,
    plena_e2m5,
    bf16,
    fp16,
    fp32,
};
inline constexpr std::size_t mx_formats = 14;

enum class MxKind : std::uint8_t { ocp_float, ocp_int, plena, plain };

struct MxTraits {
    const char* name;
    MxKind kind;
    unsigned element_bits;
    unsigned exponent_bits;  ///< 0 for integers
    unsigned mantissa_bits;  ///< stored bits after the point
    int bias;
    int emax;   ///< exponent of the largest element
    float max;  ///< largest finite element
    bool scaled() const { return kind != MxKind::plain; }
};

const MxTraits& mx_traits(MxFormat format);
/// Throws std::invalid_argument with the names that exist.
MxFormat mx_format(std::string_view name);

/// Bytes of n packed elements (4- and 6-bit elements form one little-endian bit stream, lowest bits
/// first: of two 4-bit elements the first is the low nibble) and of their scales.
std::size_t mx_element_bytes(MxFormat format, std::size_t n);
std::size_t mx_scale_bytes(MxFormat format, std::size_t block, std::size_t n);

/// Elements and scales to a row in the storage format `out`. The last block may be partial.
///
/// element * scale in float32 (exact, or rounded once where it is subnormal or too large), then
/// rounded to `out`: with BF16 rows a subnormal value is rounded twice. NaNs become canonical.
/// OCP E4M3: S.1111.111 is NaN, there are no infinities; E5M2: infinities and NaNs as IEEE.
/// plena: bias 2^(E-1) - 1; exponent field 0 is mantissa / 2^M * 2^-bias (half the IEEE ladder),
/// all ones is infinity (mantissa 0) or NaN; scale byte 0 is 0.0 and 255 infinity.
void mx_decode_row(MxFormat format, std::size_t block, const std::uint8_t* elements,
                   const std::uint8_t* scales, std::size_t n, Format out, void* row);

/// A row to elements and scales.
///
/// OCP: e = floor(log2 of the block's largest magnitude) by exponent bits (-126 for an all-zero
/// block), scale exponent E = max(e - emax, -127), elements x * 2^-E rounded to nearest even and
/// clamped to +-max; element subnormals and the sign of zero are kept. A block with an infinity or
/// NaN gets scale 255 and zero elements.
/// plena, for y = x / 2^e with e = max(floor(log2(amax + 1e-9)), -127) and scale byte e + 127:
/// ex = floor(log2(|y| + 1e-9)) clamped to [-bias, emax]; t = |y| / 2^ex (minus 1 unless
/// ex = -bias) times 2^M, truncated to two fractional bits, rounded to nearest even, clamped to
/// 2^M - 1 (never carried into the exponent; all ones if ex was above emax); code = y < 0 | ex +
/// bias | t. x = 0 gives code 0, an all-zero block scale 0. Its logarithms are taken by exponent
/// bits, which for BF16 rows is what float32 log2 gives. A NaN, undefined there, gives code 0.
void mx_encode_row(MxFormat format, std::size_t block, Format in, const void* row, std::size_t n,
                   std::uint8_t* elements, std::uint8_t* scales);

}  // namespace npuvp::numerics
