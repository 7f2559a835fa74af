"""Recorded traces of all families, through the reference model."""

import json
from pathlib import Path

import numpy as np
import pytest

from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan
from npuvp.reference_model import Precision, reference_generate

DATA = Path(__file__).parents[2] / "data" / "dllm_others"
CASES = sorted(path.name for path in DATA.iterdir() if path.is_dir())


def test_at_least_two_cases_of_each() -> None:
    families = [name.split("_")[0] for name in CASES]
    assert {family: families.count(family) for family in families} == {
        "dream": 11,
        "fast0": 1,
        "fast2": 3,
        "llada": 2,
        "moe": 5,
        "v2": 5,
    }


@pytest.mark.parametrize("precision", ["bf16", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_trace(name: str, precision: Precision) -> None:
    case = json.loads((DATA / name / "case.json").read_text())
    result = reference_generate(
        load_model(DATA / name),
        GenerationPlan(**case["plan"]),
        case["prompt"],
        case.get("attention_mask"),
        precision,
    )
    assert len(result.calls) == case["nfe"] == len(case["calls"])
    for call, wanted in zip(result.calls, case["calls"], strict=True):
        where = (call.kind, call.block, call.step, call.start, call.length)
        assert where == tuple(wanted[k] for k in ("kind", "block", "step", "start", "len"))
        if "canvas_before" in wanted:
            assert call.canvas_before.tolist() == [wanted["canvas_before"]]
        else:
            assert [np.flatnonzero(row).tolist() for row in call.transfer] == wanted["transfer"]
            for row, (places, tokens) in enumerate(
                zip(wanted["transfer"], wanted["tokens"], strict=True)
            ):
                assert call.canvas_after[row, places].tolist() == tokens
    assert result.tokens.tolist() == case["final"]
