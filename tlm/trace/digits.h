#pragma once

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace npuvp::trace {

struct BinaryBytes {
    char text[256 + 1][8]{};
    constexpr BinaryBytes() {
        for (unsigned value = 0; value < 256; ++value)
            for (unsigned i = 0; i < 8; ++i) text[value][i] = (value >> (7 - i)) & 1 ? '1' : '0';
    }
};
inline constexpr BinaryBytes binary_bytes{};

struct Thousands {
    char text[1000][4]{};
    constexpr Thousands() {
        for (unsigned value = 0; value < 1000; ++value) {
            text[value][0] = static_cast<char>('0' + value / 100);
            text[value][1] = static_cast<char>('0' + value / 10 % 10);
            text[value][2] = static_cast<char>('0' + value % 10);
        }
    }
};
inline constexpr Thousands thousands{};

/// Digits of many numbers, written where the caller has room for `most` characters.
class BinaryDigits {
  public:
    static constexpr std::size_t most = 64 + 8;

    /// Without leading zeros; "0" for 0. Returns the end.
    static char* append(char* out, std::uint64_t value) {
        const unsigned bits = value ? 64 - static_cast<unsigned>(__builtin_clzll(value)) : 1;
        unsigned byte = bits / 8;
        if (const unsigned rest = bits % 8) {
            // Eight characters, of which the last ones are overwritten.
            std::memcpy(out, binary_bytes.text[(value >> (8 * byte)) & 0xff] + 8 - rest, 8);
            out += rest;
        }
        for (; byte-- > 0; out += 8)
            std::memcpy(out, binary_bytes.text[(value >> (8 * byte)) & 0xff], 8);
        return out;
    }
};

/// Decimal digits of numbers that ascend slowly: those beyond a million are kept.
class DecimalDigits {
  public:
    static constexpr std::size_t most = 24;

    char* append(char* out, std::uint64_t value) {
        const std::uint64_t high = value / 1'000'000;
        if (high == 0) return std::to_chars(out, out + most, value).ptr;
        if (high != high_) {
            high_ = high;
            length_ =
                std::to_chars(text_.data(), text_.data() + text_.size(), high).ptr - text_.data();
        }
        const auto low = static_cast<std::uint32_t>(value - high * 1'000'000);
        std::memcpy(out, text_.data(), text_.size());
        out += length_;
        std::memcpy(out, thousands.text[low / 1000], 4);
        std::memcpy(out + 3, thousands.text[low % 1000], 4);
        return out + 6;
    }

  private:
    std::uint64_t high_ = 0;
    std::ptrdiff_t length_ = 0;
    std::array<char, 16> text_{};
};

}  // namespace npuvp::trace
