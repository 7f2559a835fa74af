"""Source text as a stream of lines: comments, operands, blocks, macro bodies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from npuvp.isa.errors import Location, SourceError

MAX_LINES = 5_000_000
MAX_DEPTH = 100
BLOCKS = {".macro": ".endm", ".rept": ".endr", ".irp": ".endr"}
_ENDS = {".endm", ".endr"}
_PARAMETER = re.compile(r"\\(@|[A-Za-z_]\w*)(\\\(\))?")
_LABEL = re.compile(r"\s*([A-Za-z_$][\w$.]*)\s*:")
_WORD = re.compile(r"\s*(\S+)")


@dataclass(frozen=True)
class Line:
    """A line of text and where it stands."""

    text: str
    location: Location


@dataclass(frozen=True)
class Piece:
    """A part of a line and the column (from 1) it begins at."""

    text: str
    column: int


@dataclass(frozen=True)
class Statement:
    """A line taken apart: labels, then a mnemonic or directive with its operands."""

    line: Line
    labels: tuple[Piece, ...]
    name: Piece | None
    rest: Piece

    def operands(self) -> list[Piece]:
        """Operands separated by commas outside parentheses and quotes; none for an empty rest."""
        return split_operands(self.rest)


def strip_comment(text: str) -> str:
    """`text` up to a `;` or `//` outside quotes."""
    if ";" not in text and "//" not in text:
        return text
    quoted = False
    for at, character in enumerate(text):
        if character == '"' and (at == 0 or text[at - 1] != "\\"):
            quoted = not quoted
        elif not quoted and (character == ";" or text.startswith("//", at)):
            return text[:at]
    return text


def split_operands(piece: Piece) -> list[Piece]:
    """Parts of `piece` between top-level commas, trimmed."""
    if not piece.text.strip():
        return []
    parts: list[Piece] = []
    depth, quoted, start = 0, False, 0
    text = piece.text
    if "(" not in text and '"' not in text:
        for raw in text.split(","):
            lead = len(raw) - len(raw.lstrip())
            parts.append(Piece(raw.strip(), piece.column + start + lead))
            start += len(raw) + 1
        return parts
    for at, character in enumerate(text + ","):
        if character == '"' and (at == 0 or text[at - 1] != "\\"):
            quoted = not quoted
        elif quoted and at < len(text):
            continue
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and (depth <= 0 or at == len(text)):
            raw = text[start:at]
            parts.append(Piece(raw.strip(), piece.column + start + len(raw) - len(raw.lstrip())))
            start = at + 1
    if quoted:
        raise SourceError("a quoted text does not end", piece.column, text)
    return parts


def take_apart(line: Line) -> Statement:
    """Labels, name and operands of a line."""
    text = strip_comment(line.text).rstrip()
    labels = []
    at = 0
    while match := _LABEL.match(text, at):
        labels.append(Piece(match.group(1), match.start(1) + 1))
        at = match.end()
    word = _WORD.match(text, at)
    if not word:
        return Statement(line, tuple(labels), None, Piece("", len(text) + 1))
    rest = text[word.end() :]
    return Statement(
        line,
        tuple(labels),
        Piece(word.group(1), word.start(1) + 1),
        Piece(rest, word.end() + 1),
    )


def read_lines(
    text: str, file: str, parent: Location | None = None, via: str = ""
) -> Iterator[Line]:
    """The lines of a file."""
    for number, line in enumerate(text.splitlines(), 1):
        yield Line(line, Location(file, number, parent, via))


@dataclass(frozen=True)
class Parameter:
    """A macro's parameter and its default (None: must be given)."""

    name: str
    default: str | None


@dataclass(frozen=True)
class Macro:
    """A macro definition."""

    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[Line, ...]

    def bind(self, arguments: list[Piece], column: int) -> dict[str, str]:
        """Arguments by parameter name.

        Raises:
            SourceError: too many, too few or an unknown name.
        """
        names = [parameter.name for parameter in self.parameters]
        bound: dict[str, str] = {}
        for number, argument in enumerate(arguments):
            named = re.fullmatch(r"([A-Za-z_]\w*)\s*=(?!=)\s*(.*)", argument.text)
            if named and named.group(1) in names:
                name, text = named.groups()
            elif number < len(names):
                name, text = names[number], argument.text
            else:
                raise SourceError(
                    f"macro {self.name} takes {len(names)} arguments "
                    f"({', '.join(names) or 'none'}), not {len(arguments)}",
                    argument.column,
                    argument.text,
                )
            if name in bound:
                raise SourceError(
                    f"macro {self.name}: argument {name} is given twice",
                    argument.column,
                    argument.text,
                )
            bound[name] = text
        for parameter in self.parameters:
            if bound.get(parameter.name, "") == "":
                if parameter.default is None:
                    raise SourceError(
                        f"macro {self.name}: argument {parameter.name} is missing", column, ""
                    )
                bound[parameter.name] = parameter.default
        return bound


def substitute(
    lines: Iterable[Line], values: dict[str, str], parent: Location, via: str
) -> list[Line]:
    r"""Lines with `\name` replaced; a name that is no parameter stays (an inner macro's)."""

    def replace(match: re.Match[str]) -> str:
        return values.get(match.group(1), match.group(0))

    return [
        Line(
            _PARAMETER.sub(replace, line.text) if "\\" in line.text else line.text,
            Location(line.location.file, line.location.line, parent, via),
        )
        for line in lines
    ]


class Reader:
    """Lines in the order they are assembled; includes, macros and repetitions are pushed."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._stack: list[Iterator[Line]] = [iter(lines)]
        self._count = 0

    def push(self, lines: Iterable[Line]) -> None:
        """Reads `lines` before going on.

        Raises:
            SourceError: nested too deeply.
        """
        if len(self._stack) >= MAX_DEPTH:
            raise SourceError(f"includes and macros nested more than {MAX_DEPTH} deep")
        self._stack.append(iter(lines))

    def next(self) -> Line | None:
        """The next line, or None at the end.

        Raises:
            SourceError: the source expands to too many lines.
        """
        while self._stack:
            line = next(self._stack[-1], None)
            if line is not None:
                self._count += 1
                if self._count > MAX_LINES:
                    self._stack.clear()
                    raise SourceError(f"the source expands to more than {MAX_LINES} lines")
                return line
            self._stack.pop()
        return None

    def block(self, opening: Statement) -> list[Line]:
        """The lines up to the directive that closes `opening`, which is consumed.

        Raises:
            SourceError: the block does not end.
        """
        assert opening.name is not None
        closing = [BLOCKS[opening.name.text]]
        body: list[Line] = []
        for line in self._stack[-1]:
            name = take_apart(line).name
            if name and name.text in BLOCKS:
                closing.append(BLOCKS[name.text])
            elif name and name.text in _ENDS:
                if name.text == closing[-1]:
                    closing.pop()
                if not closing:
                    return body
            body.append(line)
        raise SourceError(
            f"{opening.name.text} without {closing[0]}", opening.name.column, opening.name.text
        )
