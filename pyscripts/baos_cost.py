"""What a quantised KV cache costs on the machine: a warm pass and a refine pass in timing mode."""

import argparse

import numpy as np

import npuvp as vp
from npuvp.compiler import compile_generation
from npuvp.model.checkpoint import load_model

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="llada-8b:layers=1", help="checkpoint or a model's name")
parser.add_argument("--platform", default="platform/paper.yaml")
parser.add_argument("--batch", type=int, default=4)
parser.add_argument("--prompt-length", type=int, default=480)
parser.add_argument("--block-length", type=int, default=32)
parser.add_argument("--weights", default="mxint4", help="format of the weights")
parser.add_argument("--schemes", default="bf16,mxint8,mxint4,baos-mxint4,baos-mxint4-bf16")
options = parser.parse_args()

platform = vp.Platform.load(options.platform)
model = load_model(options.model)
length = options.prompt_length + options.block_length
canvas = np.full((length, options.batch), model.spec.mask_id)
canvas[: options.prompt_length] = 7


def run(kv_format: str, steps: int) -> np.ndarray:
    """Cycles, bytes read and written, and joules of a generation of so many passes."""
    plan = vp.GenerationPlan(
        gen_length=options.block_length,
        block_length=options.block_length,
        steps=steps,
        cache="dual",
        kv_format=kv_format,
    )
    compilation = compile_generation(
        model,
        platform.description(),
        plan,
        prompt_length=options.prompt_length,
        batch=options.batch,
        formats={"weights": options.weights, "head": "bf16"},
    )
    result = platform.run(
        compilation.firmware,
        inputs={"tokens": canvas},
        mode="timing",
        decisions=compilation.decisions(),
    )
    dma = [core["dma"] for core in result.stats["cores"].values()]
    moved = [sum(part[name] for part in dma) for name in ("bytes_read", "bytes_written")]
    return np.array([result.cycles, *moved, result.energy.total])


print(
    f"{model.name}, {options.weights} weights, B = {options.batch}, L = {length}, "
    f"K = {options.block_length}, dual cache, on {platform.name}"
)
print(
    f"{'cache':<18}{'pass':<8}{'cycles':>12}{'MB read':>10}{'MB written':>12}{'mJ':>9}  cycles vs BF16"
)
first: dict[str, float] = {}
for scheme in options.schemes.split(","):
    warm = run(scheme, 1)
    for name, (cycles, read, written, energy) in (
        ("warm", warm),
        ("refine", run(scheme, 2) - warm),
    ):
        change = cycles / first.setdefault(name, cycles) - 1
        print(
            f"{scheme:<18}{name:<8}{cycles:>12,.0f}{read / 1e6:>10.1f}{written / 1e6:>12.1f}"
            f"{1e3 * energy:>9.2f}  {100 * change:+.1f} %"
        )
