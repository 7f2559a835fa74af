import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from npuvp.model.checkpoint import (
    NAMES,
    RandomCheckpoint,
    SafetensorsCheckpoint,
    load_model,
)
from npuvp.model.spec import ModelError

CASE = Path(__file__).parents[2] / "data" / "dllm" / "fast0_dual_small"


def sharded(directory: Path, change: dict[str, np.ndarray | None] | None = None) -> Path:
    """The recorded model in two shards, with tensors replaced, added or (None) removed."""
    tensors = load_file(CASE / "model.safetensors")
    for name, value in (change or {}).items():
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, directory / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    (directory / "config.json").write_text((CASE / "config.json").read_text())
    return directory


def test_shards_hold_the_same_as_one_file(tmp_path: Path) -> None:
    one, two = load_model(CASE), load_model(sharded(tmp_path))
    tensors = list(one.spec.tensors())
    assert len(tensors) == 3 + 9 * 2
    for tensor in tensors:
        assert one.read(tensor).dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(one.read(tensor), two.read(tensor))


def test_rows_are_read_alone() -> None:
    model = load_model(CASE)
    rows = model.tensor("head", rows=slice(5, 8))
    assert rows.shape == (3, 64)
    np.testing.assert_array_equal(rows, model.tensor("head")[5:8])


def test_every_fault_is_listed(tmp_path: Path) -> None:
    block = "model.transformer.blocks.1."
    change = {
        "model.transformer.ln_f.weight": None,
        block + "q_proj.weight": np.zeros((64, 63), ml_dtypes.bfloat16),
        block + "ff_norm.weight": np.zeros(64, np.int8),
        "model.transformer.extra": np.zeros(1, np.float32),
    }
    with pytest.raises(ModelError) as error:
        load_model(sharded(tmp_path, change))
    assert sorted(error.value.faults) == [
        block + "ff_norm.weight: type I8, allowed: BF16, F32, F16",
        block + "q_proj.weight: shape [64, 63], allowed: [64, 64]",
        "model.transformer.extra: unknown tensor of llada",
        "model.transformer.ln_f.weight: missing, [64]",
    ]


def test_missing_files(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"12345678901")
    with pytest.raises(ModelError, match="not readable as safetensors") as error:
        load_model(tmp_path)
    assert len(error.value.faults) == 1 + 10
    (tmp_path / "model.safetensors.index.json").unlink()
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor"):
        load_model(tmp_path)


def test_an_index_that_lies(tmp_path: Path) -> None:
    path = sharded(tmp_path) / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    name = "model.transformer.wte.weight"
    files = sorted(set(index["weight_map"].values()))
    files.remove(index["weight_map"][name])
    index["weight_map"][name] = files[0]
    path.write_text(json.dumps(index))
    with pytest.raises(ModelError, match=f"{name}: .* says {files[0]}, and it is not there"):
        load_model(tmp_path)
    path.write_text("[]")
    with pytest.raises(ModelError, match="no weight_map"):
        load_model(tmp_path)
    path.write_text(json.dumps({"weight_map": {name: "../model.safetensors"}}))
    with pytest.raises(ModelError, match="is no file name"):
        load_model(tmp_path)


def test_published_sizes() -> None:
    assert {name: spec.parameters for name, spec in NAMES.items() if "tiny" not in name} == {
        "llada-8b": 8_015_581_184,
        "llada-moe-7b": 7_356_880_896,
        "dream-7b": 7_615_616_512,
        "fast-dllm-v2-7b": 7_615_616_512,
        "fast-dllm-v2-1.5b": 1_543_714_304,
    }
    assert all(not spec.faults() for spec in NAMES.values())


def test_random_weights_are_made_by_part() -> None:
    model = load_model("llada-8b")
    assert isinstance(model, RandomCheckpoint)
    part = model.tensor("head", rows=slice(100_000, 100_002))
    assert part.shape == (2, 4096) and part.dtype == ml_dtypes.bfloat16
    assert abs(part.astype(np.float32).std() - 0.02) < 0.001
    assert abs(part.astype(np.float32).mean()) < 0.001
    tiny = load_model("llada-tiny:vocab=509,mlp=250,hidden=60,heads=5")
    assert (tiny.spec.head_dim, tiny.spec.kv_heads, tiny.spec.mask_id) == (12, 5, 508)
    whole = tiny.tensor("down", 1)
    assert whole.shape == (60, 250)
    for first, last in ((0, 1), (7, 30), (59, 60)):
        np.testing.assert_array_equal(
            tiny.tensor("down", 1, rows=slice(first, last)), whole[first:last]
        )
    assert not np.array_equal(whole, tiny.tensor("down", 0))
    other = load_model("llada-tiny:vocab=509,mlp=250,hidden=60,heads=5", seed=1)
    assert not np.array_equal(whole, other.tensor("down", 1))
    assert (tiny.tensor("final_norm") == 1).all()


def test_a_tied_head_is_the_embedding() -> None:
    model = load_model("fast-dllm-v2-tiny:tied_head=true")
    np.testing.assert_array_equal(model.tensor("head"), model.tensor("embedding"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("llada-9b", "neither a directory with config.json nor one of llada-8b"),
        ("llada-tiny:depth=2", "'depth': no such field, allowed: layers, hidden"),
        ("llada-tiny:layers=two", "layers: 'two', allowed: a number"),
        ("llada-tiny:tied_head=1", "tied_head: '1', allowed: true or false"),
        ("llada-tiny:hidden=130", "hidden: 130, allowed: a multiple of heads = 4"),
        ("llada-tiny:layers=0", "layers: 0, allowed: 1 or more"),
    ],
)
def test_names_that_are_wrong(name: str, words: str) -> None:
    with pytest.raises(ModelError) as error:
        load_model(name)
    assert words in str(error.value)


def test_a_directory_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "llada-tiny"
    directory.mkdir()
    sharded(directory)
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_model("llada-tiny"), SafetensorsCheckpoint)
