"""`memory_stream`: the reference table, its arguments, and the backends it can drive."""

import random
import threading
from pathlib import Path
from typing import Any

import pytest

import npuvp as vp
from npuvp import _core
from npuvp.memory_presets import MemoryConfigError
from npuvp.memory_reference import LATENCIES, SATURATED, LatencyPoint, SaturatedPoint, measure

HAS_RAMULATOR = not _core.memory_backend_unavailable("ramulator")
needs_ramulator = pytest.mark.skipif(
    not HAS_RAMULATOR, reason="this build has no Ramulator: set RAMULATOR_ROOT and set up again"
)


@pytest.mark.parametrize("refresh", ["none", "all_bank"])
@pytest.mark.parametrize("point", SATURATED, ids=lambda p: p.name)
def test_saturated_bandwidth_is_within_three_points(point: SaturatedPoint, refresh: str) -> None:
    requests = 6000 if "one bank" in point.name else 60_000
    result = measure(point, refresh, requests=requests)
    assert 100 * result.fraction_of_peak == pytest.approx(point.percent[refresh], abs=0.5)
    assert result.bandwidth == pytest.approx(result.fraction_of_peak * 19.2e9)


@pytest.mark.parametrize("refresh", ["none", "all_bank"])
@pytest.mark.parametrize("point", LATENCIES, ids=lambda p: f"{p.name} at {p.stimulus['load']}")
def test_latency_under_load_is_within_a_tenth(point: LatencyPoint, refresh: str) -> None:
    result = measure(point, refresh, requests=150_000)
    assert result.measured_reads == 150_000
    assert result.mean_latency_ns == pytest.approx(point.nanoseconds[refresh], rel=0.05)
    assert result.p50_latency_ns <= result.p99_latency_ns <= result.max_latency_ns


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "queue", "fraction"),
    [
        ("HBM2_2400", 32, 1.0),
        ("HBM2E_V80", 32, 1.0),
        ("HBM3_6400", 32, 0.999),
        ("HBM3E", 32, 0.895),  # too short for its row changes
        ("HBM3E", 48, 0.999),
    ],
)
def test_sequential_reads_and_the_peak(preset: str, queue: int, fraction: float) -> None:
    result = vp.memory_stream(
        preset=preset,
        channels=2,
        pattern="sequential",
        reads=1,
        writes=0,
        refresh="none",
        queue=queue,
    )
    assert result.fraction_of_peak == pytest.approx(fraction, abs=0.0005)


def test_the_defaults_run_and_count_commands() -> None:
    result = vp.memory_stream(requests=3000)
    counts = result.counts
    assert counts["reads"] + counts["reads_forwarded"] == result.measured_reads + 171
    assert result.requests == 3000 + 256
    assert counts["activates"] >= counts["row_misses"] + counts["row_conflicts"] - 64
    assert counts["elapsed_ps"] == pytest.approx(1000 * result.simulated_ns, abs=1)
    assert result.requests_per_second_simulated > 10_000


def test_the_same_stream_twice_is_the_same() -> None:
    first, second = (
        vp.memory_stream(preset="HBM3_6400", load=0.3, requests=4000, seed=5) for _ in range(2)
    )
    assert first.counts == second.counts
    assert first.mean_latency_ns == second.mean_latency_ns


def test_the_ideal_memory_has_its_latency_and_bandwidth() -> None:
    idle = vp.memory_stream(
        preset="HBM2E", backend="ideal", load=0.01, reads=1, writes=0, requests=2000,
        arrivals="periodic",
    )  # fmt: skip
    # The peak of two pseudo-channels moves 32 bytes in 0.625 ns.
    assert idle.mean_latency_ns == pytest.approx(15 + 0.625, abs=0.01)
    full = vp.memory_stream(preset="HBM2E", backend="ideal", reads=1, writes=0)
    assert full.fraction_of_peak == pytest.approx(1.0, abs=0.01)


