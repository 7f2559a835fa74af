"""Timing of whole generations of full-size models: repeated layers, steps and blocks are simulated
once and counted as often as they occur.

Layers are identical, and every phase of a layer ends with a fence, so that nothing of one layer
overlaps the next: n layers take T(2) + (n - 2) * (T(2) - T(1)), where T(n) is a simulated call of
n layers. Where cores share the work a phase ends with a barrier on all of them, and how they meet in
the memory and in the mesh differs from layer to layer: there a layer is the mean of several.

Calls that compute the same positions, attend to the same keys and sample the same span do the same
work; each such kind of call is simulated once. What differs between calls of one kind are addresses,
which matter to banks and rows of a command-level memory model alone.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from npuvp.analytical.generation import CallEstimate, estimate, of_one_core
from npuvp.analytical.machine import hardware_of
from npuvp.call_kinds import CallKind, CallsPerBlock, call_kinds, experts_faults
from npuvp.compiler.assembly import Assembly
from npuvp.compiler.compile import compile_generation
from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import Formats
from npuvp.compiler.frame import Frame, frame_faults, sharing_cores
from npuvp.compiler.head import Forward
from npuvp.compiler.heads import with_filled_heads
from npuvp.compiler.layout import Geometry, Shape
from npuvp.compiler.state import PHASES
from npuvp.firmware import Firmware, Tensor
from npuvp.generation.calls import Kind
from npuvp.isa import assemble
from npuvp.model.checkpoint import Checkpoint, load_model
from npuvp.one_call import BEGIN, CONTROLS, OneCall, canvas_of, decisions_of
from npuvp.plan import GenerationPlan
from npuvp.traces.limits import achievable_bandwidth, limit_of

if TYPE_CHECKING:
    from npuvp.platform import Platform
    from npuvp.run import Result

__all__ = ["CallTiming", "GenerationTiming", "time_generation"]

#: Up to so many layers all of them are simulated.
_MOST_LAYERS = 4
#: The same where cores share the work, and of how many one is the mean at least.
_MOST_SHARED, _SHARED = 6, 5
#: Cores that share a memory meet each other in ways that differ from layer to layer: standard error
#: of a call up to which its layers are known well enough.
_WELL = 0.003
#: Error in the middle of a range of lengths up to which the lengths between are not simulated.
_NEAR = 0.005


@dataclass(frozen=True)
class PhaseLimit:
    """How near a phase came to its roofs.

    Attributes:
        array: Multiply-accumulates, as a share of the array's peak.
        memory: Bytes, as a share of what the memories give at best.
        words: What limited it.
    """

    array: float
    memory: float
    words: str


@dataclass(frozen=True)
class CallTiming:
    """One kind of call, and how often it occurs.

    Attributes:
        kind: Which.
        times: Number of such calls in the generation.
        cycles: Of one call.
        phases: Cycles by phase, all layers together; they add up to `cycles`.
        energy: Joules of one call, by component (an estimate).
        hbm_bytes: Bytes read and written by the DMA engines.
        instructions: Of one call.
        macs: Multiply-accumulates of one call.
        seconds: Host time of the simulations behind it.
        limits: What limited each phase, of the last layer where it occurs in every one.
    """

    kind: CallKind
    times: int
    cycles: int
    phases: dict[str, int]
    energy: dict[str, float]
    hbm_bytes: int
    instructions: int
    macs: int
    seconds: float
    limits: dict[str, PhaseLimit] = field(default_factory=dict)


@dataclass(frozen=True)
class GenerationTiming:
    """A whole generation in timing mode.

    Attributes:
        cycles: All calls, and the quotas of every block.
        time: Simulated seconds.
        energy: Joules (an estimate).
        calls: By kind.
        tokens: Tokens that were generated, all rows of the batch.
        seconds: Host time.
    """

    cycles: int
    time: float
    energy: float
    calls: list[CallTiming]
    tokens: int
    seconds: float

    @property
    def phases(self) -> dict[str, int]:
        """Cycles by phase over all calls."""
        total: dict[str, int] = {}
        for call in self.calls:
            for name, cycles in call.phases.items():
                total[name] = total.get(name, 0) + call.times * cycles
        return total

    def summary(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "cycles": self.cycles,
            "time_s": self.time,
            "energy_j": self.energy,
            "tokens": self.tokens,
            "tokens_per_s": self.tokens / self.time,
            "tokens_per_j": self.tokens / self.energy,
            "phases": self.phases,
            "calls": [
                {
                    "kind": call.kind.kind,
                    "positions": call.kind.count,
                    "times": call.times,
                    "cycles": call.cycles,
                    "phases": call.phases,
                    "limits": {name: asdict(limit) for name, limit in call.limits.items()},
                    "energy_j": sum(call.energy.values()),
                    "hbm_bytes": call.hbm_bytes,
                }
                for call in self.calls
            ],
            "simulation_seconds": self.seconds,
            "note": "energy is an estimate",
        }


_PHASE = re.compile(r"C_MARK phase, (gp\d+)$")


def _with_words(lines: Iterable[str]) -> list[str]:
    """A word to the host behind every mark of a phase: the phase's number."""
    result: list[str] = []
    for line in lines:
        result.append(line)
        if mark := _PHASE.match(line.strip()):
            result.append(f"        C_HOST_PUSH {mark[1]}")
    return result


