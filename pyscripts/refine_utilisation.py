"""What limits a forward call of LLaDA-8B: the array, the memory, or what keeps both from working.

A call of every kind is simulated in timing mode, weights in each of several formats, and every phase of
a layer is held against the array's peak and the memory's best bandwidth.

Run it from the top of the tree: .venv/bin/python pyscripts/refine_utilisation.py
"""

import argparse

import npuvp as vp
from npuvp.replay import time_generation

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="llada-8b", help="model (llada-8b)")
parser.add_argument("--platform", default="platform/paper.yaml", help="machine")
parser.add_argument("--batch", type=int, default=16, help="B (16)")
parser.add_argument("--weights", default="bf16,mxint8,mxint4", help="formats, with commas")
parser.add_argument("--kind", default="refine_dual", help="kind of call: refine_dual (or full)")
options = parser.parse_args()

platform = vp.Platform.load(options.platform, hbm={"size": "64GiB"})
plan = vp.GenerationPlan(gen_length=32, block_length=32, steps=2, cache="dual")
for weights in options.weights.split(","):
    timing = time_generation(
        options.model,
        platform,
        plan,
        prompt_length=352,
        batch=options.batch,
        formats={"weights": weights, "head": weights},
    )
    call = next(call for call in timing.calls if call.kind.kind == options.kind)
    print(
        f"{options.model}, {call.kind.kind} of {call.kind.count} positions, B = {options.batch}, "
        f"weights in {weights}: {call.cycles:,} cycles"
    )
    for name, limit in call.limits.items():
        print(
            f"  {name:<10}{call.phases[name]:>12,} cycles  array {limit.array:>6.1%}  "
            f"memory {limit.memory:>6.1%}  {limit.words}"
        )
