"""Closed forms of what plans, models and formats ask for beyond the plainest generation, held against
the cycle-level path phase by phase."""

import pytest

from npuvp.analytical import estimate, hardware_of
from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import Formats
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
    assert sum(row.limit is not None for row in rows) >= 6


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


@pytest.mark.parametrize(
    ("platform", "overrides", "prompt", "changes", "calls"),
    [
        ("edge", {}, 16, {}, None),
        ("edge", {}, 24, {"threshold": 0.9}, 6),
        ("paper", {"core": {"issue": "blocking"}}, 24, {"sub_block_cache": True}, None),
        ("paper", {"core": {"issue": "blocking"}}, 80, {"temperature": 0.5}, None),
    ],
)
def test_block_diffusion(platform, overrides, prompt, changes, calls):
    which = GenerationPlan(
        gen_length=32,
        block_length=16,
        sub_block=4,
        cache="block",
        revision="fast-dllm-v2",
        **changes,
    )
    held(
        Case(
            platform,
            "fast-dllm-v2-tiny",
            which,
            prompt=prompt,
            overrides=overrides,
            calls_per_block=calls,
        )
    )


@pytest.mark.parametrize(
    ("platform", "overrides", "batch", "formats"),
    [
        ("paper", {"core": {"vlen": 512, "mlen": 512}}, 1, None),
        ("paper", {"core": {"vlen": 512, "mlen": 512}}, 2, {"activations": "mxint8"}),
        ("v80", {"core": {"vlen": 1024, "mlen": 1024}} | QUIET, 1, {"weights": "mxint4"}),
    ],
)
def test_experts(platform, overrides, batch, formats):
    case = Case(
        platform, "llada-moe-tiny", plan(), batch=batch, overrides=overrides, formats=formats
    )
    held(case)


def test_weights_of_experts_that_are_used_are_read():
    model = load_model("llada-moe-7b:layers=1").spec
    hardware = hardware_of(
        Platform.load("platform/paper.yaml", hbm={"size": "64GiB"}).description()
    )
    which = plan(gen_length=32, block_length=32, steps=32)
    found = estimate(model, hardware, which, prompt_length=32)
    full, refine = (call.phases["experts"].hbm_bytes for call in found.calls)
    # 63 of 64 experts for 32 rows, all of them for 64; norm, router, x in and out twice and the
    # gated rows of every expert come on top.
    expert, x, gated = 3 * 2 * 2048 * 1024, 2 * 2048, 2 * 1024
    other = 2 * 2048 + 2 * 64 * 2048
    assert refine == 63 * (expert + 2 * 32 * gated) + 3 * 32 * x + other
    assert full == 64 * (expert + 2 * 64 * gated) + 3 * 64 * x + other


@pytest.mark.parametrize("stated", [2, 5])
def test_experts_that_are_stated(stated):
    hardware = hardware_of(
        Platform.load("platform/paper.yaml", core={"vlen": 512, "mlen": 512}).description()
    )
    model = load_model("llada-moe-tiny").spec
    sizes = {"prompt_length": 16, "experts_per_tile": stated}
    found = estimate(model, hardware, plan(), **sizes).calls[1].phases["experts"]
    assumed = estimate(model, hardware, plan(), prompt_length=16).calls[1].phases["experts"]
    # Seven of eight for eight rows; weights, and gated rows out and in, in each of two layers.
    each = 2 * (3 * 2 * 128 * 64 + 2 * 2 * 8 * 64)
    assert assumed.hbm_bytes - found.hbm_bytes == (7 - stated) * each


@pytest.mark.parametrize(
    ("model", "stated", "message"),
    [
        ("llada-moe-tiny", 1, r"experts_per_tile: 1, allowed: 2\.\.8"),
        ("llada-tiny", 4, "experts_per_tile: 4, allowed: only with a mixture of experts"),
    ],
)
def test_experts_that_cannot_be(model, stated, message):
    hardware = hardware_of(Platform.load("platform/edge.yaml").description())
    with pytest.raises(CompileError, match=message):
        estimate(load_model(model).spec, hardware, plan(), experts_per_tile=stated)


def test_what_was_found_before_does_not_change_an_estimate():
    """Tiles are kept between estimates of a machine and a model."""
    hardware = hardware_of(Platform.load("platform/paper.yaml").description())
    model = load_model(MINI).spec
    wanted = [
        (plan(kv_format="baos-mxint4"), 1),
        (plan(kv_format="baos-mxint4"), 2),
        (plan(kv_format="baos-mxint4", revision="dream"), 2),
        (plan(kv_format="baos-mxint4"), 3),
    ]

    def cycles(hardware, which, batch):
        return estimate(model, hardware, which, prompt_length=16, batch=batch).cycles

    alone = []
    for which, batch in wanted:
        hardware.seen(model, Formats(), which.kv_format).clear()
        alone.append(cycles(hardware, which, batch))
    assert [cycles(hardware, *one) for one in wanted] == alone
    assert [cycles(hardware, *one) for one in reversed(wanted)] == alone[::-1]


@pytest.mark.parametrize(
    ("platform", "overrides"),
    [("paper", {}), ("paper", {"core": {"issue": "blocking"}}), ("v80", QUIET)],
)
@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("dream-tiny", {"revision": "dream", "top_p": 0.95, "cache": "none"}),
        ("dream-tiny", {"revision": "dream", "top_k": 5, "cache": "none"}),
        (
            "dream-tiny:vocab=5000",
            {
                "revision": "dream",
                "top_p": 0.9,
                "top_k": 20,
                "cache": "none",
                "algorithm": "topk_margin",
            },
        ),
    ],
)
def test_tokens_that_are_left_out(platform, overrides, model, changes):
    which = plan(temperature=0.2, **changes)
    held(Case(platform, model, which, batch=2, overrides=overrides))


def test_levels_are_found_in_sixteen_passes_over_stored_logits():
    def moved(**changes):
        which = plan(revision="dream", cache="none", temperature=0.2, **changes)
        return phases("dream-tiny", "paper", which)["full"]["head"].hbm_bytes

    once = 16 * 512 * 2
    assert moved(top_k=5) - moved() == once * (1 + 16 + 1)
    assert moved(top_p=0.9) - moved() == once * (1 + 17 + 1)
