"""DWARF 4 line tables of firmware: one compilation unit per core's text."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DwarfError", "LineRow", "Unit", "read_line_tables", "write_sections"]

WORD_BYTES = 4
MAX_ROWS = 1 << 22


class DwarfError(ValueError):
    """A line table that cannot be read."""


@dataclass(frozen=True)
class LineRow:
    """From byte `address` on, words come from line `line` of file number `file` (from 0)."""

    address: int
    file: int
    line: int


@dataclass(frozen=True)
class Unit:
    """The line table of one text."""

    name: str
    low: int
    high: int
    files: tuple[str, ...]
    rows: tuple[LineRow, ...]


def uleb(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def sleb(value: int) -> bytes:
    """Signed LEB128."""
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        done = (value == 0 and not byte & 0x40) or (value == -1 and byte & 0x40)
        out.append(byte | (0 if done else 0x80))
        if done:
            return bytes(out)


def _line_program(unit: Unit) -> bytes:
    """The line-number program of a unit (DWARF 4, section 6.2)."""
    tables = b"".join(
        name.encode("utf-8").replace(b"\0", b"?") + b"\0\0\0\0" for name in unit.files
    )
    header = (
        struct.pack("<BBBbBB", WORD_BYTES, 1, 1, -3, 12, 13)
        + bytes([0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1])  # operand counts of the standard opcodes
        + b"\0"  # no include directories: names are complete
        + tables
        + b"\0"
    )
    program = bytearray(b"\0" + uleb(9) + b"\2" + struct.pack("<Q", unit.low))
    address, file, line = unit.low, 0, 1
    for row in unit.rows:
        if row.file != file:
            program += b"\4" + uleb(row.file + 1)
            file = row.file
        if row.line != line:
            program += b"\3" + sleb(row.line - line)
            line = row.line
        if row.address != address:
            program += b"\2" + uleb((row.address - address) // WORD_BYTES)
            address = row.address
        program += b"\1"
    program += b"\2" + uleb((unit.high - address) // WORD_BYTES) + b"\0\1\1"
    body = struct.pack("<HI", 4, len(header)) + header + bytes(program)
    return struct.pack("<I", len(body)) + body


def write_sections(units: Sequence[Unit]) -> dict[str, bytes]:
    """Contents of .debug_abbrev, .debug_info and .debug_line."""
    # One abbreviation: DW_TAG_compile_unit without children, with name, language, statement list,
    # low and high address.
    abbreviations = (
        uleb(1) + uleb(0x11) + b"\0"
        + uleb(0x03) + uleb(0x08)  # name, string
        + uleb(0x25) + uleb(0x08)  # producer, string
        + uleb(0x13) + uleb(0x05)  # language, data2
        + uleb(0x10) + uleb(0x17)  # stmt_list, sec_offset
        + uleb(0x11) + uleb(0x01)  # low_pc, addr
        + uleb(0x12) + uleb(0x07)  # high_pc, data8
        + b"\0\0\0"
    )  # fmt: skip
    info, lines = bytearray(), bytearray()
    for unit in units:
        die = (
            uleb(1)
            + unit.name.encode("utf-8").replace(b"\0", b"?")
            + b"\0npuvp\0"
            + struct.pack("<HIQQ", 0x8001, len(lines), unit.low, unit.high - unit.low)
        )
        body = struct.pack("<HIB", 4, 0, 8) + die
        info += struct.pack("<I", len(body)) + body
        lines += _line_program(unit)
    return {
        ".debug_abbrev": abbreviations,
        ".debug_info": bytes(info),
        ".debug_line": bytes(lines),
    }


class _Cursor:
    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > self.end:
            raise DwarfError(f"a line table ends inside an entry at offset {self.at:#x}")
        piece = self.data[self.at : self.at + count]
        self.at += count
        return piece

    def number(self, count: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(count), "little", signed=signed)

    def string(self) -> str:
        end = self.data.find(b"\0", self.at, self.end)
        if end < 0:
            raise DwarfError(f"a name at offset {self.at:#x} does not end")
        piece = self.take(end + 1 - self.at)
        return piece[:-1].decode("utf-8", "replace")

    def leb(self, signed: bool = False) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
            if shift > 63:
                raise DwarfError(f"a number at offset {self.at:#x} is too long")
        return value - (1 << shift) if signed and byte & 0x40 else value


def read_line_tables(data: bytes) -> list[Unit]:
    """The units of a .debug_line section (DWARF 2 to 4; names and languages are not in it).

    Raises:
        DwarfError: malformed, or another version.
    """
    units, at = [], 0
    while at < len(data):
        cursor = _Cursor(data, at, len(data))
        length = cursor.number(4)
        end = cursor.at + length
        if end > len(data):
            raise DwarfError(f"the line table at offset {at:#x} is longer than its section")
        units.append(_read_unit(_Cursor(data, cursor.at, end)))
        at = end
    return units


def _read_unit(cursor: _Cursor) -> Unit:
    version = cursor.number(2)
    if version not in (2, 3, 4):
        raise DwarfError(f"line table of DWARF version {version} (2, 3 and 4 are read)")
    header_length = cursor.number(4)
    program_at = cursor.at + header_length
    step = cursor.number(1)
    if version == 4:
        cursor.number(1)
    cursor.number(1)
    line_base = cursor.number(1, signed=True)
    line_range = cursor.number(1)
    opcode_base = cursor.number(1)
    if line_range == 0 or opcode_base == 0:
        raise DwarfError("a line table with line_range or opcode_base 0")
    lengths = list(cursor.take(opcode_base - 1))
    while cursor.string():
        pass
    files = []
    while name := cursor.string():
        files.append(name)
        for _ in range(3):
            cursor.leb()
    if program_at > cursor.end:
        raise DwarfError("a line table's header is longer than the table")
    cursor.at = program_at
    rows, low, high = _run_program(cursor, step, line_base, line_range, opcode_base, lengths)
    return Unit("", low, high, tuple(files), tuple(rows))


def _run_program(
    cursor: _Cursor,
    step: int,
    line_base: int,
    line_range: int,
    opcode_base: int,
    lengths: list[int],
) -> tuple[list[LineRow], int, int]:
    rows: list[LineRow] = []
    address, file, line, low, high = 0, 1, 1, -1, 0
    while cursor.at < cursor.end:
        opcode = cursor.number(1)
        emit = False
        if opcode >= opcode_base:
            adjusted = opcode - opcode_base
            address += adjusted // line_range * step
            line += line_base + adjusted % line_range
            emit = True
        elif opcode == 0:
            size = cursor.leb()
            extended = _Cursor(cursor.data, cursor.at, min(cursor.at + size, cursor.end))
            cursor.take(size)
            kind = extended.number(1)
            if kind == 1:
                high = max(high, address)
                address, file, line = 0, 1, 1
            elif kind == 2:
                address = extended.number(size - 1)
        elif opcode == 1:
            emit = True
        elif opcode == 2:
            address += cursor.leb() * step
        elif opcode == 3:
            line += cursor.leb(signed=True)
        elif opcode == 4:
            file = cursor.leb()
        elif opcode == 8:
            address += (255 - opcode_base) // line_range * step
        elif opcode == 9:
            address += cursor.number(2)
        else:
            for _ in range(lengths[opcode - 1]):
                cursor.leb()
        if emit:
            if len(rows) >= MAX_ROWS:
                raise DwarfError("a line table has too many rows")
            rows.append(LineRow(address, file - 1, line))
            low = address if low < 0 else min(low, address)
    return rows, max(low, 0), high
