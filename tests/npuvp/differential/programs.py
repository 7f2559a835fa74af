"""Random valid programs over the whole declaration.

What an operand may hold comes from the declaration (space, extent, count); only instructions whose
operands mean something else have a rule of their own here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npuvp.firmware import DataSegment, Firmware
from npuvp.isa import encode, load
from npuvp.isa.declaration import Instruction, Operand

HBM_ELEMENTS = 48 * 1024
HBM_BYTES = 64 * 1024
"""Elements lie below HBM_ELEMENTS, scales behind: a store's two streams never meet."""

FORMAT_BITS = (8, 8, 6, 6, 4, 8, 4, 8, 16, 32, 32)
SCALED = 8
"""Formats of CSR dma_format below this number have scales."""

ADDRESS_REGISTERS = range(1, 8)
LOOP_REGISTERS = (13, 14, 15)
SPECIAL_FLOATS = np.array(
    [
        0x00000000, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000,
        0xFFC00000, 0x7F800001, 0x7FBFFFFF, 0xFFFF0001, 0x7FFFFFFF, 0x00000001, 0x80000001,
        0x007FFFFF, 0x00800000, 0x80800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F7F0000, 0x7F7F8000,
        0x42B00000, 0xC2B00000, 0x42B00001, 0xC2AFFFFF, 0x3F808000, 0x3F818000, 0x00010000,
        0x00018000, 0x33800000, 0x4B000000, 0x4B800001, 0x3EAAAAAB, 0x40490FDB, 0x00400000,
    ],
    np.uint32,
)  # fmt: skip


