"""`npuvp validate`."""

import argparse
import sys

from tqdm import tqdm

from npuvp.cli.common import Subparsers, add_command, print_json
from npuvp.validate import (
    CASES,
    GEMM_LIMIT,
    LEAST_SHARE,
    PHASE_LIMIT,
    QUICK,
    Row,
    validate,
)

__all__ = ["add_commands", "table"]


def table(rows: list[Row], every: bool) -> str:
    """A table: every row, or of a case those that its limits concern."""
    lines = []
    case = ""
    for row in rows:
        if row.limit is None and not every:
            continue
        if row.case != case:
            case = row.case
            lines.append(case)
        if row.simulated == 0:
            lines.append(f"  {row.what:<34}{row.analytical:>16,.0f}{'':38}{_verdict(row)}")
            continue
        lines.append(
            f"  {row.what:<34}{row.analytical:>16,.0f}{row.simulated:>16,.0f}"
            f"{100 * row.share:>8.1f} %{100 * row.error:>+9.2f} %   {_verdict(row)}"
        )
    return "\n".join(lines)


def _verdict(row: Row) -> str:
    if row.limit is None:
        return "-"
    return ("ok" if row.holds else "BEYOND") + f" ({100 * row.limit:g} %)"


def _validate(options: argparse.Namespace) -> int:
    cases = QUICK if options.quick else CASES
    with tqdm(total=len(cases) + 1, disable=None, leave=False, file=sys.stderr) as bar:

        def progress(name: str) -> None:
            bar.set_description_str(name[:60])
            bar.update()

        rows = validate(options.quick, progress)
    failed = [row for row in rows if not row.holds]
    if options.json:
        print_json(
            {
                "rows": [
                    {
                        "case": row.case,
                        "what": row.what,
                        "analytical": row.analytical,
                        "simulated": row.simulated,
                        "share": row.share,
                        "error": row.error,
                        "limit": row.limit,
                        "holds": row.holds,
                    }
                    for row in rows
                ],
                "holds": not failed,
            }
        )
        return int(bool(failed))
    print(
        f"  {'operation':<34}{'analytical':>16}{'cycle-level':>16}{'share':>10}{'error':>11}   limit"
    )
    print(table(rows, options.all))
    held = [row for row in rows if row.limit]
    print(
        f"\nlimits: {100 * PHASE_LIMIT:g} % per phase of at least {100 * LEAST_SHARE:g} % of its "
        f"call, {100 * GEMM_LIMIT:g} % on all matrix products of a call and on a sampling step"
    )
    print("worst cases")
    for row in sorted(held, key=lambda row: -abs(row.error))[:5]:
        print(f"  {100 * row.error:+6.2f} %  {row.what}, {row.case}")
    print(f"{len(rows)} comparisons, {len(failed)} beyond their limit")
    return int(bool(failed))


def add_commands(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "validate",
        _validate,
        "hold the analytical, the cycle-level and the golden path against each other",
        "npuvp validate --quick",
    )
    parser.add_argument("--quick", action="store_true", help="the cases of CI, under a minute")
    parser.add_argument("--all", action="store_true", help="show phases below the least share too")
    parser.add_argument("--json", action="store_true", help="print the comparisons as JSON")
