import numpy as np
import pytest

from npuvp.plan import GenerationPlan, PlanError, quotas


def faults(**options: object) -> list[str]:
    with pytest.raises(PlanError) as error:
        GenerationPlan(**options)
    return error.value.faults


def test_quota_gives_the_remainder_to_the_first_steps() -> None:
    np.testing.assert_array_equal(
        quotas([16, 7, 2, 0], 5), [[4, 3, 3, 3, 3], [2, 2, 1, 1, 1], [1, 1, 0, 0, 0], [0] * 5]
    )
    np.testing.assert_array_equal(quotas([9], 1), [[9]])


def test_every_wrong_value_is_reported_at_once() -> None:
    found = faults(
        gen_length=0,
        block_length=True,
        steps=1.5,
        cache="full",
        threshold=1.25,
        factor=-1.0,
        temperature=float("nan"),
        cfg_scale=-0.5,
        remasking="none",
        seed=2**64,
        kv_format="int4",
        revision="v3",
    )
    assert [fault.split(":")[0] for fault in found] == [
        "gen_length",
        "block_length",
        "steps",
        "cache",
        "revision",
        "remasking",
        "kv_format",
        "threshold",
        "factor",
        "temperature",
        "cfg_scale",
        "seed",
    ]
    assert "'full', allowed: none, prefix, dual, block" in found[3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gen_length": 10, "block_length": 4}, "a multiple of block_length = 4"),
        ({"gen_length": 8, "block_length": 4, "steps": 3}, "a multiple of the 2 blocks"),
        ({"cache": "dual", "revision": "llada"}, "cache: 'dual' with revision 'llada'"),
        ({"cache": "block"}, "allowed: none, prefix, dual"),
        ({"threshold": 0.5, "factor": 1.0}, "both given"),
        ({"threshold": 0.5, "revision": "llada"}, "revision 'llada' has none"),
        ({"factor": 1.0, "revision": "fast-dllm-2025"}, "only with revision 'fast-dllm-2026'"),
        ({"algorithm": "entropy"}, "algorithm: 'entropy', allowed: only with revision 'dream'"),
        ({"logits_eos_inf": True}, "only with revision 'llada'"),
        ({"revision": "dream", "cfg_scale": 1.0}, "cfg_scale: 1.0, revision 'dream' has none"),
        ({"revision": "dream", "cache": "dual", "algorithm": "origin"}, "by entropy"),
        ({"revision": "dream", "algorithm": "confidence_threshold"}, "needs a threshold"),
        (
            {"revision": "fast-dllm-v2", "cache": "block", "block_length": 32, "sub_block": 5},
            "a divisor of block_length = 32",
        ),
    ],
)
def test_contradictions(options: dict[str, object], words: str) -> None:
    assert any(words in fault for fault in faults(**options))


def test_limits_that_are_allowed() -> None:
    plan = GenerationPlan(
        gen_length=8, block_length=2, steps=4, threshold=1.0, seed=2**64 - 1, temperature=0
    )
    assert (plan.blocks, plan.steps_per_block) == (4, 1)
    assert GenerationPlan(threshold=0.0).threshold == 0


def test_published_defaults() -> None:
    llada = GenerationPlan.published("llada")
    assert (llada.gen_length, llada.block_length, llada.steps, llada.temperature) == (
        128,
        128,
        128,
        0,
    )
    dream = GenerationPlan.published("dream")
    assert (dream.steps, dream.eps, dream.dream_algorithm) == (512, 1e-3, "origin")
    v2 = GenerationPlan.published("fast-dllm-v2", gen_length=64)
    assert (v2.cache, v2.block_length, v2.sub_block, v2.threshold, v2.top_p) == (
        "block",
        32,
        8,
        1.0,
        0.95,
    )
    assert v2.blocks == 2
    assert GenerationPlan(revision="dream", cache="dual").dream_algorithm == "entropy"
