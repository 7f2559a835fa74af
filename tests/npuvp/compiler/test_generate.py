"""Whole generations in firmware: recorded traces, the reference model, and the golden machine."""

import numpy as np
import pytest
from compiler_cases import NAMES, load, platform, same_calls, same_results

import npuvp as vp
from npuvp.compiler.runtime import generate_and_run
from npuvp.generation.calls import GenerationError
from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan
from npuvp.reference_model import reference_generate


@pytest.mark.parametrize("name", NAMES)
def test_recorded_case(name: str) -> None:
    case = load(name)
    result = vp.generate(
        case.directory, case.prompt, case.plan, platform(), attention_mask=case.mask
    )
    assert len(result.calls) == len(case.transfer)
    assert same_calls(result.calls, case.transfer, case.after) == []
    assert np.array_equal(result.tokens, case.final)
    assert all(call.cycles is not None and call.cycles > 0 for call in result.calls)


def test_several_column_blocks_and_short_panels() -> None:
    # 64 channels are two rows, 192 are six; eight tiles leave room for panels of 16 outputs only.
    case = load("fast0_dual_small")
    machine = platform(32, 16, matrix_sram_bytes=2 * 16 * 32 * 32)
    result = vp.generate(case.directory, case.prompt, case.plan, machine)
    assert same_calls(result.calls, case.transfer, case.after) == []
    assert len(result.calls) == len(case.transfer)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llada_b1_blocks", {"cfg_scale": 0.5}),
        ("fast2_dual_thr_b2", {"threshold": None, "factor": 1.5}),
    ],
)
def test_plans_without_recorded_case_agree_with_the_reference(
    name: str, changes: dict[str, float | None]
) -> None:
    case = load(name)
    fields = {**case.plan.__dict__, **changes}
    plan = GenerationPlan(**fields)
    model = load_model(case.directory)
    same_results(
        vp.generate(model, case.prompt, plan, platform()),
        reference_generate(model, plan, case.prompt),
    )


def test_machine_and_golden_machine_agree() -> None:
    plan = GenerationPlan(gen_length=4, block_length=4, steps=2, cache="dual", threshold=0.9)
    model = load_model("llada-tiny:layers=1,hidden=32,heads=2,mlp=48,vocab=100")
    prompt = np.array([[5, 6, 7], [90, 3, 2]])
    machine = platform(32, 8)
    result = vp.generate(model, prompt, plan, machine)
    same_results(result, vp.generate(model, prompt, plan, machine, golden=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast0_dual_small", "llada_b1_maskargmax"])
def test_recorded_case_in_the_golden_machine(name: str) -> None:
    case = load(name)
    result = vp.generate(case.directory, case.prompt, case.plan, platform(), golden=True)
    assert same_calls(result.calls, case.transfer, case.after) == []
    assert np.array_equal(result.tokens, case.final)
    assert {call.cycles for call in result.calls} == {None}


def test_time_and_energy_are_accounted_for() -> None:
    case = load("fast0_dual_small")
    result, run = generate_and_run(case.directory, case.prompt, case.plan, platform())
    assert run is not None
    assert list(result.phases) == ["embedding", "attention", "ffn", "head", "sampling", "control"]
    uses = result.phases.values()
    assert sum(use.seconds for use in uses) == pytest.approx(run.time)
    assert sum(use.energy for use in uses) == pytest.approx(run.energy.total)
    stalled = run.cycles_by_class["memory"] / run.cycles * run.time
    assert sum(use.stalled for use in uses) == pytest.approx(stalled)
    assert all(0 <= use.stalled < use.seconds for use in uses)
    energies = [call.energy or 0.0 for call in result.calls]
    # What is left is the way from the last call to the halt.
    assert 0.999 * run.energy.total < sum(energies) < run.energy.total
    full, refine = (
        [
            e
            for e, call in zip(energies, result.calls, strict=True)
            if (call.kind == "full") == is_full
        ]
        for is_full in (True, False)
    )
    assert 0 < 2 * max(refine) < min(full)
    assert result.committed == case.plan.gen_length
    assert result.tokens_per_second == pytest.approx(result.committed / run.time)
    assert result.tokens_per_joule == pytest.approx(result.committed / run.energy.total)


def test_a_refine_pass_computes_less() -> None:
    case = load("fast0_dual_small")
    result = vp.generate(case.directory, case.prompt, case.plan, platform())
    full = [call.cycles or 0 for call in result.calls if call.kind == "full"]
    refine = [call.cycles or 0 for call in result.calls if call.kind == "refine_dual"]
    assert full
    assert refine
    assert 2 * max(refine) < min(full)


def test_steps_without_quota_end_as_in_the_published_code() -> None:
    # A model that predicts the mask token fills nothing; without a cache revision 2026 goes on
    # until its quotas end.
    case = load("llada_b1_maskargmax")
    fields = {**case.plan.__dict__, "revision": "fast-dllm-2026"}
    plan = GenerationPlan(**fields)
    model = load_model(case.directory)
    with pytest.raises(GenerationError) as reference:
        reference_generate(model, plan, case.prompt)
    assert "no quota" in str(reference.value)
    with pytest.raises(GenerationError, match="no quota"):
        vp.generate(model, case.prompt, plan, platform())


def test_a_platform_is_needed_for_the_machine() -> None:
    case = load("fast0_dual_small")
    with pytest.raises(ValueError, match="platform: none given"):
        vp.generate(case.directory, case.prompt, case.plan)
