"""Scores: what is counted, the command, and that the machine writes the same tokens."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import npuvp as vp
from npuvp.accuracy import DEFAULT_PLAN, evaluate, evaluator_of
from npuvp.accuracy.schemes import Scheme
from npuvp.accuracy.tasks import Task, TaskError, read_tasks, write_tasks
from npuvp.cli import main
from npuvp.compiler.formats import Formats
from npuvp.generation import InputFault
from npuvp.model.quantise import quantise
from npuvp.model.tokenizer import Tokenizer
from npuvp.plan import GenerationPlan

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `accuracy`)")

from npuvp.accuracy.evaluator import Evaluator  # noqa: E402
from npuvp.accuracy.sampling import start  # noqa: E402

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "models"
TASKS = read_tasks(MODELS / "tasks.jsonl")
VARIANTS = ("llada-mini", "llada-mini-outliers", "llada-mini-drift")


def test_scores() -> None:
    done: dict[str, int] = {}

    def progress(name: str, count: int) -> None:
        done[name] = done.get(name, 0) + count

    scores = evaluate(
        MODELS / "llada-mini-outliers", schemes="mxint4,baos,bf16", limit=20, progress=progress
    )
    assert list(scores) == ["mxint4", "baos", "bf16"]
    assert done == {"mxint4": 20, "baos": 20, "bf16": 20}
    plain, baos, exact = scores.values()
    assert exact.accuracy >= 0.95 and exact.agreement == 1 and exact.logits_error == 0
    assert plain.accuracy <= 0.1 and plain.agreement < 0.7 and plain.logits_error > 0.5
    assert baos.accuracy >= 0.9 and baos.agreement > 0.98 and 0.02 < baos.logits_error < 0.2
    assert plain.kv_bytes == 17408 and baos.kv_bytes == 19456 and exact.kv_bytes == 65536
    data = plain.data()
    assert data["prompts"] == 20
    assert data["difference"] == plain.accuracy - exact.accuracy
    low, high = data["difference_interval"]
    assert -1 <= low <= data["difference"] <= high < 0


def test_outliers_are_the_same_function() -> None:
    tokens = []
    for name in VARIANTS[:2]:
        evaluator = evaluator_of(MODELS / name, TASKS[:16], "bf16")
        prompts = evaluator._groups[0].prompts
        tokens.append(evaluator.generate(Scheme("bf16"), prompts))
    np.testing.assert_array_equal(tokens[0], tokens[1])


@pytest.mark.parametrize(
    ("name", "cache", "kv_format"),
    [
        ("llada-mini", "dual", "bf16"),
        ("llada-mini-outliers", "dual", "mxint4"),
        ("llada-mini-outliers", "dual", "baos-mxint4-pow2"),
        ("llada-mini-outliers", "prefix", "baos-mxint4"),
        ("llada-mini-drift", "dual", "baos-mxint4"),
        ("llada-mini-drift", "dual", "baos-mxfp4"),
    ],
)
def test_the_machine_writes_the_same(name: str, cache: str, kv_format: str) -> None:
    same_tokens(MODELS / name, replace(DEFAULT_PLAN, cache=cache), kv_format)


def test_the_machine_writes_the_same_with_quantised_weights(tmp_path: Path) -> None:
    formats = MODELS / "formats" / "mxint4.yaml"
    quantise(MODELS / "llada-mini", Formats.of(formats), tmp_path / "quantised")
    same_tokens(tmp_path / "quantised", DEFAULT_PLAN, "baos-mxint4", formats)


def same_tokens(
    directory: Path, plan: GenerationPlan, kv_format: str, formats: Path | None = None
) -> None:
    """Canvas and committed positions of every call, accuracy path and machine."""
    evaluator = evaluator_of(directory, TASKS[:6], kv_format, plan=plan)
    prompts = evaluator._groups[0].prompts
    scheme = Scheme.parse(kv_format)
    model = evaluator.model(scheme)
    generation = start(evaluator.spec, plan, prompts, "machine")
    records = []
    while (call := generation.next_call()) is not None:
        records.append(generation.commit(model(call)))
    platform = vp.Platform.load(ROOT / "platform" / "edge.yaml")
    plan = replace(plan, kv_format=kv_format)
    result = vp.generate(directory, prompts, plan, platform, formats=formats)
    assert len(records) == len(result.calls) == 8
    for ours, theirs in zip(records, result.calls, strict=True):
        np.testing.assert_array_equal(ours.transfer, theirs.transfer)
        np.testing.assert_array_equal(ours.canvas_after, theirs.canvas_after)
    np.testing.assert_array_equal(generation.final(), result.tokens)


def test_answers_end_at_the_end_token() -> None:
    evaluator = evaluator_of(MODELS / "llada-mini", TASKS[:1], "bf16")
    end = evaluator.spec.eos_id
    assert evaluator._right(np.array([1, 2, end, 7]), (1, 2))
    assert evaluator._right(np.array([1, 2]), (1, 2))
    assert not evaluator._right(np.array([1, 2, 3, end]), (1, 2))
    assert not evaluator._right(np.array([1, end, 2]), (1, 2))


def test_prompts_of_several_lengths_and_token_ids() -> None:
    tokenizer = Tokenizer.load(MODELS / "llada-mini")
    tasks = [
        TASKS[0],
        Task("7=", "7"),
        Task(*(tuple(tokenizer.encode(t)) for t in (TASKS[1].prompt, TASKS[1].answer))),
    ]
    [score] = evaluate(MODELS / "llada-mini", tasks, "bf16").values()
    assert score.right.tolist() == [True, False, True]
    assert score.kv_bytes == 65536


@pytest.mark.parametrize(
    ("tasks", "plan", "error", "message"),
    [
        ([Task("1?", "2")], DEFAULT_PLAN, ValueError, "'?' are not in the vocabulary"),
        ([Task((1, 64), (2,))], DEFAULT_PLAN, InputFault, "tokens: 1..64, allowed: 0..63"),
        ([Task("1", "2" * 17)], DEFAULT_PLAN, TaskError, "task 1: answer of 17 tokens"),
        ([Task("1" * 113, "2")], DEFAULT_PLAN, InputFault, "129 positions, the model has 128"),
        ([], DEFAULT_PLAN, TaskError, "no tasks"),
        (
            [Task("1", "2")],
            GenerationPlan(revision="dream"),
            InputFault,
            "revision: 'dream' with architecture 'llada'",
        ),
        ([Task("1", "2")], replace(DEFAULT_PLAN, kv_format="mxint4"), ValueError, "kv_format"),
    ],
)
def test_tasks_that_do_not_fit(
    tasks: list[Task],
    plan: GenerationPlan,
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("work started")

    monkeypatch.setattr(Evaluator, "generate", never)
    with pytest.raises(error) as caught:
        evaluator_of(MODELS / "llada-mini", tasks, "bf16", plan=plan)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 0.9},
        {"factor": 1.0},
        {"cache": "none", "revision": "llada", "block_length": 16},
        {"remasking": "random"},
        {"temperature": 0.2},
        {"cfg_scale": 0.5},
    ],
)
def test_plans(changes: dict[str, object]) -> None:
    plan = replace(DEFAULT_PLAN, **changes)
    schemes = "bf16" if plan.cache == "none" else "bf16,baos-mxint8"
    scores = evaluate(MODELS / "llada-mini", TASKS[:12], schemes, plan=plan)
    assert [score.accuracy > 0.5 for score in scores.values()] == [True] * len(scores)


def test_one_row_at_a_time() -> None:
    plan = replace(DEFAULT_PLAN, revision="fast-dllm-2025")
    scores = evaluate(MODELS / "llada-mini", TASKS[:3], "bf16,baos", plan=plan)
    assert scores["bf16"].accuracy == 1 and scores["baos"].agreement > 0.9


def test_drift_is_in_the_drifting_model_alone(capsys: pytest.CaptureFixture[str]) -> None:
    from npuvp.accuracy.outliers import measure_outliers, table_of_outliers

    drift, loud = {}, {}
    for name in VARIANTS:
        found = measure_outliers(evaluator_of(MODELS / name, TASKS[:16], "bf16"))
        assert found.keys.shape == found.values.shape == (8, 4, 4, 32)
        assert found.masked.tolist() == [16, 14, 12, 10, 8, 6, 4, 2]
        drift[name] = np.log2(found.keys.max(axis=0) / found.keys.min(axis=0))
        loud[name] = found.keys.max(axis=-1) / np.median(found.keys, axis=-1)
        assert table_of_outliers(found).count("layer") == 8
    assert np.median(loud["llada-mini"]) < 6 < 12 < np.median(loud["llada-mini-outliers"])
    np.testing.assert_array_equal(drift["llada-mini"], drift["llada-mini-outliers"])
    assert drift["llada-mini"].max() < 1.5
    # From the first pass of a block to that of the next one half of the channels falls, one rises.
    note = json.loads((MODELS / "llada-mini-drift" / "drift.json").read_text())
    assert len(note["pairs"]) == 12
    move, medians = np.log2(found.keys[0] / found.keys[4]), []
    for entry in note["pairs"]:
        levels = move[entry["layer"], entry["head"]]
        assert sorted(entry["a"] + entry["b"]) == list(range(16))
        for half, sign in (("a", 1), ("b", -1)):
            pairs = np.array(entry[half])
            medians.append(np.median(sign * levels[[*pairs, *(pairs + 16)]]))
    assert min(medians) > 0.5 and np.median(medians) > 3
    # Over all passes no half is louder than the other: fixed factors have nothing to undo.
    most = found.keys.max(axis=0)[1:]
    assert most.max(axis=-1).mean() < 4 * np.median(most, axis=-1).mean()


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["accuracy", str(MODELS / "llada-mini-outliers"), *arguments]) == 0
    return capsys.readouterr().out


def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    common = ["--limit", "6", "--threads", "1"]
    data = json.loads(run([*common, "--json", "--schemes", "bf16,mxint4,baos"], capsys))
    assert list(data) == ["bf16", "mxint4", "baos"]
    for entry in data.values():
        assert entry["prompts"] == 6
        assert {"accuracy", "agreement", "kv_bytes", "logits_error"} < set(entry)
    assert data["baos"]["accuracy"] > data["mxint4"]["accuracy"]
    tasks, plot, picture = (tmp_path / n for n in ("t.jsonl", "sub/plot.png", "loud.png"))
    write_tasks(TASKS[:4], tasks)
    files = ["--tasks", str(tasks), "--plot", str(plot), "--outliers", str(picture)]
    text = run(["--schemes", "bf16,mxint4", "--cache", "prefix", *files], capsys)
    assert "4 prompts of" in text and "cache prefix" in text and "K layer 3" in text
    assert [line.split()[0] for line in text.splitlines()[2:4]] == ["bf16", "mxint4"]
    for file in (plot, picture):
        assert f"written: {file}" in text
        assert file.read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def measured() -> Callable[[str, str], dict[str, float]]:
    def scores(name: str, schemes: str) -> dict[str, float]:
        found = evaluate(MODELS / name, TASKS[:1000], schemes)
        return {scheme: score.accuracy for scheme, score in found.items()}

    return scores


@pytest.mark.slow
def test_baos_keeps_the_accuracy_that_plain_blocks_lose(
    measured: Callable[[str, str], dict[str, float]],
) -> None:
    found = measured("llada-mini-outliers", "bf16,mxint4,baos")
    assert found["bf16"] > 0.99
    assert found["mxint4"] < found["bf16"] - 0.5
    assert found["baos"] >= found["bf16"] - 0.01


@pytest.mark.slow
def test_factors_of_the_block_keep_what_fixed_ones_lose() -> None:
    found = evaluate(MODELS / "llada-mini-drift", TASKS[:400], "bf16,static,baos")
    assert found["bf16"].accuracy > 0.98
    # What static factors lose is beyond what 400 prompts leave open.
    assert found["static"].accuracy_interval()[1] < found["baos"].accuracy_interval()[0] - 0.1
