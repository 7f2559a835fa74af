"""What the paper reports (arXiv 2601.20706), and how ours is shown beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "AREA_MM2",
    "ENERGY_RATIO",
    "FULL_ACTIVITY_W",
    "GPU_SAMPLING_S",
    "SAMPLING_CYCLES",
    "SAMPLING_SHARE",
    "SAMPLING_STEP",
    "SPEED_RATIO",
    "Comparison",
    "bars",
    "table",
]

#: v1: cycles by class of a sampling step with blocking issue, and its (B, L, V, VLEN).
SAMPLING_CYCLES = {"vector": 477_696, "memory": 392_320, "scalar": 117_412, "control": 3_609}
SAMPLING_STEP = (16, 32, 126_464, 2048)
#: v1: seconds of the step on an RTX A6000.
GPU_SAMPLING_S = 2.51e-3
#: v1: post-synthesis power of the vector datapath with every lane active, VLEN 2048 at 1 GHz.
FULL_ACTIVITY_W = 1.52453
#: v1: area of vector datapath and scalar unit.
AREA_MM2 = {"vector": 2.931, "scalar": 661e-6}
#: v2, LLaDA-8B at VLEN 2048: tokens/s and tokens/J over a GPU's.
SPEED_RATIO = {"a6000": 4.91, "h100": 2.06}
ENERGY_RATIO = {"a6000": 23.3, "h100": 15.5}
#: v2: share of sampling in the whole time, at most: with MXFP8 sampling, and on a GPU.
SAMPLING_SHARE = {"npu": 0.10, "gpu": 0.71}


@dataclass(frozen=True)
class Comparison:
    """A figure of ours, and the published one where there is one.

    Attributes:
        name: What it is, with its unit.
        ours: Simulated or estimated.
        published: None: not public.
    """

    name: str
    ours: float
    published: float | None = None

    @property
    def error(self) -> float | None:
        """Relative to the published figure."""
        return None if self.published is None else self.ours / self.published - 1


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.6g}"


def table(rows: Sequence[Comparison], title: str) -> str:
    """Ours, published, relative error."""
    lines = [title, f"  {'':<44}{'ours':>16}{'published':>16}{'error':>10}"]
    for row in rows:
        published = "-" if row.published is None else _number(row.published)
        error = "-" if row.error is None else f"{100 * row.error:+.1f} %"
        lines.append(f"  {row.name:<44}{_number(row.ours):>16}{published:>16}{error:>10}")
    return "\n".join(lines)


def bars(rows: Sequence[Comparison], path: str | Path, title: str, unit: str) -> Path:
    """A picture of the rows: ours beside the published figure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(9, 0.55 * len(rows) + 1.8), layout="constrained")
    for index, row in enumerate(rows):
        axes.barh(index - 0.2, row.ours, 0.38, color="tab:blue", label="ours" if not index else "")
        if row.published is not None:
            first = all(other.published is None for other in rows[:index])
            axes.barh(
                index + 0.2, row.published, 0.38, color="silver", label="published" if first else ""
            )
        error = "" if row.error is None else f"  {100 * row.error:+.1f} %"
        axes.text(
            max(row.ours, row.published or 0), index, error, va="center", fontsize=8, clip_on=False
        )
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel(unit)
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
