#include "platform/machine.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "bindings/bindings.h"
#include "bindings/from_dict.h"
#include "bindings/memory.h"
#include "isa/decode.h"
#include "parameters_from_dict.h"
#include "platform/bare_loop.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace npuvp::bindings {

using namespace npuvp::platform;

namespace {

/// A TLM target whose behaviour is a Python object with read(offset, length) and
/// write(offset, data).
class PythonTarget : public ForeignTarget {
  public:
    PythonTarget(nb::object object, std::string name)
        : object_(std::move(object)), name_(std::move(name)) {}
    ~PythonTarget() override {
        nb::gil_scoped_acquire acquire;
        object_.reset();
    }
    void access(bool write, std::uint64_t offset, std::uint8_t* data, unsigned bytes) override {
        nb::gil_scoped_acquire acquire;
        if (write) {
            object_.attr("write")(offset, nb::bytes(data, bytes));
            return;
        }
        nb::object result = object_.attr("read")(offset, bytes);
        nb::bytes answer;
        if (!nb::try_cast(result, answer) || answer.size() != bytes)
            throw nb::type_error((name_ + ".read must return " + std::to_string(bytes) +
                                  " bytes, as it was asked for")
                                     .c_str());
        std::memcpy(data, answer.c_str(), bytes);
    }

