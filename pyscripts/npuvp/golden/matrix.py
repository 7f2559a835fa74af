"""Matrix instructions: one float32 accumulator per output, K ascending.

An operand row is MLEN consecutive elements of Vector SRAM; operand rows are P = max(VLEN, MLEN)
apart, and the first one begins at a multiple of min(VLEN, MLEN).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from npuvp.golden.elementary import add, mul
from npuvp.golden.faults import Fault
from npuvp.golden.formats import Floats, Row, from_float
from npuvp.golden.gemm import gemm
from npuvp.golden.state import Core, Decoded

__all__ = ["MATRIX"]

Matrix = Callable[[Core, Decoded], None]


# Operands


def _elements(core: Core, address: int, span: int) -> None:
    """Checks that `span` elements of Vector SRAM exist from `address` on."""
    size = core.vector.size
    if address + span > size:
        first, last = address // core.vlen, (address + span - 1) // core.vlen
        raise Fault(
            "access outside Vector SRAM",
            f"rows {first}..{last}, the SRAM has rows 0..{size // core.vlen - 1}",
        )


def _pitch(core: Core) -> int:
    """From one operand row to the next, in elements."""
    return max(core.vlen, core.mlen)


def _read_rows(core: Core, address: int, count: int) -> Row:
    unit = min(core.vlen, core.mlen)
    if address % unit:
        raise Fault(
            "Vector SRAM address is not the start of a row",
            f"element address {address}, operand rows are multiples of {unit}",
        )
    pitch = _pitch(core)
    _elements(core, address, (count - 1) * pitch + core.mlen)
    flat = core.vector.reshape(-1)
    starts = range(address, address + count * pitch, pitch)
    return np.stack([flat[at : at + core.mlen] for at in starts])


class _Place(NamedTuple):
    """A Matrix SRAM address: its tile's contents, shape (MLEN, MLEN), and number, and where in it."""

    tile: Row
    number: int
    offset: int


def _tile(core: Core, address: int) -> _Place:
    if address >= core.matrix.size:
        raise Fault(
            "access outside Matrix SRAM",
            f"element {address}, the SRAM has elements 0..{core.matrix.size - 1}",
        )
    number, offset = divmod(address, core.mlen * core.mlen)
    return _Place(core.matrix[number * core.mlen : (number + 1) * core.mlen], number, offset)


def _bad_offset(place: _Place, allowed: str) -> Fault:
    return Fault(
        "Matrix SRAM address has no such offset in its tile",
        f"offset {place.offset} in tile {place.number}, allowed: {allowed}",
    )


def _columns(core: Core, place: _Place) -> slice:
    """Columns k..k+BLEN for an offset k * MLEN."""
    k, rest = divmod(place.offset, core.mlen)
    if rest or k % core.blen:
        raise _bad_offset(
            place, f"k * {core.mlen} with k a multiple of {core.blen} below {core.mlen}"
        )
    return slice(k, k + core.blen)


def _heads(core: Core, accumulator: str) -> tuple[int, int]:
    """Number of heads and their length: those that accumulate, or what head_len makes."""
    length = core.head_length
    if length > core.mlen or core.mlen % length:
        raise Fault("head length does not divide MLEN", f"head_len = {length}, MLEN = {core.mlen}")
    heads = core.mlen // length
    held = core.acc.get(accumulator)
    if held is not None and len(held) != heads:
        raise Fault(
            "head length changed while the accumulators hold sums",
            f"sums of {len(held)} heads, head_len = {length} makes {heads}",
        )
    return heads, length


def _head_offset(core: Core, place: _Place, length: int) -> slice:
    if place.offset >= core.mlen or place.offset % length:
        raise _bad_offset(place, f"multiples of the head length {length} below {core.mlen}")
    return slice(place.offset, place.offset + length)


def _accumulator(core: Core, name: str, shape: tuple[int, ...]) -> Floats:
    found = core.acc.get(name)
    return np.zeros(shape, np.float32) if found is None else found


# Products


def _block_rows(core: Core) -> int:
    return core.blen * int(core.p["matrix_rows"])


def _product(core: Core, matrix: int, vector: int, transposed: bool) -> None:
    place = _tile(core, matrix)
    chosen = _columns(core, place)
    rows = _read_rows(core, vector, _block_rows(core))
    right = place.tile[chosen].T if transposed else place.tile[:, chosen]
    acc = _accumulator(core, "mm", (len(rows), core.blen))
    core.acc["mm"] = gemm(rows, right, acc)


def _mm(core: Core, d: Decoded) -> None:
    _product(core, core.gp[d.rs1], core.gp[d.rs2], transposed=False)


def _tmm(core: Core, d: Decoded) -> None:
    _product(core, core.gp[d.rs2], core.gp[d.rs1], transposed=True)


