"""Generating with the shipped model on the simulated machine, against PyTorch in float32."""

from typing import Any

import numpy as np

import npuvp as vp
from benchmarks.measurement import Measurement, best_of
from npuvp.compiler import compile_generation
from npuvp.model.checkpoint import Checkpoint, load_model
from npuvp.model.tokenizer import Tokenizer

MODEL = "models/llada-mini"
PROMPTS = ("1234567+7654321=", "9999999+0000001=", "3141592+2718281=", "1000001+2000002=")
PLAN = vp.GenerationPlan(gen_length=16, block_length=16, steps=8, revision="llada")


def _platform() -> vp.Platform:
    """A machine whose row holds the model's hidden size."""
    platform = vp.Platform("generation")
    platform.hbm("hbm", backend="ideal", size="1GiB", latency="100ns", bandwidth="400GB/s")
    platform.core("core0", vlen=128, mlen=128, blen=32, hlen=16, matrix_sram_bytes="1MiB")
    return platform


def _torch_model(model: Checkpoint) -> Any:
    """The model in PyTorch.

    Raises:
        ImportError: PyTorch is not there (extra `accuracy`).
    """
    import torch

    from npuvp.torch_llada import Llada, Shape

    spec = model.spec
    made = Llada(
        Shape(
            spec.layers, spec.hidden, spec.heads, spec.kv_heads, spec.mlp, spec.vocab,
            spec.rope_theta, spec.norm_eps,
        )
    )  # fmt: skip
    made.load_state_dict(
        {t.name: torch.from_numpy(model.read(t).astype(np.float32)) for t in model.spec.tensors()}
    )
    return made.eval()


def _torch_generate(network: Any, canvas: Any, mask: int) -> Any:
    """LLaDA's `generate` of one block: argmax, the surest masked positions of every row."""
    import torch

    steps, count = PLAN.steps, PLAN.gen_length // PLAN.steps
    x = canvas.clone()
    with torch.inference_mode():
        for _ in range(steps):
            logits = network(x)
            tokens = logits.argmax(-1)
            confidence = torch.softmax(logits, -1).gather(-1, tokens[..., None])[..., 0]
            masked = x == mask
            best = torch.where(masked, confidence, -torch.inf).topk(count, dim=-1).indices
            x.scatter_(1, best, tokens.gather(1, best))
    return x


def measure() -> dict[str, Measurement]:
    """Functional simulation / PyTorch with one thread, of the same generation."""
    model = load_model(MODEL)
    prompt = np.array([Tokenizer.load(MODEL).encode(text) for text in PROMPTS])
    masks = np.full((len(prompt), PLAN.gen_length), model.spec.mask_id)
    canvas = np.concatenate([prompt, masks], axis=1)
    platform = _platform()
    compilation = compile_generation(
        model, platform.description(), PLAN, prompt_length=prompt.shape[1], batch=len(prompt)
    )
    compilation.firmware.segments += compilation.weight_segments()
    made = {}

    def simulate() -> float:
        result = platform.run(compilation.firmware, inputs={"tokens": canvas.T}, progress=False)
        made["tokens"] = result.outputs["tokens"].T
        return result.seconds

    what = f"{len(prompt)} x {PLAN.gen_length} tokens in {PLAN.steps} calls, VLEN = MLEN = 128, BLEN = 32"
    try:
        import torch
    except ImportError:
        (seconds,) = best_of(3, simulate)
        note = f"{what}: simulated in {seconds:.3f} s, PyTorch not measured (extra accuracy)"
        return {"generation simulated / PyTorch": Measurement(None, 5.0, "lower", note=note)}
    network = _torch_model(model)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    shown = torch.from_numpy(canvas)

    def compute() -> None:
        made["torch"] = _torch_generate(network, shown, model.spec.mask_id).numpy()

    try:
        seconds, reference = best_of(5, simulate, compute)
    finally:
        torch.set_num_threads(threads)
    agree = float((made["tokens"] == made["torch"]).mean())
    note = (
        f"{what}: {seconds:.3f} s / {reference:.4f} s (float32, one thread), "
        f"{100 * agree:.1f} % of the canvas equal"
    )
    return {
        "generation simulated / PyTorch": Measurement(seconds / reference, 5.0, "lower", note=note)
    }
