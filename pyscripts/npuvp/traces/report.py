"""One self-contained HTML page about a run: no script, no network, readable on a phone."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from npuvp.traces.charts import COLOURS, area_chart, heat_map, roofline, si
from npuvp.traces.profile import STALLS, Profile, Row

__all__ = ["report", "write_report"]

_NAMES = {
    "own": "issue",
    "operand": "operand",
    "unit": "unit busy",
    "dma": "DMA",
    "noc": "NoC",
    "memory": "HBM",
    "synchronisation": "synchronisation",
    "idle": "halted",
}
_ORDER = ("own", *STALLS, "idle")
_HOT = 25
_MOST_POWER = 7
_MOST_WINDOWS = 220

_STYLE = """
:root{--ink:#1c1e21;--dim:#667;--line:#dde;--page:#fff;--card:#f5f6f8;--hot:#d55e00}
@media(prefers-color-scheme:dark){:root{--ink:#e6e7ea;--dim:#9aa;--line:#334;--page:#15171a;
--card:#1f2226}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1040px;padding:16px;background:var(--page);color:var(--ink);
font:15px/1.45 system-ui,sans-serif}
h1{font-size:1.35em;margin:.2em 0}h2{font-size:1.1em;margin:1.6em 0 .4em}
p{margin:.4em 0}.dim,small{color:var(--dim)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(136px,1fr));gap:8px;margin:12px 0}
.cards div{background:var(--card);border-radius:8px;padding:8px 10px}
.cards b{display:block;font-size:1.15em;font-variant-numeric:tabular-nums}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:4px 24px}
.pair>section{min-width:0}
svg{display:block;width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--ink)}
.grid{stroke:var(--line)}.roof{stroke:var(--dim);stroke-dasharray:5 3;fill:none}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:.85em}
.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.35em;border-radius:2px}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:3px 8px;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child,.code{text-align:left}th{font-weight:600;color:var(--dim)}
.bar{display:flex;height:14px;min-width:90px;background:var(--card);border-radius:3px;
overflow:hidden}.bar i{height:100%}
code,pre{font:12.5px/1.5 ui-monospace,monospace}a{color:#0a6cc4}
pre{margin:0;overflow-x:auto}.src{display:table;min-width:100%}
.src span{display:table-row}.src b{display:table-cell;text-align:right;color:var(--dim);
font-weight:400;padding-right:10px;user-select:none}.src em{display:table-cell;text-align:right;
font-style:normal;padding-right:10px;min-width:4.5em}.src q{display:table-cell;quotes:none;
white-space:pre}:target{background:#ffe9a8;color:#222}details{margin:.5em 0}
"""


def _card(name: str, value: str, note: str = "") -> str:
    return f"<div><small>{escape(name)}</small><b>{escape(value)}</b><small>{escape(note)}</small></div>"


def _bar(row: Row, whole: int) -> str:
    """Times of a row as parts of a bar as long as its share of `whole`."""
    parts = "".join(
        f'<i style="width:{100 * row.times[name] / whole:.3f}%;'
        f'background:{COLOURS[i % len(COLOURS)]}" title="{_NAMES[name]} '
        f'{100 * row.times[name] / max(row.time_ps, 1):.1f} %"></i>'
        for i, name in enumerate(_ORDER)
        if row.times[name]
    )
    return f'<div class="bar">{parts}</div>'


def _cause_legend(rows: Sequence[Row]) -> str:
    used = [name for name in _ORDER if any(row.times[name] for row in rows)]
    return (
        '<p class="legend">'
        + "".join(
            f'<span><i style="background:{COLOURS[_ORDER.index(name) % len(COLOURS)]}"></i>'
            f"{_NAMES[name]}</span>"
            for name in used
        )
        + "</p>"
    )


def _number(row: Row) -> int:
    """Of "step 12"; what has none comes last."""
    number = row.key.rpartition(" ")[2]
    return int(number) if number.isdigit() else 1 << 62


def _view(profile: Profile, view: str, title: str, *, ordered: bool = False) -> str:
    rows = profile.by(view)
    if ordered:
        rows = sorted(rows, key=_number)
    longest = max((row.time_ps for row in rows), default=1) or 1
    total = profile.total
    period = profile.meta["period_ps"]
    figures = {row["key"]: row for row in profile.table(view)}
    body = "".join(
        f"<tr><td>{escape(row.key)}</td><td style='width:25%'>{_bar(row, longest)}</td>"
        f"<td>{row.time_ps / period:,.0f}</td><td>{row.time_ps / max(total.time_ps, 1):.1%}</td>"
        f"<td>{escape(si(row.energy_fj * 1e-15, 'J'))}</td>"
        f"<td>{row.energy_fj / max(total.energy_fj, 1):.1%}</td>"
        f"<td>{escape(si(row.bytes_read + row.bytes_written, 'B'))}</td>"
        f"<td>{figures[row.key]['matrix_utilisation']:.0%}</td>"
        f"<td>{figures[row.key]['hbm_utilisation']:.0%}</td>"
        f"<td class='code'>{escape(figures[row.key]['limit'])}</td></tr>"
        for row in rows
    )
    return (
        f"<h2>{escape(title)}</h2>{_cause_legend(rows)}<div class='wide'><table><tr><th></th>"
        "<th></th><th>cycles</th><th>time</th><th>energy</th><th></th><th>HBM</th><th>array</th>"
        "<th>memory</th><th class='code'>limit</th></tr>"
        f"{body}</table></div>"
    )


def _series(sums: Sequence[int], to: int) -> list[int]:
    """Sums of windows merged to `to` of them each."""
    return [sum(sums[i : i + to]) for i in range(0, len(sums), to)]


def _bandwidth(profile: Profile) -> str:
    made = []
    for name, (window, read, written) in profile.traffic.items():
        count = max(len(read), len(written), 1)
        both = [list(sums) + [0] * (count - len(sums)) for sums in (read, written)]
        merge = -(-count // _MOST_WINDOWS)
        seconds = window * merge * 1e-12
        layers = [
            (what, [amount / seconds for amount in _series(sums, merge)])
            for what, sums in zip(("read", "written"), both, strict=True)
        ]
        peak = profile.meta["memories"][name]["peak_bandwidth"]
        chart = area_chart(
            layers,
            len(layers[0][1]) * seconds,
            "B/s",
            label=f"bandwidth of {name} over time",
            limit=(f"peak {si(peak, 'B/s')}", peak),
            length=max(profile.meta["time_ps"] * 1e-12, 1e-12),
        )
        made.append(f"<section><h2>Bandwidth of {escape(name)}</h2>{chart}</section>")
    return "".join(made)


def _power(profile: Profile) -> str:
    if not profile.power:
        return ""
    widest = max(window for window, _ in profile.power.values())
    even = {
        name: _series(sums, widest // window)
        for name, (window, sums) in profile.power.items()
        if any(sums)
    }
    if not even:
        return ""
    count = max(map(len, even.values()))
    merge = -(-count // _MOST_WINDOWS)
    seconds = widest * merge * 1e-12
    order = sorted(even, key=lambda name: -sum(even[name]))
    layers = []
    static = sum(profile.meta["static_fj"].values()) / max(profile.meta["time_ps"], 1) * 1e-3
    values = {
        name: [
            v * 1e-15 / seconds
            for v in _series(even[name] + [0] * (count - len(even[name])), merge)
        ]
        for name in order
    }
    length = -(-count // merge)
    layers.append(("leakage and clocks", [static] * length))
    layers += [(name, values[name]) for name in order[: _MOST_POWER - 1]]
    rest = order[_MOST_POWER - 1 :]
    if rest:
        layers.append(
            (f"{len(rest)} more", [sum(values[name][i] for name in rest) for i in range(length)])
        )
    chart = area_chart(
        layers,
        length * seconds,
        "W",
        label="power over time",
        length=max(profile.meta["time_ps"] * 1e-12, 1e-12),
    )
    return f"<section><h2>Power (estimate)</h2>{chart}</section>"


def _roofline(profile: Profile) -> str:
    meta = profile.meta
    bandwidth = sum(memory["peak_bandwidth"] for memory in meta["memories"].values())
    if not bandwidth:
        return ""
    whole = profile.total.time_ps or 1
    points, used = [], set()
    for row in profile.by("operation"):
        moved = row.bytes_read + row.bytes_written
        seconds = row.time_ps * 1e-12 / len(meta["cores"])
        for unit, amount in (("matrix", row.macs), ("vector", row.lane_operations)):
            # A matrix phase's few vector operations say nothing about it.
            if not amount or not moved or not seconds or (unit == "vector" and row.macs):
                continue
            used.add(unit)
            share = row.time_ps / whole
            points.append((f"{row.key} ({unit})", amount / moved, amount / seconds, share))
    if not points:
        return ""
    roofs = []
    if "matrix" in used:
        roofs.append(("matrix unit, MAC/s", meta["macs_per_cycle"] * meta["clock"]))
    if "vector" in used:
        roofs.append(("vector unit, lane operations/s", meta["lanes"] * meta["clock"]))
    chart = roofline(points[:8], roofs, bandwidth, label="roofline")
    return (
        f"<section><h2>Roofline</h2>{chart}<p class='dim'>A disc per operation, its area the share "
        "of the time. Left of the knee memory bounds it, right of it the unit.</p></section>"
    )


def _components(profile: Profile) -> str:
    energy = {name: fj for name, fj in profile.meta["energy_fj"].items() if fj}
    whole = sum(energy.values()) or 1
    order = sorted(energy, key=lambda name: -energy[name])
    most = energy[order[0]] if order else 1
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td style='width:45%'><div class='bar'>"
        f"<i style='width:{100 * (energy[name] - profile.meta['static_fj'][name]) / most:.2f}%;"
        f"background:{COLOURS[0]}'></i><i style='width:"
        f"{100 * profile.meta['static_fj'][name] / most:.2f}%;background:{COLOURS[1]}'></i></div>"
        f"</td><td>{escape(si(energy[name] * 1e-15, 'J'))}</td><td>{energy[name] / whole:.1%}</td></tr>"
        for name in order[:14]
    )
    return (
        "<section><h2>Energy by component (estimate)</h2><p class='legend'><span>"
        f"<i style='background:{COLOURS[0]}'></i>events</span><span>"
        f"<i style='background:{COLOURS[1]}'></i>leakage and clocks</span></p>"
        f"<div class='wide'><table>{rows}</table></div></section>"
    )


def _anchor(file: str, line: int) -> str:
    return f"{Path(file).name}-{line}"


def _hot_spots(profile: Profile) -> str:
    period = profile.meta["period_ps"]
    total = profile.total.time_ps or 1
    files = {Path(file).name: file for file in profile.sources}
    rows = []
    for row in profile.by("line")[:_HOT]:
        name, _, number = row.key.rpartition(":")
        place = escape(row.key)
        if name in files and number.isdigit():
            place = f"<a href='#{escape(_anchor(name, int(number)))}'>{place}</a>"
        cause = max(STALLS, key=lambda stall: row.times[stall])
        stalls = sum(row.times[stall] for stall in STALLS)
        why = f"{_NAMES[cause]} {row.times[cause] / row.time_ps:.0%}" if stalls else ""
        rows.append(
            f"<tr><td>{place}</td><td>{row.time_ps / period:,.0f}</td><td>{row.time_ps / total:.1%}"
            f"</td><td>{escape(why)}</td><td>{escape(si(row.energy_fj * 1e-15, 'J'))}</td>"
            f"<td>{escape(si(row.bytes_read + row.bytes_written, 'B'))}</td>"
            f"<td class='code'><code>{escape(row.text[:70])}</code></td></tr>"
        )
    return (
        "<h2>Hot spots</h2><div class='wide'><table><tr><th>line</th><th>cycles</th><th>time</th>"
        "<th>waits for</th><th>energy</th><th>HBM</th><th class='code'>source</th></tr>"
        + "".join(rows)
        + "</table></div>"
    )


def _listings(profile: Profile) -> str:
    """The source with the share of the time of each line; lines that did nothing are left out
    beyond a few around the others."""
    total = profile.total.time_ps or 1
    shares: dict[str, dict[int, float]] = {}
    for core, pc, row in profile.by_pc:
        if pc is None:
            continue
        file, line, _, _ = profile.places[core, pc]
        if file in profile.sources:
            lines = shares.setdefault(file, {})
            lines[line] = lines.get(line, 0.0) + row.time_ps / total
    made = []
    for file, lines in sorted(shares.items(), key=lambda item: -sum(item[1].values())):
        text = profile.sources[file].splitlines()
        kept = {n for line in lines for n in range(line - 2, line + 3) if 0 < n <= len(text)}
        body = []
        last = 0
        for number in sorted(kept):
            if number > last + 1:
                body.append("<span><b></b><em></em><q class='dim'>…</q></span>")
            last = number
            share = lines.get(number, 0.0)
            heat = f"color-mix(in srgb,var(--hot) {min(100, round(400 * share))}%,transparent)"
            body.append(
                f"<span id='{escape(_anchor(file, number))}'><b>{number}</b>"
                f"<em style='background:{heat}'>{f'{share:.1%}' if share else ''}</em>"
                f"<q>{escape(text[number - 1])}</q></span>"
            )
        made.append(
            f"<details open><summary>{escape(Path(file).name)} "
            f"<span class='dim'>{sum(lines.values()):.1%} of the time</span></summary>"
            f"<pre><span class='src'>{''.join(body)}</span></pre></details>"
        )
    return "<h2>Source</h2>" + "".join(made) if made else ""


def report(profile: Profile) -> str:
    """The page."""
    meta = profile.meta
    total = profile.total
    seconds = meta["time_ps"] * 1e-12
    joules = sum(meta["energy_fj"].values()) * 1e-15
    moved = total.bytes_read + total.bytes_written
    peak = sum(memory["peak_bandwidth"] for memory in meta["memories"].values())
    core_time = total.time_ps or 1
    peak_macs = meta["macs_per_cycle_per_core"] * core_time / meta["period_ps"]
    cards = [
        _card("cycles", f"{meta['cycles']:,}", si(seconds, "s")),
        _card(
            "energy (estimate)", si(joules, "J"), f"{si(joules / max(seconds, 1e-30), 'W')} mean"
        ),
        _card("HBM", si(moved, "B"), f"{moved / max(seconds * peak, 1e-30):.1%} of peak bandwidth"),
        _card("vector unit", f"{total.vector_busy_ps / core_time:.1%}", "of the time busy"),
        _card("matrix unit", f"{total.macs / peak_macs:.1%}" if peak_macs else "-", "of its peak"),
        _card("waiting", f"{sum(total.times[s] for s in STALLS) / core_time:.1%}", "of core time"),
    ]
    marked = []
    for view, title in (("step", "By denoising step"), ("layer", "By layer")):
        if len(profile.by(view)) > 1:
            marked.append(_view(profile, view, title, ordered=True))
    if len(meta["cores"]) > 1:
        marked.append(_view(profile, "core", "By core", ordered=False))
    mesh = meta["mesh"]
    noc = (
        f"<section><h2>NoC</h2>{heat_map(mesh, 'utilisation of the links of the mesh')}</section>"
        if mesh
        else ""
    )
    parts: list[Any] = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width,initial-scale=1'>",
        f"<title>{escape(meta['title'])}</title>",
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{escape(meta['title'])}</h1>",
        f"<p class='dim'>{escape(meta['mode'])} run of {len(meta['cores'])} core"
        f"{'s' if len(meta['cores']) > 1 else ''}, clock {si(meta['clock'], 'Hz')}. Times are of "
        "cores and add up; energy and power are estimates.</p>",
        f"<div class='cards'>{''.join(cards)}</div>",
        _view(profile, "operation", "Time and energy by operation"),
        f"<div class='pair'>{_roofline(profile)}{_components(profile)}</div>",
        f"<div class='pair'>{_bandwidth(profile)}{_power(profile)}{noc}</div>",
        *marked,
        _hot_spots(profile),
        _listings(profile),
        "</body></html>\n",
    ]
    return "".join(parts)


def write_report(profile: Profile, path: str | Path) -> Path:
    """Writes the page.

    Args:
        profile: `read_profile` or `Result.profile`.
        path: Where to.
    """
    made = Path(path)
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(report(profile), encoding="utf-8")
    return made
