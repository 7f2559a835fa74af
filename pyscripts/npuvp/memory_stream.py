"""Characterises a memory: drives one with a synthetic stream and measures it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npuvp import html
from npuvp.errors import RunError
from npuvp.memory_presets import MemoryConfigError, load_preset, memory_config
from npuvp.parameters import Fault

__all__ = ["MemoryStream", "memory_stream"]

PATTERNS = ("sequential", "random", "row_conflict", "row_conflict_one_bank")
ARRIVALS = ("bernoulli", "periodic")
LEAST_LOAD = 1e-6
"""A request per some milliseconds: more apart, all are alone, and time outgrows 64 bits of ps."""


@dataclass(frozen=True)
class MemoryStream:
    """What a stream saw.

    Attributes:
        bandwidth: bytes per second over the measured window, which covers whole refresh intervals
            where at least one fits.
        fraction_of_peak: of the peak of the data buses in use.
        mean_latency_ns: of reads, from generation (source queue included) to the last data.
        p50_latency_ns: median.
        p99_latency_ns: 99th percentile.
        max_latency_ns: slowest.
        requests_per_second_simulated: requests that the host simulated per second of its CPU time.
        requests: of the whole run, warm-up included.
        measured_reads: behind the latencies, which are 0 without any.
        window_ns: simulated time behind the bandwidth.
        simulated_ns: simulated time of the whole run.
        counts: commands and events of the whole run by name, times in ps.
    """

    bandwidth: float
    fraction_of_peak: float
    mean_latency_ns: float
    p50_latency_ns: float
    p99_latency_ns: float
    max_latency_ns: float
    requests_per_second_simulated: float
    requests: int
    measured_reads: int
    window_ns: float
    simulated_ns: float
    counts: dict[str, int]

    def _repr_html_(self) -> str:
        latencies = [
            (name, f"{value:.1f} ns")
            for name, value in (
                ("mean", self.mean_latency_ns),
                ("median", self.p50_latency_ns),
                ("99 %", self.p99_latency_ns),
                ("slowest", self.max_latency_ns),
            )
        ]
        return (
            html.heading(
                f"{html.quantity(self.bandwidth, 'B/s')}, {100 * self.fraction_of_peak:.1f} % of "
                f"peak, {self.requests:,} requests"
            )
            + (html.table(("read latency", ""), latencies) if self.measured_reads else "")
            + html.table(("event", "count"), ((n, f"{c:,}") for n, c in self.counts.items() if c))
        )


def _check_backend(backend: str, faults: list[Fault], place: str) -> None:
    import npuvp._core as _core

    known = _core.memory_backends()
    if backend not in known:
        faults.append(Fault(place, "backend", repr(backend), f"allowed: {', '.join(known)}"))
        return
    missing = _core.memory_backend_unavailable(backend)
    if missing:
        faults.append(Fault(place, "backend", repr(backend), missing))


def stream(backend: str, description: dict[str, Any], stimulus: dict[str, Any]) -> dict[str, Any]:
    """Drives a memory that `memory_config` describes with a checked stimulus.

    Raises:
        RunError: the memory makes no progress.
    """
    import npuvp._core as _core

    try:
        result: dict[str, Any] = _core.memory_stream(backend, description, stimulus)
    except RuntimeError as error:
        raise RunError(f"{description['name']}, {backend}: {error}") from None
    return result


def memory_stream(
    preset: str | Path = "HBM2_2400",
    channels: int = 1,
    pseudo_channels: int = 2,
    backend: str = "builtin",
    pattern: str = "random",
    bytes: int = 32,
    reads: int = 2,
    writes: int = 1,
    streams: int = 1,
    load: float = 1.0,
    arrivals: str = "bernoulli",
    refresh: str = "all_bank",
    queue: int | None = 32,
    requests: int = 100_000,
    seed: int = 0,
) -> MemoryStream:
    """Drives a memory with a synthetic stream.

    Every channel has a stimulus of its own. Its addresses go, from the least significant, over the
    accesses of a request, pseudo-channel, bank group, column, bank, stack id and row.

    Args:
        preset: one of ``npuvp.memory_presets.preset_names()``, or the path of a file of your own.
        channels: of the whole memory; a power of two for the backend ``ramulator``.
        pseudo_channels: of a channel, up to what the preset has.
        backend: ``builtin``, ``ideal`` or ``ramulator``.
        pattern: ``sequential``; ``random`` (uniform); ``row_conflict`` (a new row at every access,
            rotating over pseudo-channels, bank groups and banks); ``row_conflict_one_bank`` (the
            same in bank 0 of each pseudo-channel).
        bytes: of a request, a power of two from one access to one row.
        reads: this many reads,
        writes: then this many writes, repeating.
        streams: sequential positions that take turns, a quarter of the capacity apart (closer where
            there are more than four).
        load: offered share of the peak, from a millionth on; 1.0 keeps the queues full instead: up to 8 accesses per
            command tick and channel, in order, until one is refused.
        arrivals: below load 1.0, ``bernoulli`` (a coin per command tick) or ``periodic``.
        refresh: ``none``, ``all_bank`` or ``per_bank``.
        queue: entries of the read queue, and of the write queue, per pseudo-channel; None: as the
            preset says.
        requests: measured requests, over all channels; a warm-up of a twentieth, at least four
            times the queues, comes before them.
        seed: of the random numbers.

    Raises:
        MemoryConfigError: arguments outside what is allowed, all at once with name and value; or a
            backend that is not part of this build, with what is missing.
        RunError: the memory makes no progress: refreshes that leave no time, or an external
            simulator that stands still.
    """
    place = "memory_stream"
    faults: list[Fault] = []
    description: dict[str, Any] | None = None
    low, top = 1, 2**20
    try:
        chosen = load_preset(preset)
        low = chosen.access_bytes
        top = low * int(chosen.values["organization"]["columns"])
        description = memory_config(
            chosen,
            channels=channels,
            pseudo_channels=pseudo_channels,
            mapping="contiguous",
            refresh=refresh,
            queue=queue,
            place=place,
        )
    except MemoryConfigError as error:
        faults += error.faults

    def check(good: bool, name: str, value: object, allowed: str) -> None:
        if not good:
            faults.append(Fault(place, name, repr(value), f"allowed: {allowed}"))

    # To `memory_config` None is what the preset says; here only a queue may be left to it.
    given = {"channels": channels, "pseudo_channels": pseudo_channels, "refresh": refresh}
    for name, value in given.items():
        check(value is not None, name, value, "a value; only queue may be None, the preset's own")

    def count(name: str, value: object, least: int, most: int) -> None:
        good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        check(good, name, value, f"integers from {least} to {most}")

    _check_backend(backend, faults, place)
    check(pattern in PATTERNS, "pattern", pattern, ", ".join(PATTERNS))
    check(arrivals in ARRIVALS, "arrivals", arrivals, ", ".join(ARRIVALS))
    good = isinstance(bytes, int) and not isinstance(bytes, bool)
    good = good and low <= bytes <= top and bytes & (bytes - 1) == 0
    check(good, "bytes", bytes, f"powers of two from {low} to {top}")
    count("reads", reads, 0, 2**20)
    count("writes", writes, 0, 2**20)
    if reads == 0 and writes == 0:
        faults.append(Fault(place, "reads, writes", "0, 0", "allowed: at least one above 0"))
    count("streams", streams, 1, 2**10)
    good = isinstance(load, int | float) and not isinstance(load, bool) and LEAST_LOAD <= load <= 1
    check(good, "load", load, f"numbers from {LEAST_LOAD:g} up to 1")
    count("requests", requests, 1, 2**32)
    count("seed", seed, 0, 2**64 - 1)
    if not faults and backend == "ramulator":
        import npuvp._core as _core

        refusal = _core.memory_backend_refusal(backend, description)
        if refusal:
            faults.append(Fault(place, "backend", repr(backend), refusal))
    if faults or description is None:
        raise MemoryConfigError("memory stream", faults)
    stimulus = {
        "pattern": pattern,
        "arrivals": arrivals,
        "bytes": bytes,
        "reads": reads,
        "writes": writes,
        "streams": streams,
        "load": float(load),
        "requests": requests,
        "seed": seed,
    }
    result = stream(backend, description, stimulus)
    cpu_seconds = result.pop("cpu_seconds")
    rate = result["requests"] / max(cpu_seconds, 1e-9)
    return MemoryStream(requests_per_second_simulated=rate, **result)
