"""Latency, energy, area and utilisation of a generation, in closed form."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from npuvp.analytical.head import ForwardCall
from npuvp.analytical.machine import Hardware, hardware_of
from npuvp.analytical.pieces import Call
from npuvp.analytical.schedule import Work
from npuvp.area import Area
from npuvp.call_kinds import CallKind, CallsPerBlock, call_kinds, experts_faults
from npuvp.compiler.build import build
from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import Formats
from npuvp.compiler.frame import Frame, frame_faults, sharing_cores
from npuvp.compiler.geometry import Geometry
from npuvp.compiler.heads import filled_heads
from npuvp.model.spec import ModelSpec
from npuvp.plan import GenerationPlan

__all__ = [
    "CallEstimate",
    "GenerationEstimate",
    "PhaseEstimate",
    "estimate",
    "of_one_core",
    "phases_of",
]

#: Phases of a forward call that occur once per layer.
LAYERED = ("qkv", "attention", "o", "gate_up", "down", "experts")


class PhaseEstimate(NamedTuple):
    """A phase of a forward call, all layers together.

    Attributes:
        cycles: Of the platform's clock.
        energy: Dynamic joules (an estimate).
        macs: Multiply-accumulates.
        hbm_bytes: Read and written.
        matrix, vector: Share of the cycles in which the unit is taken, over all cores.
    """

    cycles: float
    energy: float
    macs: float
    hbm_bytes: float
    matrix: float
    vector: float


@dataclass(frozen=True)
class CallEstimate:
    """A kind of forward call, and how often it occurs."""

    kind: CallKind
    times: int
    phases: dict[str, PhaseEstimate]

    @property
    def cycles(self) -> float:
        """Of one call."""
        return sum(phase.cycles for phase in self.phases.values())


@dataclass(frozen=True)
class GenerationEstimate:
    """A generation. Every figure is an estimate.

    Attributes:
        cycles: All calls.
        time: Seconds.
        energy: Joules, static power included.
        area: Of the platform.
        calls: By kind.
        tokens: That are generated, all rows of the batch.
        matrix_utilisation, vector_utilisation: Share of the time in which the unit is taken, over
            all cores that share the work.
        bandwidth: Bytes per second of memory, on average.
        hardware: What it was estimated for.
        cores: How many of its cores share the work.
    """

    cycles: float
    time: float
    energy: float
    area: Area
    calls: list[CallEstimate]
    tokens: int
    matrix_utilisation: float
    vector_utilisation: float
    bandwidth: float
    hardware: Hardware
    cores: int = 1

    @property
    def peak_flops(self) -> float:
        """Of the cores that share the work, operations per second."""
        return self.cores * self.hardware.peak_flops

    @property
    def phases(self) -> dict[str, float]:
        """Cycles by phase over all calls."""
        total: dict[str, float] = {}
        for call in self.calls:
            for name, phase in call.phases.items():
                total[name] = total.get(name, 0.0) + call.times * phase.cycles
        return total

    @property
    def sampling_share(self) -> float:
        """Share of the time that goes to head and sampling statistics behind the transformer."""
        phases = self.phases
        return phases["sampling"] / self.cycles

    def summary(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "cycles": self.cycles,
            "time_s": self.time,
            "energy_j": self.energy,
            "tokens": self.tokens,
            "tokens_per_s": self.tokens / self.time,
            "tokens_per_j": self.tokens / self.energy,
            "cores": self.cores,
            "area_mm2": self.area.summary(),
            "matrix_utilisation": self.matrix_utilisation,
            "vector_utilisation": self.vector_utilisation,
            "bandwidth": self.bandwidth,
            "phases": self.phases,
            "calls": [
                {
                    "kind": call.kind.kind,
                    "positions": call.kind.count,
                    "times": call.times,
                    "cycles": call.cycles,
                    "phases": {
                        name: {
                            "cycles": phase.cycles,
                            "energy_j": phase.energy,
                            "macs": phase.macs,
                            "hbm_bytes": phase.hbm_bytes,
                            "matrix_utilisation": phase.matrix,
                            "vector_utilisation": phase.vector,
                        }
                        for name, phase in call.phases.items()
                    },
                }
                for call in self.calls
            ],
            "note": "every figure is an estimate in closed form",
        }


@lru_cache(maxsize=256)
def _supported(spec: ModelSpec) -> None:
    build(spec)


def of_one_core(spec: ModelSpec, plan: GenerationPlan, cores: int) -> list[str]:
    """What has a closed form on one core alone."""
    if cores == 1:
        return []
    return [
        f"{what} on {cores} cores: no closed form, allowed: cores 1"
        for what, present in (
            ("a mixture of experts", spec.moe is not None),
            (f"revision {plan.revision!r}", plan.revision == "fast-dllm-v2"),
        )
        if present
    ]


@lru_cache(maxsize=1024, typed=True)
def _frame(
    spec: ModelSpec,
    plan: GenerationPlan,
    geometry: Geometry,
    formats: Formats,
    prompt_length: int,
    batch: int,
    cores: int,
    wrong: tuple[str, ...],
) -> Frame:
    """The frame of a generation, the same one for machines alike.

    Raises:
        CompileError: What is `wrong` already, what is not supported, or what does not fit where.
    """
    faults = frame_faults(spec, plan, formats, prompt_length, batch)
    faults += wrong
    if faults:
        raise CompileError(faults)
    _supported(spec)
    # It also says what does not fit.
    return Frame.of(
        spec, plan, geometry, formats, prompt_length=prompt_length, batch=batch, cores=cores
    )


@lru_cache(maxsize=1024, typed=True)
def _kinds(
    plan: GenerationPlan, prompt_length: int, earlier: int
) -> tuple[tuple[CallKind, int], ...]:
    return tuple(call_kinds(plan, prompt_length, earlier).items())


def phases_of(phases: ForwardCall) -> dict[str, Work]:
    """The phases of one forward call behind `begin`; those of a layer for one layer."""
    found = {
        "embed": phases.embed(),
        "qkv": phases.qkv(),
        "attention": phases.attention(),
        "o": phases.attention_output(),
    }
    if phases.spec.moe is None:
        found |= {"gate_up": phases.gate_up(), "down": phases.down()}
    else:
        found["experts"] = phases.experts()
    if phases.call.span:
        found |= {"head": phases.head(), "sampling": phases.shared_by(1).sampling()}
    return found


def _phase(work: Work, times: int, hardware: Hardware, cores: int) -> PhaseEstimate:
    energy = hardware.energy
    read, written = work.read, work.written
    spent = work.femtojoules + read * energy.read_byte + written * energy.write_byte
    cycles = work.cycles * times
    core_cycles = cores * work.cycles
    matrix = vector = 0.0
    if core_cycles:
        matrix, vector = work.matrix / core_cycles, work.vector / core_cycles
    return PhaseEstimate(
        cycles,
        spent * times * 1e-15,
        work.macs * times,
        (read + written) * times,
        matrix if matrix < 1.0 else 1.0,
        vector if vector < 1.0 else 1.0,
    )


def _sums(*phases: PhaseEstimate) -> list[float]:
    """Cycles, joules, bytes of memory, and cycles in which the matrix and vector units are taken."""
    cycles = energy = moved = matrix = vector = 0.0
    for phase in phases:
        cycles += phase.cycles
        energy += phase.energy
        moved += phase.hbm_bytes
        matrix += phase.matrix * phase.cycles
        vector += phase.vector * phase.cycles
    return [cycles, energy, moved, matrix, vector]


def estimate(
    spec: ModelSpec,
    platform: Hardware | Mapping[str, Any],
    plan: GenerationPlan,
    *,
    prompt_length: int = 32,
    batch: int = 1,
    formats: Formats | Mapping[str, Any] | str | Path | None = None,
    cores: int | None = None,
    calls_per_block: CallsPerBlock | None = None,
    experts_per_tile: int | None = None,
) -> GenerationEstimate:
    """Estimates a generation without simulating anything.

    Args:
        spec: The model.
        platform: `Platform.description()`, or what `hardware_of` makes of it.
        plan: What to generate.
        prompt_length: P.
        batch: B.
        formats: Number formats by class of tensors, as of `compile_generation`.
        cores: How many of the platform's cores share the work; None: all.
        calls_per_block: With a threshold or factor, which leave the number of forward calls to the
            data: so many in every block, or ``"worst"``, the most that there can be.
        experts_per_tile: Of a mixture of experts, how many the rows of a tile use; None: as many as
            independent choices give on average.

    Raises:
        CompileError: What the compiler does not support, or what does not fit where.
    """
    hardware = platform if isinstance(platform, Hardware) else hardware_of(platform)
    geometry = hardware.geometry
    if isinstance(geometry, CompileError):
        raise geometry
    spec = filled_heads(spec, geometry.mlen)
    numbers = Formats.of(formats)
    cores, wrong = sharing_cores(hardware.cores, cores)
    wrong += hardware.differing(cores) + of_one_core(spec, plan, cores)
    wrong += experts_faults(spec.moe, experts_per_tile)
    frame = _frame(spec, plan, geometry, numbers, prompt_length, batch, cores, tuple(wrong))
    shape, layout, memory = frame.shape, frame.layout, frame.memory
    earlier = memory.earlier_positions
    calls = []
    total = [0.0] * 5
    alike: dict[tuple[str, int, int], tuple[dict[str, PhaseEstimate], list[float]]] = {}
    begins: dict[tuple[int, int, str], tuple[PhaseEstimate, list[float]]] = {}
    kinds = (
        _kinds(plan, prompt_length, earlier)
        if calls_per_block is None and experts_per_tile is None
        else call_kinds(plan, prompt_length, earlier, calls_per_block, experts_per_tile).items()
    )
    for kind, times in kinds:
        call = Call(
            batch=shape.batch,
            samples=shape.samples,
            length=shape.length,
            count=kind.count,
            span=kind.span,
            committed=kind.committed,
            pieces=kind.pieces,
            earlier=min(earlier, kind.start),
            block=shape.span,
            warm=kind.kind == "full",
            experts=kind.experts,
            start=0 if kind.count == shape.length else kind.start,
        )
        phases = ForwardCall(hardware, spec, call, memory.tokens, layout, frame.sampler, plan)
        behind = alike.get(kind.alike)
        if behind is None:
            found = {
                name: _phase(work, spec.layers if name in LAYERED else 1, hardware, cores)
                for name, work in phases_of(phases).items()
            }
            behind = alike[kind.alike] = found, _sums(*found.values())
        searched = (call.pieces, call.earlier, kind.kind)
        begin = begins.get(searched)
        if begin is None:
            work = phases.shared_by(1).begin(kind.kind)
            first = _phase(work, 1, hardware, cores)
            begin = begins[searched] = first, _sums(first)
        total = [
            so_far + times * (one + other)
            for so_far, one, other in zip(total, begin[1], behind[1], strict=True)
        ]
        calls.append(CallEstimate(kind, times, {"begin": begin[0]} | behind[0]))
    cycles, dynamic, moved, matrix, vector = total
    seconds = cycles / hardware.clock_hz
    return GenerationEstimate(
        cycles=cycles,
        time=seconds,
        energy=dynamic + hardware.energy.static_watts * seconds,
        area=hardware.area,
        calls=calls,
        tokens=batch * plan.gen_length,
        matrix_utilisation=matrix / cycles,
        vector_utilisation=vector / cycles,
        bandwidth=moved / seconds,
        hardware=hardware,
        cores=cores,
    )