@dataclass(frozen=True)
class _OneFirmware:
    firmware: Firmware
    canvas: NDArray[np.int32]
    decisions: dict[int, list[tuple[int, int]]]


def _compile_call(
    checkpoint: Checkpoint,
    geometry: Geometry,
    plan: GenerationPlan,
    shape: Shape,
    call: CallKind,
    layers: int,
    formats: Formats,
    cores: int,
) -> _OneFirmware:
    spec = replace(checkpoint.spec, layers=layers)
    frame = Frame.of(
        spec, plan, geometry, formats, prompt_length=shape.prompt, batch=shape.samples, cores=cores
    )
    layout, memory, sampler = frame.layout, frame.memory, frame.sampler
    lines: list[str] = []
    kind = CONTROLS.get(plan.revision, OneCall)
    emitted = []
    for core in range(cores):
        asm = Assembly()
        asm.lines.append(f".core {core}")
        phases = Forward(
            asm,
            layout,
            memory.tokens,
            sampler,
            memory.words,
            memory.candidates,
            core,
            memory.bounds,
        )
        control = kind(asm, phases, spec, plan, shape, memory)
        control.one_call(call)
        emitted.append(phases)
        # Phases end on all cores at once: one of them tells of them.
        lines += asm.lines if core else _with_words(asm.lines)
    firmware = assemble("\n".join(lines) + "\n")
    firmware.segments += layout.constants(None)
    address = layout.addresses["tokens"]
    firmware.tensors["tokens"] = Tensor(
        "tokens", "hbm", address, "raw32", (shape.length, shape.batch), "inout"
    )
    decisions = {}
    for core, phases in enumerate(emitted):
        at = {
            s.name: s.value
            for s in firmware.symbols.values()
            if s.section == "text" and s.core == core
        }
        decisions[core] = decisions_of(at, phases, plan, shape, call)
    return _OneFirmware(firmware, canvas_of(call, spec, plan, shape), decisions)


