"""How loud single channels of keys and values are, and whether that changes while text is denoised."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from npuvp.accuracy.evaluator import Evaluator
from npuvp.accuracy.schemes import Scheme
from npuvp.generation.calls import ForwardCall

__all__ = ["Loudness", "measure_outliers", "plot_outliers", "table_of_outliers"]

Levels = NDArray[np.float64]

PROMPTS = 64
"""Prompts that are measured."""


@dataclass(frozen=True)
class Loudness:
    """Largest magnitudes of channels over the canvas, K after the rotation.

    Attributes:
        masked: Masked positions of a row before each pass, shape (passes,).
        keys, values: Mean over prompts, shape (passes, layers, kv_heads, head_dim).
    """

    masked: NDArray[np.int64]
    keys: Levels
    values: Levels


def measure_outliers(evaluator: Evaluator) -> Loudness:
    """Measures a model on its tasks, in BF16 and without a cache, so that every pass sees the canvas.

    Args:
        evaluator: Model, tasks, plan; prompts of its first length are used. Rows of a batch must
            take the same number of passes, as they do under quotas.
    """
    found: dict[int, list[list[tuple[Levels, Levels]]]] = {}
    masked: dict[int, int] = {}
    mask = evaluator.spec.mask_id

    def observe(call: ForwardCall, layer: int, k: Tensor, v: Tensor) -> None:
        masked[call.index] = int((call.tokens == mask).sum(axis=1).mean())
        levels = [x.abs().amax(dim=1).mean(dim=0).double().numpy() for x in (k, v)]
        passes = found.setdefault(call.index, [])
        if layer == 0:
            passes.append([])
        passes[-1].append((levels[0], levels[1]))

    whole = replace(evaluator.plan, cache="none")
    evaluator.observe(Scheme("bf16"), whole, PROMPTS, observe)
    parts = []
    for kind in (0, 1):
        rows = [
            np.mean([[layer[kind] for layer in batch] for batch in found[index]], axis=0)
            for index in sorted(found)
        ]
        parts.append(np.array(rows))
    return Loudness(np.array([masked[i] for i in sorted(masked)]), *parts)


def _statistics(levels: Levels) -> list[tuple[float, float, float, float]]:
    """Per layer: loudest over median channel at the first and at the last pass (median of the
    heads), largest and mean drift of a channel in powers of two."""
    result = []
    drift = np.log2(levels.max(axis=0) / levels.min(axis=0))
    for layer in range(levels.shape[1]):
        heads = levels[:, layer].max(axis=-1) / np.median(levels[:, layer], axis=-1)
        ratio = np.median(heads, axis=-1)
        largest, mean = float(drift[layer].max()), float(drift[layer].mean())
        result.append((float(ratio[0]), float(ratio[-1]), largest, mean))
    return result


def table_of_outliers(loudness: Loudness) -> str:
    """Per layer of K and V: how much louder the loudest channel is, and how channels drift."""
    lines = [
        f"{len(loudness.masked)} passes, {loudness.masked[0]} to {loudness.masked[-1]} masked",
        "          loudest / median channel   drift of a channel (powers of two)",
        "          first pass    last pass       largest      mean",
    ]
    for name, levels in (("K", loudness.keys), ("V", loudness.values)):
        for layer, (first, last, largest, mean) in enumerate(_statistics(levels)):
            lines.append(
                f"{name} layer {layer}{first:13.1f}{last:13.1f}{largest:14.2f}{mean:10.2f}"
            )
    return "\n".join(lines)


def plot_outliers(loudness: Loudness, path: str | Path, title: str) -> Path:
    """Every channel of K at every pass, layer by layer; heads side by side.

    Returns:
        The path.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    passes, layers, heads, channels = loudness.keys.shape
    figure, axes = pyplot.subplots(
        layers,
        1,
        figsize=(10, 0.6 + 1.1 * layers),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    picture = np.log2(np.maximum(loudness.keys, 2.0**-20)).reshape(passes, layers, -1)
    scale = Normalize(picture.min(), picture.max())
    for layer in range(layers):
        axis = axes[layer, 0]
        axis.imshow(picture[:, layer], aspect="auto", norm=scale, interpolation="nearest")
        axis.set_ylabel(f"layer {layer}\nmasked")
        ticks = sorted({0, passes // 2, passes - 1})
        axis.set_yticks(ticks, [str(loudness.masked[t]) for t in ticks])
        for head in range(1, heads):
            axis.axvline(head * channels - 0.5, color="white", linewidth=0.8)
    axes[-1, 0].set_xlabel(f"channel of K, {heads} heads of {channels}")
    figure.colorbar(ScalarMappable(scale), ax=axes, label="log2 of the largest magnitude")
    figure.suptitle(title, fontsize=10)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path
