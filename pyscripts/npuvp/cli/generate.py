"""`npuvp compile` and `npuvp generate`."""

import argparse
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npuvp.cli.common import (
    Subparsers,
    add_command,
    add_platform,
    add_traces,
    joules,
    load_platform,
    print_json,
    print_result,
    tracing,
    write_reports,
)
from npuvp.compiler import compile_generation
from npuvp.compiler.formats import Formats
from npuvp.compiler.host_driven import HostDriven
from npuvp.compiler.runtime import generate_and_run
from npuvp.generation.calls import CallRecord, GenerationResult
from npuvp.model.checkpoint import RandomCheckpoint, load_model
from npuvp.model.tokenizer import Tokenizer, TokenizerError
from npuvp.plan import ALGORITHMS, CACHES, KV_FORMATS, REVISIONS, GenerationPlan

__all__ = ["add_commands", "add_plan", "plan_of"]

_PLAN = {
    "gen_length": (int, "tokens to generate (128)"),
    "block_length": (int, "tokens of a block (128)"),
    "steps": (int, "denoising steps over all blocks (128)"),
    "threshold": (float, "commit every position of at least this confidence"),
    "factor": (float, "commit as many as Fast-dLLM's factor rule allows"),
    "temperature": (float, "above 0: sample tokens from softmax(logits / temperature) (0)"),
    "cfg_scale": (float, "classifier-free guidance (0: none)"),
    "seed": (int, "seed of random draws (0)"),
    "alg_temp": (float, "Dream: draw positions from softmax(score / alg_temp)"),
    "top_p": (float, "Dream, Fast-dLLM v2: keep the most probable tokens that reach this together"),
    "top_k": (int, "Dream: keep tokens as probable as the k-th"),
    "sub_block": (int, "Fast-dLLM v2: positions denoised together (8)"),
}


def add_plan(parser: argparse.ArgumentParser) -> None:
    """The options of a generation plan."""
    group = parser.add_argument_group("generation plan")
    for name, (kind, text) in _PLAN.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    group.add_argument("--cache", choices=CACHES, help="what is kept of keys and values (none)")
    group.add_argument(
        "--remasking", choices=("low_confidence", "random"), help="what positions are ranked by"
    )
    group.add_argument("--algorithm", choices=ALGORITHMS, help="Dream's ranking (origin)")
    group.add_argument("--revision", choices=REVISIONS, help="published code (fast-dllm-2026)")
    group.add_argument(
        "--kv-format",
        choices=KV_FORMATS,
        metavar="FORMAT",
        help=f"of the cache: {', '.join(KV_FORMATS)}",
    )
    parser.add_argument(
        "--formats",
        metavar="FILE.yaml",
        help=f"number formats by class of tensors ({', '.join(field.name for field in fields(Formats))}); "
        "as a quantised checkpoint's config.json says, else bf16",
    )
    parser.add_argument("--cores", type=int, help="cores that share the work (all)")


def plan_of(options: argparse.Namespace) -> GenerationPlan:
    """The plan that the options say."""
    names = {field.name for field in fields(GenerationPlan)}
    given = {
        name: value for name, value in vars(options).items() if name in names and value is not None
    }
    return GenerationPlan(**given)


def _compile(options: argparse.Namespace) -> None:
    checkpoint = load_model(options.model)
    platform = load_platform(options)
    compilation = compile_generation(
        checkpoint,
        platform.description(),
        plan_of(options),
        prompt_length=options.prompt_length,
        batch=options.batch,
        formats=options.formats,
        cores=options.cores,
    )
    path = Path(options.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path]
    if options.dump_ir:
        folder = Path(options.dump_ir)
        folder.mkdir(parents=True, exist_ok=True)
        for name, listing in compilation.dump().items():
            (folder / name).write_text(listing, encoding="utf-8")
            files.append(folder / name)
    # Random weights are for timing, which never looks at them.
    if not isinstance(checkpoint, RandomCheckpoint):
        image = path.with_suffix(".weights.bin")
        compilation.write_image(image)
        files.append(image)
    compilation.firmware.save(path)
    program = compilation.firmware.text(0)
    assert program is not None
    print(
        f"{checkpoint.name}: {len(program.words):,} instructions, {path.stat().st_size:,} bytes, "
        f"{compilation.layout.regions[-1].address + compilation.layout.regions[-1].size:,} bytes "
        f"of memory on {platform.name}"
    )
    for file in files:
        print(f"written: {file}")


def _text(tokenizer: Tokenizer | None, row: NDArray[np.int32], mask: int) -> str:
    if tokenizer is None:
        return " ".join("_" if token == mask else str(int(token)) for token in row)
    parts = ["_" if token == mask else tokenizer.decode([token], until_end=False) for token in row]
    return "".join(parts)


