"""What a quantised KV cache costs on the machine: a warm pass and a refine pass in timing mode."""

import argparse

import numpy as np

import npuvp as vp
from npuvp.baos import CacheFormat, kv_block
from npuvp.compiler import compile_generation
from npuvp.golden.mx import mx_element_bytes, mx_scale_bytes
from npuvp.model.checkpoint import load_model

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument(
    "--model", default="llada-8b:layers=2,vocab=8192", help="checkpoint or a model's name"
)
parser.add_argument("--platform", default="platform/paper.yaml")
parser.add_argument("--batch", type=int, default=4)
parser.add_argument("--prompt-length", type=int, default=480)
parser.add_argument("--block-length", type=int, default=32)
parser.add_argument("--weights", default="mxint4", help="format of the weights")
parser.add_argument("--schemes", default="bf16,mxint8,mxint4,baos-mxint4,baos-mxint4-pow2")
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
        formats={"weights": options.weights},
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


def cache_bytes(kv_format: str) -> int:
    """Of the keys and values of a layer, all positions, scales included."""
    cache = CacheFormat.parse(kv_format)
    rows = options.batch * length
    columns = model.spec.kv_heads * model.spec.head_dim
    block = kv_block(model.spec.head_dim)
    one = mx_element_bytes(cache.element, columns) + mx_scale_bytes(cache.element, block, columns)
    factors = 2 * 2 * 2 * columns * options.batch if cache.smoothed else 0
    return 2 * rows * one + factors


print(
    f"{model.name}, {options.weights} weights, B = {options.batch}, L = {length}, "
    f"K = {options.block_length}, dual cache, on {platform.name}"
)
print(
    f"{'cache':<18}{'KB a layer':>11}  {'pass':<7}{'cycles':>12}{'MB read':>9}{'MB written':>12}"
    f"{'mJ':>9}   against BF16: cycles, mJ"
)
first: dict[str, np.ndarray] = {}
for scheme in options.schemes.split(","):
    warm = run(scheme, 1)
    for name, found in (("warm", warm), ("refine", run(scheme, 2) - warm)):
        cycles, read, written, energy = found
        change = 100 * (found / first.setdefault(name, found) - 1)
        print(
            f"{scheme:<18}{cache_bytes(scheme) / 1e3:>11,.0f}  {name:<7}{cycles:>12,.0f}"
            f"{read / 1e6:>9.1f}{written / 1e6:>12.1f}{1e3 * energy:>9.2f}"
            f"   {change[0]:+.1f} %, {change[3]:+.1f} %"
        )
