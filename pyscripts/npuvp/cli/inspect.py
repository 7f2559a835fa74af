"""`npuvp diff`, `npuvp profile` and `npuvp report`: what runs left behind."""

import argparse
import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from npuvp.cli.common import Subparsers, add_command, load_platform, print_json
from npuvp.cli.programs import load_contents, load_program, loaded_inputs
from npuvp.errors import InputError, RunError
from npuvp.firmware import Firmware
from npuvp.golden.machine import GoldenMachine
from npuvp.isa.disassembler import instruction_text
from npuvp.run import run_firmware
from npuvp.tensors import checked_inputs
from npuvp.traces.golden_diff import diverges_from_golden
from npuvp.traces.log import Divergence, LogEntry, first_divergence, read_log
from npuvp.traces.profile import STALLS, VIEWS, Profile, read_profile
from npuvp.traces.report import write_report

__all__ = ["add_commands"]

_BEFORE = 5
_REGISTER = re.compile(r"\b(?:gp\d+|f\d)\b")


def _inputs(items: list[str]) -> dict[str, Any]:
    result = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not (name and equals and path):
            raise InputError(f"--input {item!r} (allowed: NAME=FILE)")
        result[name] = np.load(path, allow_pickle=False)
    return result


def _line(entry: LogEntry | None) -> str:
    if entry is None:
        return "(ends here)"
    results = "".join(f"  -> {name} = {value:#010x}" for name, value in entry.results)
    time = f"{entry.begin:>12} ps  " if entry.end else " " * 17
    return f"{time}pc {entry.pc:#06x}  {_text(entry)}{results}"


def _text(entry: LogEntry) -> str:
    """With operands, which a binary log has in the word alone."""
    return entry.text if " " in entry.text else instruction_text(entry.word, entry.pc)


def _operands(entry: LogEntry, before: list[LogEntry]) -> list[str]:
    """Values of the registers that an instruction names and who wrote them, from the log."""
    lines = []
    written = dict(entry.results)
    for register in dict.fromkeys(_REGISTER.findall(_text(entry))):
        for earlier in reversed(before):
            value = dict(earlier.results).get(register)
            if value is not None:
                note = ", before it" if register in written else ""
                lines.append(
                    f"{register} = {value:#010x}{note}: written by pc {earlier.pc:#06x}  "
                    f"{_text(earlier)}"
                )
                break
    return lines


def _show(
    found: Divergence,
    names: tuple[str, str],
    first: list[LogEntry],
    firmware: Firmware | None,
    cores: list[str],
) -> None:
    own = [entry for entry in first if entry.core == found.core]
    print(f"{found.core}: {found.index:,} instructions agree, the next differs ({found.differs})")
    for entry in own[max(0, found.index - _BEFORE) : found.index]:
        print(f"    {_line(entry)}")
    width = max(map(len, names))
    print(f"  {names[0]:<{width}} {_line(found.first)}")
    print(f"  {names[1]:<{width}} {_line(found.second)}")
    differs = found.first or found.second
    if differs is None:
        return
    for line in _operands(differs, own[: found.index]):
        print(f"  {line}")
    if firmware is not None and found.core in cores:
        index = cores.index(found.core)
        location = firmware.location(index, differs.pc)
        label = firmware.label(index, differs.pc)
        if location is not None:
            text = firmware.source_line(location).strip()
            where = f" ({label[0]}+{label[1]})" if label is not None else ""
            print(f"  at {location.file}:{location.line}{where}  {text}")


def _diff(options: argparse.Namespace) -> int:
    if options.golden is None:
        if len(options.logs) != 2:
            raise InputError(
                f"{len(options.logs)} logs given (allowed: two, or with --golden one or none)"
            )
        first, second = (read_log(path) for path in options.logs)
        found = first_divergence(first, second, times=options.times)
        firmware = None if options.program is None else load_program(options.program, [])
        names, compared, cores = ("first", "second"), len(first), sorted({e.core for e in first})
    else:
        if options.platform is None or len(options.logs) > 1 or options.times:
            raise InputError(
                "--golden needs --platform, takes at most one log and knows no times "
                "(allowed: npuvp diff [LOG] --golden PROGRAM --platform FILE)"
            )
        firmware = load_program(options.golden, options.define)
        first, found, compared, cores = _golden(options, firmware)
        names = ("machine", "golden")
    if options.json:
        print_json(
            {
                "agree": found is None,
                "instructions": compared if found is None else found.index,
                "divergence": None if found is None else asdict(found),
            }
        )
    elif found is None:
        print(f"the same: {compared:,} instructions")
    else:
        _show(found, names, first, firmware, cores)
    return 0 if found is None else 1


def _golden(
    options: argparse.Namespace, firmware: Firmware
) -> tuple[list[LogEntry], Divergence | None, int, list[str]]:
    platform = load_platform(options)
    inputs = _inputs(options.input)
    loaded = loaded_inputs(platform, firmware, options.load)

    def prepare(machine: Any) -> None:
        for item in options.load:
            load_contents(machine, item)

    if options.logs:
        log = read_log(options.logs[0])
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "machine.bin"
            try:
                with platform.trace(log=path):
                    run_firmware(
                        platform,
                        firmware,
                        inputs=inputs,
                        outputs=[],
                        prepare=prepare,
                        loaded=loaded,
                    )
            except RunError as error:
                print(f"the machine's run ended: {str(error).splitlines()[0]}")
            log = read_log(path)
    golden = GoldenMachine(platform.description(), firmware)
    golden.load_inputs(checked_inputs(firmware, inputs, integers_only=False, loaded=loaded))
    prepare(golden)
    found, compared = diverges_from_golden(log, golden)
    return log, found, compared, [core["name"] for core in golden.description["cores"]]


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:.0f} B"


