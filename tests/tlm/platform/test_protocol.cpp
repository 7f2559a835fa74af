// The TLM-2.0 base protocol on every socket of whole machines, on the bus and on the mesh.
#include <doctest/doctest.h>

#include <initializer_list>
#include <memory>
#include <vector>

#include "isa/decode.h"
#include "platform/machine.h"
#include "support/base_protocol.h"

using namespace npuvp;
using isa::Field;
using isa::Op;

namespace {

/// Puts a checker on every socket of a machine.
struct CheckedSockets : platform::Probe {
    test::Protocol protocol;
    std::vector<std::unique_ptr<test::ProtocolChecker>> checkers;

    test::ProtocolChecker& add() {
        const std::string name = "checker" + std::to_string(checkers.size());
        checkers.push_back(std::make_unique<test::ProtocolChecker>(name.c_str(), protocol));
        return *checkers.back();
    }
    void connect(tlm::tlm_base_initiator_socket<>& initiator,
                 noc::Interconnect& interconnect) override {
        test::ProtocolChecker& checker = add();
        initiator.bind(checker.in);
        interconnect.bind_initiator(checker.out);
    }
    void connect(noc::Interconnect& interconnect,
                 tlm::tlm_base_target_socket_b<>& target) override {
        test::ProtocolChecker& checker = add();
        interconnect.bind_target(checker.in);
        checker.out.bind(target);
    }
};

constexpr std::uint64_t window = 1ull << 20;
constexpr std::uint64_t cores_at = 1ull << 30;
constexpr unsigned cores = 4;

std::uint32_t word(Op op, std::initializer_list<std::pair<Field, std::uint32_t>> fields = {}) {
    std::uint32_t result = isa::info(op).match;
    for (const auto& [field, value] : fields) result |= value << isa::info(field).low;
    return result;
}
std::uint32_t set(unsigned rd, std::uint32_t value) {
    return word(Op::s_addi_int, {{Field::rd, rd}, {Field::imm18, value}});
}
std::uint32_t csr(isa::Csr which, unsigned from) {
    return word(Op::c_csrw, {{Field::imm8, static_cast<std::uint32_t>(which)}, {Field::rs1, from}});
}

memory::Config hbm(std::uint32_t channels, std::uint32_t queue) {
    memory::Config c;
    c.name = "hbm";
    c.family = "HBM2";
    c.organization = {channels, 2, 1, 4, 4, 512, 32, 32};
    c.clock_khz = 1'200'000;
    memory::Timing& t = c.timing;
    t.cl = 17, t.cwl = 6, t.burst = 2, t.rcd_rd = 17, t.rcd_wr = 14, t.rp = 17, t.ras = 40;
    t.rc = 57, t.ccd_s = 2, t.ccd_l = 4, t.ccd_r = 2, t.rrd_s = 5, t.rrd_l = 5, t.faw = 19;
    t.wr = 19, t.rtp = 6, t.wtr_s = 8, t.wtr_l = 10, t.rtw = 15, t.rfc = 421, t.rfc_pb = 193;
    t.rrefd = 10, t.refi = 4682, t.ppd = 0;
    c.bus = {1, 2, 1, 1, 1};
    c.controller.queue_depth = queue;
    c.controller.write_drain_start = 0.8;
    c.controller.write_drain_stop = 0.2;
    c.controller.refresh = memory::Refresh::all_bank;
    using memory::Field;
    c.mapping.slices = {{Field::channel, channels}, {Field::pseudo_channel, 2},
                        {Field::bank_group, 4},     {Field::column, 32},
                        {Field::bank, 4},           {Field::row, 512}};
    c.ideal = {10, 32e9};
    return c;
}

platform::MachineDescription machine(const char* backend, bool mesh, std::uint32_t queue,
                                     platform::Probe& probe) {
    platform::MachineDescription m;
    m.name = "test";
    m.core_window = window;
    m.probe = &probe;
    for (unsigned i = 0; i < cores; ++i) {
        platform::CoreDescription core;
        core.name = "core" + std::to_string(i);
        core.base = cores_at + i * window;
        core.parameters.vlen = 512;
        core.parameters.mlen = 16;
        core.parameters.blen = 4;
        core.parameters.hlen = 4;
        core.parameters.vector_sram_bytes = 64 * 1024;
        core.parameters.matrix_sram_bytes = 2 * 512;
        core.parameters.fp_sram_words = 64;
        core.parameters.int_sram_words = 64;
        core.parameters.prefetch_v_rows = 16;
        core.parameters.prefetch_m_rows = 16;
        core.parameters.act_format = numerics::MxFormat::bf16;
        core.parameters.weight_format = numerics::MxFormat::bf16;
        core.energy.operation_fj.resize(isa::timing_class_count, 1);
        core.energy.element_fj.resize(isa::timing_class_count, 1);
        core.node = {i % 2, i / 2};
        m.cores.push_back(core);
    }
    platform::MemoryDescription memory;
    memory.name = "hbm";
    memory.backend = backend;
    memory.config = hbm(2, queue);
    memory.bytes = std::uint64_t{2} * 2 * 16 * 512 * 32 * 32;
    if (mesh) {
        memory.config = hbm(1, queue);
        memory.nodes = {{2, 0}, {2, 1}};
        platform::NocDescription noc;
        noc.name = "noc";
        noc.shape.columns = 3;
        noc.shape.rows = 2;
        noc.shape.buffer_flits = 2;
        m.noc = noc;
    }
    m.memories.push_back(memory);
    m.host_base = 1ull << 31;
    m.host_node = {0, 0};
    m.semaphore_base = m.host_base + 0x10000;
    m.semaphores = 8;
    m.regions = {{"hbm", 0, memory.bytes}};
    return m;
}

/// Loads, a multicast, a copy to the next core's INT SRAM, stores, host words, a barrier: whatever
/// a core can send.
std::vector<std::uint32_t> program(unsigned core) {
    std::vector<std::uint32_t> text;
    const auto address = [&](unsigned a, std::uint64_t at) {
        text.push_back(word(
            Op::s_lui_int, {{Field::rd, 3}, {Field::imm22, static_cast<std::uint32_t>(at >> 12)}}));
        text.push_back(word(Op::c_set_addr_reg, {{Field::rd, a}, {Field::rs2, 3}}));
    };
    text.push_back(set(1, 16 * 512 * 2 * core));
    text.push_back(word(Op::h_prefetch_v, {{Field::rs1, 1}}));
    text.push_back(set(5, 16));
    text.push_back(csr(isa::Csr::dma_len, 5));
    address(1, cores_at + core * window + 4 * (window / 8));
    address(2, cores_at + (core + 1) % cores * window + 4 * (window / 8));
    text.push_back(word(Op::h_copy, {{Field::rd, 2}, {Field::rs2, 1}, {Field::f1, 3}}));
    text.push_back(set(6, 16 * 512));
    text.push_back(set(7, (1u << cores) - 1));
    text.push_back(set(8, 4));
    text.push_back(
        word(Op::h_mcast,
             {{Field::rd, 0}, {Field::rs1, 6}, {Field::rs2, 7}, {Field::rs3, 8}, {Field::f1, 2}}));
    text.push_back(word(Op::h_store_v, {{Field::rd, 0}, {Field::rs1, 1}}));
    text.push_back(word(Op::c_host_push, {{Field::rs1, 5}}));
    text.push_back(word(Op::c_fence, {{Field::imm16, 0xFFFF}}));
    text.push_back(set(4, cores));
    text.push_back(word(Op::c_barrier, {{Field::rs1, 2}, {Field::rs2, 4}}));
    text.push_back(set(2, 1));
    text.push_back(word(Op::c_sem_signal, {{Field::rs1, 2}, {Field::rs2, 2}}));
    text.push_back(word(Op::c_sem_wait, {{Field::rs1, 2}, {Field::rs2, 2}}));
    return text;
}

}  // namespace

