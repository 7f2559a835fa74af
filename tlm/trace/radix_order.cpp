#include "trace/radix_order.h"

#include <algorithm>
#include <array>

namespace npuvp::trace {

void RadixOrder::sort() {
    constexpr unsigned most_digit_bits = 12;
    if (entries_.size() < 256) {
        // Indices ascend, so that ties keep their order.
        std::sort(entries_.begin(), entries_.end());
        return;
    }
    if (all_keys_ == 0) return;
    // Low digits that are 0 in every key (times in whole nanoseconds) and high ones cost nothing.
    const auto low = static_cast<unsigned>(__builtin_ctz(all_keys_));
    const unsigned bits = 32 - static_cast<unsigned>(__builtin_clz(all_keys_)) - low;
    const unsigned passes = (bits + most_digit_bits - 1) / most_digit_bits;
    const unsigned digit_bits = (bits + passes - 1) / passes;
    const std::uint64_t mask = (std::uint64_t{1} << digit_bits) - 1;
    other_.resize(entries_.size());
    std::array<std::uint32_t, std::size_t{1} << most_digit_bits> at;
    for (unsigned pass = 0; pass < passes; ++pass) {
        const unsigned shift = 32 + low + pass * digit_bits;
        std::fill_n(at.begin(), mask + 1, 0u);
        for (const std::uint64_t entry : entries_) ++at[(entry >> shift) & mask];
        std::uint32_t sum = 0;
        for (std::size_t digit = 0; digit <= mask; ++digit) {
            const std::uint32_t begin = sum;
            sum += at[digit];
            at[digit] = begin;
        }
        for (const std::uint64_t entry : entries_) other_[at[(entry >> shift) & mask]++] = entry;
        entries_.swap(other_);
    }
}

}  // namespace npuvp::trace
