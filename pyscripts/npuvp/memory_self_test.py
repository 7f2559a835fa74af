"""Bandwidth self-test: streams the memories of a platform and compares what they reach with the peak.

One channel of each memory is driven with full queues, by its preset, refresh, queues and row policy:
channels are independent and alike, so its share of the peak is that of the whole memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from npuvp.memory_facts import preset_facts
from npuvp.memory_presets import load_preset, memory_config, preset_names
from npuvp.memory_stream import stream
from npuvp.platform import Platform

__all__ = [
    "PATTERNS",
    "THRESHOLD",
    "BandwidthPoint",
    "MemorySelfTest",
    "preset_self_test",
    "self_test",
]

THRESHOLD = 0.85
"""Share of the peak that sequential streams are expected to reach: refresh alone takes about a tenth."""

PATTERNS: dict[str, dict[str, Any]] = {
    "sequential read": {"pattern": "sequential", "reads": 1, "writes": 0},
    "sequential write": {"pattern": "sequential", "reads": 0, "writes": 1},
    "2:1 mix": {"pattern": "sequential", "reads": 2, "writes": 1},
    "random read": {"pattern": "random", "reads": 1, "writes": 0},
    "random read 64 B": {"pattern": "random", "reads": 1, "writes": 0, "bytes": 64},
    "row conflicts": {"pattern": "row_conflict", "reads": 1, "writes": 0},
}
"""What is streamed, as arguments of `npuvp.memory_stream`; `bytes` is one access where it is not given."""

_HELD = ("sequential read", "sequential write")


@dataclass(frozen=True)
class BandwidthPoint:
    """What one pattern reached.

    Attributes:
        pattern: of `PATTERNS`.
        refresh: the refresh mode of the stream.
        bandwidth: bytes per second, of the whole memory.
        fraction_of_peak: the same over the peak of its data buses.
        threshold: share that it is held against; None: only reported.
    """

    pattern: str
    refresh: str
    bandwidth: float
    fraction_of_peak: float
    threshold: float | None

    @property
    def low(self) -> bool:
        """Below its threshold."""
        return self.threshold is not None and self.fraction_of_peak < self.threshold


@dataclass(frozen=True)
class MemorySelfTest:
    """One memory of a platform, or one preset.

    Attributes:
        memory: its name; the preset's, where no platform's memory was streamed.
        backend: what simulates it.
        preset: its preset, empty without one.
        peak_bandwidth: of all data buses, bytes per second.
        points: one per pattern and refresh mode; empty where nothing can be streamed.
        skipped: why nothing was streamed; empty where something was.
    """

    memory: str
    backend: str
    preset: str
    peak_bandwidth: float
    points: tuple[BandwidthPoint, ...]
    skipped: str = ""


def _peak(values: dict[str, Any]) -> float:
    """Of the data buses; the parameter `bandwidth` is the ideal backend's."""
    if values["backend"] == "ideal":
        return float(values["bandwidth"])
    preset = load_preset(values["preset"])
    per_channel = preset.stack_bandwidth / preset.channels
    return float(per_channel * values["channels"] * values["stacks"])


def preset_self_test(threshold: float = THRESHOLD, requests: int = 20_000) -> list[MemorySelfTest]:
    """Streams every preset that ships, on the builtin backend, as `self_test` does a platform's memories.

    Each has the stacks, queues, refresh and row policy that it says itself.

    Raises:
        ValueError: a threshold outside 0 to 1.
    """
    _check_threshold(threshold)
    result = []
    for name in preset_names():
        facts = preset_facts(name)
        values = {"preset": name, "backend": "builtin", **facts.unset}
        values |= {"channels": facts.channels, "stacks": facts.stacks}
        points = tuple(_points(name, values, threshold, requests))
        result.append(MemorySelfTest(name, "builtin", name, _peak(values), points))
    return result


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: {threshold}, allowed: a share of the peak from 0 to 1")


def _points(
    name: str, values: dict[str, Any], threshold: float, requests: int
) -> Iterator[BandwidthPoint]:
    used = values["refresh"]
    for refresh in dict.fromkeys(("none", used if used != "none" else "all_bank")):
        config = memory_config(
            values["preset"],
            channels=1,
            mapping="contiguous",
            refresh=refresh,
            row_policy=values["row_policy"],
            queue=values["queue"],
            place=name,
        )
        access = config["organization"]["access_bytes"]
        for pattern, stimulus in PATTERNS.items():
            measured = stream(
                values["backend"],
                config,
                {
                    "bytes": access,
                    "arrivals": "bernoulli",
                    "streams": 1,
                    "load": 1.0,
                    "requests": requests,
                    "seed": 0,
                }
                | stimulus,
            )
            share = measured["fraction_of_peak"]
            held = threshold if pattern in _HELD else None
            yield BandwidthPoint(pattern, refresh, share * _peak(values), share, held)


def self_test(
    platform: Platform, threshold: float = THRESHOLD, requests: int = 20_000
) -> list[MemorySelfTest]:
    """Streams every memory of a platform, without refresh and with it.

    Args:
        platform: whose memories.
        threshold: share of the peak, 0 to 1, that sequential reads and writes are held against. The
            other patterns are bounded by row changes and bus turnarounds, and only reported.
        requests: measured per pattern.

    Returns:
        One entry per memory. A memory of fixed latency and bandwidth has nothing to be tested.

    Raises:
        PlatformError: the platform has faults.
        ValueError: a threshold outside 0 to 1.
    """
    _check_threshold(threshold)
    result = []
    for memory in platform.description()["hbms"]:
        values = memory["parameters"]
        skipped = ""
        if values["backend"] == "ideal":
            skipped = (
                "the ideal backend has a fixed latency and bandwidth and reaches its peak with "
                "every pattern; set hbm.backend (and hbm.preset) to stream a cycle-level one"
            )
        points = () if skipped else tuple(_points(memory["name"], values, threshold, requests))
        result.append(
            MemorySelfTest(
                memory=memory["name"],
                backend=values["backend"],
                preset=values["preset"],
                peak_bandwidth=_peak(values),
                points=points,
                skipped=skipped,
            )
        )
    return result
