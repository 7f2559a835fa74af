"""What a run prints of its energy stays readable with many cores."""

import pytest

from npuvp.cli.common import energy_rows


def parts(cores: int) -> dict[str, float]:
    """Two units per core and a memory; the last core's vector unit has done nothing."""
    found = {"hbm": 7.5, "noc": 0.0, "noc.r0c0.east": 0.0, "hbm.ch0": 0.0}
    for core in range(cores):
        found[f"core{core}.vector"] = 2.0 if core < cores - 1 else 0.0
        found[f"core{core}.dma"] = 0.25
        found[f"core{core}"] = 0.125 if core % 2 else 0.0
    return found


def test_few_components_have_a_row_each() -> None:
    rows = energy_rows(parts(16))  # 1 + 15 + 16 + 8 = 40
    assert len(rows) == 40 and rows[0] == ("hbm", 7.5) and rows[1] == ("core0.vector", 2.0)


def test_of_many_the_same_units_make_one() -> None:
    rows = energy_rows(parts(18))
    assert rows == [
        ("vector of 17 cores", 34.0),
        ("hbm", 7.5),
        ("dma of 18 cores", 4.5),
        ("control of 9 cores", 1.125),
    ]
    assert sum(part for _, part in rows) == pytest.approx(sum(parts(18).values()))
