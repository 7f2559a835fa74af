"""`npuvp sample`."""

import argparse
from pathlib import Path

import numpy as np

from npuvp.cli.common import (
    Subparsers,
    add_command,
    add_platform,
    add_traces,
    load_platform,
    print_json,
    print_result,
    tracing,
    write_reports,
)
from npuvp.energy import full_activity_power
from npuvp.errors import InputError
from npuvp.published import SAMPLING_CYCLES, SAMPLING_STEP
from npuvp.run import Result
from npuvp.sampling import FORMS, sample, seeded_logits, workload

__all__ = ["add_commands"]


def _table(result: Result, step: tuple[int, int, int, int], issue: str) -> None:
    if step != SAMPLING_STEP:
        return
    print(f"cycles by class beside the published table ({issue} issue here, blocking there)")
    for name, published in SAMPLING_CYCLES.items():
        ours = result.cycles_by_class[name]
        print(f"  {name:<10}{ours:>12,}{published:>12,}  {100 * (ours / published - 1):+6.1f} %")
    ours, published = result.cycles, sum(SAMPLING_CYCLES.values())
    print(f"  {'total':<10}{ours:>12,}{published:>12,}  {100 * (ours / published - 1):+6.1f} %")


def _sample(options: argparse.Namespace) -> None:
    platform = load_platform(options)
    if options.logits is None:
        for name in ("batch", "positions", "vocabulary"):
            if getattr(options, name) < 1:
                raise InputError(f"--{name} {getattr(options, name)} (allowed: 1 and more)")
        logits = seeded_logits(options.batch, options.positions, options.vocabulary, options.seed)
    else:
        logits = np.load(options.logits, allow_pickle=False)
    tokens = None if options.tokens is None else np.load(options.tokens, allow_pickle=False)
    work = workload(logits, tokens=tokens, k=options.commit, mask_id=options.mask_id)
    with tracing(platform, options):
        result = sample(platform, work, form=options.form, mode=options.mode)
    batch, positions, vocabulary = work.logits.shape
    title = f"Sampling, B={batch} L={positions} V={vocabulary:,} on {platform.name}"
    files = write_reports(options, result, title)
    if options.output:
        path = Path(options.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, allow_pickle=False, **result.outputs)
        files.append(path)
    if options.json:
        print_json(result.summary())
        return
    core = platform.description()["cores"][0]["parameters"]
    print(f"one sampling step: {batch} x {positions} positions, vocabulary {vocabulary:,}")
    if result.outputs:
        transfer = result.outputs["transfer"] != 0
        for b in range(batch):
            where = np.flatnonzero(transfer[b])
            committed = ", ".join(f"{p}: {result.outputs['tokens'][b, p]}" for p in where[:6])
            more = f", and {len(where) - 6} more" if len(where) > 6 else ""
            print(f"  row {b:>2}: {len(where)} tokens committed  {committed}{more}")
    print_result(result, files)
    vector = sum(fj for name, fj in result.energy.dynamic_fj.items() if name.endswith(".vector"))
    print(
        f"vector datapath (estimate): {1e3 * full_activity_power(platform):,.1f} mW with every lane "
        f"active in every cycle; {vector * 1e-12 / result.time:,.1f} mW for this run's operations on "
        "average (docs/energy.md says what parts the two)"
    )
    _table(result, (batch, positions, vocabulary, core["vlen"]), core["issue"])


def add_commands(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "sample",
        _sample,
        "run one sampling step on given or seeded logits",
        "npuvp sample --platform platform/paper.yaml --batch 2 --positions 8 --power traces/p.csv",
    )
    parser.add_argument(
        "logits", nargs="?", metavar="LOGITS.npy", help="floats of shape (B, L, V); default: seeded"
    )
    add_platform(parser)
    parser.add_argument("--batch", type=int, default=16, help="B of seeded logits (16)")
    parser.add_argument("--positions", type=int, default=32, help="L of seeded logits (32)")
    parser.add_argument(
        "--vocabulary", type=int, default=126_464, help="V of seeded logits (126464)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the logits (0)")
    parser.add_argument("--tokens", metavar="FILE.npy", help="tokens (B, L); default: all masked")
    parser.add_argument(
        "--commit", type=int, metavar="K", help="positions to commit per row; default: a quarter"
    )
    parser.add_argument("--mask-id", type=int, help="token of a masked position (126336)")
    parser.add_argument("--form", choices=FORMS, help="firmware; default: what fits")
    parser.add_argument("--output", metavar="FILE.npz", help="tokens, argmax, confidence, transfer")
    add_traces(parser)
