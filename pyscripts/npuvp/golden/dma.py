"""DMA instructions: rows between memory and the SRAMs, quantised on the way."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from npuvp.golden.faults import Fault
from npuvp.golden.formats import from_float, round_to
from npuvp.golden.memory import MemoryMap
from npuvp.golden.mx import (
    mx_decode_row,
    mx_element_bytes,
    mx_encode_row,
    mx_scale_bytes,
    mx_traits,
)
from npuvp.golden.state import Core, Decoded

__all__ = ["DMA", "FORMATS", "multicast"]

Transfer = Callable[[MemoryMap, Core, Decoded], None]
Bytes = NDArray[np.uint8]

FORMATS = (
    "mxfp8_e4m3",
    "mxfp8_e5m2",
    "mxfp6_e3m2",
    "mxfp6_e2m3",
    "mxfp4_e2m1",
    "mxint8",
    "mxint4",
    "plena_e4m3",
    "bf16",
    "fp32",
    "fp32",
)
"""Element formats as CSR dma_format numbers them; raw32 are float32 patterns in Vector SRAM."""


@dataclass
class Rows:
    """Rows of `elements` values in memory.

    Attributes:
        address, scales: Of row number 0.
        pitch: Bytes from one row to the next; `ratio` of them share a scale byte (0: no scales).
        numbers: Row numbers, in the order of the SRAM's rows.
    """

    format: str
    block: int
    elements: int
    address: int
    pitch: int
    scales: int = 0
    ratio: int = 0
    numbers: list[int] = field(default_factory=list)

    @property
    def row_bytes(self) -> int:
        return mx_element_bytes(self.format, self.elements)

    @property
    def scale_bytes(self) -> int:
        return mx_scale_bytes(self.format, self.block, self.elements)

    def element_address(self, n: int) -> int:
        return self.address + n * self.pitch & 0xFFFFFFFFFFFFFFFF

    def scale_address(self, n: int) -> int:
        return self.scales + n * self.pitch // self.ratio & 0xFFFFFFFFFFFFFFFF

    def read(self, memory: MemoryMap) -> tuple[Bytes, Bytes]:
        """Elements (rows, bytes) and scales (rows, bytes)."""
        elements = np.zeros((len(self.numbers), self.row_bytes), np.uint8)
        scales = np.zeros((len(self.numbers), self.scale_bytes), np.uint8)
        for i, n in enumerate(self.numbers):
            elements[i] = memory.read(self.element_address(n), self.row_bytes)
            if self.scale_bytes:
                scales[i] = memory.read(self.scale_address(n), self.scale_bytes)
        return elements, scales

    def write(self, memory: MemoryMap, elements: Bytes, scales: Bytes) -> None:
        """Stores elements and scales, rows in order."""
        self.read(memory)  # all of it must be there before any of it changes
        for i, n in enumerate(self.numbers):
            memory.write(self.element_address(n), elements[i])
            if self.scale_bytes:
                memory.write(self.scale_address(n), scales[i])


def _ratio(format: str, block: int) -> int:
    return mx_traits(format).element_bits * block // 8 if mx_traits(format).scaled else 0


# Public forms


def _public(core: Core, d: Decoded, format: str, block: int, elements: int, rows: int) -> Rows:
    offset, base = core.gp[d.rs1], core.ha[d.rs2]
    # Without STRIDE the pitch is the elements of a row taken as bytes (PLENA).
    pitch = core.csr_value("stride") if d.rs3 == 1 else elements
    ratio = _ratio(format, block)
    scales = base + core.csr_value("scale") + (offset // ratio if ratio else 0)
    return Rows(format, block, elements, base + offset, pitch, scales, ratio, list(range(rows)))


def _activation(core: Core, d: Decoded, rows: int) -> Rows:
    kind = "kv" if d.f1 else "act"
    return _public(core, d, core.p[f"{kind}_format"], core.p[f"{kind}_block"], core.vlen, rows)


def _prefetch_v(memory: MemoryMap, core: Core, d: Decoded) -> None:
    first = core.vector_row(core.gp[d.rd])
    count = min(core.p["prefetch_v_rows"], len(core.vector) - first)
    source = _activation(core, d, count)
    elements, scales = source.read(memory)
    core.vector[first : first + count] = mx_decode_row(
        source.format, source.block, elements, scales, core.vlen, core.vector_format
    )


def _store_v(memory: MemoryMap, core: Core, d: Decoded) -> None:
    count = core.p["writeback_v_rows"]
    core.vector_row(core.gp[d.rd])
    first = core.vector_row(core.gp[d.rd], count)
    target = _activation(core, d, count)
    rows = core.vector[first : first + count]
    target.write(memory, *mx_encode_row(target.format, target.block, rows))


def _matrix_rows(core: Core, address: int, count: int, unit: int, what: str) -> int:
    if address % unit:
        raise Fault(
            f"Matrix SRAM address is not the start of a {what}",
            f"element address {address}, allowed: multiples of {unit}",
        )
    first = address // core.mlen
    if count and first + count > len(core.matrix):
        raise Fault(
            "access outside Matrix SRAM",
            f"rows {first}..{first + count - 1}, the SRAM has rows 0..{len(core.matrix) - 1}",
        )
    return first


def _prefetch_m(memory: MemoryMap, core: Core, d: Decoded) -> None:
    kind = "kv" if d.f1 else "weight"
    count = -(-core.p["prefetch_m_rows"] // core.mlen) * core.mlen
    first = _matrix_rows(core, core.gp[d.rd], count, core.mlen * core.mlen, "tile")
    format, block = core.p[f"{kind}_format"], core.p[f"{kind}_block"]
    source = _public(core, d, format, block, core.mlen, count)
    elements, scales = source.read(memory)
    core.matrix[first : first + count] = mx_decode_row(
        format, block, elements, scales, core.mlen, core.matrix_format
    )


# Extended forms


def _format(core: Core) -> str:
    number = core.csr_value("dma_format")
    if number >= len(FORMATS):
        raise Fault("no such DMA format", f"dma_format = {number}, allowed: 0..10")
    return FORMATS[number]


def _fp_format(core: Core) -> str:
    number = core.csr_value("dma_format")
    if number not in (8, 9):
        raise Fault("no such format in FP SRAM", f"dma_format = {number}, allowed: 8 bf16, 9 fp32")
    return FORMATS[number]


def _memory_side(core: Core, d: Decoded, format: str, elements: int, gathers: bool = False) -> Rows:
    count = core.gp[d.rs3]
    base = core.ha[d.rs2]
    offset = 0 if gathers else core.gp[d.rs1]
    block = core.csr_value("dma_block")
    scaled = mx_traits(format).scaled
    if scaled and block not in (8, 16, 32):
        raise Fault("no such MX block", f"dma_block = {block}, allowed: 8, 16, 32")
    pitch = core.csr_value("dma_pitch") or mx_element_bytes(format, elements)
    rows = Rows(format, block, elements, base + offset, pitch)
    if scaled:
        rows.ratio = _ratio(format, block)
        several = count > 1 or (gathers and count > 0)
        if offset % rows.ratio or (several and pitch % rows.ratio):
            raise Fault(
                "a row does not begin at an MX block",
                f"offset {offset}, pitch {pitch}, a block has {rows.ratio} element bytes",
            )
        distance = core.csr_value("dma_scale_hi") << 32 | core.csr_value("scale")
        rows.scales = base + distance + offset // rows.ratio
    return rows


def _vector_side(core: Core, d: Decoded, elements: int) -> list[slice]:
    """Rows of Vector SRAM that each row of memory takes."""
    count = core.gp[d.rs3]
    extent = core.rows_for(elements)
    step = extent
    if pitch := core.csr_value("dma_sram_pitch"):
        if pitch % core.vlen or pitch // core.vlen < extent:
            raise Fault(
                "DMA rows overlap in Vector SRAM, or do not begin at a row",
                f"dma_sram_pitch = {pitch}, a row takes {extent * core.vlen} elements",
            )
        step = pitch // core.vlen
    if count == 0:
        return []
    first = core.vector_row(core.gp[d.rd], (count - 1) * step + extent)
    return [slice(first + i * step, first + i * step + extent) for i in range(count)]


def _words_side(core: Core, d: Decoded, space: str, elements: int) -> list[slice]:
    """Words of an SRAM that each row of memory takes."""
    count = core.gp[d.rs3]
    step = core.csr_value("dma_sram_pitch") or elements
    if step < elements:
        raise Fault(
            "DMA rows overlap in the SRAM", f"dma_sram_pitch = {step}, a row takes {elements}"
        )
    if count == 0:
        return []
    first = core.words(space, core.gp[d.rd], (count - 1) * step + elements).start
    return [slice(first + i * step, first + i * step + elements) for i in range(count)]


def _length(core: Core, natural: int) -> int:
    return core.csr_value("dma_len") or natural


def _row_numbers(core: Core, d: Decoded, gathers: bool) -> list[int]:
    count = core.gp[d.rs3]
    if not gathers or count == 0:
        return list(range(count))
    return [int(n) for n in core.int_sram[core.words("int", core.gp[d.rs1], count)]]


def _load_v(gathers: bool) -> Transfer:
    def run(memory: MemoryMap, core: Core, d: Decoded) -> None:
        elements = _length(core, core.vlen)
        format = _format(core)
        places = _vector_side(core, d, elements)
        source = _memory_side(core, d, format, elements, gathers)
        source.numbers = _row_numbers(core, d, gathers)
        if not places:
            return
        codes, scales = source.read(memory)
        decoded = mx_decode_row(format, source.block, codes, scales, elements, core.vector_format)
        for place, values in zip(places, decoded, strict=True):
            lanes = np.empty((place.stop - place.start) * core.vlen, core.vector.dtype)
            lanes[...] = from_float(core.csr_float("dma_fill"), core.vector)
            lanes[:elements] = values
            core.vector[place] = lanes.reshape(-1, core.vlen)

    return run


def _store_extended_v(scatters: bool) -> Transfer:
    def run(memory: MemoryMap, core: Core, d: Decoded) -> None:
        elements = _length(core, core.vlen)
        format = _format(core)
        places = _vector_side(core, d, elements)
        target = _memory_side(core, d, format, elements, scatters)
        target.numbers = _row_numbers(core, d, scatters)
        if not places:
            return
        rows = np.stack([core.vector[place].reshape(-1)[:elements] for place in places])
        target.write(memory, *mx_encode_row(format, target.block, rows))

    return run


def _load_m(memory: MemoryMap, core: Core, d: Decoded) -> None:
    count = core.gp[d.rs3]
    elements = _length(core, core.mlen)
    if elements > core.mlen:
        raise Fault("a row longer than a Matrix SRAM row", f"{elements}, allowed: 1..{core.mlen}")
    format = _format(core)
    first = _matrix_rows(core, core.gp[d.rd], count, core.mlen * core.blen, "block of rows")
    source = _memory_side(core, d, format, elements)
    source.numbers = _row_numbers(core, d, False)
    if count == 0:
        return
    codes, scales = source.read(memory)
    rows = core.matrix[first : first + count]
    rows[...] = from_float(core.csr_float("dma_fill"), core.matrix)
    rows[:, :elements] = mx_decode_row(
        format, source.block, codes, scales, elements, core.matrix_format
    )


def _load_int(memory: MemoryMap, core: Core, d: Decoded) -> None:
    elements = _length(core, 1)
    places = _words_side(core, d, "int", elements)
    source = _memory_side(core, d, "fp32", elements)  # 32-bit words as they are
    source.numbers = _row_numbers(core, d, False)
    if not places:
        return
    codes, _ = source.read(memory)
    for place, row in zip(places, codes, strict=True):
        core.int_sram[place] = row.view(np.uint32)


def _store_int(memory: MemoryMap, core: Core, d: Decoded) -> None:
    elements = _length(core, 1)
    places = _words_side(core, d, "int", elements)
    target = _memory_side(core, d, "fp32", elements)
    target.numbers = _row_numbers(core, d, False)
    if places:
        rows = np.stack([core.int_sram[place].view(np.uint8) for place in places])
        target.write(memory, rows, np.zeros((len(places), 0), np.uint8))


def _load_fp(memory: MemoryMap, core: Core, d: Decoded) -> None:
    elements = _length(core, 1)
    format = _fp_format(core)
    places = _words_side(core, d, "fp", elements)
    source = _memory_side(core, d, format, elements)
    source.numbers = _row_numbers(core, d, False)
    if not places:
        return
    codes, scales = source.read(memory)
    decoded = mx_decode_row(format, source.block, codes, scales, elements, "fp32")
    for place, row in zip(places, decoded, strict=True):
        core.fp_sram[place] = round_to(core.fp_format, row)


def _store_fp(memory: MemoryMap, core: Core, d: Decoded) -> None:
    elements = _length(core, 1)
    format = _fp_format(core)
    places = _words_side(core, d, "fp", elements)
    target = _memory_side(core, d, format, elements)
    target.numbers = _row_numbers(core, d, False)
    if places:
        rows = np.stack([core.fp_sram[place] for place in places])
        target.write(memory, *mx_encode_row(format, target.block, rows))


_MOST_COPIED = 1 << 30
_MOST_COPIED_ROWS = 1 << 20


def _copy(memory: MemoryMap, core: Core, d: Decoded) -> None:
    """All is read before anything is written."""
    source = core.ha[d.rs2] + core.gp[d.rs3]
    target = core.ha[d.rd] + core.gp[d.rs1]
    length = core.csr_value("dma_len")
    count = max(1, core.csr_value("dma_rows"))
    pitch = core.csr_value("dma_pitch") or length
    if length == 0:
        raise Fault("copy of rows without a length", "dma_len = 0, allowed: 1 and more")
    if pitch < length:
        raise Fault("copied rows overlap", f"dma_pitch = {pitch}, a row has {length} bytes")
    if count * length > _MOST_COPIED:
        raise Fault(
            "copy of too many bytes",
            f"{count} rows of {length} bytes, allowed: {_MOST_COPIED} in all",
        )
    if count > _MOST_COPIED_ROWS:
        raise Fault("copy of too many rows", f"dma_rows = {count}, allowed: {_MOST_COPIED_ROWS}")
    rows = [memory.read(source + i * pitch, length) for i in range(count)]
    for i in range(count):
        memory.read(target + i * pitch, length)
    for i, row in enumerate(rows):
        memory.write(target + i * pitch, row)


def multicast(cores: list[Core], core: Core, d: Decoded) -> None:
    """Rows as they are stored, to every core of a mask.

    Raises:
        Fault: Rows outside, or a core that does not exist or has other rows.
    """
    count, chosen = core.gp[d.rs3], core.gp[d.rs2]
    if count == 0:
        return
    first = core.vector_row(core.gp[d.rd], count)
    to = core.vector_row(core.gp[d.rs1])
    receivers = [i for i in range(32) if chosen >> i & 1]
    for index in receivers:
        if index >= len(cores):
            raise Fault(
                "multicast to a core that does not exist",
                f"core {index}, the platform has cores 0..{len(cores) - 1}",
            )
        peer = cores[index]
        if (peer.vlen, peer.vector_format) != (core.vlen, core.vector_format):
            raise Fault(
                "multicast to a core whose rows are others",
                f"core {index}: vlen {peer.vlen}, here {core.vlen}",
            )
        if to + count > len(peer.vector):
            raise Fault(
                "access outside Vector SRAM",
                f"rows {to}..{to + count - 1}, the SRAM of core {index} has rows "
                f"0..{len(peer.vector) - 1}",
            )
    rows = core.vector[first : first + count].copy()
    for index in receivers:
        cores[index].vector[to : to + count] = rows


DMA: dict[str, Transfer] = {
    "H_PREFETCH_V": _prefetch_v,
    "H_PREFETCH_M": _prefetch_m,
    "H_STORE_V": _store_v,
    "H_LD_V": _load_v(gathers=False),
    "H_ST_V": _store_extended_v(scatters=False),
    "H_GATHER_V": _load_v(gathers=True),
    "H_SCATTER_V": _store_extended_v(scatters=True),
    "H_LD_M": _load_m,
    "H_LD_INT": _load_int,
    "H_ST_INT": _store_int,
    "H_LD_FP": _load_fp,
    "H_ST_FP": _store_fp,
    "H_COPY": _copy,
}
