"""The PyTorch model: against the reference model, the recorded traces and a plain cache in NumPy."""

import json
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from npuvp import baos
from npuvp.generation import begin
from npuvp.generation.calls import ForwardCall
from npuvp.generation.candidates import chosen_probability
from npuvp.model.checkpoint import Checkpoint, RandomCheckpoint, load_model
from npuvp.model.spec import TensorSpec
from npuvp.plan import GenerationPlan
from npuvp.reference_model import ReferenceModel

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `accuracy`)")

from npuvp.accuracy.caches import Treatment  # noqa: E402
from npuvp.accuracy.model import TorchModel, Weights  # noqa: E402
from npuvp.accuracy.sampling import confidences, start  # noqa: E402
from npuvp.accuracy.schemes import Scheme  # noqa: E402

DATA = Path(__file__).parents[2] / "data" / "dllm"
CASES = sorted(path.name for path in DATA.iterdir() if (path / "case.json").exists())
CACHES = {
    "generate": "none",
    "generate_with_prefix_cache": "prefix",
    "generate_with_dual_cache": "dual",
}
REVISIONS = {
    "ML-GSAI/LLaDA@b7e6c35": "llada",
    "NVlabs/Fast-dLLM@24cc59e": "fast-dllm-2025",
    "NVlabs/Fast-dLLM@a9b81e4": "fast-dllm-2026",
}


class Loud(RandomCheckpoint):
    """Random weights large enough that every part shows in the logits."""

    def read(self, tensor: TensorSpec, rows: slice | None = None) -> np.ndarray:
        values = super().read(tensor, rows).astype(np.float32)
        scale = 1 if tensor.role.endswith("norm") else 8
        return (scale * values).astype(ml_dtypes.bfloat16)


def loud(name: str) -> Checkpoint:
    return Loud(load_model(name).spec, name)


def treated(checkpoint: Checkpoint, scheme: str = "bf16", **options: object) -> TorchModel:
    parsed = Scheme.parse(scheme)
    treatment = Treatment(parsed, 32, checkpoint.spec.head_dim, **options)
    return TorchModel(Weights(checkpoint), treatment, parsed.sampling)


def plan_of(name: str, cache: str) -> GenerationPlan:
    if name.startswith("fast"):
        return GenerationPlan(
            gen_length=32, block_length=32, cache="block", revision="fast-dllm-v2",
            sub_block_cache=cache == "sub", threshold=0.9,
        )  # fmt: skip
    revision = "dream" if name.startswith("dream") else "fast-dllm-2026"
    return GenerationPlan(
        gen_length=16, block_length=8, steps=8, cache=cache, revision=revision,
        algorithm="entropy" if revision == "dream" else None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "cache"),
    [
        ("llada-tiny:kv_heads=2", "dual"),
        ("llada-tiny", "prefix"),
        ("llada-tiny", "none"),
        ("llada-moe-tiny", "dual"),
        ("dream-tiny", "prefix"),
        ("dream-tiny", "none"),
        ("fast-dllm-v2-tiny", "whole"),
        ("fast-dllm-v2-tiny", "sub"),
    ],
)
def test_against_the_reference_model(name: str, cache: str) -> None:
    checkpoint = loud(name)
    rows = 1 if name.startswith("fast") else 2
    prompt = np.random.default_rng(3).integers(0, 500, (rows, 40))
    mask = np.ones((rows, 40), int)
    if rows == 2:
        mask[0, :5] = 0
    generation = begin(checkpoint.spec, plan_of(name, cache), prompt, mask)
    reference, model = ReferenceModel(checkpoint), treated(checkpoint)
    kinds = set()
    limit = 20 if cache == "sub" else 6
    while (call := generation.next_call()) is not None and call.index < limit:
        wanted, found = reference(call), model(call)
        error = np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std()
        # Both are rounded to BF16, not in the same places.
        assert error < 0.05, (call.kind, error)
        np.testing.assert_array_equal(found, found.astype(ml_dtypes.bfloat16).astype(np.float32))
        kinds.add(call.kind)
        generation.commit(wanted)
    expected = {
        "prefix": "refine_prefix",
        "dual": "refine_dual",
        "none": "full",
        "sub": "sub_block",
    }
    assert expected.get(cache, "block") in kinds


