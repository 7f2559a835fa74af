#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "trace/event.h"
#include "trace/worker.h"

namespace npuvp::trace {

/// Whether modules report at all. Every build does, but for the one that
/// `python -m benchmarks tracing_off` counts instructions against.
#ifdef NPUVP_NO_TRACE
constexpr bool hooks = false;
#else
constexpr bool hooks = true;
#endif

/// What a module remembers of whether somebody listens.
class Flag {
  public:
    Flag& operator=(bool on) {
        on_ = on;
        return *this;
    }
    operator bool() const { return hooks && __builtin_expect(on_, false); }

  private:
    bool on_ = false;
};

/// Bit per Kind that a sink wants, by source.
struct Wanted {
    std::vector<std::uint32_t> kinds;
    bool has(const Event& event) const {
        return (kinds[event.source] >> static_cast<unsigned>(event.kind)) & 1u;
    }
};

/// Receives events. Events of one source and kind arrive in order of `begin`; events of different
/// sources interleave freely, because cores run ahead of the kernel. After `advance(t)` no event
/// with begin < t will come any more, so a sink that writes in order of time sorts up to there.
class Sink {
  public:
    virtual ~Sink() = default;
    virtual void on_event(const Event& event) = 0;
    /// Those of [first, last) whose kind is wanted from their source.
    virtual void on_events(const Event* first, const Event* last, const Wanted& wanted) {
        for (; first != last; ++first)
            if (wanted.has(*first)) on_event(*first);
    }
    virtual void advance(Time safe) = 0;
    /// The run ended (normally, by a trap or by a Python exception) at `end`: complete the file.
    virtual void finish(Time end) = 0;
};

/// A component that reports events: "core0", "core0.vector", "hbm.ch0", "noc.r0c1.east".
struct Source {
    std::string path;
    std::string type;              ///< core, unit, dma, memory, link, host
    double static_watts = 0.0;     ///< leakage and clock, charged whether or not anything happens
    std::uint64_t dynamic_fj = 0;  ///< energy of all events so far
    std::uint32_t wanted = 0;      ///< bit per Kind: some sink listens
};

/// The one event stream of a platform. Modules register as sources when they are built; sinks
/// attach for a run with a selection. Nothing is formatted or stored for events nobody wants.
class Hub {
  public:
    Hub() = default;
    ~Hub() { stop_worker(); }
    Hub(const Hub&) = delete;
    Hub& operator=(const Hub&) = delete;

    std::uint16_t add_source(std::string path, std::string type, double static_watts = 0.0);
    const std::vector<Source>& sources() const { return sources_; }

    /// `kinds`: bit per Kind; `sources`: indices into sources(). The sink outlives the attachment.
    void attach(Sink& sink, std::uint32_t kinds, const std::vector<std::uint16_t>& sources);
    /// `kinds[i]`: bit per Kind wanted from source i; sources beyond its end are not wanted.
    void attach(Sink& sink, std::vector<std::uint32_t> kinds);
    /// Forgets one sink, or all.
    void detach(Sink& sink);
    void detach_all();

    bool wants(std::uint16_t source, Kind kind) const {
        return active() && ((sources_[source].wanted >> static_cast<unsigned>(kind)) & 1u);
    }
    void emit(const Event& event) {
        if (wants(event.source, event.kind)) dispatch(event);
    }
    /// Counts energy always and reports it where a sink wants it.
    void energy(std::uint16_t source, Time begin, Time end, std::uint64_t femtojoules,
                std::uint32_t what_for = 0) {
        sources_[source].dynamic_fj += femtojoules;
        if (wants(source, Kind::energy))
            dispatch({begin, end, femtojoules, 0, what_for, source, Kind::energy});
    }
    /// As energy() where nobody listens: one question less for who has asked active() already.
    void spend(std::uint16_t source, std::uint64_t femtojoules) {
        sources_[source].dynamic_fj += femtojoules;
    }
    /// Nothing before `safe` will be reported any more, except by sources that hold time back.
    void advance(Time safe);
    /// Called before time is declared safe: a component that reports late catches up. It outlives
    /// the hub's use.
    void before_advance(std::function<void()> catch_up) {
        catch_up_.push_back(std::move(catch_up));
    }
    /// `source` reports some things when they end: nothing that it will report begins before
    /// `begin`, and sinks wait for it. A later call moves the instant; finish() forgets it.
    void hold(std::uint16_t source, Time begin);
    void release(std::uint16_t source);
    /// From here until finish() sinks work on a thread of their own; none is attached meanwhile.
    void start_worker();
    void finish(Time end);
    void reset_energy();
    /// Somebody listens. All that a run without sinks asks, and it mostly is one.
    bool active() const { return hooks && __builtin_expect(listening_, false); }

  private:
    struct Attachment {
        Sink* sink;
        Wanted wanted;
    };
    void dispatch(const Event& event) {
        if (worker_)
            worker_->push(event);
        else
            deliver(event);
    }
    void deliver(const Event& event);
    void deliver(const Event* first, const Event* last);
    void stop_worker();

    bool listening_ = false;
    std::vector<Source> sources_;
    std::vector<Attachment> attachments_;
    std::vector<std::function<void()>> catch_up_;
    std::vector<std::pair<std::uint16_t, Time>> held_;  ///< a handful: cores and DMA engines
    std::unique_ptr<Worker> worker_;
};

}  // namespace npuvp::trace
