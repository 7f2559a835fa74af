"""Generation that the host drives: the same tokens and calls, and the state between them."""

import json
from pathlib import Path

import numpy as np
import pytest
from compiler_cases import load, platform, same_calls, same_results
from test_families import load as load_other

import npuvp as vp
from npuvp.cli import main
from npuvp.errors import InputError
from npuvp.generation import GenerationError
from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan
from npuvp.reference_model import ReferenceModel

SMALL = "llada-tiny:layers=2,hidden=32,heads=2,mlp=48,vocab=100"
PLAN = GenerationPlan(gen_length=8, block_length=4, steps=4, cache="dual")
PROMPT = np.array([[5, 6, 7], [90, 3, 2]])


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("name", ["fast2_dual_thr_b2", "llada_b1_maskargmax"])
def test_recorded_case(name: str, cores: int) -> None:
    case = load(name)
    result = vp.generate(
        case.directory,
        case.prompt,
        case.plan,
        platform(128, 16, cores),
        attention_mask=case.mask,
        host_driven=True,
    )
    assert len(result.calls) == len(case.transfer)
    assert same_calls(result.calls, case.transfer, case.after) == []
    assert np.array_equal(result.tokens, case.final)


@pytest.mark.parametrize("name", ["dream_prefix_entropy", "dream_margin", "v2_stop", "moe_b2_cfg"])
def test_other_families(name: str) -> None:
    model, plan, prompt, mask = load_other(name)
    machine = platform(32, 8)
    alone = vp.generate(model, prompt, plan, machine, attention_mask=mask)
    with vp.HostDriven(model, prompt, plan, machine, attention_mask=mask) as driven:
        for number, call in enumerate(driven):
            assert np.array_equal(driven.canvas[:, : call.canvas_after.shape[1]], call.canvas_after)
            assert len(driven.calls) == number + 1
    same_results(driven.result, alone)
    assert driven.run is not None
    assert [code for _, _, code in driven.run.doorbells][: len(alone.calls) + 1] == [
        *range(1, len(alone.calls) + 1),
        0 if plan.cache != "block" else len(alone.calls) + 1,
    ]


def test_costs_a_few_cycles_and_no_traffic() -> None:
    machine = platform(32, 8)
    model = load_model(SMALL)
    alone = vp.generate(model, PROMPT, PLAN, machine)
    driven = vp.generate(model, PROMPT, PLAN, machine, host_driven=True)
    same_results(alone, driven)
    more = [a.cycles - b.cycles for a, b in zip(driven.calls, alone.calls, strict=True)]
    assert all(0 < cycles < 50 for cycles in more)


@pytest.mark.parametrize("golden", [False, True])
def test_state_between_calls(golden: bool) -> None:
    model = load_model(SMALL)
    mask = model.spec.mask_id
    with vp.HostDriven(model, PROMPT, PLAN, platform(32, 8), golden=golden) as driven:
        assert driven.canvas.tolist() == [[*row, *[mask] * 8] for row in PROMPT.tolist()]
        assert np.isnan(driven.confidences).all()
        with pytest.raises(InputError, match="has not ended: 0 calls are done"):
            _ = driven.result
        first = driven.launch()
        assert first is not None
        assert (first.kind, first.cycles is None) == ("full", True)
        state = driven.state()
        assert (state["block"], state["step"], state["call"]) == (0, 1, 1)
        # The positions of the block have scores, and the best ones were committed.
        scores, candidates = driven.confidences, driven.candidates
        assert (~np.isnan(scores)).nonzero()[1].tolist() == [3, 4, 5, 6] * 2
        for row in range(2):
            best = 3 + np.argsort(-scores[row, 3:7], kind="stable")[:2]
            assert sorted(best) == np.flatnonzero(first.transfer[row]).tolist()
        assert (candidates[first.transfer] == first.canvas_after[first.transfer]).all()
        assert (candidates[np.isnan(scores)] == -1).all()
        # Keys and values are those of the reference model.
        reference = ReferenceModel(model)
        from npuvp.generation import begin

        call = begin(model.spec, PLAN, PROMPT).next_call()
        assert call is not None
        reference(call)
        for layer in range(2):
            for made, wanted in zip(driven.cache(layer), reference.kept[layer], strict=True):
                assert made.shape == wanted.shape == (2, 11, 2, 16)
                np.testing.assert_allclose(made, wanted, rtol=0.02, atol=0.02)
        with pytest.raises(InputError, match=r"layer 2 \(layers: 0\.\.1\)"):
            driven.cache(2)
        assert len(list(driven)) == 3
        assert driven.launch() is None
        with pytest.raises(InputError, match="no call is left"):
            driven.ring()
        assert (driven.run is None) == golden


