"""The first instruction at which a log of the machine and the golden model part."""

import re
import zlib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from npuvp.errors import DeadlockError, Trap
from npuvp.golden.formats import float_bits
from npuvp.golden.machine import GoldenMachine
from npuvp.golden.state import CSR, Core
from npuvp.isa.disassembler import instruction_text
from npuvp.traces.log import Divergence, LogEntry

__all__ = ["diverges_from_golden", "value_at"]

_PLACE = re.compile(r"(gp|f)(\d+)|(v|fp|int)\[(\d+)(?::(\d+))?\]")
#: CSRs that count time, which the golden model does not have.
_CLOCKS = {CSR["cycle_lo"], CSR["cycle_hi"]}


class _Parted(Exception):
    """Ends the golden model's run where it differs."""


def value_at(core: Core, place: str) -> int:
    """What stands at a place of a core of the golden model, as an instruction log has it.

    Raises:
        ValueError: No such place.
    """
    found = _PLACE.fullmatch(place)
    if found is None:
        raise ValueError(f"place {place!r} (allowed: gp3, f1, v[12], v[12:20], fp[8], int[8])")
    register, number, space, first, end = found.groups()
    if register is not None:
        index = int(number)
        return core.gp[index] if register == "gp" else int(float_bits(core.fp[index]))
    start = int(first)
    stop = start + 1 if end is None else int(end)
    if space == "v":
        return zlib.crc32(np.ascontiguousarray(core.vector[start:stop]).tobytes())
    words = (core.fp_sram.view(np.uint32) if space == "fp" else core.int_sram)[start:stop]
    return int(words[0]) if stop == start + 1 else zlib.crc32(words.tobytes())


def diverges_from_golden(
    log: Iterable[LogEntry], machine: GoldenMachine
) -> tuple[Divergence | None, int]:
    """Runs the golden model beside a log of the machine.

    Addresses, words and every result that the log holds are compared; what CSRs say of time is
    taken over from the log. A program that traps on both sides, at the same instruction, agrees.

    Args:
        log: The machine's, whole from the start, of the same program, platform and inputs.
        machine: The golden model, loaded and not run.

    Returns:
        Where they part, None if they do not; and the number of instructions compared.
    """
    names = [core["name"] for core in machine.description["cores"]]
    logs: dict[str, list[LogEntry]] = {name: [] for name in names}
    for entry in log:
        logs.setdefault(entry.core, []).append(entry)
    unknown = [name for name in logs if name not in names]
    if unknown:
        raise ValueError(f"the log is of {unknown[0]}, the platform has {', '.join(names)}")
    at = dict.fromkeys(names, 0)
    parted: list[Divergence] = []

    def part(name: str, first: LogEntry | None, second: LogEntry | None, how: str) -> None:
        parted.append(Divergence(name, at[name], first, second, how))
        raise _Parted

    def look(core: Core, pc: int) -> None:
        name = names[core.index]
        word = core.text[pc].word
        golden = LogEntry(0, 0, name, pc, word, instruction_text(word, pc))
        if at[name] >= len(logs[name]):
            part(name, None, golden, "length")
        entry = logs[name][at[name]]
        if entry.pc != pc or entry.word != word:
            part(name, entry, golden, "pc" if entry.pc != pc else "word")
        if core.text[pc].name == "C_CSRR" and core.text[pc].imm in _CLOCKS:
            for place, value in entry.results:
                core.write_gp(int(place[2:]), value)
        values = tuple((place, value_at(core, place)) for place, _ in entry.results)
        if values != entry.results:
            part(name, entry, replace(golden, results=values), "results")
        at[name] += 1

    machine.observer = look
    try:
        machine.run()
    except _Parted:
        return parted[0], sum(at.values())
    except (Trap, DeadlockError):
        pass  # the machine's log ends here as well, or goes on, which is told below
    for name in names:
        if at[name] < len(logs[name]):
            return Divergence(name, at[name], logs[name][at[name]], None, "length"), sum(
                at.values()
            )
    return None, sum(at.values())
