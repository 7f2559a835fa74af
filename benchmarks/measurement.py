"""One measured figure and how it is judged."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Measurement", "best_of"]


@dataclass(frozen=True)
class Measurement:
    """A figure and the limit that it is held against.

    Attributes:
        value: What was measured; None: could not be measured here (`note` says why).
        limit: Where it is still good; None: only reported.
        better: "lower" or "higher".
        unit: Of value and limit; "ratio" for ratios.
        note: What the figure consists of.
    """

    value: float | None
    limit: float | None
    better: str
    unit: str = "ratio"
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the limit is kept; None where there is nothing to judge."""
        if self.value is None or self.limit is None:
            return None
        return self.value <= self.limit if self.better == "lower" else self.value >= self.limit


def best_of(times: int, *functions: Callable[[], float | None]) -> list[float]:
    """Shortest seconds of each function, called in turns so that noise hits all of them alike.

    A function may return seconds that it measured itself; else its whole call counts.
    """
    best = [float("inf")] * len(functions)
    for _ in range(times):
        for i, function in enumerate(functions):
            gc.collect()
            begin = time.perf_counter()
            own = function()
            seconds = own if own is not None else time.perf_counter() - begin
            best[i] = min(best[i], seconds)
    return best
