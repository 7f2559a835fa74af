"""Matrix instructions: one float32 accumulator per output, K ascending.

An operand row is MLEN consecutive elements of Vector SRAM; operand rows are P = max(VLEN, MLEN)
apart, and the first one begins at a multiple of min(VLEN, MLEN).
"""

from collections.abc import Callable

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
        which = f"row {first}" if first == last else f"rows {first}..{last}"
        raise Fault(
            "access outside Vector SRAM", f"{which}, the SRAM has rows 0..{size // core.vlen - 1}"
        )


def _aligned(core: Core, address: int, unit: int, what: str) -> None:
    if address % unit:
        raise Fault(
            f"Vector SRAM address is not the start of {what}",
            f"element address {address}, allowed: multiples of {unit}",
        )


def _operand_rows(core: Core, address: int, count: int) -> list[slice]:
    """Where operand rows stand in flat Vector SRAM."""
    _aligned(core, address, min(core.vlen, core.mlen), "an operand row")
    pitch = max(core.vlen, core.mlen)
    _elements(core, address, (count - 1) * pitch + core.mlen)
    return [slice(address + i * pitch, address + i * pitch + core.mlen) for i in range(count)]


def _read_rows(core: Core, address: int, count: int) -> Row:
    flat = core.vector.reshape(-1)
    return np.stack([flat[place] for place in _operand_rows(core, address, count)])


def _write_rows(core: Core, address: int, rows: Floats) -> None:
    flat = core.vector.reshape(-1)
    for place, row in zip(_operand_rows(core, address, len(rows)), rows, strict=True):
        flat[place] = from_float(row, flat)


def _tile(core: Core, address: int) -> tuple[Row, int]:
    """The tile that holds a Matrix SRAM address, shape (MLEN, MLEN), and the offset in it."""
    size = core.mlen * core.mlen
    tile, offset = divmod(address, size)
    if (tile + 1) * core.mlen > len(core.matrix):
        raise Fault(
            "access outside Matrix SRAM",
            f"tile {tile}, the SRAM has tiles 0..{len(core.matrix) // core.mlen - 1}",
        )
    return core.matrix[tile * core.mlen : (tile + 1) * core.mlen], offset


def _bad_offset(offset: int, allowed: str) -> Fault:
    return Fault("bad offset in a tile of Matrix SRAM", f"offset {offset}, allowed: {allowed}")


def _columns(core: Core, offset: int) -> slice:
    """Columns k..k+BLEN for an offset k * MLEN."""
    k, rest = divmod(offset, core.mlen)
    if rest or k % core.blen:
        raise _bad_offset(offset, f"k * {core.mlen}, k a multiple of {core.blen}")
    return slice(k, k + core.blen)


def _heads(core: Core) -> tuple[int, int]:
    """Number of heads and their length."""
    length = core.head_length
    if length & (length - 1) or length > core.mlen:
        raise Fault(
            "no such head length", f"head_len = {length}, allowed: powers of two up to {core.mlen}"
        )
    return core.mlen // length, length


def _head_offset(core: Core, offset: int, length: int) -> slice:
    if offset >= core.mlen or offset % length:
        raise _bad_offset(offset, f"multiples of {length} below {core.mlen}")
    return slice(offset, offset + length)


# Accumulators


def _accumulator(core: Core, name: str, shape: tuple[int, ...]) -> Floats:
    found = core.acc.get(name)
    if found is None:
        return np.zeros(shape, np.float32)
    if found.shape != shape:
        raise Fault("head_len changed before the write-out", f"{found.shape[0]} heads accumulate")
    return found


def _take(core: Core, name: str, shape: tuple[int, ...]) -> Floats:
    taken = _accumulator(core, name, shape)
    core.acc.pop(name, None)
    return taken


# Products


def _block_rows(core: Core) -> int:
    return core.blen * int(core.p["matrix_rows"])


def _product(core: Core, matrix: int, vector: int, transposed: bool) -> None:
    tile, offset = _tile(core, matrix)
    chosen = _columns(core, offset)
    rows = _read_rows(core, vector, _block_rows(core))
    right = tile[chosen].T if transposed else tile[:, chosen]
    acc = _accumulator(core, "mm", (len(rows), core.blen))
    core.acc["mm"] = gemm(rows, right, acc)


def _mm(core: Core, d: Decoded) -> None:
    _product(core, core.gp[d.rs1], core.gp[d.rs2], transposed=False)