def test_every_wrong_argument_is_reported() -> None:
    with pytest.raises(MemoryConfigError) as caught:
        vp.memory_stream(
            preset="HBM2_2400",
            channels=0,
            pseudo_channels=3,
            backend="hmc",
            pattern="zigzag",
            bytes=48,
            reads=0,
            writes=0,
            streams=0,
            load=1.5,
            arrivals="poisson",
            refresh="sometimes",
            queue=0,
            requests=0,
            seed=-1,
        )
    text = str(caught.value)
    for fault in (
        "channels = 0: allowed: 1 to 4096",
        "pseudo_channels = 3: allowed: 1 to 2",
        "backend = 'hmc': allowed: builtin, ideal, ramulator",
        "pattern = 'zigzag': allowed: sequential, random, row_conflict, row_conflict_one_bank",
        "bytes = 48: allowed: powers of two from 32 to 1024",
        "reads, writes = 0, 0: allowed: at least one above 0",
        "streams = 0: allowed: integers from 1 to 1024",
        "load = 1.5: allowed: numbers from 1e-06 up to 1",
        "arrivals = 'poisson': allowed: bernoulli, periodic",
        "refresh = 'sometimes': allowed: none, all_bank, per_bank",
        "queue = 0: allowed: 1 to 4096",
        "requests = 0: allowed: integers from 1 to",
        "seed = -1: allowed: integers from 0 to",
    ):
        assert fault in text
    assert len(caught.value.faults) == 13


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"preset": 3}, "preset = 3: must be the name of a preset (HBM2E, "),
        ({"preset": None}, "preset = None: must be the name of a preset (HBM2E, "),
        ({"preset": "hbm2_2400"}, "HBM3_6400; did you mean HBM2_2400?"),
        ({"preset": "/nowhere/x.yaml"}, "there is no such file; presets that ship: HBM2E"),
        ({"channels": None}, "channels = None: allowed: a value; only queue may be None"),
        ({"channels": 4097}, "channels = 4097: allowed: 1 to 4096"),
        ({"pseudo_channels": None}, "pseudo_channels = None: allowed: a value"),
        ({"refresh": None}, "refresh = None: allowed: a value"),
        ({"refresh": "perbank"}, "refresh = 'perbank': allowed: none, all_bank, per_bank"),
        ({"queue": 2.5}, "queue = 2.5: allowed: 1 to 4096"),
        ({"bytes": 64.0}, "bytes = 64.0: allowed: powers of two from 32 to 1024"),
        ({"bytes": 2048}, "bytes = 2048: allowed: powers of two from 32 to 1024"),
        ({"load": 0}, "load = 0: allowed: numbers from 1e-06 up to 1"),
        ({"load": 9.9e-7}, "load = 9.9e-07: allowed: numbers from 1e-06 up to 1"),
        ({"load": float("nan")}, "load = nan: allowed: numbers from 1e-06 up to 1"),
        ({"load": "0.5"}, "load = '0.5': allowed: numbers from 1e-06 up to 1"),
        ({"requests": 2**32 + 1}, "requests = 4294967297: allowed: integers from 1 to 4294967296"),
        ({"seed": 2**64}, "seed = 18446744073709551616: allowed: integers from 0 to"),
        ({"pattern": []}, "pattern = []: allowed: sequential, random"),
        ({"backend": None}, "backend = None: allowed: builtin, ideal, ramulator"),
    ],
)
def test_a_wrong_argument_names_itself_and_what_is_allowed(
    arguments: dict[str, Any], fault: str
) -> None:
    with pytest.raises(MemoryConfigError) as caught:
        vp.memory_stream(**arguments)
    assert fault in str(caught.value)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("refresh", "interval"), [("all_bank", "refi: {value: 561"), ("per_bank", "rrefd: {value: 400")]
)
def test_refreshes_that_leave_no_time_end_the_run(
    tmp_path: Path, refresh: str, interval: str
) -> None:
    path = tmp_path / "busy.yaml"
    path.write_text(
        f"name: busy\nextends: HBM2E\nsources: {{X: me}}\ntiming:\n  {interval}, source: X}}\n"
    )
    with pytest.raises(vp.RunError, match="busy, builtin: memory stream: the memory has taken and"):
        vp.memory_stream(preset=path, refresh=refresh, requests=300)
    assert vp.memory_stream(preset=path, refresh="none", requests=300).fraction_of_peak > 0.2


def test_requests_far_apart_are_idle_reads() -> None:
    """The least load: a request per 0.8 ms, and hundreds of refreshes in between."""
    slow: dict[str, Any] = {"reads": 1, "writes": 0, "load": 1e-6, "requests": 300}
    slow |= {"arrivals": "periodic", "pattern": "row_conflict"}
    result = vp.memory_stream(refresh="none", **slow)
    assert result.p50_latency_ns == pytest.approx(45.0, abs=0.05)  # a conflict
    refreshed = vp.memory_stream(refresh="all_bank", **slow)
    assert refreshed.p50_latency_ns == pytest.approx(31.7, abs=0.05)  # a closed row
    assert refreshed.counts["refreshes_all"] == pytest.approx(2 * 555 * 833.3e3 / 3901.7, rel=0.01)
    assert refreshed.fraction_of_peak == pytest.approx(1e-6, rel=0.01)


