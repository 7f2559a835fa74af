"""What several commands share: platforms, traces, statistics."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from npuvp.platform import Platform
from npuvp.quantities import QuantityError, parse_quantity
from npuvp.run import Result
from npuvp.traces.power_plot import plot_power
from npuvp.traces.session import POWER_COLUMNS
from npuvp.traces.times import picoseconds
from npuvp.traces.vcd_view import write_view

__all__ = [
    "Subparsers",
    "add_command",
    "add_platform",
    "add_run_inputs",
    "add_traces",
    "joules",
    "load_platform",
    "print_json",
    "print_result",
    "tracing",
    "write_reports",
]

Subparsers = Any


def add_command(
    commands: Subparsers,
    name: str,
    function: Callable[[argparse.Namespace], int | None],
    text: str,
    example: str,
) -> argparse.ArgumentParser:
    """A command with its description and an example below its options."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="example:\n  " + example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(function=function)
    return parser


def add_platform(parser: argparse.ArgumentParser, positional: bool = False) -> None:
    """`--platform` (or PLATFORM) and `--set`."""
    if positional:
        parser.add_argument("platform", metavar="PLATFORM", help="platform file")
    else:
        parser.add_argument("--platform", required=True, metavar="FILE", help="platform file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a parameter, such as core.vlen=512; may be repeated",
    )


def add_run_inputs(parser: argparse.ArgumentParser) -> None:
    """What a program gets before it runs: `--load`, `--input`, `--define`."""
    parser.add_argument(
        "--load",
        action="append",
        default=[],
        metavar="SPACE[@ADDR]=FILE",
        help="initial contents: SPACE is hbm or coreN.vector|matrix|fp|int; FILE is .npy of values "
        "(float32; uint32 for int, uint8 for hbm) or raw bytes in the space's storage format; an "
        "input tensor of which all is loaded needs no --input",
    )
    parser.add_argument(
        "--input", action="append", default=[], metavar="NAME=FILE", help="an input tensor (.npy)"
    )
    parser.add_argument("-D", "--define", action="append", default=[], metavar="NAME=VALUE")


def load_platform(options: argparse.Namespace) -> Platform:
    """The platform that the options name."""
    return Platform.load(options.platform, set=options.set)


def add_traces(parser: argparse.ArgumentParser) -> None:
    """Data mode, traces and statistics of a run."""
    parser.add_argument(
        "--mode", choices=("functional", "timing"), default="functional", help="data mode"
    )
    group = parser.add_argument_group("traces")
    group.add_argument("--vcd", metavar="FILE", help="waveform; FST if it ends in .fst")
    group.add_argument(
        "--signals",
        action="append",
        metavar="GLOB",
        help="signals of the waveform, such as 'core0.*'; may be repeated",
    )
    group.add_argument(
        "--wave-start",
        default="0ps",
        metavar="WHEN",
        help="where waveform, timeline and log begin: a time '1us', 'pc=0x12', 'label=row', "
        "'step=3' or another mark, 'trap', or before one of these: 'trap-2us'",
    )
    group.add_argument("--wave-stop", metavar="WHEN", help="where they end, in the same way")
    group.add_argument(
        "--wave-limit",
        default="4GB",
        metavar="SIZE",
        help="where the waveform stops growing (4GB); 0: nowhere",
    )
    group.add_argument("--wave-view", metavar="FILE", help="GTKWave save file for the waveform")
    group.add_argument("--power", metavar="FILE", help="power trace (CSV)")
    group.add_argument("--power-window", default="100ns", metavar="TIME", help="window (100ns)")
    group.add_argument(
        "--power-by",
        choices=POWER_COLUMNS,
        default="component",
        help="columns of the power trace: every unit of every core, one per core and memory, or one "
        "per kind of unit (component)",
    )
    group.add_argument("--power-plot", metavar="FILE", help="picture of the power trace (PNG)")
    group.add_argument("--timeline", metavar="FILE", help="timeline for Perfetto (JSON)")
    group.add_argument(
        "--timeline-dram", action="store_true", help="show every DRAM command in the timeline"
    )
    group.add_argument(
        "--log",
        metavar="FILE",
        help="instructions with operands and results; binary if it ends in .bin",
    )
    group.add_argument(
        "--log-only",
        action="append",
        metavar="GLOB",
        help="mnemonics to log, such as 'V_*'; may be repeated",
    )
    group.add_argument(
        "--log-core", action="append", metavar="GLOB", help="cores to log; may be repeated"
    )
    group.add_argument(
        "--profile", metavar="FILE", help="where time, traffic and energy went (JSON)"
    )
    group.add_argument(
        "--record",
        metavar="DIR",
        help="directory with profile and statistics, for 'npuvp profile' and 'npuvp report'",
    )
    group.add_argument("--stats", metavar="FILE", help="statistics (JSON)")
    parser.add_argument("--json", action="store_true", help="print the statistics as JSON")


