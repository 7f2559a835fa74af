"""Random valid programs over the whole declaration.

What an operand may hold comes from the declaration (space, extent, count); only instructions whose
operands mean something else have a rule of their own here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npuvp.isa import encode, load
from npuvp.isa.declaration import Instruction, Operand

from .contents import random_floats
from .faults import FAULTS
from .rules import (
    ADDRESS_REGISTERS,
    BRANCHES,
    COUNTS,
    DMA_FORMS,
    GP0_IS_A_ROW,
    RULES,
    STRUCTURAL,
)

LOOP_REGISTERS = (13, 14, 15)


@dataclass
class Hazards:
    """HBM ranges that transfers since the last fence touch: (begin, end, written)."""

    ranges: list[tuple[int, int, bool]] = field(default_factory=list)

    def conflict(self, others: list[tuple[int, int, bool]]) -> bool:
        return any(
            a < d and c < b and (written or other)
            for a, b, written in self.ranges
            for c, d, other in others
        )


class ProgramGenerator:
    """One random program for a core of a platform.

    Args:
        description: `Platform.description()`.
        rng: Source of all choices.
        instructions: Those it may use; default: all that are declared.
        faulty: Whether the program may end with something that traps.
    """

    def __init__(
        self,
        description: dict[str, Any],
        rng: np.random.Generator,
        instructions: list[Instruction] | None = None,
        faulty: bool = False,
    ):
        self.p = description["cores"][0]["parameters"]
        self.rng = rng
        self.faulty = faulty
        self.vlen, self.mlen, self.blen = self.p["vlen"], self.p["mlen"], self.p["blen"]
        self.hlen = self.p["hlen"]
        unit = {"bf16": 2, "fp32": 4}
        self.vector_rows = self.p["vector_sram_bytes"] // (
            self.vlen * unit[self.p["vector_format"]]
        )
        self.matrix_elements = self.p["matrix_sram_bytes"] // unit[self.p["matrix_format"]]
        self.fp_words, self.int_words = self.p["fp_sram_words"], self.p["int_sram_words"]
        self.pool = [
            i
            for i in (load().instructions if instructions is None else instructions)
            if i.name not in STRUCTURAL
        ]
        self.window: int = description["cores"][0]["base"]
        self.slot: int = description["platform"]["core_window"] // 8
        self.words: list[int] = []
        self.used: set[str] = set()
        self.hazards = Hazards()
        self.has_dma = False
        self.open_counters: list[int] = []
        self.depth = 0
        self.head_length = 0

    # Choices

    def integer(self, low: int, high: int) -> int:
        """A number in low..high, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def small(self, high: int) -> int:
        """A number in 0..high, the ends more often than others."""
        return int(self.rng.choice([0, 1, high, self.integer(0, high), self.integer(0, high)]))

    def any_word(self) -> int:
        kind = self.integer(0, 3)
        if kind == 0:
            return self.integer(0, (1 << 32) - 1)
        if kind == 1:
            return self.integer(0, 100)
        if kind == 2:
            return int(
                self.rng.choice([0, 1, 2, 31, 32, 33, 1 << 31, (1 << 31) - 1, (1 << 32) - 1])
            )
        return int(random_floats(self.rng, 1)[0])

    # Emission

    def emit(self, name: str, *values: int) -> None:
        self.used.add(name)
        self.words.append(encode(name, *values))

    def constant(self, register: int, value: int) -> None:
        """LI: one or two words."""
        if value < 1 << 18:
            self.emit("S_ADDI_INT", register, 0, value)
        else:
            self.emit("S_LUI_INT", register, value >> 12)
            if value & 0xFFF:
                self.emit("S_ADDI_INT", register, register, value & 0xFFF)

    def csr(self, number: str, value: int) -> None:
        register = int(self.rng.choice(ADDRESS_REGISTERS))
        self.constant(register, value)
        self.emit("C_CSRW", load().csr_numbers()[number], register)

    def address_register(self, value: int) -> int:
        """Sets an address register to a global address."""
        number = self.integer(0, 15)
        high, low = (int(r) for r in self.rng.permutation(list(ADDRESS_REGISTERS))[:2])
        self.constant(high, value >> 32)
        self.constant(low, value & 0xFFFFFFFF)
        self.emit("C_SET_ADDR_REG", number, high, low)
        return number

    # Programs

    def program(self, length: int) -> list[int]:
        """About `length` random instructions, set-up of their operands not counted."""
        self.scramble()
        self.block(length, depth=0)
        if self.faulty and self.chance(0.8):
            self.fault()
        return self.words

    def scramble(self) -> None:
        """Random contents of FP registers and of some integer registers."""
        for register in range(1, 8):
            self.constant(1, int(random_floats(self.rng, 1)[0]))
            self.emit("S_SET_FP", register, 1)
        for register in range(1, 13):
            self.constant(register, self.any_word())

    def block(self, length: int, depth: int) -> None:
        left = length
        while left > 0:
            kind = self.rng.random()
            if depth < 3 and left >= 4 and kind < 0.06:
                inner = self.integer(1, left // 2)
                left -= inner
                self.loop(inner, depth)
            elif depth < 3 and left >= 4 and kind < 0.12:
                inner = self.integer(1, left // 2)
                left -= inner
                self.branch(inner, depth)
            else:
                left -= 1
                self.instruction(self.pool[self.integer(0, len(self.pool) - 1)])

    def nested(self, length: int, depth: int) -> None:
        """A block that may run not at all or often: its transfers are fenced on both sides."""
        outer, had = self.hazards, self.has_dma
        self.hazards, self.has_dma = Hazards(list(outer.ranges)), False
        self.depth += 1
        self.block(length, depth + 1)
        self.depth -= 1
        if self.has_dma:
            self.emit("C_FENCE", 0xFFFF)
        self.hazards, self.has_dma = outer, had or self.has_dma

    def loop(self, length: int, depth: int) -> None:
        counter = LOOP_REGISTERS[len(self.open_counters) % len(LOOP_REGISTERS)]
        self.open_counters.append(counter)
        self.emit("C_LOOP_START", counter, self.integer(1, 3))
        self.nested(max(1, length // 2), depth)
        leaves = self.chance(0.3)
        if leaves:
            name = str(self.rng.choice(list(BRANCHES)))
            a, b = self.integer(0, 15), self.integer(0, 15)
            self.emit(name, a, b, 3)
            self.emit("C_BREAK")
            leave = len(self.words)
            self.emit("C_JUMP", 0)
        self.nested(max(1, length // 2), depth)
        if leaves:
            self.words[leave] = encode("C_JUMP", len(self.words) + 1 - leave)
        self.emit("C_LOOP_END", counter)
        self.open_counters.pop()

    def branch(self, length: int, depth: int) -> None:
        """Forward over a block, sometimes by way of a jump backward."""
        name = str(self.rng.choice([*BRANCHES, "C_JUMP"]))
        a, b = self.integer(0, 15), self.integer(0, 15)
        at = len(self.words)
        operands = () if name == "C_JUMP" else (a, b)
        self.emit(name, *operands, 1)
        self.nested(length, depth)
        self.words[at] = encode(name, *operands, len(self.words) - at)
        if self.chance(0.3):
            self.emit("C_JUMP", 3)
            self.emit("C_JUMP", 3)
            self.emit("S_ADDI_INT", 12, 12, 1)
            self.emit("C_JUMP", -2)
            # Word 0 jumps to 3, 3 to 1, 1 to 4; word 2 is dead.

    # Instructions

    def instruction(self, instruction: Instruction) -> None:
        if instruction.name in RULES:
            RULES[instruction.name](self, instruction)
        elif instruction.name in DMA_FORMS:
            DMA_FORMS[instruction.name](self, instruction)
        else:
            self.generic(instruction, {})

    def generic(self, instruction: Instruction, given: dict[str, int]) -> None:
        """Any instruction: registers with values that fit their operands.

        `given` are values by operand: of immediates, and contents of registers.
        """
        free = [int(r) for r in self.rng.permutation(list(ADDRESS_REGISTERS))]
        counts: dict[str, int] = dict(given)
        for operand in instruction.operands:
            if operand.count and operand.count not in counts:
                counts[operand.count] = self.count_for(instruction, operand.count)
        values: dict[str, int] = {}
        contents = {
            o.name: counts[o.name] if o.name in counts else self.place(instruction, o, counts)
            for o in instruction.operands
            if o.kind == "gp" and (o.space or o.name in counts)
        }
        for operand in instruction.operands:
            if operand.kind == "imm":
                value = given.get(operand.name, self.immediate(operand))
                added = self.added_to(instruction, operand)
                if added and operand.name not in given:
                    value = min(value, contents[added])
                    contents[added] -= value
                values[operand.name] = value
        for operand in instruction.operands:
            if operand.kind == "imm":
                continue
            if operand.kind != "gp":
                limit = {"fp": 7, "ha": 15}[operand.kind]
                values[operand.name] = given.get(operand.name, self.integer(0, limit))
            elif operand.name in contents:
                content = contents[operand.name]
                natural = operand.name in GP0_IS_A_ROW.get(instruction.name, ())
                stands_for = self.vlen if natural else int(operand.name == "gpS")
                if content == stands_for and self.chance(0.3):
                    values[operand.name] = 0
                else:
                    values[operand.name] = free.pop()
                    self.constant(values[operand.name], content)
            elif operand.role == "read":
                values[operand.name] = self.integer(0, 15)
            else:
                values[operand.name] = self.integer(0, 12)
        self.emit(instruction.name, *(values[o.name] for o in instruction.operands))
        if instruction.source == "plena" and self.chance(0.2):
            self.words[-1] |= self.loose_bits(instruction)

    def loose_bits(self, instruction: Instruction) -> int:
        """Random bits that the machine ignores, and mask bits that no text can set."""
        used = instruction.match_mask
        for operand in instruction.operands:
            for bits in (operand.field, operand.text_field):
                if bits is not None:
                    used |= bits.mask
        return self.integer(0, (1 << 32) - 1) & 0xFFFFFFFF & ~used

    def added_to(self, instruction: Instruction, operand: Operand) -> str:
        """The address operand to which an immediate is added; empty if to none."""
        if operand.name != "imm" or operand.field is None or instruction.name == "S_ADDI_INT":
            return ""
        addresses = [o for o in instruction.operands if o.space]
        words = [o for o in addresses if o.space in ("fp", "int")]
        return (words or addresses)[0].name if addresses else ""

    def immediate(self, operand: Operand) -> int:
        low, high = operand.bounds()
        if operand.values and operand.closed:
            return int(self.rng.choice(list(operand.values.values())))
        if operand.field is None:
            return 0
        if operand.name in ("m", "order"):
            return int(self.rng.choice([0, 0, 1, 15]))
        if operand.name == "n":
            return int(self.rng.choice([0, 1, 15, 16, 240]))
        if operand.name == "imm":
            return self.integer(0, min(high, 40)) if self.chance(0.8) else 0
        return self.integer(low, high)

    def count_for(self, instruction: Instruction, name: str) -> int:
        if (instruction.name, name) in COUNTS:
            return COUNTS[instruction.name, name](self)
        return self.small(self.vlen)

    def place(self, instruction: Instruction, operand: Operand, counts: dict[str, int]) -> int:
        """An address in an operand's space from which its whole extent exists."""
        n = counts.get(operand.count, 1)
        if operand.space in ("fp", "int"):
            size = self.fp_words if operand.space == "fp" else self.int_words
            words = {"word": 1, "words": n, "row": self.vlen, "topk_policy": 8}[operand.extent]
            return self.integer(0, size - words)
        if operand.space == "vector":
            rows = self.rows(operand.extent, n)
            # Few rows are used often, so that results meet again.
            last = self.vector_rows - rows
            row = self.integer(0, min(last, 11)) if self.chance(0.9) else self.integer(0, last)
            return row * self.vlen
        if operand.space == "matrix":
            tiles = self.matrix_elements // (self.mlen * self.mlen)
            return self.integer(0, tiles - 1) * self.mlen * self.mlen
        raise AssertionError(f"{instruction.name}: no rule for {operand}")

    def rows(self, extent: str, n: int) -> int:
        """Vector SRAM rows of an extent."""
        wide = max(1, self.mlen // self.vlen)
        heads = self.mlen // self.hlen
        return {
            "row": 1,
            "rows": n,
            "len_rows": max(1, -(-n // self.vlen)),
            "lane": 1,
            "operand_row": wide,
            "block_rows": self.blen * self.p["matrix_rows"] * wide,
            "mlen_rows": self.mlen * wide,
            "head_rows": heads * self.mlen * wide,
            "broadcast_rows": heads * wide,
            "topk_policy": -(-128 // self.vlen),
        }[extent]

    def choose_head_length(self) -> None:
        """Sets head_len, which may change only while the accumulators are clear."""
        if self.depth == 0 and self.chance(0.2):
            for name in ("M_BMM_WO", "M_BMV_WO"):
                self.instruction(load().by_name()[name])
            self.head_length = int(self.rng.choice([0, self.hlen, 2 * self.hlen, self.mlen]))
            self.head_length = min(self.head_length, self.mlen)
        self.csr("head_len", self.head_length)

    # Transfers

    def fence_before(self, ranges: list[tuple[int, int, bool]]) -> None:
        if self.hazards.conflict(ranges):
            self.emit("C_FENCE", 0xFFFF)
            self.hazards.ranges.clear()
        self.hazards.ranges += ranges
        self.has_dma = True

    def split(self, address: int) -> tuple[int, int]:
        """An address register and the rest of the address, for a gp register."""
        offset = self.integer(0, min(address, 4096)) if self.chance(0.7) else 0
        return self.address_register(address - offset), offset

    # What ends in a trap

    def fault(self) -> None:
        self.emit("C_FENCE", 0xFFFF)  # a trap leaves pending transfers undone
        kind = FAULTS[self.integer(0, len(FAULTS) - 1)]
        kind(self)
