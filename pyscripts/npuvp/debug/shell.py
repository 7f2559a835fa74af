"""The commands of `npuvp debug`: lines of text to calls of a `Debugger`."""

import inspect
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npuvp.debug.control import Debugger
from npuvp.debug.places import labels_of, lines_of, mnemonics_of
from npuvp.errors import InputError, RunError
from npuvp.traces.session import MARK_KINDS

__all__ = ["AssertionFailed", "Shell"]


class AssertionFailed(RunError):
    """An `assert` of a script that does not hold."""


_INFO = ("breakpoints", "registers", "loops", "dma", "cores", "marks", "tensors")
_SPACES = ("vector", "matrix", "fp", "int")
_FORMATS = ("raw8", "raw32", "bf16", "fp16", "fp32")
#: Command: other names it has.
_ALIASES = {
    "break": ("b",),
    "watch": ("w",),
    "delete": ("d",),
    "continue": ("c", "run", "r"),
    "step": ("s",),
    "next": ("n",),
    "rstep": ("rs",),
    "rcontinue": ("rc",),
    "print": ("p",),
    "sram": ("x",),
    "list": ("l",),
    "where": ("bt",),
    "info": ("i",),
    "help": ("h", "?"),
    "quit": ("q", "exit"),
}


class Shell:
    """Carries out commands.

    Args:
        debugger: What they act on.
        write: Takes their output, a text per call.
    """

    def __init__(self, debugger: Debugger, write: Callable[[str], None] = print):
        self.debugger = debugger
        self.write = write
        self.done = False
        self._commands: dict[str, Callable[[str], None]] = {
            name.removeprefix("do_"): method
            for name, method in inspect.getmembers(self, inspect.ismethod)
            if name.startswith("do_")
        }
        self._names = {name: name for name in self._commands}
        self._names |= {alias: name for name, others in _ALIASES.items() for alias in others}

    @property
    def commands(self) -> list[str]:
        """Names of the commands."""
        return list(self._commands)

    def execute(self, line: str) -> None:
        """Carries out one line; an empty one, or one that begins with ``#``, does nothing.

        Raises:
            InputError: No such command, or arguments that it does not take.
            RunError: What the run cannot do; a failed assertion.
        """
        word, _, rest = line.strip().partition(" ")
        if not word or word.startswith("#"):
            return
        self._commands[self._command(word)](rest.strip())

    def _command(self, word: str) -> str:
        if word in self._names:
            return self._names[word]
        starts = sorted(name for name in self._commands if name.startswith(word))
        if len(starts) == 1:
            return starts[0]
        if starts:
            raise InputError(f"command {word!r} may be {', '.join(starts)}")
        raise InputError(f"no command {word!r} (help lists them)")

    # Running

    def do_continue(self, _: str) -> None:
        """continue -- go on to the next breakpoint, change or end"""
        self.write(str(self.debugger.cont()))

    def do_step(self, text: str) -> None:
        """step [COUNT | all] -- carry out instructions of this core, or one of every core"""
        if text == "all":
            self.write(str(self.debugger.step(all_cores=True)))
        else:
            self.write(str(self.debugger.step(_number(text, "COUNT") if text else 1)))

    def do_next(self, _: str) -> None:
        """next -- go on to the next source line"""
        self.write(str(self.debugger.next_line()))

    def do_mark(self, text: str) -> None:
        """mark [KIND] -- go on to the next mark: layer, block, step, call, op (default), phase"""
        self.write(str(self.debugger.next_mark(text or "op")))

    def do_to(self, text: str) -> None:
        """to CYCLE -- go on until an instruction is about to issue in this cycle or later"""
        self.write(str(self.debugger.run_to(_number(text, "CYCLE"))))

    def do_rstep(self, text: str) -> None:
        """rstep [COUNT] -- go back by instructions (replays the run up to there)"""
        self.write(str(self.debugger.reverse_step(_number(text, "COUNT") if text else 1)))

    def do_rcontinue(self, _: str) -> None:
        """rcontinue -- go back to the last breakpoint or change (replays the run up to there)"""
        self.write(str(self.debugger.reverse_cont()))

    def do_rto(self, text: str) -> None:
        """rto CYCLE -- go to a cycle that is past (replays the run up to there)"""
        self.write(str(self.debugger.reverse_to(_number(text, "CYCLE"))))

    # Breakpoints

    def do_break(self, text: str) -> None:
        """break PLACE [if CONDITION] -- stop before an instruction: 0x2a, sum.s:41, :41, LABEL, step 3, V_RED_SUM"""
        place, _, condition = text.partition(" if ")
        if not place:
            raise InputError("break PLACE [if CONDITION]: PLACE is missing")
        point = self.debugger.break_at(place.strip(), condition=condition.strip() or None)
        self.write(f"breakpoint {point.number}: {point}")

    def do_watch(self, text: str) -> None:
        """watch WHAT -- stop after a change: gp4, f1, a2, vector[3:5], fp[12], int[0:8], hbm[0x100:0x140], TENSOR"""
        point = self.debugger.watch(text)
        self.write(f"watchpoint {point.number}: {point}")

    def do_delete(self, text: str) -> None:
        """delete [NUMBER] -- take a breakpoint or watchpoint away; without a number: all"""
        self.debugger.clear(_number(text, "NUMBER") if text else None)

    # Looking

    def do_where(self, _: str) -> None:
        """where -- instruction, clock, marks, open loops, what the core waits for"""
        self.write(self.debugger.where())

    def do_list(self, text: str) -> None:
        """list [COUNT] -- instructions around the next one, with their source"""
        count = _number(text, "COUNT") if text else 10
        self.write(self.debugger.disassembly(before=count // 3, after=count - count // 3))

    def do_print(self, text: str) -> None:
        """print EXPRESSION -- gp4, f1 + 2, fp[12], int[3] & 0xff, step, cycle"""
        value = self.debugger.value(text)
        whole = isinstance(value, int) and not isinstance(value, bool)
        self.write(f"{text} = {value} ({value:#x})" if whole else f"{text} = {value}")

    def do_assert(self, text: str) -> None:
        """assert EXPRESSION -- fail (and end a script) where it does not hold"""
        if not self.debugger.value(text):
            raise AssertionFailed(f"{text} does not hold\n  {self.debugger.where()}")

    def do_sram(self, text: str) -> None:
        """sram SPACE [ROW | FIRST:END] -- rows of vector or matrix, words of fp or int, as numbers"""
        space, _, rows = text.partition(" ")
        wanted: int | slice | None = None
        if rows:
            first, colon, end = rows.partition(":")
            wanted = _number(first, "ROW")
            wanted = slice(wanted, _number(end, "END")) if colon else wanted
        self.write(_numbers(self.debugger.sram(space, wanted)))

    def do_hbm(self, text: str) -> None:
        """hbm ADDRESS COUNT [FORMAT] -- elements in HBM: raw8, raw32, bf16, fp16, fp32, ..."""
        parts = shlex.split(text)
        if len(parts) not in (2, 3):
            raise InputError("hbm ADDRESS COUNT [FORMAT]")
        address, count = _number(parts[0], "ADDRESS"), _number(parts[1], "COUNT")
        self.write(_numbers(self.debugger.hbm(address, count, *parts[2:])))

    def do_tensor(self, text: str) -> None:
        """tensor NAME -- a tensor that the firmware declares, as it stands now"""
        self.write(_numbers(self.debugger.tensor(text)))

    def do_info(self, text: str) -> None:
        """info breakpoints | registers | loops | dma | cores | marks | tensors"""
        found = [name for name in _INFO if text and name.startswith(text)]
        if len(found) != 1:
            raise InputError(f"info {text!r} (allowed: {', '.join(_INFO)})")
        lines: list[str] = getattr(self, f"_{found[0]}")()
        self.write("\n".join(lines) or f"no {found[0]}")

    def _breakpoints(self) -> list[str]:
        return [
            f"{point.number:3}  {type(point).__name__.lower():<10}  {point}  ({point.hits} hits)"
            for point in self.debugger.points
        ]

    def _registers(self) -> list[str]:
        registers = self.debugger.registers()
        lines = [f"pc = {registers['pc']:#06x}"]
        for prefix, count, per in (("gp", 16, 4), ("f", 8, 4), ("a", 16, 4)):
            for start in range(0, count, per):
                names = [f"{prefix}{i}" for i in range(start, start + per)]
                values = (
                    f"{name:>4} = {registers[name]:<12.7g}"
                    if prefix == "f"
                    else f"{name:>4} = {registers[name]:#0{10 if prefix == 'gp' else 12}x}"
                    for name in names
                )
                lines.append("  ".join(values).rstrip())
        others = [name for name in registers if name not in _PLAIN]
        lines.append("CSRs  " + ", ".join(f"{name} {registers[name]:#x}" for name in others))
        return lines

    def _loops(self) -> list[str]:
        return [
            f"{loop.register}: iteration {loop.iteration} of {loop.count}, "
            f"from pc {loop.pc:#06x}  {loop.where}"
            for loop in self.debugger.loops()
        ]

    def _dma(self) -> list[str]:
        return [
            f"tag {t.tag} {'load' if t.to_sram else 'store'}, {t.bytes} bytes, memory {t.address:#x}, "
            + ", ".join(f"{space}[{first}:{first + count}]" for space, first, count in t.ranges)
            + f", {t.in_flight} transactions in flight, from pc {t.pc:#06x}  {t.where}"
            for t in self.debugger.transfers()
        ]

    def _cores(self) -> list[str]:
        here = self.debugger.core
        return [
            ("=> " if name == here else "   ") + self.debugger.where(name).replace("\n", "\n   ")
            for name in self.debugger.core_names
        ]

    def _marks(self) -> list[str]:
        return [f"{kind} {number}" for kind, number in self.debugger.marks().items()]

    def _tensors(self) -> list[str]:
        return [
            f"{t.name}: {t.space} {t.address:#x}, {t.format}, "
            f"{' x '.join(map(str, t.shape))}, {t.direction}"
            for t in self.debugger.firmware.tensors.values()
        ]

    # The rest

    def do_core(self, text: str) -> None:
        """core NAME -- look at another core"""
        self.debugger.core = text
        self.write(self.debugger.where())

    def do_checkpoint(self, text: str) -> None:
        """checkpoint FILE -- save this instant; npuvp debug --restore FILE comes back to it"""
        if not text:
            raise InputError("checkpoint FILE: FILE is missing")
        found = self.debugger.checkpoint(text)
        self.write(f"written: {text} (cycle {found.cycle}, restored by replay)")

    def do_help(self, text: str) -> None:
        """help [COMMAND] -- this list"""
        names = [self._command(text)] if text else self.commands
        for name in names:
            usage, _, meaning = inspect.cleandoc(self._commands[name].__doc__ or "").partition(
                " -- "
            )
            short = ", ".join(_ALIASES.get(name, ()))
            self.write(f"{usage}" + (f"  ({short})" if short else "") + f"\n    {meaning}")

    def do_quit(self, _: str) -> None:
        """quit -- end the run where it stands"""
        self.done = True

    # Completion

    def completions(self, line: str) -> list[str]:
        """What may stand at the end of a line: whole words that begin like its last one."""
        words = line.lstrip().split(" ")
        if len(words) == 1:
            return _starting(words[0], self.commands)
        try:
            command = self._command(words[0])
        except InputError:
            return []
        last = words[-1]
        firmware, core = self.debugger.firmware, self.debugger._core
        registers = list(self.debugger.registers())
        if command == "break" and "if" not in words[1:-1]:
            files = {f"{Path(file).name}:{line}" for file, line in lines_of(firmware, core)}
            return _starting(
                last,
                [*labels_of(firmware, core), *MARK_KINDS, *mnemonics_of(firmware, core)],
            ) + (_starting(last, files) if ":" in last or not last else [])
        choices: dict[str, Iterable[str]] = {
            "break": registers,
            "watch": [*registers, *(f"{s}[" for s in (*_SPACES, "hbm")), *firmware.tensors],
            "print": [*registers, *MARK_KINDS, "cycle", "instructions"],
            "assert": [*registers, *MARK_KINDS, "cycle", "instructions"],
            "sram": _SPACES,
            "hbm": _FORMATS if len(words) == 4 else (),
            "tensor": firmware.tensors,
            "info": _INFO,
            "mark": MARK_KINDS,
            "core": self.debugger.core_names,
            "help": self.commands,
            "step": ("all",),
        }
        return _starting(last, choices.get(command, ()))


_PLAIN = {"pc", *(f"{p}{i}" for p in ("gp", "a") for i in range(16)), *(f"f{i}" for i in range(8))}


def _starting(text: str, words: Iterable[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(text)})


def _number(text: str, what: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise InputError(f"{what} {text!r} is no number (allowed: 42, 0x2a)") from None


def _numbers(values: NDArray[Any]) -> str:
    return np.array2string(values, max_line_width=100, threshold=1024, separator=" ")
