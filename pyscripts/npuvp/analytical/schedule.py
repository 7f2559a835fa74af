"""What straight-line code costs on a core that issues one instruction per cycle, in order.

Bodies of loops are written as short texts, one word per instruction: a name of `_NAMES`, the rows of
Vector SRAM that it touches where it does, and a dot where it continues the chain of results (it
waits for the instruction before it in the chain, and the next one waits for it). ``"vmul3. vsum1.
int ctl"`` is a product of two rows, its sum, an addition and the end of a hardware loop.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from npuvp.analytical.machine import Classes, Hardware, InstructionEnergy

__all__ = ["Work", "addition", "body", "repeat"]

#: Timing class and unit (0 scalar, 1 vector, 2 control, 3 DMA) of a word.
_NAMES = {
    "int": ("scalar_int", 0),
    "im": ("int_mem", 0),
    "fm": ("fp_mem", 0),
    "fp": ("scalar_fp", 0),
    "fexp": ("scalar_fp_exp", 0),
    "freci": ("scalar_fp_reci", 0),
    "fsqrt": ("scalar_fp_sqrt", 0),
    "frand": ("scalar_fp_log", 0),
    "ctl": ("control", 2),
    "br": ("branch", 2),
    "sync": ("sync", 2),
    "dma": ("dma", 3),
    "vadd": ("vector_add", 1),
    "vmul": ("vector_mul", 1),
    "vexp": ("vector_exp", 1),
    "vreci": ("vector_reci", 1),
    "vsilu": ("vector_silu", 1),
    "vmax": ("vector_max", 1),
    "vmaxi": ("vector_max_idx", 1),
    "vtopk": ("vector_topk", 1),
    "vget": ("vector_get", 1),
    "vcount": ("vector_count", 1),
    "vrand": ("vector_rand", 1),
    "vsum": ("vector_sum", 1),
    "vsel": ("vector_select", 1),
    "vshft": ("vector_shift", 1),
}


if TYPE_CHECKING:

    class Work:
        """What a piece of a program takes (tlm/estimate/work.h).

        Attributes:
            cycles: From its beginning to the beginning of what follows.
            femtojoules: Of its instructions and SRAM accesses; memory and static power apart.
            vector: Cycles for which the vector unit is taken.
            matrix: Cycles for which operands stream into the matrix unit.
            macs: Multiply-accumulates.
            read, written: Bytes of memory.
        """

        def __init__(
            self,
            cycles: float = 0.0,
            femtojoules: float = 0.0,
            vector: float = 0.0,
            matrix: float = 0.0,
            macs: float = 0.0,
            read: float = 0.0,
            written: float = 0.0,
        ) -> None:
            self.cycles = cycles
            self.femtojoules = femtojoules
            self.vector = vector
            self.matrix = matrix
            self.macs = macs
            self.read = read
            self.written = written

        def rest(self) -> tuple[float, float, float, float, float, float]:
            """Everything but the cycles."""

        def add(self, other: "Work", times: float = 1.0) -> None:
            """Adds another piece, cycles included."""

        def beside(self, other: "Work", times: float = 1.0) -> None:
            """Adds everything but the cycles of another piece."""

        def repeated(self, times: float) -> "Work":
            """So many of it, one behind the other."""

else:
    from npuvp._core.estimate import Work


@lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[tuple[str, int, int, bool], ...]:
    found = []
    for word in text.split():
        chained = word.endswith(".")
        word = word.rstrip(".")
        name = word.rstrip("0123456789")
        timing, unit = _NAMES[name]
        found.append((timing, unit, int(word[len(name) :] or 0), chained))
    return tuple(found)


@lru_cache(maxsize=65536)
def _cycles(text: str, classes: Classes) -> tuple[float, float]:
    """Cycles per round of a loop of the body, and for which the vector unit is taken."""
    now, chain, begun, busy = 0, 0, 0, 0
    free = [0, 0, 0, 0]
    # The third round begins as every later one does.
    for round_ in range(3):
        begun_before, begun = begun, now
        for timing, unit, _, chained in _parsed(text):
            interval, latency, _ = classes.costs[timing]
            issue = max(now, free[unit], chain if chained else 0)
            free[unit] = issue + interval
            if chained:
                chain = issue + latency
            occupied = max(interval, latency)
            now = issue + (occupied if classes.blocking else min(occupied, 1))
            if unit == 1 and round_ == 0:
                busy += interval
    return float(begun - begun_before), float(busy)


def _round(text: str, classes: Classes, energy: InstructionEnergy) -> Work:
    cycles, vector = _cycles(text, classes)
    words = _parsed(text)
    spent = 0.0
    for timing, _, rows, _ in words:
        spent += energy.of(timing) + rows * energy.vector_row
    return Work(cycles, spent, vector)


def body(hardware: Hardware, text: str, times: float = 1.0) -> Work:
    """`times` rounds of a loop of these instructions."""
    found = hardware.rounds.get(text)
    if found is None:
        found = _round(text, hardware.classes, hardware.energy.instructions)
        hardware.rounds.keep(text, found)
    return found.repeated(times)


def immediate(value: float) -> int:
    """Instructions that set a register to a constant."""
    number = int(value)
    return 1 if number < 1 << 18 or number % 4096 == 0 else 2


def addition(value: float) -> int:
    """Instructions that add a constant to a register."""
    return 1 if value < 1 << 18 else 1 + immediate(value)


@lru_cache(maxsize=1024)
def repeat(name: str, count: int) -> str:
    """The same word several times."""
    return " ".join([name] * count)
