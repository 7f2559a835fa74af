"""Quantised caches and BAOS on the machine: what stands in memory is the algebra of `npuvp.baos`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiler_cases import platform, same_results

import npuvp as vp
from npuvp import baos
from npuvp.compiler import CompileError, compile_generation
from npuvp.generation import generate as generate_by
from npuvp.golden.formats import bf16_to_float
from npuvp.golden.mx import mx_decode_row
from npuvp.model.checkpoint import Checkpoint, load_model
from npuvp.model.tokenizer import Tokenizer
from npuvp.plan import GenerationPlan
from npuvp.reference_model import ReferenceModel

SHIPPED = Path(__file__).parents[3] / "models" / "llada-mini"
MODEL = "llada-tiny:layers=2,hidden=64,heads=4,kv_heads=2,head_dim=16,mlp=96,vocab=200"
PROMPT = np.array([[5, 6, 7, 8, 9], [90, 3, 2, 1, 0]])


def plan(kv_format: str, **changes: Any) -> GenerationPlan:
    fields = {"gen_length": 8, "block_length": 4, "steps": 4, "cache": "dual"}
    return GenerationPlan(**{**fields, "kv_format": kv_format, **changes})


class Memory:
    """HBM of a machine behind a generation, as tables."""

    def __init__(self, machine: vp.Platform, wanted: GenerationPlan, **options: Any):
        assert machine.machine is not None
        self.machine = machine.machine
        self.layout = compile_generation(
            MODEL, machine.description(), wanted, prompt_length=5, batch=2, **options
        ).layout

    def table(self, name: str, rows: int, layer: int | None = None) -> np.ndarray:
        """Float32 values, (rows, columns)."""
        stored = self.layout.stored[name]
        base = self.layout.addresses.get(name, 0)
        if layer is not None:
            base = self.layout.layer_base + layer * self.layout.layer_stride
        elements = self.machine.read_bytes("hbm", base + stored.offset, rows * stored.pitch)
        elements = np.frombuffer(elements.tobytes(), np.uint8).reshape(rows, -1)
        scales = np.zeros((rows, 0), np.uint8)
        if stored.scaled:
            scales = self.machine.read_bytes("hbm", base + stored.scales, stored.scale_bytes(rows))
            scales = np.frombuffer(scales.tobytes(), np.uint8).reshape(rows, -1)
        return bf16_to_float(
            mx_decode_row(stored.element, stored.block, elements, scales, stored.columns, "bf16")
        )


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize(
    "kv_format",
    ["mxint8", "mxfp4", "mxfp6_e2m3", "baos-mxint4", "baos-mxint4-pow2", "baos-mxfp4-bf16"],
)
def test_cache_and_factors(kv_format: str, cores: int) -> None:
    # One step in each of two blocks: the last call is a warm pass, which leaves everything.
    wanted = plan(kv_format, steps=2, revision="fast-dllm-2026")
    machine = platform(64, 16, cores)
    result = vp.generate(MODEL, PROMPT, wanted, machine)
    assert [call.kind for call in result.calls] == ["full", "full"]
    memory = Memory(machine, wanted)
    format = baos.CacheFormat.parse(kv_format)
    for role in ("keys", "values"):
        # Rows are position-major over the batch; 13 positions, 2 rows, 2 heads of 16.
        fresh = memory.table(f"fresh_{role}", 26).reshape(13, 2, 2, 16).transpose(1, 2, 0, 3)
        kept = memory.table(role, 26, layer=1).reshape(13, 2, 2, 16).transpose(1, 2, 0, 3)
        factor = None
        if format.smoothed:
            factor = baos.factors(fresh, format)
            found = memory.table(f"{role}.factors", 2, layer=1).reshape(2, 2, 16)
            assert (found == factor).all()
            assert len(np.unique(found)) > 2
            factor = factor[:, :, None]
        assert (kept == baos.cached(fresh, factor, format)).all()
        assert (kept != fresh).mean() > 0.5


@pytest.mark.parametrize("cache", ["dual", "prefix"])
@pytest.mark.parametrize("kv_format", ["mxint8", "baos-mxint4", "baos-mxfp4-bf16"])
def test_refine_passes_overwrite_only_their_rows(cache: Any, kv_format: str) -> None:
    wanted = plan(kv_format, gen_length=4, steps=4, cache=cache, threshold=None)
    machine = platform(64, 16)
    vp.generate(MODEL, PROMPT, wanted, machine)
    memory = Memory(machine, wanted)
    format = baos.CacheFormat.parse(kv_format)
    fresh = memory.table("fresh_keys", 18).reshape(9, 2, 2, 16).transpose(1, 2, 0, 3)
    kept = memory.table("keys", 18, layer=1).reshape(9, 2, 2, 16).transpose(1, 2, 0, 3)
    factor = baos.factors(fresh, format)[:, :, None] if format.smoothed else None
    warm = baos.cached(fresh, factor, format)
    assert (kept[:, :, :5] == warm[:, :, :5]).all()
    assert (kept[:, :, 5:] != warm[:, :, 5:]).any()


class QuantisingReference(ReferenceModel):
    """The reference model with a cache as `npuvp.baos` describes it."""

    def __init__(self, checkpoint: Checkpoint, kv_format: str):
        super().__init__(checkpoint)
        self.format = baos.CacheFormat.parse(kv_format)
        self.caches: dict[int, list[tuple[np.ndarray, np.ndarray | None]]] = {}
        self.folds: list[np.ndarray | None] = [None, None]

    def _attended(self, call: Any, layer: int, k: Any, v: Any) -> Any:
        if call.kind == "full":
            self.folds = [None, None]
            self.caches[layer] = []
            for x in (k, v):  # (R, positions, heads, head_dim)
                factor = None
                if self.format.smoothed:
                    factor = baos.factors(x.swapaxes(1, 2), self.format)[:, None]
                self.caches[layer].append((baos.cached(x, factor, self.format), factor))
            return k, v
        found = []
        for index, x in enumerate((k, v)):
            cache, factor = self.caches[layer][index]
            cache = cache.copy()
            rows = slice(call.start, call.start + x.shape[1])
            cache[:, rows] = baos.cached(x, factor, self.format)
            self.caches[layer][index] = (cache, factor)
            self.folds[index] = factor
            found.append(cache)
        return found[0], found[1]

    def _attention(self, q: Any, k: Any, v: Any, hidden: Any) -> Any:
        if self.folds[0] is None:
            return super()._attention(q, k, v, hidden)
        o = super()._attention(baos.fold(q, self.folds[0]), k, v, hidden)
        assert self.folds[1] is not None
        return baos.fold(o.reshape(q.shape), self.folds[1]).reshape(o.shape)


@pytest.mark.parametrize("cache", ["dual", "prefix"])
@pytest.mark.parametrize("kv_format", ["mxint4", "baos-mxint4", "baos-mxfp4-bf16"])
def test_tokens_are_those_of_the_algebra(kv_format: str, cache: Any) -> None:
    # Four heads lie together in a row of 128 lanes here.
    model = load_model(SHIPPED)
    prompts = ["1234567+7654321=", "9999999+0000001="]
    prompt = np.array([Tokenizer.load(SHIPPED).encode(text) for text in prompts])
    wanted = plan(kv_format, gen_length=16, block_length=16, steps=8, cache=cache)
    result = vp.generate(model, prompt, wanted, platform())
    reference = QuantisingReference(model, kv_format)
    expected = generate_by(model.spec, wanted, reference, prompt)
    # Sums of another order may change which of two sure positions comes first, not what is written.
    assert [call.kind for call in result.calls] == [call.kind for call in expected.calls]
    assert np.array_equal(result.tokens, expected.tokens)


@pytest.mark.parametrize("kv_format", ["mxfp4", "baos-mxint4"])
def test_golden_machine_agrees(kv_format: str) -> None:
    machine = platform(64, 16)
    result = vp.generate(MODEL, PROMPT, plan(kv_format), machine)
    same_results(result, vp.generate(MODEL, PROMPT, plan(kv_format), machine, golden=True))


def test_formats_of_keys_and_values_can_differ() -> None:
    machine = platform(64, 16)
    formats = {"keys": "mxint8", "values": "mxint4"}
    wanted = plan("baos-mxint8", steps=2)
    vp.generate(MODEL, PROMPT, wanted, machine, formats=formats)
    stored = Memory(machine, wanted, formats=formats).layout.stored
    assert (stored["keys"].element, stored["values"].element) == ("mxint8", "mxint4")
    assert stored["keys"].pitch == 2 * stored["values"].pitch == 32


def test_smaller_vector_sram_calibrates_in_tiles() -> None:
    wanted = plan("baos-mxint4", gen_length=32, block_length=32, steps=2)
    large, small = platform(64, 16), platform(64, 16, vector_sram_bytes=128 * 32 * 4)
    found = []
    for machine in (large, small):
        vp.generate(MODEL, PROMPT, wanted, machine)
        memory = Memory(machine, wanted)
        found.append(memory.table("keys.factors", 2, layer=1))
    assert (found[0] == found[1]).all()


@pytest.mark.parametrize(
    ("model", "changes", "formats", "message"),
    [
        (MODEL, {"cache": "none"}, None, "keys in mxint4 with cache 'none', allowed: a cache"),
        (
            "llada-tiny:layers=1,hidden=64,heads=16,mlp=96,vocab=200",
            {},
            None,
            "head_dim 4: blocks of 4 channels",
        ),
        (MODEL, {}, {"values": "bf16"}, "formats.values: 'bf16' with kv_format 'baos-mxint4'"),
    ],
)
def test_what_cannot_be_kept_is_named(
    model: str, changes: dict[str, Any], formats: dict[str, str] | None, message: str
) -> None:
    with pytest.raises(CompileError, match=message):
        vp.generate(
            model, PROMPT, plan("baos-mxint4", **changes), platform(64, 16), formats=formats
        )
