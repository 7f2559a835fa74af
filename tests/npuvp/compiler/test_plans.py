"""Plans without recorded traces, held to the reference model.

Prompts and seeds are such that the reference in BF16 and in float32 decides alike: elsewhere a
rounding decides, and no two implementations need to agree.
"""

from typing import Any

import numpy as np
import pytest
from compiler_cases import load, platform, same_results

import npuvp as vp
from npuvp.generation.calls import GenerationResult
from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan
from npuvp.reference_model import reference_generate

PLANS: list[tuple[str, dict[str, Any]]] = [
    ("llada_b1_blocks", {"temperature": 0.7, "seed": 3}),
    ("llada_b2_uneven", {"temperature": 0.5, "seed": 5}),
    ("llada_b2_uneven", {"remasking": "random", "seed": 7}),
    ("llada_b1_blocks", {"logits_eos_inf": True}),
    ("llada_b1_blocks", {"confidence_eos_eot_inf": True, "eot_id": 7}),
    (
        "llada_b1_blocks",
        {"confidence_eos_eot_inf": True, "eot_id": 7, "temperature": 1.0, "seed": 2},
    ),
    ("fast2_dual_thr_b2", {"temperature": 0.5, "seed": 7}),
    ("fast2_dual_quota_b2", {"remasking": "random"}),
    ("fast2_dual_quota_b2", {"cache": "prefix", "temperature": 0.3, "seed": 9}),
    ("fast0_prefix_quota", {"temperature": 0.5, "seed": 4}),
]


def run(name: str, changes: dict[str, Any]) -> tuple[GenerationResult, GenerationResult]:
    """What the machine and the reference made of a case with another plan."""
    case = load(name)
    plan = GenerationPlan(**{**case.plan.__dict__, **changes})
    model = load_model(case.directory)
    made = vp.generate(model, case.prompt, plan, platform(), attention_mask=case.mask)
    return made, reference_generate(model, plan, case.prompt, case.mask)


@pytest.mark.parametrize(("name", "changes"), PLANS)
def test_as_in_the_reference(name: str, changes: dict[str, Any]) -> None:
    same_results(*run(name, changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.5, "seed": 1 << 32},
        {"remasking": "random", "temperature": 0.5, "seed": 2},
        {"confidence_eos_eot_inf": True, "logits_eos_inf": True, "eot_id": 90},
    ],
)
def test_machine_and_golden_machine_draw_alike(changes: dict[str, Any]) -> None:
    plan = GenerationPlan(
        gen_length=4, block_length=4, steps=2, revision="llada", cache="none", **changes
    )
    model = load_model("llada-tiny:layers=1,hidden=32,heads=2,mlp=48,vocab=100")
    prompt = np.array([[5, 6, 7], [90, 3, 2]])
    machine = platform(32, 8)
    result = vp.generate(model, prompt, plan, machine)
    same_results(result, vp.generate(model, prompt, plan, machine, golden=True))


def test_another_seed_draws_otherwise() -> None:
    plans = [
        GenerationPlan(gen_length=8, block_length=8, steps=2, temperature=5.0, seed=seed)
        for seed in (0, 1, 1 << 32)
    ]
    model = load_model("llada-tiny:layers=1,hidden=32,heads=2,mlp=48,vocab=100")
    made = [vp.generate(model, np.array([[5]]), plan, platform(32, 8)).tokens for plan in plans]
    assert not np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
