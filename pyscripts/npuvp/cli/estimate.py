"""`npuvp estimate`."""

import argparse
import sys
from typing import Any

from npuvp.analytical import GenerationEstimate, estimate, hardware_of, roofline
from npuvp.call_kinds import CallsPerBlock
from npuvp.cli.common import Subparsers, add_command, add_platform, load_platform, print_json
from npuvp.cli.generate import add_plan, plan_of
from npuvp.compiler.compile import formats_of
from npuvp.model.checkpoint import load_model
from npuvp.replay import GenerationTiming, time_generation

__all__ = ["add_commands"]


def _calls_per_block(text: str) -> CallsPerBlock:
    return "worst" if text == "worst" else int(text)


def _check_rows(closed: GenerationEstimate, timing: GenerationTiming) -> list[dict[str, Any]]:
    by_kind = {call.kind: call for call in closed.calls}
    rows = []
    seen = set()
    for call in timing.calls:
        kind = call.kind.alike
        if kind in seen:
            continue
        seen.add(kind)
        ours = by_kind[call.kind]
        pairs = [(name, ours.phases[name].cycles, cycles) for name, cycles in call.phases.items()]
        pairs.append(("call", ours.cycles, call.cycles))
        for name, estimated, simulated in pairs:
            rows.append(
                {
                    "call": kind[0],
                    "positions": kind[1],
                    "phase": name,
                    "analytical": estimated,
                    "simulated": simulated,
                    "share": simulated / call.cycles,
                    "error": estimated / simulated - 1,
                }
            )
    return rows


def _print(closed: GenerationEstimate, model: str) -> None:
    tokens = closed.tokens
    shared = f" ({closed.cores} cores)" if closed.cores > 1 else ""
    print(f"{model} on {closed.hardware.name}{shared}: every figure is an estimate in closed form")
    print(
        f"  {closed.cycles:,.0f} cycles, {closed.time:.4g} s, {closed.energy:.4g} J, "
        f"{tokens:,} tokens: {tokens / closed.time:,.1f} tokens/s, "
        f"{tokens / closed.energy:,.1f} tokens/J"
    )
    print(
        f"  matrix unit {closed.matrix_utilisation:.1%}, vector unit "
        f"{closed.vector_utilisation:.1%} of the time; memory {closed.bandwidth / 1e9:,.1f} GB/s of "
        f"{closed.hardware.peak_bandwidth / 1e9:,.1f} GB/s"
    )
    area = closed.area
    largest = sorted(area.core.items(), key=lambda item: -item[1])[:4]
    parts = ", ".join(f"{name} {mm2:.2f}" for name, mm2 in largest)
    print(f"  {area.total:.2f} mm2 ({parts}; not counted: {area.not_counted})")
    print("by phase, all layers of a call")
    print(
        f"  {'phase':<14}{'cycles':>16}{'share':>9}{'matrix':>9}{'vector':>9}{'MB':>12}{'mJ':>10}"
    )
    seen = set()
    for call in closed.calls:
        kind = call.kind.alike
        if kind in seen:
            continue
        seen.add(kind)
        times = sum(other.times for other in closed.calls if other.kind.alike == kind)
        head = "" if kind[2] else ", without a head"
        print(f"{kind[0]}, {kind[1]} positions{head}, {times} times: {call.cycles:,.0f} cycles")
        for name, phase in call.phases.items():
            print(
                f"  {name:<14}{phase.cycles:>16,.0f}{phase.cycles / call.cycles:>9.1%}"
                f"{phase.matrix:>9.1%}{phase.vector:>9.1%}{phase.hbm_bytes / 1e6:>12,.2f}"
                f"{phase.energy * 1e3:>10.3f}"
            )
    hardware = closed.hardware
    print(
        f"roofline: {closed.peak_flops / 1e12:,.1f} TFLOPS, "
        f"{hardware.peak_bandwidth / 1e9:,.1f} GB/s"
    )
    for point in roofline(closed):
        print(
            f"  {point.name:<26}{point.intensity:>10.1f} FLOP/B{point.flops / 1e12:>10.2f} TFLOPS, "
            f"{point.flops / point.roof:>7.1%} of the {point.bound} roof"
        )