def random_floats(rng: np.random.Generator, n: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Bit patterns of n float32 numbers: moderate ones, any ones, special ones, many equal ones."""
    kind = rng.integers(0, 5)
    moderate = rng.normal(0, rng.choice([0.01, 1.0, 30.0]), n).astype(np.float32)
    if kind == 0:
        return moderate.view(np.uint32)
    if kind == 1:
        return np.float32(np.round(moderate)).view(np.uint32)
    if kind == 2:
        return rng.integers(0, 1 << 32, n, dtype=np.uint32)
    if kind == 3:
        return rng.choice(SPECIAL_FLOATS, n)
    sprinkled = moderate.view(np.uint32).copy()
    where = rng.random(n) < 0.1
    sprinkled[where] = rng.choice(SPECIAL_FLOATS, int(where.sum()))
    return sprinkled


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


def _public_dma(g: ProgramGenerator, instruction: Instruction) -> None:
    matrix = instruction.name == "H_PREFETCH_M"
    kv = g.chance(0.5)
    kind = "kv" if kv else ("weight" if matrix else "act")
    name, block = g.p[f"{kind}_format"], g.p[f"{kind}_block"]
    bits = {"plena_e4m3": 8, "mxfp8_e4m3": 8, "mxint8": 8, "mxint4": 4, "bf16": 16}[name]
    elements = g.mlen if matrix else g.vlen
    row_bytes = elements * bits // 8
    if matrix:
        rows = -(-g.p["prefetch_m_rows"] // g.mlen) * g.mlen
        sram = g.integer(0, (g.matrix_elements // g.mlen - rows) // g.mlen) * g.mlen * g.mlen
    elif instruction.name == "H_STORE_V":
        rows = g.p["writeback_v_rows"]
        sram = g.integer(0, g.vector_rows - rows) * g.vlen
    else:
        rows = g.p["prefetch_v_rows"]
        first = g.integer(0, g.vector_rows - 1)  # rows past the end are dropped
        sram = first * g.vlen
        rows = min(rows, g.vector_rows - first)
    strided = g.chance(0.5)
    store = instruction.name == "H_STORE_V"
    if store and not strided and row_bytes > elements:
        strided = True  # rows would overlap
    pitch = row_bytes + g.small(64) if strided else elements
    ratio = bits * block // 8
    if store and name != "bf16":
        pitch = -(-pitch // ratio) * ratio
        if pitch != elements:
            strided = True
    offset = g.integer(0, 256)
    base = g.integer(0, 2048)
    span = (rows - 1) * pitch + row_bytes
    first = base + offset
    ranges = [(first, first + span, store)]
    scale = g.integer(HBM_ELEMENTS, HBM_ELEMENTS + 512) - base
    if name != "bf16":
        at = base + scale + offset // ratio
        ranges.append((at, at + (rows - 1) * pitch // ratio + -(-elements // block), store))
    assert first + span <= HBM_ELEMENTS and all(end <= HBM_BYTES for _, end, _ in ranges)
    g.fence_before(ranges)
    one, two, three = (int(r) for r in g.rng.permutation(list(ADDRESS_REGISTERS))[:3])
    g.constant(one, scale)
    g.emit("C_SET_SCALE_REG", one)
    if strided:
        g.constant(one, pitch)
        g.emit("C_SET_STRIDE_REG", one)
    register = g.address_register(base)
    g.constant(two, sram)
    g.constant(three, offset)
    rstride = 1 if strided else int(g.rng.choice([0, 2, 15]))
    g.emit(instruction.name, two, three, register, rstride, g.integer(1, 15) if kv else 0)


def _extended_dma(g: ProgramGenerator, instruction: Instruction) -> None:
    name = instruction.name
    kind = name.split("_")[2]
    gathers = name in ("H_GATHER_V", "H_SCATTER_V")
    store = "_ST_" in name or name == "H_SCATTER_V"
    format = int(g.rng.choice([8, 9])) if kind == "FP" else g.integer(0, 10)
    bits = 32 if kind == "INT" else FORMAT_BITS[format]
    scaled = kind not in ("INT", "FP") and format < SCALED
    block = int(g.rng.choice([8, 16, 32]))
    ratio = bits * block // 8
    natural = {"V": g.vlen, "M": g.mlen}.get(kind, 1)
    longest = {"V": 3 * g.vlen, "M": g.mlen}.get(kind, 24)
    elements = natural if g.chance(0.3) else g.integer(1, longest)
    rows = int(g.rng.choice([0, 1, 1, 2, 3]))
    row_bytes = -(-elements * bits // 8)
    pitch = row_bytes
    packed = g.chance(0.4)
    if not packed:
        pitch = row_bytes + g.small(64)
    if scaled and (rows > 1 or gathers):
        pitch = -(-pitch // ratio) * ratio
    packed = pitch == row_bytes and packed
    numbers = list(range(rows))
    if gathers:
        numbers = [g.integer(0, 5) for _ in range(rows)]
    offset = 0 if gathers else g.integer(0, 40) * (ratio if scaled else 1)
    base = g.integer(0, 4096)
    address = base + offset
    span = max(numbers, default=0) * pitch + row_bytes
    assert address + span <= HBM_ELEMENTS
    ranges = [(address, address + span, store)]
    scale = g.integer(HBM_ELEMENTS, HBM_ELEMENTS + 512) - base
    if scaled:
        at = base + scale + offset // ratio
        length = max(numbers, default=0) * pitch // ratio + -(-elements // block)
        ranges.append((at, at + length, store))
    assert all(end <= HBM_BYTES for _, end, _ in ranges)
    # SRAM side
    if kind == "V":
        extent = max(1, -(-elements // g.vlen))
        step = extent if g.chance(0.6) else extent + g.integer(0, 2)
        free = g.vector_rows - ((max(rows, 1) - 1) * step + extent)
        sram, sram_pitch = g.integer(0, free) * g.vlen, step * g.vlen
        natural_pitch = step == extent
    elif kind == "M":
        tiles = g.matrix_elements // g.mlen // g.mlen
        sram, sram_pitch, natural_pitch = g.integer(0, tiles - 1) * g.mlen**2, 0, True
    else:
        step = elements if g.chance(0.6) else elements + g.small(5)
        size = g.int_words if kind == "INT" else g.fp_words
        sram = g.integer(0, size - ((max(rows, 1) - 1) * step + elements))
        sram_pitch, natural_pitch = step, step == elements
    g.fence_before(ranges)
    index = 0
    if gathers:
        index = g.integer(0, g.int_words - max(rows, 1))
        for i, number in enumerate(numbers):
            g.constant(1, number)
            g.constant(2, index + i)
            g.emit("S_ST_INT", 1, 2, 0)
    if scaled or g.chance(0.2):
        g.csr("scale", scale)
        g.csr("dma_block", block)
        g.csr("dma_scale_hi", 0)
    g.csr("dma_len", 0 if elements == natural and g.chance(0.8) else elements)
    g.csr("dma_pitch", 0 if packed else pitch)
    g.csr("dma_format", format)
    g.csr("dma_sram_pitch", 0 if natural_pitch and g.chance(0.7) else sram_pitch)
    if g.chance(0.5):
        g.csr("dma_fill", int(random_floats(g.rng, 1)[0]))
    register = g.address_register(base)
    one, two, three = (int(r) for r in g.rng.permutation(list(ADDRESS_REGISTERS))[:3])
    g.constant(one, sram)
    g.constant(two, index if gathers else offset)
    g.constant(three, rows)
    g.emit(name, one, two, register, three, g.integer(0, 15))


def _given(**contents: Callable[[ProgramGenerator], int]) -> Callable[..., None]:
    def rule(g: ProgramGenerator, instruction: Instruction) -> None:
        g.generic(instruction, {name: value(g) for name, value in contents.items()})

    return rule


def _topk_n(g: ProgramGenerator, instruction: Instruction) -> None:
    n = g.integer(1, 2 * g.vlen)
    g.generic(instruction, {"gpN": n, "gpK": g.integer(1, min(n, 8))})


def _colmax(g: ProgramGenerator, instruction: Instruction) -> None:
    rows, step = g.integer(1, 4), g.integer(0, 3)
    one, two, three, four = (int(r) for r in g.rng.permutation(list(ADDRESS_REGISTERS))[:4])
    span = (rows - 1) * max(step, 1) + 1
    g.constant(one, g.integer(0, 11) * g.vlen)
    g.constant(two, g.integer(0, min(11, g.vector_rows - span)) * g.vlen)
    g.constant(three, rows)
    g.constant(four, step * g.vlen)
    g.emit(instruction.name, one, two, three, four if step else 0)


def _csrr(g: ProgramGenerator, instruction: Instruction) -> None:
    csrs = [c for c in load().csrs if not c.name.startswith("cycle")]
    g.emit("C_CSRR", g.integer(0, 12), csrs[g.integer(0, len(csrs) - 1)].number)


def _csrw(g: ProgramGenerator, instruction: Instruction) -> None:
    harmless = {
        "v_mask": lambda: g.any_word(),
        "head_len": lambda: int(g.rng.choice([0, g.hlen, g.hlen, g.blen, g.mlen])),
        "bmm_scale": lambda: int(random_floats(g.rng, 1)[0]),
        "rng_key0": lambda: g.any_word(),
        "rng_key1": lambda: g.any_word(),
        "topk_mode": lambda: g.integer(0, 1),
        "dma_rows": lambda: g.any_word(),
    }
    name = str(g.rng.choice(list(harmless)))
    g.csr(name, harmless[name]())


def _set_v_mask(g: ProgramGenerator, instruction: Instruction) -> None:
    register = int(g.rng.choice(ADDRESS_REGISTERS))
    g.constant(register, g.any_word())
    g.emit(instruction.name, register)


def _set_other(g: ProgramGenerator, instruction: Instruction) -> None:
    g.emit(instruction.name, g.integer(0, 15))


def _tile_offset(name: str) -> Callable[[ProgramGenerator, Instruction], None]:
    """Matrix address with an offset in its tile, and whole rows of MLEN elements."""

    def rule(g: ProgramGenerator, instruction: Instruction) -> None:
        if name == "head":
            g.choose_head_length()
        m, tile = g.mlen, g.mlen * g.mlen
        at = g.integer(0, g.matrix_elements // tile - 1) * tile
        head = g.head_length or g.hlen
        at += {
            "columns": lambda: g.integer(0, m // g.blen - 1) * g.blen * m,
            "column": lambda: g.integer(0, m // g.blen - 1) * g.blen,
            "head": lambda: g.integer(0, m // head - 1) * head,
            "base": lambda: 0,
        }[name]()
        given = {"gpM": at}
        if any(o.name == "gpO" for o in instruction.operands):
            given["gpO"] = 0 if g.chance(0.5) else at // 2
            given["gpM"] = at - given["gpO"]
        g.generic(instruction, given)

    return rule


def _bmv(g: ProgramGenerator, instruction: Instruction) -> None:
    """Takes one head of MLEN lanes, so it works on an accumulator that is clear before and after."""
    clear = load().by_name()["M_BMV_WO"]
    g.instruction(clear)
    g.csr("head_len", g.mlen)
    tile = g.mlen * g.mlen
    at = g.integer(0, g.matrix_elements // tile - 1) * tile
    given = {"gpM": at, "gpO": 0} if g.chance(0.5) else {"gpM": 0, "gpO": at}
    for _ in range(g.integer(1, 3)):
        g.generic(instruction, given)
    g.instruction(clear)
    g.csr("head_len", g.head_length)


def _write_out(column: bool) -> Callable[[ProgramGenerator, Instruction], None]:
    def rule(g: ProgramGenerator, instruction: Instruction) -> None:
        wide = max(1, g.mlen // g.vlen)
        stride = g.integer(0, 3)
        block = g.blen * g.p["matrix_rows"]
        rows = {"M_MM_WO": ((block - 1) * stride + 1) * wide, "M_MV_WO": wide}.get(instruction.name)
        if rows is None:
            extent = next(o.extent for o in instruction.operands if o.space == "vector")
            rows = g.rows(extent, 1)
        address = g.integer(0, min(11, g.vector_rows - rows)) * g.vlen
        if column:
            address = address // g.mlen * g.mlen + g.integer(0, g.mlen // g.blen - 1) * g.blen
        given = {"gpD": address, "imm": 0}
        if instruction.name == "M_MM_WO":
            given["imm"] = min(address, g.integer(0, 64))
            given["gpD"] = address - given["imm"]
            given["gpS"] = stride
        g.generic(instruction, given)

    return rule


STRUCTURAL = {
    "C_LOOP_START", "C_LOOP_END", "C_BREAK", "C_JUMP", "C_BEQ", "C_BNE", "C_BLTU", "C_BGEU",
    "C_BLT", "C_BGE", "C_HALT", "C_TRAP", "C_FENCE", "C_BARRIER", "C_SEM_SIGNAL", "C_SEM_WAIT",
    "H_COPY", "H_MCAST",
}  # fmt: skip
"""Instructions that programs are made of, or that have tests of their own."""

BRANCHES = ("C_BEQ", "C_BNE", "C_BLTU", "C_BGEU", "C_BLT", "C_BGE")

GP0_IS_A_ROW = {
    "V_TOPK_MASK": ("gpLen",),
    "V_SELECT_INT": ("gpLen",),
    "S_MAP_V_FP_LEN": ("gpLen",),
    "S_MAP_FP_V": ("gpLen",),
    "V_TOPK_FP": ("gpLen",),
    "V_CMP_INT": ("gpLen",),
    "V_CMP_FP": ("gpLen",),
    "V_COUNT": ("gpLen",),
    "V_TOPK_N": ("gpN", "gpK"),
}

COUNTS: dict[tuple[str, str], Callable[[ProgramGenerator], int]] = {
    (name, "gpLen"): lambda g: g.small(3 * g.vlen)
    for name in ("V_TOPK_FP", "V_CMP_INT", "V_CMP_FP", "V_COUNT")
}

RULES: dict[str, Callable[[ProgramGenerator, Instruction], None]] = {
    "V_TOPK_MASK": _given(gpK=lambda g: g.small(g.vlen), gpLen=lambda g: g.small(g.vlen)),
    "V_TOPK_FP": _given(gpK=lambda g: g.small(2 * g.vlen)),
    "V_TOPK_N": _topk_n,
    "V_SHFT_V": _given(gpN=lambda g: g.small(2 * g.vlen) if g.chance(0.9) else g.any_word()),
    "V_GET": _given(gpLane=lambda g: g.integer(0, g.vlen - 1)),
    "V_COLMAX": _colmax,
    "C_CSRR": _csrr,
    "C_CSRW": _csrw,
    "C_SET_V_MASK_REG": _set_v_mask,
    "C_SET_SCALE_REG": _set_other,
    "C_SET_STRIDE_REG": _set_other,
    "C_SET_ADDR_REG": lambda g, i: g.emit(i.name, *(g.integer(0, 15) for _ in range(3))),
    "M_MM": _tile_offset("columns"),
    "M_TMM": _tile_offset("columns"),
    "M_BMM": _tile_offset("head"),
    "M_BTMM": _tile_offset("head"),
    "M_MV": _tile_offset("column"),
    "M_TMV": _tile_offset("base"),
    "M_BTMV": _tile_offset("head"),
    "M_BMV": _bmv,
    "M_MM_WO": _write_out(column=True),
    "M_MV_WO": _write_out(column=True),
    "M_BMM_WO": _write_out(column=False),
    "M_BMV_WO": _write_out(column=False),
}

DMA_FORMS: dict[str, Callable[[ProgramGenerator, Instruction], None]] = {
    **dict.fromkeys(("H_PREFETCH_V", "H_PREFETCH_M", "H_STORE_V"), _public_dma),
    **dict.fromkeys(("H_LD_V", "H_ST_V", "H_LD_M", "H_GATHER_V", "H_SCATTER_V"), _extended_dma),
    **dict.fromkeys(("H_LD_INT", "H_ST_INT", "H_LD_FP", "H_ST_FP"), _extended_dma),
}


# Programs that end in a trap


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


FAULTS = (
    _illegal_word,
    _wild_operands,
    _wild_operands,
    _loop_misuse,
    _firmware_trap,
    _wild_transfer,
)


# Contents of the memories


def firmware(description: dict[str, Any], words: list[int], rng: np.random.Generator) -> Firmware:
    """The program with random contents of every memory of core 0 and of HBM."""
    p = description["cores"][0]["parameters"]
    made = Firmware.from_words(words)
    unit = {"bf16": 2, "fp32": 4}

    def floats(space: str, count: int, storage: str) -> None:
        pieces = [random_floats(rng, 64) for _ in range(-(-count // 64))]
        bits = np.concatenate(pieces)[:count]
        data = (bits >> 16).astype(np.uint16) if storage == "bf16" else bits
        made.segments.append(DataSegment(f"core0.{space}", 0, storage, data.tobytes()))

    floats("vector", p["vector_sram_bytes"] // unit[p["vector_format"]], p["vector_format"])
    floats("matrix", p["matrix_sram_bytes"] // unit[p["matrix_format"]], p["matrix_format"])
    floats("fp", p["fp_sram_words"], p["fp_format"])
    integers = rng.integers(0, 1 << 32, p["int_sram_words"], dtype=np.uint32)
    integers[rng.random(len(integers)) < 0.5] &= np.uint32(63)
    made.segments.append(DataSegment("core0.int", 0, "raw32", integers.tobytes()))
    memory = rng.integers(0, 256, HBM_BYTES, dtype=np.uint8)
    for begin in range(0, HBM_ELEMENTS, 4096):  # float32, BF16 and any bytes
        if rng.random() < 0.5:
            memory[begin : begin + 4096] = random_floats(rng, 1024).view(np.uint8)
    scales = memory[HBM_ELEMENTS:]
    moderate = rng.random(len(scales)) < 0.8
    scales[moderate] = rng.integers(115, 140, int(moderate.sum()), dtype=np.uint8)
    made.segments.append(DataSegment("hbm", 0, "raw8", memory.tobytes()))
    made.check()
    return made
