"""`npuvp accuracy`."""

import argparse
import os
from dataclasses import fields, replace
from pathlib import Path

from tqdm import tqdm

from npuvp.accuracy import DEFAULT_PLAN, evaluator_of
from npuvp.accuracy.schemes import DEFAULT_SCHEMES
from npuvp.accuracy.tasks import find_tasks
from npuvp.cli.common import Subparsers, add_command, print_json
from npuvp.plan import CACHES, REVISIONS, GenerationPlan

__all__ = ["add_commands"]


_PLAN = {
    "gen_length": (int, "tokens to generate"),
    "block_length": (int, "tokens of a block"),
    "steps": (int, "denoising steps over all blocks"),
    "threshold": (float, "commit every position of at least this confidence"),
    "factor": (float, "commit as many as Fast-dLLM's factor rule allows"),
    "temperature": (float, "of the sampled tokens"),
    "cfg_scale": (float, "weight of guidance"),
    "seed": (int, "of random draws"),
}


_PICTURES = (".png", ".svg", ".pdf")


def _plan(options: argparse.Namespace) -> GenerationPlan:
    names = {field.name for field in fields(GenerationPlan)}
    given = {n: v for n, v in vars(options).items() if n in names and v is not None}
    return replace(DEFAULT_PLAN, **given)


def _check(options: argparse.Namespace) -> None:
    """What must not come to light only when all scores are there."""
    if options.threads is not None and options.threads < 1:
        raise ValueError(f"threads: {options.threads}, allowed: 1 or more")
    for name in ("plot", "outliers"):
        path = getattr(options, name)
        if path is not None and Path(path).suffix not in _PICTURES:
            raise ValueError(
                f"--{name} {path}: allowed: a file that ends in {', '.join(_PICTURES)}"
            )


def _accuracy(options: argparse.Namespace) -> None:
    plan = _plan(options)
    _check(options)
    evaluator = evaluator_of(
        options.model,
        options.tasks,
        options.schemes,
        plan=plan,
        limit=options.limit,
        block=options.block,
    )
    import torch

    from npuvp.accuracy.outliers import measure_outliers, plot_outliers, table_of_outliers
    from npuvp.accuracy.report import plot, table

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    schemes, count = evaluator.schemes, evaluator.prompts
    with tqdm(total=count * len(schemes), unit="prompt", leave=False, disable=None, delay=2) as bar:

        def progress(name: str, done: int) -> None:
            bar.set_description(name)
            bar.update(done)

        scores = {s.name: evaluator.score(s, progress) for s in schemes}
    # A path below the working directory reads better, and the same on any machine.
    path = Path(os.path.relpath(options.tasks or find_tasks(options.model)))
    title = (
        f"{options.model}: {count} prompts of {path}, {plan.gen_length} tokens in blocks of "
        f"{plan.block_length}, {plan.steps} steps, cache {plan.cache}"
    )
    files = [plot(scores, options.plot, title)] if options.plot else []
    loudness = None
    if options.outliers:
        loudness = measure_outliers(evaluator)
        files.append(plot_outliers(loudness, options.outliers, f"{options.model}: channels of K"))
    if options.json:
        print_json({name: score.data() for name, score in scores.items()})
        return
    print(title)
    print(table(scores))
    if loudness is not None:
        print(table_of_outliers(loudness))
    for file in files:
        print(f"written: {file}")


def add_commands(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "accuracy",
        _accuracy,
        "score ways to quantise the KV cache and to sample, side by side (needs PyTorch)",
        "npuvp accuracy models/llada-mini-outliers --schemes bf16,mxint4,static,baos --limit 200 "
        "--plot build/accuracy.png",
    )
    parser.add_argument("model", metavar="MODEL_DIR", help="checkpoint directory")
    parser.add_argument(
        "--tasks",
        metavar="FILE",
        help="JSON lines of prompt and answer (tasks.jsonl beside the model or one folder above)",
    )
    parser.add_argument(
        "--schemes",
        default=DEFAULT_SCHEMES,
        help="names with commas: bf16, a format (mxint8, mxfp6, mxint4, mxfp4, ...), static, "
        "rotation or baos (each with -FORMAT; mxint4), sampling-fp64, -fp32, -bf16, -mxfp8 "
        f"({DEFAULT_SCHEMES})",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N tasks")
    parser.add_argument("--block", type=int, help="channels that share a scale (32, or the head)")
    parser.add_argument("--plot", metavar="FILE", help="picture of the scores (PNG, SVG or PDF)")
    parser.add_argument(
        "--outliers",
        metavar="FILE",
        help="measure how loud channels of K and V are over the steps, and draw K (PNG, SVG or PDF)",
    )
    parser.add_argument("--threads", type=int, help="threads of PyTorch")
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    group = parser.add_argument_group("generation plan")
    for name, (kind, text) in _PLAN.items():
        default = getattr(DEFAULT_PLAN, name)
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"{text} ({default})")
    group.add_argument("--cache", choices=CACHES, help="what is kept of keys and values (dual)")
    group.add_argument("--revision", choices=REVISIONS, help="published code (fast-dllm-2026)")