  private:
    nb::object object_;
    std::string name_;
};

template <class T>
T get(const nb::dict& from, const char* owner, const char* name) {
    return dict_value<T>(from, owner, name);
}

std::vector<std::uint64_t> by_class(const nb::dict& classes, const char* which) {
    std::vector<std::uint64_t> result;
    for (std::size_t i = 0; i < isa::timing_class_count; ++i) {
        const char* name = isa::name(static_cast<isa::TimingClass>(i));
        result.push_back(
            get<std::uint64_t>(get<nb::dict>(classes, "energy.classes", name), name, which));
    }
    return result;
}

core::CoreEnergy core_energy(const nb::dict& from) {
    core::CoreEnergy e;
    const char* owner = "energy";
    e.issue_fj = get<std::uint64_t>(from, owner, "issue_fj");
    const auto classes = get<nb::dict>(from, owner, "classes");
    e.operation_fj = by_class(classes, "once_fj");
    e.element_fj = by_class(classes, "element_fj");
    e.row_access_fj = get<std::uint64_t>(from, owner, "row_access_fj");
    e.matrix_row_fj = get<std::uint64_t>(from, owner, "matrix_row_fj");
    e.dma_byte_fj = get<std::uint64_t>(from, owner, "dma_byte_fj");
    e.mac_fj = get<std::uint64_t>(from, owner, "mac_fj");
    const auto watts = get<nb::dict>(from, owner, "static_watts");
    e.scalar_static_watts = get<double>(watts, owner, "scalar");
    e.vector_static_watts = get<double>(watts, owner, "vector");
    e.matrix_static_watts = get<double>(watts, owner, "matrix");
    e.sram_static_watts = get<double>(watts, owner, "sram");
    e.control_static_watts = get<double>(watts, owner, "control");
    e.dma_static_watts = get<double>(watts, owner, "dma");
    return e;
}

/// A memory of fixed latency: a burst is one access, and only its initiators limit its queue.
memory::Config ideal_config(const HbmParameters& p, const std::string& name, std::size_t nodes) {
    memory::Config config;
    config.name = name;
    // Pieces go to the nodes in turn: the last round may be short.
    const std::uint64_t round = nodes * noc::kInterleaveBytes;
    const auto whole = static_cast<std::uint64_t>(p.size);
    const std::uint64_t size =
        nodes == 1 ? whole : (whole + round - 1) / round * noc::kInterleaveBytes;
    std::uint32_t access = 4096;
    while (size % access) access /= 2;
    config.organization = {1, 1, 1, 1, 1, static_cast<std::uint32_t>(size / access), 1, access};
    std::uint64_t rows = size / access;
    std::uint32_t banks = 1;
    while (rows > 0x80000000ull && rows % 2 == 0) {
        rows /= 2;
        banks *= 2;
    }
    config.organization.rows = static_cast<std::uint32_t>(rows);
    config.organization.banks = banks;
    config.controller.queue_depth = 1u << 20;
    config.ideal.latency_ns = static_cast<double>(p.latency) / 1e3;
    config.ideal.bandwidth = static_cast<double>(p.bandwidth) / static_cast<double>(nodes);
    return config;
}

std::vector<noc::Node> nodes_of(const nb::dict& from, const char* owner) {
    std::vector<noc::Node> nodes;
    for (nb::handle item : get<nb::list>(from, owner, "nodes")) {
        const auto pair = nb::cast<std::pair<std::uint32_t, std::uint32_t>>(item);
        nodes.push_back({pair.first, pair.second});
    }
    return nodes;
}

/// The node of what has one; without a mesh there is none and it does not matter.
noc::Node node_of(const nb::dict& from, const char* owner) {
    const std::vector<noc::Node> nodes = nodes_of(from, owner);
    return nodes.empty() ? noc::Node{} : nodes.front();
}

memory::MemoryEnergy memory_energy(const nb::dict& from) {
    const char* owner = "energy";
    memory::MemoryEnergy e;
    e.static_watts = get<double>(from, owner, "static_watts");
    e.read_byte_fj = get<std::uint64_t>(from, owner, "read_byte_fj");
    e.write_byte_fj = get<std::uint64_t>(from, owner, "write_byte_fj");
    e.by_command = get<bool>(from, owner, "by_command");
    e.activate_fj = get<std::uint64_t>(from, owner, "activate_fj");
    e.read_command_byte_fj = get<std::uint64_t>(from, owner, "read_command_byte_fj");
    e.write_command_byte_fj = get<std::uint64_t>(from, owner, "write_command_byte_fj");
    e.refresh_fj = get<std::uint64_t>(from, owner, "refresh_fj");
    e.refresh_bank_fj = get<std::uint64_t>(from, owner, "refresh_bank_fj");
    return e;
}

NocDescription noc_description(const nb::dict& from, const nb::dict& energy) {
    NocDescription d;
    d.name = get<std::string>(from, "noc", "name");
    const NocParameters p = noc_parameters_from_dict(get<nb::dict>(from, "noc", "parameters"));
    d.shape.columns = static_cast<std::uint32_t>(p.columns);
    d.shape.rows = static_cast<std::uint32_t>(p.rows);
    d.shape.router_cycles = static_cast<std::uint32_t>(p.router_cycles);
    d.shape.link_cycles = static_cast<std::uint32_t>(p.link_cycles);
    d.shape.buffer_flits = static_cast<std::uint32_t>(p.buffer_flits);
    d.flit_bytes = static_cast<std::uint32_t>(p.flit_bytes);
    d.hop_fj =
        get<std::uint64_t>(get<nb::dict>(energy, "energy", d.name.c_str()), "energy", "hop_fj");
    return d;
}

MachineDescription describe(const nb::dict& d, const nb::dict& energy, const nb::dict& targets) {
    MachineDescription m;
    m.name = get<std::string>(d, "platform", "name");
    m.period_ps = get<std::uint64_t>(d, "platform", "period_ps");
    const auto whole = get<nb::dict>(d, "platform", "platform");
    m.core_window = get<std::uint64_t>(whole, "platform", "core_window");
    m.watchdog_ps = get<std::uint64_t>(whole, "platform", "watchdog");
    for (nb::handle item : get<nb::list>(d, "platform", "cores")) {
        const auto c = nb::cast<nb::dict>(item);
        CoreDescription core;
        core.name = get<std::string>(c, "core", "name");
        core.base = get<std::uint64_t>(c, "core", "base");
        core.parameters = core_parameters_from_dict(get<nb::dict>(c, "core", "parameters"));
        core.energy = core_energy(get<nb::dict>(energy, "energy", core.name.c_str()));
        core.node = node_of(c, "core");
        m.cores.push_back(std::move(core));
    }
    for (nb::handle item : get<nb::list>(d, "platform", "hbms")) {
        const auto h = nb::cast<nb::dict>(item);
        MemoryDescription memory;
        memory.name = get<std::string>(h, "hbm", "name");
        const HbmParameters p = hbm_parameters_from_dict(get<nb::dict>(h, "hbm", "parameters"));
        memory.base = static_cast<std::uint64_t>(p.base);
        memory.bytes = static_cast<std::uint64_t>(p.size);
        memory.backend = name_of(p.backend);
        memory.nodes = nodes_of(h, "hbm");
        const auto config = get<nb::object>(h, "hbm", "config");
        memory.config =
            config.is_none()
                ? ideal_config(p, memory.name, std::max<std::size_t>(1, memory.nodes.size()))
                : memory_config(nb::cast<nb::dict>(config));
        memory.energy = memory_energy(get<nb::dict>(energy, "energy", memory.name.c_str()));
        m.memories.push_back(std::move(memory));
    }
    const auto noc = get<nb::object>(d, "platform", "noc");
    if (!noc.is_none()) m.noc = noc_description(nb::cast<nb::dict>(noc), energy);
    const auto host = get<nb::dict>(d, "platform", "host");
    m.host_node = node_of(host, "host");
    m.host_base = get<std::uint64_t>(host, "host", "base");
    m.host_fifo_words = static_cast<std::uint32_t>(
        get<std::int64_t>(get<nb::dict>(host, "host", "parameters"), "host", "fifo_words"));
    m.semaphores = static_cast<std::uint32_t>(
        get<std::int64_t>(get<nb::dict>(host, "host", "parameters"), "host", "semaphores"));
    for (nb::handle item : get<nb::list>(d, "platform", "targets")) {
        const auto t = nb::cast<nb::dict>(item);
        TargetDescription target;
        target.name = get<std::string>(t, "target", "name");
        target.base = get<std::uint64_t>(t, "target", "base");
        target.bytes = get<std::uint64_t>(t, "target", "size");
        target.latency_ps = get<std::uint64_t>(t, "target", "latency");
        target.target = std::make_shared<PythonTarget>(targets[target.name.c_str()], target.name);
        target.node = node_of(t, "target");
        m.targets.push_back(std::move(target));
    }
    for (nb::handle item : get<nb::list>(d, "platform", "memory_map")) {
        const auto r = nb::cast<nb::dict>(item);
        m.regions.push_back({get<std::string>(r, "region", "name"),
                             get<std::uint64_t>(r, "region", "base"),
                             get<std::uint64_t>(r, "region", "size")});
        if (m.regions.back().name == "semaphores") m.semaphore_base = m.regions.back().base;
    }
    return m;
}

nb::object trap_dict(const core::Core& core) {
    if (!core.trap()) return nb::none();
    const core::TrapReport& report = *core.trap();
    nb::dict d;
    d["core"] = report.core;
    d["message"] = report.message;
    d["detail"] = report.detail;
    d["pc"] = report.pc;
    d["cycle"] = report.cycle;
    d["time_ps"] = report.time_ps;
    d["word"] = report.has_instruction ? nb::object(nb::int_(report.word)) : nb::none();
    d["text"] = report.has_instruction ? isa::disassemble(report.word, report.pc) : std::string();
    nb::list operands;
    for (const auto& o : report.operands)
        operands.append(nb::make_tuple(o.index, o.value, o.writer_pc));
    d["operands"] = operands;
    nb::list addresses;
    for (const auto& [index, value] : report.addresses)
        addresses.append(nb::make_tuple(index, value));
    d["addresses"] = addresses;
    return d;
}

nb::dict core_dict(core::Core& core) {
    nb::dict d;
    d["cycles"] = core.cycles();
    d["instructions"] = core.instructions();
    d["exit_code"] = core.exit_code();
    d["finished"] = core.finished();
    d["waiting_for"] = core.waiting_for();
    const auto& classes = core.cycles_by_class();
    nb::dict by;
    const char* names[] = {"scalar", "vector", "matrix", "memory", "control"};
    for (std::size_t i = 0; i < classes.size(); ++i) by[names[i]] = classes[i];
    d["cycles_by_class"] = by;
    nb::dict counts;
    for (std::size_t i = 0; i < core.counts_by_operation().size(); ++i)
        if (core.counts_by_operation()[i])
            counts[isa::info(static_cast<isa::Op>(i)).mnemonic] = core.counts_by_operation()[i];
    d["instructions_by_mnemonic"] = counts;
    d["dma"] = nb::dict();
    nb::dict dma = nb::cast<nb::dict>(d["dma"]);
    dma["descriptors"] = core.dma.descriptors();
    dma["bytes_read"] = core.dma.bytes_read();
    dma["bytes_written"] = core.dma.bytes_written();
    nb::dict matrix;
    matrix["busy_cycles"] = core.matrix_busy_cycles();
    matrix["macs"] = core.macs();
    d["matrix"] = matrix;
    d["trap"] = trap_dict(core);
    return d;
}

nb::list lap_list(const core::Core& core) {
    nb::list list;
    for (const core::Lap& lap : core.laps())
        list.append(nb::make_tuple(lap.kind, lap.value, lap.cycle, lap.class_cycles, lap.dynamic_fj,
                                   lap.bytes_read, lap.bytes_written, lap.macs));
    return list;
}

/// Packets delivered, and per link the packets and flits of both networks; None without a mesh.
nb::object mesh_dict(Machine& machine) {
    const noc::Mesh* mesh = machine.mesh();
    if (!mesh) return nb::none();
    nb::dict d, links;
    for (std::uint32_t i = 0; i < mesh->timing().link_count(); ++i) {
        const noc::LinkUse& use = mesh->timing().use(i);
        nb::dict link;
        link["packets"] = use.packets[0] + use.packets[1];
        link["request_flits"] = use.flits[0];
        link["response_flits"] = use.flits[1];
        links[mesh->link_name(i).c_str()] = link;
    }
    d["packets"] = mesh->packets_delivered();
    d["links"] = links;
    return d;
}

nb::list words_list(const std::vector<host::Word>& words) {
    nb::list list;
    for (const auto& w : words) list.append(nb::make_tuple(w.time_ps, w.core, w.value));
    return list;
}

using Data = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using ConstData = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

}  // namespace