def _tmm(core: Core, d: Decoded) -> None:
    _product(core, core.gp[d.rs2], core.gp[d.rs1], transposed=True)


def _batched(core: Core, d: Decoded, transposed: bool) -> None:
    heads, length = _heads(core)
    tile, offset = _tile(core, core.gp[d.rs1])
    chosen = _head_offset(core, offset, length)
    rows = _read_rows(core, core.gp[d.rs2], core.mlen)
    if transposed:
        left = rows.reshape(core.mlen, heads, length).transpose(1, 0, 2)
        right = tile[:, chosen].T
    else:  # heads interleaved
        left = rows.reshape(core.mlen, length, heads).transpose(2, 0, 1)
        right = tile[chosen]
    _scaled(core, "bmm", (heads, core.mlen, core.mlen), gemm(left, right))


def _scaled(core: Core, name: str, shape: tuple[int, ...], product: Floats) -> None:
    acc = _accumulator(core, name, shape)
    core.acc[name] = add(acc, mul(core.csr_float("bmm_scale"), product))


def _mv(core: Core, d: Decoded) -> None:
    tile, offset = _tile(core, core.gp[d.rs1])
    if offset >= core.mlen or offset % core.blen:
        raise _bad_offset(offset, f"multiples of {core.blen} below {core.mlen}")
    row = _read_rows(core, core.gp[d.rs2], 1)
    acc = _accumulator(core, "mv", (1, core.blen))
    core.acc["mv"] = gemm(row, tile[:, offset : offset + core.blen], acc)


def _tmv(core: Core, d: Decoded) -> None:
    tile, offset = _tile(core, core.gp[d.rs1])
    if offset:
        raise _bad_offset(offset, "0")
    row = _read_rows(core, core.gp[d.rs2], 1)
    acc = _accumulator(core, "mv", (1, core.blen))
    core.acc["mv"] = gemm(row, tile[: core.blen].T, acc)


def _bmv(core: Core, d: Decoded) -> None:
    heads, _ = _heads(core)
    if heads > 1:
        raise Fault("M_BMV with more than one head", f"{heads} heads of {core.head_length}")
    tile, offset = _tile(core, core.gp[d.rs1] + core.gp[d.rd])
    if offset:
        raise _bad_offset(offset, "0")
    row = _read_rows(core, core.gp[d.rs2], 1)
    _scaled(core, "bmv", (1, core.mlen), gemm(row, tile))


def _btmv(core: Core, d: Decoded) -> None:
    heads, length = _heads(core)
    tile, offset = _tile(core, core.gp[d.rs1] + core.gp[d.rd])
    chosen = _head_offset(core, offset, length)
    row = _read_rows(core, core.gp[d.rs2], 1)
    left = row.reshape(heads, 1, length)
    product = gemm(left, tile[:, chosen].T)
    _scaled(core, "bmv", (heads, core.mlen), product.reshape(heads, core.mlen))


# Write-outs


def _mm_wo(core: Core, d: Decoded) -> None:
    address = core.gp[d.rd] + d.imm
    _aligned(core, address, core.blen, "a block")
    stride = core.gp[d.rs1] if d.rs1 else 1
    pitch = max(core.vlen, core.mlen) * stride
    rows = _block_rows(core)
    _elements(core, address, (rows - 1) * pitch + core.blen)
    flat = core.vector.reshape(-1)
    for i, values in enumerate(_take(core, "mm", (rows, core.blen))):
        at = address + i * pitch
        flat[at : at + core.blen] = from_float(values, flat)


def _mv_wo(core: Core, d: Decoded) -> None:
    address = core.gp[d.rd] + d.imm
    _aligned(core, address, core.blen, "a block")
    _elements(core, address, core.blen)
    flat = core.vector.reshape(-1)
    values = _take(core, "mv", (1, core.blen))[0]
    flat[address : address + core.blen] = from_float(values, flat)


def _bmm_wo(core: Core, d: Decoded) -> None:
    heads, _ = _heads(core)
    address = core.gp[d.rd] + d.imm
    _operand_rows(core, address, heads * core.mlen)
    values = _take(core, "bmm", (heads, core.mlen, core.mlen))
    _write_rows(core, address, values.reshape(-1, core.mlen))


def _bmv_wo(core: Core, d: Decoded) -> None:
    heads, _ = _heads(core)
    address = core.gp[d.rd] + d.imm
    _operand_rows(core, address, heads)
    _write_rows(core, address, _take(core, "bmv", (heads, core.mlen)))


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
