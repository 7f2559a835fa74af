"""The same text on machines of different size, with several caches: cycles, energy, tokens/s.

Run it from the top of the tree: .venv/bin/python pyscripts/generation.py
"""

import npuvp as vp
from npuvp.model.tokenizer import Tokenizer

PROMPT = "1234567+7654321="
tokenizer = Tokenizer.load("models/llada-mini")
MACHINES = {
    "edge, 1 core": ("platform/edge.yaml", 1),
    "quad, 1 core": ("platform/quad.yaml", 1),
    "quad, 4 cores": ("platform/quad.yaml", 4),
    "paper, 1 core": ("platform/paper.yaml", 1),
}
print(f"{'machine':<16}{'cache':<8}{'KV cache':<14}{'cycles':>12}{'uJ':>10}{'tokens/s':>10}  text")
for cache, kv_format in (("none", "bf16"), ("dual", "bf16"), ("dual", "baos-mxint4")):
    plan = vp.GenerationPlan(
        gen_length=16, block_length=8, steps=16, cache=cache, kv_format=kv_format
    )
    for name, (path, cores) in MACHINES.items():
        platform = vp.Platform.load(path)
        result = vp.generate("models/llada-mini", PROMPT, plan, platform, cores=cores)
        cycles = sum(call.cycles for call in result.calls)
        print(
            f"{name:<16}{cache:<8}{kv_format:<14}{cycles:>12,}{result.energy * 1e6:>10.0f}"
            f"{16 / result.seconds:>10.0f}  {tokenizer.decode(result.tokens[0, len(PROMPT) :])}"
        )
