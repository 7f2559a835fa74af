import pytest

from npuvp.traces import SelectionError, select

PATHS = ["core0.pc", "core0.vector.busy", "core1.pc", "core1.vector.busy", "hbm.ch0.busy"]


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["*"], [0, 1, 2, 3, 4]),
        (["core0.*"], [0, 1]),
        (["core0"], [0, 1]),
        (["core?.pc"], [0, 2]),
        (["core[1].vector"], [3]),
        (["*.busy"], [1, 3, 4]),
        (["hbm.ch0.*", "core0.pc"], [0, 4]),
        (["core0.vector.busy", "core0.*"], [0, 1]),
    ],
)
def test_patterns(patterns, chosen):
    assert select(PATHS, patterns) == chosen


def test_nothing_matched_lists_what_is_near():
    with pytest.raises(SelectionError) as caught:
        select(PATHS, ["core0.*", "core0.vectr.*"])
    message = str(caught.value)
    assert message.startswith("signal pattern 'core0.vectr.*' matches nothing; near it: core0.vec")
    assert message.endswith("top-level names: core0, core1, hbm")
    with pytest.raises(SelectionError, match=r"'Core0\.pc' matches nothing"):
        select(PATHS, ["Core0.pc"])
    with pytest.raises(SelectionError, match="while a power trace is written"):
        select(PATHS, ["power.*"])


def test_a_component_name_is_no_prefix_of_another():
    assert select(["core1.pc", "core10.pc"], ["core1"]) == [0]


def test_patterns_must_be_a_list():
    with pytest.raises(TypeError, match=r"not the string 'core0\.\*'"):
        select(PATHS, "core0.*")
    with pytest.raises(SelectionError, match="no signal pattern given"):
        select(PATHS, [])
    with pytest.raises(TypeError, match="signal pattern 3"):
        select(PATHS, [3])  # type: ignore[list-item]