def _phase_cycles(result: "Result", period: int) -> dict[str, list[int]]:
    """Cycles by phase, in order of occurrence; what precedes the first phase is `begin`."""
    words = [(at // period, word) for at, _, word in result.host_words]
    begin = next(i for i, (_, word) in enumerate(words) if word == BEGIN)
    found: dict[str, list[int]] = {}
    for (at, word), (after, _) in zip(words[begin:-1], words[begin + 1 :], strict=True):
        name = "begin" if word == BEGIN else PHASES[word]
        found.setdefault(name, []).append(after - at)
        if name == "sampling":
            # What is left is the record of the call, which belongs to it.
            found[name][-1] = words[-1][0] - at
            break
    return found


def _limits(result: "Result", description: Mapping[str, Any], cores: int) -> dict[str, PhaseLimit]:
    """From the counters of all cores at the marks of phases; what follows the last mark is left
    out."""
    p = description["cores"][0]["parameters"]
    peak = p["mlen"] * p["blen"] * p["matrix_rows"] * cores
    bytes_per_cycle = achievable_bandwidth(description) * description["period_ps"] * 1e-12
    marks = [[lap for lap in laps if lap.kind == "phase"] for laps in result.laps[:cores]]
    found = {}
    for begins, ends in pairwise(zip(*marks, strict=True)):
        both = list(zip(begins, ends, strict=True))
        cycles = max(1, ends[0].cycle - begins[0].cycle)
        moved = sum(
            b.bytes_read + b.bytes_written - a.bytes_read - a.bytes_written for a, b in both
        )
        array = sum(b.macs - a.macs for a, b in both) / peak / cycles
        memory = moved / bytes_per_cycle / cycles
        # Waiting for the array is what the array's share says.
        shares = {
            name: sum(b.cycles_by_class[name] - a.cycles_by_class[name] for a, b in both)
            / (cores * cycles)
            for name in begins[0].cycles_by_class
            if name != "matrix"
        }
        words = limit_of(array, memory, 0.0, shares)
        found[PHASES[begins[0].value]] = PhaseLimit(array, memory, words)
    return found


def _run_call(platform: "Platform", compiled: _OneFirmware) -> "Result":
    return platform.run(
        compiled.firmware,
        inputs={"tokens": compiled.canvas},
        mode="timing",
        decisions=compiled.decisions,
        progress=False,
    )


def _known(phases: Mapping[str, list[int]], layers: int) -> bool:
    """Whether the mean of the layers that were simulated is known well enough for all of them."""
    each = np.sum([cycles[1:] for cycles in phases.values() if len(cycles) > 1], axis=0)
    error = each.std(ddof=1) / len(each) ** 0.5 * (layers - 1)
    return bool(error <= _WELL * each.mean() * layers)


def _time_call(
    platform: "Platform",
    checkpoint: Checkpoint,
    plan: GenerationPlan,
    shape: Shape,
    call: CallKind,
    times: int,
    formats: Formats,
    cores: int,
) -> tuple[CallTiming, int]:
    """The call, and cycles of the quotas before it."""
    description = platform.description()
    geometry, period = Geometry.of(description, cores), description["period_ps"]
    begin = time.perf_counter()
    layers = checkpoint.spec.layers

    def run(count: int) -> tuple["Result", dict[str, list[int]]]:
        compiled = _compile_call(checkpoint, geometry, plan, shape, call, count, formats, cores)
        result = _run_call(platform, compiled)
        return result, _phase_cycles(result, period)

    alone = cores == 1
    # A model of few layers costs no more than its replay.
    count = layers if layers <= (_MOST_LAYERS if alone else _MOST_SHARED) else 0
    one = run(count or 1)
    two = one
    if not count:
        count = 2 if alone else _SHARED
        two = run(count)
        while not alone and count < layers and not _known(two[1], layers):
            count = min(layers, 2 * count)
            two = run(count)
    # What is there is counted, what is not is like the mean of all layers but the first.
    missing = (layers - count) / max(1, count - 1)
    phases = {}
    for name, cycles in two[1].items():
        # The first layer's phases may begin in another state.
        phases[name] = sum(cycles)
        if len(cycles) > 1:
            phases[name] += round(missing * sum(cycles[1:]))

    def extended(first: float, last: float) -> float:
        return last + missing * (last - first)

    total = sum(phases.values())
    quota = max(0, two[0].cycles - sum(sum(c) for c in two[1].values()))
    energies = [found[0].energy.dynamic_fj for found in (one, two)]
    static = one[0].energy.static_fj
    share = total * period / one[0].time_ps
    energy = {
        name: (extended(energies[0][name], energies[-1][name]) + static[name] * share) * 1e-15
        for name in energies[0]
    }

    def counted(count: Callable[[dict[str, Any]], int]) -> int:
        """Over all cores."""
        first, last = (
            sum(count(core) for core in run[0].stats["cores"].values()) for run in (one, two)
        )
        return round(extended(first, last))

    timing = CallTiming(
        kind=call,
        times=times,
        cycles=total,
        phases=phases,
        energy=energy,
        hbm_bytes=counted(lambda core: core["dma"]["bytes_read"] + core["dma"]["bytes_written"]),
        instructions=counted(lambda core: core["instructions"]),
        macs=counted(lambda core: core["matrix"]["macs"]),
        seconds=time.perf_counter() - begin,
        limits=_limits(two[0], description, cores),
    )
    return timing, quota


def _time_calls(
    platform: "Platform",
    checkpoint: Checkpoint,
    plan: GenerationPlan,
    shape: Shape,
    kinds: dict[CallKind, int],
    formats: Formats,
    cores: int,
    progress: Callable[[str], None] | None,
    closed: Mapping[CallKind, CallEstimate],
) -> tuple[list[CallTiming], int]:
    """All kinds of calls, and cycles of a block's quotas.

    Calls that differ in nothing but the pieces of the canvas that they search take the same time
    behind `begin`, which grows by the same cycles with every piece: the first and the last of them
    are simulated. With a prefix cache every block has calls of its own length; where there are
    closed forms, some of them are simulated (`_some_of`).
    """
    alike: dict[tuple[Kind, int, int], list[CallKind]] = {}
    for call in kinds:
        alike.setdefault(call.alike, []).append(call)
    calls = []
    quota = 0

    def simulate(call: CallKind) -> CallTiming:
        nonlocal quota
        if progress is not None:
            progress(f"{call.kind}, {call.count} positions")
        timing, quota = _time_call(
            platform, checkpoint, plan, shape, call, kinds[call], formats, cores
        )
        return timing

    lengths = [same[0] for same in alike.values() if same[0].kind == "refine_prefix"]
    known = _some_of(lengths, simulate, closed, kinds) if closed and lengths else {}
    for same in alike.values():
        if same[0] in known:
            calls.append(known[same[0]])
            continue
        ends = [same[0]] if same[0].pieces == same[-1].pieces else [same[0], same[-1]]
        simulated = [simulate(call) for call in ends]
        first, last = simulated[0], simulated[-1]
        for call in same:
            if call in ends:
                calls.append(simulated[ends.index(call)])
                continue
            share = (call.pieces - ends[0].pieces) / (ends[1].pieces - ends[0].pieces)
            begin = first.phases["begin"]
            begin += round(share * (last.phases["begin"] - begin))
            cycles = first.cycles - first.phases["begin"] + begin
            phases = first.phases | {"begin": begin}
            calls.append(
                replace(
                    first, kind=call, times=kinds[call], cycles=cycles, phases=phases, seconds=0.0
                )
            )
    return calls, quota


def _between(
    low: CallTiming, high: CallTiming, closed: Mapping[CallKind, CallEstimate], call: CallKind
) -> CallTiming:
    """A call whose length is between those of two simulated ones: its closed form, by what closed
    forms are wrong there."""
    share = (call.count - low.kind.count) / (high.kind.count - low.kind.count)
    own, low_closed, high_closed = (closed[kind] for kind in (call, low.kind, high.kind))

    def scaled(figure: float, *ends: tuple[float, float]) -> float:
        """A closed form's figure, by what simulation and closed form give at either end."""
        below, above = (simulated / max(estimate, 1e-30) for simulated, estimate in ends)
        return figure * (below + share * (above - below))

    def by_cycles(at_low: float, at_high: float) -> float:
        return scaled(own.cycles, (at_low, low_closed.cycles), (at_high, high_closed.cycles))

    def summed(attribute: str) -> float:
        """Over phases, of a figure that simulation knows of the call only."""
        figure, below, above = (
            sum(getattr(phase, attribute) for phase in end.phases.values())
            for end in (own, low_closed, high_closed)
        )
        return scaled(figure, (getattr(low, attribute), below), (getattr(high, attribute), above))

    phases = {
        name: round(
            scaled(
                own.phases[name].cycles,
                (low.phases[name], low_closed.phases[name].cycles),
                (high.phases[name], high_closed.phases[name].cycles),
            )
        )
        for name in low.phases
    }
    return CallTiming(
        kind=call,
        times=0,
        cycles=sum(phases.values()),
        phases=phases,
        energy={name: by_cycles(low.energy[name], high.energy[name]) for name in low.energy},
        hbm_bytes=round(summed("hbm_bytes")),
        instructions=round(by_cycles(low.instructions, high.instructions)),
        macs=round(summed("macs")),
        seconds=0.0,
    )


def _some_of(
    lengths: list[CallKind],
    simulate: Callable[[CallKind], CallTiming],
    closed: Mapping[CallKind, CallEstimate],
    kinds: Mapping[CallKind, int],
) -> dict[CallKind, CallTiming]:
    """Calls that differ in their length: the first, the last and the one in the middle are
    simulated. Where the middle one is what the others say of it, so are those between; else each
    half is gone through likewise."""
    known = {call: simulate(call) for call in dict.fromkeys((lengths[0], lengths[-1]))}

    def fill(low: int, high: int) -> None:
        if high - low < 2:
            return
        middle = (low + high) // 2
        ends = known[lengths[low]], known[lengths[high]]
        said = _between(*ends, closed, lengths[middle])
        known[lengths[middle]] = found = simulate(lengths[middle])
        if abs(said.cycles / found.cycles - 1) > _NEAR:
            fill(low, middle)
            fill(middle, high)
            return
        for index in range(low + 1, high):
            if index != middle:
                near = (ends[0], found) if index < middle else (found, ends[1])
                call = lengths[index]
                known[call] = replace(_between(*near, closed, call), times=kinds[call])

    fill(0, len(lengths) - 1)
    return known


def time_generation(
    model: Checkpoint | str | Path,
    platform: "Platform",
    plan: GenerationPlan,
    *,
    prompt_length: int = 32,
    batch: int = 1,
    formats: Formats | Mapping[str, Any] | str | Path | None = None,
    cores: int | None = None,
    calls_per_block: CallsPerBlock | None = None,
    experts_per_tile: int | None = None,
    replay: bool = True,
    progress: Callable[[str], None] | None = None,
) -> GenerationTiming:
    """Cycles and energy of a whole generation in timing mode, weights left out.

    Args:
        model: A checkpoint, its directory, or the name of a random model.
        platform: Runs it.
        plan: What to generate.
        prompt_length: P.
        batch: B.
        formats: Number formats by class of tensors, as of `compile_generation`.
        cores: How many of the platform's cores share the work; None: all.
        calls_per_block: With a threshold or factor, which leaves the number of forward calls to the
            data: so many in every block, or ``"worst"``, the most that there can be. With replay only.
        experts_per_tile: Of a mixture of experts, how many the rows of a tile use; None: as many as
            independent choices give on average. With replay only.
        replay: Simulate each kind of call once, with two layers; else everything.
        progress: Is told what is simulated next.

    Raises:
        CompileError: What the compiler does not support, does not fit, or depends on data.
    """
    begin = time.perf_counter()
    checkpoint = model if isinstance(model, Checkpoint) else load_model(model)
    description = platform.description()
    checkpoint = with_filled_heads(checkpoint, description["cores"][0]["parameters"]["mlen"])
    spec = checkpoint.spec
    numbers = Formats.of(formats)
    faults = frame_faults(spec, plan, numbers, prompt_length, batch)
    cores, wrong = sharing_cores(len(description["cores"]), cores)
    faults += wrong + experts_faults(spec.moe, experts_per_tile)
    if faults:
        raise CompileError(faults)
    if not replay:
        sizes = (prompt_length, batch, numbers, cores)
        return _time_everything(platform, checkpoint, plan, *sizes, begin)
    geometry = Geometry.of(description, cores)
    frame = Frame.of(
        spec, plan, geometry, numbers, prompt_length=prompt_length, batch=batch, cores=cores
    )
    earlier = frame.memory.earlier_positions
    kinds = call_kinds(plan, prompt_length, earlier, calls_per_block, experts_per_tile)
    closed: dict[CallKind, CallEstimate] = {}
    hardware = hardware_of(description)
    closable = not (of_one_core(spec, plan, cores) or hardware.differing(cores))
    if plan.cache == "prefix" and plan.blocks > 3 and closable:
        found = estimate(
            spec, hardware, plan, formats=numbers, cores=cores,
            calls_per_block=calls_per_block, experts_per_tile=experts_per_tile,
            prompt_length=prompt_length, batch=batch,
        )  # fmt: skip
        closed = {call.kind: call for call in found.calls}
    calls, quota = _time_calls(
        platform, checkpoint, plan, frame.shape, kinds, numbers, cores, progress, closed
    )
    cycles = sum(call.times * call.cycles for call in calls) + quota * plan.blocks
    return GenerationTiming(
        cycles,
        cycles * description["period_ps"] * 1e-12,
        sum(call.times * sum(call.energy.values()) for call in calls),
        calls,
        batch * plan.gen_length,
        time.perf_counter() - begin,
    )


def _time_everything(
    platform: "Platform",
    checkpoint: Checkpoint,
    plan: GenerationPlan,
    prompt_length: int,
    batch: int,
    formats: Formats,
    cores: int,
    begin: float,
) -> GenerationTiming:
    """All calls of a generation with quotas, one after the other."""
    whole = compile_generation(
        checkpoint,
        platform.description(),
        plan,
        prompt_length=prompt_length,
        batch=batch,
        formats=formats,
        cores=cores,
    )
    shape = whole.shape
    canvas = np.full((shape.length, shape.batch), checkpoint.spec.mask_id, np.int32)
    canvas[: shape.prompt, : shape.samples] = 0
    result = platform.run(
        whole.firmware,
        inputs={"tokens": canvas},
        mode="timing",
        decisions=whole.decisions(),
        progress=False,
    )
    seconds = time.perf_counter() - begin
    tokens = batch * plan.gen_length
    return GenerationTiming(result.cycles, result.time, result.energy.total, [], tokens, seconds)
