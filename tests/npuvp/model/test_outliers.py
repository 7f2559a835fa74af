from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from npuvp.model.addition import held_out
from npuvp.model.checkpoint import RandomCheckpoint, load_model
from npuvp.model.outliers import channel_scales, scaled_tensors, write_outlier_model
from npuvp.model.spec import ModelError
from npuvp.model.tokenizer import Tokenizer
from npuvp.plan import GenerationPlan
from npuvp.reference_model import ReferenceModel, reference_generate

ROOT = Path(__file__).parents[3]
GQA = ROOT / "tests" / "data" / "dllm" / "fast2_dual_quota_b2"


def test_pairs_share_their_factor() -> None:
    model = load_model(GQA)
    scales = channel_scales(model, pairs=3, exponent=5, seed=1)
    assert scales.shape == (3, 2, 32)
    np.testing.assert_array_equal(scales[..., :16], scales[..., 16:])
    assert (scales == 32).sum(axis=2).tolist() == [[6, 6]] * 3
    assert not np.array_equal(scales[0, 0], scales[0, 1])


@pytest.mark.parametrize("source", [GQA, "dream-tiny"])
def test_the_function_is_preserved_bit_for_bit(source: Path | str, tmp_path: Path) -> None:
    model = load_model(source)
    scales = channel_scales(model, pairs=2, exponent=6, seed=0)
    tensors = scaled_tensors(model, scales)

    class Scaled(RandomCheckpoint):
        def read(self, tensor, rows=None):
            return tensors[tensor.name][rows or slice(None)]

    prompt = np.random.default_rng(0).integers(0, 500, (2, 12))
    kwargs = {} if model.spec.architecture == "llada" else {"revision": "dream"}
    plan = GenerationPlan(gen_length=8, block_length=8, steps=4, cache="dual", **kwargs)
    loud, plain = (ReferenceModel(m) for m in (Scaled(model.spec, "scaled"), model))
    from npuvp.generation import begin

    call = begin(model.spec, plan, prompt).next_call()
    assert call is not None
    np.testing.assert_array_equal(loud(call), plain(call))
    for layer in range(model.spec.layers):
        factor = loud.kept[layer][0] / np.where(plain.kept[layer][0] == 0, 1, plain.kept[layer][0])
        moved = plain.kept[layer][0] != 0
        wanted = np.broadcast_to(scales[layer], factor.shape)
        np.testing.assert_array_equal(factor[moved], wanted[moved])
        np.testing.assert_array_equal(loud.kept[layer][1], plain.kept[layer][1])


def test_the_shipped_variant_is_what_the_script_makes(tmp_path: Path) -> None:
    write_outlier_model(ROOT / "models" / "llada-mini", tmp_path)
    shipped = ROOT / "models" / "llada-mini-outliers"
    assert {p.name for p in shipped.iterdir()} == {p.name for p in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (shipped / path.name).read_bytes(), path.name


def test_the_shipped_variant_writes_the_same() -> None:
    tokenizer = Tokenizer.load(ROOT / "models" / "llada-mini")
    prompts = np.array([tokenizer.encode(question) for question, _ in held_out(8, seed=3)])
    plan = GenerationPlan(gen_length=16, block_length=8, steps=8, cache="dual")
    results = [
        reference_generate(load_model(ROOT / "models" / name), plan, prompts)
        for name in ("llada-mini", "llada-mini-outliers")
    ]
    for one, other in zip(results[0].calls, results[1].calls, strict=True):
        np.testing.assert_array_equal(one.canvas_after, other.canvas_after)


def test_what_cannot_be_scaled() -> None:
    model = load_model("llada-tiny")
    with pytest.raises(ValueError, match=r"pairs: 17, allowed: 0\.\.16"):
        channel_scales(model, pairs=17, exponent=1, seed=0)
    with pytest.raises(ValueError, match=r"exponent: 21"):
        channel_scales(model, pairs=1, exponent=21, seed=0)
    with pytest.raises(ValueError, match="norm on Q and K"):
        channel_scales(load_model("llada-moe-tiny"), pairs=1, exponent=1, seed=0)
    odd = np.full((2, 4, 32), 3.0, np.float32)
    with pytest.raises(ModelError, match="does not fit bfloat16"):
        scaled_tensors(RandomCheckpoint(replace(model.spec), "tiny"), odd)
