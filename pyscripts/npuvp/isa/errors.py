"""Places in source text and the errors that name them."""

from __future__ import annotations

from dataclasses import dataclass

from npuvp.location import Location

__all__ = ["MAX_ERRORS", "AssemblyError", "Diagnostic", "Location", "SourceError", "listed"]

MAX_ERRORS = 20


@dataclass(frozen=True)
class Diagnostic:
    """One error: where, which token, what is wrong and what was allowed."""

    location: Location
    column: int
    token: str
    message: str
    text: str = ""

    def __str__(self) -> str:
        lines = [f"{self.location}:{self.column}: {self.message}"]
        if self.text.strip():
            lines.append(f"    {self.text}")
            marker = "^" * max(1, len(self.token))
            lines.append("    " + " " * (self.column - 1) + marker)
        lines += [f"    {f.parent}: {f.via}" for f in self.location.frames() if f.parent]
        return "\n".join(lines)


class AssemblyError(ValueError):
    """Source text that does not assemble; `diagnostics` holds every error found, in text order."""

    def __init__(self, diagnostics: list[Diagnostic], suppressed: int = 0) -> None:
        self.diagnostics = diagnostics
        text = "\n".join(str(diagnostic) for diagnostic in diagnostics)
        if suppressed:
            text += f"\nand {suppressed} more"
        super().__init__(text)


class SourceError(Exception):
    """An error inside one line, raised to the place that knows the line's location."""

    def __init__(self, message: str, column: int = 1, token: str = "") -> None:
        super().__init__(message)
        self.message, self.column, self.token = message, column, token


def listed(names: object, limit: int = 12) -> str:
    """At most `limit` of the choices, sorted, for a message."""
    entries = sorted(str(name) for name in names)  # type: ignore[attr-defined]
    return ", ".join(entries[:limit]) + (", ..." if len(entries) > limit else "")
