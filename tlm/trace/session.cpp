#include "trace/session.h"

#include <stdexcept>

namespace npuvp::trace {

Session::~Session() {
    for (auto& sink : sinks_) hub_.detach(*sink);
}

template <class Made>
Made& Session::own(std::unique_ptr<Made> sink, std::vector<std::uint32_t> kinds) {
    Made& made = *sink;
    sinks_.push_back(std::move(sink));
    hub_.attach(made, std::move(kinds));
    return made;
}

PowerSink& Session::add_power(PowerOptions options, std::vector<PowerColumn> columns) {
    if (power_) throw std::logic_error("a trace session has one power trace at most");
    auto sink = std::make_unique<PowerSink>(hub_, std::move(options), std::move(columns));
    std::vector<std::uint32_t> kinds(hub_.sources().size(), 0);
    for (const PowerColumn& column : sink->columns())
        for (std::uint16_t source : column.sources) kinds[source] = bit(Kind::energy);
    power_ = sink.get();
    return own(std::move(sink), std::move(kinds));
}

VcdSink& Session::add_vcd(VcdOptions options, Names names, std::vector<Signal> signals) {
    auto sink = std::make_unique<VcdSink>(hub_, std::move(options), std::move(names),
                                          std::move(signals), power_);
    std::vector<std::uint32_t> kinds = sink->kinds();
    return own(std::move(sink), std::move(kinds));
}

TimelineSink& Session::add_timeline(TimelineOptions options, Names names) {
    auto sink = std::make_unique<TimelineSink>(hub_, std::move(options), std::move(names), power_);
    std::vector<std::uint32_t> kinds = sink->wanted();
    return own(std::move(sink), std::move(kinds));
}

LogSink& Session::add_log(LogOptions options, Names names,
                          std::map<std::uint16_t, Listing> listings,
                          const std::vector<std::uint16_t>& sources) {
    auto sink =
        std::make_unique<LogSink>(hub_, std::move(options), std::move(names), std::move(listings));
    std::vector<std::uint32_t> kinds = sink->choose(sources);
    return own(std::move(sink), std::move(kinds));
}

ProfileSink& Session::add_profile(std::vector<MemoryRange> memory) {
    auto sink = std::make_unique<ProfileSink>(hub_, std::move(memory));
    std::vector<std::uint32_t> kinds = sink->kinds();
    return own(std::move(sink), std::move(kinds));
}

}  // namespace npuvp::trace
