"""Replay of layers, steps and blocks against simulating everything."""

from dataclasses import replace

import numpy as np
import pytest

import npuvp as vp
from npuvp.call_kinds import call_kinds, most_calls, used_experts
from npuvp.compiler.runtime import generate_and_run
from npuvp.model.checkpoint import RandomCheckpoint, load_model
from npuvp.model.spec import Moe
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


def _model(layers, hidden, mlp, vocab):
    heads = 16
    spec = replace(
        load_model("llada-tiny").spec, layers=layers, hidden=hidden, heads=heads, kv_heads=heads,
        head_dim=hidden // heads, rotary_dim=hidden // heads, mlp=mlp, vocab=vocab,
        mask_id=vocab - 1,
    )  # fmt: skip
    return RandomCheckpoint(spec, "random")


def _held(model, machine, plan, **sizes):
    replayed = time_generation(model, machine, plan, **sizes)
    whole = time_generation(model, machine, plan, replay=False, **sizes)
    assert replayed.cycles == pytest.approx(whole.cycles, rel=0.01)
    assert replayed.energy == pytest.approx(whole.energy, rel=0.01)
    for call in replayed.calls:
        assert sum(call.phases.values()) == call.cycles
    return replayed


@pytest.mark.parametrize(("cache", "cores"), [("dual", None), ("prefix", 3)])
def test_replay_of_several_cores_is_within_a_percent(cache, cores):
    plan = GenerationPlan(gen_length=16, block_length=8, steps=6, cache=cache)
    sizes = {"prompt_length": 16, "batch": 2, "cores": cores}
    _held("llada-tiny:layers=8", vp.Platform.load("platform/quad.yaml"), plan, **sizes)


