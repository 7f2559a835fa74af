from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from scripted import MASK, SPEC, Scripted

from npuvp.generation import ForwardCall, InputFault, generate
from npuvp.generation.dream import times
from npuvp.plan import GenerationPlan

DREAM = replace(SPEC, architecture="dream", logit_shift=True)
PROMPT = [[1, 2, 3]]


def peaks(call: ForwardCall, row: int, index: int) -> tuple[int, float]:
    """The output at i predicts token i + 1 mod 13 of position i + 1."""
    return (index + 1) % 13, 12.0 - 0.125 * index


def plan(**options: object) -> GenerationPlan:
    defaults = {"gen_length": 8, "block_length": 4, "steps": 4, "revision": "dream"}
    return GenerationPlan(**(defaults | options))


def committed(result: object) -> list[list[int]]:
    return [np.flatnonzero(call.transfer[0]).tolist() for call in result.calls]


def test_times() -> None:
    time = times(4, 1e-3)
    assert time.dtype == np.float32 and time[0] == 1 and time[-1] == np.float32(1e-3)
    np.testing.assert_allclose(time, np.linspace(1, 1e-3, 5), rtol=1e-6)


@pytest.mark.parametrize("algorithm", ["maskgit_plus", "topk_margin", "entropy"])
def test_counts_follow_the_times(algorithm: str) -> None:
    model = Scripted(peaks, DREAM)
    result = generate(DREAM, plan(algorithm=algorithm), model, PROMPT)
    # trunc(8 * 0.24975) = 1, trunc(7 * 0.3329) = 2, trunc(5 * 0.499) = 2, then all.
    assert [len(row) for row in committed(result)] == [1, 2, 2, 3]
    assert result.tokens.tolist() == [[1, 2, 3, *range(3, 11)]]
    assert model.calls[0].logits == (2, 10)
    assert committed(result)[0] == [3]


def test_origin_reveals_a_share_and_everything_in_the_end() -> None:
    first = [
        len(committed(generate(DREAM, plan(seed=seed), Scripted(peaks, DREAM), PROMPT))[0])
        for seed in range(60)
    ]
    assert 1.2 < np.mean(first) < 2.9 and len(set(first)) > 2
    result = generate(DREAM, plan(seed=3), Scripted(peaks, DREAM), PROMPT)
    assert result.tokens.tolist() == [[1, 2, 3, *range(3, 11)]]
    again = generate(DREAM, plan(seed=3), Scripted(peaks, DREAM), PROMPT)
    assert committed(result) == committed(again)


def test_alg_temp_draws_positions() -> None:
    options = plan(algorithm="maskgit_plus", alg_temp=10.0, steps=8)
    orders = {
        str(committed(generate(DREAM, replace(options, seed=s), Scripted(peaks, DREAM), PROMPT)))
        for s in range(8)
    }
    assert len(orders) > 4


def test_threshold_moves_what_misses_to_added_steps() -> None:
    def two_sure(call: ForwardCall, row: int, index: int) -> tuple[int, float]:
        return (index + 1) % 13, 12.0 if index < 5 else 0.5

    options = plan(threshold=0.9)
    result = generate(DREAM, options, Scripted(two_sure, DREAM), PROMPT)
    assert not (result.tokens == MASK).any()
    assert committed(result)[:2] == [[3, 4], [5]]
    assert sorted(chain(*committed(result))) == list(range(3, 11))
    # However many are left after the last step, it adds one.
    sure_later = Scripted(lambda c, r, i: ((i + 1) % 13, 12.0 if i < 5 or c.step else 0.5), DREAM)
    late = generate(DREAM, plan(threshold=0.9, steps=1), sure_later, PROMPT)
    assert committed(late) == [[3, 4, 5], [6, 7, 8, 9, 10]]
    with pytest.raises(ValueError, match="a divisor of the 8 masked"):
        generate(DREAM, plan(threshold=0.9, steps=3), Scripted(peaks, DREAM), PROMPT)
    with pytest.raises(InputFault, match="written for one row"):
        generate(DREAM, options, Scripted(peaks, DREAM), PROMPT * 2)


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_blocks_commit_the_first_position_then_refine(cache: str) -> None:
    model = Scripted(peaks, DREAM)
    result = generate(DREAM, plan(cache=cache, threshold=0.5), model, PROMPT)
    assert committed(result) == [[3], [4, 5, 6], [7], [8, 9, 10]]
    assert [call.logits for call in model.calls[:2]] == [(2, 3), (3, 6)]
    assert model.calls[0].keep == (3 if cache == "prefix" else 11)
    assert model.calls[1].length == (8 if cache == "prefix" else 4)


def test_entropy_in_blocks_runs_out_of_steps() -> None:
    result = generate(DREAM, plan(cache="dual", steps=8), Scripted(peaks, DREAM), PROMPT)
    # Steps 1..3 of 4 with times of a block: trunc(3 * 0.333) = 0, trunc(3 * 0.4995) = 1, all.
    assert [len(row) for row in committed(result)] == [1, 0, 1, 2] * 2
    stubborn = Scripted(lambda call, row, index: (MASK, 9.0), DREAM)
    result = generate(DREAM, plan(cache="dual", steps=4), stubborn, PROMPT)
    # The pass after the last step is run and commits nothing.
    assert [len(row) for row in committed(result)] == [1, 4, 0] * 2


def test_padding_shifts_positions() -> None:
    model = Scripted(peaks, DREAM)
    generate(
        DREAM, plan(algorithm="entropy"), model, [[9, 9, 3], [1, 2, 3]], [[0, 0, 1], [1, 1, 1]]
    )
    assert model.calls[0].positions[0].tolist() == [1, 1, *range(9)]
    assert model.calls[0].positions[1].tolist() == list(range(11))


def test_nucleus_and_top_k_restrict_the_sample() -> None:
    options = plan(algorithm="maskgit_plus", temperature=50.0, steps=1)
    wild = generate(DREAM, options, Scripted(peaks, DREAM), PROMPT)
    assert wild.tokens[0, 3:].tolist() != list(range(3, 11))
    for restriction in ({"top_k": 1}, {"top_p": 0.01}):
        tame = generate(DREAM, replace(options, **restriction), Scripted(peaks, DREAM), PROMPT)
        assert tame.tokens[0, 3:].tolist() == list(range(3, 11))
