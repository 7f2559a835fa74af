"""models/llada-mini: what it is and how well it adds."""

from pathlib import Path

import numpy as np
import pytest

from npuvp.model.addition import PROMPT, answer, held_out, prompt
from npuvp.model.checkpoint import load_model
from npuvp.model.tokenizer import Tokenizer
from npuvp.plan import GenerationPlan
from npuvp.reference_model import Precision, reference_generate

MINI = Path(__file__).parents[2] / "models" / "llada-mini"


def exact(count: int, precision: Precision, **options: object) -> tuple[float, int]:
    """Share of right answers, and the number of forward calls."""
    model, tokenizer = load_model(MINI), Tokenizer.load(MINI)
    tasks = held_out(count, seed=7)
    prompts = np.array([tokenizer.encode(question) for question, _ in tasks])
    result = reference_generate(model, GenerationPlan(**options), prompts, precision=precision)
    answers = [tokenizer.decode(row[PROMPT:]) for row in result.tokens]
    right = [a == wanted for a, (_, wanted) in zip(answers, tasks, strict=True)]
    return float(np.mean(right)), len(result.calls)


def test_shape() -> None:
    spec = load_model(MINI).spec
    assert (spec.layers, spec.hidden, spec.heads, spec.kv_heads, spec.head_dim) == (
        4,
        128,
        4,
        4,
        32,
    )
    assert (spec.mlp, spec.vocab, spec.mask_id, spec.eos_id) == (384, 64, 63, 62)
    assert spec.parameters == 869_504
    assert (MINI / "model.safetensors").stat().st_size < 2e6


def test_one_sum_step_by_step() -> None:
    model, tokenizer = load_model(MINI), Tokenizer.load(MINI)
    plan = GenerationPlan(gen_length=16, block_length=8, steps=8, cache="dual")
    result = reference_generate(model, plan, tokenizer.encode(prompt(493827, 518264)))
    assert tokenizer.decode(result.tokens[0, PROMPT:]) == answer(493827, 518264)
    assert [call.transfer.sum() for call in result.calls] == [2] * 8


def test_right_answers_without_a_cache() -> None:
    share, calls = exact(100, "float32", gen_length=16, block_length=16, steps=8, revision="llada")
    assert share >= 0.97 and calls == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "precision", "options"),
    [
        (1000, "float32", {"gen_length": 16, "block_length": 8, "steps": 4, "cache": "dual"}),
        (200, "float32", {"gen_length": 32, "block_length": 16, "steps": 8, "cache": "prefix"}),
        (200, "bf16", {"gen_length": 16, "block_length": 8, "steps": 8, "cache": "dual"}),
        (200, "bf16", {"gen_length": 16, "block_length": 16, "steps": 16, "threshold": 0.9}),
    ],
)
def test_over_95_percent(count: int, precision: Precision, options: dict[str, object]) -> None:
    share, _ = exact(count, precision, **options)
    assert share > 0.95
