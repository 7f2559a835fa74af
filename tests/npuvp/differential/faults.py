"""Ends of programs that trap, or may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npuvp.isa import load

from .rules import DMA_FORMS

if TYPE_CHECKING:
    from .programs import ProgramGenerator


def _illegal_word(g: ProgramGenerator) -> None:
    g.words.append(g.integer(0, (1 << 32) - 1))


def _wild_operands(g: ProgramGenerator) -> None:
    """An instruction whose registers hold anything."""
    wild = [i for i in g.pool if i.unit != "dma" and not i.name.startswith(("C_SET", "C_CSR"))]
    instruction = wild[g.integer(0, len(wild) - 1)]
    values = []
    for operand in instruction.operands:
        if operand.kind == "imm":
            values.append(g.immediate(operand))
        elif operand.kind == "gp":
            register = g.integer(1, 12)
            kind = g.integer(0, 2)
            size = {"vector": g.vector_rows * g.vlen, "matrix": g.matrix_elements}.get(
                operand.space, g.int_words
            )
            edge = size + g.integer(-2, 2) * (g.vlen if operand.space == "vector" else 1)
            content = (g.any_word(), edge, g.integer(0, size))[kind]
            g.constant(register, content & 0xFFFFFFFF)
            values.append(register)
        else:
            values.append(g.integer(0, 7))
    g.emit(instruction.name, *values)


def _loop_misuse(g: ProgramGenerator) -> None:
    kind = g.integer(0, 3)
    if kind == 0:
        g.emit("C_LOOP_END", g.integer(0, 15))
    elif kind == 1:
        g.emit("C_BREAK")
    elif kind == 2:
        g.emit("C_JUMP", int(g.rng.choice([-len(g.words) - 1, 2, 1000, -(1 << 21)])))
    else:  # more instructions than an iteration may have, where the platform has a limit
        g.emit("C_LOOP_START", 15, 2)
        g.emit("C_LOOP_START", 14, g.p["max_loop_instructions"] + 2)
        g.emit("C_LOOP_END", 14)
        g.emit("C_LOOP_END", 15)


def _firmware_trap(g: ProgramGenerator) -> None:
    g.constant(1, g.any_word())
    g.emit(str(g.rng.choice(["C_TRAP", "C_HALT"])), g.integer(0, 15))


def _wild_transfer(g: ProgramGenerator) -> None:
    """A valid transfer's instruction word with one register changed, behind a fence."""
    forms = [i for i in g.pool if i.name in DMA_FORMS]
    if not forms:
        return
    g.instruction(forms[g.integer(0, len(forms) - 1)])
    g.emit("C_FENCE", 0xFFFF)
    transfer = g.words[-2]
    register = g.integer(8, 12)
    field_low = int(g.rng.choice([6, 10]))
    g.constant(register, int(g.rng.choice([1, g.vlen, g.vector_rows * g.vlen, g.int_words])))
    g.words.append(transfer & ~(15 << field_low) & 0xFFFFFFFF | register << field_low)
    g.emit("C_FENCE", 0xFFFF)


def _wild_csr(g: ProgramGenerator) -> None:
    """A valid transfer's instruction word with one CSR changed, behind a fence."""
    forms = [i for i in g.pool if i.name in DMA_FORMS and i.source == "npuvp"]
    if not forms:
        return
    g.instruction(forms[g.integer(0, len(forms) - 1)])
    g.emit("C_FENCE", 0xFFFF)
    transfer = g.words[-2]
    names = [c.name for c in load().csrs if c.name.startswith("dma_") and c.access == "rw"]
    g.csr(str(g.rng.choice(names)), g.any_word())
    g.words.append(transfer)
    g.emit("C_FENCE", 0xFFFF)


FAULTS = (
    _illegal_word,
    _wild_operands,
    _wild_operands,
    _loop_misuse,
    _firmware_trap,
    _wild_transfer,
    _wild_csr,
)
