"""Closed forms of what plans, models and formats ask for beyond the plainest generation, held against
the cycle-level path phase by phase."""

import pytest

from npuvp.analytical import estimate, hardware_of
from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan
from npuvp.platform import Platform
from npuvp.validate import Case, check_case

MINI = "models/llada-mini"
QUIET = {"hbm": {"refresh": "none"}}


def plan(**changes):
    return GenerationPlan(
        **({"gen_length": 16, "block_length": 8, "steps": 8, "cache": "dual"} | changes)
    )


def phases(model, platform, plan, **sizes):
    """Estimates of every kind of call, by its kind."""
    hardware = hardware_of(Platform.load(f"platform/{platform}.yaml").description())
    found = estimate(load_model(model).spec, hardware, plan, prompt_length=16, **sizes)
    return {call.kind.kind: call.phases for call in found.calls}


def held(case):
    """Every comparison of a case is within its limit."""
    rows = list(check_case(case))
    beyond = [(row.what, row.analytical, row.simulated) for row in rows if not row.holds]
    assert not beyond
    assert sum(row.limit is not None for row in rows) >= 8


@pytest.mark.parametrize("kv_format", ["baos-mxint4", "baos-mxfp4", "baos-mxint8-pow2"])
@pytest.mark.parametrize(
    ("platform", "overrides", "cache", "batch"),
    [
        ("paper", {}, "dual", 2),
        ("paper", {"core": {"issue": "blocking"}}, "prefix", 1),
        ("v80", QUIET, "dual", 3),
    ],
)
def test_smoothed_caches(kv_format, platform, overrides, cache, batch):
    which = plan(kv_format=kv_format, cache=cache)
    held(Case(platform, MINI, which, batch=batch, overrides=overrides))


def test_a_smoothed_cache_costs_what_it_adds():
    plain, smoothed = (
        phases(MINI, "paper", plan(kv_format=name), batch=2) for name in ("mxint4", "baos-mxint4")
    )
    # Four layers; 2 rows of the batch x 4 heads of 32 channels; factors and their reciprocals.
    factors = 4 * 2 * 2 * 4 * 32 * 2
    more = {
        (kind, name): smoothed[kind][name].hbm_bytes - phase.hbm_bytes
        for kind, found in plain.items()
        for name, phase in found.items()
    }
    # Keys and values of 32 positions are read again; the quantised ones are written once either way.
    again = 4 * 2 * 2 * 32 * 4 * 32 * 2
    assert more["full", "qkv"] == again + 2 * factors + factors
    assert more["refine_dual", "qkv"] == factors
    assert more["refine_dual", "attention"] == factors
    assert more["full", "attention"] == 0
    assert more["full", "down"] == more["refine_dual", "head"] == 0
