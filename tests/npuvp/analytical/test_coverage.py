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


@pytest.mark.parametrize(
    ("platform", "overrides", "batch", "changes", "calls"),
    [
        ("paper", {}, 2, {}, None),
        ("paper", {}, 2, {"threshold": 0.9, "cache": "prefix"}, 4),
        ("paper", {"core": {"issue": "blocking"}}, 2, {"cache": "none"}, None),
        ("v80", QUIET, 1, {"cache": "none", "threshold": 0.9}, 10),
        ("v80", QUIET, 1, {"cache": "none", "algorithm": "maskgit_plus"}, None),
        ("v80", QUIET, 1, {"cache": "none", "algorithm": "topk_margin", "temperature": 0.4}, None),
        ("v80", QUIET, 2, {"algorithm": "entropy", "temperature": 0.2, "alg_temp": 0.3}, None),
    ],
)
def test_dream(platform, overrides, batch, changes, calls):
    which = plan(revision="dream", **changes)
    held(
        Case(platform, "dream-tiny", which, batch=batch, overrides=overrides, calls_per_block=calls)
    )


@pytest.mark.parametrize("platform", ["paper", "v80"])
@pytest.mark.parametrize(
    ("changes", "calls"),
    [
        ({"factor": 1.0}, "worst"),
        ({"factor": 1.0, "cache": "none"}, 2),
        ({"revision": "llada", "cache": "none", "logits_eos_inf": True}, None),
        (
            {
                "revision": "llada",
                "cache": "none",
                "confidence_eos_eot_inf": True,
                "eot_id": 7,
                "temperature": 0.5,
            },
            None,
        ),
    ],
)
def test_factors_and_hidden_end_tokens(platform, changes, calls):
    overrides = QUIET if platform == "v80" else {}
    case = Case(
        platform, "llada-tiny", plan(**changes), batch=2, overrides=overrides, calls_per_block=calls
    )
    held(case)


def test_what_a_rule_or_a_sampler_adds():
    few, many = (
        phases("llada-tiny", "paper", plan(factor=1.0, steps=16), calls_per_block=calls)["full"]
        for calls in (4, 8)
    )
    # Two positions are committed at a time, and as many ranks looked at, instead of one.
    ranks = few["sampling"].cycles - many["sampling"].cycles
    assert 8 < ranks < 40 and few["head"] == many["head"]
    plain, margin = (
        phases("dream-tiny", "paper", plan(revision="dream", cache="none", algorithm=name))["full"]
        for name in ("maskgit_plus", "topk_margin")
    )
    # The second largest of 16 rows of 2,048 lanes, which are gone through one by one.
    more = margin["head"].cycles - plain["head"].cycles
    assert 16 * 2048 < more < 16 * 2048 * 1.05


@pytest.mark.parametrize("changes", ["qkv_bias=true", "qkv_bias=true,qk_norm=true", "heads=8"])
def test_biases_and_norms_of_heads(changes):
    # 32 heads of a row of 2,048 lanes can be told apart by a mask.
    model = f"dream-tiny:head_dim=64,rotary_dim=64,{changes}"
    held(Case("paper", model, plan(revision="dream"), batch=2))


@pytest.mark.parametrize(
    ("platform", "overrides", "batch"),
    [("paper", {}, 2), ("paper", {"core": {"issue": "blocking"}}, 3), ("v80", QUIET, 1)],
)
@pytest.mark.parametrize(
    ("model", "formats", "changes"),
    [
        (MINI, {"activations": "mxint8"}, {}),
        ("llada-tiny:vocab=5000", {"logits": "mxfp8_e4m3"}, {}),
        ("llada-tiny:vocab=5000", {"logits": "mxint4", "block": 16}, {"cfg_scale": 1.0}),
    ],
)
def test_formats_of_activations_and_logits(platform, overrides, batch, model, formats, changes):
    held(Case(platform, model, plan(**changes), batch=batch, overrides=overrides, formats=formats))


def test_what_goes_through_memory_is_counted():
    model = "llada-tiny:vocab=5000"
    plain, activations, logits = (
        phases(model, "paper", plan(), formats=formats)["refine_dual"]
        for formats in (None, {"activations": "mxint8"}, {"logits": "mxfp8_e4m3"})
    )

    def more(found, name):
        return found[name].hbm_bytes - plain[name].hbm_bytes

    # Eight rows of 128 or 256 columns in two layers, out and in, a scale byte for 32 elements.
    assert more(activations, "gate_up") == 2 * 2 * 8 * 128 * 33 / 32
    assert more(activations, "down") == 2 * 2 * 8 * 256 * 33 / 32
    assert more(logits, "head") == 2 * 8 * 5000 * 33 / 32
    assert more(logits, "down") == 0
