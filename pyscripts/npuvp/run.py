"""Runs: a platform and a firmware in, a result out."""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import ArrayLike, NDArray

from npuvp import html
from npuvp._core import machine as _machine
from npuvp._core import trace as _trace
from npuvp.errors import InputError
from npuvp.firmware import Firmware, Tensor
from npuvp.isa import load as load_isa
from npuvp.isa.disassembler import instruction_text
from npuvp.machine import Machine
from npuvp.tensors import checked_inputs, checked_outputs
from npuvp.traces.names import mark_names
from npuvp.traces.power_summary import PowerSummary, power_summary
from npuvp.traces.profile import Profile, make_profile
from npuvp.traces.session import TraceOptions, Tracing, open_tracing
from npuvp.traces.waveform import Waveform

if TYPE_CHECKING:
    from npuvp.platform import Platform

__all__ = [
    "Energy",
    "Lap",
    "PreparedRun",
    "Result",
    "TraceRequest",
    "collect_result",
    "prepare_run",
    "run_firmware",
]

CLASSES = ("vector", "memory", "scalar", "control", "matrix")


@dataclass(frozen=True)
class Energy:
    """Energy of a run in joules. Every figure is an estimate from published coefficients.

    Attributes:
        dynamic_fj: Energy of events by component, in femtojoules.
        static_fj: Leakage and clocks by component over the run, in femtojoules.
    """

    dynamic_fj: Mapping[str, int]
    static_fj: Mapping[str, int]

    @property
    def by_component(self) -> dict[str, float]:
        """Dynamic and static energy together, by component, in joules."""
        return {
            name: (self.dynamic_fj[name] + self.static_fj[name]) * 1e-15 for name in self.dynamic_fj
        }

    @property
    def dynamic(self) -> float:
        """Energy of events, in joules."""
        return sum(self.dynamic_fj.values()) * 1e-15

    @property
    def static(self) -> float:
        """Energy of leakage and clocks, in joules."""
        return sum(self.static_fj.values()) * 1e-15

    @property
    def total(self) -> float:
        """All energy, in joules."""
        return (sum(self.dynamic_fj.values()) + sum(self.static_fj.values())) * 1e-15

    def _repr_html_(self) -> str:
        return html.heading(
            f"{html.quantity(self.total, 'J')} (estimate): {html.quantity(self.dynamic, 'J')} of "
            f"events, {html.quantity(self.static, 'J')} of leakage and clocks"
        ) + html.bars(("component", "energy"), self.by_component, "J")


@dataclass(frozen=True)
class Lap:
    """What the counters of a core held at an instant of its program.

    Attributes:
        kind: ``call`` or ``phase``, a mark; ``word``, one that the host got.
        value: Of the mark, or the word.
        cycle: Of the core.
        cycles_by_class: Where they went to, as in `Result.cycles_by_class`.
        dynamic_fj: Energy of events of the whole platform, in femtojoules.
        bytes_read, bytes_written: By the core's DMA.
        macs: Multiply-accumulate operations of the matrix unit.
    """

    kind: str
    value: int
    cycle: int
    cycles_by_class: Mapping[str, int]
    dynamic_fj: int
    bytes_read: int
    bytes_written: int
    macs: int


_LAP_CLASSES = ("scalar", "vector", "matrix", "memory", "control")


def _laps(native: Any, core: int) -> list[Lap]:
    kinds = load_isa().value_sets["mark_kind"]
    names = {kinds["phase"]: "phase", kinds["call"]: "call", 255: "word"}
    return [
        Lap(names[kind], value, cycle, dict(zip(_LAP_CLASSES, classes, strict=True)), *rest)
        for kind, value, cycle, classes, *rest in native.laps(core)
    ]


