"""Firmware: what a platform runs, and its file.

A firmware holds text per core, data for the memories, symbols, named tensors, a line table and the
source. `Firmware.save` writes an ELF file that `readelf`, `objdump -s` and pyelftools read.
"""

from __future__ import annotations

import hashlib
import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from npuvp.location import Location

__all__ = [
    "ALL_CORES",
    "DataSegment",
    "Firmware",
    "FirmwareError",
    "Image",
    "Location",
    "Symbol",
    "Tensor",
    "Text",
    "element_bits",
    "scale_bytes",
]

ALL_CORES = -1
"""Number under which text stands that every core without text of its own runs."""

SRAM_SPACES = ("vector", "matrix", "fp", "int")
FORMAT_BITS = {
    "mxfp8_e4m3": 8,
    "mxfp8_e5m2": 8,
    "mxfp6_e3m2": 6,
    "mxfp6_e2m3": 6,
    "mxfp4_e2m1": 4,
    "mxint8": 8,
    "mxint4": 4,
    "plena": 8,
    "plena_e4m3": 8,
    "plena_e5m2": 8,
    "plena_e3m4": 8,
    "plena_e2m5": 8,
    "bf16": 16,
    "fp16": 16,
    "fp32": 32,
    "raw32": 32,
    "raw8": 8,
}
MX_FORMATS = tuple(name for name in FORMAT_BITS if name.startswith(("mx", "plena")))
SEGMENT_FORMATS = {"raw8": 1, "bf16": 2, "fp32": 4, "raw32": 4}
DIRECTIONS = ("in", "out", "inout")
SPACE = re.compile(r"hbm|core(0|[1-9]\d{0,4})\.(vector|matrix|fp|int)")


class FirmwareError(ValueError):
    """A file or a firmware that is malformed; the message says where and why."""


def element_bits(element_format: str) -> int:
    """Bits of one element in memory, scales not counted.

    Raises:
        FirmwareError: unknown format.
    """
    if element_format not in FORMAT_BITS:
        raise FirmwareError(f"format {element_format!r} (allowed: {', '.join(FORMAT_BITS)})")
    return FORMAT_BITS[element_format]


def scale_bytes(element_format: str, elements: int, block: int) -> int:
    """Bytes of the E8M0 scales of one row of `elements` elements; 0 for formats without scales."""
    return math.ceil(elements / block) if element_format in MX_FORMATS else 0


def check_space(space: str) -> str:
    """`space` itself.

    Raises:
        FirmwareError: not the name of a space.
    """
    if not SPACE.fullmatch(space):
        choices = ", ".join(f"coreN.{name}" for name in SRAM_SPACES)
        raise FirmwareError(f"space {space!r} (allowed: hbm, {choices})")
    return space


@dataclass
class Text:
    """A program: words, the source line of each (or None), and the word it starts at."""

    words: list[int] = field(default_factory=list)
    locations: list[Location | None] = field(default_factory=list)
    entry: int = 0


@dataclass(frozen=True)
class DataSegment:
    """Initial contents of a memory.

    Attributes:
        space: "hbm" or "coreN.vector|matrix|fp|int".
        address: in the space's unit: bytes in HBM, elements in Vector and Matrix SRAM, words else.
        format: what `data` holds: "raw8" in HBM; in SRAMs values as "fp32", "bf16" or "raw32",
            which a platform converts to the SRAM's own storage format.
        data: little-endian.
    """

    space: str
    address: int
    format: str
    data: bytes

    @property
    def units(self) -> int:
        """Length in the space's address unit."""
        return len(self.data) // SEGMENT_FORMATS[self.format]


@dataclass(frozen=True)
class Symbol:
    """A name of the source: a label (`section` is "text" or a space) or a constant (empty)."""

    name: str
    value: int
    section: str = ""
    core: int = ALL_CORES


