"""Where the time and the energy of a generation went, from the counters at its marks."""

from typing import TYPE_CHECKING

from npuvp.compiler.state import PHASES
from npuvp.generation.calls import PhaseUse

if TYPE_CHECKING:
    from npuvp.run import Result

__all__ = ["KINDS", "call_energies", "phase_uses"]

#: Kind of work of every phase.
KINDS = {
    "embed": "embedding",
    "qkv": "attention",
    "attention": "attention",
    "o": "attention",
    "gate_up": "ffn",
    "down": "ffn",
    "experts": "ffn",
    "head": "head",
    "sampling": "sampling",
}


def _static_watts(result: "Result") -> float:
    return result.energy.static / result.time if result.time_ps else 0.0


def call_energies(result: "Result", period_ps: int) -> list[float]:
    """Energy of every call in joules, from the end of the one before to its word to the host."""
    watts = _static_watts(result)
    joules = [
        lap.dynamic_fj * 1e-15 + watts * lap.cycle * period_ps * 1e-12
        for lap in result.laps[0]
        if lap.kind == "word"
    ]
    return [after - before for before, after in zip([0.0, *joules], joules, strict=False)]


def phase_uses(result: "Result", period_ps: int) -> dict[str, PhaseUse]:
    """Time, DMA stalls and energy by kind of work; what is before the first phase and between a
    call's last phase and the next call's first is ``control``."""
    totals = {name: [0.0, 0.0, 0.0] for name in (*dict.fromkeys(KINDS.values()), "control")}
    watts = _static_watts(result)
    name, cycle, memory, spent = "control", 0, 0, 0

    def close(until: int, stalled: int, fj: int) -> None:
        seconds = (until - cycle) * period_ps * 1e-12
        total = totals[name]
        total[0] += seconds
        total[1] += (stalled - memory) * period_ps * 1e-12
        total[2] += (fj - spent) * 1e-15 + seconds * watts

    for lap in result.laps[0]:
        close(lap.cycle, lap.cycles_by_class["memory"], lap.dynamic_fj)
        name = KINDS[PHASES[lap.value]] if lap.kind == "phase" else "control"
        cycle, memory, spent = lap.cycle, lap.cycles_by_class["memory"], lap.dynamic_fj
    core = next(iter(result.stats["cores"].values()))
    everything = sum(result.energy.dynamic_fj.values())
    close(result.cycles, core["cycles_by_class"]["memory"], everything)
    return {name: PhaseUse(*total) for name, total in totals.items() if total[0] > 0}
