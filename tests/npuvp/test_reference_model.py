"""The reference model against plain formulas, against itself with caches, and against PyTorch."""

from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from npuvp.generation import ForwardCall
from npuvp.model.checkpoint import Checkpoint, RandomCheckpoint, load_model
from npuvp.model.spec import ModelSpec, TensorSpec
from npuvp.plan import GenerationPlan
from npuvp.reference_model import ReferenceModel, reference_generate

CASE = Path(__file__).parents[1] / "data" / "dllm" / "fast2_dual_quota_b2"


class Loud(RandomCheckpoint):
    """Random weights large enough that every part shows in the logits."""

    def read(self, tensor: TensorSpec, rows: slice | None = None) -> np.ndarray:
        values = super().read(tensor, rows).astype(np.float32)
        if tensor.role.endswith("norm"):
            ramp = np.linspace(0.5, 1.5, tensor.shape[0], dtype=np.float32)
            return (values * ramp).astype(ml_dtypes.bfloat16)
        return (8 * values).astype(ml_dtypes.bfloat16)


def loud(name: str) -> Checkpoint:
    return Loud(load_model(name).spec, name)


def full(tokens: np.ndarray, **changes: object) -> ForwardCall:
    n = tokens.shape[1]
    call = ForwardCall(
        index=0,
        kind="full",
        block=0,
        step=0,
        start=0,
        tokens=tokens.astype(np.int32),
        positions=np.tile(np.arange(n, dtype=np.int32), (len(tokens), 1)),
        key_mask=None,
        logits=(0, n),
    )
    return replace(call, **changes)


def tokens(spec: ModelSpec, rows: int, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, spec.vocab - 4, (rows, n)).astype(np.int32)


def plain_logits(model: Checkpoint, ids: np.ndarray) -> np.ndarray:
    """One row, token by token and head by head, in float64 straight from the facts."""
    spec = model.spec

    def w(role: str, layer: int | None = None, expert: int | None = None) -> np.ndarray:
        return model.tensor(role, layer, expert).astype(np.float64)

    def rms(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean() + spec.norm_eps) * weight

    def silu(x: np.ndarray) -> np.ndarray:
        return x / (1 + np.exp(-x))

    def rope(x: np.ndarray, position: int) -> np.ndarray:
        half = spec.rotary_dim // 2
        y = x.copy()
        for c in range(half):
            angle = position * spec.rope_theta ** (-2 * c / spec.rotary_dim)
            y[c] = x[c] * np.cos(angle) - x[c + half] * np.sin(angle)
            y[c + half] = x[c + half] * np.cos(angle) + x[c] * np.sin(angle)
        return y

    h = [w("embedding")[t] for t in ids]
    for layer in range(spec.layers):
        n = [rms(x, w("attn_norm", layer)) for x in h]
        heads: dict[str, list[np.ndarray]] = {}
        for role in "qkv":
            rows = [w(role, layer) @ x for x in n]
            if spec.qkv_bias:
                rows = [x + w(f"{role}_bias", layer) for x in rows]
            rows = [x.reshape(-1, spec.head_dim) for x in rows]
            if role != "v":
                if spec.qk_norm:
                    weight = w(f"{role}_norm", layer)
                    rows = [np.array([rms(head, weight) for head in x]) for x in rows]
                rows = [np.array([rope(head, p) for head in x]) for p, x in enumerate(rows)]
            heads[role] = rows
        for p in range(len(ids)):
            out = []
            for head in range(spec.heads):
                kv = head // spec.group
                s = np.array([heads["q"][p][head] @ k[kv] for k in heads["k"]]) / spec.head_dim**0.5
                e = np.exp(s - s.max())
                out.append(sum(a * v[kv] for a, v in zip(e / e.sum(), heads["v"], strict=True)))
            h[p] = h[p] + w("o", layer) @ np.concatenate(out)
        for p, x in enumerate(h):
            m = rms(x, w("mlp_norm", layer))
            if spec.moe is None:
                y = w("down", layer) @ (silu(w("gate", layer) @ m) * (w("up", layer) @ m))
            else:
                r = w("router", layer) @ m
                weight = np.exp(r - r.max()) / np.exp(r - r.max()).sum()
                y = np.zeros_like(m)
                for expert in np.argsort(-weight)[: spec.moe.top_k]:
                    gate = silu(w("expert_gate", layer, expert) @ m)
                    inner = gate * (w("expert_up", layer, expert) @ m)
                    y += weight[expert] * (w("expert_down", layer, expert) @ inner)
            h[p] = x + y
    return np.array([w("head") @ rms(x, w("final_norm")) for x in h])