def _generate(options: argparse.Namespace) -> None:
    checkpoint = load_model(options.model)
    tokenizer: Tokenizer | None
    try:
        tokenizer = Tokenizer.load(options.model)
    except TokenizerError:
        if options.prompt is not None:
            raise
        tokenizer = None
    prompt: Any = options.prompt
    if prompt is None:
        prompt = np.load(options.tokens, allow_pickle=False)
    elif tokenizer is not None:
        prompt = np.array(tokenizer.encode(prompt))
    platform = load_platform(options)
    files = []
    confidences: list[NDArray[np.float32]] = []
    what = (checkpoint, prompt, plan_of(options), platform)
    how = {name: getattr(options, name) for name in ("golden", "formats", "cores")}
    with tracing(platform, options):
        if options.host_driven or options.state:
            with HostDriven(*what, **how) as driven:
                for call in driven:
                    confidences.append(driven.confidences)
                    if options.state:
                        files.append(_save_state(driven, call, Path(options.state)))
            generated, result = driven.result, driven.run
        else:
            generated, result = generate_and_run(*what, **how)
    mask, first = checkpoint.spec.mask_id, generated.prompt_length
    if result is not None:
        files += write_reports(options, result, f"{checkpoint.name} on {platform.name}")
    if options.json:
        calls = [_record(call) for call in generated.calls]
        for record, scores in zip(calls, confidences, strict=False):
            record["confidences"] = [_numbers(row) for row in scores]
        data: dict[str, Any] = {"tokens": generated.tokens.tolist(), "calls": calls}
        if result is not None:
            data["phases"] = {name: asdict(use) for name, use in generated.phases.items()}
            data["tokens_per_second"] = generated.tokens_per_second
            data["tokens_per_joule"] = generated.tokens_per_joule
            data["run"] = result.summary()
        print_json(data)
        return
    for index, call in enumerate(generated.calls):
        cycles = "" if call.cycles is None else f"{call.cycles:>13,} cycles"
        if call.energy is not None:
            cycles += f" {joules(call.energy):>12}"
        print(f"block {call.block} step {call.step:>3} {call.kind:<14}{cycles}")
        for number, row in enumerate(call.canvas_after):
            print(f"    {_text(tokenizer, row[first:], mask)}")
            if confidences:
                print(f"    {_committed(call, confidences[index], number)}")
    if options.state:
        print(f"state after every call: {options.state}")
    print()
    for row in generated.tokens:
        end = "" if tokenizer is None else tokenizer.decode(row[first:])
        print(f"{_text(tokenizer, row[:first], mask)} {end or _text(None, row[first:], mask)}")
    if result is not None:
        print(
            f"{generated.committed} tokens in {len(generated.calls)} forward calls: "
            f"{generated.tokens_per_second:,.0f} tokens/s, "
            f"{generated.tokens_per_joule:,.0f} tokens/J (estimate) of the simulated machine"
        )
        _print_phases(generated)
        print_result(result, files)


def _save_state(driven: HostDriven, call: CallRecord, folder: Path) -> Path:
    """What the machine holds after a call, in a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    layers = range(driven.job.compilation.checkpoint.spec.layers)
    arrays: dict[str, Any] = {}
    for layer in layers:
        arrays[f"keys_{layer}"], arrays[f"values_{layer}"] = driven.cache(layer)
    path = folder / f"call_{len(driven.calls) - 1:04}.npz"
    np.savez(
        path,
        canvas=driven.canvas,
        transfer=call.transfer,
        confidences=driven.confidences,
        candidates=driven.candidates,
        **arrays,
    )
    return path


def _committed(call: CallRecord, scores: NDArray[np.float32], row: int) -> str:
    """Positions of a row that a call committed, with their scores."""
    known = [f"{at} ({scores[row, at]:.4f})" for at in np.flatnonzero(call.transfer[row])]
    return "committed " + (", ".join(known) or "nothing")


def _numbers(row: NDArray[np.float32]) -> list[float | None]:
    """For JSON, which has no NaN."""
    return [None if np.isnan(value) else float(value) for value in row]


def _print_phases(generated: GenerationResult) -> None:
    total = sum(use.seconds for use in generated.phases.values())
    print(f"{'time by phase':<16}{'us':>12}{'share':>9}{'DMA stalls us':>15}{'energy':>14}")
    for name, use in generated.phases.items():
        print(
            f"  {name:<14}{use.seconds * 1e6:>12,.2f}{100 * use.seconds / total:>7.1f} %"
            f"{use.stalled * 1e6:>15,.2f}{joules(use.energy):>14}"
        )


def _record(call: CallRecord) -> dict[str, Any]:
    return {
        "kind": call.kind,
        "block": call.block,
        "step": call.step,
        "start": call.start,
        "length": call.length,
        "transfer": [np.flatnonzero(row).tolist() for row in call.transfer],
        "canvas_after": call.canvas_after.tolist(),
        "cycles": call.cycles,
        "energy_j": call.energy,
    }


def add_commands(commands: Subparsers) -> None:
    """Adds the commands."""
    parser = add_command(
        commands,
        "compile",
        _compile,
        "compile a model and a generation plan to firmware",
        "npuvp compile models/llada-mini --platform platform/edge.yaml --gen-length 16 "
        "--block-length 16 --steps 16 -o build/mini.elf",
    )
    parser.add_argument("model", metavar="MODEL", help="checkpoint directory or a model's name")
    add_platform(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the firmware")
    parser.add_argument("--prompt-length", type=int, default=32, help="tokens of a prompt (32)")
    parser.add_argument("--batch", type=int, default=1, help="prompts (1)")
    parser.add_argument("--dump-ir", metavar="FOLDER", help="listings of every pass")
    add_plan(parser)
    parser = add_command(
        commands,
        "generate",
        _generate,
        "compile, run and print what the model wrote, step by step",
        "npuvp generate models/llada-mini --prompt 1234567+7654321= --platform platform/edge.yaml "
        "--gen-length 16 --block-length 16 --steps 16 --cache dual",
    )
    parser.add_argument("model", metavar="MODEL", help="checkpoint directory or a model's name")
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--prompt", metavar="TEXT", help="text, for a model with a tokenizer")
    group.add_argument("--tokens", metavar="FILE.npy", help="token ids (B, P) or (P,)")
    add_platform(parser)
    parser.add_argument("--golden", action="store_true", help="the NumPy golden machine, no clock")
    parser.add_argument(
        "--host-driven",
        action="store_true",
        help="the host launches every forward call; confidences of what each committed are printed",
    )
    parser.add_argument(
        "--state",
        metavar="FOLDER",
        help="canvas, confidences, candidates, keys and values after every call, as .npz files "
        "(host-driven)",
    )
    add_plan(parser)
    add_traces(parser)