@pytest.mark.parametrize("value", [True, 1.0, "1", None])
def test_counts_are_integers_and_nothing_else(value: object) -> None:
    with pytest.raises(MemoryConfigError, match="requests"):
        vp.memory_stream(requests=value)  # type: ignore[arg-type]


@pytest.mark.skipif(HAS_RAMULATOR, reason="this build has Ramulator")
def test_without_ramulator_the_error_says_how_to_get_it() -> None:
    with pytest.raises(MemoryConfigError, match="set RAMULATOR_ROOT to that tree"):
        vp.memory_stream(backend="ramulator")


def test_threads_run_side_by_side() -> None:
    results = {}
    threads = [
        threading.Thread(
            target=lambda s=s: results.update({s: vp.memory_stream(seed=s, requests=9000)})
        )
        for s in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, result in results.items():
        assert result.counts == vp.memory_stream(seed=seed, requests=9000).counts
    assert len(results) == 4


@needs_ramulator
@pytest.mark.parametrize(
    "stimulus",
    [
        {"preset": "HBM2_2400", "pattern": "random", "reads": 1, "writes": 0, "load": 0.4},
        {"preset": "HBM2_2400", "pattern": "random", "reads": 2, "writes": 1, "queue": 8},
        {"preset": "HBM3_6400", "pattern": "sequential", "streams": 3, "refresh": "per_bank"},
        {"preset": "HBM3_6400", "pattern": "random", "bytes": 64, "refresh": "none"},
        {"preset": "HBM2E", "pattern": "row_conflict", "channels": 4, "refresh": "per_bank"},
        {"preset": "HBM3E", "pattern": "random", "channels": 2, "load": 0.5, "reads": 3},
    ],
    ids=lambda s: f"{s['preset']} {s['pattern']}",
)
def test_the_built_in_memory_agrees_with_ramulator(stimulus: dict[str, object]) -> None:
    own, other = (
        vp.memory_stream(backend=backend, requests=8000, seed=3, **stimulus)  # type: ignore[arg-type]
        for backend in ("builtin", "ramulator")
    )
    assert own.mean_latency_ns == pytest.approx(other.mean_latency_ns, rel=0.001)
    assert own.fraction_of_peak == pytest.approx(other.fraction_of_peak, abs=0.005)
    assert own.counts["row_hits"] == pytest.approx(other.counts["row_hits"], rel=0.01, abs=20)


@needs_ramulator
@pytest.mark.parametrize("seed", range(12))
def test_random_configurations_agree_with_ramulator(seed: int) -> None:
    draw = random.Random(seed)
    reads, writes = draw.choice([(1, 0), (0, 1), (2, 1), (1, 1), (7, 1), (1, 3)])
    stimulus: dict[str, Any] = {
        "preset": draw.choice(["HBM2_2400", "HBM3_6400", "HBM2E", "HBM2E_V80", "HBM3E"]),
        "channels": draw.choice([1, 2, 4]),
        "pseudo_channels": draw.choice([1, 2]),
        "pattern": draw.choice(["sequential", "random", "row_conflict", "row_conflict_one_bank"]),
        "bytes": draw.choice([32, 64, 128]),
        "streams": draw.choice([1, 2, 3, 5]),
        "refresh": draw.choice(["none", "all_bank", "per_bank"]),
        "queue": draw.choice([1, 2, 5, 16, 32, 48, 128]),
        "load": draw.choice([0.01, 0.2, 0.5, 0.8, 1.0]),
        "arrivals": draw.choice(["bernoulli", "periodic"]),
        "reads": reads,
        "writes": writes,
        "requests": 3000,
        "seed": seed,
    }
    own = vp.memory_stream(backend="builtin", **stimulus)
    other = vp.memory_stream(backend="ramulator", **stimulus)
    assert own.fraction_of_peak == pytest.approx(other.fraction_of_peak, abs=0.01)
    assert own.mean_latency_ns == pytest.approx(other.mean_latency_ns, rel=0.001)
    assert own.max_latency_ns == pytest.approx(other.max_latency_ns, rel=0.001)


def capped_preset(folder: Path, preset: str, cap: int) -> Path:
    """A file of a preset with another row policy."""
    path = folder / "capped.yaml"
    path.write_text(
        f"name: capped\nextends: {preset}\nsources: {{X: here}}\ncontroller:\n"
        f"  row_policy: {{value: capped, source: X}}\n  row_cap: {{value: {cap}, source: X}}\n"
    )
    return path


@needs_ramulator
@pytest.mark.parametrize(
    ("preset", "cap", "stimulus"),
    [
        # Accesses after which a row is closed, against refreshes of every kind.
        ("HBM2_2400", 1, {"reads": 2, "writes": 1, "refresh": "per_bank", "load": 0.1}),
        ("HBM2E_V80", 1, {"reads": 1, "writes": 3, "refresh": "per_bank", "load": 0.1, "queue": 5}),
        ("HBM3_6400", 1, {"reads": 1, "writes": 1, "refresh": "per_bank", "load": 0.2}),
        ("HBM2_2400", 2, {"pattern": "sequential", "reads": 1, "writes": 0, "load": 0.8}),
        ("HBM3_6400", 4, {"pattern": "row_conflict", "bytes": 256, "refresh": "per_bank"}),
        ("HBM3E", 2, {"bytes": 128, "refresh": "none", "load": 0.5, "reads": 7}),
        ("HBM2E", 8, {"pattern": "sequential", "bytes": 512, "reads": 1, "writes": 0}),
        ("HBM3_6400", 1, {"pattern": "row_conflict", "reads": 1, "writes": 0, "load": 0.2}),
    ],
)
def test_capped_rows_agree_with_ramulator(
    tmp_path: Path, preset: str, cap: int, stimulus: dict[str, Any]
) -> None:
    path = capped_preset(tmp_path, preset, cap)
    own, other = (
        vp.memory_stream(preset=path, backend=backend, requests=4000, **stimulus)
        for backend in ("builtin", "ramulator")
    )
    assert own.mean_latency_ns == pytest.approx(other.mean_latency_ns, rel=1e-6)
    assert own.max_latency_ns == pytest.approx(other.max_latency_ns, rel=1e-6)
    assert own.fraction_of_peak == pytest.approx(other.fraction_of_peak, abs=0.01)
    left_open = vp.memory_stream(preset=preset, requests=4000, **stimulus)
    assert own.counts["precharges"] > left_open.counts["precharges"]
    assert own.mean_latency_ns != left_open.mean_latency_ns


@needs_ramulator
@pytest.mark.parametrize("refresh", ["all_bank", "per_bank"])
def test_a_request_whose_row_ramulator_closes_keeps_it_in_ours(
    tmp_path: Path, refresh: str
) -> None:
    """Reads and writes of one row each: Ramulator closes it under one that waits, for good."""
    path = capped_preset(tmp_path, "HBM2_2400", 1)
    stream: dict[str, Any] = {"pattern": "sequential", "bytes": 64, "queue": 16, "requests": 3000}
    stream |= {"pseudo_channels": 1, "refresh": refresh}
    assert vp.memory_stream(preset=path, **stream).fraction_of_peak > 0.2
    with pytest.raises(vp.RunError, match="no command for 299649 ticks with 17 reads and"):
        vp.memory_stream(preset=path, backend="ramulator", seed=1, **stream)


@needs_ramulator
def test_ramulator_wants_a_power_of_two_of_channels() -> None:
    with pytest.raises(ValueError, match="channels is 3, the backend ramulator needs a power of"):
        vp.memory_stream(backend="ramulator", channels=3)
    assert vp.memory_stream(channels=3, requests=1000).fraction_of_peak > 0.1


@pytest.mark.skipif(
    bool(_core.memory_backend_unavailable("ramulator")),
    reason="this build has no Ramulator (RAMULATOR_ROOT)",
)
def test_what_ramulator_does_not_know_is_said_before_it_runs() -> None:
    with pytest.raises(MemoryConfigError, match=r"backend = 'ramulator': .* channels is 3, the "):
        vp.memory_stream(preset="HBM2E", backend="ramulator", channels=3)


def test_queues_are_the_presets_own_where_none_are_given() -> None:
    def share(queue: int | None) -> float:
        stream = {"pattern": "sequential", "reads": 1, "writes": 0, "refresh": "none"}
        return vp.memory_stream(
            preset="HBM3E", queue=queue, requests=20_000, **stream
        ).fraction_of_peak  # type: ignore[arg-type]

    assert share(None) == share(48) > 0.99
    assert share(32) < 0.91
