"""How wide should the vector unit be? One sampling step on machines of different width.

Run it from the top of the tree: .venv/bin/python pyscripts/sampling_widths.py
"""

import npuvp as vp
from npuvp.sampling import sample, seeded_logits, workload

work = workload(seeded_logits(batch=2, positions=8, vocabulary=32_000), k=2)
print(f"{'VLEN':>6}{'cycles':>12}{'us':>10}{'uJ':>10}{'bus use':>10}")
for vlen in (256, 512, 1024, 2048):
    platform = vp.Platform.load("platform/paper.yaml", core={"vlen": vlen})
    result = sample(platform, work, mode="timing")
    print(
        f"{vlen:>6}{result.cycles:>12,}{result.time * 1e6:>10.1f}{result.energy.total * 1e6:>10.1f}"
        f"{result.stats['hbm']['fraction_of_peak']:>10.1%}"
    )
