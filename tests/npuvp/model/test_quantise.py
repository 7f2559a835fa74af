"""Weights in microscaling formats: the search, the files, and that the result is a checkpoint."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

import npuvp as vp
from npuvp.cli import main
from npuvp.compiler import compile_generation
from npuvp.compiler.formats import Formats
from npuvp.golden.mx import mx_decode_row, mx_encode_row
from npuvp.model.checkpoint import load_model
from npuvp.model.config import parse_config
from npuvp.model.quantise import clipped, element_of, faults_of, quantise
from npuvp.model.quantised import read_activations, read_quantisation
from npuvp.model.spec import ModelError
from npuvp.model.tokenizer import Tokenizer
from npuvp.plan import GenerationPlan

ROOT = Path(__file__).parents[3]
MINI = ROOT / "models" / "llada-mini"
ELEMENTS = [
    "mxint4",
    "mxfp4_e2m1",
    "mxfp8_e4m3",
    "mxfp8_e5m2",
    "mxfp6_e2m3",
    "mxfp6_e3m2",
    "mxint8",
]


def through(x: np.ndarray, element: str, block: int = 32) -> np.ndarray:
    codes = mx_encode_row(element, block, x.astype(np.float32))
    return mx_decode_row(element, block, *codes, x.shape[-1], "fp32")


def test_a_block_that_is_better_clipped() -> None:
    # As it comes the step is 0.25 and 31 weights of 0.125 round to 0 (ties, to even). Clipped below
    # 1 the step is half of that: all are exact but the large one.
    x = np.full((1, 32), 0.125, np.float32)
    x[0, 0] = 1.0
    plain, ratio = clipped(x, "mxint4", 32, search=False)
    assert ratio.tolist() == [[1.0]]
    assert plain[0, :2].tolist() == [1.0, 0.0]
    found, ratio = clipped(x, "mxint4", 32)
    assert 0.5 <= ratio[0, 0] < 1
    assert found[0, :2].tolist() == [0.875, 0.125]
    assert np.square(found - x).sum() == 0.125**2


def test_a_block_that_is_better_stretched() -> None:
    x = np.zeros((1, 32), np.float32)
    x[0, :3] = 7.9, -7.9, 4.0
    plain, _ = clipped(x, "mxfp4_e2m1", 32, search=False)
    assert plain[0, :3].tolist() == [6.0, -6.0, 4.0]
    found, ratio = clipped(x, "mxfp4_e2m1", 32)
    assert found[0, :3].tolist() == [8.0, -8.0, 4.0]
    assert ratio[0, 0] == pytest.approx(8 / 7.9)


@pytest.mark.parametrize("element", ELEMENTS)
def test_what_comes_out_converts_to_itself(element: str) -> None:
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((64, 128)) * 2.0 ** rng.integers(-20, 20, (64, 1))).astype(np.float32)
    x[0] = 0
    x[1, 3] = 2.0**-130
    found, ratio = clipped(x, element, 32)
    np.testing.assert_array_equal(through(found, element), found)
    np.testing.assert_array_equal(found.astype(ml_dtypes.bfloat16).astype(np.float32), found)
    plain = through(x, element)

    def error(y: np.ndarray) -> np.ndarray:
        return np.square(y.astype(float) - x).reshape(64, -1, 32).sum(axis=-1)

    assert (error(found) <= error(plain)).all()
    changed = (error(found) < error(plain)).sum()
    assert changed == (ratio != 1).sum()
    if element in ("mxint4", "mxfp4_e2m1"):
        assert changed > 10


def test_formats_by_role() -> None:
    formats = Formats.of(ROOT / "models" / "formats" / "mxint4.yaml")
    spec = load_model(MINI).spec
    assert element_of(formats, spec, "q") == element_of(formats, spec, "down") == "mxint4"
    assert element_of(formats, spec, "head") == "mxfp8_e4m3"
    assert element_of(formats, spec, "embedding") == element_of(formats, spec, "q_norm") == "bf16"
    assert element_of(Formats(weights="mxfp4"), spec, "head") == "mxfp4_e2m1"
    tied = load_model("fast-dllm-v2-1.5b").spec
    assert element_of(Formats(weights="mxfp4"), tied, "embedding") == "bf16"
    assert element_of(Formats(head="mxint8"), tied, "embedding") == "mxint8"
    both = Formats(head="mxint8", embedding="mxint4")
    assert "one tensor" in faults_of(both, tied)[0]
    assert faults_of(both, spec) == []


def test_what_is_refused_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out"
    int4 = Formats(weights="mxint4")
    with pytest.raises(ModelError, match="nothing to do"):
        quantise(MINI, Formats(), target)
    with pytest.raises(ModelError, match="random weights"):
        quantise("llada-tiny", int4, target)
    odd = load_model("llada-tiny:hidden=48,heads=2,mlp=40").spec
    faults = faults_of(int4, odd)
    assert [f.split("allowed")[1] for f in faults][:1] == [
        ": a divisor of the 48 inputs of model.transformer.ff_out.weight"
    ]
    assert faults_of(Formats(weights="mxint4", block=8), odd) == []
    assert len(faults_of(Formats(activations="mxint8"), odd)) == len(faults) > 1
    target.mkdir()
    (target / "mine").write_text("x")
    with pytest.raises(ModelError, match="it exists, allowed: a new or an empty directory"):
        quantise(MINI, int4, target)
    assert [p.name for p in target.iterdir()] == ["mine"]
    file = tmp_path / "formats.yaml"
    file.write_text("weights: mxint5\n")
    assert main(["quantise", str(MINI), "--formats", str(file), "-o", str(tmp_path / "new")]) == 1
    assert "formats.weights: 'mxint5'" in capsys.readouterr().err
    assert main(["quantise", str(MINI), "--formats", "none.yaml", "-o", str(tmp_path / "new")]) == 1
    assert "none.yaml" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["formats.yaml", "out"]


def test_a_quantised_checkpoint_is_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "deep" / "int4"
    formats = ROOT / "models" / "formats" / "mxint4.yaml"
    command = ["quantise", str(MINI), "--formats", str(formats), "-o", str(target), "--json"]
    assert main(command) == 0
    data = json.loads(capsys.readouterr().out)
    rows = {row["role"]: row for row in data["weights"]}
    assert rows["q"]["tensors"] == 4 and rows["q"]["bytes"] == 4 * 128 * (64 + 4)
    assert rows["head"]["bytes"] == 64 * (128 + 4)
    for row in rows.values():
        assert 0 < row["relative_error"] < row["relative_error_unclipped"]
    assert rows["q"]["clipped_blocks"] > 0.1 and rows["head"]["stretched_blocks"] > 0
    assert sorted(p.name for p in target.iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert load_model(target).spec == load_model(MINI).spec
    assert read_activations(target) == ("mxint8", 32)
    assert read_activations(MINI) == ("bf16", 32)
    old, new = (load_file(d / "model.safetensors") for d in (MINI, target))
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    assert len(changed) == 4 * 7 + 1
    name = "model.transformer.blocks.2.ff_out.weight"
    values = new[name].astype(np.float32)
    np.testing.assert_array_equal(through(values, "mxint4"), values)
    with pytest.raises(ModelError, match="quantised already"):
        quantise(target, Formats.of(formats), tmp_path / "again")
    # It runs on the machine in its formats, unless others are asked for.
    plan = GenerationPlan(gen_length=16, block_length=8, steps=8, cache="dual")
    result = vp.generate(
        target, "1234567+7654321=", plan, vp.Platform.load(ROOT / "platform" / "edge.yaml")
    )
    assert Tokenizer.load(target).decode(result.tokens[0, 16:]) == "0000000;08888888"
    machine = vp.Platform.load(ROOT / "platform" / "edge.yaml").description()
    bits = []
    for given in (None, formats, {}):
        layout = compile_generation(target, machine, plan, prompt_length=16, formats=given).layout
        bits.append((layout.stored["weights.q"].bits, layout.formats.activations))
    assert bits == [(4, "mxint8"), (4, "mxint8"), (16, "bf16")]


def test_others_quantised_checkpoints_are_refused(tmp_path: Path) -> None:
    config = json.loads((MINI / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq"}
    with pytest.raises(ModelError, match=r"quantization_config: .*'gptq'.* is not supported"):
        parse_config(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="quant_method 'npuvp-mx'"):
        read_quantisation(tmp_path)