@dataclass
class Result:
    """What a run gave.

    Attributes:
        cycles: Cycles of the platform's clock until everything was complete.
        time_ps: The same in picoseconds.
        outputs: Output tensors by name; empty in timing mode.
        energy: Energy by component.
        stats: Figures by component: ``cores`` (cycles by class, instructions, DMA bytes), each
            memory by its name (bytes, bandwidth in B/s, command counts), the mesh by its name (packets,
            and per link packets, flits and utilisation), ``host``.
        decisions: Per core, what control took from data: feed it to a run in timing mode.
        host_words: (time in ps, core, word) that firmware pushed to the host.
        doorbells: (time in ps, core, code) of interrupts to the host.
        laps: Per core, its counters at marks of calls and phases and at words to the host.
        trace_files: Written traces by kind.
        seconds: Time that the simulation took on this host.
        mode: Data mode.
        profile: Where time, traffic and energy went, if the run was to be profiled.
        power: Mean and highest power per component, if a power trace was written.
        notes: What the user should know of the traces, such as a limit that was reached.
    """

    cycles: int
    time_ps: int
    outputs: dict[str, NDArray[Any]]
    energy: Energy
    stats: dict[str, Any]
    decisions: dict[int, list[tuple[int, int]]]
    host_words: list[tuple[int, int, int]]
    doorbells: list[tuple[int, int, int]]
    laps: list[list[Lap]] = field(default_factory=list, repr=False)
    trace_files: dict[str, Path] = field(default_factory=dict)
    seconds: float = 0.0
    mode: str = "functional"
    profile: Profile | None = None
    power: PowerSummary | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def time(self) -> float:
        """Simulated time in seconds."""
        return self.time_ps * 1e-12

    @property
    def cycles_by_class(self) -> dict[str, int]:
        """Cycles of all cores by what the time went to; for one core they add up to `cycles`."""
        cores = self.stats["cores"].values()
        return {c: sum(core["cycles_by_class"][c] for core in cores) for c in CLASSES}

    def summary(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "mode": self.mode,
            "cycles": self.cycles,
            "time_ns": self.time_ps / 1e3,
            "cycles_by_class": self.cycles_by_class,
            "energy_j": self.energy.total,
            "energy_by_component_j": self.energy.by_component,
            "energy_dynamic_j": self.energy.dynamic,
            "energy_static_j": self.energy.static,
            "average_power_w": self.energy.total / self.time if self.time_ps else 0.0,
            "stats": self.stats,
            "power": None if self.power is None else self.power.summary(),
            "traces": {kind: str(path) for kind, path in self.trace_files.items()},
            "notes": self.notes,
            "simulation_seconds": self.seconds,
            "note": "energy and power are estimates",
        }

    def _repr_html_(self) -> str:
        outputs = [
            (name, " x ".join(map(str, array.shape)), array.dtype, array.reshape(-1)[:4].tolist())
            for name, array in self.outputs.items()
        ]
        memories = [
            (name, f"{found['bytes_read']:,}", f"{found['bytes_written']:,}",
             html.quantity(found["bandwidth"], "B/s"), f"{100 * found['fraction_of_peak']:.1f} %")
            for name, found in self.stats.items()
            if "fraction_of_peak" in found
        ]  # fmt: skip
        parts = [
            html.heading(
                f"{self.cycles:,} cycles, {html.quantity(self.time, 's')} simulated ({self.mode})"
            ),
            html.bars(("time went to", "cycles"), self.cycles_by_class, ""),
            self.energy._repr_html_(),
            html.table(("memory", "bytes read", "written", "bandwidth", "of peak"), memories),
        ]
        if outputs:
            parts.append(html.table(("output", "shape", "type", "begins with"), outputs))
        return "".join(parts)

    def __repr__(self) -> str:
        return (
            f"<Result {self.cycles} cycles, {self.time_ps / 1e3:.1f} ns, "
            f"{self.energy.total * 1e6:.2f} uJ, {self.mode}>"
        )


class TraceRequest:
    """What `Platform.trace` asks for; a context in which exactly one run records."""

    def __init__(self, platform: "Platform", options: TraceOptions):
        self._platform = platform
        self.options = options
        self.used = False

    def __enter__(self) -> Self:
        self._platform.tracing = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._platform.tracing = None


def _static_fj(sources: Iterable[Any], duration_ps: int) -> dict[str, int]:
    return {s.path: _trace.static_femtojoules(s.static_watts, duration_ps) for s in sources}


def _stats(machine: Machine, time_ps: int) -> dict[str, Any]:
    native = machine.native
    stats: dict[str, Any] = {"cores": {}}
    for index, core in enumerate(machine.description["cores"]):
        found = native.core(index)
        for key in ("trap", "waiting_for"):
            found.pop(key)
        stats["cores"][core["name"]] = found
    for index, memory in enumerate(machine.description["hbms"]):
        found = native.memory(index)
        moved = found["bytes_read"] + found["bytes_written"]
        found["bandwidth"] = moved / (time_ps * 1e-12) if time_ps else 0.0
        found["fraction_of_peak"] = found["bandwidth"] / found["peak_bandwidth"]
        stats[memory["name"]] = found
    mesh = native.mesh
    if mesh is not None:
        name = machine.description["noc"]["name"]
        cycles = time_ps / machine.description["period_ps"]
        for link in mesh["links"].values():
            flits = link["request_flits"] + link["response_flits"]
            link["utilisation"] = flits / cycles if cycles else 0.0
        stats[name] = mesh
    stats["host"] = {"words": len(native.host_words), "doorbells": len(native.doorbells)}
    return stats


def _listings(machine: Machine) -> dict[str, list[str]]:
    """Text of every instruction, per core; cores that run the same program share it."""
    texts: dict[int, list[str]] = {}
    found = {}
    for index, core in enumerate(machine.description["cores"]):
        text = machine.firmware.text(index)
        if text is not None:
            if id(text) not in texts:
                texts[id(text)] = [instruction_text(w, pc) for pc, w in enumerate(text.words)]
            found[core["name"]] = texts[id(text)]
    return found


