"""The Pareto front of a sweep, and its picture."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["pareto_front", "plot_pareto"]


def pareto_front(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points no other point is better than in one cost and no worse in the others.

    Args:
        costs: Shape (points, costs); less is better.

    Returns:
        Shape (points,).
    """
    front = np.zeros(len(costs), bool)
    found = np.empty_like(costs)
    count = 0
    # In lexicographic order who is better comes first, and is on the front or behind one who is.
    for index in np.lexsort(costs.T[::-1]):
        cost, kept = costs[index], found[:count]
        better = (kept <= cost).all(axis=1) & (kept < cost).any(axis=1)
        if not better.any():
            front[index] = True
            found[count] = cost
            count += 1
    return front


def plot_pareto(
    path: str | Path,
    latency: Sequence[float],
    energy: Sequence[float],
    area: Sequence[float],
    labels: Sequence[str],
    title: str,
) -> Path:
    """Latency against energy, area as colour; the front is ringed, its points are named.

    Args:
        path: PNG to write.
        latency: Seconds.
        energy: Joules.
        area: mm2.
        labels: Of the points.
        title: Above it.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter

    path = Path(path)
    costs = np.array([latency, energy, area], float).T
    front = pareto_front(costs)
    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    shown = axes.scatter(latency, energy, c=area, cmap="viridis", s=36, zorder=2)
    axes.scatter(
        costs[front, 0],
        costs[front, 1],
        s=110,
        facecolors="none",
        edgecolors="crimson",
        linewidths=1.4,
        zorder=3,
        label=f"Pareto front (latency, energy, area): {front.sum()} of {len(front)}",
    )
    # Names of the ends and of the middle, so that none covers another.
    order = np.flatnonzero(front)[np.argsort(costs[front, 0])]
    for index in {int(order[0]), int(order[len(order) // 2]), int(order[-1])}:
        note = axes.annotate(
            textwrap.fill(labels[index], 36),
            (costs[index, 0], costs[index, 1]),
            xytext=(10, 10),
            textcoords="offset points",
            fontsize=6,
            bbox={"boxstyle": "round", "facecolor": "white", "alpha": 0.8, "linewidth": 0.3},
        )
        note.set_in_layout(False)
    for axis, values in ((axes.set_xscale, latency), (axes.set_yscale, energy)):
        if max(values) > 5 * min(values):
            axis("log")
    for values_axis, unit in ((axes.xaxis, "s"), (axes.yaxis, "J")):
        values_axis.set_major_formatter(EngFormatter(unit))
    axes.set_xlabel("latency")
    axes.set_ylabel("energy (estimate)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    figure.colorbar(shown, label="area in mm² (estimate)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
