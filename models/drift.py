"""Makes models/llada-mini-drift: llada-mini fine-tuned until its loud key channels drift.

    nice -n 19 python models/drift.py --out models/llada-mini-drift

Two disjoint sets of rotary pairs are drawn in every KV head of all layers but the first (whose keys
depend on one token only). While much of the canvas is masked the keys of set A are loud and those of
set B are not; once little is masked it is the other way round, and the queries do the opposite, so
that no fixed factor per channel fits both. That is asked of the model by a loss on the logarithm of
each channel pair's spread over the canvas, beside the usual loss on the hidden tokens.

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
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from train import MASK, SHAPE, exact_match, examples, masked, rounded, save

from npuvp.model.checkpoint import load_model
from npuvp.torch_llada import Llada

FIRST_LAYER = 1
HALF = SHAPE.head_dim // 2
GROUP = SHAPE.heads // SHAPE.kv_heads
TURNING = 9.0
"""Masked positions of the answer at which the sets change over: a block of eight is done."""


class Spread:
    """Log2 of the spread over the canvas of every rotary pair of K or Q, layer by layer.

    Taken before the rotation, which keeps it, and about the mean: an offset that all tokens share
    would be loud and would not reach the attention weights.
    """

    def __init__(self, model: Llada):
        self.keys: list[Tensor] = []
        self.queries: list[Tensor] = []
        for block in model.model.transformer.blocks:
            block.k_proj.register_forward_hook(self._hook(self.keys, 1))
            block.q_proj.register_forward_hook(self._hook(self.queries, GROUP))

    @staticmethod
    def _hook(found: list[Tensor], group: int):  # type: ignore[no-untyped-def]
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            rows, length, _ = output.shape
            x = output.view(rows, length, -1, group, SHAPE.head_dim)
            power = (x - x.mean(dim=1, keepdim=True)).square().mean(dim=(1, 3))
            found.append(0.5 * torch.log2(power[..., :HALF] + power[..., HALF:] + 1e-12))

        return hook

    def take(self) -> tuple[Tensor, Tensor]:
        """Of the last forward pass: keys and queries, shape (layers, B, kv_heads, HALF)."""
        result = torch.stack(self.keys), torch.stack(self.queries)
        self.keys.clear()
        self.queries.clear()
        return result


def choose_pairs(seed: int, pairs: int) -> NDArray[np.int64]:
    """Shape (layers, kv_heads, HALF): 1 for set A, -1 for set B, 0 elsewhere."""
    rng = np.random.default_rng(seed)
    side = np.zeros((SHAPE.layers, SHAPE.kv_heads, HALF), np.int64)
    for layer in range(FIRST_LAYER, SHAPE.layers):
        for head in range(SHAPE.kv_heads):
            drawn = rng.choice(HALF, 2 * pairs, replace=False)
            side[layer, head, drawn[:pairs]] = 1
            side[layer, head, drawn[pairs:]] = -1
    return side


@torch.no_grad()
def rescale(model: Llada, side: NDArray[np.int64], exponent: float) -> None:
    """Multiplies the keys of both sets by 2^exponent and divides the queries: the same function."""
    factor = np.where(side != 0, 2.0**exponent, 1.0)
    channels = np.concatenate([factor, factor], axis=-1)
    for layer, block in enumerate(model.model.transformer.blocks):
        keys = torch.from_numpy(channels[layer].reshape(-1, 1).astype(np.float32))
        block.k_proj.weight.mul_(keys)
        queries = np.repeat(channels[layer], GROUP, axis=0).reshape(-1, 1).astype(np.float32)
        block.q_proj.weight.div_(torch.from_numpy(queries))


def phase(hidden: Tensor) -> Tensor:
    """1 while much is masked, 0 once little is, steep in between; shape (B,)."""
    return torch.sigmoid(2 * (hidden.sum(dim=1) - TURNING))


def drift_loss(
    spread: tuple[Tensor, Tensor],
    base: tuple[Tensor, Tensor],
    side: Tensor,
    early: Tensor,
    exponent: float,
) -> Tensor:
    """Mean squared distance (in powers of two) from the wanted spread of chosen pairs."""
    # Set A wants exponent * early, set B exponent * (1 - early).
    wanted = exponent * (0.5 + side[:, None] * (early[None, :, None, None] - 0.5))
    chosen = (side != 0)[:, None].expand_as(spread[0])
    keys = (spread[0] - base[0][:, None] - wanted)[chosen]
    queries = (spread[1] - base[1][:, None] + wanted)[chosen]
    return keys.square().mean() + queries.square().mean()


@torch.no_grad()
def measured(model: Llada, spread: Spread, side: NDArray[np.int64], rows: NDArray[np.int64]) -> str:
    """How much the two sets move between the first passes of two blocks of eight."""
    levels = []
    for shown in (0, 8):
        canvas = torch.from_numpy(rows.copy())
        canvas[:, 16 + shown :] = MASK
        model(canvas)
        levels.append(spread.take())
    parts = []
    for name, index in (("K", 0), ("Q", 1)):
        move = (levels[0][index] - levels[1][index]).mean(dim=1).numpy()
        parts += [
            f"{name} of {which} {move[side == s].mean():+.2f}" for which, s in (("A", 1), ("B", -1))
        ]
    return "drift in powers of two: " + ", ".join(parts)


def fine_tune(options: argparse.Namespace, log: TextIO) -> None:
    """Fine-tunes and saves a model; `log` gets one line now and then."""

    def say(text: str) -> None:
        print(text, flush=True)
        print(text, file=log, flush=True)

    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    checkpoint = load_model(options.source)
    model = Llada(SHAPE)
    model.load_state_dict(
        {
            tensor.name: torch.from_numpy(checkpoint.read(tensor).astype(np.float32))
            for tensor in checkpoint.spec.tensors()
        }
    )
    spread = Spread(model)
    pairs = choose_pairs(options.seed, options.pairs)
    side = torch.from_numpy(pairs)
    with torch.no_grad():
        rows = examples(rng, 64, held_out=False)
        model(torch.from_numpy(np.where(masked(rng, rows), MASK, rows)))
        base = tuple(level.mean(dim=1) for level in spread.take())
    rescale(model, pairs, options.exponent / 2)
    average = copy.deepcopy(model)
    for block in average.model.transformer.blocks:
        block.k_proj._forward_hooks.clear()
        block.q_proj._forward_hooks.clear()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.0
    )
    test = examples(np.random.default_rng(options.seed + 1), 128, held_out=True)
    say(
        f"torch {torch.__version__}, {platform.machine()}, seed {options.seed}, from {Path(options.source).name}"
    )
    say(
        f"{options.steps} steps of {options.batch} rows, peak rate {options.rate}, sets of "
        f"{options.pairs} pairs, 2^{options.exponent:g}, weight {options.weight}"
    )
    start = time.process_time()
    for step in range(options.steps):
        scale = min(1.0, (step + 1) / 50)
        scale *= 0.51 + 0.49 * math.cos(math.pi * step / options.steps)
        for group in optimiser.param_groups:
            group["lr"] = options.rate * scale
        tokens = examples(rng, options.batch, held_out=False)
        hidden = torch.from_numpy(masked(rng, tokens))
        truth = torch.from_numpy(tokens)
        logits = model(torch.where(hidden, MASK, truth))
        answer = functional.cross_entropy(logits[hidden], truth[hidden])
        drift = drift_loss(spread.take(), base, side, phase(hidden), options.exponent)
        loss = answer + options.weight * drift
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        decay = min(0.98, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(parameter, 1 - decay)
        if (step + 1) % 50 == 0 or step + 1 == options.steps:
            line = f"step {step + 1:4d}  loss {answer.item():.4f}  distance {drift.item():.3f}"
            if (step + 1) % 100 == 0 or step + 1 == options.steps:
                line += f"  exact match {exact_match(rounded(average), test, 8, 8):.3f}"
                save(average, options.out)
            say(
                f"{line}  {measured(model, spread, pairs, test)}  ({time.process_time() - start:.0f} s of CPU)"
            )
    final = rounded(average)
    test = examples(np.random.default_rng(options.seed + 2), 1000, held_out=True)
    for block, count in ((8, 16), (8, 8), (16, 8)):
        share = exact_match(final, test, block, count)
        say(f"final, BF16 weights, float32: blocks of {block}, {count} steps: {share:.4f} of 1000")
    say(f"final, {measured(final, Spread(final), pairs, test)}")
    note = {"source": Path(options.source).name, "seed": options.seed, "exponent": options.exponent}
    sets = [
        {
            "layer": layer,
            "head": head,
            "a": np.flatnonzero(row == 1).tolist(),
            "b": np.flatnonzero(row == -1).tolist(),
        }
        for layer in range(FIRST_LAYER, SHAPE.layers)
        for head, row in enumerate(pairs[layer])
    ]
    text = json.dumps(note | {"pairs": sets}, indent=1) + "\n"
    (options.out / "drift.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    source = Path(__file__).parent / "llada-mini"
    parser.add_argument("--source", type=Path, default=source, help="model directory")
    parser.add_argument("--out", type=Path, required=True, help="model directory to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--pairs", type=int, default=2, help="rotary pairs of a set, per KV head")
    parser.add_argument("--exponent", type=float, default=4.0, help="loud: 2 to this power")
    parser.add_argument("--weight", type=float, default=0.3, help="of the loss on the spread")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "training.log").open("w", encoding="utf-8") as log:
        fine_tune(options, log)


if __name__ == "__main__":
    main()
