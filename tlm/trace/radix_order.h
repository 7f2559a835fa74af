#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace npuvp::trace {

/// The order of ascending indices by key, stable, both of 32 bits. Keys of one batch of changes lie
/// close together, so that two or three passes of a radix sort beat a comparison sort several
/// times.
class RadixOrder {
  public:
    void clear() {
        entries_.clear();
        all_keys_ = 0;
    }
    void push(std::uint32_t key, std::uint32_t index) {
        entries_.push_back(std::uint64_t{key} << 32 | index);
        all_keys_ |= key;
    }
    void sort();
    /// As sort(); what has equal keys stands in the order of `less`, and only then as it came.
    template <class Less>
    void sort(Less&& less) {
        sort();
        for (std::size_t at = 1; at < entries_.size(); ++at) {
            const std::uint64_t entry = entries_[at];
            std::size_t to = at;
            for (; to > 0 && entries_[to - 1] >> 32 == entry >> 32 &&
                   less(static_cast<std::uint32_t>(entry),
                        static_cast<std::uint32_t>(entries_[to - 1]));
                 --to)
                entries_[to] = entries_[to - 1];
            entries_[to] = entry;
        }
    }

    std::size_t size() const { return entries_.size(); }
    std::uint32_t operator[](std::size_t at) const {
        return static_cast<std::uint32_t>(entries_[at]);
    }

  private:
    std::vector<std::uint64_t> entries_, other_;
    std::uint32_t all_keys_ = 0;
};

}  // namespace npuvp::trace
