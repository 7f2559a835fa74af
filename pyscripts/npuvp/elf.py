"""The ELF file of a firmware: writing and strict reading.

64-bit little-endian executable, machine 0x4E50 (private). Sections: `.text.coreN` or `.text.all`,
`.data.SPACE` per data segment, `.symtab`, DWARF line table, `.npuvp.source` (source texts as JSON),
`.npuvp.calls` (macro calls and includes of each line, JSON) and notes named `npuvp`, each a JSON
document: type 0x101 tensors, 0x102 segments and entries, 0x103 images. Addresses are those of the
default memory map; where a platform differs, spaces and addresses in the notes decide.
"""

from __future__ import annotations

import dataclasses
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from npuvp.dwarf import DwarfError, LineRow, Unit, read_line_tables, write_sections
from npuvp.firmware import (
    ALL_CORES,
    SEGMENT_FORMATS,
    DataSegment,
    Firmware,
    FirmwareError,
    Image,
    Symbol,
    Tensor,
    Text,
    check_space,
)
from npuvp.location import Location

__all__ = ["MACHINE", "read_firmware", "write_firmware"]

MACHINE = 0x4E50
CORE_BASE = 1 << 40
CORE_WINDOW = 1 << 32
SLOT = CORE_WINDOW // 8
SLOTS = {"vector": 1, "matrix": 2, "fp": 3, "int": 4, "text": 5}
NOTE_NAME = b"npuvp\0"
NOTE_TENSORS, NOTE_LAYOUT, NOTE_IMAGES = 0x101, 0x102, 0x103
VERSION = 1

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
SHDR = struct.Struct("<IIQQQQIIQQ")
SYM = struct.Struct("<IBBHQQ")
PT_LOAD, PT_NOTE = 1, 4
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_NOTE = 1, 2, 3, 7
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
SHN_ABS = 0xFFF1


def core_window(core: int) -> int:
    """Address of a core's window; text for all cores has one below core 0's."""
    return CORE_BASE + core * CORE_WINDOW


def space_address(space: str, address: int, element_format: str) -> int:
    """Global byte address of an address in a space."""
    if space == "hbm":
        return address
    core, _, name = space.removeprefix("core").partition(".")
    return core_window(int(core)) + SLOTS[name] * SLOT + address * SEGMENT_FORMATS[element_format]


@dataclass
class _Section:
    name: str
    kind: int
    flags: int
    address: int
    data: bytes
    link: int = 0
    info: int = 0
    align: int = 1
    entry_size: int = 0
    offset: int = 0


class _Strings:
    def __init__(self) -> None:
        self.data = bytearray(b"\0")
        self.offsets: dict[str, int] = {"": 0}

    def add(self, text: str) -> int:
        if text not in self.offsets:
            self.offsets[text] = len(self.data)
            self.data += text.encode("utf-8") + b"\0"
        return self.offsets[text]


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode("utf-8")


def _note(kind: int, value: Any) -> bytes:
    description = _json(value)
    padded = description + bytes(-len(description) % 4)
    name = NOTE_NAME + bytes(-len(NOTE_NAME) % 4)
    return struct.pack("<III", len(NOTE_NAME), len(description), kind) + name + padded


def _text_name(core: int) -> str:
    return ".text.all" if core == ALL_CORES else f".text.core{core}"


def _line_unit(name: str, text: Text, low: int) -> Unit:
    files: dict[str, int] = {}
    rows: list[LineRow] = []
    last: tuple[str, int] | None = None
    for index, location in enumerate(text.locations):
        here = (location.file, location.line) if location else ("<none>", 0)
        if here != last:
            number = files.setdefault(here[0], len(files))
            rows.append(LineRow(low + 4 * index, number, here[1]))
            last = here
    return Unit(name, low, low + 4 * len(text.words), tuple(files), tuple(rows))


def _calls(text: Text) -> list[list[Any]]:
    """Words whose line was reached through macros or includes: [first word, frames]."""
    entries: list[list[Any]] = []
    last: Any = []
    for index, location in enumerate(text.locations):
        frames = [
            [frame.file, frame.line, frame.via] for frame in (location.frames() if location else [])
        ]
        frames = frames if len(frames) > 1 else []
        if frames != last:
            entries.append([index, frames])
            last = frames
    return entries