@pytest.mark.parametrize("name", CASES)
def test_recorded_traces(name: str) -> None:
    case = json.loads((DATA / name / "case.json").read_text())
    [revision] = [r for k, r in REVISIONS.items() if case["upstream"]["generate"].startswith(k)]
    plan = GenerationPlan(revision=revision, cache=CACHES[case["function"]], **case["args"])
    if case["attention_mask"] is not None:
        pytest.skip("the accuracy path groups prompts by length and pads none")
    checkpoint = load_model(DATA / name)
    model = treated(checkpoint)
    generation = start(checkpoint.spec, plan, case["prompt"], "machine")
    calls = 0
    while (call := generation.next_call()) is not None:
        record = generation.commit(model(call))
        wanted = case["calls"][calls]
        for row in range(case["batch"]):
            assert np.flatnonzero(record.transfer[row]).tolist() == sorted(wanted["transfer"][row])
        calls += 1
    assert calls == case["nfe"]
    np.testing.assert_array_equal(generation.final(), case["final"])


class QuantisedReference(ReferenceModel):
    """The reference model with a cache that follows `npuvp.baos` in NumPy."""

    def __init__(self, checkpoint: Checkpoint, kv_format: str):
        super().__init__(checkpoint)
        self.format = baos.CacheFormat.parse(kv_format)
        self.factors: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, call: ForwardCall) -> np.ndarray:
        self.call, self.layer = call, -1
        return super().__call__(call)

    def _qkv(self, n, layer, rotation):
        q, k, v = super()._qkv(n, layer, rotation)
        self.layer = layer
        if self.call.kind == "full":
            if self.format.smoothed:
                self.factors[layer] = tuple(
                    baos.factors(x.swapaxes(1, 2), self.format)[:, None] for x in (k, v)
                )
            return q, k, v
        fk, fv = self.factors.get(layer, (None, None))
        k, v = baos.cached(k, fk, self.format), baos.cached(v, fv, self.format)
        if fk is not None:
            q = baos.fold(q, np.repeat(fk, self.spec.group, axis=2))
        return q, k, v

    def _attention(self, q, k, v, hidden):
        o = super()._attention(q, k, v, hidden)
        factor = self.factors.get(self.layer)
        if self.call.kind == "full" or factor is None:
            return o
        heads = o.reshape(*o.shape[:2], self.spec.heads, self.spec.head_dim)
        return baos.fold(heads, np.repeat(factor[1], self.spec.group, axis=2)).reshape(o.shape)

    def store(self) -> None:
        """What a warm pass kept goes through the format."""
        for layer, (k, v) in enumerate(self.kept):
            fk, fv = self.factors.get(layer, (None, None))
            self.kept[layer] = baos.cached(k, fk, self.format), baos.cached(v, fv, self.format)


@pytest.mark.parametrize("cache", ["dual", "prefix"])
@pytest.mark.parametrize("kv_format", ["mxint4", "mxfp8_e4m3", "baos-mxint4", "baos-mxfp4-bf16"])
def test_quantised_caches(kv_format: str, cache: str) -> None:
    checkpoint = loud("llada-tiny:kv_heads=2")
    prompt = np.random.default_rng(4).integers(0, 500, (3, 12))
    plan = GenerationPlan(gen_length=16, block_length=8, steps=8, cache=cache)
    generation = begin(checkpoint.spec, plan, prompt)
    plain, reference = ReferenceModel(checkpoint), QuantisedReference(checkpoint, kv_format)
    model = treated(checkpoint, kv_format)
    refined = 0
    while (call := generation.next_call()) is not None:
        exact, wanted, found = plain(call), reference(call), model(call)
        if call.kind == "full":
            reference.store()
            np.testing.assert_array_equal(found, treated(checkpoint)(call))
        else:
            refined += 1
            spread = wanted.std()
            error = np.sqrt(np.mean((found - wanted) ** 2)) / spread
            quantisation = np.sqrt(np.mean((exact - wanted) ** 2)) / spread
            # The same quantisation: what is left is small beside what it does.
            assert error < 0.5 * quantisation, (error, quantisation)
        generation.commit(exact)
    assert refined == 6