@pytest.mark.parametrize("name", ["llada-tiny", "llada-moe-tiny", "dream-tiny"])
def test_against_the_formulas(name: str) -> None:
    model = loud(f"{name}:vocab=64,hidden=64")
    ids = tokens(model.spec, 2, 9)
    expected = np.stack([plain_logits(model, row) for row in ids])
    assert expected.std() > 0.5
    # Without rounding the rotary table is float32 only for LLaDA; the difference is rounding.
    exact = ReferenceModel(model, "float32")(full(ids))
    np.testing.assert_allclose(exact, expected, atol=2e-3 * np.abs(expected).max())
    rounded = ReferenceModel(model, "bf16")(full(ids))
    error = np.sqrt(np.mean((rounded - expected) ** 2)) / expected.std()
    assert 1e-4 < error < 0.03
    np.testing.assert_array_equal(rounded, rounded.astype(ml_dtypes.bfloat16).astype(np.float32))


def test_fewer_rows_of_logits_are_the_same_rows() -> None:
    model = loud("llada-tiny")
    ids = tokens(model.spec, 1, 10)
    whole = ReferenceModel(model)(full(ids))
    part = ReferenceModel(model)(full(ids, logits=(3, 7)))
    np.testing.assert_allclose(part, whole[:, 3:7], atol=0.05)


@pytest.mark.parametrize("name", ["llada-tiny", "dream-tiny"])
def test_caches_of_an_unchanged_canvas_change_nothing(name: str) -> None:
    checkpoint = loud(name)
    ids = tokens(checkpoint.spec, 2, 12)
    positions = np.tile(np.arange(12, dtype=np.int32), (2, 1))
    whole = ReferenceModel(checkpoint, "float32")(full(ids))
    refine = full(ids[:, 4:], start=4, positions=positions[:, 4:], logits=(4, 8))
    model = ReferenceModel(checkpoint, "float32")
    model(full(ids, keep=4))
    prefix = model(replace(refine, kind="refine_prefix"))
    np.testing.assert_allclose(prefix, whole[:, 4:8], atol=1e-3)
    model(full(ids, keep=12))
    block = replace(refine, kind="refine_dual", tokens=ids[:, 4:8], positions=positions[:, 4:8])
    np.testing.assert_allclose(model(block), whole[:, 4:8], atol=1e-3)


def test_dual_overwrites_its_rows_and_no_others() -> None:
    checkpoint = loud("llada-tiny")
    ids = tokens(checkpoint.spec, 1, 8)
    model = ReferenceModel(checkpoint, "float32")
    model(full(ids, keep=8))
    before = [k.copy() for k, _ in model.kept]
    changed = ids[:, 2:4] + 1
    positions = np.array([[2, 3]], np.int32)
    call = full(changed, kind="refine_dual", start=2, positions=positions, logits=(2, 4))
    model(call)
    for old, (new, _) in zip(before, model.kept, strict=True):
        same = (old == new).all(axis=(0, 2, 3))
        assert same.tolist() == [True, True, False, False, True, True, True, True]
    model(full(ids))
    assert model.kept == []


def test_block_diffusion_with_and_without_the_cache() -> None:
    checkpoint = loud("fast-dllm-v2-tiny")
    ids = tokens(checkpoint.spec, 1, 12)
    whole = ReferenceModel(checkpoint, "float32")(
        full(ids, kind="prefill", block_length=4, keep=12)
    )
    model = ReferenceModel(checkpoint, "float32")
    parts = []
    for start in (0, 4, 8):
        part = full(
            ids[:, start : start + 4],
            kind="commit",
            start=start,
            positions=np.arange(start, start + 4, dtype=np.int32)[None],
            logits=(start, start + 4),
            keep=4,
        )
        trial = model(replace(part, kind="block", keep=0))
        parts.append(model(part))
        np.testing.assert_array_equal(trial, parts[-1])
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-3)
    # A later block is not seen by an earlier one.
    other = ids.copy()
    other[:, 8:] += 1
    changed = ReferenceModel(checkpoint, "float32")(
        full(other, kind="prefill", block_length=4, keep=12)
    )
    difference = np.abs(changed - whole).max(axis=(0, 2))
    assert (difference[:8] < 1e-4).all() and (difference[8:] > 0.01).all()


