"""Number formats per class of tensors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiler_cases import platform, same_results

import npuvp as vp
from npuvp.compiler import CompileError, compile_generation
from npuvp.compiler.formats import ELEMENTS, Formats, Stored
from npuvp.golden.formats import bf16_to_float, float_to_bf16
from npuvp.golden.mx import mx_decode_row, mx_encode_row
from npuvp.model.checkpoint import Checkpoint, load_model
from npuvp.model.spec import TensorSpec
from npuvp.plan import GenerationPlan

MODEL = "llada-tiny:layers=2,hidden=64,heads=4,mlp=96,vocab=200"
PROMPT = np.array([[5, 6, 7], [90, 3, 2]])
PLAN = GenerationPlan(gen_length=8, block_length=4, steps=4, cache="dual")
WEIGHTS = ("q", "k", "v", "o", "gate", "up", "down")


class Rounded(Checkpoint):
    """A checkpoint whose matrices have been through an MX format."""

    def __init__(self, inner: Checkpoint, formats: Formats):
        super().__init__(inner.spec, inner.name)
        self.inner, self.formats = inner, formats

    def read(self, tensor: TensorSpec, rows: slice | None = None) -> np.ndarray:
        values = self.inner.read(tensor, rows)
        element = self.formats.weights if tensor.role in WEIGHTS else "bf16"
        if tensor.role == "head":
            element = self.formats.head or self.formats.weights
        if tensor.role == "embedding":
            element = self.formats.embedding
        if element == "bf16":
            return values
        bits = float_to_bf16(np.asarray(values, np.float32))
        codes, scales = mx_encode_row(ELEMENTS[element], self.formats.block, bits)
        decoded = mx_decode_row(
            ELEMENTS[element], self.formats.block, codes, scales, bits.shape[-1], "bf16"
        )
        return bf16_to_float(decoded)


@pytest.mark.parametrize(
    "formats",
    [
        {"weights": name, "block": block}
        for name, block in (
            ("mxfp8_e4m3", 32),
            ("mxfp8_e5m2", 8),
            ("mxfp6_e3m2", 16),
            ("mxfp6_e2m3", 32),
            ("mxfp4", 32),
            ("mxint8", 16),
            ("mxint4", 32),
        )
    ]
    + [{"embedding": "mxint8", "head": "mxfp4"}],
    ids=str,
)
def test_weights_are_as_if_the_checkpoint_had_been_rounded(formats: dict[str, Any]) -> None:
    model = load_model(MODEL)
    rounded = Rounded(model, Formats.of(formats))
    result = vp.generate(model, PROMPT, PLAN, platform(64, 16), formats=formats)
    same_results(result, vp.generate(rounded, PROMPT, PLAN, platform(64, 16)))
    # Padding behind short rows and several columns of tiles.
    narrow = platform(32, 16, matrix_sram_bytes=64 * 1024)
    same_results(
        vp.generate(model, PROMPT, PLAN, narrow, formats=formats),
        vp.generate(rounded, PROMPT, PLAN, narrow),
    )


@pytest.mark.parametrize(
    "formats",
    [
        {"activations": "mxint8"},
        {"logits": "mxfp8_e4m3"},
        {"weights": "mxint4", "activations": "mxfp8_e4m3", "logits": "mxint8", "block": 16},
    ],
    ids=str,
)
def test_golden_machine_agrees(formats: dict[str, Any]) -> None:
    machine = platform(64, 16)
    wanted = GenerationPlan(gen_length=4, block_length=4, steps=2, cache="dual")
    result = vp.generate(MODEL, PROMPT, wanted, machine, formats=formats)
    golden = vp.generate(MODEL, PROMPT, wanted, machine, formats=formats, golden=True)
    same_results(result, golden)
    # And so do the bits: what every format but BF16 changes, and how many cores there are does not.
    same_results(result, vp.generate(MODEL, PROMPT, wanted, platform(64, 16, 2), formats=formats))


def test_quantised_weights_take_less_memory() -> None:
    description = platform(64, 16).description()
    sizes = {}
    for name in ("bf16", "mxint8", "mxint4"):
        layout = compile_generation(
            MODEL, description, PLAN, prompt_length=3, formats={"weights": name}
        ).layout
        table = layout.stored["weights.gate"]
        sizes[name] = 96 * table.pitch + table.scale_bytes(96)
    assert sizes == {"bf16": 96 * 128, "mxint8": 96 * 66, "mxint4": 96 * 34}


def test_scales_are_found_from_the_offset() -> None:
    table = Stored("w", 192, 64, "mxfp6_e2m3", 32, 4096)
    assert (table.pitch, table.ratio, table.distance, table.scale_bytes(3)) == (48, 24, 4088, 6)


def test_formats_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "formats.yaml"
    path.write_text("weights: mxfp4\nactivations: mxint8\n")
    assert Formats.of(path) == Formats(weights="mxfp4", activations="mxint8")


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        ({"weight": "mxint8"}, "formats.weight: no such class .allowed: weights, head,"),
        ({"weights": "int4", "block": 24}, r"weights: 'int4', allowed: bf16(.|\n)*block: 24"),
        ({"weights": None}, "formats.weights: None"),
        ({"block": True}, "formats.block: True"),
        (["mxint8"], "allowed: a mapping of classes"),
        ("nowhere.yaml", "nowhere.yaml: .*No such file"),
    ],
)
def test_wrong_formats_are_named(formats: Any, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        Formats.of(formats)


def test_blocks_that_do_not_divide_a_row_are_named() -> None:
    model = MODEL.replace("mlp=96", "mlp=100")
    description = platform(64, 16).description()
    with pytest.raises(CompileError, match=r"weights\.down: rows of 100 elements in mxint8"):
        compile_generation(model, description, PLAN, prompt_length=3, formats={"weights": "mxint8"})
    with pytest.raises(CompileError, match="activations: rows of 100 elements in mxint4"):
        compile_generation(
            model, description, PLAN, prompt_length=3, formats={"activations": "mxint4"}
        )