@dataclass(frozen=True)
class Tensor:
    """A named tensor: what the host supplies or fetches.

    Attributes:
        name: unique in the firmware.
        space: "hbm" or an SRAM space.
        address: of the first element, in the space's unit.
        format: element format in that place.
        shape: outermost dimension first.
        direction: "in", "out" or "inout".
        pitch: distance between rows (of the last dimension) in the space's unit; 0 = packed.
        block: elements per MX scale.
        scales: address of the first scale byte (MX formats in HBM).
    """

    name: str
    space: str
    address: int
    format: str
    shape: tuple[int, ...]
    direction: str
    pitch: int = 0
    block: int = 32
    scales: int = 0

    def __post_init__(self) -> None:
        where = f"tensor {self.name!r}: "
        check_space(self.space)
        element_bits(self.format)
        if self.direction not in DIRECTIONS:
            raise FirmwareError(
                f"{where}direction {self.direction!r} (allowed: {', '.join(DIRECTIONS)})"
            )
        if not self.shape or any(not isinstance(n, int) or n < 1 for n in self.shape):
            raise FirmwareError(f"{where}shape {self.shape} (dimensions are positive)")
        if self.block not in (8, 16, 32):
            raise FirmwareError(f"{where}block {self.block} (allowed: 8, 16, 32)")
        for name in ("address", "pitch", "scales"):
            if not 0 <= getattr(self, name) < 1 << 63:
                raise FirmwareError(f"{where}{name} is {getattr(self, name)} (0..2^63-1)")
        if 0 < self.pitch < self.row_units:
            raise FirmwareError(f"{where}pitch {self.pitch} is less than a row ({self.row_units})")

    @property
    def rows(self) -> int:
        """Rows of the last dimension."""
        return math.prod(self.shape[:-1])

    @property
    def row_units(self) -> int:
        """Length of a row in the space's unit."""
        if self.space == "hbm":
            return math.ceil(self.shape[-1] * element_bits(self.format) / 8)
        return self.shape[-1]

    @property
    def size(self) -> int:
        """Units from the first element to behind the last one."""
        return (self.rows - 1) * (self.pitch or self.row_units) + self.row_units

    @property
    def scale_size(self) -> int:
        """Bytes of all scales."""
        return self.rows * scale_bytes(self.format, self.shape[-1], self.block)