def test_factors_come_from_the_whole_canvas_and_last_for_the_block() -> None:
    checkpoint = loud("llada-tiny")
    prompt = np.random.default_rng(5).integers(0, 500, (2, 8))
    plan = GenerationPlan(gen_length=16, block_length=8, steps=4, cache="prefix")
    generation = begin(checkpoint.spec, plan, prompt)
    seen: list[tuple[str, torch.Tensor]] = []
    parsed = Scheme.parse("baos")
    model = TorchModel(
        Weights(checkpoint),
        Treatment(parsed, 32, 32),
        observer=lambda call, layer, k, v: seen.append((call.kind, k)) if layer == 1 else None,
    )
    taken = []
    while (call := generation.next_call()) is not None:
        generation.commit(model(call))
        taken.append(model.treatment.taken[1][0])
    kinds = [kind for kind, _ in seen]
    assert kinds == ["full", "refine_prefix"] * 2
    for index in (0, 2):
        # All 24 rows, though the prefix cache keeps 8 and 16 of them.
        assert seen[index][1].shape[1] == 24
        largest = seen[index][1].abs().amax(dim=1, keepdim=True)
        # The largest key of a channel becomes 7/8 of its factor: what MXINT4 holds at most. 1.140625
        # is 8/7 in BF16.
        assert torch.equal(taken[index], (largest * 1.140625).to(torch.bfloat16).float())
        assert torch.equal(taken[index + 1], taken[index])
    assert not torch.equal(taken[0], taken[2])


def test_precisions_of_sampling() -> None:
    rng = np.random.default_rng(6)
    logits = (rng.standard_normal((2, 5, 100)) * 4).astype(np.float32)
    tokens = logits.argmax(axis=-1).astype(np.int32)
    wanted = np.ones((2, 5), bool)
    wanted[1, 3] = False
    exact = chosen_probability(logits, tokens, wanted)
    assert (confidences(logits, tokens, wanted, "fp64") == exact).all()
    for precision, bound in (("fp32", 1e-6), ("bf16", 2**-8), ("machine", 0.02), ("mxfp8", 0.02)):
        found = confidences(logits, tokens, wanted, precision)
        error = np.abs(found / np.where(wanted, exact, 1) - wanted)
        assert 0 < error.max() < bound
        assert found[1, 3] == 0
    rounded = confidences(logits, tokens, wanted, "bf16").astype(np.float32)
    assert (rounded == rounded.astype(ml_dtypes.bfloat16)).all()
    # A token that is not the largest, as under a temperature.
    other = confidences(logits, np.zeros_like(tokens), wanted, "machine")
    np.testing.assert_allclose(
        other, chosen_probability(logits, np.zeros_like(tokens), wanted), rtol=0.05
    )


@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16", "mxfp8"])
def test_precisions_of_logits(precision: str) -> None:
    checkpoint = loud("llada-tiny:vocab=500")
    prompt = np.random.default_rng(7).integers(0, 400, (2, 8))
    plan = GenerationPlan(gen_length=8, block_length=8, steps=4)
    call = begin(checkpoint.spec, plan, prompt).next_call()
    assert call is not None
    wide = treated(checkpoint, "sampling-fp64")(call)
    found = treated(checkpoint, f"sampling-{precision}")(call)
    half = wide.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert (wide != half).any()
    if precision in ("fp64", "fp32"):
        np.testing.assert_array_equal(found, wide)
    elif precision == "bf16":
        np.testing.assert_array_equal(found, half)
    else:
        padded = np.pad(half, ((0, 0), (0, 0), (0, 12)))
        expected = baos.round_trip(padded, "mxfp8_e4m3", 32)[..., :500]
        np.testing.assert_array_equal(found, expected)
        assert (found != half).any()


def test_activations_are_quantised_where_products_begin() -> None:
    checkpoint = loud("llada-tiny")
    prompt = np.random.default_rng(8).integers(0, 500, (1, 8))
    call = begin(checkpoint.spec, GenerationPlan(8, 8, 4), prompt).next_call()
    assert call is not None
    plain = treated(checkpoint)(call)
    weights = Weights(checkpoint, "mxint8", 32)
    eight = TorchModel(weights, Treatment(Scheme("bf16"), 32, 32))(call)
    error = np.sqrt(np.mean((eight - plain) ** 2)) / plain.std()
    assert 0.002 < error < 0.05


def test_a_block_s_scheme_is_refused_nowhere_it_can_serve() -> None:
    plan = GenerationPlan(gen_length=32, block_length=32, cache="block", revision="fast-dllm-v2")
    checkpoint = loud("fast-dllm-v2-tiny")
    prompt = np.random.default_rng(9).integers(0, 500, (1, 40))
    tokens = []
    for scheme in ("bf16", "mxint8", "rotation-mxint8"):
        model = treated(checkpoint, scheme)
        generation = start(checkpoint.spec, replace(plan, threshold=0.0), prompt, "machine")
        count = 0
        while (call := generation.next_call()) is not None and count < 4:
            logits = model(call)
            generation.commit(logits)
            count += 1
        tokens.append(logits)
    for other in tokens[1:]:
        error = np.sqrt(np.mean((other - tokens[0]) ** 2)) / tokens[0].std()
        assert 0 < error < 0.2