def _print_check(rows: list[dict[str, Any]], closed: GenerationEstimate, timing: Any) -> None:
    print("beside the cycle-level path (timing mode with replay)")
    print(f"  {'':<28}{'analytical':>16}{'simulated':>16}{'share':>9}{'error':>10}")
    for row in rows:
        title = f"{row['call']} {row['positions']} {row['phase']}"
        print(
            f"  {title:<28}{row['analytical']:>16,.0f}{row['simulated']:>16,.0f}"
            f"{row['share']:>9.1%}{100 * row['error']:>+9.2f} %"
        )
    pairs = (("cycles", closed.cycles, timing.cycles), ("joules", closed.energy, timing.energy))
    for name, estimated, simulated in pairs:
        error = 100 * (estimated / simulated - 1)
        print(
            f"  {'generation, ' + name:<28}{estimated:>16,.6g}{simulated:>16,.6g}"
            f"{'':>9}{error:>+9.2f} %"
        )
    print(f"  simulated in {timing.seconds:.1f} s")


def _estimate(options: argparse.Namespace) -> None:
    checkpoint = load_model(options.model)
    platform = load_platform(options)
    plan = plan_of(options)
    sizes: dict[str, Any] = {
        "prompt_length": options.prompt_length,
        "batch": options.batch,
        "formats": formats_of(checkpoint, options.formats),
        "cores": options.cores,
        "calls_per_block": options.calls_per_block,
        "experts_per_tile": options.experts_per_tile,
    }
    closed = estimate(checkpoint.spec, hardware_of(platform.description()), plan, **sizes)
    timing = None
    rows: list[dict[str, Any]] = []
    if options.check:

        def progress(name: str) -> None:
            if sys.stderr.isatty():
                print(f"\rsimulating {name:<40}", end="", file=sys.stderr, flush=True)

        timing = time_generation(checkpoint, platform, plan, progress=progress, **sizes)
        if sys.stderr.isatty():
            print("\r" + " " * 52 + "\r", end="", file=sys.stderr)
        rows = _check_rows(closed, timing)
    if options.json:
        data = closed.summary()
        data["roofline"] = {
            "peak_flops": closed.peak_flops,
            "peak_bandwidth": closed.hardware.peak_bandwidth,
            "points": [vars(point) for point in roofline(closed)],
        }
        if timing is not None:
            data["check"] = {
                "phases": rows,
                "generation": timing.summary(),
                "error": closed.cycles / timing.cycles - 1,
                "energy_error": closed.energy / timing.energy - 1,
            }
        print_json(data)
        return
    _print(closed, checkpoint.name)
    if timing is not None:
        _print_check(rows, closed, timing)


def add_commands(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "estimate",
        _estimate,
        "latency, energy, area and utilisation of a generation in closed form",
        "npuvp estimate llada-8b --platform platform/v80.yaml --prompt-length 128 --batch 16 "
        "--gen-length 256 --block-length 32 --steps 256 --cache dual --check",
    )
    parser.add_argument("model", metavar="MODEL", help="checkpoint directory or a model's name")
    add_platform(parser)
    parser.add_argument("--prompt-length", type=int, default=32, help="tokens of a prompt (32)")
    parser.add_argument("--batch", type=int, default=1, help="prompts (1)")
    parser.add_argument(
        "--calls-per-block",
        type=_calls_per_block,
        metavar="N",
        help="with --threshold or --factor, where the data decide: forward calls of every block, or "
        "'worst'",
    )
    parser.add_argument(
        "--experts-per-tile",
        type=int,
        metavar="N",
        help="of a mixture of experts: how many the rows of a tile use (as many as independent choices "
        "give on average)",
    )
    parser.add_argument(
        "--check", action="store_true", help="simulate as well, and print the error per phase"
    )
    parser.add_argument("--json", action="store_true", help="print the estimate as JSON")
    add_plan(parser)
