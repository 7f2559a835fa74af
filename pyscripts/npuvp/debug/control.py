"""Run control of a machine, from Python."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from npuvp._core import debugger as _debugger
from npuvp._core import machine as _machine
from npuvp.closing import Closing
from npuvp.debug.checkpoint import Checkpoint, firmware_hash, platform_hash
from npuvp.debug.expressions import evaluate, parse_expression
from npuvp.debug.places import Place, find_place
from npuvp.debug.stops import Breakpoint, Condition, DebuggerError, Stop, Watchpoint
from npuvp.debug.view import View
from npuvp.debug.watching import (
    change_text,
    find_watched,
    native_watches,
)
from npuvp.errors import DeadlockError, InputError, Trap
from npuvp.firmware import Firmware
from npuvp.run import PreparedRun, Result, collect_result, prepare_run
from npuvp.traces.session import MARK_KINDS

if TYPE_CHECKING:
    from npuvp.machine import Machine
    from npuvp.platform import Platform

__all__ = ["Debugger"]

_ENDS: Mapping[type, str] = {Trap: "trap", DeadlockError: "deadlock"}


class Debugger(View, Closing):
    """A run of a firmware that stops where it is asked to.

    The simulation stands still inside its kernel while it is looked at, so a run with a debugger has
    the same cycles, bytes and traces as one without. It stands before the first instruction when it
    is made. Cores run ahead of each other by at most their `quantum`: each has its own clock.

    Args:
        platform: Runs it; a trace opened with `Platform.trace` records.
        firmware: A `Firmware` or the path of an ELF file.
        inputs: Values of the input tensors, by name.
        outputs: Tensors to fetch at the end; None: all that are declared as outputs.
        mode: "functional" or "timing".
        decisions: For timing mode, as `Platform.run` takes them.
        prepare: Called with every loaded machine before it begins.
        loaded: Inputs that `prepare` fills.
        checkpoint: Go to the instant that a checkpoint holds (by replay, checked part by part); its
            inputs, mode and decisions are taken from it.

    Raises:
        PlatformError, InputError: As `Platform.run`.
        CheckpointError: The checkpoint does not fit, or the replay came to another state.
    """

    def __init__(
        self,
        platform: Platform,
        firmware: Firmware | str | Path,
        *,
        inputs: Mapping[str, ArrayLike] | None = None,
        outputs: Iterable[str] | None = None,
        mode: str = "functional",
        decisions: Mapping[int, Iterable[tuple[int, int]]] | None = None,
        prepare: Callable[[Machine], None] | None = None,
        loaded: Collection[str] = (),
        checkpoint: Checkpoint | str | Path | None = None,
    ):
        self.platform = platform
        self.firmware = firmware if isinstance(firmware, Firmware) else Firmware.load(firmware)
        if isinstance(checkpoint, (str, Path)):
            checkpoint = Checkpoint.load(checkpoint)
        if checkpoint is not None:
            if inputs is not None or decisions is not None:
                raise InputError("a checkpoint brings its own inputs and decisions")
            inputs, mode, decisions = checkpoint.inputs, checkpoint.mode, checkpoint.decisions
            checkpoint.check_fits(platform.description(), self.firmware)
        self.mode = mode
        self._inputs = {name: np.array(value) for name, value in (inputs or {}).items()}
        self._outputs = None if outputs is None else list(outputs)
        self._decisions = {core: list(taken) for core, taken in (decisions or {}).items()}
        self._prepare = prepare
        self._loaded = frozenset(loaded)
        self._request = platform.tracing
        self._points: dict[int, Breakpoint | Watchpoint] = {}
        self._next_number = 1
        self._seconds = 0.0
        self._result: Result | None = None
        self._started()
        if checkpoint is not None:
            checkpoint.check_state("the start", checkpoint.start, self._start)
            if checkpoint.position > self._raw["position"]:
                self._resume(position=checkpoint.position, breakpoints=False)
            checkpoint.check_state("the replayed run", checkpoint.state, self.digests())
            self.stop = self._stop_of(self._raw, "restored")

    def close(self) -> None:
        """Gives the run up where it stands; traces are complete up to there."""
        self._native.abandon()
        self._prepared.close_traces()

    # The run

    @property
    def result(self) -> Result:
        """The result of the run, when it has finished.

        Raises:
            DebuggerError: It has not ended.
            Trap, DeadlockError: How it ended.
        """
        if self.stop.error is not None:
            raise self.stop.error
        if self._result is None:
            raise DebuggerError("the run has not ended")
        return self._result

    def _started(self) -> None:
        """A fresh machine, before its first instruction."""
        previous, self.platform.tracing = self.platform.tracing, self._request
        if self._request is not None:
            self._request.used = False  # a replay writes the same traces again
        try:
            self._prepared: PreparedRun = prepare_run(
                self.platform,
                self.firmware,
                inputs=self._inputs,
                outputs=self._outputs,
                mode=self.mode,
                decisions=self._decisions or None,
                prepare=self._prepare,
                loaded=self._loaded,
            )
        finally:
            self.platform.tracing = previous
        self._native = _debugger.Debugger(self.machine.native)
        self._start = self.digests()
        self._resume(position=1, breakpoints=False)
        while self._raw["outcome"] is None and self.state(self._core)["halted"]:
            self._resume(position=self._raw["position"] + 1, breakpoints=False)
        self.stop = self._stop_of(self._raw, "start")

    def _restart(self) -> None:
        self.close()
        self._result = None
        self._started()
        self._place_points({})

    def _resume(
        self,
        *,
        instructions: list[tuple[int, int]] | None = None,
        cycle: int | None = None,
        core: int | None = None,
        position: int | None = None,
        breakpoints: bool = True,
    ) -> None:
        begin = time.perf_counter()
        try:
            self._raw: dict[str, Any] = self._native.resume(
                instructions or [], cycle, core, position, breakpoints
            )
        finally:
            self._seconds += time.perf_counter() - begin
        self._core = self._raw["core"]
        if self._raw["outcome"] is not None:
            self._prepared.close_traces()
            if self._raw["outcome"] == _machine.Outcome.finished:
                self._result = collect_result(self._prepared, self._seconds)

    def _stop_of(
        self,
        raw: Mapping[str, Any],
        reason: str,
        numbers: tuple[int, ...] = (),
        changes: tuple[str, ...] = (),
    ) -> Stop:
        index, error = raw["core"], None
        if raw["outcome"] is not None:
            error = self.machine.error_of(raw["outcome"])
            reason = _ENDS.get(type(error), "finished")
        name = self.core_names[index]
        cycle = self.state(index)["cycle"]
        if error is not None:
            text = f"{reason}: {error}"
        elif reason == "finished" and self._result is not None:
            text = f"finished after {self._result.cycles} cycles"
        else:
            which = " " + ", ".join(map(str, numbers)) if numbers else ""
            text = f"{reason}{which}: " + "; ".join(changes)
            by = "by a transfer of " if raw["by_transfer"] else "by " if changes else ""
            text += ("  " if changes else "") + by + self.instruction(raw["pc"], name)
        return Stop(
            reason,
            name,
            raw["pc"],
            cycle,
            raw["position"],
            numbers,
            changes,
            raw["by_transfer"],
            error,
            text,
        )

    def _alive(self) -> None:
        if self.stop.ended:
            raise DebuggerError(
                f"the run has ended ({self.stop.reason}): step back, or start another one"
            )

    def _go(
        self,
        *,
        instructions: list[tuple[int, int]] | None = None,
        cycle: int | None = None,
        core: int | None = None,
        position: int | None = None,
        temporary: Mapping[int, Iterable[int]] | None = None,
        reason: str = "step",
    ) -> Stop:
        """Goes on until a breakpoint holds, something watched changes or the given aim is there."""
        self._alive()
        places = {index: frozenset(pcs) for index, pcs in (temporary or {}).items()}
        self._place_points(places)
        while True:
            open_aims = [
                (index, aim)
                for index, aim in instructions or []
                if not self.state(index)["halted"] and self.state(index)["instructions"] < aim
            ]
            self._resume(instructions=open_aims, cycle=cycle, core=core, position=position)
            raw = self._raw
            found: Stop | None = None
            if raw["reason"] == _debugger.StopReason.watch:
                found = self._watch_stop(raw)
            elif raw["reason"] == _debugger.StopReason.breakpoint:
                found = self._breakpoint_stop(raw)
                aims_met = bool(instructions) and all(
                    self.state(index)["halted"] or self.state(index)["instructions"] >= aim
                    for index, aim in open_aims
                )
                at_cycle = (
                    cycle is not None
                    and core in (None, raw["core"])
                    and self.state(raw["core"])["cycle"] >= cycle
                )
                if found is None and (
                    aims_met or at_cycle or raw["pc"] in places.get(raw["core"], ())
                ):
                    found = self._stop_of(raw, reason)
            else:
                interrupted = raw["reason"] == _debugger.StopReason.interrupted
                found = self._stop_of(raw, "interrupted" if interrupted else reason)
            if found is not None:
                self.stop = found
                return found

    def _watch_stop(self, raw: Mapping[str, Any]) -> Stop:
        numbers, texts = [], []
        for number, before, after in raw["changes"]:
            point = self._points[number]
            assert isinstance(point, Watchpoint)
            point.hits += 1
            numbers.append(number)
            texts.append(change_text(self.machine, point.watched, before, after))
        return self._stop_of(raw, "watch", tuple(numbers), tuple(texts))

    def _breakpoint_stop(self, raw: Mapping[str, Any]) -> Stop | None:
        numbers = []
        for number, point in self._points.items():
            if isinstance(point, Breakpoint) and self._holds(point, raw["core"], raw["pc"]):
                point.hits += 1
                numbers.append(number)
        return self._stop_of(raw, "breakpoint", tuple(numbers)) if numbers else None

    def _holds(self, point: Breakpoint, core: int, pc: int) -> bool:
        place = point.places.get(core)
        if place is None or pc not in place.pcs:
            return False
        number = place.number
        if number is not None and self.state(core)["gp"][place.registers[pc]] != number:
            return False
        if point.tree is not None:
            return bool(evaluate(point.tree, self._names(core), self._reader(core)))
        if point.condition is not None:
            assert not isinstance(point.condition, str)
            return bool(point.condition(self))
        return True

    def _place_points(self, temporary: Mapping[int, Iterable[int]]) -> None:
        for core in range(len(self.core_names)):
            pcs = set(temporary.get(core, ()))
            for point in self._points.values():
                if isinstance(point, Breakpoint) and core in point.places:
                    pcs.update(point.places[core].pcs)
            self._native.set_breakpoints(core, sorted(pcs))
        watches = [
            (number, point.watched)
            for number, point in self._points.items()
            if isinstance(point, Watchpoint)
        ]
        self._native.set_watches(native_watches(watches))

    # Breakpoints and watchpoints

    def break_at(
        self, place: int | str, *, core: str | None = None, condition: Condition | None = None
    ) -> Breakpoint:
        """Stops before an instruction.

        Args:
            place: A word address, a line ("sum.s:41", ":41"), a label, a mark ("step", "step 3",
                "phase maximum": before its C_MARK) or a mnemonic.
            core: Whose; None: every core whose program has the place.
            condition: An expression over that core, such as "gp4 > 3 and fp[12] != 0", or a function
                of this debugger (whose `core` is then the one that has come there).

        Raises:
            InputError: No such place, core or condition; the message says what comes near.
        """
        cores = range(len(self.core_names)) if core is None else [self._index(core)]
        places: dict[int, Place] = {}
        fault: InputError | None = None
        for index in cores:
            if self.firmware.text(index) is None:
                continue
            try:
                places[index] = find_place(self.firmware, index, place)
            except InputError as error:
                fault = fault or error
        if not places:
            raise fault or InputError("no core has a program")
        tree = None
        if isinstance(condition, str):
            tree = parse_expression(condition, set(self._names(next(iter(places)))))
        point = Breakpoint(self._next_number, places, condition, tree=tree)
        self._points[point.number] = point
        self._next_number += 1
        return point

    def watch(self, what: str, *, core: str | None = None) -> Watchpoint:
        """Stops after an instruction, or a transfer, that changes something.

        Args:
            what: "gp4", "f1", "a2", "vector[3:5]" or "matrix[7]" (rows), "fp[12]", "int[0:8]"
                (words), "hbm[0x100:0x140]" (bytes; checked when a transfer ends) or a tensor's name.
            core: Whose register or SRAM; None: that of the last stop.

        Raises:
            InputError: Nothing of that name; the message says what is allowed.
        """
        index = self._core if core is None else self._index(core)
        watched = find_watched(self.machine, index, what)
        point = Watchpoint(self._next_number, watched)
        self._points[point.number] = point
        self._next_number += 1
        return point

    @property
    def points(self) -> list[Breakpoint | Watchpoint]:
        """Breakpoints and watchpoints, by number."""
        return list(self._points.values())

    def clear(self, number: int | None = None) -> None:
        """Takes a breakpoint or watchpoint away; None: all.

        Raises:
            InputError: There is none of this number.
        """
        if number is None:
            self._points.clear()
        elif self._points.pop(number, None) is None:
            known = ", ".join(map(str, self._points)) or "none"
            raise InputError(f"no breakpoint or watchpoint {number} (there are: {known})")

    # Going on

    def cont(self) -> Stop:
        """Goes on until a breakpoint, a watchpoint or the end."""
        return self._go(reason="breakpoint")

    def step(self, count: int = 1, *, core: str | None = None, all_cores: bool = False) -> Stop:
        """Carries out instructions.

        Args:
            count: How many.
            core: Whose; None: those of the core of the last stop.
            all_cores: Until every core has carried out so many (others may be further).
        """
        if count < 1:
            raise InputError(f"step {count} (allowed: 1 and more)")
        self._alive()
        if all_cores:
            chosen = list(range(len(self.core_names)))
        else:
            chosen = [self._core if core is None else self._index(core)]
        aims = [(index, self.state(index)["instructions"] + count) for index in chosen]
        if all(self.state(index)["halted"] for index in chosen):
            raise DebuggerError(f"{self.core_names[chosen[0]]} has halted: continue to the end")
        return self._go(instructions=aims)

    def next_line(self, *, core: str | None = None) -> Stop:
        """Goes on to the next source line of a core.

        Raises:
            DebuggerError: The program has no line table, or the core has halted.
        """
        index = self._core if core is None else self._index(core)
        text = self.firmware.text(index)
        here = self.firmware.location(index, self.state(index)["pc"])
        if text is None or here is None:
            raise DebuggerError("no source line is known here: step instructions")
        if self.state(index)["halted"]:
            raise DebuggerError(f"{self.core_names[index]} has halted: continue to the end")
        others = [
            pc
            for pc, place in enumerate(text.locations)
            if place is None or (place.file, place.line) != (here.file, here.line)
        ]
        return self._go(temporary={index: others}, reason="line")

    def next_mark(self, kind: str = "op", *, core: str | None = None) -> Stop:
        """Goes on to the next mark of a kind: "layer", "block", "step", "call", "op" or "phase".

        Raises:
            InputError: The program has no such mark.
        """
        if kind not in MARK_KINDS:
            raise InputError(f"mark {kind!r} (allowed: {', '.join(MARK_KINDS)})")
        index = self._core if core is None else self._index(core)
        place = find_place(self.firmware, index, f"mark {kind}")
        return self._go(temporary={index: place.pcs}, reason="mark")

    def run_to(self, cycle: int, *, core: str | None = None) -> Stop:
        """Goes on until an instruction is about to issue in `cycle` or later.

        Args:
            cycle: Of the core's own clock.
            core: Whose instruction; None: any core's.

        Raises:
            InputError: That core is past it: step back.
        """
        index = None if core is None else self._index(core)
        if cycle < self.state(self._core if index is None else index)["cycle"]:
            raise InputError(f"cycle {cycle} is past: use reverse_to")
        return self._go(cycle=cycle, core=index, reason="cycle")

    # Back, by replay

    def reverse_step(self, count: int = 1, *, core: str | None = None) -> Stop:
        """Goes back by instructions of a core. A fresh machine replays the run up to there.

        Raises:
            DebuggerError: The core has not carried out so many.
        """
        index = self._core if core is None else self._index(core)
        aim = self.state(index)["instructions"] - count
        if count < 1 or aim < 0:
            raise DebuggerError(
                f"{count} steps back: {self.core_names[index]} has carried out "
                f"{self.state(index)['instructions']} instructions"
            )
        self._restart()
        if aim or index != self._core:
            self._resume(instructions=[(index, aim)], breakpoints=False)
            self.stop = self._stop_of(self._raw, "step")
        return self.stop

    def reverse_cont(self) -> Stop:
        """Goes back to the last breakpoint or change before this instant, or to the start."""
        here = self.stop.position
        hits = {number: point.hits for number, point in self._points.items()}
        self._restart()
        last: Stop | None = None
        while True:
            stop = self._go(position=here, reason="position")
            if stop.reason not in ("breakpoint", "watch") or stop.position >= here:
                break
            last = stop
        self._restart()
        if last is not None:
            self._place_points({})
            self._resume(position=last.position, breakpoints=False)
            self.stop = last
        for number, count in hits.items():
            self._points[number].hits = count
        return self.stop

    def reverse_to(self, cycle: int, *, core: str | None = None) -> Stop:
        """Goes to the first instruction of a core that issues in `cycle` or later, from the start."""
        index = self._core if core is None else self._index(core)
        self._restart()
        if self.state(index)["cycle"] < cycle:
            self._resume(cycle=cycle, core=index, breakpoints=False)
            self.stop = self._stop_of(self._raw, "cycle")
        return self.stop

    # Checkpoints

    def digests(self) -> dict[str, str]:
        """Numbers of the whole state by part; two runs agree where these do."""
        native = self.machine.native
        parts = {name: f"{value:016x}" for name, value in _debugger.digests(native)}
        counts: dict[str, Any] = {
            f"{name} statistics": native.memory(index)
            for index, name in enumerate(h["name"] for h in self.machine.description["hbms"])
        }
        counts |= {
            "mesh statistics": native.mesh,
            "host": [native.host_words, native.doorbells, native.console],
        }
        for name, value in counts.items():
            text = json.dumps(value, sort_keys=True, default=str)
            parts[name] = f"{zlib.crc32(text.encode()):08x}"
        return parts

    def checkpoint(self, path: str | Path | None = None) -> Checkpoint:
        """The instant at which the machine stands, to come back to; written where a path is given.

        Raises:
            DebuggerError: The run has ended.
        """
        self._alive()
        state = self.state(self._core)
        found = Checkpoint(
            platform=self.platform.name,
            platform_hash=platform_hash(self.machine.description),
            firmware_hash=firmware_hash(self.firmware),
            mode=self.mode,
            position=self._raw["position"],
            core=self.core_names[self._core],
            pc=state["pc"],
            cycle=state["cycle"],
            time_ps=_debugger.now_ps(self.machine.native),
            decisions=self._decisions,
            start=self._start,
            state=self.digests(),
            inputs=self._inputs,
        )
        if path is not None:
            found.save(path)
        return found
