"""Places in source text."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Location"]


@dataclass(frozen=True)
class Location:
    """A line of a source file; `parent`: the include, macro call or repetition it came through."""

    file: str
    line: int
    parent: Location | None = None
    via: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def frames(self) -> list[Location]:
        """This place and everything it was reached through, innermost first."""
        found: list[Location] = []
        place: Location | None = self
        while place is not None:
            found.append(place)
            place = place.parent
        return found
