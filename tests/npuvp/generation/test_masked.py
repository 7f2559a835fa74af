from itertools import chain

import numpy as np
import pytest
from scripted import EOS, MASK, SPEC, Scripted, steady

from npuvp.generation import ForwardCall, GenerationError, InputFault, begin, generate
from npuvp.plan import GenerationPlan

PROMPT = [[1, 2, 3]]


def plan(**options: object) -> GenerationPlan:
    defaults = {"gen_length": 8, "block_length": 4, "steps": 4}
    return GenerationPlan(**(defaults | options))


def committed(result: object) -> list[list[int]]:
    return [np.flatnonzero(call.transfer[0]).tolist() for call in result.calls]


def test_quota_schedule_and_order() -> None:
    result = generate(SPEC, plan(revision="llada"), Scripted(steady), PROMPT)
    assert committed(result) == [[3, 4], [5, 6], [7, 8], [9, 10]]
    assert result.tokens.tolist() == [[1, 2, 3, *range(3, 11)]]
    assert [(c.kind, c.block, c.step, c.start, c.length) for c in result.calls] == [
        ("full", 0, 0, 0, 11),
        ("full", 0, 1, 0, 11),
        ("full", 1, 0, 0, 11),
        ("full", 1, 1, 0, 11),
    ]


def test_llada_runs_steps_without_quota_and_fast_dllm_does_not() -> None:
    counts = {}
    for revision in ("llada", "fast-dllm-2026"):
        result = generate(SPEC, plan(revision=revision, steps=12), Scripted(steady), PROMPT)
        counts[revision] = len(result.calls)
    assert counts == {"llada": 12, "fast-dllm-2026": 8}


def test_calls_of_the_prefix_cache() -> None:
    model = Scripted(steady)
    generate(SPEC, plan(cache="prefix"), model, PROMPT)
    shape = [(c.kind, c.start, c.length, c.keep, c.logits) for c in model.calls]
    assert shape == [
        ("full", 0, 11, 3, (3, 7)),
        ("refine_prefix", 3, 8, 0, (5, 7)),
        ("full", 0, 11, 7, (7, 11)),
        ("refine_prefix", 7, 4, 0, (9, 11)),
    ]
    assert model.calls[1].positions.tolist() == [list(range(3, 11))]
    assert model.calls[1].tokens.tolist() == [[3, 4] + [MASK] * 6]


def test_calls_of_the_dual_cache() -> None:
    model = Scripted(steady)
    generate(SPEC, plan(cache="dual"), model, PROMPT)
    shape = [(c.kind, c.start, c.length, c.keep) for c in model.calls]
    assert shape == [
        ("full", 0, 11, 11),
        ("refine_dual", 3, 4, 0),
        ("full", 0, 11, 11),
        ("refine_dual", 7, 4, 0),
    ]
    assert model.calls[3].positions.tolist() == [[7, 8, 9, 10]]


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_the_older_revision_always_refines_once(cache: str) -> None:
    calls = {}
    for revision in ("fast-dllm-2025", "fast-dllm-2026"):
        options = plan(cache=cache, revision=revision, threshold=0.0)
        result = generate(SPEC, options, Scripted(steady), PROMPT)
        calls[revision] = [call.kind[:6] for call in result.calls]
        assert not (result.tokens == MASK).any()
    assert calls["fast-dllm-2026"] == ["full", "full"]
    assert calls["fast-dllm-2025"] == ["full", "refine"] * 2


def test_dual_of_the_newer_revision_leaves_masks_and_later_blocks_take_them() -> None:
    low = Scripted(lambda call, row, index: (steady(call, row, index)[0], 1.0))
    result = generate(SPEC, plan(cache="dual", threshold=0.9), low, PROMPT)
    # Two passes a block, one position each; the second block's first pass sees the leftovers.
    assert committed(result) == [[3], [4], [5], [7]]
    assert (result.tokens == MASK).sum() == 4
    older = generate(
        SPEC, plan(cache="dual", threshold=0.9, revision="fast-dllm-2025"), low, PROMPT
    )
    assert len(older.calls) == 8 and not (older.tokens == MASK).any()


def test_masks_in_the_prompt_compete() -> None:
    result = generate(SPEC, plan(revision="llada"), Scripted(steady), [[1, MASK, 3]])
    assert committed(result) == [[1, 3], [4, 5], [6, 7], [8, 9]]
    assert result.tokens[0, 10] == MASK


def test_quota_that_runs_out_is_an_error() -> None:
    stubborn = Scripted(lambda call, row, index: (MASK if index == 3 else 1, 12.0 - index))
    with pytest.raises(GenerationError, match=r"block 0: step 2 has no quota.*IndexError"):
        generate(SPEC, plan(), stubborn, PROMPT)


def test_one_step_and_the_prefix_cache() -> None:
    newer = generate(SPEC, plan(cache="prefix", steps=2), Scripted(steady), PROMPT)
    assert len(newer.calls) == 2
    with pytest.raises(GenerationError, match="step 1 has no quota"):
        older = plan(cache="prefix", steps=2, revision="fast-dllm-2025")
        generate(SPEC, older, Scripted(steady), PROMPT)


def test_a_loop_without_end_is_an_error() -> None:
    stubborn = Scripted(lambda call, row, index: (MASK, 12.0))
    with pytest.raises(GenerationError, match="predicts the mask token 15"):
        generate(SPEC, plan(threshold=0.9), stubborn, PROMPT)
    # Ranked at random, another position may come next: in the end none has another candidate.
    partly = Scripted(lambda call, row, index: (MASK if index == 4 else 1, 12.0))
    with pytest.raises(GenerationError, match="predicts the mask token 15"):
        generate(SPEC, plan(threshold=1.0, remasking="random"), partly, PROMPT)


