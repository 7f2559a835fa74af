"""Quantities are read exactly or refused with what they lack."""

import pytest

from npuvp.quantities import QuantityError, format_quantity, parse_quantity

GOOD = [
    ("time", "110ns", 110_000),
    ("time", "110 ns", 110_000),
    ("time", "0.5ns", 500),
    ("time", "1ps", 1),
    ("time", "2.5us", 2_500_000),
    ("time", "1s", 10**12),
    ("time", 0, 0),
    ("frequency", "1GHz", 10**9),
    ("frequency", "1.3GHz", 1_300_000_000),
    ("frequency", 1_000_000, 1_000_000),
    ("frequency", 1e9, 10**9),
    ("bytes", "8MiB", 8 << 20),
    ("bytes", "8MB", 8_000_000),
    ("bytes", "0.5KiB", 512),
    ("bytes", 4096, 4096),
    ("bandwidth", "409.6GB/s", 409_600_000_000),
    ("bandwidth", "1GiB/s", 1 << 30),
]


@pytest.mark.parametrize(("kind", "text", "value"), GOOD)
def test_reads(kind: str, text: str | int | float, value: int) -> None:
    assert parse_quantity(kind, text) == value


BAD = [
    ("time", "12abc", "has the unknown unit 'abc' (known: ps, ns, us, ms, s)"),
    ("time", "110", "has no unit (ps, ns, us, ms, s)"),
    ("time", 110, "has no unit (ps, ns, us, ms, s)"),
    ("time", "0.5ps", "no whole number of ps"),
    ("time", "ns", "not a number with a unit (ps, ns, us, ms, s)"),
    ("time", "1e3ns", "not a number with a unit (ps, ns, us, ms, s)"),
    ("time", "1 000ns", "not a number with a unit (ps, ns, us, ms, s)"),
    ("time", "", "not a number with a unit (ps, ns, us, ms, s)"),
    ("frequency", "1ghz", "has the unknown unit 'ghz' (known: Hz, kHz, MHz, GHz)"),
    ("frequency", "1GHz2", "not a number with a unit (Hz, kHz, MHz, GHz)"),
    ("frequency", float("nan"), "not a finite number"),
    ("frequency", float("inf"), "not a finite number"),
    ("frequency", 0.5, "no whole number of Hz"),
]


@pytest.mark.parametrize(("kind", "text", "message"), BAD)
def test_refuses(kind: str, text: str | int | float, message: str) -> None:
    with pytest.raises(QuantityError) as caught:
        parse_quantity(kind, text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("time", 110_000, "110ns"),
        ("time", 1_500, "1.5ns"),
        ("time", 1, "1ps"),
        ("time", 0, "0ps"),
        ("time", 1_000_001, "1000.001ns"),
        ("frequency", 1_300_000_000, "1.3GHz"),
        ("frequency", 1_000_000_007, "1000000.007kHz"),
        ("bytes", 8 << 20, "8MiB"),
        ("bytes", 1536, "1536B"),
        ("bytes", 8_000_000, "8000000B"),
        ("bandwidth", 409_600_000_000, "409.6GB/s"),
    ],
)
def test_writes_the_shortest_exact_text(kind: str, value: int, text: str) -> None:
    assert format_quantity(kind, value) == text
    assert parse_quantity(kind, text) == value