def run_firmware(
    platform: "Platform",
    firmware: Firmware | str | Path,
    *,
    inputs: Mapping[str, ArrayLike] | None = None,
    outputs: Iterable[str] | None = None,
    mode: str = "functional",
    decisions: Mapping[int, Iterable[tuple[int, int]]] | None = None,
    progress: bool | None = None,
    prepare: Any = None,
    finish: Any = None,
    loaded: Collection[str] = (),
) -> Result:
    """Runs a firmware on a platform; see `Platform.run`.

    `prepare(machine)` and `finish(machine)` are called before the run and after it; inputs that
    `prepare` fills are named by `loaded`.
    """
    prepared = prepare_run(
        platform,
        firmware,
        inputs=inputs,
        outputs=outputs,
        mode=mode,
        decisions=decisions,
        prepare=prepare,
        loaded=loaded,
    )
    begin = time.perf_counter()
    try:
        prepared.machine.run(progress)
    finally:
        seconds = time.perf_counter() - begin
        prepared.close_traces()
    result = collect_result(prepared, seconds)
    if finish is not None:
        finish(prepared.machine)
    return result


@dataclass
class PreparedRun:
    """A loaded machine that has not begun.

    Attributes:
        machine: The machine.
        fetch: Output tensors to read at the end.
        mode: Data mode.
        tracing: The open traces, which live as long as this does.
        wave: What becomes of the waveform at the end.
        notes: What the user should know about the traces, once they are closed.
    """

    machine: Machine
    fetch: list[Tensor]
    mode: str
    tracing: Tracing | None
    wave: Waveform | None
    notes: list[str] = field(default_factory=list)

    def close_traces(self) -> None:
        """Nothing is recorded any more, and what was recorded is complete on disk."""
        self.machine.native.hub.detach_all()
        if self.wave is not None and self.tracing is not None:
            self.notes += self.wave.close(self.tracing, self.machine)


def prepare_run(
    platform: "Platform",
    firmware: Firmware | str | Path,
    *,
    inputs: Mapping[str, ArrayLike] | None = None,
    outputs: Iterable[str] | None = None,
    mode: str = "functional",
    decisions: Mapping[int, Iterable[tuple[int, int]]] | None = None,
    prepare: Any = None,
    loaded: Collection[str] = (),
) -> PreparedRun:
    """Checks everything and loads a fresh machine; see `Platform.run` for arguments and errors."""
    if mode not in ("functional", "timing"):
        raise InputError(f"mode {mode!r} (allowed: functional, timing)")
    functional = mode == "functional"
    if not isinstance(firmware, Firmware):
        firmware = Firmware.load(firmware)
    request = platform.tracing
    if request is not None and request.used:
        raise InputError("this trace already holds a run: open another one with Platform.trace")
    values = checked_inputs(firmware, inputs or {}, integers_only=not functional, loaded=loaded)
    fetch = checked_outputs(firmware, outputs) if functional else []
    description = platform.description()
    targets = {target.name: target for target in platform.targets}
    machine = Machine(description, firmware, functional=functional, targets=targets)
    platform.machine = machine
    machine.load_inputs(values)
    for core, taken in (decisions or {}).items():
        if functional:
            raise InputError("decisions: functional mode makes them, only timing mode takes them")
        machine.native.set_decisions(core, list(taken))
    if prepare is not None:
        prepare(machine)
    tracing = None
    wave = None
    if request is not None:
        request.used = True
        wave = Waveform(request.options)
        tracing = open_tracing(
            machine.native.hub,
            wave.options,
            operations=_machine.operation_names(),
            commands=_machine.command_names() if wave.shows_commands else (),
            marks=mark_names(firmware),
            listings=_listings(machine) if request.options.log is not None else None,
            periods=[] if any(True for _ in description["hbms"]) else [description["period_ps"]],
            firmware=firmware,
            memories=[
                (memory["parameters"]["base"], memory["parameters"]["size"])
                for memory in description["hbms"]
            ],
        )
        machine.trace_files = wave.files(tracing)
    return PreparedRun(machine, fetch, mode, tracing, wave)


def collect_result(prepared: PreparedRun, seconds: float) -> Result:
    """The result of a run that has ended, after `seconds` on this host."""
    machine, tracing = prepared.machine, prepared.tracing
    period = machine.description["period_ps"]
    time_ps = machine.native.end_ps
    sources = machine.native.hub.sources
    result = Result(
        cycles=-(-time_ps // period),
        time_ps=time_ps,
        outputs={tensor.name: machine.read_tensor(tensor) for tensor in prepared.fetch},
        energy=Energy({s.path: s.dynamic_fj for s in sources}, _static_fj(sources, time_ps)),
        stats=_stats(machine, time_ps),
        decisions={
            i: machine.native.decisions(i) for i in range(len(machine.description["cores"]))
        },
        host_words=machine.native.host_words,
        doorbells=machine.native.doorbells,
        laps=[_laps(machine.native, i) for i in range(len(machine.description["cores"]))],
        trace_files=dict(machine.trace_files),
        seconds=seconds,
        mode=prepared.mode,
        notes=list(prepared.notes),
    )
    if tracing is not None and tracing.power is not None:
        result.power = power_summary(tracing.power, time_ps)
    if tracing is not None and tracing.profile is not None:
        result.profile = make_profile(tracing.profile.data(), machine, result)
    return result
