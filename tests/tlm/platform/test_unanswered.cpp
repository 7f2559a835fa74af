// A memory that stops to answer, or to take requests: the run ends and says who waits for what.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include <tlm_utils/simple_initiator_socket.h>
#include <tlm_utils/simple_target_socket.h>

#include "support/machines.h"

using namespace npuvp;
using isa::Field;
using isa::Op;
using support::word;

namespace {

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
    platform::MachineDescription m = support::small(2);
    for (unsigned i = 0; i < 2; ++i) m.cores[i].node = {0, i};
    m.memories.front().nodes = {{1, 0}};
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
