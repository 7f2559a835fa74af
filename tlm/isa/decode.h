#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "isa/isa_enums.h"

/// Decoding of instruction words. Everything here derives from pyscripts/npuvp/isa/isa.yaml.
namespace npuvp::isa {

/// A field of the instruction word, in the order of the declaration's `fields`.
enum class Field : std::uint8_t {
    opcode,
    rd,
    rs1,
    rs2,
    rs3,
    f1,
    x,
    imm18,
    imm22,
    imm14,
    imm8,
    imm16,
    none
};

enum class OperandKind : std::uint8_t { gp, fp, ha, imm, rel, csr };
enum class Role : std::uint8_t { none, read, write, read_write };

/// Why a word is no instruction.
enum class Reason : std::uint8_t {
    none,           ///< it is one
    opcode,         ///< bits 5..0 are unassigned
    sub_opcode,     ///< the opcode is assigned, its function field is not
    fixed_field,    ///< a field must hold another value (rd of M_BMM)
    reserved_bits,  ///< bits that an extension instruction does not use are not zero
    fp_register,    ///< f8..f15 do not exist
    operand_value,  ///< an immediate outside its closed set or below its minimum
    csr             ///< no such CSR, or a write to a read-only one
};

struct NamedValue {
    const char* name;
    std::int32_t value;
};

struct FieldInfo {
    std::uint8_t low;
    std::uint8_t bits;
    const char* name;
};

struct CsrInfo {
    const char* name;
    std::uint16_t number;
    bool writable;
};

struct OperandInfo {
    const char* name;
    Field field;       ///< bits that the machine reads
    Field text_field;  ///< bits that the assembly text stands for (differs in M_*_WO)
    OperandKind kind;
    Role role;                  ///< what happens to the register itself
    Space space;                ///< what the register's value addresses, if it is an address
    Role access;                ///< what happens to the addressed memory
    Extent extent;              ///< how much of it
    std::int8_t count_operand;  ///< operand that holds the extent's n, or -1
    bool optional;
    bool closed;
    std::int32_t min;
    std::int32_t max;
    const NamedValue* values;
    std::uint8_t n_values;
};

constexpr std::size_t max_operands = 5;

struct OpInfo {
    const char* mnemonic;
    Unit unit;
    TimingClass timing;
    Source source;
    std::uint32_t match;         ///< word & match_mask of this instruction
    std::uint32_t match_mask;    ///< opcode and fixed fields
    std::uint32_t must_be_zero;  ///< reserved bits
    std::uint16_t state_reads;   ///< bit per State
    std::uint16_t state_writes;  ///< bit per State
    bool clobbers_gp;            ///< may write any integer register (C_BREAK: the loop's counter)
    std::uint8_t n_operands;
    OperandInfo operands[max_operands];
    const char* semantics;
};

/// A decoded word. Fields hold their bits whether or not the instruction uses them; the masks hold
/// only registers that exist as state: gp0 and f0 are hard-wired zero and never appear.
struct Decoded {
    Op op = Op::illegal;
    Reason reason = Reason::opcode;
    Op candidate = Op::illegal;  ///< for an illegal word: the instruction that it nearly is
    std::uint8_t rd = 0;
    std::uint8_t rs1 = 0;
    std::uint8_t rs2 = 0;
    std::uint8_t rs3 = 0;
    std::uint8_t f1 = 0;
    Unit unit = Unit::control;
    TimingClass timing = TimingClass::control;
    /// The immediate wider than four bits, if there is one; sign-extended for branch targets.
    std::int32_t imm = 0;
    std::uint16_t gp_reads = 0;
    std::uint16_t gp_writes = 0;
    std::uint16_t fp_reads = 0;
    std::uint16_t fp_writes = 0;
    std::uint16_t ha_reads = 0;
    std::uint16_t ha_writes = 0;
    std::uint16_t state_reads = 0;   ///< bit per State
    std::uint16_t state_writes = 0;  ///< bit per State
    std::uint32_t word = 0;
};

Decoded decode(std::uint32_t word);

const OpInfo& info(Op op);
const FieldInfo& info(Field field);
const char* name(TimingClass timing);
const char* name(Unit unit);
const char* name(Space space);
const char* name(State state);

/// The CSR of that number, or null.
const CsrInfo* find_csr(std::uint32_t number);

/// Why `decoded` is illegal, with the value found and what was allowed; empty if it is legal.
std::string explain(const Decoded& decoded);

/// Assembly text of one word at `pc`, for messages: a branch target shows its distance and its
/// address; an illegal word is a `.word`.
std::string disassemble(std::uint32_t word, std::uint32_t pc);

constexpr std::uint16_t bit(State state) {
    return static_cast<std::uint16_t>(1u << static_cast<unsigned>(state));
}

}  // namespace npuvp::isa
