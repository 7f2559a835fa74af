"""The published sampling table: cycles by class of one step, one instruction at a time.

Run it from the top of the tree: .venv/bin/python pyscripts/paper_sampling.py
"""

import argparse
from pathlib import Path

import npuvp as vp
from npuvp.analytical import estimate_sampling, hardware_of
from npuvp.published import GPU_SAMPLING_S, SAMPLING_CYCLES, SAMPLING_STEP, Comparison, bars, table
from npuvp.sampling import sample, seeded_logits, workload

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--batch", type=int, default=16, help="B (16, as published)")
parser.add_argument("--output", default="traces/paper", help="folder for the picture")
options = parser.parse_args()

_, positions, vocabulary, published_vlen = SAMPLING_STEP
work = workload(seeded_logits(options.batch, positions, vocabulary))
for vlen in (512, 1024, 2048):
    # Published FP SRAM: 1, 2, 4 kB for the three widths.
    core = {"vlen": vlen, "issue": "blocking", "fp_sram_words": vlen // 2}
    platform = vp.Platform.load("platform/paper.yaml", core=core)
    result = sample(platform, work, mode="timing")
    closed = estimate_sampling(
        hardware_of(platform.description()), options.batch, positions, vocabulary
    )
    known = (options.batch, positions, vocabulary, vlen) == SAMPLING_STEP
    cycles = result.cycles_by_class
    rows = [
        Comparison(f"{name}, cycles", cycles[name], SAMPLING_CYCLES[name] if known else None)
        for name in SAMPLING_CYCLES
    ]
    total = sum(SAMPLING_CYCLES.values()) if known else None
    rows.append(Comparison("total, cycles", result.cycles, total))
    rows.append(Comparison("total in closed form, cycles", closed.cycles, total))
    logits = options.batch * positions * -(-vocabulary // vlen) * vlen * 33 / 32
    rows.append(Comparison("bandwidth, GB/s", logits / result.time / 1e9, 67.7 if known else None))
    print(table(rows, f"VLEN {vlen}, B = {options.batch}, L = {positions}, V = {vocabulary:,}"))
    if known:
        print(
            f"  {'over the published 2.51 ms of an RTX A6000':<44}"
            f"{GPU_SAMPLING_S / result.time:>15.2f}x{GPU_SAMPLING_S / 0.991e-3:>15.2f}x"
        )
    if vlen == published_vlen:
        picture = bars(
            rows[:6],
            Path(options.output) / "sampling.png",
            f"Sampling step, VLEN {vlen}, blocking issue",
            "cycles",
        )
print(f"written: {picture}")