@dataclass(frozen=True)
class Image:
    """A part of HBM whose contents stand in a file of their own, named by its SHA-256."""

    name: str
    address: int
    size: int
    sha256: str

    @staticmethod
    def of(path: Path | str, address: int) -> Image:
        """The image of an existing file."""
        path = Path(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Image(path.name, address, path.stat().st_size, digest)

    def find(self, folders: Iterable[Path]) -> Path:
        """The image's file in one of `folders`.

        Raises:
            FirmwareError: in none of them, or with other contents.
        """
        folders = list(folders)
        for folder in folders:
            path = folder / self.name
            if not path.is_file():
                continue
            found = Image.of(path, self.address)
            if found.sha256 != self.sha256:
                raise FirmwareError(
                    f"image {path}: its SHA-256 is {found.sha256}, the firmware needs {self.sha256}"
                )
            return path
        places = ", ".join(map(str, folders)) or "nowhere"
        raise FirmwareError(f"image {self.name!r} (SHA-256 {self.sha256}) is in none of: {places}")


@dataclass
class Firmware:
    """What a platform runs; made by `npuvp.assemble`, `npuvp.compile` or `Firmware.load`."""

    cores: dict[int, Text] = field(default_factory=dict)
    segments: list[DataSegment] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    symbols: dict[str, Symbol] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    images: list[Image] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    path: Path | None = None

    def text(self, core: int) -> Text | None:
        """The program of a core: its own, else the one for all cores, else None."""
        return self.cores.get(core, self.cores.get(ALL_CORES))

    def location(self, core: int, pc: int) -> Location | None:
        """The source line of a word, with the macro calls and includes it came through."""
        text = self.text(core)
        if text is None or not 0 <= pc < len(text.locations):
            return None
        return text.locations[pc]

    def label(self, core: int, pc: int) -> tuple[str, int] | None:
        """The nearest label at or before `pc` and the distance to it in words."""
        own = core if core in self.cores else ALL_CORES
        labels = sorted(
            (symbol.value, symbol.name)
            for symbol in self.symbols.values()
            if symbol.section == "text" and symbol.core == own
        )
        at = bisect_right(labels, (pc, "\uffff")) - 1
        return (labels[at][1], pc - labels[at][0]) if at >= 0 else None

    def source_line(self, location: Location) -> str:
        """The text of a source line; empty where the source is not known."""
        lines = self.sources.get(location.file, "").splitlines()
        return lines[location.line - 1] if 0 < location.line <= len(lines) else ""

    def check(self) -> None:
        """Raises FirmwareError if parts contradict each other."""
        ranges: dict[str, list[tuple[int, int, str]]] = {}
        for segment in self.segments:
            check_space(segment.space)
            if segment.format not in SEGMENT_FORMATS:
                raise FirmwareError(
                    f"data at {segment.space}@{segment.address:#x}: format {segment.format!r} "
                    f"(allowed: {', '.join(SEGMENT_FORMATS)})"
                )
            if (segment.space == "hbm") != (segment.format == "raw8"):
                raise FirmwareError(
                    f"data at {segment.space}@{segment.address:#x}: HBM holds raw8, SRAMs hold "
                    f"fp32, bf16 or raw32, not {segment.format}"
                )
            if len(segment.data) % SEGMENT_FORMATS[segment.format]:
                raise FirmwareError(
                    f"data at {segment.space}@{segment.address:#x}: {len(segment.data)} bytes are "
                    f"not whole {segment.format} elements"
                )
            entry = (segment.address, segment.address + segment.units, "data")
            ranges.setdefault(segment.space, []).append(entry)
        for image in self.images:
            ranges.setdefault("hbm", []).append(
                (image.address, image.address + image.size, f"image {image.name}")
            )
        for space, entries in ranges.items():
            entries.sort()
            for (_, end, one), (start, _, other) in pairwise(entries):
                if start < end:
                    raise FirmwareError(
                        f"{space}: {one} up to {end:#x} overlaps {other} from {start:#x} on"
                    )
        for core, text in self.cores.items():
            if core != ALL_CORES and not 0 <= core < 1 << 16:
                raise FirmwareError(f"core {core} (0..65535)")
            if len(text.words) != len(text.locations):
                raise FirmwareError(
                    f"core {core}: {len(text.words)} words have {len(text.locations)} locations"
                )
            if any(not 0 <= word < 1 << 32 for word in text.words):
                raise FirmwareError(f"core {core}: a word is not a 32-bit number")
            if not 0 <= text.entry <= max(0, len(text.words) - 1):
                raise FirmwareError(
                    f"core {core}: entry {text.entry} in a text of {len(text.words)} words"
                )

    def save(self, path: Path | str) -> Path:
        """Writes the firmware as an ELF file and returns its path.

        Raises:
            FirmwareError: parts contradict each other.
        """
        from npuvp.elf import write_firmware

        self.check()
        path = Path(path)
        path.write_bytes(write_firmware(self))
        return path

    @classmethod
    def load(cls, path: Path | str, data: bytes | None = None) -> Firmware:
        """Reads an ELF file (or `data` in its place, for messages called `path`).

        Raises:
            FirmwareError: the file is malformed or not npuvp firmware; says where and why.
            OSError: the file cannot be read.
        """
        from npuvp.elf import read_firmware

        firmware = read_firmware(Path(path).read_bytes() if data is None else data, str(path))
        try:
            firmware.check()
        except FirmwareError as error:
            raise FirmwareError(f"{path}: {error}") from None
        firmware.path = Path(path)
        return firmware

    @classmethod
    def from_words(cls, words: Iterable[int], core: int = ALL_CORES) -> Firmware:
        """A firmware of nothing but one program, given as instruction words."""
        listed = [int(word) for word in words]
        firmware = cls(cores={core: Text(listed, [None] * len(listed))})
        firmware.check()
        return firmware

    @classmethod
    def load_words(cls, path: Path | str) -> Firmware:
        """Reads raw words: little-endian binary (.bin), else hex text as the public one prints.

        Raises:
            FirmwareError: a token that is no 32-bit hex number, a length that is no multiple of 4.
        """
        path = Path(path)
        data = path.read_bytes()
        if path.suffix == ".bin":
            if len(data) % 4:
                raise FirmwareError(f"{path}: {len(data)} bytes are not whole 32-bit words")
            words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        else:
            words = []
            for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
                for token in line.split():
                    if not re.fullmatch(r"(0[xX])?[0-9a-fA-F]{1,8}", token):
                        raise FirmwareError(
                            f"{path}:{number}: {token[:40]!r} is no hexadecimal 32-bit word"
                        )
                    words.append(int(token, 16))
        if not words:
            raise FirmwareError(f"{path}: no words")
        firmware = cls.from_words(words)
        firmware.path = path
        return firmware

    def summary(self) -> Mapping[str, object]:
        """Sizes, for people and for `--json`."""
        return {
            "cores": {
                "all" if core == ALL_CORES else str(core): len(text.words)
                for core, text in sorted(self.cores.items())
            },
            "data_bytes": sum(len(segment.data) for segment in self.segments),
            "tensors": sorted(self.tensors),
            "images": [image.name for image in self.images],
        }
