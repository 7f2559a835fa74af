"""`npuvp sweep`."""

import argparse
import os

from npuvp.cli.common import Subparsers, add_command, print_json
from npuvp.sweep import load_space, run_sweep

__all__ = ["add_commands"]

_LEFT_OUT = "less those beyond a constraint or equal to another"


def _sweep(options: argparse.Namespace) -> int:
    space = load_space(options.space)
    if options.dry_run:
        points = space.points()
        for point in points:
            print(point.key, ", ".join(f"{k}={v}" for k, v in point.values.items()))
        drawn = "" if space.method == "grid" else f" (of {space.count:,} drawn, {_LEFT_OUT})"
        print(f"{len(points):,} points{drawn}")
        return 0
    output = options.output or f"build/sweeps/{space.path.stem}.csv"
    result = run_sweep(
        space,
        output,
        scheduler=options.scheduler,
        workers=options.workers,
        retry_failed=options.retry_failed,
    )
    front = set(result.front)
    if options.json:
        print_json(
            {
                "points": len(result.rows),
                "evaluated": result.evaluated,
                "failed": result.failed,
                "front": [row for row in result.rows if row["key"] in front],
                "files": [str(path) for path in result.files],
                "note": "energy and area are estimates",
            }
        )
        return 0
    drawn = "" if space.method == "grid" else f" (of {space.count:,} drawn, {_LEFT_OUT})"
    print(
        f"{len(result.rows):,} points{drawn}, {result.evaluated:,} of them now, "
        f"{len(result.failed):,} failed"
    )
    for row in result.failed[:10]:
        values = ", ".join(f"{axis.key}={row[axis.key]}" for axis in space.axes)
        print(f"  {row['status']}: {values}\n    {row['error']}")
    if len(result.failed) > 10:
        print(f"  and {len(result.failed) - 10:,} more")
    if len(result.failed) == len(result.rows):
        print(f"written: {result.files[0]}")
        return 1
    chosen = sorted(
        (row for row in result.rows if row["key"] in front), key=lambda row: float(row["time_s"])
    )
    print(f"Pareto front of latency, energy and area (estimates): {len(chosen)} points")
    print(f"  {'s':>10}{'J':>11}{'mm2':>9}{'tokens/s':>11}{'tokens/J':>10}")
    for row in chosen[:20]:
        values = ", ".join(f"{axis.key.rsplit('.', 1)[-1]}={row[axis.key]}" for axis in space.axes)
        print(
            f"  {float(row['time_s']):>10.4g}{float(row['energy_j']):>11.4g}"
            f"{float(row['area_mm2']):>9.2f}{float(row['tokens_per_s']):>11.1f}"
            f"{float(row['tokens_per_j']):>10.2f}  {values}"
        )
    for path in result.files:
        print(f"written: {path}")
    return 0


def add_commands(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "sweep",
        _sweep,
        "evaluate a design space, over Dask",
        "npuvp sweep platform/spaces/llada_8b.yaml --workers 2",
    )
    parser.add_argument("space", metavar="FILE.yaml", help="the design space (docs/sweep.md)")
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="a Dask scheduler, tcp://...; default: local workers"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="local worker processes (as many as cores); 0: this process, without Dask",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help=".csv or .parquet; a sweep goes on where its file ends (build/sweeps/NAME.csv)",
    )
    parser.add_argument("--retry-failed", action="store_true", help="evaluate failed points anew")
    parser.add_argument("--dry-run", action="store_true", help="list the points")
    parser.add_argument("--json", action="store_true", help="print front and failures as JSON")
