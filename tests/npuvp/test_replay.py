"""Replay of layers, steps and blocks against simulating everything."""

import pytest

import npuvp as vp
from npuvp.call_kinds import call_kinds
from npuvp.plan import GenerationPlan
from npuvp.replay import time_generation


@pytest.mark.parametrize(
    ("model", "platform", "plan", "prompt", "batch"),
    [
        ("llada-tiny:layers=7", "edge", {"cache": "dual"}, 16, 2),
        ("llada-tiny:layers=6", "edge", {"cache": "prefix"}, 20, 1),
        ("llada-tiny:layers=6", "paper", {"cache": "none"}, 16, 1),
        ("llada-tiny:layers=5", "v80", {"cache": "dual"}, 16, 2),
    ],
)
def test_replay_is_within_a_percent(model, platform, plan, prompt, batch):
    machine = vp.Platform.load(f"platform/{platform}.yaml")
    plan = GenerationPlan(gen_length=16, block_length=8, steps=6, **plan)
    sizes = {"prompt_length": prompt, "batch": batch}
    replayed = time_generation(model, machine, plan, **sizes)
    whole = time_generation(model, machine, plan, replay=False, **sizes)
    assert replayed.cycles == pytest.approx(whole.cycles, rel=0.01)
    assert replayed.energy == pytest.approx(whole.energy, rel=0.01)
    assert replayed.tokens == whole.tokens == 16 * batch
    for call in replayed.calls:
        assert sum(call.phases.values()) == call.cycles


@pytest.mark.slow
def test_replay_of_a_mid_size_model_is_within_a_percent():
    machine = vp.Platform.load("platform/paper.yaml", hbm={"size": "64GiB"})
    plan = GenerationPlan(gen_length=64, block_length=32, steps=8, cache="dual")
    sizes = {"prompt_length": 64, "batch": 2}
    model = "llada-8b:layers=6"
    replayed = time_generation(model, machine, plan, **sizes)
    whole = time_generation(model, machine, plan, replay=False, **sizes)
    assert replayed.cycles == pytest.approx(whole.cycles, rel=0.002)
    assert replayed.energy == pytest.approx(whole.energy, rel=0.002)


def test_kinds_of_calls_count_every_call():
    plan = GenerationPlan(gen_length=64, block_length=16, steps=32, cache="dual")
    kinds = call_kinds(plan, 10)
    assert [(k.kind, k.count, n) for k, n in kinds.items()] == [
        ("full", 74, 4),
        ("refine_dual", 16, 28),
    ]
    kinds = call_kinds(GenerationPlan(gen_length=64, block_length=16, steps=32, cache="prefix"), 10)
    assert [(k.count, n) for k, n in kinds.items() if k.kind == "refine_prefix"] == [
        (64, 7),
        (48, 7),
        (32, 7),
        (16, 7),
    ]
    kinds = call_kinds(GenerationPlan(gen_length=64, block_length=16, steps=32), 10, 20)
    assert [(k.pieces, n) for k, n in kinds.items()] == [(1, 8), (2, 8), (3, 16)]


def test_calls_that_depend_on_data_are_refused():
    plan = GenerationPlan(gen_length=16, block_length=8, steps=8, threshold=0.9)
    with pytest.raises(vp.CompileError, match="the number of calls depends on the data"):
        time_generation("llada-tiny", vp.Platform.load("platform/edge.yaml"), plan)
