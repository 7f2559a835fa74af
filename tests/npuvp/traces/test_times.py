import pytest

from npuvp.traces import format_time, picoseconds


@pytest.mark.parametrize(
    ("text", "value"),
    [("100ns", 100_000), ("2.5 us", 2_500_000), ("1ps", 1), ("0.001ns", 1), ("1s", 10**12), (7, 7)],
)
def test_times(text, value):
    assert picoseconds(text) == value


@pytest.mark.parametrize("text", ["100", "ns", "-1ns", "1e3ns", "1 m", "0.5ps", "0.0001ns", -1, ""])
def test_bad_times(text):
    with pytest.raises(ValueError, match="window"):
        picoseconds(text, "window")


@pytest.mark.parametrize("value", [1.5, None, True])
def test_times_of_the_wrong_type(value):
    with pytest.raises(TypeError, match="window"):
        picoseconds(value, "window")


def test_format():
    assert format_time(991_038_000) == "991.038 us"
    assert format_time(999) == "999 ps"
    assert format_time(1000) == "1 ns"
    assert format_time(10**12) == "1 s"
