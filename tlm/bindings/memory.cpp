#include "bindings/memory.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "bindings/bindings.h"
#include "memory/backend.h"
#include "memory/stream.h"

namespace nb = nanobind;

namespace npuvp::bindings {
namespace {

template <class T>
T value(const nb::dict& dict, const std::string& section, const char* key) {
    if (!dict.contains(key)) {
        throw std::invalid_argument("memory description: " + section + key + " is missing");
    }
    T result{};
    if (!nb::try_cast<T>(dict[key], result)) {
        throw std::invalid_argument("memory description: " + section + key + " = " +
                                    nb::cast<std::string>(nb::repr(dict[key])) +
                                    " is not of its type");
    }
    return result;
}

template <class E>
using Names = std::vector<std::pair<const char*, E>>;

template <class E>
E named(const std::string& name, const std::string& what, const Names<E>& names) {
    std::string known;
    for (const auto& [candidate, result] : names) {
        if (name == candidate) return result;
        known += (known.empty() ? "" : ", ") + std::string(candidate);
    }
    throw std::invalid_argument("memory description: " + what + " is '" + name +
                                "', allowed: " + known);
}

memory::Field field(const std::string& name) {
    using memory::Field;
    return named<Field>(name, "mapping field",
                        {{"channel", Field::channel},
                         {"pseudo_channel", Field::pseudo_channel},
                         {"stack_id", Field::stack_id},
                         {"bank_group", Field::bank_group},
                         {"bank", Field::bank},
                         {"row", Field::row},
                         {"column", Field::column}});
}

/// Reads numbers of one section into members of one struct.
template <class S>
void numbers(const nb::dict& dict, const char* section, S& target,
             const std::vector<std::pair<const char*, std::uint32_t S::*>>& members) {
    const auto part = value<nb::dict>(dict, "", section);
    for (const auto& [key, member] : members) {
        target.*member = value<std::uint32_t>(part, std::string(section) + ".", key);
    }
}

memory::Controller controller(const nb::dict& dict) {
    using memory::BankRefreshOrder;
    using memory::Refresh;
    using memory::RowPolicy;
    memory::Controller c;
    const std::string at = "controller.";
    c.queue_depth = value<std::uint32_t>(dict, at, "queue_depth");
    c.write_drain_start = value<double>(dict, at, "write_drain_start");
    c.write_drain_stop = value<double>(dict, at, "write_drain_stop");
    c.protect_row_hits = value<bool>(dict, at, "protect_row_hits");
    c.row_cap = value<std::uint32_t>(dict, at, "row_cap");
    c.row_policy = named<RowPolicy>(
        value<std::string>(dict, at, "row_policy"), at + "row_policy",
        {{"open", RowPolicy::open}, {"closed", RowPolicy::closed}, {"capped", RowPolicy::capped}});
    c.refresh = named<Refresh>(value<std::string>(dict, at, "refresh"), at + "refresh",
                               {{"none", Refresh::none},
                                {"all_bank", Refresh::all_bank},
                                {"per_bank", Refresh::per_bank}});
    c.bank_refresh_order = named<BankRefreshOrder>(
        value<std::string>(dict, at, "bank_refresh_order"), at + "bank_refresh_order",
        {{"bank_by_bank", BankRefreshOrder::bank_by_bank},
         {"pseudo_channels_together", BankRefreshOrder::pseudo_channels_together}});
    return c;
}

memory::Stream stream(const nb::dict& dict) {
    using memory::Arrivals;
    using memory::Pattern;
    memory::Stream s;
    const std::string at = "stream.";
    s.pattern = named<Pattern>(value<std::string>(dict, at, "pattern"), at + "pattern",
                               {{"sequential", Pattern::sequential},
                                {"random", Pattern::random},
                                {"row_conflict", Pattern::row_conflict},
                                {"row_conflict_one_bank", Pattern::row_conflict_one_bank}});
    s.arrivals =
        named<Arrivals>(value<std::string>(dict, at, "arrivals"), at + "arrivals",
                        {{"bernoulli", Arrivals::bernoulli}, {"periodic", Arrivals::periodic}});
    s.bytes = value<std::uint32_t>(dict, at, "bytes");
    s.reads = value<std::uint32_t>(dict, at, "reads");
    s.writes = value<std::uint32_t>(dict, at, "writes");
    s.streams = value<std::uint32_t>(dict, at, "streams");
    s.load = value<double>(dict, at, "load");
    s.requests = value<std::uint64_t>(dict, at, "requests");
    s.seed = value<std::uint64_t>(dict, at, "seed");
    return s;
}

std::string refusal(const std::string& backend, const nb::dict& description) {
    const memory::Config config = memory_config(description);
    try {
        memory::make_backend(backend, config);
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return "";
}

nb::dict run(const std::string& backend, const nb::dict& description, const nb::dict& stimulus) {
    memory::Config config = memory_config(description);
    const memory::Stream spec = stream(stimulus);
    config.mapping = memory::stream_mapping(config.organization, spec.bytes);
    memory::StreamResult r;
    {
        const nb::gil_scoped_release released;
        const auto made = memory::make_backend(backend, config);
        r = memory::run_stream(*made, config, spec);
    }
    nb::dict d;
    d["bandwidth"] = r.bandwidth;
    d["fraction_of_peak"] = r.fraction_of_peak;
    d["mean_latency_ns"] = r.mean_latency_ns;
    d["p50_latency_ns"] = r.p50_latency_ns;
    d["p99_latency_ns"] = r.p99_latency_ns;
    d["max_latency_ns"] = r.max_latency_ns;
    d["window_ns"] = r.window_ns;
    d["simulated_ns"] = r.simulated_ns;
    d["cpu_seconds"] = r.cpu_seconds;
    d["requests"] = r.requests;
    d["measured_reads"] = r.measured_reads;
    d["counts"] = memory_counts(r.statistics);
    return d;
}

}  // namespace

nb::dict memory_counts(const memory::Statistics& s) {
    nb::dict d;
    d["activates"] = s.activates;
    d["reads"] = s.reads;
    d["writes"] = s.writes;
    d["precharges"] = s.precharges;
    d["precharges_all"] = s.precharges_all;
    d["refreshes_all"] = s.refreshes_all;
    d["refreshes_bank"] = s.refreshes_bank;
    d["row_hits"] = s.row_hits;
    d["row_misses"] = s.row_misses;
    d["row_conflicts"] = s.row_conflicts;
    d["bytes_read"] = s.bytes_read;
    d["bytes_written"] = s.bytes_written;
    d["reads_forwarded"] = s.reads_forwarded;
    d["writes_coalesced"] = s.writes_coalesced;
    d["refused"] = s.refused;
    d["data_busy_ps"] = s.data_busy;
    d["rows_open_ps"] = s.rows_open;
    d["elapsed_ps"] = s.elapsed;
    return d;
}

memory::Config memory_config(const nb::dict& description) {
    memory::Config c;
    c.name = value<std::string>(description, "", "name");
    c.family = value<std::string>(description, "", "family");
    c.clock_khz = value<std::uint64_t>(description, "", "clock_khz");
    using O = memory::Organization;
    numbers<O>(description, "organization", c.organization,
               {{"channels", &O::channels},
                {"pseudo_channels", &O::pseudo_channels},
                {"stack_ids", &O::stack_ids},
                {"bank_groups", &O::bank_groups},
                {"banks", &O::banks},
                {"rows", &O::rows},
                {"columns", &O::columns},
                {"access_bytes", &O::access_bytes}});
    using T = memory::Timing;
    numbers<T>(
        description, "timing", c.timing,
        {{"cl", &T::cl},         {"cwl", &T::cwl},     {"burst", &T::burst}, {"rcd_rd", &T::rcd_rd},
         {"rcd_wr", &T::rcd_wr}, {"rp", &T::rp},       {"ras", &T::ras},     {"rc", &T::rc},
         {"ccd_s", &T::ccd_s},   {"ccd_l", &T::ccd_l}, {"ccd_r", &T::ccd_r}, {"rrd_s", &T::rrd_s},
         {"rrd_l", &T::rrd_l},   {"faw", &T::faw},     {"wr", &T::wr},       {"rtp", &T::rtp},
         {"wtr_s", &T::wtr_s},   {"wtr_l", &T::wtr_l}, {"rtw", &T::rtw},     {"rfc", &T::rfc},
         {"rfc_pb", &T::rfc_pb}, {"rrefd", &T::rrefd}, {"refi", &T::refi},   {"ppd", &T::ppd}});
    using B = memory::CommandBus;
    numbers<B>(description, "bus", c.bus,
               {{"ticks_per_clock", &B::ticks_per_clock},
                {"activate_ticks", &B::activate_ticks},
                {"precharge_ticks", &B::precharge_ticks},
                {"refresh_ticks", &B::refresh_ticks},
                {"column_ticks", &B::column_ticks}});
    c.controller = controller(value<nb::dict>(description, "", "controller"));
    const auto ideal = value<nb::dict>(description, "", "ideal");
    c.ideal.latency_ns = value<double>(ideal, "ideal.", "latency_ns");
    c.ideal.bandwidth = value<double>(ideal, "ideal.", "bandwidth");
    const auto mapping = value<nb::dict>(description, "", "mapping");
    for (nb::handle item : value<nb::list>(mapping, "mapping.", "slices")) {
        const auto slice = nb::cast<nb::sequence>(item);
        c.mapping.slices.push_back(
            {field(nb::cast<std::string>(slice[0])), nb::cast<std::uint64_t>(slice[1])});
    }
    for (nb::handle item : value<nb::list>(mapping, "mapping.", "hashes")) {
        const auto hash = nb::cast<nb::sequence>(item);
        c.mapping.hashes.push_back({field(nb::cast<std::string>(hash[0])),
                                    field(nb::cast<std::string>(hash[1])),
                                    nb::cast<std::uint32_t>(hash[2])});
    }
    return c;
}

void memory_model(nb::module_& m) {
    m.def("memory_backends", &memory::backend_names, "Names of the memory backends.");
    m.def("memory_backend_unavailable", &memory::backend_unavailable_reason, nb::arg("name"),
          "Empty if the backend can be made, else what is missing.");
    m.def("memory_backend_refusal", &refusal, nb::arg("backend"), nb::arg("description"),
          "Empty if the backend can simulate this memory, else why not.");
    m.def("memory_stream", &run, nb::arg("backend"), nb::arg("description"), nb::arg("stimulus"),
          "Drives a fresh memory with a synthetic stimulus; releases the GIL.");
}

}  // namespace npuvp::bindings
