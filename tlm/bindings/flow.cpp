#include "flow/flow.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace npuvp::bindings {
namespace {

using Place = std::pair<std::uint32_t, std::uint32_t>;

template <class T>
T figure(const nb::dict& dict, const char* key) {
    T result{};
    if (!dict.contains(key) || !nb::try_cast<T>(dict[key], result))
        throw std::invalid_argument(std::string("flow: ") + key +
                                    " is missing, or not of its type");
    return result;
}

std::vector<noc::Node> places(const nb::dict& dict, const char* key) {
    std::vector<noc::Node> result;
    for (const auto& [x, y] : figure<std::vector<Place>>(dict, key)) result.push_back({x, y});
    return result;
}

flow::Part part(const std::string& name) {
    if (name == "channel" || name == "pseudo_channel") return flow::Part::channel;
    if (name == "stack_id" || name == "bank_group" || name == "bank") return flow::Part::bank;
    if (name == "row") return flow::Part::row;
    if (name == "column") return flow::Part::column;
    throw std::invalid_argument("flow: a slice of '" + name + "'");
}

flow::Machine machine(const nb::dict& d) {
    flow::Machine m;
    m.shape.columns = figure<std::uint32_t>(d, "columns");
    m.shape.rows = figure<std::uint32_t>(d, "rows");
    m.shape.router_cycles = figure<std::uint32_t>(d, "router_cycles");
    m.shape.link_cycles = figure<std::uint32_t>(d, "link_cycles");
    m.shape.buffer_flits = figure<std::uint32_t>(d, "buffer_flits");
    m.cores = places(d, "cores");
    m.nodes = places(d, "nodes");
    m.flit_bytes = figure<std::uint32_t>(d, "flit_bytes");
    m.burst_bytes = figure<std::uint32_t>(d, "burst_bytes");
    m.reads = figure<std::uint32_t>(d, "reads");
    m.writes = figure<std::uint32_t>(d, "writes");
    m.port_bytes = figure<double>(d, "port_bytes");
    m.interleave = figure<std::uint32_t>(d, "interleave");
    m.access_bytes = figure<std::uint32_t>(d, "access_bytes");
    m.channels = figure<std::uint32_t>(d, "channels");
    m.depth = figure<std::uint32_t>(d, "depth");
    m.latency = figure<double>(d, "latency");
    m.access = figure<double>(d, "access");
    m.banked = d.contains("activate");
    if (!m.banked) return m;
    flow::BankTimes& b = m.banks;
    b.access = m.access;
    b.data = m.latency;
    b.activate = figure<double>(d, "activate");
    b.precharge = figure<double>(d, "precharge");
    b.read_to_close = figure<double>(d, "read_to_close");
    b.row_cycle = figure<double>(d, "row_cycle");
    b.refresh = figure<double>(d, "refresh");
    b.refresh_every = figure<double>(d, "refresh_every");
    b.groups = figure<std::uint32_t>(d, "groups");
    using Slices = std::vector<std::pair<std::string, std::uint32_t>>;
    for (const auto& [name, size] : figure<Slices>(d, "slices"))
        m.slices.push_back({part(name), size});
    return m;
}

using Stretches = std::vector<std::vector<std::tuple<std::uint64_t, std::uint64_t, bool>>>;

std::vector<std::vector<double>> ends(const nb::dict& description, const Stretches& stretches,
                                      const std::vector<std::uint64_t>& begins) {
    std::vector<std::vector<flow::Stretch>> all;
    for (const auto& own : stretches) {
        all.emplace_back();
        for (const auto& [address, bytes, write] : own)
            all.back().push_back({address, bytes, write});
    }
    const flow::Machine m = machine(description);
    const nb::gil_scoped_release released;
    return flow::Flow(m, std::move(all), begins).run();
}

}  // namespace

void flow(nb::module_& m) {
    nb::module_ sub = m.def_submodule("flow", "What several cores ask of one memory, by bursts.");
    sub.def(
        "ends", &ends, "machine"_a, "stretches"_a, "begins"_a,
        "Cycles until each stretch (address, bytes, whether it is written) of each core is there, "
        "where each core begins in a cycle and asks for its stretches in order.");
}

}  // namespace npuvp::bindings
