"""Trains models/llada-mini: seven-digit addition with carries, by masked diffusion.

    python models/train.py --out models/llada-mini

Needs the extra `accuracy` (PyTorch, CPU). One thread; the same seed gives the same weights on the
same PyTorch build and processor. Writes config.json, model.safetensors (BF16), tokenizer.json and
training.log.
"""

import argparse
import copy
import json
import math
import platform
import time
from pathlib import Path
from typing import TextIO

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn import functional

from npuvp.model.addition import ANSWER, DIGITS, PROMPT, operands
from npuvp.model.tokenizer import Tokenizer
from npuvp.torch_llada import Llada, Shape

CHARACTERS = "0123456789+=;"
END, MASK = 62, 63
SHAPE = Shape(
    layers=4, hidden=128, heads=4, kv_heads=4, mlp=384, vocab=64, rope_theta=10000.0, norm_eps=1e-5
)
LENGTHS, LENGTH_SHARES = (16, 32, 64), (0.85, 0.1, 0.05)
BLOCKS = (8, 16)


def config() -> dict[str, object]:
    """The model's config.json, with the keys of the published LLaDA-8B."""
    return {
        "activation_type": "silu",
        "alibi": False,
        "architectures": ["LLaDAModelLM"],
        "attention_layer_norm": False,
        "bias_for_layer_norm": False,
        "block_type": "llama",
        "d_model": SHAPE.hidden,
        "embedding_size": SHAPE.vocab,
        "eos_token_id": END,
        "include_bias": False,
        "include_qkv_bias": False,
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "mask_token_id": MASK,
        "max_sequence_length": 128,
        "mlp_hidden_size": SHAPE.mlp,
        "model_type": "llada",
        "n_heads": SHAPE.heads,
        "n_kv_heads": SHAPE.kv_heads,
        "n_layers": SHAPE.layers,
        "pad_token_id": END,
        "rms_norm_eps": SHAPE.norm_eps,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": SHAPE.rope_theta,
        "scale_logits": False,
        "torch_dtype": "bfloat16",
        "vocab_size": SHAPE.vocab,
        "weight_tying": False,
    }


