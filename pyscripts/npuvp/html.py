"""How results show themselves in a notebook: tables, and bars without a plotting library."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

__all__ = ["bars", "heading", "quantity", "table"]

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))


def quantity(value: float, unit: str) -> str:
    """A value with four digits and the prefix that fits, such as "1.250 uJ"."""
    for size, prefix in _PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.4g} {prefix}{unit}"
    return f"{value / 1e-12:.4g} p{unit}" if value else f"0 {unit}"


def heading(text: str) -> str:
    """What a thing is, in bold."""
    return f"<p><b>{escape(text)}</b></p>"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table; cells are escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def bars(header: Sequence[str], values: Mapping[str, float], unit: str) -> str:
    """A table of shares with a bar each, the largest first; zeros are left out.

    Args:
        header: Names of the columns of names and of values.
        values: By name, none negative.
        unit: Of the values.
    """
    total = sum(values.values())
    rows = []
    for name, value in sorted(values.items(), key=lambda item: -item[1]):
        if value <= 0:
            continue
        share = 100 * value / total
        bar = (
            f'<div style="background:#4878a8;height:0.8em;width:{share:.1f}%;min-width:1px"></div>'
        )
        shown = f"{int(value):,} {unit}" if isinstance(value, int) else quantity(value, unit)
        rows.append(
            f"<tr><td>{escape(name)}</td><td>{escape(shown)}</td><td>{share:.1f} %</td>"
            f'<td style="width:16em">{bar}</td></tr>'
        )
    head = "".join(f"<th>{escape(name)}</th>" for name in (*header, "share", ""))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
