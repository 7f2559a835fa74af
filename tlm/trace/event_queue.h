#pragma once

#include <vector>

#include "trace/event.h"

namespace npuvp::trace {

/// Puts events of many sources into the order of time. Within an instant the source counts, then
/// the order of arrival, so the result does not depend on how far sources run ahead.
class EventQueue {
  public:
    void push(const Event& event);
    /// Worth draining: so much has come since the last time.
    bool is_long() const { return events_.size() >= drain_at_; }
    /// Hands out everything before `limit`.
    template <class Consumer>
    void drain(Time limit, Consumer&& consume) {
        const std::size_t ready = sort(limit);
        for (std::size_t i = 0; i < ready; ++i) consume(events_[i]);
        events_.erase(events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(ready));
        drain_at_ = 2 * events_.size() + batch;
    }

  private:
    static constexpr std::size_t batch = 1 << 14;
    /// Moves the events before `limit` to the front, in order; returns their number.
    std::size_t sort(Time limit);

    std::vector<Event> events_;
    std::size_t drain_at_ = batch;
    Time drained_ = 0;
};

}  // namespace npuvp::trace