def _profile(options: argparse.Namespace) -> None:
    profile: Profile = read_profile(options.run)
    rows = profile.table(options.by, options.top or None)
    total = profile.total
    if options.json:
        print_json({"run": profile.meta, "by": options.by, "rows": rows, "total": asdict(total)})
        return
    meta = profile.meta
    cores = len(meta["cores"])
    print(
        f"{meta['cycles']:,} cycles on {meta['platform']} ({meta['mode']}), {cores} core"
        f"{'s' if cores > 1 else ''}; core time by {options.by}; energy is an estimate"
    )
    shown = {"memory": "HBM", "synchronisation": "sync"}
    heads = [shown.get(name, name) for name in STALLS]
    print(
        f"{options.by:<28}{'cycles':>13} {'share':>6} {'issue':>6}"
        + "".join(f"{head:>8}" for head in heads)
        + f"{'HBM bytes':>11}{'energy':>11}{'vector':>7}{'matrix':>7}{'memory':>7}"
    )
    period = meta["period_ps"]

    def show(name: str, row: dict[str, Any], text: str) -> None:
        cycles = row["core_cycles"]

        def share(part: float) -> str:
            return f"{100 * part / cycles:.0f} %" if part and cycles else ""

        stalls = "".join(f"{share(row['stall_cycles'][name]):>8}" for name in STALLS)
        moved = row["hbm_bytes_read"] + row["hbm_bytes_written"]
        print(
            f"{name:<28.28}{cycles:>13,.0f} {row['share']:>6.1%} {share(row['own_cycles']):>6}"
            f"{stalls}{_bytes(moved) if moved else '':>11}{row['energy_fj'] * 1e-9:>8.2f} uJ"
            f"{row['vector_utilisation']:>7.0%}{row['matrix_utilisation']:>7.1%}"
            f"{row['hbm_utilisation']:>7.1%}  {text[:40] or row['limit']}".rstrip()
        )

    for row in rows:
        show(row["key"], row, row["text"])
    left = len(profile.by(options.by)) - len(rows)
    if left > 0:
        print(f"and {left} more (--top 0 shows all)")
    whole = profile.by("core")
    print(
        f"{'total':<28}{total.time_ps // period:>13,} {'100.0%':>6}"
        f"{'':>{6 + 1 + 8 * len(STALLS)}}{_bytes(total.bytes_read + total.bytes_written):>11}"
        f"{total.energy_fj * 1e-9:>8.2f} uJ"
    )
    idle = sum(row.times["idle"] for row in whole)
    if idle:
        print(f"of it {idle // period:,} core cycles after a core had halted")


def _report(options: argparse.Namespace) -> None:
    profile = read_profile(options.run)
    output = options.output or (
        Path(options.run) / "report.html" if Path(options.run).is_dir() else "report.html"
    )
    print(f"written: {write_report(profile, output)}")


def add_commands(commands: Subparsers) -> None:
    """Adds the commands."""
    parser = add_command(
        commands,
        "diff",
        _diff,
        "find the first divergence of two instruction logs, or of the machine and the golden model",
        "npuvp diff good.log bad.log\n"
        "  npuvp diff --golden sum.s --platform platform/edge.yaml --load core0.vector=x.npy",
    )
    parser.add_argument("logs", nargs="*", metavar="LOG", help="written by --log, text or binary")
    parser.add_argument("--times", action="store_true", help="times have to agree as well")
    parser.add_argument("--program", metavar="PROGRAM", help="whose source lines are shown")
    parser.add_argument(
        "--golden",
        metavar="PROGRAM",
        help="run the golden model of this program beside LOG, or beside the machine",
    )
    parser.add_argument("--platform", metavar="FILE", help="platform file, for --golden")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--load", action="append", default=[], metavar="SPACE[@ADDR]=FILE")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("-D", "--define", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser = add_command(
        commands,
        "profile",
        _profile,
        "show where time, memory traffic and energy of a run went",
        "npuvp sample --platform platform/edge.yaml --batch 1 --positions 4 --record traces/run\n"
        "  npuvp profile traces/run --by operation",
    )
    parser.add_argument("run", metavar="RUN", help="directory of --record, or file of --profile")
    parser.add_argument("--by", choices=VIEWS, default="line", help="what rows are (line)")
    parser.add_argument("--top", type=int, default=20, metavar="N", help="rows; 0: all (20)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser = add_command(
        commands,
        "report",
        _report,
        "write one HTML page about a run, which needs no network",
        "npuvp report traces/run -o report.html",
    )
    parser.add_argument("run", metavar="RUN", help="directory of --record, or file of --profile")
    parser.add_argument("-o", "--output", metavar="FILE", help="the page (RUN/report.html)")