def _columns(x: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return x[:, None] // 10 ** np.arange(count - 1, -1, -1, dtype=np.int64) % 10


def examples(rng: np.random.Generator, count: int, *, held_out: bool) -> NDArray[np.int64]:
    """Token ids of prompt and answer, shape (count, 32); what `addition` spells, in bulk."""
    pair = operands(rng, count, held_out=held_out, chains=0.0 if held_out else 0.5)
    powers = 10 ** np.arange(DIGITS, 0, -1, dtype=np.int64)
    carries = (pair.a[:, None] % powers + pair.b[:, None] % powers) // powers
    sign = {c: np.full((count, 1), CHARACTERS.index(c)) for c in "+=;"}
    parts = [_columns(pair.a, DIGITS), sign["+"], _columns(pair.b, DIGITS), sign["="]]
    parts += [carries, sign[";"], _columns(pair.a + pair.b, DIGITS + 1)]
    return np.concatenate(parts, axis=1)


def masked(rng: np.random.Generator, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
    """What is hidden of each row: as in LLaDA a uniform share of the whole answer, in half of the
    rows only inside one block, with the blocks before it shown and those after it hidden, which is
    what block-wise generation meets."""
    count, length = tokens.shape
    position = np.arange(length - PROMPT)
    share = 1 - rng.random((count, 1)) * 0.99
    hidden = rng.random((count, length - PROMPT)) < share
    block = rng.choice(BLOCKS, (count, 1))
    start = np.minimum(
        rng.integers(0, 2, (count, 1)) * block, (length - PROMPT - 1) // block * block
    )
    blockwise = (position >= start + block) | (hidden & (position >= start))
    hidden = np.where(rng.random((count, 1)) < 0.5, blockwise, hidden)
    return np.concatenate([np.zeros((count, PROMPT), bool), hidden], axis=1)


@torch.no_grad()
def exact_match(model: Llada, tokens: NDArray[np.int64], block: int, steps: int) -> float:
    """Share of answers that block-wise generation (low confidence, quota) gets wholly right."""
    truth = torch.from_numpy(tokens)
    canvas = truth.clone()
    canvas[:, PROMPT:] = MASK
    per_block = steps * block // ANSWER
    for end in range(PROMPT + block, PROMPT + ANSWER + 1, block):
        for step in range(per_block):
            logits = model(canvas)
            confidence, candidate = functional.softmax(logits, dim=-1).max(dim=-1)
            open_ = canvas == MASK
            open_[:, end:] = False
            confidence = torch.where(open_, confidence, -1.0)
            quota = block // per_block + (step < block % per_block)
            chosen = confidence.topk(quota, dim=1).indices
            canvas.scatter_(1, chosen, candidate.gather(1, chosen))
    return (canvas == truth).all(dim=1).float().mean().item()


def rounded(model: Llada) -> Llada:
    """A copy with the weights rounded to BF16."""
    result = copy.deepcopy(model)
    for parameter in result.parameters():
        parameter.data = parameter.data.bfloat16().float()
    return result


def save(model: Llada, directory: Path) -> None:
    """Writes the weights in BF16 with their configuration and tokenizer."""
    arrays = {
        name: parameter.detach().numpy().astype(ml_dtypes.bfloat16)
        for name, parameter in model.named_parameters()
    }
    save_file(arrays, directory / "model.safetensors")
    text = json.dumps(config(), indent=1) + "\n"
    (directory / "config.json").write_text(text, encoding="utf-8")
    Tokenizer(CHARACTERS, {END: "end", MASK: "mask"}, frozenset({END})).save(directory)


def train(
    directory: Path, seed: int, steps: int, until: int, batch: int, rate: float, log: TextIO
) -> None:
    """Trains and saves a model; `log` gets one line now and then.

    The learning rate is planned for `steps`; training ends after `until` of them.
    """

    def say(text: str) -> None:
        print(text, flush=True)
        print(text, file=log, flush=True)

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Llada(SHAPE, seed)
    average = copy.deepcopy(model)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.98),
    )
    test = examples(np.random.default_rng(seed + 1), 256, held_out=True)
    parameters = sum(p.numel() for p in model.parameters())
    say(f"torch {torch.__version__}, {platform.machine()}, seed {seed}, {parameters} parameters")
    say(f"{steps} steps of {batch} rows, peak rate {rate}, AdamW, warm-up 100, cosine to 2 %")
    start = time.process_time()
    running: Tensor | None = None
    for step in range(until):
        scale = min(1.0, (step + 1) / 100)
        scale *= 0.51 + 0.49 * math.cos(math.pi * step / steps)
        for group in optimiser.param_groups:
            group["lr"] = rate * scale
        length = int(rng.choice(LENGTHS, p=LENGTH_SHARES))
        rows = batch * (PROMPT + ANSWER) // (PROMPT + length)
        tokens = examples(rng, rows, held_out=False)
        tokens = np.pad(tokens, ((0, 0), (0, length - ANSWER)), constant_values=END)
        hidden = masked(rng, tokens)
        logits = model(torch.from_numpy(np.where(hidden, MASK, tokens)))
        where = torch.from_numpy(hidden)
        loss = functional.cross_entropy(logits[where], torch.from_numpy(tokens)[where])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        decay = min(0.995, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(parameter, 1 - decay)
        if length == LENGTHS[0]:
            running = loss.detach() if running is None else running.lerp(loss.detach(), 0.05)
        if (step + 1) % 100 == 0 and running is not None:
            line = f"step {step + 1:5d}  loss {running.item():.4f}"
            if (step + 1) % 500 == 0 or step + 1 == until:
                line += f"  exact match {exact_match(rounded(average), test, 8, 8):.3f}"
                save(average, directory)
            say(f"{line}  ({time.process_time() - start:.0f} s of CPU)")
    final = rounded(average)
    test = examples(np.random.default_rng(seed + 2), 2000, held_out=True)
    for block, count in ((16, 16), (16, 8), (8, 8), (8, 4), (16, 2), (16, 1)):
        share = exact_match(final, test, block, count)
        say(f"final, BF16 weights, float32: blocks of {block}, {count} steps: {share:.4f} of 2000")
    save(average, directory)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="model directory to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--until", type=int, help="end after this many steps (default: all)")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "training.log").open("w", encoding="utf-8") as log:
        train(
            arguments.out,
            arguments.seed,
            arguments.steps,
            arguments.until or arguments.steps,
            arguments.batch,
            arguments.rate,
            log,
        )


if __name__ == "__main__":
    main()
