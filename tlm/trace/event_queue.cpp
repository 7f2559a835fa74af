#include "trace/event_queue.h"

#include <stdexcept>
#include <string>

namespace npuvp::trace {

void EventQueue::refuse(const Event& event) const {
    throw std::logic_error("an event at " + std::to_string(event.begin) + " ps arrived after " +
                           std::to_string(drained_) + " ps was called safe");
}

void EventQueue::sort(Time limit) {
    order_.clear();
    later_.clear();
    const Time base = drained_ - drained_ % alignment;
    for (std::size_t i = 0; i < events_.size(); ++i) {
        if (events_[i].begin < limit)
            order_.push(static_cast<std::uint32_t>(events_[i].begin - base),
                        static_cast<std::uint32_t>(i));
        else
            later_.push_back(events_[i]);
    }
    order_.sort(
        [this](std::uint32_t a, std::uint32_t b) { return events_[a].source < events_[b].source; });
    drained_ = limit;
}

}  // namespace npuvp::trace
