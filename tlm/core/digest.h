#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace npuvp::core {

/// A number that tells two states apart: 64 bits, by eight bytes at a time. It finds accidents, not
/// forgeries.
class Digest {
  public:
    void bytes(const void* data, std::size_t count) {
        const auto* at = static_cast<const unsigned char*>(data);
        for (; count >= 8; at += 8, count -= 8) {
            std::uint64_t word;
            std::memcpy(&word, at, 8);
            mix(word);
        }
        std::uint64_t rest = count;
        for (std::size_t i = 0; i < count; ++i) rest = rest << 8 | at[i];
        mix(rest);
    }
    template <typename T>
    void add(const T& value) {
        static_assert(std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>,
                      "padding has no value");
        bytes(&value, sizeof value);
    }
    template <typename Container>
    void all(const Container& values) {
        bytes(values.data(), values.size() * sizeof(*values.data()));
    }
    std::uint64_t value() const { return value_; }

  private:
    void mix(std::uint64_t word) {
        value_ = (value_ ^ word) * 0x9fb21c651e98df25ull;
        value_ ^= value_ >> 32;
    }
    std::uint64_t value_ = 0x243f6a8885a308d3ull;
};

}  // namespace npuvp::core
