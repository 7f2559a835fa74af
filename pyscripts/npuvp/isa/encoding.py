"""Instruction words: operand values to bits and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from npuvp.isa.declaration import BitField, Instruction, Operand, load


@dataclass(frozen=True)
class DecodedWord:
    """A legal word: its instruction and the operands' values in the order of the text.

    Values are those of the text (`text_field`); branch targets are relative to the word's own
    address. `ignored` are bits set that neither text nor machine use.
    """

    instruction: Instruction
    values: tuple[int, ...]
    ignored: int


def operand_fault(operand: Operand, value: int) -> str:
    """What is wrong with an operand's value, with what was allowed; empty if nothing is."""
    low, high = operand.bounds()
    if operand.kind == "csr":
        csr = next((c for c in load().csrs if c.number == value), None)
        if csr is None:
            return f"no CSR has number {value}"
        if operand.role == "write" and csr.access == "r":
            return f"CSR {csr.name} is read-only"
        return ""
    if operand.closed and value not in operand.values.values():
        choices = ", ".join(f"{number} {name}" for name, number in operand.values.items())
        return f"{operand.name} is {value} (allowed: {choices})"
    if not low <= value <= high:
        if operand.is_register:
            prefix = {"gp": "gp", "fp": "f", "ha": "a"}[operand.kind]
            return f"{prefix}{value} does not exist ({prefix}{low}..{prefix}{high} do)"
        name = "the placeholder" if operand.name == "0" else operand.name
        return f"{name} is {value} (allowed: {low}..{high})"
    return ""


def encode(name: str, *values: int) -> int:
    """The word of instruction `name` with operand values in the order of the text.

    Registers are given by number, branch targets relative to the word's own address; optional
    operands may be left out.

    Raises:
        ValueError: no such instruction, wrong number of operands, a value out of range.
    """
    instruction = load().by_name().get(name)
    if instruction is None:
        raise ValueError(f"no instruction is called {name!r}")
    if not instruction.required <= len(values) <= len(instruction.operands):
        raise ValueError(f"{instruction.syntax}: {len(values)} operands given")
    for operand, value in zip(instruction.operands, values, strict=False):
        if fault := operand_fault(operand, value):
            raise ValueError(f"{instruction.syntax}: {fault}")
    return assemble_fields(instruction, values)


def assemble_fields(instruction: Instruction, values: tuple[int, ...]) -> int:
    """The word of checked operand values."""
    word = instruction.match
    for operand, value in zip(instruction.operands, values, strict=False):
        field = operand.text_field
        if field is not None:
            word |= (value & (field.limit - 1)) << field.low
    return word


@cache
def _by_opcode() -> dict[int, list[Instruction]]:
    table: dict[int, list[Instruction]] = {}
    for instruction in load().instructions:
        table.setdefault(instruction.opcode, []).append(instruction)
    return table


def _signed(field: BitField, operand: Operand, word: int) -> int:
    value = field.get(word)
    return value - field.limit if operand.kind == "rel" and value >= field.limit // 2 else value


def decode(word: int) -> DecodedWord | None:
    """The instruction of a word, or None for an illegal one (`illegal_reason` says why)."""
    instruction, fault = _find(word)
    if instruction is None or fault:
        return None
    used = instruction.match_mask
    values = []
    for operand in instruction.operands:
        if operand.text_field is None:
            values.append(0)
            continue
        used |= operand.text_field.mask
        values.append(_signed(operand.text_field, operand, word))
    return DecodedWord(instruction, tuple(values), word & 0xFFFFFFFF & ~used)


def illegal_reason(word: int) -> str:
    """Why a word is no instruction; empty if it is one."""
    return _find(word)[1]


def _find(word: int) -> tuple[Instruction | None, str]:
    candidates = _by_opcode().get(word & 0x3F, [])
    if not candidates:
        return None, f"opcode 0x{word & 0x3F:02x} is unassigned"
    instruction = next((i for i in candidates if word & i.match_mask == i.match), None)
    if instruction is None:
        if len(candidates) == 1:
            return None, f"{candidates[0].name} with a fixed field of another value"
        return None, f"function of opcode 0x{word & 0x3F:02x} is unassigned"
    if word & instruction.must_be_zero:
        return instruction, f"{instruction.name} with reserved bits set"
    for operand in instruction.operands:
        if operand.field is None:
            continue
        value = _signed(operand.field, operand, word)
        if fault := operand_fault(operand, value) if operand.field == operand.text_field else "":
            return instruction, f"{instruction.name}: {fault}"
    return instruction, ""
