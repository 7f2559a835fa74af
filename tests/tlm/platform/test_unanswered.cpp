// A memory that stops to answer, or to take requests: the run ends and says who waits for what.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include <tlm_utils/simple_initiator_socket.h>
#include <tlm_utils/simple_target_socket.h>

#include "isa/decode.h"
#include "platform/machine.h"

using namespace npuvp;
using isa::Field;
using isa::Op;

namespace {

constexpr std::uint64_t window = 1ull << 20;

std::uint32_t word(Op op, std::initializer_list<std::pair<Field, std::uint32_t>> fields = {}) {
    std::uint32_t result = isa::info(op).match;
    for (const auto& [field, value] : fields) result |= value << isa::info(field).low;
    return result;
}

/// In front of the memory: swallows every request, ending it or not even that.
struct Swallower : sc_core::sc_module {
    tlm_utils::simple_target_socket<Swallower> in;
    tlm_utils::simple_initiator_socket<Swallower> out;
    const bool ends;
    std::vector<tlm::tlm_generic_payload*> kept;

    Swallower(sc_core::sc_module_name name, bool ends_requests)
        : sc_module(name), in("in"), out("out"), ends(ends_requests) {
        in.register_nb_transport_fw(this, &Swallower::forward);
        in.register_transport_dbg(this, &Swallower::debug);
    }
    ~Swallower() override {
        for (tlm::tlm_generic_payload* payload : kept) payload->release();
    }
    tlm::tlm_sync_enum forward(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                               sc_core::sc_time&) {
        payload.acquire();
        kept.push_back(&payload);
        if (!ends) return tlm::TLM_ACCEPTED;
        phase = tlm::END_REQ;
        return tlm::TLM_UPDATED;
    }
    unsigned debug(tlm::tlm_generic_payload& payload) { return out->transport_dbg(payload); }
};

/// Puts a swallower in front of the first target, which is the memory.
struct FirstSwallowed : platform::Probe {
    const bool ends;
    std::unique_ptr<Swallower> swallower;
    explicit FirstSwallowed(bool ends_requests) : ends(ends_requests) {}
    void connect(tlm::tlm_base_initiator_socket<>& initiator,
                 noc::Interconnect& interconnect) override {
        interconnect.bind_initiator(initiator);
    }
    void connect(noc::Interconnect& interconnect,
                 tlm::tlm_base_target_socket_b<>& target) override {
        if (swallower) {
            interconnect.bind_target(target);
            return;
        }
        swallower = std::make_unique<Swallower>("swallower", ends);
        interconnect.bind_target(swallower->in);
        swallower->out.bind(target);
    }
};

platform::MachineDescription machine(bool mesh, platform::Probe& probe) {
    platform::MachineDescription m;
    m.name = "test";
    m.core_window = window;
    for (unsigned i = 0; i < 2; ++i) {
        platform::CoreDescription core;
        core.name = "core" + std::to_string(i);
        core.base = (1ull << 30) + i * window;
        core.node = {0, i};
        core.parameters.vlen = 16;
        core.parameters.mlen = 16;
        core.parameters.blen = 4;
        core.parameters.hlen = 4;
        core.parameters.vector_sram_bytes = 64 * 32;
        core.parameters.matrix_sram_bytes = 2 * 512;
        core.parameters.prefetch_v_rows = 4;
        core.parameters.act_format = numerics::MxFormat::bf16;
        core.energy.operation_fj.resize(isa::timing_class_count, 1);
        core.energy.element_fj.resize(isa::timing_class_count, 1);
        m.cores.push_back(core);
    }
    platform::MemoryDescription memory;
    memory.name = "hbm";
    memory.bytes = 1 << 20;
    memory.backend = "ideal";
    memory.config.name = "hbm";
    memory.config.organization = {1, 1, 1, 1, 1, 256, 1, 4096};
    memory.config.controller.queue_depth = 1u << 20;
    memory.config.ideal = {10.0, 32e9};
    memory.nodes = {{1, 0}};
    m.memories.push_back(memory);
    m.host_base = 1ull << 31;
    m.semaphore_base = m.host_base + 0x10000;
    m.semaphores = 8;
    m.regions = {{"hbm", 0, 1 << 20}};
    if (mesh) {
        platform::NocDescription noc;
        noc.name = "noc";
        noc.shape.columns = 2;
        noc.shape.rows = 2;
        noc.shape.request_slots = 1;
        noc.shape.buffer_flits = 1;
        m.noc = noc;
    }
    m.probe = &probe;
    return m;
}

/// Bus or mesh; a memory that ends requests and answers none, or that does not even end them.
std::vector<std::string> expected(bool mesh, bool ends) {
    const std::string port = mesh ? "" : ".dma";
    if (ends)
        return {"hbm has not answered 4 requests of core0" + port,
                "hbm has not answered 4 requests of core1" + port};
    if (!mesh)
        return {"hbm has not answered 1 request of core0.dma",
                "hbm has not answered 1 request of core1.dma",
                "hbm takes no further request, 1 wait behind the last"};
    return {"hbm has not answered 1 request of core0",
            "hbm takes no further request, 0 wait behind the last",
            "request from core0 to hbm waits for a credit of link r0c0.east",
            "request from core1 to hbm waits for a credit of link r1c0.east",
            "request from core1 to hbm waits for a credit of link r1c1.north",
            "request from core1 to hbm waits for room at hbm",
            "request from core0 to hbm waits for room at hbm",
            "request from core0 to hbm waits for a credit of link r0c0.core0_in",
            "request from core1 to hbm waits for a credit of link r1c0.core1_in"};
}

}  // namespace

TEST_CASE("machine: a memory that does not answer is named with those who wait for it") {
    for (const bool mesh : {false, true}) {
        for (const bool ends : {false, true}) {
            CAPTURE(mesh);
            CAPTURE(ends);
            FirstSwallowed probe(ends);
            platform::Machine m(machine(mesh, probe), true);
            // Four rows one after the other, 4 KB apart: core 0 waits at a fence, core 1 ends.
            const std::vector<std::uint32_t> load = {
                word(Op::s_addi_int, {{Field::rd, 1}, {Field::imm18, 4096}}),
                word(Op::c_set_stride_reg, {{Field::rs1, 1}}),
                word(Op::h_prefetch_v, {{Field::rs3, 1}}),
            };
            std::vector<std::uint32_t> fenced = load;
            fenced.push_back(word(Op::c_fence, {{Field::imm16, 0x1}}));
            m.core(0).load_text(fenced, 0);
            m.core(1).load_text(load, 0);
            CHECK(m.run() == platform::Outcome::deadlocked);
            CHECK(m.core(0).waiting_for().find("DMA tags of its fence (tag 0: load from 0x0, "
                                               "pc 0x0002, ") == 0);
            CHECK(m.core(1).waiting_for().find("the end of its DMA (tag 0: load from 0x0, ") == 0);
            CHECK(m.waiting() == expected(mesh, ends));
            probe.swallower.reset();
        }
    }
}
