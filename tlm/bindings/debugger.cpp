#include "platform/debugger.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings/bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace npuvp::bindings {

using namespace npuvp::platform;

namespace {

/// A Python object goes where a target written in Python may still be asked.
class OwnedDebugger : public Debugger {
  public:
    using Debugger::Debugger;
    ~OwnedDebugger() override {
        nb::gil_scoped_release release;
        abandon();
    }
};

nb::bytes as_bytes(const std::vector<std::uint8_t>& data) {
    return nb::bytes(data.data(), data.size());
}

nb::dict stop_dict(const Stop& stop) {
    nb::dict d;
    d["reason"] = stop.reason;
    d["core"] = stop.core;
    d["pc"] = stop.pc;
    d["by_transfer"] = stop.by_transfer;
    d["position"] = stop.position;
    nb::list changes;
    for (const Change& change : stop.changes)
        changes.append(
            nb::make_tuple(change.watch, as_bytes(change.before), as_bytes(change.after)));
    d["changes"] = changes;
    d["outcome"] = stop.outcome ? nb::cast(*stop.outcome) : nb::none();
    return d;
}

const char* space_name(core::Space space) {
    const char* names[] = {"vector", "matrix", "fp", "int"};
    return names[static_cast<std::size_t>(space)];
}

/// All of a core that a debugger shows: registers, loops, clock, transfers.
nb::dict state_dict(Machine& machine, std::size_t index) {
    core::Core& core = machine.core(index);
    nb::dict d;
    nb::list gp, fp, ha, csr, writers, loops, transfers;
    for (unsigned r = 0; r < 16; ++r) {
        gp.append(core.gp(r));
        ha.append(core.ha(r));
        writers.append(core.gp_writer(r));
    }
    for (unsigned r = 0; r < 8; ++r) fp.append(core.fp(r));
    for (unsigned r = 0; r < core::Core::kCsrs; ++r) csr.append(core.csr_value(r));
    for (const core::OpenLoop& loop : core.open_loops())
        loops.append(nb::make_tuple(loop.start, loop.counter, loop.left, loop.count));
    for (const core::PendingTransfer& t : core.dma.pending_transfers()) {
        nb::dict transfer;
        transfer["pc"] = t.pc;
        transfer["tag"] = t.tag;
        transfer["to_sram"] = t.to_sram;
        transfer["address"] = t.address;
        transfer["bytes"] = t.bytes;
        transfer["in_flight"] = t.in_flight;
        nb::list ranges;
        for (const core::Range& range : t.ranges)
            ranges.append(nb::make_tuple(space_name(range.space), range.first, range.count));
        transfer["ranges"] = ranges;
        transfers.append(transfer);
    }
    d["pc"] = core.pc();
    d["gp"] = gp;
    d["fp"] = fp;
    d["ha"] = ha;
    d["csr"] = csr;
    d["writers"] = writers;
    nb::list marks;
    for (const std::int64_t mark : core.marks()) marks.append(mark);
    d["marks"] = marks;
    d["loops"] = loops;
    d["transfers"] = transfers;
    d["cycle"] = core.local_cycle();
    d["instructions"] = core.instructions();
    d["halted"] = core.halted();
    d["waiting_for"] = core.waiting_for();
    return d;
}

}  // namespace

void debugger(nb::module_& parent) {
    nb::module_ m = parent.def_submodule("debugger", "Run control.");
    nb::enum_<StopReason>(m, "StopReason")
        .value("breakpoint", StopReason::breakpoint)
        .value("watch", StopReason::watch)
        .value("step", StopReason::step)
        .value("cycle", StopReason::cycle)
        .value("position", StopReason::position)
        .value("interrupted", StopReason::interrupted)
        .value("ended", StopReason::ended);
    nb::enum_<Watch::Kind>(m, "WatchKind")
        .value("gp", Watch::Kind::gp)
        .value("fp", Watch::Kind::fp)
        .value("ha", Watch::Kind::ha)
        .value("range", Watch::Kind::range);
    nb::class_<OwnedDebugger>(m, "Debugger",
                              "Runs a machine and stands still where it is asked to.")
        .def(nb::init<Machine&>(), "machine"_a, nb::keep_alive<1, 2>())
        .def("set_breakpoints", &OwnedDebugger::set_breakpoints, "core"_a, "pcs"_a)
        .def(
            "set_watches",
            [](OwnedDebugger& self, const nb::list& items) {
                std::vector<Watch> watches;
                for (nb::handle item : items) {
                    const auto d = nb::cast<nb::dict>(item);
                    watches.push_back(
                        {nb::cast<std::uint32_t>(d["id"]), nb::cast<Watch::Kind>(d["kind"]),
                         nb::cast<std::int32_t>(d["core"]), nb::cast<std::uint64_t>(d["address"]),
                         nb::cast<std::uint64_t>(d["bytes"])});
                }
                self.set_watches(std::move(watches));
            },
            "watches"_a)
        .def(
            "resume",
            [](OwnedDebugger& self,
               const std::vector<std::pair<std::size_t, std::uint64_t>>& instructions,
               std::optional<std::uint64_t> cycle, std::optional<std::size_t> core,
               std::optional<std::uint64_t> position, bool breakpoints) {
                Stop stop;
                {
                    nb::gil_scoped_release release;
                    stop = self.resume({instructions, cycle, core, position, breakpoints});
                }
                return stop_dict(stop);
            },
            "instructions"_a, "cycle"_a, "core"_a, "position"_a, "breakpoints"_a)
        .def("abandon", &OwnedDebugger::abandon, nb::call_guard<nb::gil_scoped_release>());
    m.def("state", &state_dict, "machine"_a, "core"_a);
    m.def("digests", [](Machine& machine) { return machine.digests(); }, "machine"_a);
    m.def("now_ps", [](Machine& machine) { return machine.now_ps(); }, "machine"_a);
}

}  // namespace npuvp::bindings
