"""Sections under construction: text of cores and data of memories."""

from __future__ import annotations

from dataclasses import dataclass, field

from npuvp.firmware import DataSegment
from npuvp.isa.errors import Location, SourceError


@dataclass
class TextSection:
    """Instruction words of one or more cores."""

    cores: tuple[int, ...]
    words: list[int] = field(default_factory=list)
    locations: list[Location | None] = field(default_factory=list)
    entry: int | None = None

    name = "text"
    unit = "words"

    @property
    def here(self) -> int:
        """The current word address."""
        return len(self.words)

    def emit(self, word: int, location: Location) -> None:
        """Appends a word."""
        self.words.append(word)
        self.locations.append(location)

    def advance(self, to: int, location: Location) -> None:
        """Moves forward, filling with words that trap.

        Raises:
            SourceError: backwards, or absurdly far.
        """
        if not self.here <= to < 1 << 22:
            raise SourceError(f"address {to} (allowed: {self.here}..{(1 << 22) - 1})")
        while self.here < to:
            self.emit(0, location)


@dataclass
class DataSection:
    """Contents of one memory."""

    space: str
    here: int = 0
    chunks: list[tuple[int, str, bytearray]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The space."""
        return self.space

    @property
    def unit(self) -> str:
        """What an address counts."""
        if self.space == "hbm":
            return "bytes"
        return "words" if self.space.endswith((".fp", ".int")) else "elements"

    def emit(self, element_format: str, data: bytes, units: int) -> None:
        """Appends `units` units of contents."""
        if self.chunks:
            start, last_format, last = self.chunks[-1]
            size = {"raw8": 1, "bf16": 2}.get(element_format, 4)
            if last_format == element_format and start + len(last) // size == self.here:
                last.extend(data)
                self.here += units
                return
        self.chunks.append((self.here, element_format, bytearray(data)))
        self.here += units

    def advance(self, to: int, location: Location) -> None:
        """Moves the current address; what lies between stays undefined."""
        if not 0 <= to < 1 << 62:
            raise SourceError(f"address {to} (allowed: 0..2^62-1)")
        self.here = to

    def segments(self) -> list[DataSegment]:
        """The finished contents."""
        return [
            DataSegment(self.space, start, element_format, bytes(data))
            for start, element_format, data in self.chunks
        ]


Section = TextSection | DataSection
