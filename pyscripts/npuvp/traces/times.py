"""Times as people write them: ``"100ns"``, ``"2.5 us"``; kept as whole picoseconds."""

import re
from fractions import Fraction

__all__ = ["format_time", "picoseconds"]

_UNITS = {"ps": 1, "ns": 10**3, "us": 10**6, "ms": 10**9, "s": 10**12}
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ps|ns|us|ms|s)")


def picoseconds(value: str | int, name: str = "time") -> int:
    """A time in whole picoseconds.

    Args:
        value: ``"100ns"`` (ps, ns, us, ms or s), or an integer of picoseconds.
        name: What the time is, for the error message.

    Raises:
        ValueError: No such time, negative, or not a whole number of picoseconds.
        TypeError: Neither a string nor an integer.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"{name} {value!r}: a string such as '100ns' or whole picoseconds needed")
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"{name} {value!r} ps: must not be negative")
        return value
    match = _TIME.fullmatch(value.strip())
    if match is None:
        raise ValueError(
            f"{name} {value!r}: a number with ps, ns, us, ms or s needed, e.g. '100ns'"
        )
    exact = Fraction(match[1]) * _UNITS[match[2]]
    if exact.denominator != 1:
        raise ValueError(f"{name} {value!r}: must be a whole number of picoseconds")
    return int(exact)


def format_time(time_ps: int) -> str:
    """The time in the largest unit that leaves at least 1, with up to 3 decimals.

    >>> format_time(991_038_000)
    '991.038 us'
    """
    for unit in ("s", "ms", "us", "ns"):
        if time_ps >= _UNITS[unit]:
            return f"{time_ps / _UNITS[unit]:.3f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{time_ps} ps"
