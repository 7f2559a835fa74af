"""The plain SystemC loop that the instruction benchmark compares with."""

from npuvp._core import machine


def test_the_loop_takes_time_for_every_round() -> None:
    few = min(machine.bare_loop(1_000) for _ in range(3))
    many = min(machine.bare_loop(100_000) for _ in range(3))
    assert few > 0 and many > 10 * few
