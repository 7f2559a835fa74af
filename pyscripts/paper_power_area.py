"""Power and area of the sampling engine beside the published post-synthesis figures.

The published power is that of every lane active in every cycle; it sets one coefficient, so that its
row at VLEN 2048 agrees by construction. The average over the sampling workload is another figure:
what its operations cost, over its time (docs/energy.md explains the gap).

Run it from the top of the tree: .venv/bin/python pyscripts/paper_power_area.py
"""

import argparse
from pathlib import Path

import npuvp as vp
from npuvp.area import area_of
from npuvp.energy import load_energy
from npuvp.published import AREA_MM2, FULL_ACTIVITY_W, Comparison, bars, table
from npuvp.sampling import sample, seeded_logits, workload

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--batch", type=int, default=16, help="B of the workload (16)")
parser.add_argument("--output", default="traces/paper", help="folder for the picture")
options = parser.parse_args()

work = workload(seeded_logits(options.batch, 32, 126_464))
energy = load_energy("7nm")
power: list[Comparison] = []
for vlen in (512, 1024, 2048):
    core = {"vlen": vlen, "issue": "blocking", "fp_sram_words": vlen // 2}
    platform = vp.Platform.load("platform/paper.yaml", core=core)
    result = sample(platform, work, mode="timing")
    area = area_of(platform.description())
    known = vlen == 2048
    parts = result.energy.by_component
    engine = sum(parts[name] for name in parts if not name.startswith("hbm"))
    full = energy.full_activity_power(vlen)
    rows = [
        Comparison("full activity, mW", full * 1e3, FULL_ACTIVITY_W * 1e3 if known else None),
        Comparison("vector unit over the workload, mW", parts["core0.vector"] / result.time * 1e3),
        Comparison("core over the workload, mW", engine / result.time * 1e3),
        Comparison("with memory over the workload, mW", result.energy.total / result.time * 1e3),
        Comparison(
            "vector datapath, mm2", area.core["vector"], AREA_MM2["vector"] if known else None
        ),
        Comparison(
            "scalar unit, um2",
            area.core["scalar"] * 1e6,
            AREA_MM2["scalar"] * 1e6 if known else None,
        ),
        Comparison(
            "SRAMs, mm2", sum(v for k, v in area.core.items() if k.endswith(("sram", "imem")))
        ),
    ]
    duty = result.cycles_by_class["vector"] / result.cycles
    print(table(rows, f"VLEN {vlen} at 1 GHz: estimates; vector unit busy {duty:.0%} of the time"))
    power.append(
        Comparison(
            f"VLEN {vlen}, full activity", full * 1e3, FULL_ACTIVITY_W * 1e3 if known else None
        )
    )
    power.append(Comparison(f"VLEN {vlen}, average", rows[1].ours))
path = bars(
    power,
    Path(options.output) / "power.png",
    "Vector unit: full activity and average (estimates)",
    "mW",
)
print(f"written: {path}")
