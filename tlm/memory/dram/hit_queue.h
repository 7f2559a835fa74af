#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "memory/serial.h"

namespace npuvp::memory::dram {

/// Whether `a` comes before `b`: orders and arrivals wrap, and never span half their range.
inline bool earlier(std::uint32_t a, std::uint32_t b) {
    return static_cast<std::int32_t>(a - b) < 0;
}

/// The requests of one pseudo-channel that hit an open row, from the oldest to the youngest, side
/// by side in memory: requests mostly join as the youngest and leave as the oldest or nearly so.
class HitQueue {
  public:
    struct Item {
        std::uint32_t order;
        std::int16_t entry;
        std::uint16_t bank;
    };

    /// Twice the room, so that what has left at the front is made up for only now and then.
    explicit HitQueue(int most)
        : items_(std::make_unique<Item[]>(2 * static_cast<std::size_t>(most))),
          limit_(items_.get() + 2 * static_cast<std::size_t>(most)),
          first_(items_.get()),
          last_(items_.get()) {}

    const Item* begin() const { return first_; }
    const Item* end() const { return last_; }
    /// There is one.
    const Item* oldest_of(int bank) const {
        const Item* item = first_;
        while (item->bank != bank) ++item;
        return item;
    }

    void push_back(const Item& item) {
        if (last_ == limit_) {
            last_ = std::move(first_, last_, items_.get());
            first_ = items_.get();
        }
        *last_++ = item;
    }
    /// Keeps the order.
    void insert(const Item& item) {
        push_back(item);
        Item* at = last_ - 1;
        for (; at > first_ && earlier(item.order, at[-1].order); --at) *at = at[-1];
        *at = item;
    }
    void erase(const Item* item) {
        for (Item* at = first_ + (item - first_); at > first_; --at) *at = at[-1];
        ++first_;
    }
    /// Removes all of a bank; `visit` gets their entries, the oldest first.
    template <class Visit>
    void erase_all(int bank, Visit visit) {
        Item* kept = first_;
        for (Item* at = first_; at < last_; ++at) {
            if (at->bank == bank)
                visit(at->entry);
            else
                *kept++ = *at;
        }
        last_ = kept;
    }

    void save(Writer& writer) const { writer.put(std::vector<Item>(first_, last_)); }
    void restore(Reader& reader) {
        std::vector<Item> saved;
        reader.get(saved);
        if (saved.size() > static_cast<std::size_t>(limit_ - items_.get())) Reader::mismatch();
        first_ = items_.get();
        last_ = std::copy(saved.begin(), saved.end(), first_);
    }

  private:
    std::unique_ptr<Item[]> items_;
    Item *limit_, *first_, *last_;
};

}  // namespace npuvp::memory::dram
