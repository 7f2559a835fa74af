"""Reads instruction logs and finds where two of them part."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npuvp._core import trace as _trace

__all__ = ["Divergence", "LogEntry", "first_divergence", "read_log"]

_MAGIC = b"NPUVLOG1"
_RECORD = np.dtype(
    [
        ("begin", "<u8"),
        ("end", "<u8"),
        ("pc", "<u4"),
        ("word", "<u4"),
        ("op", "<u2"),
        ("source", "<u2"),
        ("kind", "<u4"),
    ]
)
_RESULT = re.compile(r"  -> ([\w\[\]:]+) = (0x[0-9a-f]+)")
_PLACES = ("gp", "f", "v[", "fp[", "int[")


@dataclass(frozen=True)
class LogEntry:
    """One instruction of a log.

    Attributes:
        begin: Issue, in ps.
        end: Completion, in ps.
        core: Path of the core.
        pc: Address of the instruction.
        word: The instruction.
        text: Its text in the program or its mnemonic.
        results: What it wrote, where the log holds that: name and value. ``gp3`` and ``f1`` are
            registers (float32 bits), ``fp[8]`` and ``int[8]`` words, ``v[12]`` a row of Vector
            SRAM; of a row, and of several rows or words (``v[12:20]``), the value is the CRC-32 of
            their bytes.
    """

    begin: int
    end: int
    core: str
    pc: int
    word: int
    text: str
    results: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Divergence:
    """Where two logs part: the instruction with number `index` of a core; None where a log ended.

    Attributes:
        core: Path of the core.
        index: Instructions that agree before.
        first: What the one log says.
        second: What the other says.
        differs: ``pc``, ``word``, ``results``, ``time`` or ``length``.
    """

    core: str
    index: int
    first: LogEntry | None
    second: LogEntry | None
    differs: str


def read_log(path: str | Path) -> list[LogEntry]:
    """The instructions of a log, text or binary, in order. A cut file is read up to its cut.

    Raises:
        ValueError: The file is no instruction log; the message names the line or byte.
        FileNotFoundError: There is no such file.
    """
    file = Path(path)
    with file.open("rb") as stream:
        start = stream.read(len(_MAGIC))
    return list(_read_binary(file) if start == _MAGIC else _read_text(file))


def _read_text(file: Path) -> Iterator[LogEntry]:
    with file.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            if line.startswith("#"):
                continue
            if not line.endswith("\n"):
                return  # cut in the middle of a line
            parts = line.rstrip("\n").split("  -> ")[0].split(" ", 5)
            try:
                begin, end, core, pc, word, instruction = parts
                yield LogEntry(
                    int(begin),
                    int(end),
                    core,
                    int(pc, 16),
                    int(word, 16),
                    instruction,
                    tuple((name, int(value, 16)) for name, value in _RESULT.findall(line)),
                )
            except ValueError:
                raise ValueError(f"{file}:{number}: no line of an instruction log") from None


def _read_binary(file: Path) -> Iterator[LogEntry]:
    data = file.read_bytes()
    length = int.from_bytes(data[8:12], "little")
    try:
        header = json.loads(data[12 : 12 + length])
        sources, operations = header["sources"], header["operations"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{file}: byte 12: the header of the instruction log is broken") from None
    body = data[12 + length :]
    records = np.frombuffer(body, _RECORD, count=len(body) // _RECORD.itemsize)
    instruction, result = int(_trace.Kind.instruction.value), int(_trace.Kind.result.value)
    entry: LogEntry | None = None
    results: list[tuple[str, int]] = []
    for record in records.tolist():
        begin, end, pc, word, op, source, kind = record
        if kind == result and entry is not None:
            results.append((_place(op, word, end >> 32), end & 0xFFFFFFFF))
        if kind != instruction:
            continue
        if entry is not None:
            yield _with(entry, results)
        text = operations[op] if op < len(operations) else f"op{op}"
        entry, results = LogEntry(begin, end, sources[source], pc, word, text), []
    if entry is not None:
        yield _with(entry, results)


def _place(kind: int, first: int, count: int) -> str:
    """As the text form writes it."""
    name = f"{_PLACES[kind]}{first}"
    if kind < 2:
        return name
    return name + (f":{first + count}]" if count > 1 else "]")


def _with(entry: LogEntry, results: list[tuple[str, int]]) -> LogEntry:
    if not results:
        return entry
    return LogEntry(
        entry.begin, entry.end, entry.core, entry.pc, entry.word, entry.text, tuple(results)
    )


def first_divergence(
    first: list[LogEntry], second: list[LogEntry], *, times: bool = False
) -> Divergence | None:
    """The earliest place, core by core, where two logs do not agree; None if they do.

    Compared are address, word and, where both logs hold them, results; with `times` also issue and
    completion. Of several cores that part, the one whose instruction was issued first is named.
    """
    found = []
    cores = list(dict.fromkeys(entry.core for entry in [*first, *second]))
    for core in cores:
        one = [entry for entry in first if entry.core == core]
        two = [entry for entry in second if entry.core == core]
        for index in range(max(len(one), len(two))):
            a = one[index] if index < len(one) else None
            b = two[index] if index < len(two) else None
            differs = _difference(a, b, times)
            if differs:
                found.append(Divergence(core, index, a, b, differs))
                break
    return min(found, key=lambda d: min(e.begin for e in (d.first, d.second) if e), default=None)


def _difference(a: LogEntry | None, b: LogEntry | None, times: bool) -> str:
    if a is None or b is None:
        return "length"
    if a.pc != b.pc:
        return "pc"
    if a.word != b.word:
        return "word"
    if a.results and b.results and a.results != b.results:
        return "results"
    if times and (a.begin, a.end) != (b.begin, b.end):
        return "time"
    return ""
