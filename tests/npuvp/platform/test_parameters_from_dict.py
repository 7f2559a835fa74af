"""The extension module takes a description strictly: nothing missing, added or converted."""

from collections.abc import Callable
from typing import Any

import pytest
from npuvp._core import machine

import npuvp as vp
from npuvp.paths import platform_dir


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda core: core.pop(name) and None


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda core: core.update({name: value})


def put_cost(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda core: core["timing"]["mark"].update({name: value})


COUNT = len(vp.Platform("x").core("c").parameters)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("vlen"), f"core has {COUNT - 1} entries where {COUNT} are declared"),
        (put("vln", 1), f"core has {COUNT + 1} entries where {COUNT} are declared"),
        (put("vlen", 512.0), "core.vlen has the wrong type"),
        (put("vlen", "512"), "core.vlen has the wrong type"),
        (put("vlen", 1 << 63), "core.vlen has the wrong type"),
        (put("check_uninitialised", 1), "core.check_uninitialised has the wrong type"),
        (put("issue", 1), "core.issue has the wrong type"),
        (put("issue", "fast"), "core.issue = fast is no declared value"),
        (put("timing", {}), "timing has 0 entries where 38 are declared"),
        (put_cost("latency", 1.0), "mark.latency has the wrong type"),
        (put_cost("latncy", 1), "mark has 4 entries where 3 are declared"),
    ],
)
def test_a_description_that_python_did_not_check(
    change: Callable[[dict[str, Any]], None], message: str
) -> None:
    description = vp.Platform.load(platform_dir() / "paper.yaml").description()
    change(description["cores"][0]["parameters"])
    with pytest.raises(ValueError) as caught:
        machine.Machine(description, {}, {}, True)
    assert str(caught.value) == message