def write_firmware(firmware: Firmware) -> bytes:
    """The ELF file of a checked firmware."""
    sections: list[_Section] = []
    section_numbers: dict[str, int] = {}
    units, calls = [], {}
    for core, text in sorted(firmware.cores.items()):
        address = core_window(core) + SLOTS["text"] * SLOT
        data = struct.pack(f"<{len(text.words)}I", *text.words)
        name = _text_name(core)
        section_numbers[f"text{core}"] = len(sections) + 1
        sections.append(
            _Section(name, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, address, data, align=4)
        )
        units.append(_line_unit(name, text, address))
        calls[str(core)] = _calls(text)
    for segment in firmware.segments:
        address = space_address(segment.space, segment.address, segment.format)
        flags = SHF_ALLOC | SHF_WRITE
        section_numbers.setdefault(segment.space, len(sections) + 1)
        sections.append(
            _Section(f".data.{segment.space}", SHT_PROGBITS, flags, address, segment.data)
        )
    loadable = len(sections)
    layout = {
        "version": VERSION,
        "entries": {str(core): text.entry for core, text in sorted(firmware.cores.items())},
        "segments": [[s.space, s.address, s.format] for s in firmware.segments],
    }
    tensors = [dataclasses.asdict(tensor) for tensor in firmware.tensors.values()]
    images = [dataclasses.asdict(image) for image in firmware.images]
    notes = _note(NOTE_TENSORS, tensors) + _note(NOTE_LAYOUT, layout) + _note(NOTE_IMAGES, images)
    sections.append(_Section(".note.npuvp", SHT_NOTE, 0, 0, notes, align=4))
    for name, data in write_sections(units).items():
        sections.append(_Section(name, SHT_PROGBITS, 0, 0, data))
    sections.append(_Section(".npuvp.source", SHT_PROGBITS, 0, 0, _json(firmware.sources)))
    sections.append(_Section(".npuvp.calls", SHT_PROGBITS, 0, 0, _json(calls)))
    _add_symbols(firmware, sections, section_numbers)
    return _layout(firmware, sections, loadable)


def _add_symbols(
    firmware: Firmware, sections: list[_Section], section_numbers: dict[str, int]
) -> None:
    strings = _Strings()
    # All symbols are global, so that only the obligatory null entry counts as local.
    symbols = bytearray(SYM.pack(0, 0, 0, 0, 0, 0))
    for key, symbol in sorted(firmware.symbols.items()):
        section, value = SHN_ABS, symbol.value & 0xFFFFFFFFFFFFFFFF
        kind = 0
        if symbol.section == "text":
            section = section_numbers.get(f"text{symbol.core}", SHN_ABS)
            value = core_window(symbol.core) + SLOTS["text"] * SLOT + 4 * symbol.value
            kind = 2
        elif symbol.section:
            section = section_numbers.get(symbol.section, SHN_ABS)
            value = space_address(symbol.section, symbol.value, "fp32")
            kind = 1
        symbols += SYM.pack(strings.add(key), 0x10 | kind, 0, section, value, 0)
    # The values as the source knows them, for a reader needs no memory map to get at them.
    table = {
        key: [symbol.name, symbol.value, symbol.section, symbol.core]
        for key, symbol in firmware.symbols.items()
    }
    sections.append(_Section(".npuvp.symbols", SHT_PROGBITS, 0, 0, _json(table)))
    number = len(sections) + 1
    sections.append(
        _Section(".symtab", SHT_SYMTAB, 0, 0, bytes(symbols), number + 1, 1, 8, SYM.size)
    )
    sections.append(_Section(".strtab", SHT_STRTAB, 0, 0, bytes(strings.data)))


