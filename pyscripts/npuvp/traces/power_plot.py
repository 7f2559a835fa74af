"""Draws a power trace: stacked area per component, and the total."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["PowerTrace", "plot_power", "read_power"]

_MOST_COMPONENTS = 8
_MOST_POINTS = 1200
_REST_COLOUR = "#c8c8c8"
#: Okabe and Ito's palette, which colour-blind readers can tell apart.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")


@dataclass(frozen=True)
class PowerTrace:
    """A power trace in memory.

    Attributes:
        time_ns: Begin of each window, (windows,).
        window_ns: Length of a window.
        components: Names of the columns.
        watts: Mean power, (windows, components).
        total: Mean power of all components, (windows,).
    """

    time_ns: NDArray[np.float64]
    window_ns: float
    components: tuple[str, ...]
    watts: NDArray[np.float64]
    total: NDArray[np.float64]

    @property
    def energy_joules(self) -> float:
        """The integral of the total."""
        return float(self.total.sum() * self.window_ns * 1e-9)


def read_power(path: str | Path, window_ns: float | None = None) -> PowerTrace:
    """Reads a power CSV.

    Args:
        path: The file.
        window_ns: Length of a window; needed only for a file of one row, which does not show it.

    Raises:
        ValueError: The file is no power trace; the message names the line.
        FileNotFoundError: There is no such file.
    """
    file = Path(path)
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.reader(stream)
        header = next(reader, [])
        if len(header) < 3 or header[0] != "time_ns" or header[-1] != "total":
            raise ValueError(f"{file}: no power trace: columns time_ns, .., total are needed")
        rows = []
        for row in reader:
            try:
                values = [float(value) for value in row]
            except ValueError:
                raise ValueError(
                    f"{file}:{reader.line_num}: not all of {row} is a number"
                ) from None
            if len(values) != len(header):
                raise ValueError(
                    f"{file}:{reader.line_num}: {len(values)} values in {len(header)} columns"
                )
            rows.append(values)
    if not rows:
        raise ValueError(f"{file}: the power trace has no rows")
    data = np.array(rows)
    if len(rows) > 1:
        window_ns = float(data[1, 0] - data[0, 0])
    if window_ns is None or not window_ns > 0:
        raise ValueError(f"{file}: the length of a window does not follow from {len(rows)} row(s)")
    return PowerTrace(data[:, 0], window_ns, tuple(header[1:-1]), data[:, 1:-1], data[:, -1])


def plot_power(
    csv_path: str | Path,
    png_path: str | Path,
    *,
    title: str = "Power",
    window_ns: float | None = None,
) -> Path:
    """Writes a picture of a power trace.

    Components are stacked with the largest consumer at the bottom; beyond the eight largest they
    share a layer. Where there are more windows than the picture has columns, neighbours are
    averaged, and a thin line keeps the highest window of each group visible.

    Args:
        csv_path: The power trace.
        png_path: Where the picture goes.
        title: Its heading.
        window_ns: See `read_power`.

    Returns:
        The picture's path.

    Raises:
        ValueError: The file is no power trace.
    """
    # pyplot is left alone: it keeps figures and picks a backend for the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    trace = read_power(csv_path, window_ns)
    order = np.argsort(-trace.watts.sum(axis=0), kind="stable")
    order = order[trace.watts.sum(axis=0)[order] > 0]
    shown, rest = order[:_MOST_COMPONENTS], order[_MOST_COMPONENTS:]

    group = max(1, -(-len(trace.total) // _MOST_POINTS))
    edges_ns = np.append(trace.time_ns[::group], trace.time_ns[-1] + trace.window_ns)
    layers = [_mean(trace.watts[:, i], group) for i in shown]
    names = [trace.components[i] for i in shown]
    if len(rest):
        layers.append(_mean(trace.watts[:, rest].sum(axis=1), group))
        names.append(f"{len(rest)} more")
    total, peak = _mean(trace.total, group), _peak(trace.total, group)

    time_unit, time_scale = _scale(edges_ns[-1] * 1e-9, "s")
    watt_unit, watt_scale = _scale(float(peak.max()), "W")
    x = edges_ns * 1e-9 / time_scale

    figure = Figure(figsize=(11, 5.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    base = np.zeros(len(total))
    whole = trace.total.sum()
    for index, (name, layer) in enumerate(zip(names, layers, strict=True)):
        colour = _COLOURS[index] if index < len(shown) else _REST_COLOUR
        top = base + layer / watt_scale
        share = layer.mean() / total.mean() if whole > 0 else 0.0
        axes.fill_between(
            x,
            _steps(base),
            _steps(top),
            step="post",
            color=colour,
            alpha=0.85,
            linewidth=0,
            label=f"{name}  {share:.1%}",
        )
        base = top
    axes.step(
        x, _steps(total / watt_scale), where="post", color="black", linewidth=0.9, label="total"
    )
    if group > 1:
        axes.step(
            x,
            _steps(peak / watt_scale),
            where="post",
            color="black",
            linewidth=0.5,
            alpha=0.45,
            label=f"highest window of {group}",
        )
    mean = float(trace.total.mean())
    axes.axhline(
        mean / watt_scale,
        color="black",
        linewidth=0.8,
        linestyle=(0, (4, 3)),
        label=f"mean {_quantity(mean, 'W')}",
    )
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(0, max(float(peak.max()) / watt_scale * 1.08, 1e-12))
    axes.set_xlabel(f"time ({time_unit})")
    axes.set_ylabel(
        f"power ({watt_unit}), mean over {_quantity(trace.window_ns * group * 1e-9, 's')}"
    )
    highest = _quantity(float(trace.total.max()), "W")
    window = _quantity(trace.window_ns * 1e-9, "s")
    energy = _quantity(trace.energy_joules, "J")
    axes.set_title(
        f"{title}:  {energy} (estimate),  peak {highest} in {window}",
        fontsize=11,
        loc="left",
    )
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1],
        labels[::-1],
        loc="center left",
        bbox_to_anchor=(1.005, 0.5),
        frameon=False,
        fontsize=9,
    )
    made = Path(png_path)
    made.parent.mkdir(parents=True, exist_ok=True)
    # No creation date or version: the same trace gives the same bytes.
    figure.savefig(made, metadata={"Software": None})
    return made


def _steps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.append(values, values[-1:])


def _groups(values: NDArray[np.float64], size: int) -> Sequence[NDArray[np.float64]]:
    return [values[i : i + size] for i in range(0, len(values), size)]


def _mean(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    return np.array([group.mean() for group in _groups(values, size)])


def _peak(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    return np.array([group.max() for group in _groups(values, size)])


def _scale(largest: float, unit: str) -> tuple[str, float]:
    """The unit with a prefix in which `largest` is at least 1, and its size."""
    prefixes = {"k": 1e3, "": 1.0, "m": 1e-3, "µ": 1e-6, "n": 1e-9, "p": 1e-12}
    for prefix, size in prefixes.items():
        if prefix == "k" and unit == "s":
            continue
        if largest >= size:
            return prefix + unit, size
    return "p" + unit, 1e-12


def _quantity(value: float, unit: str) -> str:
    name, size = _scale(value, unit)
    return f"{value / size:.4g} {name}"
