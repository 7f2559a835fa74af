"""Names of schemes, task files and intervals: all that needs no PyTorch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from npuvp.accuracy import DEFAULT_PLAN, evaluate, need_torch
from npuvp.accuracy.schemes import DEFAULT_SCHEMES, Scheme, SchemeError
from npuvp.accuracy.statistics import bootstrap, wilson
from npuvp.accuracy.tasks import Task, TaskError, find_tasks, read_tasks, write_tasks
from npuvp.cli import main
from npuvp.model.addition import held_out
from npuvp.model.checkpoint import load_model
from npuvp.model.spec import ModelError
from npuvp.plan import GenerationPlan

ROOT = Path(__file__).parents[3]
MINI = ROOT / "models" / "llada-mini"
SPEC = load_model(MINI).spec


def test_names() -> None:
    assert Scheme.parse("mxfp4") == Scheme("mxfp4", "mxfp4_e2m1")
    assert Scheme.parse("baos") == Scheme("baos", "mxint4", "baos")
    assert Scheme.parse("baos").cache == Scheme.parse("baos-mxint4").cache
    assert Scheme.parse("static-mxint4-pow2").cache.rounding == "pow2"
    assert Scheme.parse("static").cache.rounding == "bf16"
    assert Scheme.parse("baos-mxfp4-bf16") == Scheme(
        "baos-mxfp4-bf16", "mxfp4_e2m1", "baos", "bf16"
    )
    assert Scheme.parse("rotation-mxfp6").element == "mxfp6_e2m3"
    assert Scheme.parse("sampling-mxfp8").sampling == "mxfp8"
    assert [s.name for s in Scheme.parse_all(" bf16, baos ,")] == ["bf16", "baos"]
    assert len(Scheme.parse_all(DEFAULT_SCHEMES)) == 10


@pytest.mark.parametrize(
    "name",
    ["mxint5", "plena_e4m3", "fp32", "baos-bf16", "baos-mxint4-fp16", "rotation-mxint4-bf16",
     "rotation-mxint4-pow2", "static-mxint4-bf16-bf16", "sampling-fp16", "sampling", "BAOS"],
)  # fmt: skip
def test_formats_that_no_unit_holds(name: str) -> None:
    with pytest.raises(SchemeError, match=f"'{name}': no such scheme, allowed: bf16; a format"):
        Scheme.parse(name)


def test_all_faults_of_a_list_at_once() -> None:
    with pytest.raises(SchemeError) as caught:
        Scheme.parse_all("mxint5,bf16,fp3,bf16")
    assert len(caught.value.faults) == 3
    assert "'bf16': named twice" in caught.value.faults
    with pytest.raises(SchemeError, match="no scheme is named"):
        Scheme.parse_all(" , ")


def test_blocks_divide_a_head() -> None:
    scheme = Scheme.parse("mxint4")
    assert [scheme.block(SPEC, b) for b in (None, 1, 8, 32)] == [32, 1, 8, 32]
    for block in (0, -8, 24, 33, 64):
        with pytest.raises(ValueError, match=f"block of {block} channels.*head_dim = 32"):
            scheme.block(SPEC, block)
    odd = replace(SPEC, head_dim=48, rotary_dim=48)
    assert "head_dim 48: blocks of 32" in scheme.faults(odd, DEFAULT_PLAN)[0]
    assert scheme.faults(odd, DEFAULT_PLAN, 16) == []
    assert "power of two" in Scheme.parse("rotation").faults(odd, DEFAULT_PLAN, 16)[0]


@pytest.mark.parametrize("name", ["mxint8", "static", "rotation", "baos"])
def test_caches_that_a_scheme_cannot_serve(name: str) -> None:
    scheme = Scheme.parse(name)
    none = replace(DEFAULT_PLAN, cache="none")
    assert "cache 'none'" in scheme.faults(SPEC, none)[0]
    assert scheme.faults(SPEC, DEFAULT_PLAN) == []
    assert scheme.faults(SPEC, replace(DEFAULT_PLAN, cache="prefix")) == []
    block = GenerationPlan(cache="block", block_length=32, revision="fast-dllm-v2")
    assert bool(scheme.faults(SPEC, block)) == (name == "baos")
    assert Scheme.parse("bf16").faults(SPEC, none) == []


def test_what_sampling_in_a_precision_needs() -> None:
    scheme = Scheme.parse("sampling-bf16")
    assert "remasking 'random'" in scheme.faults(SPEC, replace(DEFAULT_PLAN, remasking="random"))[0]
    assert "revision 'dream'" in scheme.faults(SPEC, replace(DEFAULT_PLAN, revision="dream"))[0]
    assert scheme.faults(SPEC, replace(DEFAULT_PLAN, cache="none")) == []


def test_bytes_of_the_cache() -> None:
    def count(name: str, plan: GenerationPlan = DEFAULT_PLAN, block: int | None = None) -> int:
        return Scheme.parse(name).kv_bytes(SPEC, plan, 16, block)

    vectors = 4 * 4 * 2  # layers, heads, K and V
    assert count("bf16") == vectors * 32 * 64
    assert count("mxint8") == vectors * 32 * 33
    assert count("mxfp6") == vectors * 32 * 25
    assert count("mxint4") == count("rotation") == count("static") == vectors * 32 * 17
    assert count("mxint4", block=8) == vectors * 32 * 20
    assert count("baos") == vectors * (32 * 17 + 64)
    assert count("bf16", replace(DEFAULT_PLAN, cache="prefix")) == vectors * 24 * 64
    assert count("bf16", replace(DEFAULT_PLAN, cache="none")) == 0


def test_task_files(tmp_path: Path) -> None:
    tasks = [Task("1+1=", "2"), Task((3, 4), (5,))]
    path = tmp_path / "tasks.jsonl"
    write_tasks(tasks, path)
    assert read_tasks(path) == tasks
    path.write_text(path.read_text() + "\n  \n")
    assert read_tasks(path) == tasks
    assert find_tasks(tmp_path) == path
    inner = tmp_path / "model"
    inner.mkdir()
    assert find_tasks(inner) == path
    with pytest.raises(TaskError, match="--tasks"):
        find_tasks(tmp_path / "elsewhere" / "model")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no tasks in it"),
        ("\n \n", "no tasks in it"),
        ('{"prompt": "a", "answer": "b"}\n{"prompt": "a"}\n', ":2: allowed: an object"),
        ("[]\n", ":1: allowed: an object"),
        ("{prompt}\n", ":1: not JSON"),
        ('{"prompt": "", "answer": "b"}\n', ":1: prompt: ''"),
        ('{"prompt": "a", "answer": [1, -1]}\n', ":1: answer: "),
        ('{"prompt": "a", "answer": [true]}\n', ":1: answer: "),
    ],
)
def test_bad_task_files(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(TaskError, match=message):
        read_tasks(path)


def test_missing_task_file(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="not readable"):
        read_tasks(tmp_path / "none.jsonl")


def test_shipped_tasks_are_what_the_script_makes() -> None:
    tasks = read_tasks(ROOT / "models" / "tasks.jsonl")
    assert tasks == [Task(*pair) for pair in held_out(1200, 2026)]
    assert len(tasks) == len({task.prompt for task in tasks}) == 1200


def test_everything_is_checked_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> None:
        raise AssertionError("work started")

    monkeypatch.setattr("npuvp.accuracy.need_torch", never)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(TaskError, match="no tasks in it"):
        evaluate(MINI, empty)
    with pytest.raises(SchemeError, match="cache 'none'"):
        evaluate(MINI, schemes="bf16,mxint4", plan=replace(DEFAULT_PLAN, cache="none"))
    with pytest.raises(SchemeError, match="block of 24 channels"):
        evaluate(MINI, schemes="bf16,mxint4", block=24)
    with pytest.raises(TaskError, match="limit: 0, allowed: 1 or more"):
        evaluate(MINI, limit=0)
    with pytest.raises(ModelError, match="random weights"):
        evaluate("llada-tiny", ROOT / "models" / "tasks.jsonl")
    plot = tmp_path / "plot.png"
    for arguments, message in (
        (["--schemes", "mxint5"], "no such scheme"),
        (["--tasks", str(empty)], "no tasks in it"),
        (["--threads", "0"], "threads: 0, allowed: 1 or more"),
        (["--plot", "scores.txt"], "--plot scores.txt: allowed: a file that ends in .png"),
        (["--outliers", "loud"], "--outliers loud: allowed: a file that ends in .png"),
    ):
        assert main(["accuracy", str(MINI), "--plot", str(plot), *arguments]) == 1
        assert message in capsys.readouterr().err
    assert not plot.exists()
    assert main(["accuracy", str(tmp_path / "none")]) == 1
    assert "none" in (message := capsys.readouterr().err) and "task" not in message


def test_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(
        ModelError, match="PyTorch is not installed; run: NPUVP_EXTRAS=accuracy make"
    ):
        need_torch()


def test_intervals() -> None:
    # None of n: z^2 / (n + z^2); half of n: 0.5 -+ z / 2 / sqrt(n + z^2).
    assert wilson(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.72247, 1.0), abs=1e-4)
    low, high = bootstrap(np.arange(100) % 2)
    assert low == pytest.approx(0.40, abs=0.03) and high == pytest.approx(0.60, abs=0.03)
    assert bootstrap(np.ones(5)) == (1.0, 1.0)
    assert bootstrap([0, 1, 1], seed=3) == bootstrap([0, 1, 1], seed=3)


def test_names_of_formats_are_those_of_the_plan() -> None:
    from npuvp.baos import CacheFormat
    from npuvp.plan import KV_FORMATS

    for name in KV_FORMATS:
        scheme, cache = Scheme.parse(name), CacheFormat.parse(name)
        assert scheme.cache == cache
