"""What a denoising step decided, and what it left in the caches: the host launches every call.

Run it from the top of the tree: .venv/bin/python pyscripts/host_driven.py
"""

import numpy as np

import npuvp as vp

PROMPT = "1234567+7654321="
plan = vp.GenerationPlan(gen_length=16, block_length=16, steps=8, cache="dual")
platform = vp.Platform.load("platform/edge.yaml")
before = None
with vp.HostDriven("models/llada-mini", PROMPT, plan, platform) as generation:
    for call in generation:
        keys, _ = generation.cache(layer=0)
        changed = (
            [] if before is None else np.flatnonzero((keys != before).any(axis=(0, 2, 3))).tolist()
        )
        before = keys
        committed = np.flatnonzero(call.transfer[0])
        sure = generation.confidences[0, committed]
        print(
            f"{call.kind:<12} commits",
            ", ".join(f"{at} ({p:.4f})" for at, p in zip(committed, sure, strict=True)),
            f"  keys written: {len(keys[0]) if call.kind == 'full' else changed}",
        )
print("tokens", generation.result.tokens[0, len(PROMPT) :])
