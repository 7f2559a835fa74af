#include <doctest/doctest.h>

#include <initializer_list>
#include <random>

#include "isa/decode.h"

using namespace npuvp::isa;

namespace {

std::uint32_t word(std::uint32_t opcode, std::uint32_t rd = 0, std::uint32_t rs1 = 0,
                   std::uint32_t rs2 = 0, std::uint32_t rs3 = 0, std::uint32_t f1 = 0,
                   std::uint32_t x = 0) {
    return opcode | rd << 6 | rs1 << 10 | rs2 << 14 | rs3 << 18 | f1 << 22 | x << 26;
}

std::uint16_t mask(std::initializer_list<int> bits) {
    std::uint16_t m = 0;
    for (const int b : bits) m = static_cast<std::uint16_t>(m | 1u << b);
    return m;
}

}  // namespace

TEST_CASE("a masked vector add names its registers and reads the mask only when masked") {
    const Decoded plain = decode(word(0x0D, 3, 1, 2));
    CHECK(plain.op == Op::v_add_vv);
    CHECK(plain.unit == Unit::vector);
    CHECK(plain.timing == TimingClass::vector_add);
    CHECK(plain.gp_reads == mask({1, 2, 3}));
    CHECK(plain.gp_writes == 0);
    CHECK(plain.state_reads == 0);
    const Decoded masked = decode(word(0x0D, 3, 1, 2, 1));
    CHECK(masked.state_reads == (bit(State::v_mask) | bit(State::csr)));
}

TEST_CASE("gp0 and f0 appear in no mask") {
    CHECK(decode(word(0x22, 0, 0) | 5u << 14).gp_reads == 0);
    CHECK(decode(word(0x22, 0, 0) | 5u << 14).gp_writes == 0);
    CHECK(decode(word(0x17, 0, 0, 1)).fp_writes == 0);
    CHECK(decode(word(0x17, 0, 0, 1)).fp_reads == mask({1}));
}

TEST_CASE("immediates are unsigned in the public machine and signed in branches") {
    CHECK(decode(word(0x22, 1, 0) | 0x3FFFFu << 14).imm == 262143);
    CHECK(decode(word(0x25, 1) | 0x3FFFFFu << 10).imm == 4194303);
    CHECK(decode(word(0x3D, 0, 1, 2) | 0x3FFFu << 18).imm == -1);
    CHECK(decode(word(0x3D, 0, 1, 2) | 0x1FFFu << 18).imm == 8191);
    CHECK(decode(word(0x3D, 15) | 0x200000u << 10).imm == -2097152);
    CHECK(decode(word(0x3C, 1, 2, 3) | 0x3FFFu << 18).imm == 16383);
}

TEST_CASE("write-outs read their immediate from bit 14 although the text writes bit 10") {
    CHECK(decode(0x0B | 3u << 6 | 64u << 10).imm == 4);
    CHECK(disassemble(0x0B | 3u << 6 | 64u << 10, 0) == "M_MV_WO gp3, 64");
}

TEST_CASE("max with index reads and writes its index and its maximum") {
    const Decoded d = decode(word(0x38, 4, 7, 6, 1));
    CHECK(d.op == Op::v_red_max_idx);
    CHECK(d.gp_reads == mask({4, 6, 7}));
    CHECK(d.gp_writes == mask({4}));
    CHECK(d.fp_reads == mask({1}));
    CHECK(d.fp_writes == mask({1}));
    CHECK(disassemble(d.word, 0) == "V_RED_MAX_IDX gp4, gp7, gp6, f1");
}

TEST_CASE("FP register 7 exists, 8 does not") {
    CHECK(decode(word(0x17, 7, 1, 2)).op == Op::s_add_fp);
    const Decoded d = decode(word(0x17, 1, 8, 2));
    CHECK(d.op == Op::illegal);
    CHECK(d.reason == Reason::fp_register);
    CHECK(d.candidate == Op::s_add_fp);
    CHECK(explain(d) == "word 0x0000a057: S_ADD_FP names f8 as fA (f0..f7 exist)");
}

TEST_CASE("every kind of illegal word says why") {
    CHECK(explain(decode(0)) == "word 0x00000000: opcode 00 is unassigned");
    CHECK(decode(0x31).reason == Reason::opcode);
    CHECK(decode(0x33).reason == Reason::opcode);
    CHECK(decode(0x3E).reason == Reason::opcode);
    CHECK(decode(word(0x3D, 6)).reason == Reason::sub_opcode);
    CHECK(decode(word(0x3F, 0, 0, 0, 0, 0, 11)).reason == Reason::sub_opcode);
    CHECK(decode(word(0x03, 0, 1, 2)).op == Op::m_bmm);
    CHECK(explain(decode(word(0x03, 1, 1, 2))) ==
          "word 0x00008443: M_BMM with field rd = 1 (must be 0)");
    CHECK(decode(word(0x3F, 0, 1)).op == Op::c_halt);
    CHECK(decode(word(0x3F, 1, 1)).reason == Reason::reserved_bits);
    CHECK(explain(decode(word(0x3F, 1, 2, 3, 6, 0, 37))) ==
          "word 0x9418c87f: V_CMP_VV with cond = 6 (allowed: 0 eq, 1 ne, 2 lt, 3 le, 4 gt, 5 ge)");
    CHECK(decode(word(0x2F, 1)).reason == Reason::operand_value);
    CHECK(decode(word(0x2F, 1) | 1u << 10).op == Op::c_loop_start);
    CHECK(decode(word(0x37, 1, 2, 3, 1)).op == Op::v_topk);
    CHECK(decode(word(0x37, 1, 2, 3, 2)).reason == Reason::operand_value);
}

TEST_CASE("CSRs: reads of all, writes of the writable") {
    CHECK(decode(word(0x3F, 1, 0, 0, 0, 0, 2)).op == Op::c_csrr);
    CHECK(explain(decode(word(0x3F, 0, 1, 0, 0, 0, 3))) ==
          "word 0x0c00043f: C_CSRW writes core_id, which is read-only");
    const Decoded unknown = decode(word(0x3F, 1, 0, 0, 0, 0, 2) | 99u << 14);
    CHECK(explain(unknown) == "word 0x0818c07f: C_CSRR names CSR 99, which does not exist");
    const Decoded length = decode(word(0x3F, 0, 1, 0, 0, 0, 3) | 19u << 14);
    CHECK(length.op == Op::c_csrw);
    CHECK(length.imm == static_cast<int>(Csr::dma_len));
    CHECK(disassemble(length.word, 0) == "C_CSRW dma_len, gp1");
}

TEST_CASE("branch targets are shown with distance and address") {
    CHECK(disassemble(word(0x3D, 1, 1, 2) | 0x3FFCu << 18, 0x10) == "C_BNE gp1, gp2, .-4 <0x000c>");
}

TEST_CASE("decoding any word is defined, and legal exactly without a reason") {
    std::mt19937 random(7);
    std::size_t legal = 0;
    for (int i = 0; i < 100000; ++i) {
        const std::uint32_t w = static_cast<std::uint32_t>(random());
        const Decoded d = decode(w);
        REQUIRE((d.op == Op::illegal) == (d.reason != Reason::none));
        REQUIRE(explain(d).empty() == (d.op != Op::illegal));
        REQUIRE_FALSE(disassemble(w, 0).empty());
        REQUIRE((d.gp_reads & 1u) == 0);
        REQUIRE((d.fp_writes & 0xFF01u) == 0);
        legal += d.op != Op::illegal;
    }
    CHECK(legal > 10000);
}