void machine(nb::module_& parent) {
    nb::module_ m = parent.def_submodule("machine", "The simulated machine.");
    nb::enum_<Outcome>(m, "Outcome")
        .value("finished", Outcome::finished)
        .value("trapped", Outcome::trapped)
        .value("deadlocked", Outcome::deadlocked)
        .value("stalled", Outcome::stalled)
        .value("interrupted", Outcome::interrupted)
        .value("failed", Outcome::failed);
    nb::class_<Machine>(m, "Machine", "One elaborated platform; it runs once.")
        .def(
            "__init__",
            [](Machine* self, const nb::dict& description, const nb::dict& energy,
               const nb::dict& targets, bool functional) {
                new (self) Machine(describe(description, energy, targets), functional);
            },
            "description"_a, "energy"_a, "targets"_a, "functional"_a)
        .def_prop_ro(
            "hub", [](Machine& self) -> trace::Hub& { return self.hub(); },
            nb::rv_policy::reference_internal)
        .def(
            "load_text",
            [](Machine& self, std::size_t core, const std::vector<std::uint32_t>& words,
               std::uint32_t entry) { self.core(core).load_text(words, entry); },
            "core"_a, "words"_a, "entry"_a)
        .def(
            "set_decisions",
            [](Machine& self, std::size_t core,
               const std::vector<std::pair<std::uint32_t, std::uint32_t>>& decisions) {
                std::vector<core::Decision> list;
                for (const auto& [pc, value] : decisions) list.push_back({pc, value});
                self.core(core).set_decisions(std::move(list));
            },
            "core"_a, "decisions"_a)
        .def(
            "decisions",
            [](Machine& self, std::size_t core) {
                std::vector<std::pair<std::uint32_t, std::uint32_t>> list;
                for (const auto& d : self.core(core).decisions()) list.emplace_back(d.pc, d.value);
                return list;
            },
            "core"_a)
        .def(
            "write",
            [](Machine& self, std::uint64_t address, ConstData data) {
                self.access(true, address, const_cast<std::uint8_t*>(data.data()), data.size());
            },
            "address"_a, "data"_a)
        .def(
            "read",
            [](Machine& self, std::uint64_t address, Data out) {
                self.access(false, address, out.data(), out.size());
            },
            "address"_a, "out"_a)
        .def("run", &Machine::run, nb::call_guard<nb::gil_scoped_release>())
        .def_prop_ro("progress_ps", &Machine::progress_ps)
        .def_prop_ro("end_ps", &Machine::end_ps)
        .def(
            "core", [](Machine& self, std::size_t i) { return core_dict(self.core(i)); }, "index"_a)
        .def(
            "registers",
            [](Machine& self, std::size_t i) {
                nb::dict d;
                nb::list gp, fp, ha;
                for (unsigned r = 0; r < 16; ++r) gp.append(self.core(i).gp(r));
                for (unsigned r = 0; r < 8; ++r) fp.append(self.core(i).fp(r));
                for (unsigned r = 0; r < 16; ++r) ha.append(self.core(i).ha(r));
                d["pc"] = self.core(i).pc();
                d["gp"] = gp;
                d["fp"] = fp;
                d["ha"] = ha;
                d["loops"] = self.core(i).loop_depth();
                return d;
            },
            "index"_a)
        .def(
            "memory",
            [](Machine& self, std::size_t i) {
                nb::dict d;
                d["bytes_read"] = self.memory(i).bytes_read();
                d["bytes_written"] = self.memory(i).bytes_written();
                d["peak_bandwidth"] = self.memory(i).peak_bandwidth();
                d["counts"] = memory_counts(self.memory(i).statistics());
                return d;
            },
            "index"_a)
        .def(
            "laps", [](Machine& self, std::size_t i) { return lap_list(self.core(i)); }, "index"_a)
        .def_prop_ro("waiting", &Machine::waiting)
        .def_prop_ro("mesh", &mesh_dict)
        .def_prop_ro("host_words", [](Machine& self) { return words_list(self.host().words()); })
        .def_prop_ro("doorbells", [](Machine& self) { return words_list(self.host().doorbells()); })
        .def_prop_ro("console", [](Machine& self) { return self.host().console_text(); })
        .def("owner_of", &Machine::owner_of, "address"_a);
    m.def("bare_loop", &bare_loop, "count"_a, nb::call_guard<nb::gil_scoped_release>(),
          "Seconds of a plain SystemC loop of b_transport and wait: the benchmark's yardstick.");
    m.def("command_names", [] {
        return std::vector<std::string>{"ACT", "PRE", "PREA", "RD",   "WR",
                                        "RDA", "WRA", "REF",  "REFpb"};
    });
    m.def("operation_names", [] {
        std::vector<std::string> names;
        for (std::size_t i = 0; i < isa::op_count; ++i)
            names.emplace_back(isa::info(static_cast<isa::Op>(i)).mnemonic);
        return names;
    });
}

}  // namespace npuvp::bindings
