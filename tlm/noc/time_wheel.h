#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <queue>
#include <vector>

namespace npuvp::noc {

/// Items that are due at cycles to come, taken in order of their cycles and, within one, in the
/// order in which they were put in.
///
/// One list per cycle of the near future and a bit map of those that hold something, so that an
/// item costs the same however many wait; what is further away waits in a heap until the wheel has
/// turned so far.
template <class T>
class TimeWheel {
  public:
    static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
    /// Cycles of the near future.
    static constexpr std::uint64_t kSlots = 512;

    bool empty() const { return next_ == kNever; }
    /// Cycle of the first item; kNever without one.
    std::uint64_t next() const { return next_; }

    /// `time`: no earlier than that of the last item taken, or than the last turn().
    void push(std::uint64_t time, T item) {
        if (time - base_ >= kSlots) {
            far_.push({time, far_order_++, item});
        } else {
            append(time, item);
        }
        if (time < next_) next_ = time;
    }

    /// Takes the first item, of cycle next().
    T pop() {
        if (next_ > base_) turn(next_);
        const std::size_t at = next_ % kSlots;
        const std::uint32_t index = slots_[at].first;
        Cell& cell = cells_[index];
        const T item = cell.item;
        const std::uint32_t after = cell.next;
        cell.next = idle_;
        idle_ = index;
        slots_[at].first = after;
        if (after == kNone) {
            used_[at / 64] &= ~(std::uint64_t{1} << at % 64);
            find_next();
        }
        return item;
    }

    /// Time goes on to `now`; all that was due before has been taken.
    void turn(std::uint64_t now) {
        base_ = now;
        while (!far_.empty() && far_.top().time - base_ < kSlots) {
            append(far_.top().time, far_.top().item);
            far_.pop();
        }
    }

  private:
    static constexpr std::uint32_t kNone = ~0u;
    static constexpr std::size_t kWords = kSlots / 64;
    struct Cell {
        T item;
        std::uint32_t next;
    };
    struct Slot {
        std::uint32_t first = kNone;
        std::uint32_t last = kNone;
    };
    struct Far {
        std::uint64_t time;
        std::uint64_t order;
        T item;
        bool operator>(const Far& other) const {
            return time != other.time ? time > other.time : order > other.order;
        }
    };

    void append(std::uint64_t time, T item) {
        std::uint32_t index = idle_;
        if (index == kNone) {
            index = static_cast<std::uint32_t>(cells_.size());
            cells_.push_back({item, kNone});
        } else {
            idle_ = cells_[index].next;
            cells_[index] = {item, kNone};
        }
        const std::size_t at = time % kSlots;
        Slot& slot = slots_[at];
        if (slot.first == kNone) {
            slot.first = index;
            used_[at / 64] |= std::uint64_t{1} << at % 64;
        } else {
            cells_[slot.last].next = index;
        }
        slot.last = index;
    }

    void find_next() {
        const std::size_t from = base_ % kSlots;
        for (std::size_t i = 0; i <= kWords; ++i) {
            const std::size_t word = (from / 64 + i) % kWords;
            std::uint64_t bits = used_[word];
            // The word in which the wheel stands is looked at twice: its later cycles, then, after
            // a whole turn, its earlier ones.
            if (i == 0) bits &= ~std::uint64_t{0} << from % 64;
            if (bits == 0) continue;
            const std::size_t at = word * 64 + static_cast<std::size_t>(__builtin_ctzll(bits));
            next_ = base_ + (at + kSlots - from) % kSlots;
            return;
        }
        next_ = far_.empty() ? kNever : far_.top().time;
    }

    std::uint64_t base_ = 0;
    std::uint64_t next_ = kNever;
    std::array<Slot, kSlots> slots_{};
    std::array<std::uint64_t, kWords> used_{};
    std::vector<Cell> cells_;
    std::uint32_t idle_ = kNone;
    std::priority_queue<Far, std::vector<Far>, std::greater<Far>> far_;
    std::uint64_t far_order_ = 0;
};

}  // namespace npuvp::noc
