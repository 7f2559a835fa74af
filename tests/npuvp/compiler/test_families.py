"""Families beside LLaDA in firmware: recorded traces, and plans held to the reference model."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from compiler_cases import platform, same_results

import npuvp as vp
from npuvp import Platform
from npuvp.compiler import compile_generation
from npuvp.compiler.state import PHASES
from npuvp.generation.calls import GenerationResult
from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan
from npuvp.reference_model import reference_generate

DATA = Path(__file__).parents[2] / "data" / "dllm_others"
CASES = sorted(path.name for path in DATA.iterdir() if path.is_dir())


def load(name: str, **changes: Any) -> tuple[Any, GenerationPlan, list[list[int]], Any]:
    case = json.loads((DATA / name / "case.json").read_text())
    plan = GenerationPlan(**{**case["plan"], **changes})
    return load_model(DATA / name), plan, case["prompt"], case.get("attention_mask")


def pair(name: str, machine: Platform, **changes: Any) -> tuple[GenerationResult, GenerationResult]:
    """What the machine and the reference model made of a case."""
    model, plan, prompt, mask = load(name, **changes)
    made = vp.generate(model, prompt, plan, machine, attention_mask=mask)
    return made, reference_generate(model, plan, prompt, mask)


@pytest.mark.parametrize(("vlen", "blen"), [(128, 16), (32, 8)])
@pytest.mark.parametrize("name", CASES)
def test_recorded_case(name: str, vlen: int, blen: int) -> None:
    # That the reference model is what the published code recorded is shown by
    # tests/npuvp/generation/test_recorded_others.py.
    made, reference = pair(name, platform(vlen, blen))
    same_results(made, reference)
    case = json.loads((DATA / name / "case.json").read_text())
    assert made.tokens.tolist() == case["final"]
    assert len(made.calls) == case["nfe"]


# Seeds and thresholds with which the reference decides alike in BF16 and in float32.
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("dream_entropy", {"algorithm": "origin", "temperature": 0.4, "seed": 2}),
        ("dream_margin", {"alg_temp": 0.5, "seed": 4}),
        ("dream_maskgit_b2_padded", {"algorithm": "entropy", "temperature": 0.5}),
        ("dream_maskgit_b2_padded", {"algorithm": "topk_margin", "temperature": 0.5, "seed": 1}),
        ("dream_margin", {"algorithm": "confidence_threshold", "threshold": 0.5, "steps": 2}),
        ("dream_margin", {"algorithm": "confidence_threshold", "threshold": 0.95, "steps": 4}),
        ("dream_prefix_entropy", {"temperature": 0.3}),
        ("dream_prefix_entropy", {"cache": "dual"}),
        ("dream_prefix_entropy", {"steps": 2}),
        ("dream_dual_thr", {"cache": "prefix"}),
        ("dream_prefix_entropy", {"top_p": 0.9}),
        ("dream_dual_thr", {"temperature": 0.5, "top_p": 0.9, "seed": 3}),
        (
            "dream_maskgit_b2_padded",
            {"temperature": 0.5, "top_p": 0.9, "top_k": 10, "seed": 2},
        ),
    ],
)
def test_dream_as_in_the_reference(name: str, changes: dict[str, Any]) -> None:
    same_results(*pair(name, platform(32, 8), **changes))


@pytest.mark.parametrize(
    ("name", "prompt", "changes"),
    [
        ("v2_plain", 3, {}),
        ("v2_plain", 7, {"threshold": 0.9}),
        ("v2_plain", 11, {"temperature": 0.4, "seed": 2}),
        ("v2_plain", 11, {"sub_block": 1}),
        ("v2_plain", 11, {"sub_block": 2, "sub_block_cache": True, "gen_length": 8}),
        ("v2_sub_block_cache", 16, {"temperature": 0.4, "threshold": 0.5, "seed": 1}),
        ("v2_stop", 5, {}),
        ("v2_plain", 5, {"temperature": 0.7, "top_p": 0.6, "seed": 4}),
    ],
)
def test_block_diffusion_as_in_the_reference(
    name: str, prompt: int, changes: dict[str, Any]
) -> None:
    model, plan, tokens, _ = load(name, **changes)
    shown = [tokens[0][:prompt]]
    made = vp.generate(model, shown, plan, platform(32, 8))
    same_results(made, reference_generate(model, plan, shown))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("dream_dual_thr", {"gen_length": 4, "block_length": 4, "steps": 2}),
        ("moe_b1_blocks", {"gen_length": 4, "block_length": 4, "steps": 2}),
        ("v2_sub_block_cache", {"gen_length": 8, "temperature": 1.0, "seed": 3}),
    ],
)
def test_in_the_golden_machine(name: str, changes: dict[str, Any]) -> None:
    model, plan, prompt, _ = load(name, **changes)
    machine = platform(32, 8)
    made = vp.generate(model, prompt, plan, machine)
    same_results(made, vp.generate(model, prompt, plan, machine, golden=True))


@pytest.mark.parametrize(
    "name",
    [
        "dream_margin",
        "dream_dual_thr",
        "dream_topp_b3",
        "fast2_dual_factor",
        "moe_b2_cfg",
        "v2_plain",
    ],
)
def test_several_cores_write_the_same(name: str) -> None:
    model, plan, prompt, mask = load(name)
    machine = Platform("two cores")
    machine.hbm("hbm", backend="ideal", size="64MiB", latency="100ns", bandwidth="400GB/s")
    for core in ("core0", "core1"):
        machine.core(core, vlen=32, mlen=32, blen=8, hlen=16, matrix_sram_bytes=32768)
    made = vp.generate(model, prompt, plan, machine, attention_mask=mask)
    same_results(made, reference_generate(model, plan, prompt, mask))


def test_experts_that_nobody_chose_are_not_loaded() -> None:
    # One token of eight experts takes two of them.
    model, plan, _, _ = load("moe_b1_blocks", gen_length=1, block_length=1, steps=1)
    machine = platform(32, 8)
    compilation = compile_generation(model, machine.description(), plan, prompt_length=1)
    compilation.firmware.segments += compilation.weight_segments()
    canvas = [[5], [model.spec.mask_id]]
    result = machine.run(compilation.firmware, inputs={"tokens": canvas})
    moe = model.spec.moe
    expert = 2 * 3 * moe.mlp * model.spec.hidden
    read = sum(
        after.bytes_read - before.bytes_read
        for before, after in pairwise(result.laps[0])
        if before.kind == "phase" and PHASES[before.value] == "experts"
    )
    # Two tokens choose two to four experts in each of two layers.
    assert 2 * 2 * expert < read < 2 * 5 * expert
