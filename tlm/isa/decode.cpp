#include "isa/decode.h"

#include <array>
#include <cstdio>
#include <vector>

namespace npuvp::isa {
namespace {

#include "isa/isa_tables.inc"

constexpr unsigned fp_registers = 8;

static_assert(std::size(op_table) == op_count);
static_assert(std::size(field_table) == static_cast<std::size_t>(Field::none) + 1);

std::uint32_t bits_of(std::uint32_t word, Field field) {
    const FieldInfo& f = field_table[static_cast<std::size_t>(field)];
    return (word >> f.low) & ((1u << f.bits) - 1u);
}

std::int32_t value_of(std::uint32_t word, const OperandInfo& operand, Field field) {
    const auto raw = static_cast<std::int32_t>(bits_of(word, field));
    if (operand.kind != OperandKind::rel) return raw;
    const int bits = field_table[static_cast<std::size_t>(field)].bits;
    return raw >= 1 << (bits - 1) ? raw - (1 << bits) : raw;
}

const std::array<std::vector<Op>, 64>& by_opcode() {
    static const auto index = [] {
        std::array<std::vector<Op>, 64> made;
        for (std::size_t i = 1; i < op_count; ++i) {
            made[op_table[i].match & 63u].push_back(static_cast<Op>(i));
        }
        return made;
    }();
    return index;
}

Reason operand_fault(std::uint32_t word, const OperandInfo& operand) {
    if (operand.field == Field::none) return Reason::none;
    const std::int32_t value = value_of(word, operand, operand.field);
    if (operand.kind == OperandKind::fp && value >= static_cast<std::int32_t>(fp_registers)) {
        return Reason::fp_register;
    }
    if (operand.kind == OperandKind::csr) {
        const CsrInfo* csr = find_csr(static_cast<std::uint32_t>(value));
        if (!csr || (operand.role == Role::write && !csr->writable)) return Reason::csr;
    }
    if (operand.kind == OperandKind::imm && value < operand.min) return Reason::operand_value;
    if (operand.closed) {
        for (std::size_t i = 0; i < operand.n_values; ++i) {
            if (operand.values[i].value == value) return Reason::none;
        }
        return Reason::operand_value;
    }
    return Reason::none;
}

bool reads(Role role) {
    return role == Role::read || role == Role::read_write;
}
bool writes(Role role) {
    return role == Role::write || role == Role::read_write;
}

void add_register(Decoded& d, const OperandInfo& operand) {
    if (operand.role == Role::none || operand.kind == OperandKind::csr) return;  // no register
    const unsigned number = bits_of(d.word, operand.field);
    const auto mask = static_cast<std::uint16_t>(1u << number);
    switch (operand.kind) {
        case OperandKind::gp:
            if (number == 0) return;
            if (reads(operand.role)) d.gp_reads |= mask;
            if (writes(operand.role)) d.gp_writes |= mask;
            return;
        case OperandKind::fp:
            if (number == 0) return;
            if (reads(operand.role)) d.fp_reads |= mask;
            if (writes(operand.role)) d.fp_writes |= mask;
            return;
        case OperandKind::ha:
            if (reads(operand.role)) d.ha_reads |= mask;
            if (writes(operand.role)) d.ha_writes |= mask;
            return;
        default:
            return;
    }
}

bool is_wide(Field field) {
    return field >= Field::imm18 && field != Field::none;
}

Decoded reject(Decoded d, Reason reason, Op candidate) {
    d.op = Op::illegal;
    d.reason = reason;
    d.candidate = candidate;
    return d;
}

std::string hex(std::uint32_t value) {
    char text[16];
    std::snprintf(text, sizeof text, "0x%08x", value);
    return text;
}

const OperandInfo* faulty_operand(const Decoded& d) {
    const OpInfo& op = info(d.candidate);
    for (std::size_t i = 0; i < op.n_operands; ++i) {
        if (operand_fault(d.word, op.operands[i]) == d.reason) return &op.operands[i];
    }
    return nullptr;
}

std::string operand_text(std::uint32_t word, std::uint32_t pc, const OperandInfo& operand) {
    if (operand.field == Field::none) return "0";
    const std::int32_t value = value_of(word, operand, operand.text_field);
    switch (operand.kind) {
        case OperandKind::gp:
            return "gp" + std::to_string(value);
        case OperandKind::fp:
            return "f" + std::to_string(value);
        case OperandKind::ha:
            return "a" + std::to_string(value);
        case OperandKind::csr:
            return find_csr(static_cast<std::uint32_t>(value))->name;
        case OperandKind::rel: {
            char text[32];
            std::snprintf(text, sizeof text, ".%+d <0x%04x>", value,
                          pc + static_cast<std::uint32_t>(value));
            return text;
        }
        case OperandKind::imm:
            break;
    }
    for (std::size_t i = 0; i < operand.n_values; ++i) {
        if (operand.values[i].value == value) return operand.values[i].name;
    }
    return std::to_string(value);
}

}  // namespace

const CsrInfo* find_csr(std::uint32_t number) {
    for (const CsrInfo& csr : csr_table) {
        if (csr.number == number) return &csr;
    }
    return nullptr;
}

const OpInfo& info(Op op) {
    return op_table[static_cast<std::size_t>(op)];
}
const FieldInfo& info(Field field) {
    return field_table[static_cast<std::size_t>(field)];
}
const char* name(TimingClass timing) {
    return timing_class_names[static_cast<std::size_t>(timing)];
}
const char* name(Unit unit) {
    return unit_names[static_cast<std::size_t>(unit)];
}
const char* name(Space space) {
    return space_names[static_cast<std::size_t>(space)];
}
const char* name(State state) {
    return state_names[static_cast<std::size_t>(state)];
}

Decoded decode(std::uint32_t word) {
    Decoded d;
    d.word = word;
    d.rd = static_cast<std::uint8_t>(bits_of(word, Field::rd));
    d.rs1 = static_cast<std::uint8_t>(bits_of(word, Field::rs1));
    d.rs2 = static_cast<std::uint8_t>(bits_of(word, Field::rs2));
    d.rs3 = static_cast<std::uint8_t>(bits_of(word, Field::rs3));
    d.f1 = static_cast<std::uint8_t>(bits_of(word, Field::f1));

    const std::vector<Op>& candidates = by_opcode()[word & 63u];
    if (candidates.empty()) return reject(d, Reason::opcode, Op::illegal);
    Op op = Op::illegal;
    for (const Op candidate : candidates) {
        if ((word & info(candidate).match_mask) == info(candidate).match) op = candidate;
    }
    if (op == Op::illegal) {
        return candidates.size() == 1 ? reject(d, Reason::fixed_field, candidates.front())
                                      : reject(d, Reason::sub_opcode, Op::illegal);
    }
    const OpInfo& o = info(op);
    if (word & o.must_be_zero) return reject(d, Reason::reserved_bits, op);
    for (std::size_t i = 0; i < o.n_operands; ++i) {
        const Reason fault = operand_fault(word, o.operands[i]);
        if (fault != Reason::none) return reject(d, fault, op);
    }

    d.op = op;
    d.reason = Reason::none;
    d.candidate = op;
    d.unit = o.unit;
    d.timing = o.timing;
    d.state_reads = o.state_reads;
    d.state_writes = o.state_writes;
    if (o.clobbers_gp) d.gp_writes = 0xFFFE;
    for (std::size_t i = 0; i < o.n_operands; ++i) {
        const OperandInfo& operand = o.operands[i];
        if (operand.field == Field::none) continue;
        add_register(d, operand);
        if (is_wide(operand.field)) d.imm = value_of(word, operand, operand.field);
    }
    // A vector instruction's mask field is rs3; unmasked, neither V_MASK nor the head length
    // matters.
    if (o.unit == Unit::vector && (o.state_reads & bit(State::v_mask)) && d.rs3 == 0) {
        d.state_reads &= static_cast<std::uint16_t>(~(bit(State::v_mask) | bit(State::csr)));
    }
    return d;
}

std::string explain(const Decoded& d) {
    const std::string word = "word " + hex(d.word) + ": ";
    const std::string op = info(d.candidate).mnemonic;
    switch (d.reason) {
        case Reason::none:
            return "";
        case Reason::opcode:
            return word + "opcode " + hex(d.word & 63u).substr(8) + " is unassigned";
        case Reason::sub_opcode: {
            const bool branch = (d.word & 63u) != 0x3F;
            return word + "function " + std::to_string(branch ? d.rd : bits_of(d.word, Field::x)) +
                   " of opcode " + hex(d.word & 63u).substr(8) + " is unassigned";
        }
        case Reason::fixed_field:
            return word + op + " with field rd = " + std::to_string(d.rd) + " (must be " +
                   std::to_string(bits_of(info(d.candidate).match, Field::rd)) + ")";
        case Reason::reserved_bits:
            return word + op + " with reserved bits " +
                   hex(d.word & info(d.candidate).must_be_zero) + " set (must be 0)";
        default:
            break;
    }
    const OperandInfo& operand = *faulty_operand(d);
    const std::int32_t value = value_of(d.word, operand, operand.field);
    if (d.reason == Reason::fp_register) {
        return word + op + " names f" + std::to_string(value) + " as " + operand.name +
               " (f0..f7 exist)";
    }
    if (d.reason == Reason::csr) {
        const CsrInfo* csr = find_csr(static_cast<std::uint32_t>(value));
        return word + op +
               (csr ? std::string(" writes ") + csr->name + ", which is read-only"
                    : " names CSR " + std::to_string(value) + ", which does not exist");
    }
    std::string allowed = "at least " + std::to_string(operand.min);
    if (operand.closed) {
        allowed.clear();
        for (std::size_t i = 0; i < operand.n_values; ++i) {
            allowed += (i ? ", " : "") + std::to_string(operand.values[i].value) + " " +
                       operand.values[i].name;
        }
    }
    return word + op + " with " + operand.name + " = " + std::to_string(value) +
           " (allowed: " + allowed + ")";
}

std::string disassemble(std::uint32_t word, std::uint32_t pc) {
    const Decoded d = decode(word);
    if (d.op == Op::illegal) return ".word " + hex(word);
    const OpInfo& o = info(d.op);
    std::size_t shown = o.n_operands;
    while (shown > 0 && o.operands[shown - 1].optional &&
           (o.operands[shown - 1].field == Field::none ||
            bits_of(word, o.operands[shown - 1].text_field) == 0)) {
        --shown;
    }
    std::string text = o.mnemonic;
    for (std::size_t i = 0; i < shown; ++i) {
        text += (i ? ", " : " ") + operand_text(word, pc, o.operands[i]);
    }
    return text;
}

}  // namespace npuvp::isa
