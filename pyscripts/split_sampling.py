"""One sampling step on sixty-four cores of a mesh, and which links it loads."""

import npuvp as vp
from npuvp.sampling import sample, seeded_logits, workload

p = vp.Platform.load("platform/manycore.yaml")
r = sample(p, workload(seeded_logits(batch=1, positions=8, vocabulary=126_464)))

print(f"{r.cycles} cycles, {r.stats['hbm']['bandwidth'] / 1e9:.0f} GB/s of HBM")
print("tokens", r.outputs["tokens"][0].tolist())
links = r.stats["noc"]["links"]
for name in sorted(links, key=lambda name: -links[name]["utilisation"])[:5]:
    print(f"{name:<16} {100 * links[name]['utilisation']:5.1f} % busy")