TEST_CASE("machine: the base protocol holds on every socket") {
    for (const char* backend : {"ideal", "builtin"}) {
        for (const bool mesh : {false, true}) {
            for (const std::uint32_t queue : {1u, 32u}) {
                CAPTURE(backend);
                CAPTURE(mesh);
                CAPTURE(queue);
                CheckedSockets sockets;
                std::size_t open = 0;
                {
                    platform::Machine m(machine(backend, mesh, queue, sockets), true);
                    for (unsigned i = 0; i < cores; ++i) m.core(i).load_text(program(i), 0);
                    const platform::Outcome outcome = m.run();
                    if (outcome == platform::Outcome::trapped)
                        for (unsigned i = 0; i < cores; ++i)
                            if (m.core(i).trap()) MESSAGE(m.core(i).trap()->message);
                    CHECK(outcome == platform::Outcome::finished);
                    CHECK(m.host().words().size() == cores);
                    for (const auto& checker : sockets.checkers) open += checker->open();
                    // DMA and control of each core; memory nodes, windows, host, semaphores.
                    CHECK(sockets.checkers.size() == 2 * cores + (mesh ? 2 : 1) + cores + 2);
                    // The checkers live in the machine's simulation, and go before it does.
                    sockets.checkers.clear();
                }
                CHECK(sockets.protocol.violations.empty());
                for (const std::string& violation : sockets.protocol.violations) MESSAGE(violation);
                CHECK(open == 0);
                CHECK(sockets.protocol.begun == sockets.protocol.ended);
                // Seen by the initiator's checker and by the target's.
                CHECK(sockets.protocol.begun > 2 * cores * 8);
            }
        }
    }
}