def tracing(platform: Platform, options: argparse.Namespace) -> AbstractContextManager[Any]:
    """The context in which the run records what was asked for.

    Raises:
        ValueError: Options that need another one.
    """
    if options.power_plot and not options.power:
        raise ValueError("--power-plot draws the power trace: give it a place with --power FILE")
    if options.wave_view and not options.vcd:
        raise ValueError("--wave-view shows the waveform: give it a place with --vcd FILE")
    profiled = bool(options.profile or options.record)
    if not (options.vcd or options.power or options.timeline or options.log or profiled):
        return nullcontext()
    try:
        limit = 0 if options.wave_limit == "0" else parse_quantity("bytes", options.wave_limit)
    except QuantityError as error:
        raise ValueError(f"--wave-limit {options.wave_limit!r} {error}") from None
    if options.wave_view and Path(options.vcd).suffix == ".fst":
        raise ValueError(
            "--wave-view is written for a .vcd file: GTKWave opens it with FST as well"
        )
    return platform.trace(
        options.vcd,
        signals=options.signals,
        power=options.power,
        power_window=options.power_window,
        power_by=options.power_by,
        timeline=options.timeline,
        timeline_commands=options.timeline_dram,
        log=options.log,
        log_only=options.log_only,
        cores=options.log_core,
        profile=profiled,
        start=options.wave_start,
        stop=options.wave_stop,
        limit_bytes=limit if options.vcd else 0,
    )


def write_reports(options: argparse.Namespace, result: Result, title: str) -> list[Path]:
    """Pictures, views and statistics of a run; returns every file that the run left."""
    files = list(result.trace_files.values())
    if options.power_plot:
        window = picoseconds(options.power_window, "power window") / 1e3
        files.append(plot_power(options.power, options.power_plot, title=title, window_ns=window))
    if options.wave_view:
        files.append(Path(write_view(options.vcd, options.wave_view)))
    stats = [Path(options.stats)] if options.stats else []
    if result.profile is not None:
        result.profile.meta["title"] = title
        if options.profile:
            files.append(result.profile.save(options.profile))
        if options.record:
            folder = Path(options.record)
            files.append(result.profile.save(folder / "profile.json"))
            stats.append(folder / "stats.json")
    for path in stats:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result.summary(), indent=2) + "\n", encoding="utf-8")
        files.append(path)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    return files


def print_json(data: Any) -> None:
    """Prints plain data."""
    json.dump(data, sys.stdout, indent=2)
    print()


def joules(value: float) -> str:
    """An energy with the unit that suits its size."""
    for unit, size in (("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("nJ", 1e-9)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value / 1e-12:.2f} pJ"


_ENERGY_ROWS = 40


def energy_rows(components: Mapping[str, float]) -> list[tuple[str, float]]:
    """Components that cost energy, the greatest first.

    Of more than fits a screen, the same unit of all cores makes one row ("vector of 64 cores").
    """
    rows = {name: part for name, part in components.items() if part > 0}
    if len(rows) > _ENERGY_ROWS:
        cores = {name.removesuffix(".vector") for name in components if name.endswith(".vector")}
        units: dict[str, list[str]] = {}
        for name in rows:
            part, _, unit = name.partition(".")
            # What a core spends outside its units is called as in the power trace.
            kind = (unit or "control") if part in cores else name
            units.setdefault(kind, []).append(name)
        rows = {
            names[0] if len(names) == 1 else f"{unit} of {len(names)} cores": sum(
                rows[name] for name in names
            )
            for unit, names in units.items()
        }
    return sorted(rows.items(), key=lambda item: -item[1])


def print_result(result: Result, files: list[Path]) -> None:
    """Cycles by class, energy by component and where the files are."""
    print(
        f"{result.cycles:,} cycles, {result.time_ps / 1e6:,.3f} us simulated ({result.mode}) "
        f"in {result.seconds:.2f} s"
    )
    classes = {name: n for name, n in result.cycles_by_class.items() if n}
    total = sum(classes.values()) or 1
    print("cycles by class")
    for name, n in classes.items():
        print(f"  {name:<14}{n:>14,}  {100 * n / total:5.1f} %")
    watts = result.energy.total / result.time if result.time_ps else 0.0
    print(f"energy (estimate) {joules(result.energy.total)}, on average {watts:.3f} W")
    parts = energy_rows(result.energy.by_component)
    width = max([14, *(len(name) + 1 for name, _ in parts)])
    for name, part in parts:
        share = 100 * part / result.energy.total
        print(f"  {name:<{width}}{joules(part):>14}  {share:5.1f} %")
    for path in files:
        print(f"written: {path}")
