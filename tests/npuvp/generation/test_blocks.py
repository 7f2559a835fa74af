from dataclasses import replace

import numpy as np
import pytest
from scripted import EOS, MASK, SPEC, Scripted

from npuvp.generation import ForwardCall, GenerationError, InputFault, generate
from npuvp.plan import GenerationPlan

V2 = replace(SPEC, architecture="fast-dllm-v2", logit_shift=True, block=8)


def peaks(call: ForwardCall, row: int, index: int) -> tuple[int, float]:
    """The output at i predicts token i + 1 mod 13 of position i + 1."""
    return (index + 1) % 13, 12.0


def plan(**options: object) -> GenerationPlan:
    defaults = {
        "revision": "fast-dllm-v2",
        "cache": "block",
        "gen_length": 16,
        "block_length": 8,
        "sub_block": 4,
        "threshold": 0.9,
    }
    return GenerationPlan(**(defaults | options))


def prompt(length: int) -> list[list[int]]:
    return [[i % 13 for i in range(length)]]


def test_prefill_blocks_and_commits() -> None:
    model = Scripted(peaks, V2)
    result = generate(V2, plan(), model, prompt(10))
    shape = [(c.kind, c.block, c.start, c.length, c.positions[0, 0], c.keep) for c in model.calls]
    assert shape == [
        ("prefill", -1, 0, 8, 0, 8),
        ("block", 0, 8, 8, 8, 0),
        ("block", 0, 8, 8, 8, 0),
        ("commit", 0, 8, 8, 8, 8),
        ("block", 1, 16, 8, 16, 0),
        ("block", 1, 16, 8, 16, 0),
        ("commit", 1, 16, 8, 16, 8),
    ]
    assert model.calls[0].block_length == 8
    # Two blocks were begun; the last commit adds the first token of a third.
    assert result.tokens.tolist() == [[i % 13 for i in range(25)]]
    assert [c.transfer.sum() for c in result.calls] == [0, 2, 4, 1, 3, 4, 1]
    assert result.calls[3].canvas_after.shape == (1, 17)


def test_a_prompt_of_whole_blocks_gets_its_next_token_from_the_prefill() -> None:
    model = Scripted(peaks, V2)
    result = generate(V2, plan(), model, prompt(16))
    assert [c.kind for c in model.calls][:2] == ["prefill", "block"]
    assert result.calls[0].transfer[0].tolist() == [False] * 16 + [True]
    assert model.calls[1].tokens[0].tolist() == [3] + [MASK] * 7


def test_a_prompt_of_exactly_one_block_is_never_shown() -> None:
    model = Scripted(peaks, V2)
    generate(V2, plan(gen_length=8), model, prompt(8))
    assert [c.kind for c in model.calls] == ["block", "block", "commit"]
    assert all(c.start == 8 and c.positions[0, 0] == 0 for c in model.calls)


def test_threshold_must_be_exceeded() -> None:
    # One peak among 16 tokens: its probability is exactly 0.5 with exp(h) = 15.
    half = Scripted(lambda call, row, index: ((index + 1) % 13, float(np.log(15))), V2)
    p = 1 / (1 + 15 * np.exp(-np.float64(np.float32(np.log(15)))))
    one_by_one = generate(V2, plan(gen_length=8, threshold=p), half, prompt(4))
    assert [c.transfer.sum() for c in one_by_one.calls] == [1, 1, 1, 1, 1]
    at_once = generate(V2, plan(gen_length=8, threshold=np.nextafter(p, 0)), half, prompt(4))
    assert [c.transfer.sum() for c in at_once.calls] == [4, 1]


def test_sub_block_cache() -> None:
    def slow(call: ForwardCall, row: int, index: int) -> tuple[int, float]:
        return (index + 1) % 13, 1.0

    model = Scripted(slow, V2)
    result = generate(V2, plan(gen_length=8, sub_block_cache=True), model, prompt(5))
    shape = [(c.kind, c.start, c.length, c.offset, c.keep, c.logits) for c in model.calls]
    # Offset 4 opens with a prompt token; every call but the first can reuse the held block.
    assert shape == [
        ("block", 0, 8, 4, 8, (3, 7)),
        ("sub_block", 4, 4, 4, 0, (4, 7)),
        ("sub_block", 4, 4, 4, 0, (4, 7)),
        ("commit", 0, 8, 0, 8, (7, 8)),
    ]
    assert model.calls[1].positions[0].tolist() == [4, 5, 6, 7]
    assert result.tokens.tolist() == [[i % 13 for i in range(9)]]
    model = Scripted(slow, V2)
    generate(V2, plan(gen_length=8, sub_block_cache=True), model, prompt(4))
    assert [c.kind for c in model.calls] == [
        "block",
        "sub_block",
        "sub_block",
        "sub_block",
        "commit",
    ]


def test_the_end_token_ends_it() -> None:
    def ends(call: ForwardCall, row: int, index: int) -> tuple[int, float]:
        return (EOS if index == 5 else (index + 1) % 13), 12.0

    model = Scripted(ends, V2)
    result = generate(V2, plan(), model, prompt(3))
    assert result.tokens.tolist() == [[0, 1, 2, 3, 4, 5, EOS]]
    assert [c.kind for c in model.calls] == ["block", "block"]


def test_an_end_token_behind_masks_does_not_end_it() -> None:
    def late(call: ForwardCall, row: int, index: int) -> tuple[int, float]:
        return (EOS, 12.0) if index == 5 else ((index + 1) % 13, 1.0 + 0.1 * index)

    result = generate(V2, plan(gen_length=8), Scripted(late, V2), prompt(4))
    assert [np.flatnonzero(c.transfer[0]).tolist() for c in result.calls] == [[6], [7], [5], [4]]
    assert result.tokens.tolist() == [[0, 1, 2, 3, 4, 5, EOS]]


def test_limits() -> None:
    with pytest.raises(InputFault, match="2 rows, revision 'fast-dllm-v2' takes 1"):
        generate(V2, plan(), Scripted(peaks, V2), prompt(4) * 2)
    stubborn = Scripted(lambda call, row, index: (MASK, 9.0), V2)
    with pytest.raises(GenerationError, match="for ever"):
        generate(V2, plan(), stubborn, prompt(4))
    # A sub-block that opens with a mask is computed with its block again, whatever is held of it.
    with pytest.raises(GenerationError, match="for ever"):
        generate(V2, plan(sub_block_cache=True), stubborn, prompt(4))
