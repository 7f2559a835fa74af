"""Makes models/llada-mini-drift: llada-mini fine-tuned until its loud key channels drift.

    nice -n 19 python models/drift.py --out models/llada-mini-drift --until 500

The rotary pairs of every KV head are split into two halves at random, in all layers but the first (whose
keys depend on one token only). While the first eight positions of the answer hold a mask the keys of
half A are 2^exponent as large as llada-mini's and those of half B are as they were; once they are all
known it is the other way round; queries do the opposite, so that Q K^T stays what it was. Over all
steps every channel is as loud as every other: the best factor that is fixed per channel is the same
for all, and undoes nothing. That is asked of the model by a loss on the distance of keys and queries
to those of llada-mini times the wanted gain, channel by channel, beside the usual loss on the hidden tokens.

Needs the extra `accuracy` (PyTorch, CPU). One thread; the same seed gives the same weights on the same
PyTorch build and processor. Writes config.json, model.safetensors (BF16), tokenizer.json, drift.json
(which pairs) and training.log.
"""

import argparse
import copy
import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from train import MASK, SHAPE, exact_match, examples, rounded, save

from npuvp.model.addition import ANSWER, PROMPT
from npuvp.model.checkpoint import load_model
from npuvp.torch_llada import Llada

FIRST_LAYER = 1
BLOCK = 8
"""Positions of the answer that decide which half is loud: the first block of the scored plan."""
HALF = SHAPE.head_dim // 2
GROUP = SHAPE.heads // SHAPE.kv_heads


class Projections:
    """Keys and queries of the last forward pass, before the rotation, from layer FIRST_LAYER on."""

    def __init__(self, model: Llada):
        self.found: dict[tuple[str, int], Tensor] = {}
        for index, block in enumerate(model.model.transformer.blocks):
            if index >= FIRST_LAYER:
                block.k_proj.register_forward_hook(self._hook("k", index))
                block.q_proj.register_forward_hook(self._hook("q", index))

    def _hook(self, name: str, layer: int) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            self.found[name, layer] = output

        return hook

    def take(self) -> tuple[Tensor, Tensor]:
        """Keys (layers, B, L, KV channels) and queries (layers, B, L, hidden)."""
        layers = range(FIRST_LAYER, SHAPE.layers)
        keys, queries = (torch.stack([self.found[name, i] for i in layers]) for name in "kq")
        self.found.clear()
        return keys, queries


