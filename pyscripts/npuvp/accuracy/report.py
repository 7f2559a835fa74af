"""Scores as a table and as a picture."""

from collections.abc import Mapping
from pathlib import Path

from npuvp.accuracy.evaluator import Score

__all__ = ["plot", "table"]

_HEAD = ("scheme", "accuracy", "95 %", "to bf16", "95 %", "agreement", "KV bytes", "logits error")


def table(scores: Mapping[str, Score]) -> str:
    """One line per scheme; shares in per cent, differences in points."""
    rows = [_HEAD]
    for name, score in scores.items():
        data = score.data()
        low, high = data["accuracy_interval"]
        less, more = data["difference_interval"]
        rows.append(
            (
                name,
                f"{100 * score.accuracy:.2f}",
                f"{100 * low:.2f}..{100 * high:.2f}",
                f"{100 * data['difference']:+.2f}",
                f"{100 * less:+.2f}..{100 * more:+.2f}",
                f"{100 * score.agreement:.2f}",
                f"{score.kv_bytes:,}",
                f"{score.logits_error:.4f}",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def plot(scores: Mapping[str, Score], path: str | Path, title: str) -> Path:
    """Accuracy and agreement with their intervals over the bytes of the cache.

    Returns:
        The path.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(scores)
    figure, axes = pyplot.subplots(
        1, 3, figsize=(11, 1.4 + 0.32 * len(names)), sharey=True, layout="constrained"
    )
    places = range(len(names))
    parts = [
        ("right answers (%)", [(s.accuracy, s.accuracy_interval()) for s in scores.values()]),
        (
            "tokens as with bf16 (%)",
            [(s.agreement, s.agreement_interval()) for s in scores.values()],
        ),
    ]
    for axis, (label, values) in zip(axes[:2], parts, strict=True):
        for place, (value, (low, high)) in zip(places, values, strict=True):
            axis.plot([100 * low, 100 * high], [place, place], color="tab:blue", linewidth=1.5)
            axis.plot(100 * value, place, "o", color="tab:blue", markersize=5)
            axis.annotate(
                f"{100 * value:.1f}",
                (100 * value, place),
                xytext=(0, 6),
                fontsize=8,
                textcoords="offset points",
                ha="center",
            )
        axis.set_xlabel(label)
        axis.set_xlim(-5, 107)
        axis.grid(axis="x", alpha=0.3)
    axes[2].barh(list(places), [s.kv_bytes / 1024 for s in scores.values()], color="tab:gray")
    axes[2].set_xlabel("KV cache of a row (KiB)")
    axes[2].grid(axis="x", alpha=0.3)
    axes[0].set_yticks(list(places), names)
    axes[0].set_ylim(len(names) - 0.4, -0.8)
    figure.suptitle(title, fontsize=10)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path