def test_replay_on_a_small_mesh_counts_all_cores():
    machine = vp.Platform("four")
    mesh = machine.mesh("noc", columns=3, rows=2, flit_bytes=64)
    for i in range(4):
        core = machine.core(f"core{i}", vlen=128, mlen=128, blen=16, hlen=16)
        mesh.attach(core, at=(i % 2, i // 2))
    hbm = machine.hbm("hbm", backend="ideal", size="1GiB", bandwidth="128GB/s")
    mesh.attach(hbm, at=[(2, 0), (2, 1)])
    plan = GenerationPlan(gen_length=16, block_length=8, steps=6, cache="dual")
    sizes = {"prompt_length": 8, "batch": 1}
    model = "llada-tiny:layers=8"
    shared = _held(model, machine, plan, **sizes)
    alone = time_generation(model, machine, plan, cores=1, **sizes)
    one, four = alone.calls[1], shared.calls[1]
    # The array's work is the same, whoever does it, but for tiles that are cut smaller.
    assert one.macs <= four.macs < 1.5 * one.macs
    assert four.cycles < 0.8 * one.cycles
    assert four.limits["qkv"].array > 0 and set(four.limits) >= {"qkv", "down", "head"}


def test_more_cores_than_there_are_is_a_fault():
    machine = vp.Platform.load("platform/quad.yaml")
    plan = GenerationPlan(gen_length=8, block_length=8, steps=4)
    with pytest.raises(vp.CompileError, match=r"cores: 5, allowed: 1\.\.4, as the platform has"):
        time_generation("llada-tiny", machine, plan, cores=5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("platform", "cores", "shape"),
    [("quad", None, (12, 512, 2048, 4096)), ("manycore", 8, (12, 512, 1024, 1024))],
)
def test_replay_of_a_mid_size_model_on_many_cores(platform, cores, shape):
    plan = GenerationPlan(gen_length=16, block_length=8, steps=4, cache="dual")
    machine = vp.Platform.load(f"platform/{platform}.yaml")
    _held(_model(*shape), machine, plan, prompt_length=16, batch=1, cores=cores)


# On edge with its small array the lengths of a tiny model differ in ways that all are simulated.
@pytest.mark.parametrize(("platform", "most"), [("edge", 17), ("paper", 12)])
def test_lengths_of_a_prefix_cache_follow_from_some_of_them(platform, most):
    machine = vp.Platform.load(f"platform/{platform}.yaml")
    plan = GenerationPlan(gen_length=64, block_length=4, steps=32, cache="prefix")
    model = "llada-tiny:layers=2"
    told: list[str] = []
    replayed = time_generation(model, machine, plan, prompt_length=20, progress=told.append)
    whole = time_generation(model, machine, plan, prompt_length=20, replay=False)
    assert replayed.cycles == pytest.approx(whole.cycles, rel=0.01)
    assert replayed.energy == pytest.approx(whole.energy, rel=0.01)
    assert len(told) <= most and len(replayed.calls) == 17
    assert sum(call.times for call in replayed.calls) == 32


def test_a_prefix_cache_without_refine_passes():
    machine = vp.Platform.load("platform/edge.yaml")
    plan = GenerationPlan(gen_length=16, block_length=4, steps=4, cache="prefix")
    replayed = time_generation("llada-tiny", machine, plan, prompt_length=8)
    whole = time_generation("llada-tiny", machine, plan, prompt_length=8, replay=False)
    assert [(call.kind.kind, call.times) for call in replayed.calls] == [("full", 4)]
    assert replayed.cycles == pytest.approx(whole.cycles, rel=0.01)


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


@pytest.mark.parametrize(
    ("changes", "stated", "message"),
    [
        ({"threshold": 0.9}, None, "the number of calls depends on the data; state it"),
        ({"threshold": 0.9}, 9, r"calls_per_block: 9, allowed: 1..8 or 'worst'"),
        ({"threshold": 0.9}, "most", r"calls_per_block: 'most', allowed: 1..8 or 'worst'"),
        ({}, 4, "only with threshold or factor; this plan makes 4 calls in every block"),
        ({"factor": 1.0}, 0, r"calls_per_block: 0, allowed: 1..8 or 'worst'"),
        (
            {"revision": "dream", "cache": "dual", "threshold": 0.9},
            1,
            r"calls_per_block: 1, allowed: 2..8 or 'worst'",
        ),
    ],
)
def test_calls_that_depend_on_data_are_stated(changes, stated, message):
    plan = GenerationPlan(gen_length=16, block_length=8, steps=8, **changes)
    machine = vp.Platform.load("platform/edge.yaml")
    with pytest.raises(vp.CompileError, match=message):
        time_generation("llada-tiny", machine, plan, calls_per_block=stated)


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({"steps": 32}, 8),  # no quota is left behind the eighth step
        ({"steps": 32, "revision": "llada"}, 16),
        ({"steps": 8}, 4),
        ({"steps": 8, "threshold": 0.9}, 8),
        ({"steps": 8, "threshold": 0.9, "cache": "dual"}, 4),
        ({"steps": 8, "threshold": 0.9, "cache": "dual", "revision": "fast-dllm-2025"}, 8),
    ],
)
def test_most_calls_of_a_block(changes, most):
    assert most_calls(GenerationPlan(gen_length=16, block_length=8, **changes)) == most


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # The first call commits the first position, the others the schedule's shares of what is left.
        ({"cache": "dual"}, [("full", 1, 2), ("refine_dual", 8, 6)]),
        # One call more than steps, which commits nothing.
        ({"cache": "dual", "steps": 2}, [("full", 1, 2), ("refine_dual", 8, 2)]),
        ({"cache": "none"}, [("full", 16, 8)]),
        ({"cache": "none", "steps": 32}, [("full", 16, 32)]),
    ],
)
def test_kinds_of_calls_of_dream(changes, expected):
    plan = GenerationPlan(
        **({"gen_length": 16, "block_length": 8, "steps": 8, "revision": "dream"} | changes)
    )
    kinds = call_kinds(plan, 10)
    assert [(k.kind, k.span, n) for k, n in kinds.items()] == expected


@pytest.mark.parametrize(
    ("platform", "changes"),
    [
        ("paper", {"cache": "dual"}),
        ("edge", {"cache": "prefix"}),
        ("v80", {"cache": "none", "algorithm": "entropy", "temperature": 0.3, "alg_temp": 0.2}),
        ("quad", {"cache": "dual"}),
        ("edge", {"cache": "none", "temperature": 0.4, "top_k": 5}),
    ],
)
def test_replay_of_dream_is_within_a_percent_of_a_functional_run(platform, changes):
    machine = vp.Platform.load(f"platform/{platform}.yaml")
    plan = GenerationPlan(
        **({"gen_length": 8, "block_length": 8, "steps": 4, "revision": "dream"} | changes)
    )
    prompt = np.arange(1, 17, dtype=np.int32).reshape(2, 8)
    result, run = generate_and_run("dream-tiny", prompt, plan, machine)
    assert run is not None
    replayed = time_generation("dream-tiny", machine, plan, prompt_length=8, batch=2)
    assert sum(call.times for call in replayed.calls) == len(result.calls)
    assert replayed.cycles == pytest.approx(run.cycles, rel=0.01)


