"""Where a breakpoint stands: text to the words of a program."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from npuvp.errors import InputError
from npuvp.firmware import ALL_CORES, Firmware
from npuvp.isa.declaration import load
from npuvp.isa.encoding import decode
from npuvp.traces.names import mark_names
from npuvp.traces.session import MARK_KINDS

__all__ = ["Place", "find_place", "labels_of", "lines_of", "mnemonics_of"]

_LINE = re.compile(r"(?P<file>[^\s:]*):(?P<line>\d+)")
_MARK = re.compile(rf"(?:mark\s+)?(?P<kind>{'|'.join(MARK_KINDS)})(?:[\s:]+(?P<number>\w+))?")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|\d+")


@dataclass(frozen=True)
class Place:
    """Words of one core's program; for a mark with a number, only where it has that number.

    Attributes:
        what: The place as it was asked for, for messages.
        pcs: Word addresses.
        number: What the mark must say, or None.
        registers: Of a mark: the register that holds its number, by word address.
    """

    what: str
    pcs: tuple[int, ...]
    number: int | None = None
    registers: Mapping[int, int] = field(default_factory=dict)


def labels_of(firmware: Firmware, core: int) -> dict[str, int]:
    """Labels of a core's program and their word addresses."""
    own = core if core in firmware.cores else ALL_CORES
    return {
        symbol.name: symbol.value
        for symbol in firmware.symbols.values()
        if symbol.section == "text" and symbol.core == own
    }


def lines_of(firmware: Firmware, core: int) -> dict[tuple[str, int], list[int]]:
    """Word addresses by (file, line), macro calls and includes counted with their callers."""
    found: dict[tuple[str, int], list[int]] = {}
    text = firmware.text(core)
    for pc, location in enumerate(text.locations if text else ()):
        for frame in location.frames() if location else ():
            found.setdefault((frame.file, frame.line), []).append(pc)
    return found


def mnemonics_of(firmware: Firmware, core: int) -> dict[str, list[int]]:
    """Word addresses by mnemonic."""
    found: dict[str, list[int]] = {}
    text = firmware.text(core)
    for pc, word in enumerate(text.words if text else ()):
        decoded = decode(word)
        if decoded is not None:
            found.setdefault(decoded.instruction.text, []).append(pc)
    return found


def find_place(firmware: Firmware, core: int, place: int | str) -> Place:
    """The words that `place` names: in this order a word address, a line (``FILE:41`` or ``:41``), a
    label, a mark (``step``, ``step 3``, ``op 12``), a mnemonic.

    Raises:
        InputError: It names nothing in this program; the message says what comes near.
    """
    text = firmware.text(core)
    words = len(text.words) if text else 0
    if isinstance(place, int) or _NUMBER.fullmatch(place):
        pc = place if isinstance(place, int) else int(place, 0)
        if not 0 <= pc < words:
            raise InputError(f"no word {pc:#x} in the program (words 0x0..{max(words - 1, 0):#x})")
        return Place(f"pc {pc:#06x}", (pc,))
    if match := _LINE.fullmatch(place):
        return _line(firmware, core, place, match["file"], int(match["line"]))
    labels = labels_of(firmware, core)
    if place in labels:
        return Place(place, (labels[place],))
    if match := _MARK.fullmatch(place):
        return _mark(firmware, core, match["kind"], match["number"])
    mnemonics = mnemonics_of(firmware, core)
    if place.upper() in mnemonics:
        return Place(place.upper(), tuple(mnemonics[place.upper()]))
    if any(place.upper() == instruction.text for instruction in load().instructions):
        raise InputError(f"the program has no {place.upper()}")
    raise InputError(
        f"{place!r} is no word address, line, label, mark or mnemonic of the program"
        + _near(place, [*labels, *mnemonics, *MARK_KINDS])
    )


def _line(firmware: Firmware, core: int, place: str, file: str, line: int) -> Place:
    lines = lines_of(firmware, core)
    if not lines:
        raise InputError(f"{place!r}: the program has no line table")
    files = sorted({name for name, _ in lines})
    chosen = [name for name in files if not file or name == file or Path(name).name == file]
    if not chosen:
        names = ", ".join(Path(name).name for name in files)
        raise InputError(f"{place!r}: no file {file!r} (files: {names})")
    if not file:
        text = firmware.text(core)
        entry = text.locations[text.entry] if text else None
        if entry is not None:
            chosen = [entry.frames()[-1].file]
    found = sorted({pc for name in chosen for pc in lines.get((name, line), ())})
    if not found:
        near = sorted({n for name, n in lines if name in chosen}, key=lambda n: abs(n - line))[:3]
        raise InputError(
            f"{place!r}: no instruction comes from this line (nearest lines: "
            f"{', '.join(map(str, sorted(near)))})"
        )
    # A line whose words follow one another stops once, at the first of each run of words.
    firsts = tuple(pc for pc in found if pc - 1 not in found)
    return Place(f"{Path(chosen[0]).name}:{line}", firsts)


def _mark(firmware: Firmware, core: int, kind: str, number: str | None) -> Place:
    code = MARK_KINDS.index(kind)
    words = mark_names(firmware).get(kind, [])
    value = None
    if number is not None:
        value = words.index(number) if number in words else -1
        if number.isascii() and number.isdigit():
            value = int(number)
        if value < 0:
            known = f", or a name: {', '.join(words)}" if words else ""
            raise InputError(f"mark {kind} {number!r} (allowed: {kind} and a number{known})")
    found = []
    text = firmware.text(core)
    for pc, word in enumerate(text.words if text else ()):
        decoded = decode(word)
        if (
            decoded is not None
            and decoded.instruction.name == "C_MARK"
            and decoded.values[0] == code
        ):
            found.append((pc, decoded.values[1]))
    if not found:
        raise InputError(f"the program has no mark of kind {kind} (C_MARK {kind}, gpA)")
    pcs = tuple(pc for pc, _ in found)
    if value is None:
        return Place(f"mark {kind}", pcs)
    return Place(f"mark {kind} {number}", pcs, value, dict(found))


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 3)
    return f" (near: {', '.join(near)})" if near else ""
