#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace npuvp::trace {

/// The order of indices by key, stable. Keys of one batch of changes lie close together,
/// so that two or three passes of a radix sort beat a comparison sort several times.
class RadixOrder {
  public:
    void clear();
    void push(std::uint64_t key, std::size_t index);
    void sort();

    std::size_t size() const { return entries_.size(); }
    std::size_t operator[](std::size_t at) const { return entries_[at].index; }

  private:
    struct Entry {
        std::uint64_t key;
        std::size_t index;
    };

    std::vector<Entry> entries_, other_;
    std::uint64_t lowest_ = ~std::uint64_t{0};
    std::uint64_t highest_ = 0;
};

}  // namespace npuvp::trace
