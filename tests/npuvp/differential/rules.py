"""What instructions need whose operands mean more than their declaration says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from npuvp.isa import load
from npuvp.isa.declaration import Instruction

from .contents import HBM_BYTES, HBM_ELEMENTS, random_floats

if TYPE_CHECKING:
    from .programs import ProgramGenerator

FORMAT_BITS = (8, 8, 6, 6, 4, 8, 4, 8, 16, 32, 32)
SCALED = 8
"""Formats of CSR dma_format below this number have scales."""

ADDRESS_REGISTERS = range(1, 8)


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


def _copy(g: ProgramGenerator, instruction: Instruction) -> None:
    """Rows of bytes between any two of HBM and the core's own SRAMs."""
    rows = g.integer(1, 3)
    unit = 2 if g.p["fp_format"] == "bf16" else 4
    length = g.integer(1, 12) * 4 if g.chance(0.5) else g.integer(1, 48)
    pitch = length + int(g.rng.choice([0, 0, 1, 4, 12]))
    span = (rows - 1) * pitch + length
    ranges: list[tuple[int, int, bool]] = []

    def place(written: bool) -> int:
        space = g.integer(0, 4)
        if space == 0:
            at = g.integer(0, HBM_BYTES - span)
            ranges.append((at, at + span, written))
            return at
        size = (
            g.vector_rows * g.vlen * {"bf16": 2, "fp32": 4}[g.p["vector_format"]],
            g.matrix_elements * {"bf16": 2, "fp32": 4}[g.p["matrix_format"]],
            g.fp_words * unit,
            g.int_words * 4,
        )[space - 1]
        return g.window + space * g.slot + g.integer(0, size - span)

    source, target = place(False), place(True)
    g.fence_before(ranges)
    g.csr("dma_len", length)
    g.csr("dma_pitch", 0 if pitch == length and g.chance(0.7) else pitch)
    g.csr("dma_rows", 0 if rows == 1 and g.chance(0.5) else rows)
    to = g.integer(0, 7)
    for register, address in ((to, target), (to + 8, source)):
        g.constant(1, address >> 32)
        g.constant(2, address & 0xFFFFFFFF)
        g.emit("C_SET_ADDR_REG", register, 1, 2)
    g.constant(1, 0)
    g.emit(instruction.name, to, 1, to + 8, 0, g.integer(0, 15))


def _multicast(g: ProgramGenerator, instruction: Instruction) -> None:
    rows = g.integer(0, 3)
    contents = [g.integer(0, 11) * g.vlen, g.integer(0, 11) * g.vlen, g.integer(0, 1), rows]
    registers = [int(r) for r in g.rng.permutation(list(ADDRESS_REGISTERS))[:4]]
    for register, content in zip(registers, contents, strict=True):
        g.constant(register, content)
    g.emit(instruction.name, *registers, g.integer(0, 15))
    g.has_dma = True


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
        if instruction.name != "M_MM_WO" and g.chance(0.5):
            # The text's immediate stands four bits lower than the machine looks for it.
            added = min(address, g.integer(0, 64))
            given = {"gpD": address - added, "imm": added * 16 + g.integer(0, 15)}
        if instruction.name == "M_MM_WO":
            given["imm"] = min(address, g.integer(0, 64))
            given["gpD"] = address - given["imm"]
            given["gpS"] = stride
        g.generic(instruction, given)

    return rule


def _swap(g: ProgramGenerator, instruction: Instruction) -> None:
    length = 1 << g.integer(0, g.vlen.bit_length() - 1)
    g.generic(instruction, {"gpN": g.integer(0, length // 2), "gpH": length})


STRUCTURAL = {
    "C_LOOP_START", "C_LOOP_END", "C_BREAK", "C_JUMP", "C_BEQ", "C_BNE", "C_BLTU", "C_BGEU",
    "C_BLT", "C_BGE", "C_HALT", "C_TRAP", "C_FENCE", "C_BARRIER", "C_SEM_SIGNAL", "C_SEM_WAIT",
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
    "V_SWAP_V": _swap,
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
    "H_COPY": _copy,
    "H_MCAST": _multicast,
    **dict.fromkeys(("H_LD_INT", "H_ST_INT", "H_LD_FP", "H_ST_FP"), _extended_dma),
}