def _layout(firmware: Firmware, sections: list[_Section], loadable: int) -> bytes:
    names = _Strings()
    sections.append(_Section(".shstrtab", SHT_STRTAB, 0, 0, b""))
    for section in sections:
        names.add(section.name)
    sections[-1].data = bytes(names.data)
    note = loadable
    at = EHDR.size + PHDR.size * (loadable + 1)
    for section in sections:
        at = -(-at // 16) * 16
        section.offset = at
        at += len(section.data)
    section_at = -(-at // 16) * 16
    entry = 0
    if firmware.cores:
        core = min(firmware.cores, key=lambda number: (number == ALL_CORES, number))
        entry = core_window(core) + SLOTS["text"] * SLOT + 4 * firmware.cores[core].entry
    ident = b"\x7fELF" + bytes([2, 1, 1, 0xFF]) + bytes(8)
    header = EHDR.pack(
        ident, 2, MACHINE, 1, entry, EHDR.size, section_at, VERSION,
        EHDR.size, PHDR.size, loadable + 1, SHDR.size, len(sections) + 1, len(sections),
    )  # fmt: skip
    out = bytearray(header)
    for index, section in enumerate(sections[: loadable + 1]):
        size = len(section.data)
        if index == note:
            out += PHDR.pack(PT_NOTE, 4, section.offset, 0, 0, size, size, 4)
            continue
        flags = 5 if section.flags & SHF_EXECINSTR else 6
        out += PHDR.pack(
            PT_LOAD, flags, section.offset, section.address, section.address, size, size, 1
        )
    for section in sections:
        out += bytes(section.offset - len(out)) + section.data
    out += bytes(section_at - len(out)) + bytes(SHDR.size)
    for section in sections:
        out += SHDR.pack(
            names.add(section.name), section.kind, section.flags, section.address, section.offset,
            len(section.data), section.link, section.info, section.align, section.entry_size,
        )  # fmt: skip
    return bytes(out)


# ------------------------------------------------------------------------------------ reading


class _File:
    """Bounds-checked access to an ELF file's tables."""

    def __init__(self, data: bytes, path: str) -> None:
        self.data, self.path = data, path
        if len(data) < EHDR.size:
            raise self.error(f"{len(data)} bytes are too few for an ELF file")
        (
            ident, kind, machine, _, _, ph_at, sh_at, _, _, ph_size, ph_count, sh_size, sh_count,
            names_index,
        ) = EHDR.unpack_from(data)  # fmt: skip
        if ident[:4] != b"\x7fELF":
            raise self.error(f"not an ELF file (it begins with {ident[:4]!r})")
        if ident[4] != 2 or ident[5] != 1:
            raise self.error("not a 64-bit little-endian ELF file")
        if machine != MACHINE:
            raise self.error(f"ELF file of machine {machine:#x}, not npuvp's {MACHINE:#x}")
        if kind != 2:
            raise self.error(f"ELF file of type {kind}, not an executable (2)")
        if (ph_count and ph_size != PHDR.size) or (sh_count and sh_size != SHDR.size):
            raise self.error(f"table entries of {ph_size} and {sh_size} bytes (56 and 64)")
        self.programs = [
            PHDR.unpack(self.slice(ph_at + i * PHDR.size, PHDR.size, "program header"))
            for i in range(ph_count)
        ]
        # Without this a small file could ask for its own size as often as it has headers.
        claimed = sum(header[5] for header in self.programs if header[5] <= len(data))
        if claimed > len(data):
            raise self.error(
                f"program headers of {claimed} bytes together, the file has {len(data)}"
            )
        raw = [
            SHDR.unpack(self.slice(sh_at + i * SHDR.size, SHDR.size, "section header"))
            for i in range(sh_count)
        ]
        if names_index >= len(raw):
            raise self.error(f"section names in section {names_index} of {len(raw)}")
        names = self.slice(raw[names_index][4], raw[names_index][5], "section names")
        self.sections: list[tuple[str, int, int, int]] = []
        for name_at, section_type, _, _, offset, size, *_ in raw:
            end = names.find(b"\0", name_at)
            if name_at >= len(names) or end < 0:
                raise self.error(f"a section's name at {name_at} is outside the names")
            name = names[name_at:end].decode("utf-8", "replace")
            self.sections.append((name, section_type, offset, size))

    def error(self, message: str) -> FirmwareError:
        """An error that names the file."""
        return FirmwareError(f"{self.path}: {message}")

    def slice(self, offset: int, size: int, what: str) -> bytes:
        """Bytes of the file."""
        if offset + size > len(self.data):
            raise self.error(
                f"{what} at {offset:#x}, {size} bytes, reaches past the file's end "
                f"({len(self.data)} bytes)"
            )
        return self.data[offset : offset + size]

    def contents(self, name: str) -> bytes | None:
        """Contents of the first section of that name."""
        for section, kind, offset, size in self.sections:
            if section == name and kind != 0:
                return self.slice(offset, size, f"section {name}")
        return None

    def document(self, name: str) -> Any:
        """A section that holds JSON; None without the section."""
        data = self.contents(name)
        return None if data is None else self.parse(data, f"section {name}")

    def parse(self, data: bytes, what: str) -> Any:
        """JSON."""
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self.error(f"{what} is no JSON: {error}") from None

    def notes(self) -> dict[int, Any]:
        """npuvp's notes by type."""
        found: dict[int, Any] = {}
        for kind, _, offset, _, _, size, *_ in self.programs:
            if kind != PT_NOTE:
                continue
            data, at = self.slice(offset, size, "note segment"), 0
            while at + 12 <= len(data):
                name_size, description_size, note_type = struct.unpack_from("<III", data, at)
                name_at = at + 12
                description_at = name_at + -(-name_size // 4) * 4
                if description_at + description_size > len(data):
                    raise self.error(f"a note at {offset + at:#x} reaches past its segment")
                if data[name_at : name_at + name_size] == NOTE_NAME:
                    description = data[description_at : description_at + description_size]
                    found[note_type] = self.parse(description, f"note {note_type}")
                at = description_at + -(-description_size // 4) * 4
        return found


def _shaped(file: _File, what: str, build: Callable[[], Any]) -> Any:
    """Turns any mismatch of a document's shape into a FirmwareError."""
    try:
        return build()
    except FirmwareError as error:
        raise file.error(f"{what}: {error}") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise file.error(f"{what} is malformed: {type(error).__name__}: {error}") from None


def _whole(value: Any, low: int = 0, high: int = (1 << 63) - 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{value!r} is no whole number in {low}..{high}")
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def read_firmware(data: bytes, path: str) -> Firmware:
    """The firmware in an ELF file; `path` is its name in messages.

    Raises:
        FirmwareError: with the place and what is wrong.
    """
    file = _File(data, path)
    notes = file.notes()
    layout = notes.get(NOTE_LAYOUT)
    if not isinstance(layout, dict):
        raise file.error("no note of npuvp: not written by npuvp")
    if layout.get("version") != VERSION:
        raise file.error(f"firmware version {layout.get('version')!r} (this npuvp reads {VERSION})")
    firmware = Firmware()
    _shaped(file, "the layout note", lambda: _read_loadable(file, layout, firmware))
    _shaped(file, "the tensor note", lambda: _read_tensors(notes.get(NOTE_TENSORS, []), firmware))
    _shaped(file, "the image note", lambda: _read_images(notes.get(NOTE_IMAGES, []), firmware))
    sources = file.document(".npuvp.source") or {}
    _shaped(
        file,
        "section .npuvp.source",
        lambda: firmware.sources.update({_string(k): _string(v) for k, v in sources.items()}),
    )
    symbols = file.document(".npuvp.symbols") or {}
    _shaped(file, "section .npuvp.symbols", lambda: _read_symbols(symbols, firmware))
    try:
        _read_lines(file, firmware)
    except DwarfError as error:
        raise file.error(f"section .debug_line: {error}") from None
    calls = file.document(".npuvp.calls") or {}
    _shaped(file, "section .npuvp.calls", lambda: _read_calls(calls, firmware))
    return firmware


def _read_loadable(file: _File, layout: dict[str, Any], firmware: Firmware) -> None:
    contents = [
        file.slice(offset, size, "segment")
        for kind, _, offset, _, _, size, *_ in file.programs
        if kind == PT_LOAD
    ]
    entries, segments = layout["entries"], layout["segments"]
    if len(contents) != len(entries) + len(segments):
        raise ValueError(
            f"{len(contents)} loadable segments for {len(entries)} texts and {len(segments)} data"
        )
    cores = sorted(_whole(int(core), ALL_CORES, 65535) for core in entries)
    for core, words in zip(cores, contents, strict=False):
        if len(words) % 4:
            raise ValueError(f"text of core {core} has {len(words)} bytes, not whole words")
        listed = list(struct.unpack(f"<{len(words) // 4}I", words))
        nowhere: list[Location | None] = [None] * len(listed)
        firmware.cores[core] = Text(listed, nowhere, _whole(entries[str(core)]))
    for (space, address, element_format), piece in zip(
        segments, contents[len(cores) :], strict=True
    ):
        firmware.segments.append(
            DataSegment(
                check_space(_string(space)), _whole(address), _string(element_format), piece
            )
        )


def _read_tensors(entries: Any, firmware: Firmware) -> None:
    for entry in entries:
        for name in ("name", "space", "format", "direction"):
            _string(entry[name])
        for name in ("address", "pitch", "block", "scales"):
            _whole(entry[name])
        tensor = Tensor(**{**entry, "shape": tuple(_whole(n, 1) for n in entry["shape"])})
        if tensor.name in firmware.tensors:
            raise ValueError(f"tensor {tensor.name!r} twice")
        firmware.tensors[tensor.name] = tensor


def _read_images(entries: Any, firmware: Firmware) -> None:
    for entry in entries:
        image = Image(**entry)
        if not re.fullmatch(r"[0-9a-f]{64}", _string(image.sha256)):
            raise ValueError(f"image {image.name!r}: {image.sha256!r} is no SHA-256")
        # A name with a folder in it could make a loader read outside the folders it searches.
        if not re.fullmatch(r"[^/\\\0]+", _string(image.name)) or image.name in (".", ".."):
            raise ValueError(f"image {image.name!r} is no plain file name")
        firmware.images.append(
            dataclasses.replace(image, address=_whole(image.address), size=_whole(image.size))
        )


def _read_symbols(entries: Any, firmware: Firmware) -> None:
    for key, (name, value, section, core) in entries.items():
        firmware.symbols[_string(key)] = Symbol(
            _string(name),
            _whole(value, -(1 << 63), (1 << 64) - 1),
            _string(section),
            _whole(core, ALL_CORES, 65535),
        )


def _read_lines(file: _File, firmware: Firmware) -> None:
    units = read_line_tables(file.contents(".debug_line") or b"")
    by_address = {
        core_window(core) + SLOTS["text"] * SLOT: text for core, text in firmware.cores.items()
    }
    for unit in units:
        text = by_address.get(unit.low)
        if text is None:
            continue
        ends = [row.address for row in unit.rows[1:]] + [unit.high]
        if any(row.address > end for row, end in zip(unit.rows, ends, strict=True)):
            raise DwarfError("addresses run backwards")
        for row, end in zip(unit.rows, ends, strict=True):
            if not 0 <= row.file < len(unit.files):
                raise DwarfError(f"file number {row.file + 1} of {len(unit.files)}")
            if unit.files[row.file] == "<none>":
                continue
            location = Location(unit.files[row.file], row.line)
            first, last = (row.address - unit.low) // 4, (end - unit.low) // 4
            for index in range(max(first, 0), min(last, len(text.locations))):
                text.locations[index] = location


def _read_calls(entries: Any, firmware: Firmware) -> None:
    for core, changes in entries.items():
        text = firmware.cores[int(core)]
        at = 0
        for number, (first, frames) in enumerate(changes):
            at = _whole(first, at)
            last = changes[number + 1][0] if number + 1 < len(changes) else len(text.locations)
            if not frames:
                continue
            location = _rebuild(frames)
            for index in range(at, min(_whole(last), len(text.locations))):
                text.locations[index] = location


def _rebuild(frames: list[list[Any]]) -> Location:
    place: Location | None = None
    for frame_file, line, via in reversed(frames):
        place = Location(_string(frame_file), _whole(line), place, _string(via))
    assert place is not None
    return place