def test_what_the_host_writes_counts() -> None:
    model = load_model(SMALL)
    made = []
    for change in (False, True):
        with vp.HostDriven(model, PROMPT[:1], PLAN, platform(32, 8)) as driven:
            driven.launch()
            if change:
                canvas = driven.canvas
                canvas[0, 10] = 42
                driven.machine.write_tensor(driven.job.firmware.tensors["tokens"], canvas.T)
            made.append(list(driven)[-1])
    assert made[0].canvas_after[0, 10] != 42
    assert made[1].canvas_after[0, 10] == 42
    assert not made[1].transfer[0, 10]


def test_debugger_within_a_call() -> None:
    with vp.HostDriven(load_model(SMALL), PROMPT[:1], PLAN, platform(32, 8)) as driven:
        debugger = driven.debugger
        assert debugger is not None
        driven.ring()
        with pytest.raises(InputError, match="has been launched"):
            driven.ring()
        debugger.break_at("phase head")
        assert debugger.cont().reason == "breakpoint"
        assert debugger.marks()["call"] == 0
        assert driven.calls == []
        assert driven.launch() is not None
        assert [call.step for call in driven] == [1, 0, 1]


def test_quantised_cache_is_decoded() -> None:
    caches = []
    for format in ("bf16", "mxint8"):
        plan = GenerationPlan(**{**PLAN.__dict__, "kv_format": format})
        model = load_model(SMALL.replace("heads=2", "heads=1"))
        with vp.HostDriven(model, PROMPT, plan, platform(32, 8)) as driven:
            driven.launch()
            caches.append(driven.cache(0))
    for plain, quantised in zip(*caches, strict=True):
        assert not np.array_equal(plain, quantised)
        np.testing.assert_allclose(quantised, plain, atol=float(np.abs(plain).max()) / 64)


def test_a_trap_says_what_it_means() -> None:
    case = load("llada_b1_maskargmax")
    changes = {"revision": "fast-dllm-2026", "cache": "none"}
    plan = GenerationPlan(**{**case.plan.__dict__, **changes})
    machine = platform()
    with pytest.raises(GenerationError) as alone:
        vp.generate(case.directory, case.prompt, plan, machine)
    with pytest.raises(GenerationError) as driven:
        vp.generate(case.directory, case.prompt, plan, machine, host_driven=True)
    assert str(driven.value) == str(alone.value)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = tmp_path / "prompt.npy"
    np.save(tokens, PROMPT)
    arguments = [
        "generate", SMALL, "--tokens", str(tokens), "--platform", "platform/edge.yaml",
        "--gen-length", "4", "--block-length", "4", "--steps", "2",
    ]  # fmt: skip
    assert main([*arguments, "--host-driven", "--state", str(tmp_path / "state")]) == 0
    out = capsys.readouterr().out
    assert out.count("committed ") == 4
    assert f"state after every call: {tmp_path / 'state'}" in out
    with np.load(tmp_path / "state" / "call_0001.npz") as state:
        assert state["canvas"].shape == state["confidences"].shape == (2, 7)
        assert state["keys_1"].shape == (2, 7, 2, 16)
        last = state["canvas"].tolist()
    assert not (tmp_path / "state" / "call_0002.npz").exists()
    assert main([*arguments, "--host-driven", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["tokens"] == last
    assert [value is None for value in data["calls"][0]["confidences"][0]] == [True] * 3 + [
        False
    ] * 4
