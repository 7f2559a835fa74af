#pragma once

#include <algorithm>
#include <vector>

#include "trace/event.h"
#include "trace/radix_order.h"

namespace npuvp::trace {

/// Puts events of many sources into the order of time. Within an instant the source counts, then
/// the order of arrival, so the result does not depend on how far sources run ahead.
class EventQueue {
  public:
    /// Before what was handed out: std::logic_error.
    void push(const Event& event) {
        if (event.begin < drained_) refuse(event);
        events_.push_back(event);
    }
    /// Worth draining: so much has come since the last time.
    bool is_long() const { return events_.size() >= drain_at_; }
    /// Hands out everything before `limit`.
    template <class Consumer>
    void drain(Time limit, Consumer&& consume) {
        while (drained_ < limit && !events_.empty()) {
            sort(std::min(limit, drained_ + longest_slice));
            for (std::size_t i = 0; i < order_.size(); ++i) consume(events_[order_[i]]);
            events_.swap(later_);
        }
        drained_ = std::max(drained_, limit);
        drain_at_ = 2 * events_.size() + batch;
    }

  private:
    static constexpr std::size_t batch = 1 << 13;
    static constexpr Time longest_slice = Time{1} << 30;  // keys of 32 bits order it
    static constexpr Time alignment = 4096;               // keys stay multiples of what times are

    [[noreturn]] void refuse(const Event& event) const;
    /// Orders the events before `limit`; the others go to later_.
    void sort(Time limit);

    std::vector<Event> events_, later_;
    RadixOrder order_;
    std::size_t drain_at_ = batch;
    Time drained_ = 0;
};

}  // namespace npuvp::trace