def test_factor_decoding_ends_in_few_calls() -> None:
    result = generate(SPEC, plan(factor=1.0), Scripted(steady), PROMPT)
    assert len(result.calls) == 2 and committed(result)[0] == [3, 4, 5, 6]


def test_rows_have_their_own_quotas() -> None:
    result = generate(SPEC, plan(revision="llada"), Scripted(steady), [[1, 2, 3], [1, 2, 3]])
    np.testing.assert_array_equal(result.tokens[1, 3:], np.arange(4, 12))
    model = Scripted(steady)
    uneven = np.array([[1, 2, 3], [4, MASK, MASK]])
    result = generate(SPEC, plan(revision="llada", steps=8), model, uneven)
    assert [call.transfer.sum(axis=1).tolist() for call in result.calls] == [[1, 1]] * 8
    assert (result.tokens == MASK).sum(axis=1).tolist() == [0, 2]


def test_guidance_doubles_the_rows_and_combines_them() -> None:
    def peaks(call: ForwardCall, row: int, index: int) -> tuple[int, float]:
        # With the prompt token 5, 4.0; without it token 6, 3.0: 3 - 2 * ... decides.
        return (5, 4.0) if row < 1 else (6, 9.0)

    model = Scripted(peaks)
    result = generate(SPEC, plan(revision="llada", cfg_scale=1.5), model, [[1, MASK, 3]])
    assert model.calls[0].tokens.shape == (2, 11)
    assert model.calls[0].tokens[1].tolist() == [MASK] * 11
    # u + 2.5 (c - u) is 10 for token 5 and -13.5 for token 6.
    assert set(result.tokens[0, 3:].tolist()) <= {5, MASK}
    assert model.calls[1].tokens[1, 0] == MASK
    assert (model.calls[-1].tokens[1] == 5).sum() > 0


def test_padding_is_hidden_in_every_pass() -> None:
    model = Scripted(steady)
    tokens = [[EOS, EOS, 3], [1, 2, 3]]
    generate(SPEC, plan(cache="dual"), model, tokens, [[0, 0, 1], [1, 1, 1]])
    assert len(model.calls) == 4
    for call in model.calls:
        assert call.key_mask is not None and call.key_mask.shape == (2, 11)
        assert (~call.key_mask).sum() == 2 and not call.key_mask[0, :2].any()
    model = Scripted(steady)
    generate(SPEC, plan(), model, tokens, np.ones((2, 3)))
    assert model.calls[0].key_mask is None


def test_end_tokens_can_be_forbidden_or_come_last() -> None:
    def peaks(call: ForwardCall, row: int, index: int) -> tuple[int, float]:
        return (EOS, 12.0) if index in (3, 5) else (7, 6.0)

    forbidden = generate(SPEC, plan(revision="llada", logits_eos_inf=True), Scripted(peaks), PROMPT)
    assert not (forbidden.tokens == EOS).any()
    last = generate(
        SPEC,
        plan(revision="llada", confidence_eos_eot_inf=True, eot_id=13, steps=8),
        Scripted(peaks),
        PROMPT,
    )
    assert committed(last)[:4] == [[4], [6], [3], [5]]
    plain = generate(SPEC, plan(revision="llada", steps=8), Scripted(peaks), PROMPT)
    assert committed(plain)[:4] == [[3], [5], [4], [6]]


def test_random_remasking_depends_on_the_seed_alone() -> None:
    def order(seed: int) -> list[list[int]]:
        options = plan(revision="llada", steps=8, remasking="random", seed=seed)
        return committed(generate(SPEC, options, Scripted(steady), PROMPT))

    assert order(1) == order(1)
    assert len({str(order(seed)) for seed in range(8)}) > 4
    assert sorted(chain(*order(1))) == list(range(3, 11))


def test_the_state_machine_refuses_what_is_out_of_turn() -> None:
    generation = begin(SPEC, plan(), PROMPT)
    with pytest.raises(RuntimeError, match="no call waits"):
        generation.commit(np.zeros((1, 4, 16), np.float32))
    call = generation.next_call()
    assert call is not None
    with pytest.raises(RuntimeError, match="call 0 waits"):
        generation.next_call()
    with pytest.raises(ValueError, match=r"allowed: \(1, 4, 16\)"):
        generation.commit(np.zeros((1, 3, 16), np.float32))


def test_all_faults_of_the_prompt_at_once() -> None:
    with pytest.raises(InputFault) as error:
        begin(SPEC, plan(revision="fast-dllm-2025"), [[1, 16], [0, 2]], [[1, 2], [1, 1]])
    assert len(error.value.faults) == 3
    with pytest.raises(InputFault, match=r"0..15"):
        begin(SPEC, plan(), [[-1]])
    with pytest.raises(InputFault, match=r"allowed: \(B, P\)"):
        begin(SPEC, plan(), np.zeros((1, 0), int))
    with pytest.raises(InputFault, match="type float64"):
        begin(SPEC, plan(), [[1.0]])
    with pytest.raises(InputFault, match="the model has 256"):
        begin(SPEC, plan(), np.zeros((1, 249), int))
    assert begin(SPEC, plan(), np.zeros((1, 248), int)).prompt_length == 248
    with pytest.raises(InputFault, match="architecture 'llada'"):
        begin(SPEC, GenerationPlan(revision="dream"), PROMPT)
