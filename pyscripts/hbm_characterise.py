"""Characterises the HBM models: reference points beside measured ones, and two pictures.

    python pyscripts/hbm_characterise.py [--preset HBM3_6400] [--backend builtin] [--requests 50000]

Prints how close a backend comes to the reference points of HBM2_2400, then bandwidth by pattern and
latency against load of the chosen preset, and draws both into traces/.
"""

import argparse
from pathlib import Path

import matplotlib
from tqdm import tqdm

import npuvp as vp
from npuvp.memory_presets import load_preset, preset_names
from npuvp.memory_reference import LATENCIES, SATURATED, LatencyPoint, comparisons

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import NullFormatter, PercentFormatter, ScalarFormatter

PATTERNS = {
    "sequential\nread": {"pattern": "sequential", "reads": 1, "writes": 0},
    "sequential\nwrite": {"pattern": "sequential", "reads": 0, "writes": 1},
    "2:1 mix": {"pattern": "sequential", "reads": 2, "writes": 1},
    "2:1 mix,\n3 streams": {"pattern": "sequential", "reads": 2, "writes": 1, "streams": 3},
    "random\n32 B": {"pattern": "random", "reads": 1, "writes": 0},
    "random\n64 B": {"pattern": "random", "reads": 1, "writes": 0, "bytes": 64},
    "row\nconflicts": {"pattern": "row_conflict", "reads": 1, "writes": 0},
}
LOADS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def print_reference(backend: str, requests: int) -> None:
    """The reference table beside what the backend gives."""
    print(f"HBM2_2400, one pseudo-channel: reference (Ramulator 2.1) and {backend}")
    print(f"{'':36}{'refresh':<10}{'reference':>10}{'measured':>10}{'off by':>10}")
    count = sum(len(p.percent) for p in SATURATED) + sum(len(p.nanoseconds) for p in LATENCIES)
    rows = []
    for row in tqdm(comparisons(backend, requests), total=count, leave=False, disable=None):
        rows.append(row)
    for point, refresh, reference, measured in rows:
        if isinstance(point, LatencyPoint):
            name = f"{point.name}, load {point.stimulus['load']:.0%} (ns)"
            off = f"{measured / reference - 1:+.1%}"
        else:
            name, off = f"{point.name} (%)", f"{measured - reference:+.1f} pp"
        print(f"{name:36}{refresh:<10}{reference:>10.1f}{measured:>10.1f}{off:>10}")


def draw_bandwidths(preset: str, backend: str, requests: int, folder: Path) -> Path:
    """Bandwidth by pattern, without and with refresh."""
    figure, axes = plt.subplots(figsize=(9, 4.5))
    print(f"\n{preset}, one channel: % of the peak by pattern")
    names = [pattern.replace("\n", " ") for pattern in PATTERNS]
    print(f"  {'refresh':<10}" + "".join(f"{name:>19}" for name in names))
    for i, refresh in enumerate(("none", "all_bank", "per_bank")):
        shares = []
        for stimulus in PATTERNS.values():
            result = vp.memory_stream(
                preset=preset,
                backend=backend,
                refresh=refresh,
                requests=requests,
                queue=None,
                **stimulus,
            )
            shares.append(100 * result.fraction_of_peak)
        axes.bar([x + 0.27 * (i - 1) for x in range(len(PATTERNS))], shares, 0.25, label=refresh)
        print(f"  {refresh:<10}" + "".join(f"{share:19.1f}" for share in shares))
    axes.set_xticks(range(len(PATTERNS)), list(PATTERNS))
    axes.set_ylabel("% of the data buses' peak")
    axes.set_title(f"{preset}, one channel, {backend}: saturated bandwidth")
    axes.legend(title="refresh")
    axes.grid(axis="y", alpha=0.3)
    path = folder / f"hbm_bandwidth_{Path(preset).stem}_{backend}.png"
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
    return path


def draw_latencies(preset: str, backend: str, requests: int, folder: Path) -> Path:
    """Mean and 99th percentile of the read latency against the offered load."""
    figure, axes = plt.subplots(figsize=(8, 4.5))
    print(f"\n{preset}, one channel: mean read latency in ns by offered load, until saturated")
    print(f"  {'load':28}" + "".join(f"{load:8.0%}" for load in LOADS))
    for pattern, colour in (("sequential", "tab:blue"), ("random", "tab:red")):
        for refresh, style in (("none", "--"), ("all_bank", "-")):
            loads, means, tails = [], [], []
            for load in LOADS:
                result = vp.memory_stream(
                    preset=preset,
                    backend=backend,
                    refresh=refresh,
                    requests=requests,
                    pattern=pattern,
                    reads=1,
                    writes=0,
                    load=load,
                    queue=None,
                )
                if result.fraction_of_peak < 0.9 * load:
                    break  # saturated: from here on the latency grows with the length of the run
                loads.append(load)
                means.append(result.mean_latency_ns)
                tails.append(result.p99_latency_ns)
            label = f"{pattern}, refresh {refresh}"
            axes.plot(loads, means, style, color=colour, marker="o", label=label)
            axes.plot(loads, tails, style, color=colour, alpha=0.35, linewidth=1)
            print(f"  {label:28}" + "".join(f"{mean:8.1f}" for mean in means))
    axes.set_yscale("log")
    axes.set_yticks([10, 20, 50, 100, 200, 500, 1000])
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("offered load, share of the peak")
    axes.set_ylabel("read latency, ns (thin: 99th percentile)")
    axes.set_title(f"{preset}, one channel, {backend}: latency under load")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    axes.grid(alpha=0.3)
    path = folder / f"hbm_latency_{Path(preset).stem}_{backend}.png"
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
    return path


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = ", ".join(preset_names())
    parser.add_argument(
        "--preset", default="HBM2_2400", help=f"{names}, or the path of a file of your own"
    )
    parser.add_argument("--backend", default="builtin", choices=("builtin", "ideal", "ramulator"))
    parser.add_argument("--requests", type=int, default=50_000, help="measured per point")
    parser.add_argument("--output", type=Path, default=Path("traces"), help="folder of pictures")
    arguments = parser.parse_args()
    try:
        load_preset(arguments.preset)
        arguments.output.mkdir(parents=True, exist_ok=True)
        print_reference(arguments.backend, arguments.requests)
        chosen = (arguments.preset, arguments.backend, arguments.requests, arguments.output)
        paths = [draw_bandwidths(*chosen), draw_latencies(*chosen)]
    except ValueError as error:
        parser.error(str(error))
    for path in paths:
        print(f"written: {path}")


if __name__ == "__main__":
    main()
