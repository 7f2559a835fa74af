// The SystemC modules wired up, without Python: what the sanitizers run. Methods alone: ASan takes
// the stack of an SC_THREAD (QuickThreads) for an overflow of its own.
#include <doctest/doctest.h>

#include <cstring>
#include <stdexcept>

#include "support/machines.h"

using namespace npuvp;
using isa::Field;
using isa::Op;
using namespace npuvp::support;

TEST_CASE("machine: transfers, products and their results") {
    for (const bool functional : {true, false}) {
        platform::Machine machine(small(1), functional);
        std::vector<std::uint16_t> ones(512, 0x3F80);
        machine.access(true, 0, reinterpret_cast<std::uint8_t*>(ones.data()), 1024);
        machine.core(0).load_text(
            {
                word(Op::h_prefetch_m),
                word(Op::h_prefetch_v),
                word(Op::m_mm),
                set(1, 256),
                word(Op::m_mm_wo, {{Field::rd, 1}}),
                word(Op::v_red_sum, {{Field::rd, 1}, {Field::rs1, 1}}),
                word(Op::h_store_v, {{Field::rd, 1}}),
                word(Op::c_halt, {{Field::rs1, 1}}),
            },
            0);
        CHECK(machine.run() == platform::Outcome::finished);
        CHECK(machine.core(0).exit_code() == 256);
        CHECK(machine.core(0).macs() == 4 * 4 * 16);
        CHECK(machine.core(0).dma.descriptors() == 3);
        CHECK(machine.core(0).end_ps() > 20'000);
        if (functional) CHECK(machine.core(0).fp(1) == 4 * 16.0f);
    }
}

TEST_CASE("machine: cores wait for each other, and copy into each other") {
    for (const bool functional : {true, false}) {
        platform::Machine machine(small(2), functional);
        std::uint32_t number = 42;
        machine.access(true, cores_at + 4 * (window / 8), reinterpret_cast<std::uint8_t*>(&number),
                       4);
        const auto csr = [](isa::Csr which, unsigned from) {
            return word(Op::c_csrw,
                        {{Field::imm8, static_cast<std::uint32_t>(which)}, {Field::rs1, from}});
        };
        // a0, a1: INT SRAM of core 0 and of core 1.
        std::vector<std::uint32_t> producer{set(1, 4), csr(isa::Csr::dma_len, 1), set(2, 1)};
        for (unsigned a = 0; a < 2; ++a) {
            const auto at = static_cast<std::uint32_t>(cores_at + a * window + 4 * (window / 8));
            producer.push_back(word(Op::s_lui_int, {{Field::rd, 3}, {Field::imm22, at >> 12}}));
            producer.push_back(word(Op::c_set_addr_reg, {{Field::rd, a}, {Field::rs2, 3}}));
        }
        producer.push_back(word(Op::h_copy, {{Field::rd, 1}, {Field::rs2, 0}, {Field::f1, 3}}));
        producer.push_back(word(Op::c_fence, {{Field::imm16, 8}}));
        producer.push_back(word(Op::c_sem_signal, {{Field::rs1, 1}, {Field::rs2, 2}}));
        producer.push_back(set(4, 2));
        producer.push_back(word(Op::c_barrier, {{Field::rs1, 2}, {Field::rs2, 4}}));
        machine.core(0).load_text(producer, 0);
        machine.core(1).load_text(
            {
                set(1, 4),
                set(2, 1),
                word(Op::c_sem_wait, {{Field::rs1, 1}, {Field::rs2, 2}}),
                word(Op::s_ld_int, {{Field::rd, 5}}),
                word(Op::c_host_push, {{Field::rs1, 5}}),
                set(4, 2),
                word(Op::c_barrier, {{Field::rs1, 2}, {Field::rs2, 4}}),
            },
            0);
        CHECK(machine.run() == platform::Outcome::finished);
        REQUIRE(machine.host().words().size() == 1);
        CHECK(machine.host().words()[0].core == 1);
        CHECK(machine.host().words()[0].value == 42);
        CHECK(machine.core(0).cycles() == machine.core(1).cycles());
    }
}

TEST_CASE("machine: a deadlock says who waits for what, and is torn down") {
    platform::Machine machine(small(2), true);
    machine.core(0).load_text({set(1, 5), word(Op::c_sem_wait, {{Field::rs1, 1}, {Field::rs2, 1}})},
                              0);
    machine.core(1).load_text({set(1, 2), word(Op::c_barrier, {{Field::rs2, 1}})}, 0);
    CHECK(machine.run() == platform::Outcome::deadlocked);
    CHECK(machine.core(0).waiting_for() == "semaphore 5 (needs 5, has 0)");
    CHECK(machine.core(1).waiting_for() == "barrier 0 (1 of 2 cores have arrived)");
}

TEST_CASE("machine: a trap with transfers under way leaves a machine that can be read") {
    platform::Machine machine(small(1), true);
    machine.core(0).load_text(
        {
            word(Op::h_prefetch_v),
            set(1, 7),
            word(Op::c_trap, {{Field::rs1, 1}}),
        },
        0);
    CHECK(machine.run() == platform::Outcome::trapped);
    REQUIRE(machine.core(0).trap());
    CHECK(machine.core(0).trap()->message == "firmware trap");
    CHECK(machine.core(0).trap()->pc == 2);
    std::uint8_t data[32];
    machine.access(false, cores_at + window / 8, data, sizeof data);
    CHECK_THROWS_AS(machine.access(false, 1ull << 40, data, 1), std::out_of_range);
    CHECK_THROWS_AS(machine.run(), std::logic_error);
}

TEST_CASE("machine: every word of an opcode runs or traps") {
    // Registers are 0, so most instructions work on row 0 and word 0.
    for (std::size_t i = 1; i < isa::op_count; ++i) {
        const Op op = static_cast<Op>(i);
        std::uint32_t text = isa::info(op).match;
        for (unsigned o = 0; o < isa::info(op).n_operands; ++o) {  // branch behind the program
            const isa::OperandInfo& operand = isa::info(op).operands[o];
            if (operand.kind == isa::OperandKind::rel) text |= 1u << isa::info(operand.field).low;
        }
        for (const bool functional : {true, false}) {
            platform::Machine machine(small(1), functional);
            machine.core(0).load_text({text}, 0);
            const platform::Outcome outcome = machine.run();
            INFO(isa::info(op).mnemonic);
            CHECK(
                (outcome == platform::Outcome::finished || outcome == platform::Outcome::trapped));
            if (outcome == platform::Outcome::trapped)
                CHECK(machine.core(0).trap()->message.find("not supported") == std::string::npos);
        }
    }
}

TEST_CASE("machine: unused ones, one after the other and side by side") {
    platform::Machine first(small(1), true);
    for (int i = 0; i < 20; ++i) {
        platform::Machine other(small(3), i % 2 == 0);
        for (unsigned c = 0; c < 3; ++c) other.core(c).load_text({}, 0);
        if (i % 3) CHECK(other.run() == platform::Outcome::finished);
    }
    first.core(0).load_text({set(1, 9), word(Op::c_halt, {{Field::rs1, 1}})}, 0);
    CHECK(first.run() == platform::Outcome::finished);
    CHECK(first.core(0).exit_code() == 9);
}
