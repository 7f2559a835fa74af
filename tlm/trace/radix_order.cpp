#include "trace/radix_order.h"

#include <algorithm>
#include <array>

namespace npuvp::trace {

void RadixOrder::clear() {
    entries_.clear();
    lowest_ = ~std::uint64_t{0};
    highest_ = 0;
}

void RadixOrder::push(std::uint64_t key, std::size_t index) {
    entries_.push_back({key, index});
    lowest_ = std::min(lowest_, key);
    highest_ = std::max(highest_, key);
}

void RadixOrder::sort() {
    constexpr unsigned digit_bits = 11;
    constexpr std::size_t digits = std::size_t{1} << digit_bits;
    if (entries_.size() < 2) return;
    if (entries_.size() < digits / 8) {
        std::stable_sort(entries_.begin(), entries_.end(),
                         [](const Entry& a, const Entry& b) { return a.key < b.key; });
        return;
    }
    other_.resize(entries_.size());
    for (unsigned shift = 0; shift < 64 && (highest_ - lowest_) >> shift; shift += digit_bits) {
        std::array<std::uint32_t, digits> at{};
        for (const Entry& entry : entries_) ++at[((entry.key - lowest_) >> shift) % digits];
        std::uint32_t sum = 0;
        for (std::uint32_t& count : at) {
            const std::uint32_t begin = sum;
            sum += count;
            count = begin;
        }
        for (const Entry& entry : entries_)
            other_[at[((entry.key - lowest_) >> shift) % digits]++] = entry;
        entries_.swap(other_);
    }
}

}  // namespace npuvp::trace
