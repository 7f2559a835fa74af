"""`npuvp check`."""

import argparse
import dataclasses
import sys

from npuvp.backend_comparison import BackendRun, compare_backends
from npuvp.cli.common import Subparsers, add_command, add_platform, load_platform, print_json
from npuvp.describe import describe
from npuvp.memory_self_test import (
    PATTERNS,
    THRESHOLD,
    MemorySelfTest,
    preset_self_test,
    self_test,
)
from npuvp.platform import Platform

__all__ = ["add_commands"]


def _bytes_per_second(value: float) -> str:
    return f"{value / 1e9:,.1f} GB/s"


def _print_self_test(test: MemorySelfTest) -> None:
    if test.skipped:
        print(f"  {test.memory}: {test.skipped}")
        return
    refreshes = list(dict.fromkeys(point.refresh for point in test.points))
    peak = _bytes_per_second(test.peak_bandwidth)
    print(f"  {test.memory} ({test.backend}, {test.preset}): achieved, and share of {peak}")
    print(f"    {'pattern':<18}" + "".join(f"{'refresh ' + name:>24}" for name in refreshes))
    for pattern in dict.fromkeys(point.pattern for point in test.points):
        cells = [
            f"{_bytes_per_second(point.bandwidth):>15} {100 * point.fraction_of_peak:5.1f} %"
            + ("!" if point.low else " ")
            for point in test.points
            if point.pattern == pattern
        ]
        print(f"    {pattern:<18}" + "".join(cells))


def _print_presets(tests: list[MemorySelfTest]) -> None:
    print(
        "\nPresets that ship (builtin, one channel, full queues, their own refresh): share of the peak"
    )
    print(f"  {'':<18}" + "".join(f"{test.memory:>13}" for test in tests))
    peaks = (_bytes_per_second(test.peak_bandwidth) for test in tests)
    print(f"  {'peak':<18}" + "".join(f"{peak:>13}" for peak in peaks))
    for pattern in PATTERNS:
        shares = (
            f"{100 * point.fraction_of_peak:>10.1f} %" + ("!" if point.low else " ")
            for test in tests
            for point in test.points
            if point.pattern == pattern and point.refresh != "none"
        )
        print(f"  {pattern:<18}" + "".join(shares))


def _backends() -> dict[str, str]:
    """Memory backends by name: empty, or why this build has none of it."""
    import npuvp._core as _core

    return {name: _core.memory_backend_unavailable(name) for name in _core.memory_backends()}


def _warn(tests: list[MemorySelfTest]) -> None:
    for test in tests:
        for point in test.points:
            if point.threshold is not None and point.low:
                print(
                    f"npuvp check: warning: {test.memory}: {point.pattern} (refresh "
                    f"{point.refresh}) reaches {100 * point.fraction_of_peak:.1f} % of the peak, "
                    f"below the threshold of {100 * point.threshold:g} %",
                    file=sys.stderr,
                )


def _plain(test: MemorySelfTest) -> dict[str, object]:
    data = dataclasses.asdict(test)
    for plain, point in zip(data["points"], test.points, strict=True):
        plain["below_threshold"] = point.low
    return data


def _load_with(options: argparse.Namespace, backend: str) -> Platform:
    return Platform.load(options.platform, set=[*options.set, f"hbm.backend={backend}"])


def _compare(options: argparse.Namespace) -> int:
    runs = compare_backends(lambda backend: _load_with(options, backend))
    tests = {
        run.backend: self_test(_load_with(options, run.backend), options.threshold)
        for run in runs
        if not run.missing and run.backend != "ideal" and not options.no_self_test
    }
    differ = [run for run in runs if run.differences]
    if options.json:
        streams = {backend: [_plain(test) for test in found] for backend, found in tests.items()}
        data = [dataclasses.asdict(run) for run in runs]
        print_json({"runs": data, "equal": not differ, "self_test": streams})
    else:
        _print_runs(runs)
        _print_streams(tests)
    for run in differ:
        print(
            f"npuvp check: {run.backend} gave other results than the first backend that ran: "
            f"{', '.join(run.differences)}",
            file=sys.stderr,
        )
    return int(bool(differ))


def _print_runs(runs: list[BackendRun]) -> None:
    print("One sampling step, 1 x 8 positions of 16,384 logits")
    print(f"  {'backend':<12}{'cycles':>12}{'time':>14}{'memory':>15}{'host':>10}  results")
    first = next(run.backend for run in runs if not run.missing)
    for run in runs:
        if run.missing:
            print(f"  {run.backend:<12}not run: {run.missing}")
            continue
        if run.backend == first:
            equal = "the reference"
        else:
            equal = f"DIFFER: {', '.join(run.differences)}" if run.differences else "equal"
        print(
            f"  {run.backend:<12}{run.cycles:>12,}{run.time_ps / 1e6:>11,.3f} us"
            f"{_bytes_per_second(run.bandwidth):>15}{run.seconds:>8.2f} s  {equal}"
        )


def _print_streams(tests: dict[str, list[MemorySelfTest]]) -> None:
    if not tests:
        return
    print("\nStreams, % of the peak")
    print(f"  {'memory':<10}{'pattern':<18}{'refresh':<10}" + "".join(f"{b:>12}" for b in tests))
    for found in zip(*tests.values(), strict=True):
        for points in zip(*(test.points for test in found), strict=True):
            shares = "".join(f"{100 * point.fraction_of_peak:>12.1f}" for point in points)
            print(f"  {found[0].memory:<10}{points[0].pattern:<18}{points[0].refresh:<10}{shares}")


def _check(options: argparse.Namespace) -> int:
    if options.compare_backends:
        return _compare(options)
    platform = load_platform(options)
    description = platform.description()
    tests = [] if options.no_self_test else self_test(platform, options.threshold)
    presets = [] if options.no_self_test else preset_self_test(options.threshold)
    if options.json:
        description["self_test"] = [_plain(test) for test in tests]
        description["preset_self_test"] = [_plain(test) for test in presets]
        description["memory_backends"] = _backends()
        print_json(description)
    else:
        print(describe(platform))
        if tests:
            print("Memory self-test (one channel, full queues)")
        for test in tests:
            _print_self_test(test)
        if presets:
            _print_presets(presets)
        backends = _backends()
        print("\nMemory backends:", ", ".join(name for name, why in backends.items() if not why))
        for why in filter(None, backends.values()):
            print(f"  {why}")
    _warn(tests)
    _warn(presets)
    return 0


def add_commands(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "check",
        _check,
        "validate a platform; show its topology, memory map, peak figures and what its memory reaches",
        "npuvp check platform/v80.yaml --set core.vlen=1024\n"
        "  npuvp check platform/quad.yaml --compare-backends",
    )
    add_platform(parser, positional=True)
    parser.add_argument("--json", action="store_true", help="print plain data instead")
    parser.add_argument(
        "--no-self-test", action="store_true", help="do not stream memories and presets"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        metavar="SHARE",
        help="warn where sequential reads or writes reach less than this share of the peak "
        f"({THRESHOLD:g})",
    )
    parser.add_argument(
        "--compare-backends",
        action="store_true",
        help="run the same firmware and streams on the backends builtin, ideal and ramulator",
    )
