"""The published code's recorded traces, through the reference model."""

import json
from pathlib import Path

import numpy as np
import pytest

from npuvp.generation import GenerationResult
from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan
from npuvp.reference_model import Precision, reference_generate

DATA = Path(__file__).parents[2] / "data" / "dllm"
CASES = sorted(path.name for path in DATA.iterdir() if path.is_dir())
CACHES = {
    "generate": "none",
    "generate_with_prefix_cache": "prefix",
    "generate_with_dual_cache": "dual",
}
REVISIONS = {
    "ML-GSAI/LLaDA@b7e6c35": "llada",
    "NVlabs/Fast-dLLM@24cc59e": "fast-dllm-2025",
    "NVlabs/Fast-dLLM@a9b81e4": "fast-dllm-2026",
}


def run(name: str, precision: Precision) -> tuple[dict, GenerationResult]:
    case = json.loads((DATA / name / "case.json").read_text())
    [revision] = [r for k, r in REVISIONS.items() if case["upstream"]["generate"].startswith(k)]
    plan = GenerationPlan(revision=revision, cache=CACHES[case["function"]], **case["args"])
    model = load_model(DATA / name)
    mask = case["attention_mask"]
    return case, reference_generate(model, plan, case["prompt"], mask, precision)


def test_all_cases_are_here() -> None:
    assert len(CASES) == 8


@pytest.mark.parametrize("precision", ["bf16", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_trace(name: str, precision: Precision) -> None:
    case, result = run(name, precision)
    assert len(result.calls) == case["nfe"] == len(case["calls"])
    canvas = np.full(
        (case["batch"], case["prompt_len"] + case["args"]["gen_length"]), case["mask_id"]
    )
    canvas[:, : case["prompt_len"]] = case["prompt"]
    for call, wanted in zip(result.calls, case["calls"], strict=True):
        where = (call.kind, call.block, call.step, call.start, call.length)
        assert where == tuple(wanted[k] for k in ("kind", "block", "step", "start", "len"))
        np.testing.assert_array_equal(call.canvas_before, canvas)
        for row in range(case["batch"]):
            assert np.flatnonzero(call.transfer[row]).tolist() == sorted(wanted["transfer"][row])
            canvas[row, wanted["transfer"][row]] = wanted["tokens"][row]
        np.testing.assert_array_equal(call.canvas_after, canvas)
    np.testing.assert_array_equal(result.tokens, case["final"])
    np.testing.assert_array_equal(result.tokens, canvas)
    assert result.tokens.dtype == np.int32


def test_a_predicted_mask_token_spends_quota_and_stays_masked() -> None:
    case, result = run("llada_b1_maskargmax", "float32")
    stays = [
        (call.transfer & (call.canvas_after == case["mask_id"])).sum() for call in result.calls
    ]
    assert sum(stays) > 0
    assert (result.tokens == case["mask_id"]).any()
