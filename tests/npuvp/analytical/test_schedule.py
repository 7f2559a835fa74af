"""What straight-line code costs, against figures worked out by hand."""

import pytest

import npuvp as vp
from npuvp.analytical import hardware_of
from npuvp.analytical.schedule import body


@pytest.fixture(scope="module")
def paper() -> dict[str, object]:
    return {
        issue: hardware_of(
            vp.Platform.load("platform/paper.yaml", core={"issue": issue}).description()
        )
        for issue in ("scoreboard", "blocking")
    }


@pytest.mark.parametrize(
    ("text", "scoreboard", "blocking"),
    [
        # The vector unit is the limit: 4, and 2 + 1 + 8 (numbers.md, the published workload).
        ("vmaxi1. int int", 4, 6),
        ("vadd2. vexp2. vsum1. int", 11, 12),
        # One instruction per cycle is.
        ("int int int", 3, 3),
        ("vmul3 int int int", 4, 4),
        # A chain through a scalar: the sum's 8 cycles, then one each.
        ("vsum1. fp. fexp.", 10, 10),
    ],
)
def test_cycles_of_a_round(paper, text, scoreboard, blocking):
    assert body(paper["scoreboard"], text).cycles == scoreboard
    assert body(paper["blocking"], text).cycles == blocking


def test_energy_of_a_round_is_what_its_instructions_cost(paper):
    hardware = paper["scoreboard"]
    work = body(hardware, "vmul3. int", 10)
    energy = hardware.energy.instructions
    expected = (
        2 * energy.issue
        + energy.once["vector_mul"]
        + energy.once["scalar_int"]
        + 3 * energy.vector_row
    )
    assert work.femtojoules == 10 * expected
    assert work.vector == 10