@pytest.mark.parametrize(
    ("prompt", "changes", "calls", "expected"),
    [
        # Two passes, the second with the head that writes the first token; then 7 masks, 8 less.
        (16, {}, None, [("prefill", 0, 1), ("prefill", 1, 1), ("block", 4, 14), ("commit", 1, 2)]),
        (18, {}, None, [("prefill", 0, 2), ("block", 4, 13), ("commit", 1, 2)]),
        # As published, a prompt of one block is not seen.
        (8, {}, None, [("block", 4, 15), ("commit", 1, 2)]),
        (5, {"threshold": 0.9}, 3, [("block", 4, 4), ("commit", 1, 2)]),
        (
            18,
            {"sub_block_cache": True, "threshold": 0.9},
            "worst",
            [("prefill", 0, 2), ("block", 4, 4), ("sub_block", 4, 9), ("commit", 1, 2)],
        ),
    ],
)
def test_kinds_of_calls_of_block_diffusion(prompt, changes, calls, expected):
    plan = GenerationPlan(
        gen_length=16,
        block_length=8,
        sub_block=4,
        cache="block",
        revision="fast-dllm-v2",
        **changes,
    )
    kinds = call_kinds(plan, prompt, calls_per_block=calls)
    assert [(k.kind, k.span, n) for k, n in kinds.items()] == expected


@pytest.mark.parametrize(("platform", "prompt"), [("paper", 8), ("edge", 20), ("v80", 32)])
def test_replay_of_block_diffusion_is_within_a_percent_of_a_functional_run(platform, prompt):
    machine = vp.Platform.load(f"platform/{platform}.yaml")
    plan = GenerationPlan(
        gen_length=16, block_length=16, sub_block=4, cache="block", revision="fast-dllm-v2"
    )
    tokens = np.arange(1, prompt + 1, dtype=np.int32)[None]
    result, run = generate_and_run("fast-dllm-v2-tiny", tokens, plan, machine)
    assert run is not None
    replayed = time_generation("fast-dllm-v2-tiny", machine, plan, prompt_length=prompt)
    # The passes over the prompt are one call of the record.
    passes = prompt // 16 if prompt > 16 else 0
    assert sum(call.times for call in replayed.calls) == len(result.calls) + max(0, passes - 1)
    assert replayed.cycles == pytest.approx(run.cycles, rel=0.01)


@pytest.mark.parametrize(("rows", "used"), [(1, 2), (2, 4), (8, 7), (64, 8)])
def test_experts_that_rows_use(rows, used):
    assert used_experts(Moe(8, 2, 64), rows) == used


def test_replay_of_experts_is_within_a_percent_of_a_functional_run():
    spec = replace(load_model("llada-moe-tiny").spec, moe=Moe(4, 4, 64))
    model = RandomCheckpoint(spec, "all experts are used")
    machine = vp.Platform.load("platform/edge.yaml")
    plan = GenerationPlan(gen_length=8, block_length=8, steps=4, cache="dual")
    tokens = np.arange(1, 17, dtype=np.int32)[None]
    _, run = generate_and_run(model, tokens, plan, machine)
    assert run is not None
    replayed = time_generation(model, machine, plan, prompt_length=16)
    assert replayed.cycles == pytest.approx(run.cycles, rel=0.01)


def test_replay_takes_the_experts_that_are_stated():
    machine = vp.Platform.load("platform/edge.yaml")
    plan = GenerationPlan(gen_length=8, block_length=8, steps=1, cache="none")
    few, all_ = (
        time_generation("llada-moe-tiny", machine, plan, prompt_length=8, experts_per_tile=stated)
        for stated in (2, 8)
    )
    each = 2 * (3 * 2 * 128 * 64 + 2 * 2 * 16 * 64)
    assert all_.calls[0].hbm_bytes - few.calls[0].hbm_bytes == 6 * each
    assert few.cycles < 0.7 * all_.cycles


def test_steps_without_a_quota_make_no_calls():
    machine = vp.Platform.load("platform/edge.yaml")
    plan = GenerationPlan(gen_length=8, block_length=4, steps=12, cache="dual")
    replayed = time_generation("llada-tiny", machine, plan, prompt_length=8)
    whole = time_generation("llada-tiny", machine, plan, prompt_length=8, replay=False)
    assert sum(call.times for call in replayed.calls) == 8
    assert replayed.cycles == pytest.approx(whole.cycles, rel=0.01)
