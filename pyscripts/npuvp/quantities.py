"""Quantities with units, read and written exactly.

A quantity is an integer in its base unit: time in picoseconds, frequency in hertz, sizes in bytes,
bandwidth in bytes per second.
"""

import re
from fractions import Fraction
from functools import lru_cache

__all__ = ["UNITS", "QuantityError", "format_quantity", "parse_quantity"]

_DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}

UNITS: dict[str, dict[str, int]] = {
    "time": {"ps": 1, "ns": 10**3, "us": 10**6, "ms": 10**9, "s": 10**12},
    "frequency": {"Hz": 1, "kHz": 10**3, "MHz": 10**6, "GHz": 10**9},
    "bytes": {"B": 1}
    | {f"{p}B": f for p, f in _DECIMAL.items()}
    | {f"{p}B": f for p, f in _BINARY.items()},
    "bandwidth": {"B/s": 1}
    | {f"{p}B/s": f for p, f in _DECIMAL.items()}
    | {f"{p}B/s": f for p, f in _BINARY.items()},
}
"""Units per kind of quantity, as factors of the base unit."""

_WRITTEN: dict[str, list[str]] = {
    "time": ["s", "ms", "us", "ns", "ps"],
    "frequency": ["GHz", "MHz", "kHz", "Hz"],
    "bytes": ["EiB", "PiB", "TiB", "GiB", "MiB", "KiB", "B"],
    "bandwidth": ["TB/s", "GB/s", "MB/s", "kB/s", "B/s"],
}

_TEXT = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?) ?([A-Za-z/]*)")


class QuantityError(ValueError):
    """A text or number that is no such quantity; the message says what it lacks."""


def parse_quantity(kind: str, value: str | int | float) -> int:
    """Reads a quantity: text with a unit ("110ns", "409.6 GB/s"), or a number in the base unit.

    A plain number stands for no time but 0, because picoseconds, nanoseconds and cycles are all
    plausible readings of it.

    Raises:
        QuantityError: text that is not a number and a unit of this kind, a missing unit, or a value
            that is no whole number of base units.
    """
    # Texts are what a sweep repeats; of equal numbers an int, a float and a bool differ.
    return _text_quantity(kind, value) if type(value) is str else _quantity(kind, value)


@lru_cache(maxsize=4096)
def _text_quantity(kind: str, text: str) -> int:
    return _quantity(kind, text)


def _quantity(kind: str, value: str | int | float) -> int:
    units = UNITS[kind]
    known = ", ".join(units)
    if isinstance(value, str):
        match = _TEXT.fullmatch(value.strip())
        if match is None:
            raise QuantityError(f"not a number with a unit ({known})")
        number, unit = Fraction(match[1]), match[2]
        if not unit:
            raise QuantityError(f"has no unit ({known})")
        if unit not in units:
            raise QuantityError(f"has the unknown unit {unit!r} (known: {known})")
        exact = number * units[unit]
    else:
        if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
            raise QuantityError("not a finite number")
        if kind == "time" and value != 0:
            raise QuantityError(f"has no unit ({known})")
        exact = Fraction(value)
    if exact.denominator != 1:
        base = next(unit for unit, factor in units.items() if factor == 1)
        raise QuantityError(f"no whole number of {base}")
    return exact.numerator


def format_quantity(kind: str, value: int) -> str:
    """The shortest exact text of a quantity: the greatest unit with at most three decimals."""
    if value == 0:
        return "0" + _WRITTEN[kind][-1]
    for unit in _WRITTEN[kind]:
        factor = UNITS[kind][unit]
        if abs(value) < factor:
            continue
        scaled = Fraction(value, factor)
        if scaled.denominator == 1:
            return f"{scaled.numerator}{unit}"
        if kind != "bytes" and (scaled * 1000).denominator == 1:
            text = f"{scaled.numerator * 1000 // scaled.denominator:04d}"
            return f"{text[:-3]}.{text[-3:].rstrip('0')}{unit}"
    return f"{value}{_WRITTEN[kind][-1]}"
