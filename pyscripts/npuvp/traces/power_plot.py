"""Draws a power trace: stacked area per component, and the total."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PowerTrace", "plot_power", "read_power"]

_MOST_COMPONENTS = 8
#: More steps than this next to each other are a black block, not a picture.
_MOST_STEPS = 240
_ZOOM_STEPS = 120
_REST_COLOUR = "#c8c8c8"
_PEAK_COLOUR = "#e3e3e3"
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
    share a layer. A trace of many windows gets two panels: the whole run, in which neighbouring
    windows are averaged and a grey band reaches up to the highest of them, and every window of a
    stretch around the peak.

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
    count = len(trace.total)
    group = max(1, -(-count // _MOST_STEPS))
    figure = Figure(figsize=(11, 7 if group > 1 else 5), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    if group == 1:
        whole = figure.add_subplot()
    else:
        whole, zoom = figure.subplots(2, 1, height_ratios=[3, 2])
        peak = int(trace.total.argmax())
        first = min(max(0, peak - _ZOOM_STEPS // 2), max(0, count - _ZOOM_STEPS))
        last = min(count, first + _ZOOM_STEPS)
        _draw(zoom, trace, 1, first, last)
        zoom.set_title(f"around the peak, at {_time(trace.time_ns[peak])}", fontsize=10, loc="left")
    _draw(whole, trace, group, 0, count)
    mean = float(trace.total.mean())
    _, watt_scale = _scale(float(trace.total.max()), "W")
    whole.axhline(
        mean / watt_scale,
        color="black",
        linewidth=0.8,
        linestyle=(0, (4, 3)),
        label=f"mean {_quantity(mean, 'W')}",
    )
    whole.set_title(
        f"{title}:  {_quantity(trace.energy_joules, 'J')} (estimate),  "
        f"peak {_quantity(float(trace.total.max()), 'W')} in {_time(trace.window_ns)}",
        fontsize=11,
        loc="left",
    )
    handles, labels = whole.get_legend_handles_labels()
    whole.legend(
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


def _draw(axes: Any, trace: PowerTrace, group: int, first: int, last: int) -> None:
    """Draws windows `first` to `last`, averaged in groups."""
    energy = trace.watts.sum(axis=0)
    order = np.argsort(-energy, kind="stable")[: np.count_nonzero(energy)]
    shown, rest = order[:_MOST_COMPONENTS], order[_MOST_COMPONENTS:]
    watts = trace.watts[first:last]
    layers = [
        (f"{trace.components[i]}  {energy[i] / energy.sum():.1%}", watts[:, i], _COLOURS[at])
        for at, i in enumerate(shown)
    ]
    if len(rest):
        name = f"{len(rest)} more  {energy[rest].sum() / energy.sum():.1%}"
        layers.append((name, watts[:, rest].sum(axis=1), _REST_COLOUR))

    begins = trace.time_ns[first:last]
    edges = np.append(begins[::group], begins[-1] + trace.window_ns)
    # Both panels of a picture have the units of the whole trace.
    time_unit, time_scale = _scale((trace.time_ns[-1] + trace.window_ns) * 1e-9, "s")
    watt_unit, watt_scale = _scale(float(trace.total.max()), "W")
    x = edges * 1e-9 / time_scale
    peak = _groups(trace.total[first:last], group, "max") / watt_scale
    if group > 1:
        axes.fill_between(
            x,
            _steps(peak),
            step="post",
            color=_PEAK_COLOUR,
            linewidth=0,
            label=f"highest window of {group}",
        )
    base = np.zeros(len(peak))
    for name, layer, colour in layers:
        top = base + _groups(layer, group, "mean") / watt_scale
        axes.fill_between(
            x,
            _steps(base),
            _steps(top),
            step="post",
            color=colour,
            linewidth=0,
            label=name,
        )
        base = top
    total = _groups(trace.total[first:last], group, "mean") / watt_scale
    axes.step(x, _steps(total), where="post", color="black", linewidth=0.7, label="total")
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(0, max(float(peak.max()) * 1.05, 1e-12))
    axes.set_xlabel(f"time ({time_unit})")
    axes.set_ylabel(f"power ({watt_unit}), mean over {_time(trace.window_ns * group)}", fontsize=9)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(False)
    axes.spines[["top", "right"]].set_visible(False)


def _steps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.append(values, values[-1:])


def _groups(values: NDArray[np.float64], size: int, what: str) -> NDArray[np.float64]:
    """Mean or maximum of each group of `size` neighbours; the last group may be smaller."""
    groups = [values[i : i + size] for i in range(0, len(values), size)]
    return np.array([group.mean() if what == "mean" else group.max() for group in groups])


def _time(time_ns: float) -> str:
    return _quantity(time_ns * 1e-9, "s")


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
