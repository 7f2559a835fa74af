"""Reference points of a DRAM model, and how close the built-in memory comes to them.

Measured with Ramulator 2.1 (main of 2026-06-29) as an external memory: HBM2 at 2400 Mb/s, one
channel of one pseudo-channel, FR-FCFS with row hits first, open rows, queues of 32.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from npuvp.memory_stream import MemoryStream, memory_stream

__all__ = ["LATENCIES", "SATURATED", "LatencyPoint", "SaturatedPoint", "comparisons", "measure"]


@dataclass(frozen=True)
class SaturatedPoint:
    """Bandwidth with full queues.

    Attributes:
        name: of the pattern.
        stimulus: arguments of `memory_stream`.
        percent: of the peak, by refresh mode.
    """

    name: str
    stimulus: dict[str, Any]
    percent: dict[str, float]


@dataclass(frozen=True)
class LatencyPoint:
    """Mean read latency at an offered load.

    Attributes:
        name: of the pattern.
        stimulus: arguments of `memory_stream`, with the load.
        nanoseconds: mean, by refresh mode.
    """

    name: str
    stimulus: dict[str, Any]
    nanoseconds: dict[str, float]


def _stimulus(
    pattern: str, bytes: int = 32, reads: int = 1, writes: int = 0, streams: int = 1
) -> dict[str, Any]:
    return {
        "pattern": pattern,
        "bytes": bytes,
        "reads": reads,
        "writes": writes,
        "streams": streams,
    }


def _saturated(name: str, none: float, all_bank: float, *stimulus: Any) -> SaturatedPoint:
    return SaturatedPoint(name, _stimulus(*stimulus), {"none": none, "all_bank": all_bank})


def _latency(name: str, load: float, none: float, all_bank: float, *stimulus: Any) -> LatencyPoint:
    return LatencyPoint(
        name, {**_stimulus(*stimulus), "load": load}, {"none": none, "all_bank": all_bank}
    )


SATURATED = (
    _saturated("sequential read 32 B", 100.0, 90.2, "sequential"),
    _saturated("sequential read 64 B", 100.0, 90.2, "sequential", 64),
    _saturated("sequential write 32 B", 100.0, 89.8, "sequential", 32, 0, 1),
    _saturated("2:1 read:write, one stream", 80.6, 72.6, "sequential", 32, 2, 1),
    _saturated("2:1 read:write, three streams", 59.1, 53.4, "sequential", 32, 2, 1, 3),
    _saturated("random read 32 B", 39.8, 35.8, "random"),
    _saturated("random read 64 B", 71.3, 64.0, "random", 64),
    _saturated("row conflicts over all banks", 40.0, 36.0, "row_conflict"),
    _saturated("row conflicts in one bank", 3.5, 3.2, "row_conflict_one_bank"),
)

LATENCIES = (
    _latency("sequential 32 B", 0.1, 17.6, 37.3, "sequential"),
    _latency("sequential 32 B", 0.5, 19.6, 57.2, "sequential"),
    _latency("sequential 32 B", 0.8, 27.7, 122.0, "sequential"),
    _latency("random 32 B", 0.1, 50.7, 76.0, "random"),
    _latency("random 32 B", 0.3, 78.9, 167.0, "random"),
)


def measure(
    point: SaturatedPoint | LatencyPoint,
    refresh: str,
    backend: str = "builtin",
    requests: int = 100_000,
    seed: int = 1,
) -> MemoryStream:
    """Runs a reference point on a backend."""
    return memory_stream(
        preset="HBM2_2400",
        channels=1,
        pseudo_channels=1,
        backend=backend,
        refresh=refresh,
        requests=requests,
        seed=seed,
        **point.stimulus,
    )


def comparisons(
    backend: str = "builtin", requests: int = 100_000
) -> Iterator[tuple[SaturatedPoint | LatencyPoint, str, float, float]]:
    """Yields (point, refresh, reference, measured): percent of peak, or mean latency in ns."""
    for saturated in SATURATED:
        for refresh, percent in saturated.percent.items():
            result = measure(saturated, refresh, backend, requests)
            yield saturated, refresh, percent, 100 * result.fraction_of_peak
    for latency in LATENCIES:
        for refresh, nanoseconds in latency.nanoseconds.items():
            result = measure(latency, refresh, backend, requests)
            yield latency, refresh, nanoseconds, result.mean_latency_ns