def choose_halves(seed: int) -> NDArray[np.int64]:
    """Shape (layers, kv_heads, HALF): 1 for pairs of half A, -1 for half B."""
    rng = np.random.default_rng(seed)
    side = -np.ones((SHAPE.layers - FIRST_LAYER, SHAPE.kv_heads, HALF), np.int64)
    for layer in side:
        for head in layer:
            head[rng.choice(HALF, HALF // 2, replace=False)] = 1
    return side


def signs(side: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """`side` per channel of all keys (layers, KV channels) and of all queries (layers, hidden)."""
    keys = np.concatenate([side, side], axis=-1).astype(np.float32)
    queries = np.repeat(keys, GROUP, axis=1)
    return torch.from_numpy(keys.reshape(len(side), -1)), torch.from_numpy(
        queries.reshape(len(side), -1)
    )


@torch.no_grad()
def rescale(model: Llada, exponent: float) -> None:
    """Multiplies the keys by 2^exponent and divides the queries: the same function."""
    for block in list(model.model.transformer.blocks)[FIRST_LAYER:]:
        block.k_proj.weight.mul_(2.0**exponent)
        block.q_proj.weight.div_(2.0**exponent)


def hide(rng: np.random.Generator, count: int) -> NDArray[np.bool_]:
    """What is hidden, shape (count, PROMPT + ANSWER): blocks before one that is chosen are shown,
    those after it hidden, and of its positions a random number, at least one; in a quarter of the
    rows all, which is what a warm pass meets."""
    position = np.arange(ANSWER)
    start = rng.integers(0, ANSWER // BLOCK, (count, 1)) * BLOCK
    number = rng.integers(1, BLOCK + 1, (count, 1))
    number[: count // 4] = BLOCK
    order = rng.random((count, BLOCK)).argsort(axis=1).argsort(axis=1)
    inside = np.tile(order < number, (1, ANSWER // BLOCK))
    hidden = (position >= start + BLOCK) | ((position >= start) & inside)
    return np.concatenate([np.zeros((count, PROMPT), bool), hidden], axis=1)


def distance(found: Tensor, wanted: Tensor, gain: Tensor, early: Tensor) -> tuple[Tensor, Tensor]:
    """How far keys (or queries) are from those wanted, mean over layers, states and channels.

    Args:
        found, wanted: Shape (layers, B, L, channels).
        gain: Log2 of how much larger `found` should be, shape (layers, B, 1, channels).
        early: Which rows are in the early state, shape (B,).

    Returns:
        Squared distance of the amplitude in powers of two, and 1 - cosine similarity.
    """
    amplitude, shape = [], []
    for rows in (early, ~early):
        x, y = found[:, rows], wanted[:, rows]
        xx, yy, xy = (z.mean(dim=(1, 2)) for z in (x * x, y * y, x * y))
        level = 0.5 * torch.log2((xx + 1e-12) / (yy + 1e-12))
        amplitude.append((level - gain[:, rows].mean(dim=(1, 2))).square())
        shape.append(1 - xy / torch.sqrt(xx * yy + 1e-12))
    return torch.stack(amplitude).mean(), torch.stack(shape).mean()


@torch.no_grad()
def measured(model: Llada, hooks: Projections, side: NDArray[np.int64], rows: Tensor) -> str:
    """How much the two halves move between the first passes of two blocks."""
    levels = []
    for shown in (0, BLOCK):
        canvas = rows.clone()
        canvas[:, PROMPT + shown :] = MASK
        model(canvas)
        levels.append([x.square().mean(dim=(1, 2)).log2() / 2 for x in hooks.take()])
    parts = []
    for index, (name, sign) in enumerate(zip("KQ", signs(side), strict=True)):
        move = levels[0][index] - levels[1][index]
        parts += [
            f"{name} of {half} {move[sign == which].mean().item():+.2f}"
            for half, which in (("A", 1), ("B", -1))
        ]
    return "drift in powers of two: " + ", ".join(parts)


def fine_tune(options: argparse.Namespace, log: TextIO) -> None:
    """Fine-tunes and saves a model; `log` gets one line now and then.

    The learning rate is planned for all steps; training ends after `options.until` of them.
    """

    def say(text: str) -> None:
        print(text, flush=True)
        print(text, file=log, flush=True)

    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    checkpoint = load_model(options.source)
    teacher = Llada(SHAPE)
    teacher.load_state_dict(
        {
            tensor.name: torch.from_numpy(checkpoint.read(tensor).astype(np.float32))
            for tensor in checkpoint.spec.tensors()
        }
    )
    model, average = copy.deepcopy(teacher), copy.deepcopy(teacher)
    rescale(model, options.exponent / 2)
    rescale(average, options.exponent / 2)
    hooks, wanted_hooks = Projections(model), Projections(teacher)
    side = choose_halves(options.seed)
    sign_k, sign_q = (x[:, None, None] for x in signs(side))
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.0
    )
    test = examples(np.random.default_rng(options.seed + 1), 128, held_out=True)
    shown = torch.from_numpy(test)
    source = Path(options.source).name
    say(f"torch {torch.__version__}, {platform.machine()}, seed {options.seed}, from {source}")
    say(
        f"{options.steps} steps of {options.batch} rows, peak rate {options.rate}, "
        f"2^{options.exponent:g}, weight {options.weight}"
    )
    start = time.process_time()
    until = options.until or options.steps
    for step in range(until):
        scale = min(1.0, (step + 1) / 50)
        scale *= 0.51 + 0.49 * math.cos(math.pi * step / options.steps)
        for group in optimiser.param_groups:
            group["lr"] = options.rate * scale
        truth = torch.from_numpy(examples(rng, options.batch, held_out=False))
        hidden = torch.from_numpy(hide(rng, options.batch))
        canvas = torch.where(hidden, MASK, truth)
        early = hidden[:, PROMPT : PROMPT + BLOCK].any(dim=1)
        with torch.no_grad():
            teacher(canvas)
        logits = model(canvas)
        answer = functional.cross_entropy(logits[hidden], truth[hidden])
        # The swing grows over the first part; the keys' middle is exponent / 2 from the start.
        swing = options.exponent / 2 * min(1.0, (step + 1) / (options.ramp * options.steps))
        state = (early.float() * 2 - 1)[None, :, None, None]
        (keys, queries), (keys_, queries_) = hooks.take(), wanted_hooks.take()
        middle = options.exponent / 2
        far_k, bent_k = distance(keys, keys_, middle + swing * sign_k * state, early)
        far_q, bent_q = distance(queries, queries_, -middle - swing * sign_q * state, early)
        far, bent = far_k + far_q, bent_k + bent_q
        loss = answer + options.weight * far + options.shape * bent
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        decay = min(0.98, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(parameter, 1 - decay)
        last = step + 1 == until
        if (step + 1) % 100 == 0 or last:
            line = f"step {step + 1:4d}  loss {answer.item():.4f}  distance {far.item():.3f} {bent.item():.3f}"
            if (step + 1) % 500 == 0 or last:
                line += f"  exact match {exact_match(rounded(average), test, BLOCK, 8):.3f}"
                save(average, options.out)
            seconds = time.process_time() - start
            say(f"{line}  {measured(model, hooks, side, shown)}  ({seconds:.0f} s of CPU)")
    final = rounded(average)
    test = examples(np.random.default_rng(options.seed + 2), 1000, held_out=True)
    share = exact_match(final, test, BLOCK, 8)
    say(f"final, BF16 weights, float32: blocks of 8, 8 steps: {share:.4f} of 1000")
    say(f"final, {measured(final, Projections(final), side, torch.from_numpy(test))}")
    note = {"source": source, "seed": options.seed, "exponent": options.exponent}
    halves = [
        {
            "layer": FIRST_LAYER + layer,
            "head": head,
            "a": np.flatnonzero(row == 1).tolist(),
            "b": np.flatnonzero(row == -1).tolist(),
        }
        for layer, heads in enumerate(side)
        for head, row in enumerate(heads)
    ]
    text = json.dumps(note | {"pairs": halves}) + "\n"
    (options.out / "drift.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    source = Path(__file__).parent / "llada-mini"
    parser.add_argument("--source", type=Path, default=source, help="model directory")
    parser.add_argument("--out", type=Path, required=True, help="model directory to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--until", type=int, help="end after this many steps (default: all)")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--exponent", type=float, default=6.0, help="loud: 2 to this power")
    parser.add_argument(
        "--ramp", type=float, default=0.05, help="of the steps, until it is reached"
    )
    parser.add_argument("--weight", type=float, default=0.3, help="of the loss on amplitudes")
    parser.add_argument("--shape", type=float, default=1.0, help="of the loss on directions")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "training.log").open("w", encoding="utf-8") as log:
        fine_tune(options, log)


if __name__ == "__main__":
    main()