def test_a_held_block_is_reused() -> None:
    checkpoint = loud("fast-dllm-v2-tiny")
    ids = tokens(checkpoint.spec, 1, 8)
    model = ReferenceModel(checkpoint, "float32")
    whole = model(full(ids, kind="block", keep=8))
    sub = full(
        ids[:, 4:],
        kind="sub_block",
        start=4,
        offset=4,
        positions=np.arange(4, 8, dtype=np.int32)[None],
        logits=(4, 8),
    )
    np.testing.assert_allclose(model(sub), whole[:, 4:], atol=1e-3)
    assert model.held[0][0].shape[1] == 8


@pytest.mark.parametrize("revision", ["llada", "fast-dllm-2026"])
@pytest.mark.parametrize("cache", ["none", "dual", "prefix"])
def test_left_padding_changes_nothing(revision: str, cache: str) -> None:
    if revision == "llada" and cache != "none":
        return
    model = load_model(CASE)
    prompt = np.array([[248, 472, 352, 420, 363, 390, 6, 283, 53, 226]])
    plan = GenerationPlan(gen_length=16, block_length=8, steps=8, cache=cache, revision=revision)
    alone = reference_generate(model, plan, prompt, precision="float32")
    padded = np.concatenate([np.full((1, 3), 509), prompt], axis=1)
    batch = np.concatenate([padded, np.roll(padded, 4, axis=1)])
    mask = np.ones(batch.shape, int)
    mask[0, :3] = 0
    result = reference_generate(model, plan, batch, mask, precision="float32")
    np.testing.assert_array_equal(result.tokens[0, 3:], alone.tokens[0])
    without = reference_generate(model, plan, batch, precision="float32")
    assert not np.array_equal(without.tokens[0], result.tokens[0])


def test_guidance_pushes_away_from_the_unconditional_prediction() -> None:
    model = load_model(CASE)
    prompt = np.array([[248, 472, 352, 420, 363, 390, 6, 283, 53, 226]])
    options = {"gen_length": 16, "block_length": 8, "steps": 8, "revision": "llada"}
    plain = reference_generate(model, GenerationPlan(**options), prompt)
    tiny = reference_generate(model, GenerationPlan(**options, cfg_scale=1e-6), prompt)
    np.testing.assert_array_equal(plain.tokens, tiny.tokens)
    strong = reference_generate(model, GenerationPlan(**options, cfg_scale=4.0), prompt)
    assert not np.array_equal(plain.tokens, strong.tokens)


def test_what_the_reference_cannot_do() -> None:
    model = load_model("llada-tiny")
    with pytest.raises(ValueError, match="keeps 'bf16' only"):
        reference_generate(model, GenerationPlan(kv_format="mxint4"), [1])
    with pytest.raises(ValueError, match="allowed: bf16, float32"):
        ReferenceModel(model, "fp64")


def test_large_models_keep_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("llada-tiny")
    ids = np.array([[3, 500, 3]])
    kept = ReferenceModel(model)(full(ids))
    monkeypatch.setattr("npuvp.reference_model._CACHED_PARAMETERS", 1000)
    reference = ReferenceModel(model)
    np.testing.assert_array_equal(reference(full(ids)), kept)
    assert reference._weights is None


def test_against_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="extra `accuracy`")
    from npuvp.torch_llada import Llada, Shape

    model = load_model(CASE)
    spec = model.spec
    shape = Shape(
        layers=spec.layers,
        hidden=spec.hidden,
        heads=spec.heads,
        kv_heads=spec.kv_heads,
        mlp=spec.mlp,
        vocab=spec.vocab,
        rope_theta=spec.rope_theta,
        norm_eps=spec.norm_eps,
    )
    twin = Llada(shape)
    weights = {t.name: torch.from_numpy(model.read(t).astype(np.float32)) for t in spec.tensors()}
    twin.load_state_dict(weights)
    ids = tokens(spec, 2, 20)
    with torch.no_grad():
        expected = twin(torch.from_numpy(ids.astype(np.int64))).numpy()
    np.testing.assert_allclose(ReferenceModel(model, "float32")(full(ids)), expected, atol=2e-3)
