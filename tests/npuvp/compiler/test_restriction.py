"""top_p and top_k in firmware, held to the sort of the published code on the machine's own logits."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compiler_cases import platform, same_results

import npuvp as vp
from npuvp.compiler import compile_generation
from npuvp.generation.candidates import Place, dream_candidates
from npuvp.model.checkpoint import Checkpoint, load_model
from npuvp.model.spec import TensorSpec
from npuvp.plan import GenerationPlan

PROMPT = np.array([[5, 6, 7], [8, 9, 10]])
TOKENS = 6


class Sharper(Checkpoint):
    """A small random Dream whose logits are a `factor` larger; `alike` tokens in a row have the
    same ones."""

    def __init__(self, factor: float, alike: int):
        model = load_model("dream-tiny:layers=1,hidden=32,heads=2,kv_heads=1,mlp=48,vocab=150")
        super().__init__(model.spec, f"{model.name}, sharper")
        self._model, self._factor, self._alike = model, factor, alike

    def read(self, tensor: TensorSpec, rows: slice | None = None) -> Any:
        values = self._model.read(tensor)
        if tensor.role == "head":
            values = (values.astype(np.float32) * self._factor).astype(ml_dtypes.bfloat16)
            values = values[np.arange(len(values)) // self._alike * self._alike]
        return values[rows or slice(None)]


def one_step(
    model: Checkpoint, machine: vp.Platform, **changes: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Tokens and scores of the machine after one step, and those of the sort on its logits."""
    plan = GenerationPlan(
        gen_length=TOKENS, block_length=TOKENS, steps=1, revision="dream", **changes
    )
    batch, length = PROMPT.shape
    compilation = compile_generation(
        model, machine.description(), plan, prompt_length=length, batch=batch
    )
    compilation.firmware.segments += compilation.weight_segments()
    masks = np.full((batch, TOKENS), model.spec.mask_id)
    result = machine.run(
        compilation.firmware, inputs={"tokens": np.concatenate([PROMPT, masks], axis=1).T}
    )
    ran, layout = machine.machine, compilation.layout
    assert ran is not None
    stored = layout.stored["logits"]
    raw = ran.read_bytes("hbm", layout.addresses["logits"], TOKENS * batch * stored.pitch)
    logits = np.frombuffer(raw, ml_dtypes.bfloat16).astype(np.float32)
    logits = logits.reshape(TOKENS, batch, -1)[..., : model.spec.vocab].transpose(1, 0, 2)
    score = {"topk_margin": "margin", "entropy": "entropy"}.get(plan.dream_algorithm, "probability")
    wanted = dream_candidates(
        logits,
        Place(np.arange(length, length + TOKENS), np.ones((batch, TOKENS), bool), 0, plan.seed),
        score,
        temperature=plan.temperature,
        top_p=plan.top_p,
        top_k=plan.top_k,
    )
    # The scores have taken the place of the maxima, the first words of FP SRAM.
    scores = np.frombuffer(ran.read_bytes("core0.fp", 0, 4 * batch * TOKENS), np.float32)
    made = result.outputs["tokens"].T[:, length:]
    return made, scores.reshape(batch, TOKENS), wanted[0], wanted[1]


@pytest.mark.parametrize(
    ("factor", "alike", "changes"),
    [
        (40.0, 1, {"algorithm": "maskgit_plus", "top_p": 0.5}),
        (40.0, 1, {"algorithm": "entropy", "top_p": 0.95}),
        (40.0, 1, {"algorithm": "topk_margin", "top_k": 3}),
        (40.0, 1, {"algorithm": "topk_margin", "top_k": 1}),
        (40.0, 1, {"algorithm": "entropy", "top_p": 0.9, "top_k": 4}),
        # Of equal tokens as many remain as top_p has room for, all that are as good as the k-th.
        (40.0, 5, {"algorithm": "maskgit_plus", "top_p": 0.3}),
        (40.0, 5, {"algorithm": "maskgit_plus", "top_k": 3}),
        (40.0, 5, {"algorithm": "entropy", "top_p": 0.6, "top_k": 7}),
        (0.01, 150, {"algorithm": "maskgit_plus", "top_p": 0.505}),
        (0.01, 150, {"algorithm": "maskgit_plus", "top_k": 20}),
        # Which of them, a sample shows.
        (10.0, 1, {"algorithm": "maskgit_plus", "top_p": 0.7, "temperature": 0.5, "seed": 4}),
        (10.0, 5, {"algorithm": "maskgit_plus", "top_p": 0.2, "temperature": 2.0, "seed": 1}),
        (10.0, 5, {"algorithm": "entropy", "top_k": 7, "temperature": 1.0, "seed": 2}),
        (0.01, 150, {"algorithm": "maskgit_plus", "top_p": 0.1, "temperature": 1.0, "seed": 3}),
        (10.0, 1, {"algorithm": "origin", "top_p": 0.4, "temperature": 1.0, "seed": 5}),
    ],
)
@pytest.mark.parametrize(("vlen", "cores"), [(64, 1), (32, 3)])
def test_the_same_tokens_remain_as_in_a_sort(
    vlen: int, cores: int, factor: float, alike: int, changes: dict[str, Any]
) -> None:
    machine = platform(vlen, 16, cores)
    made, scores, tokens, wanted = one_step(Sharper(factor, alike), machine, **changes)
    assert made.tolist() == tokens.tolist()
    if changes["algorithm"] != "origin":
        np.testing.assert_allclose(scores, wanted, rtol=0.01, atol=2e-3)


def test_what_does_not_restrict_costs_nothing() -> None:
    machine = platform(64, 16).description()

    def words(**changes: Any) -> int:
        plan = GenerationPlan(gen_length=8, block_length=8, steps=2, revision="dream", **changes)
        compilation = compile_generation(Sharper(1.0, 1), machine, plan, prompt_length=3)
        text = compilation.firmware.text(0)
        assert text is not None
        return len(text.words)

    plain = words()
    # The default algorithm ranks at random, and the best token always remains: only a sample asks.
    assert words(top_p=0.5, top_k=150) == plain
    assert words(temperature=1.0) < words(temperature=1.0, top_p=0.5)


def test_golden_machine_agrees() -> None:
    plan = GenerationPlan(
        gen_length=2, block_length=2, steps=1, revision="dream", algorithm="entropy",
        temperature=0.8, top_p=0.8, top_k=9, seed=6,
    )  # fmt: skip
    machine = platform(64, 16, 1)
    model = Sharper(10.0, 1)
    result = vp.generate(model, [[5]], plan, machine)
    same_results(result, vp.generate(model, [[5]], plan, machine, golden=True))
