"""Pictures of a report as SVG text, drawn for a screen of any width."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["COLOURS", "area_chart", "heat_map", "roofline", "si"]

#: Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#999999")
_WIDTH, _HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 10, 12, 34


def si(value: float, unit: str, digits: int = 3) -> str:
    """A figure with the prefix that leaves one to three digits before the point."""
    if value == 0:
        return f"0 {unit}"
    prefixes = ("f", "p", "n", "µ", "m", "", "k", "M", "G", "T", "P", "E")
    power = min(max(math.floor(math.log10(abs(value)) / 3), -5), 6)
    return f"{value / 10 ** (3 * power):.{digits}g} {prefixes[power + 5]}{unit}"


def _svg(body: Sequence[str], label: str, height: float = _HEIGHT) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">'
        + "".join(body)
        + "</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(text)}</text>'


def area_chart(
    layers: Sequence[tuple[str, Sequence[float]]],
    end: float,
    unit: str,
    *,
    label: str,
    limit: tuple[str, float] | None = None,
    length: float | None = None,
) -> str:
    """Stacked areas over time.

    Args:
        layers: Name and one value per window, bottom first; all of the same length.
        end: Where the last window ends, in s.
        unit: Of the values.
        label: What the picture shows, for those who cannot see it.
        limit: Name and value of a line across.
        length: Where the axis ends, in s; None: at `end`.
    """
    axis = length or end
    count = max((len(values) for _, values in layers), default=0)
    sums = [sum(values[i] for _, values in layers) for i in range(count)]
    top = max([*sums, limit[1] if limit else 0.0, 1e-30])
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(index: int) -> float:
        return _LEFT + wide * min(index * end / max(count, 1) / axis, 1.0)

    def y(value: float) -> float:
        return _TOP + high * (1 - value / (1.06 * top))

    body = [
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(top * part):.1f}" '
        f'y2="{y(top * part):.1f}"/>'
        + _text(_LEFT - 5, y(top * part) + 4, si(top * part, unit), "end")
        for part in (0.0, 0.5, 1.0)
    ]
    base = [0.0] * count
    for number, (name, values) in enumerate(layers):
        roof = [low + value for low, value in zip(base, values, strict=True)]
        up = "".join(
            f"L{x(i):.1f},{y(v):.1f}L{x(i + 1):.1f},{y(v):.1f}" for i, v in enumerate(roof)
        )
        down = "".join(
            f"L{x(i + 1):.1f},{y(base[i]):.1f}L{x(i):.1f},{y(base[i]):.1f}"
            for i in reversed(range(count))
        )
        colour = COLOURS[number % len(COLOURS)]
        body.append(
            f'<path d="M{(up + down)[1:]}Z" fill="{colour}"><title>{escape(name)}</title></path>'
        )
        base = roof
    if limit:
        at = y(limit[1])
        body.append(
            f'<line class="roof" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        body.append(_text(_WIDTH - _RIGHT - 3, at + 13, limit[0], "end"))
    for part, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        body.append(_text(_LEFT + wide * part, _HEIGHT - 14, si(axis * part, "s"), anchor))
    return _svg(body, label) + legend([name for name, _ in layers])


def legend(names: Sequence[str]) -> str:
    """Names beside their colours."""
    return (
        '<p class="legend">'
        + "".join(
            f'<span><i style="background:{COLOURS[i % len(COLOURS)]}"></i>{escape(name)}</span>'
            for i, name in enumerate(names)
        )
        + "</p>"
    )


def roofline(
    points: Sequence[tuple[str, float, float, float]],
    roofs: Sequence[tuple[str, float]],
    bandwidth: float,
    *,
    label: str,
) -> str:
    """Operations per second against operations per byte, both axes logarithmic.

    Args:
        points: Name, operations per byte, operations per second, share of the time.
        roofs: Name and operations per second of each unit.
        bandwidth: Of memory, in bytes per second.
        label: For those who cannot see it.
    """
    xs = [p[1] for p in points] + [rate / bandwidth for _, rate in roofs]
    ys = [p[2] for p in points] + [rate for _, rate in roofs]
    x0, x1 = math.floor(math.log10(min(xs)) - 0.3), math.ceil(math.log10(max(xs)) + 0.3)
    y0, y1 = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)) + 0.1)
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(value: float) -> float:
        return _LEFT + wide * (math.log10(value) - x0) / (x1 - x0)

    def y(value: float) -> float:
        return _TOP + high * (1 - (math.log10(value) - y0) / (y1 - y0))

    every_x, every_y = max(1, (x1 - x0) // 5), max(1, (y1 - y0) // 5)
    body = []
    for power in range(x0, x1 + 1, every_x):
        at = x(10.0**power)
        body.append(
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_TOP + high}"/>'
            + _text(at, _HEIGHT - 19, f"{10.0**power:g}", "middle")
        )
    for power in range(y0, y1 + 1, every_y):
        at = y(10.0**power)
        body.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            + _text(_LEFT - 5, at + 4, si(10.0**power, "/s", 3), "end")
        )
    for name, rate in roofs:
        knee = rate / bandwidth
        left = max(10.0**x0, 10.0**y0 / bandwidth)
        points_text = (
            f"{x(left):.1f},{y(left * bandwidth):.1f} {x(knee):.1f},{y(rate):.1f} "
            f"{_WIDTH - _RIGHT},{y(rate):.1f}"
        )
        body.append(f'<polyline class="roof" points="{points_text}"/>')
        body.append(_text(_WIDTH - _RIGHT - 3, y(rate) - 4, name, "end"))
    for number, (name, intensity, rate, share) in enumerate(points):
        size = 4 + 8 * math.sqrt(share)
        body.append(
            f'<circle cx="{x(intensity):.1f}" cy="{y(rate):.1f}" r="{size:.1f}" fill-opacity="0.75" '
            f'fill="{COLOURS[number % len(COLOURS)]}"><title>{escape(name)}: {intensity:.3g} '
            f"operations per byte, {si(rate, '/s')}</title></circle>"
        )
    body.append(_text(_LEFT + wide / 2, _HEIGHT - 4, "operations per byte of HBM", "middle"))
    return _svg(body, label) + legend([point[0] for point in points])


def _heat(value: float) -> str:
    """White to dark red over 0 to 1."""
    stops = ((238, 238, 238), (254, 204, 92), (240, 59, 32), (128, 0, 38))
    at = min(max(value, 0.0), 1.0) * (len(stops) - 1)
    low = min(int(at), len(stops) - 2)
    mix = [a + (b - a) * (at - low) for a, b in zip(stops[low], stops[low + 1], strict=True)]
    return "#" + "".join(f"{round(part):02x}" for part in mix)


def heat_map(mesh: Mapping[str, Any], label: str) -> str:
    """A mesh with its links coloured by utilisation, relative to the busiest one."""
    columns, rows, links = mesh["columns"], mesh["rows"], mesh["links"]
    names: dict[tuple[int, int], list[str]] = {}
    for name, nodes in mesh["nodes"].items():
        for node in nodes:
            names.setdefault((node[0], node[1]), []).append(name)
    most = max(links.values(), default=0.0) or 1.0
    pitch = (_WIDTH - 60) / max(columns, 1)
    box = min(pitch * 0.6, 74)
    step = max(pitch * 0.75, box + 30)
    height = step * rows + 26

    def centre(x: int, y: int) -> tuple[float, float]:
        return 30 + pitch * (x + 0.5), 10 + step * (y + 0.5)

    ways: Mapping[str, Callable[[int, int], tuple[int, int]]] = {
        "east": lambda x, y: (x + 1, y),
        "west": lambda x, y: (x - 1, y),
        "south": lambda x, y: (x, y + 1),
        "north": lambda x, y: (x, y - 1),
    }
    body = []
    for name, use in links.items():
        place, _, way = name.partition(".")
        row, _, column = place[1:].partition("c")
        if way not in ways or not (row.isdigit() and column.isdigit()):
            continue
        x, y = int(column), int(row)
        (ax, ay), (bx, by) = centre(x, y), centre(*ways[way](x, y))
        off = 4 if way in ("east", "north") else -4
        dx, dy = (0, -off) if way in ("east", "west") else (off, 0)
        body.append(
            f'<line x1="{ax + dx:.1f}" y1="{ay + dy:.1f}" x2="{bx + dx:.1f}" y2="{by + dy:.1f}" '
            f'stroke="{_heat(use / most)}" stroke-width="6"><title>{escape(name)}: {use:.1%} of '
            "the time</title></line>"
        )
    for y in range(rows):
        for x in range(columns):
            cx, cy = centre(x, y)
            here = names.get((x, y), [])
            port = [v for k, v in links.items() if k.startswith(f"r{y}c{x}.") and "_" in k]
            body.append(
                f'<rect x="{cx - box / 2:.1f}" y="{cy - box / 2:.1f}" width="{box:.1f}" '
                f'height="{box:.1f}" rx="5" stroke="#666" fill="{_heat(max(port, default=0) / most)}">'
                f"<title>r{y}c{x} {escape(' '.join(here))}: busiest port "
                f"{max(port, default=0):.1%}</title></rect>"
            )
            dark = max(port, default=0) / most > 0.55
            for number, name in enumerate(here[:3]):
                body.append(
                    _text(
                        cx,
                        cy + 4 + 12 * (number - (min(len(here), 3) - 1) / 2),
                        name if len(name) <= 11 else name[:10] + "…",
                        "middle",
                        f'style="fill:{"#fff" if dark else "#222"}"',
                    )
                )
    body.append(
        _text(
            _WIDTH / 2,
            height - 6,
            f"colour: share of the busiest link, {most:.1%} of the time",
            "middle",
        )
    )
    return _svg(body, label, height)
