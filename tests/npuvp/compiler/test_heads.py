"""Heads whose channels do not divide a row of Matrix SRAM (recorded cases: test_families.py)."""

import numpy as np
import pytest
from compiler_cases import platform
from test_families import load

import npuvp as vp
from npuvp.analytical import estimate, hardware_of
from npuvp.compiler import CompileError, compile_generation
from npuvp.compiler.heads import filled_heads, with_filled_heads
from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan
from npuvp.replay import time_generation

ODD = "llada-tiny:layers=1,hidden=36,heads=3,mlp=48,vocab=100"
PLAN = GenerationPlan(gen_length=4, block_length=4, steps=2, cache="dual")


def test_filled_up_to_a_power_of_two() -> None:
    model = load_model(ODD)
    filled = with_filled_heads(model, 32)
    assert (filled.spec.head_dim, filled.spec.head_channels, filled.spec.rotary_dim) == (16, 12, 12)
    q, wide = model.tensor("q", 0), filled.tensor("q", 0)
    assert wide.shape == (48, 36)
    wide = wide.reshape(3, 16, 36)
    assert np.array_equal(wide[:, :12].reshape(36, 36), q) and not wide[:, 12:].any()
    o, wide = model.tensor("o", 0), filled.tensor("o", 0).reshape(36, 3, 16)
    assert np.array_equal(wide[..., :12].reshape(36, 36), o) and not wide[..., 12:].any()
    assert np.array_equal(filled.tensor("up", 0), model.tensor("up", 0))
    part = filled.tensor("q", 0, rows=slice(16, 20))
    assert np.array_equal(part, q[12:16])
    # What divides a row stays as it is; what is longer than one is refused.
    for name in ("hidden=32,heads=2", "hidden=64,heads=1"):
        spec = load_model(f"llada-tiny:{name}").spec
        assert filled_heads(spec, 64) is spec
    long = load_model("llada-tiny:layers=1,hidden=72,heads=1,mlp=48,vocab=100")
    with pytest.raises(CompileError, match="head_dim: 72, allowed: a divisor of mlen = 32"):
        compile_generation(long, platform(32, 8).description(), PLAN, prompt_length=3)


def test_cache_shows_the_channels_of_the_model() -> None:
    with vp.HostDriven(load_model(ODD), [[5, 6, 7]], PLAN, platform(32, 8)) as driven:
        driven.launch()
        keys, values = driven.cache(0)
    assert keys.shape == values.shape == (1, 7, 3, 12)
    assert (np.abs(keys).max(axis=(0, 1, 2)) > 0).all()


@pytest.mark.parametrize("kv_format", ["mxint8", "baos-mxint4"])
def test_quantised_cache(kv_format: str) -> None:
    model, plan, prompt, _ = load("fast2_prefix_heads_of_12", kv_format=kv_format)
    assert vp.generate(model, prompt, plan, platform(32, 8)).tokens.shape == (2, 13)


def test_closed_form_and_replay_see_the_same_model() -> None:
    machine = platform(32, 8)
    closed = estimate(
        load_model(ODD).spec, hardware_of(machine.description()), PLAN, prompt_length=3
    )
    timed = time_generation(load_model(ODD), machine, PLAN, prompt_length=3)
    assert closed.cycles == pytest.approx(timed.cycles, rel=0.1)
