#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "trace/hub.h"

namespace npuvp::trace {

/// An event that opens or closes a window: of this kind, from one of these sources, and where they
/// are given with this `a` and this `b`.
struct Trigger {
    Kind kind = Kind::count_;            ///< count_: none
    std::vector<std::uint16_t> sources;  ///< empty: all
    std::int64_t a = -1;                 ///< -1: any
    std::int64_t b = -1;

    bool set() const { return kind != Kind::count_; }
    bool matches(const Event& event) const {
        return event.kind == kind && (a < 0 || event.a == static_cast<std::uint64_t>(a)) &&
               (b < 0 || event.b == static_cast<std::uint64_t>(b)) &&
               (sources.empty() ||
                std::find(sources.begin(), sources.end(), event.source) != sources.end());
    }
};

/// What is recorded of a run: [start, stop], where the start may be the first event that `on`
/// describes, less `lookback`, and the stop the first one after it that `off` describes.
struct Window {
    Time start = 0;
    Time stop = std::numeric_limits<Time>::max();
    Trigger on, off;
    Time lookback = 0;

    Window(Time from, Time to, Trigger opens, Trigger closes, Time before)
        : start(from), stop(to), on(std::move(opens)), off(std::move(closes)), lookback(before) {}

    /// To be called before the first event; sources beyond `kinds` are not wanted.
    void arm(std::vector<std::uint32_t>& kinds) {
        waiting_ = on.set();
        if (waiting_) start = std::numeric_limits<Time>::max();
        for (const Trigger* trigger : {&on, &off})
            if (trigger->set())
                for (std::size_t i = 0; i < kinds.size(); ++i) kinds[i] |= bit(trigger->kind);
    }
    /// Looks at an event; only those that can still be recorded matter, so it may come any time
    /// before its instant is processed.
    void observe(const Event& event, Time tick = 1) {
        if (waiting_ && on.matches(event)) {
            waiting_ = false;
            start = event.begin - std::min(event.begin, lookback);
            start += (tick - start % tick) % tick;
        } else if (!waiting_ && off.set() && event.begin >= start && off.matches(event)) {
            stop = std::min(stop, event.begin);
        }
    }
    /// How far events may be processed where all before `safe` are known: what could still become
    /// part of the window is kept.
    Time ready(Time safe) const { return waiting_ ? safe - std::min(safe, lookback) : safe; }
    bool contains(Time time) const { return time >= start && time <= stop; }
    /// The event that opens it has not come.
    bool waiting() const { return waiting_; }

  private:
    bool waiting_ = false;
};

}  // namespace npuvp::trace