def _batched(core: Core, d: Decoded, transposed: bool) -> None:
    heads, length = _heads(core, "bmm")
    place = _tile(core, core.gp[d.rs1])
    chosen = _head_offset(core, place, length)
    rows = _read_rows(core, core.gp[d.rs2], core.mlen)
    if transposed:
        left = rows.reshape(core.mlen, heads, length).transpose(1, 0, 2)
        right = place.tile[:, chosen].T
    else:  # heads interleaved
        left = rows.reshape(core.mlen, length, heads).transpose(2, 0, 1)
        right = place.tile[chosen]
    _scaled(core, "bmm", (heads, core.mlen, core.mlen), gemm(left, right))


def _scaled(core: Core, name: str, shape: tuple[int, ...], product: Floats) -> None:
    acc = _accumulator(core, name, shape)
    core.acc[name] = add(acc, mul(core.csr_float("bmm_scale"), product))


def _mv(core: Core, d: Decoded) -> None:
    place = _tile(core, core.gp[d.rs1])
    if place.offset >= core.mlen or place.offset % core.blen:
        raise _bad_offset(place, f"multiples of {core.blen} below {core.mlen}")
    row = _read_rows(core, core.gp[d.rs2], 1)
    acc = _accumulator(core, "mv", (1, core.blen))
    core.acc["mv"] = gemm(row, place.tile[:, place.offset : place.offset + core.blen], acc)


def _tmv(core: Core, d: Decoded) -> None:
    place = _tile(core, core.gp[d.rs1])
    if place.offset:
        raise _bad_offset(place, "0")
    row = _read_rows(core, core.gp[d.rs2], 1)
    acc = _accumulator(core, "mv", (1, core.blen))
    core.acc["mv"] = gemm(row, place.tile[: core.blen].T, acc)


def _bmv(core: Core, d: Decoded) -> None:
    heads, length = _heads(core, "bmv")
    if heads > 1:
        raise Fault(
            "M_BMV with more than one head",
            f"MLEN {core.mlen} holds {heads} heads of {length}; M_BTMV takes them",
        )
    place = _tile(core, core.gp[d.rs1] + core.gp[d.rd])
    chosen = _head_offset(core, place, length)
    row = _read_rows(core, core.gp[d.rs2], 1)
    _scaled(core, "bmv", (1, core.mlen), gemm(row, place.tile[chosen]))


def _btmv(core: Core, d: Decoded) -> None:
    heads, length = _heads(core, "bmv")
    place = _tile(core, core.gp[d.rs1] + core.gp[d.rd])
    chosen = _head_offset(core, place, length)
    row = _read_rows(core, core.gp[d.rs2], 1)
    left = row.reshape(heads, 1, length)
    product = gemm(left, place.tile[:, chosen].T)
    _scaled(core, "bmv", (heads, core.mlen), product.reshape(heads, core.mlen))


# Write-outs


def _write_out(core: Core, d: Decoded, name: str, pieces: int, length: int) -> None:
    """Pieces of an accumulator to Vector SRAM; then it is clear."""
    address = core.gp[d.rd] + d.imm
    unit = min(core.vlen, core.mlen) if name in ("bmm", "bmv") else core.blen
    if address % unit:
        raise Fault(
            "write-out address is not aligned",
            f"element address {address}, allowed: multiples of {unit}",
        )
    step = _pitch(core) * (core.gp[d.rs1] if name == "mm" and d.rs1 else 1)
    _elements(core, address, (pieces - 1) * step + length)
    flat = core.vector.reshape(-1)
    values = _accumulator(core, name, (pieces, length)).reshape(pieces, length)
    core.acc.pop(name, None)
    for i in range(pieces):
        at = address + i * step
        flat[at : at + length] = from_float(values[i], flat)


def _held_heads(core: Core, name: str) -> int:
    held = core.acc.get(name)
    return _heads(core, name)[0] if held is None else len(held)


def _mm_wo(core: Core, d: Decoded) -> None:
    _write_out(core, d, "mm", _block_rows(core), core.blen)


def _mv_wo(core: Core, d: Decoded) -> None:
    _write_out(core, d, "mv", 1, core.blen)


def _bmm_wo(core: Core, d: Decoded) -> None:
    _write_out(core, d, "bmm", _held_heads(core, "bmm") * core.mlen, core.mlen)


def _bmv_wo(core: Core, d: Decoded) -> None:
    _write_out(core, d, "bmv", _held_heads(core, "bmv"), core.mlen)


MATRIX: dict[str, Matrix] = {
    "M_MM": _mm,
    "M_TMM": _tmm,
    "M_BMM": lambda core, d: _batched(core, d, transposed=False),
    "M_BTMM": lambda core, d: _batched(core, d, transposed=True),
    "M_MV": _mv,
    "M_TMV": _tmv,
    "M_BMV": _bmv,
    "M_BTMV": _btmv,
    "M_MM_WO": _mm_wo,
    "M_MV_WO": _mv_wo,
    "M_BMM_WO": _bmm_wo,
    "M_BMV_WO": _bmv_wo,
}
