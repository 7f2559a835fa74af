#include "trace/radix_order.h"

#include <algorithm>
#include <array>

namespace npuvp::trace {

void RadixOrder::sort() {
    constexpr unsigned digit_bits = 11;
    constexpr std::size_t digits = std::size_t{1} << digit_bits;
    if (entries_.size() < digits / 8) {
        // Indices ascend, so that ties keep their order.
        std::sort(entries_.begin(), entries_.end());
        return;
    }
    other_.resize(entries_.size());
    for (unsigned shift = 0; shift < 32 && all_keys_ >> shift; shift += digit_bits) {
        std::array<std::uint32_t, digits> at{};
        for (const std::uint64_t entry : entries_) ++at[(entry >> 32 >> shift) % digits];
        std::uint32_t sum = 0;
        for (std::uint32_t& count : at) {
            const std::uint32_t begin = sum;
            sum += count;
            count = begin;
        }
        for (const std::uint64_t entry : entries_)
            other_[at[(entry >> 32 >> shift) % digits]++] = entry;
        entries_.swap(other_);
    }
}

}  // namespace npuvp::trace
