"""How the sampling step depends on batch, steps, vocabulary and chunk size.

Simulated in timing mode and in closed form; the published point (B = 16, T = 1, V = 126k, VLEN 2048,
16 rows per prefetch) is the only one with a public figure.

Run it from the top of the tree: .venv/bin/python pyscripts/paper_sensitivity.py
"""

import argparse
from pathlib import Path

import matplotlib

import npuvp as vp
from npuvp.analytical import estimate_sampling, hardware_of
from npuvp.published import SAMPLING_CYCLES, Comparison, table
from npuvp.sampling import sample, seeded_logits, workload

matplotlib.use("Agg")
import matplotlib.pyplot as plt

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--positions", type=int, default=32, help="L (32, as published)")
parser.add_argument("--output", default="traces/paper", help="folder for the picture")
options = parser.parse_args()

POINT = {"B": 16, "T": 1, "V": 126_464, "chunk": 16}
SERIES = {
    "B": (1, 4, 8, 16, 32),
    "T": (1, 4, 16, 64),
    "V": (32_000, 64_000, 126_464, 256_000),
    "chunk": (1, 4, 16, 62),
}
WHAT = {"B": "rows of the batch", "T": "steps", "V": "vocabulary", "chunk": "rows per prefetch"}
figure, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
for axis, (name, values) in zip(axes.flat, SERIES.items(), strict=True):
    rows, closed_forms = [], []
    for value in values:
        point = POINT | {name: value}
        core = {"issue": "blocking", "prefetch_v_rows": point["chunk"]}
        if point["V"] > 200_000:  # two positions' logits
            core["vector_sram_bytes"] = "16MiB"
        platform = vp.Platform.load("platform/paper.yaml", core=core)
        work = workload(seeded_logits(1, options.positions, point["V"]))
        # Rows of the batch and steps repeat the same work: two sizes give the rest.
        one = sample(platform, work, mode="timing", progress=False).cycles
        double = workload(work.logits.repeat(2, axis=0))
        two = sample(platform, double, mode="timing", progress=False).cycles
        cycles = point["T"] * (one + (point["B"] - 1) * (two - one))
        hardware = hardware_of(platform.description())
        closed = (
            point["T"]
            * estimate_sampling(hardware, point["B"], options.positions, point["V"]).cycles
        )
        known = point == POINT and options.positions == 32
        published = sum(SAMPLING_CYCLES.values()) if known else None
        rows.append(Comparison(f"{name} = {value:,}, cycles", cycles, published))
        rows.append(Comparison(f"{name} = {value:,}, closed form", closed, published))
        closed_forms.append(closed)
    print(table(rows, f"{WHAT[name]}, the others as published (blocking issue)"))
    axis.plot(values, [row.ours for row in rows[::2]], "o-", label="simulated")
    axis.plot(values, closed_forms, "x--", label="closed form")
    if options.positions == 32:
        axis.plot(POINT[name], sum(SAMPLING_CYCLES.values()), "rs", label="published")
    axis.set_xlabel(f"{name}, {WHAT[name]}")
    axis.set_ylabel("cycles")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
axes.flat[0].legend()
path = Path(options.output) / "sensitivity.png"
path.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(path, dpi=120)
print(f"written: {path}")
