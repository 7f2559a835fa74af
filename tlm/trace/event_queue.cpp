#include "trace/event_queue.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace npuvp::trace {

void EventQueue::push(const Event& event) {
    if (event.begin < drained_)
        throw std::logic_error("an event at " + std::to_string(event.begin) + " ps arrived after " +
                               std::to_string(drained_) + " ps was called safe");
    events_.push_back(event);
}

std::size_t EventQueue::sort(Time limit) {
    const auto later = std::stable_partition(events_.begin(), events_.end(),
                                             [&](const Event& e) { return e.begin < limit; });
    std::stable_sort(events_.begin(), later, [](const Event& a, const Event& b) {
        return a.begin != b.begin ? a.begin < b.begin : a.source < b.source;
    });
    drained_ = std::max(drained_, limit);
    return static_cast<std::size_t>(later - events_.begin());
}

}  // namespace npuvp::trace
