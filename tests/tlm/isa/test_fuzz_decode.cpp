// Any 32-bit word is an instruction or an illegal one that says why; under ASan and UBSan in CI.
#include <doctest/doctest.h>

#include <cstdlib>
#include <random>
#include <string>

#include "isa/decode.h"

using namespace npuvp::isa;

namespace {

std::size_t legal = 0;
std::size_t illegal = 0;

/// What holds of every word. Plain comparisons, because CHECK costs more than the decoder.
std::string fault(std::uint32_t word) {
    const Decoded d = decode(word);
    if (d.word != word) return "the word is lost";
    if ((d.op == Op::illegal) != (d.reason != Reason::none)) return "reason and operation differ";
    const std::string text = disassemble(word, word % 100000);
    if (text.empty()) return "no text";
    if (d.op == Op::illegal) {
        ++illegal;
        if (explain(d).find(".word") != std::string::npos || explain(d).empty())
            return "an illegal word is not explained";
        return text.rfind(".word", 0) == 0 ? "" : "an illegal word has a text";
    }
    ++legal;
    if (!explain(d).empty()) return "a legal word is explained";
    const OpInfo& o = info(d.op);
    if ((word & o.match_mask) != o.match) return "match";
    if (word & o.must_be_zero) return "reserved bits";
    if (d.fp_reads >> 8 || d.fp_writes >> 8) return "an FP register beyond f7";
    if ((d.gp_reads | d.gp_writes | d.fp_reads | d.fp_writes) & 1u) return "register 0 is tracked";
    for (std::size_t i = 0; i < o.n_operands; ++i) {
        const OperandInfo& operand = o.operands[i];
        if (operand.kind == OperandKind::fp) {
            const unsigned number = (word >> info(operand.field).low) & 15u;
            if (number > 7) return "an FP operand beyond f7";
        }
        if (operand.count_operand >= static_cast<int>(o.n_operands)) return "count operand";
    }
    return text.find(o.mnemonic) == std::string::npos ? "the text lacks the mnemonic" : "";
}

void demand(std::uint32_t word) {
    const std::string found = fault(word);
    if (!found.empty()) {
        CAPTURE(word);
        FAIL(found);
    }
}

std::size_t scale() {
    const char* times = std::getenv("NPUVP_FUZZ");
    return times ? std::strtoul(times, nullptr, 10) : 1;
}

}  // namespace

TEST_CASE("random words decode") {
    std::mt19937 random(20261121);
    legal = illegal = 0;
    const std::size_t count = 200000 * scale();
    for (std::size_t i = 0; i < count; ++i) demand(static_cast<std::uint32_t>(random()));
    CHECK(legal > count / 20);
    CHECK(illegal > count / 20);
}

TEST_CASE("words near every instruction decode") {
    std::mt19937 random(20261122);
    legal = illegal = 0;
    for (std::size_t n = 1; n < op_count; ++n) {
        const OpInfo& o = info(static_cast<Op>(n));
        demand(o.match);
        for (unsigned bit = 0; bit < 32; ++bit) demand(o.match ^ 1u << bit);
        for (std::size_t i = 0; i < 300 * scale(); ++i) {
            const auto any = static_cast<std::uint32_t>(random());
            demand(o.match | (any & ~o.match_mask & ~o.must_be_zero));
            demand(o.match | (any & ~o.match_mask));
        }
        for (std::size_t i = 0; i < o.n_operands; ++i) {
            if (o.operands[i].field == Field::none) continue;
            const FieldInfo& field = info(o.operands[i].field);
            const unsigned shown = field.bits < 10 ? field.bits : 10;
            for (std::uint32_t value = 0; value < 1u << shown; ++value) {
                demand(o.match | value << field.low);
                demand(o.match | value << (field.low + field.bits - shown));
            }
        }
    }
    CHECK(legal > 10000);
    CHECK(illegal > 1000);
}
