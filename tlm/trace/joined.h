#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "trace/event.h"

namespace npuvp::trace {

/// Joins intervals of one count: where one ends and another of the same amount begins in the same
/// instant the count stays, so neither needs to be written down. Units that work back to back and
/// memory that streams report little else. Any order of intervals gives the same sums; the order of
/// time joins most.
class Joined {
  public:
    /// `bit`: only whether the count is 0 matters, so that what overlaps is joined as well.
    explicit Joined(bool bit) : bit_(bit) {}

    /// Takes [begin, end) of `amount`, not empty; `step(time, difference)` is called for what is
    /// not joined.
    template <class Step>
    void add(Time begin, Time end, std::uint64_t amount, Step&& step) {
        for (std::size_t i = 0; i < count_; ++i) {
            // What was joined last ends last: look at the one after it first.
            next_ = next_ + 1 < count_ ? next_ + 1 : 0;
            Interval& open = open_[next_];
            const bool meets = open.end == begin && open.amount == amount;
            if (meets || (bit_ && open.begin <= begin && begin < open.end)) {
                open.end = std::max(open.end, end);
                return;
            }
        }
        step(begin, amount);
        if (count_ == most) {
            next_ = next_ + 1 < most ? next_ + 1 : 0;
            step(open_[next_].end, 0 - open_[next_].amount);
            open_[next_] = {begin, end, amount};
            return;
        }
        next_ = count_;
        open_[count_++] = {begin, end, amount};
    }
    /// Gives the ends before `limit`: nothing that begins earlier will come.
    template <class Step>
    void settle(Time limit, Step&& step) {
        for (std::size_t i = 0; i < count_;) {
            if (open_[i].end >= limit) {
                ++i;
                continue;
            }
            step(open_[i].end, 0 - open_[i].amount);
            open_[i] = open_[--count_];
        }
    }

  private:
    static constexpr std::size_t most = 16;
    struct Interval {
        Time begin, end;
        std::uint64_t amount;
    };
    bool bit_;
    std::size_t count_ = 0, next_ = 0;
    std::array<Interval, most> open_;
};

}  // namespace npuvp::trace
