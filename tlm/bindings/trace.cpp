#include <nanobind/stl/array.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <limits>

#include "bindings/bindings.h"
#include "trace/session.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace npuvp::bindings {

using namespace npuvp::trace;

namespace {

void bind_events(nb::module_& m) {
    nb::enum_<Kind>(m, "Kind", "What an event reports.")
        .value("instruction", Kind::instruction)
        .value("unit_busy", Kind::unit_busy)
        .value("stall", Kind::stall)
        .value("dma", Kind::dma)
        .value("burst", Kind::burst)
        .value("memory", Kind::memory)
        .value("link", Kind::link)
        .value("command", Kind::command)
        .value("semaphore", Kind::semaphore)
        .value("mark", Kind::mark)
        .value("host", Kind::host)
        .value("trap", Kind::trap)
        .value("energy", Kind::energy)
        .value("descriptor", Kind::descriptor)
        .value("result", Kind::result);

    nb::class_<Source>(m, "Source", "A component that reports events.")
        .def_ro("path", &Source::path)
        .def_ro("type", &Source::type)
        .def_ro("static_watts", &Source::static_watts)
        .def_ro("dynamic_fj", &Source::dynamic_fj);

    nb::class_<Hub>(m, "Hub", "The event stream of a platform.")
        .def(nb::init<>())
        .def("add_source", &Hub::add_source, "path"_a, "type"_a, "static_watts"_a = 0.0)
        .def_prop_ro("sources", [](const Hub& hub) { return hub.sources(); })
        .def(
            "emit",
            [](Hub& hub, Kind kind, std::uint16_t source, Time begin, Time end, std::uint32_t a,
               std::uint64_t b, std::uint64_t c) {
                if (source >= hub.sources().size())
                    throw nb::index_error("no such source of events");
                hub.emit({begin, end, b, c, a, source, kind});
            },
            "kind"_a, "source"_a, "begin"_a, "end"_a, "a"_a = 0, "b"_a = 0, "c"_a = 0,
            "Reports one event, as a module of the machine does.")
        .def(
            "energy",
            [](Hub& hub, std::uint16_t source, Time begin, Time end, std::uint64_t femtojoules) {
                if (source >= hub.sources().size())
                    throw nb::index_error("no such source of events");
                hub.energy(source, begin, end, femtojoules);
            },
            "source"_a, "begin"_a, "end"_a, "femtojoules"_a)
        .def("advance", &Hub::advance, "safe"_a)
        .def("hold", &Hub::hold, "source"_a, "begin"_a)
        .def("release", &Hub::release, "source"_a)
        .def("finish", &Hub::finish, "end"_a)
        .def("detach_all", &Hub::detach_all)
        .def("reset_energy", &Hub::reset_energy)
        .def_prop_ro("active", &Hub::active);
}

void bind_signals(nb::module_& m) {
    nb::class_<Names>(m, "Names", "Words that string signals show.")
        .def(
            nb::init<
                std::vector<std::string>, std::vector<std::string>,
                std::array<std::vector<std::string>, static_cast<std::size_t>(MarkKind::count_)>>(),
            "operations"_a = std::vector<std::string>(), "commands"_a = std::vector<std::string>(),
            "marks"_a =
                std::array<std::vector<std::string>, static_cast<std::size_t>(MarkKind::count_)>())
        .def_ro("operations", &Names::operations)
        .def_ro("commands", &Names::commands)
        .def_ro("marks", &Names::marks);

    nb::enum_<View>(m, "View")
        .value("bit", View::bit)
        .value("vector", View::vector)
        .value("string", View::string)
        .value("real", View::real);

    nb::class_<Signal>(m, "Signal", "One signal that a waveform can show.")
        .def_ro("path", &Signal::path)
        .def_ro("view", &Signal::view)
        .def_ro("width", &Signal::width)
        .def_ro("type", &Signal::type)
        .def_ro("description", &Signal::description);

    m.def("signal_catalog", &signal_catalog, "hub"_a, "names"_a, "power_columns"_a);
    m.def("coarsest_tick", &coarsest_tick, "periods"_a);
    m.def("static_femtojoules", &static_femtojoules, "watts"_a, "duration"_a);
}

nb::dict profile_dict(const ProfileSink& sink) {
    constexpr std::size_t columns = sum_count;
    const auto sums_of = [](const auto& rows) {
        nb::list list;
        for (const auto& row : rows) list.append(nb::cast(row.sums));
        return list;
    };
    nb::dict d;
    const char* names[columns] = {"own",
                                  "operand",
                                  "unit",
                                  "dma",
                                  "noc",
                                  "memory",
                                  "synchronisation",
                                  "idle",
                                  "instructions",
                                  "scalar_busy",
                                  "vector_busy",
                                  "matrix_busy",
                                  "lane_operations",
                                  "macs",
                                  "bytes_read",
                                  "bytes_written",
                                  "energy"};
    nb::list columns_list;
    for (const char* name : names) columns_list.append(name);
    d["columns"] = columns_list;
    nb::list pc, marks;
    for (const auto& row : sink.by_pc())
        pc.append(nb::make_tuple(
            row.core, row.pc == ProfileSink::no_pc ? nb::object(nb::none()) : nb::cast(row.pc)));
    for (const auto& row : sink.by_marks()) {
        nb::list values;
        for (const std::uint64_t value : row.marks)
            values.append(value == ProfileSink::no_mark ? nb::object(nb::none()) : nb::cast(value));
        marks.append(nb::make_tuple(row.core, values));
    }
    d["pc"] = pc;
    d["pc_sums"] = sums_of(sink.by_pc());
    d["marks"] = marks;
    d["marks_sums"] = sums_of(sink.by_marks());
    nb::dict traffic, energy;
    for (const auto& [source, series] : sink.traffic()) {
        const Time window = std::max(series[0].window(), series[1].window());
        nb::list both;
        for (Series part : series) {
            part.widen(window);
            both.append(nb::cast(part.sums()));
        }
        traffic[nb::cast(source)] = nb::make_tuple(window, both[0], both[1]);
    }
    for (const auto& [source, series] : sink.energy())
        energy[nb::cast(source)] = nb::make_tuple(series.window(), nb::cast(series.sums()));
    d["traffic"] = traffic;
    d["energy"] = energy;
    return d;
}

void bind_sinks(nb::module_& m) {
    nb::class_<PowerSink>(m, "PowerSink", "Energy per window and component.")
        .def_prop_ro("windows", &PowerSink::windows)
        .def_prop_ro("decimals", &PowerSink::decimals)
        .def_prop_ro("columns",
                     [](const PowerSink& sink) {
                         std::vector<std::string> names;
                         for (const PowerColumn& column : sink.columns())
                             names.push_back(column.name);
                         return names;
                     })
        .def("dynamic_fj",
             [](const PowerSink& sink, std::size_t column) {
                 if (column >= sink.columns().size()) throw nb::index_error("no such power column");
                 return sink.dynamic_fj(column);
             })
        .def("static_fj",
             [](const PowerSink& sink, std::size_t column) {
                 if (column >= sink.columns().size()) throw nb::index_error("no such power column");
                 return sink.static_fj(column);
             })
        .def_prop_ro("total_fj", &PowerSink::total_fj)
        .def_prop_ro("window_ps", [](const PowerSink& sink) { return sink.options().window; })
        .def_prop_ro("peak_watts", [](const PowerSink& sink) { return sink.peak_watts(); })
        .def_prop_ro("peak_begin", [](const PowerSink& sink) { return sink.peak_begin(); })
        .def("column_peak", [](const PowerSink& sink, std::size_t column) {
            if (column >= sink.columns().size()) throw nb::index_error("no such power column");
            return std::make_pair(sink.peak_watts(column), sink.peak_begin(column));
        });

    nb::class_<VcdSink>(m, "VcdSink", "Value change dump.")
        .def_prop_ro("bytes", &VcdSink::bytes)
        .def_prop_ro("changes", &VcdSink::changes)
        .def_prop_ro("limit_reached", &VcdSink::limit_reached)
        .def_prop_ro("limit_at", &VcdSink::limit_at)
        .def_prop_ro("start", [](const VcdSink& sink) { return sink.window().start; })
        .def_prop_ro("waiting", [](const VcdSink& sink) { return sink.window().waiting(); });

    nb::class_<TimelineSink>(m, "TimelineSink", "Timeline for Perfetto and Chrome.")
        .def_prop_ro("records", &TimelineSink::records);

    nb::class_<ProfileSink>(m, "ProfileSink", "Time, traffic and energy by instruction and mark.")
        .def("data", &profile_dict);

    nb::class_<Trigger>(m, "Trigger", "An event that opens or closes what is recorded.")
        .def(nb::init<>())
        .def(
            "__init__",
            [](Trigger* self, Kind kind, std::vector<std::uint16_t> sources, std::int64_t a,
               std::int64_t b) { new (self) Trigger{kind, std::move(sources), a, b}; },
            "kind"_a, "sources"_a, "a"_a = -1, "b"_a = -1);

    nb::class_<LogSink>(m, "LogSink", "Instruction log.").def_prop_ro("records", &LogSink::records);

    nb::class_<Session>(m, "Session", "The sinks of one run; they detach when it goes.")
        .def(nb::init<Hub&>(), "hub"_a, nb::keep_alive<1, 2>())
        .def(
            "add_power",
            [](Session& session, std::string path,
               const std::vector<std::pair<std::string, std::vector<std::uint16_t>>>& columns,
               Time window, Time origin) -> PowerSink& {
                std::vector<PowerColumn> made;
                for (const auto& [name, sources] : columns) made.push_back({name, sources});
                return session.add_power({std::move(path), window, origin}, std::move(made));
            },
            "path"_a, "columns"_a, "window"_a, "origin"_a = 0, nb::rv_policy::reference_internal)
        .def(
            "add_vcd",
            [](Session& session, std::string path, std::vector<Signal> signals, const Names& names,
               Time tick, Time start, Time stop, std::uint64_t limit_bytes, Trigger on, Trigger off,
               Time lookback) -> VcdSink& {
                return session.add_vcd({std::move(path), tick, start, stop, limit_bytes,
                                        std::move(on), std::move(off), lookback},
                                       names, std::move(signals));
            },
            "path"_a, "signals"_a, "names"_a, "tick"_a = 1, "start"_a = 0,
            "stop"_a = std::numeric_limits<Time>::max(), "limit_bytes"_a = 0, "on"_a = Trigger(),
            "off"_a = Trigger(), "lookback"_a = 0, nb::rv_policy::reference_internal)
        .def(
            "add_timeline",
            [](Session& session, std::string path, const Names& names, Time start, Time stop,
               Time bandwidth_window, Time origin, bool commands, Trigger on, Trigger off,
               Time lookback) -> TimelineSink& {
                return session.add_timeline({std::move(path), start, stop, bandwidth_window, origin,
                                             commands, std::move(on), std::move(off), lookback},
                                            names);
            },
            "path"_a, "names"_a, "start"_a = 0, "stop"_a = std::numeric_limits<Time>::max(),
            "bandwidth_window"_a = 1'000'000, "origin"_a = 0, "commands"_a = false,
            "on"_a = Trigger(), "off"_a = Trigger(), "lookback"_a = 0,
            nb::rv_policy::reference_internal)
        .def(
            "add_profile",
            [](Session& session,
               const std::vector<std::pair<std::uint64_t, std::uint64_t>>& memory) -> ProfileSink& {
                std::vector<MemoryRange> ranges;
                for (const auto& [base, bytes] : memory) ranges.push_back({base, bytes});
                return session.add_profile(std::move(ranges));
            },
            "memory"_a, nb::rv_policy::reference_internal)
        .def(
            "add_log",
            [](Session& session, std::string path, bool binary, const Names& names,
               std::map<std::uint16_t, Listing> listings, const std::vector<std::uint16_t>& sources,
               Time start, Time stop, Trigger on, Trigger off, Time lookback,
               std::vector<bool> operations) -> LogSink& {
                return session.add_log(
                    {std::move(path), binary ? LogForm::binary : LogForm::text, start, stop,
                     std::move(on), std::move(off), lookback, std::move(operations)},
                    names, std::move(listings), sources);
            },
            "path"_a, "binary"_a, "names"_a, "listings"_a, "sources"_a, "start"_a = 0,
            "stop"_a = std::numeric_limits<Time>::max(), "on"_a = Trigger(), "off"_a = Trigger(),
            "lookback"_a = 0, "operations"_a = std::vector<bool>(),
            nb::rv_policy::reference_internal);
}

}  // namespace

void trace(nb::module_& parent) {
    nb::module_ m = parent.def_submodule("trace", "Event stream, its sinks and their options.");
    bind_events(m);
    bind_signals(m);
    bind_sinks(m);
}

}  // namespace npuvp::bindings
