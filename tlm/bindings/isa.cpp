#include "isa/decode.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "bindings/bindings.h"

namespace nb = nanobind;

namespace npuvp::bindings {

namespace {

nb::list registers(std::uint16_t mask) {
    nb::list numbers;
    for (int i = 0; i < 16; ++i) {
        if (mask >> i & 1) numbers.append(i);
    }
    return numbers;
}

nb::dict decode_word(std::uint32_t word) {
    const isa::Decoded d = isa::decode(word);
    nb::dict result;
    result["legal"] = d.op != isa::Op::illegal;
    result["reason"] = isa::explain(d);
    result["mnemonic"] = isa::info(d.op).mnemonic;
    result["unit"] = isa::name(d.unit);
    result["timing"] = isa::name(d.timing);
    result["imm"] = d.imm;
    result["gp_reads"] = registers(d.gp_reads);
    result["gp_writes"] = registers(d.gp_writes);
    result["fp_reads"] = registers(d.fp_reads);
    result["fp_writes"] = registers(d.fp_writes);
    result["ha_reads"] = registers(d.ha_reads);
    result["ha_writes"] = registers(d.ha_writes);
    return result;
}

}  // namespace

void isa(nb::module_& m) {
    m.def("decode_word", &decode_word, nb::arg("word"),
          "What the machine makes of an instruction word.");
    m.def("disassemble_word", &npuvp::isa::disassemble, nb::arg("word"), nb::arg("pc") = 0,
          "The word's text as trap messages show it.");
}

}  // namespace npuvp::bindings
