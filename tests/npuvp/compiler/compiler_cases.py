"""Recorded cases and the machines that they run on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from npuvp import Platform
from npuvp.generation.calls import CallRecord, GenerationResult
from npuvp.plan import GenerationPlan

DATA = Path(__file__).parents[2] / "data" / "dllm"
NAMES = (
    "fast0_dual_small",
    "fast0_full_thr",
    "fast0_prefix_quota",
    "fast2_dual_quota_b2",
    "fast2_dual_thr_b2",
    "llada_b1_blocks",
    "llada_b1_maskargmax",
    "llada_b2_uneven",
)
_REVISIONS = {"llada": "llada", "fast0": "fast-dllm-2025", "fast2": "fast-dllm-2026"}
_CACHES = {
    "generate": "none",
    "generate_with_prefix_cache": "prefix",
    "generate_with_dual_cache": "dual",
}


@dataclass(frozen=True)
class Case:
    """A recorded generation.

    Attributes:
        directory: Of the model.
        plan: What was generated.
        prompt: Tokens (B, P).
        mask: Attention mask, or None.
        transfer, after: Per call, (calls, B, L).
        final: Canvas at the end.
    """

    directory: Path
    plan: GenerationPlan
    prompt: np.ndarray
    mask: np.ndarray | None
    transfer: np.ndarray
    after: np.ndarray
    final: np.ndarray


def load(name: str) -> Case:
    directory = DATA / name
    case = json.loads((directory / "case.json").read_text())
    arguments = case["args"]
    plan = GenerationPlan(
        gen_length=arguments["gen_length"],
        block_length=arguments["block_length"],
        steps=arguments["steps"],
        threshold=arguments.get("threshold"),
        cache=_CACHES[case["function"]],
        revision=_REVISIONS[name.partition("_")[0]],
    )
    prompt = np.array(case["prompt"])
    masks = np.full((len(prompt), plan.gen_length), case["mask_id"])
    canvas = np.concatenate([prompt, masks], axis=1)
    transfers, canvases = [], []
    for call in case["calls"]:
        transfer = np.zeros(canvas.shape, bool)
        canvas = canvas.copy()
        for row, (where, tokens) in enumerate(zip(call["transfer"], call["tokens"], strict=True)):
            transfer[row, where] = True
            canvas[row, where] = tokens
        transfers.append(transfer)
        canvases.append(canvas)
    mask = case["attention_mask"]
    return Case(
        directory,
        plan,
        prompt,
        None if mask is None else np.array(mask),
        np.array(transfers),
        np.array(canvases),
        np.array(case["final"]),
    )


@cache
def platform(vlen: int = 128, blen: int = 16, cores: int = 1, **core: object) -> Platform:
    """A machine with ideal memory; by default one row holds the hidden size of the cases."""
    made = Platform("compiler_cases")
    made.hbm("hbm", backend="ideal", size="1GiB", latency="100ns", bandwidth="400GB/s")
    core.setdefault("matrix_sram_bytes", 16 * 2 * vlen * vlen)
    core.setdefault("mlen", vlen)
    for index in range(cores):
        made.core(f"core{index}", vlen=vlen, blen=blen, hlen=16, **core)
    return made


def same_calls(calls: list[CallRecord], transfer: np.ndarray, after: np.ndarray) -> list[int]:
    """Calls that differ from the recorded ones."""
    return [
        index
        for index, call in enumerate(calls)
        if not (
            np.array_equal(call.transfer, transfer[index])
            and np.array_equal(call.canvas_after, after[index])
        )
    ]


def same_results(one: GenerationResult, other: GenerationResult) -> None:
    """Asserts that tokens and all calls agree."""
    assert np.array_equal(one.tokens, other.tokens)
    assert len(one.calls) == len(other.calls)
    for a, b in zip(one.calls, other.calls, strict=True):
        assert (a.kind, a.block, a.step, a.start, a.length) == (
            b.kind,
            b.block,
            b.step,
            b.start,
            b.length,
        )
        assert np.array_equal(a.canvas_before, b.canvas_before)
        assert np.array_equal(a.canvas_after, b.canvas_after)
        assert np.array_equal(a.transfer, b.transfer)
