#pragma once

#include <memory>
#include <vector>

#include "trace/log.h"
#include "trace/power.h"
#include "trace/profile.h"
#include "trace/timeline.h"
#include "trace/vcd.h"

namespace npuvp::trace {

/// The sinks of one run. Creating a sink attaches it; the end of the session detaches them all.
/// The hub outlives the session. Sources must not be added to it meanwhile.
class Session {
  public:
    explicit Session(Hub& hub) : hub_(hub) {}
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    /// At most once, and before the sinks that show power.
    PowerSink& add_power(PowerOptions options, std::vector<PowerColumn> columns);
    VcdSink& add_vcd(VcdOptions options, Names names, std::vector<Signal> signals);

    TimelineSink& add_timeline(TimelineOptions options, Names names);
    /// `sources`: the cores to log.
    LogSink& add_log(LogOptions options, Names names, std::map<std::uint16_t, Listing> listings,
                     const std::vector<std::uint16_t>& sources);

    ProfileSink& add_profile(std::vector<MemoryRange> memory);

    Hub& hub() { return hub_; }
    /// Null without add_power.
    PowerSink* power() { return power_; }

  private:
    template <class Made>
    Made& own(std::unique_ptr<Made> sink, std::vector<std::uint32_t> kinds);

    Hub& hub_;
    std::vector<std::unique_ptr<Sink>> sinks_;
    PowerSink* power_ = nullptr;
};

}  // namespace npuvp::trace
