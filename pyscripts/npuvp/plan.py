"""What to generate and how: the options of the published generate functions, validated."""

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ALGORITHMS",
    "CACHES",
    "KV_FORMATS",
    "REVISIONS",
    "Cache",
    "GenerationPlan",
    "PlanError",
    "Revision",
    "quotas",
]

Cache = Literal["none", "prefix", "dual", "block"]
Revision = Literal["llada", "fast-dllm-2025", "fast-dllm-2026", "dream", "fast-dllm-v2"]

_CACHES: dict[str, tuple[Cache, ...]] = {
    "llada": ("none",),
    "fast-dllm-2025": ("none", "prefix", "dual"),
    "fast-dllm-2026": ("none", "prefix", "dual"),
    "dream": ("none", "prefix", "dual"),
    "fast-dllm-v2": ("block",),
}
CACHES: tuple[Cache, ...] = ("none", "prefix", "dual", "block")
REVISIONS = tuple(_CACHES)
_PLAIN_KV = ("bf16", "mxint8", "mxfp8_e4m3", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4", "mxint4")
_SMOOTHED_KV = tuple(f"baos-{name}" for name in _PLAIN_KV if name != "bf16")
KV_FORMATS = (
    *_PLAIN_KV,
    *_SMOOTHED_KV,
    *(f"{name}-{rounding}" for name in _SMOOTHED_KV for rounding in ("pow2", "bf16")),
)
ALGORITHMS = ("origin", "maskgit_plus", "topk_margin", "entropy", "confidence_threshold")
_DREAM_BLOCKS = ("entropy", "confidence_threshold")


class PlanError(ValueError):
    """A plan that cannot be carried out; the message lists every fault.

    Attributes:
        faults: One line each.
    """

    def __init__(self, faults: list[str]):
        super().__init__("the generation plan cannot be used:\n  " + "\n  ".join(faults))
        self.faults = faults


def _is_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return False
    return math.isfinite(float(value))


@dataclass(frozen=True)
class GenerationPlan:
    """Options of one generation.

    The revision names the published code whose behaviour holds:

    * ``llada``: ML-GSAI/LLaDA b7e6c35, `generate`;
    * ``fast-dllm-2025``: NVlabs/Fast-dLLM 24cc59e (one row only);
    * ``fast-dllm-2026``: NVlabs/Fast-dLLM a9b81e4, `v1/llada`;
    * ``dream``: DreamLM/Dream fac0a7f without a cache, with one Fast-dLLM's block variants;
    * ``fast-dllm-v2``: Fast-dLLM v2, `generate` of the published model file.

    Attributes:
        gen_length: Positions to generate, G.
        block_length: Length of a block, K; divides G. Not used by Dream without a cache.
        steps: Denoising steps over all blocks; a multiple of the number of blocks G / K. Not used
            by Fast-dLLM v2.
        cache: What is kept of keys and values: ``none``, ``prefix`` (rows before the block),
            ``dual`` (all rows, those of the block overwritten), ``block`` (finished blocks of a
            block-causal model).
        threshold: Commit every position of at least this confidence, and always the best one
            (Fast-dLLM v2: of more than this; None means the published 1.0 there).
        factor: Commit as many of the best as Fast-dLLM's factor rule allows.
        temperature: 0: argmax; above: a sample of softmax(logits / temperature).
        cfg_scale: Weight w of classifier-free guidance: u + (w + 1) (c - u); 0: none.
        remasking: What positions are ranked by: ``low_confidence`` or ``random``.
        seed: Of all random draws, 0..2^64 - 1.
        kv_format: Format of cached keys and values; ``baos-mxint4`` etc. smoothed by factors
            (`npuvp.baos`), which are powers of two with ``-pow2`` behind, BF16 with ``-bf16``.
        revision: See above.
        algorithm: Dream's: ``origin``, ``maskgit_plus``, ``topk_margin``, ``entropy`` or
            ``confidence_threshold``, with a cache one of the last two. None: ``origin``; with a
            cache or a threshold as those need.
        alg_temp: Dream: draw the positions from softmax(score / alg_temp); None or 0: the best.
        top_p, top_k: Dream and Fast-dLLM v2: restrict the sampled tokens.
        eps: Dream: the last time.
        sub_block: Fast-dLLM v2: positions that are denoised together; divides the block.
        sub_block_cache: Fast-dLLM v2: hold a block's keys and values while a sub-block is denoised.
        logits_eos_inf: LLaDA: never choose the end token.
        confidence_eos_eot_inf: LLaDA: give end tokens the confidence 0, so that they come last.
        eot_id: LLaDA: end-of-turn token that `confidence_eos_eot_inf` concerns as well.

    Raises:
        PlanError: Every fault at once.
    """

    gen_length: int = 128
    block_length: int = 128
    steps: int = 128
    cache: Cache = "none"
    threshold: float | None = None
    factor: float | None = None
    temperature: float = 0.0
    cfg_scale: float = 0.0
    remasking: Literal["low_confidence", "random"] = "low_confidence"
    seed: int = 0
    kv_format: str = "bf16"
    revision: Revision = "fast-dllm-2026"
    algorithm: str | None = None
    alg_temp: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    eps: float = 1e-3
    sub_block: int = 8
    sub_block_cache: bool = False
    logits_eos_inf: bool = False
    confidence_eos_eot_inf: bool = False
    eot_id: int = 126348

    def __post_init__(self) -> None:
        faults = self._wrong_values()
        if not faults:
            faults = self._contradictions()
        if faults:
            raise PlanError(faults)

    @classmethod
    def published(cls, revision: Revision, **changes: Any) -> "GenerationPlan":
        """A plan with the defaults of the published code of a revision.

        Args:
            revision: Whose.
            changes: Fields that differ.
        """
        defaults: dict[str, Any] = {"revision": revision}
        if revision == "dream":
            # DreamGenerationConfig: 512 steps, algorithm "origin", eps 1e-3; the README writes 512
            # tokens with them.
            defaults |= {"gen_length": 512, "block_length": 512, "steps": 512}
        elif revision == "fast-dllm-v2":
            defaults |= {"cache": "block", "block_length": 32, "threshold": 1.0, "top_p": 0.95}
        return cls(**(defaults | changes))

    @property
    def blocks(self) -> int:
        """Number of blocks, N."""
        return self.gen_length // self.block_length

    @property
    def steps_per_block(self) -> int:
        """Denoising steps of a block, S."""
        return self.steps // self.blocks

    @property
    def dream_algorithm(self) -> str:
        """Dream's algorithm, with the default resolved."""
        if self.algorithm is not None:
            return self.algorithm
        if self.threshold is not None:
            return "confidence_threshold"
        return "origin" if self.cache == "none" else "entropy"

    def _wrong_values(self) -> list[str]:
        faults = []

        def check(name: str, good: bool, allowed: str) -> None:
            if not good:
                faults.append(f"{name}: {getattr(self, name)!r}, allowed: {allowed}")

        def choice(name: str, allowed: tuple[str, ...]) -> None:
            check(name, getattr(self, name) in allowed, ", ".join(allowed))

        for name in ("gen_length", "block_length", "steps", "sub_block"):
            value = getattr(self, name)
            check(name, _is_int(value) and value >= 1, "an integer of 1 or more")
        choice("cache", CACHES)
        choice("revision", REVISIONS)
        choice("remasking", ("low_confidence", "random"))
        choice("kv_format", KV_FORMATS)
        if self.algorithm is not None:
            choice("algorithm", ALGORITHMS)
        if self.threshold is not None:
            good = _is_number(self.threshold) and 0 <= self.threshold <= 1
            check("threshold", good, "None or 0..1")
        if self.factor is not None:
            check("factor", _is_number(self.factor) and self.factor >= 0, "None or 0 or more")
        check("temperature", _is_number(self.temperature) and self.temperature >= 0, "0 or more")
        check("cfg_scale", _is_number(self.cfg_scale) and self.cfg_scale >= 0, "0 or more")
        check("seed", _is_int(self.seed) and 0 <= self.seed < 2**64, "0..2^64 - 1")
        if self.alg_temp is not None:
            good = _is_number(self.alg_temp) and self.alg_temp >= 0
            check("alg_temp", good, "None or 0 or more")
        if self.top_p is not None:
            check("top_p", _is_number(self.top_p) and 0 < self.top_p <= 1, "None or in (0, 1]")
        if self.top_k is not None:
            check("top_k", _is_int(self.top_k) and self.top_k >= 1, "None or 1 or more")
        check("eps", _is_number(self.eps) and 0 < self.eps < 1, "in (0, 1)")
        for name in ("sub_block_cache", "logits_eos_inf", "confidence_eos_eot_inf"):
            check(name, isinstance(getattr(self, name), bool), "True or False")
        check("eot_id", _is_int(self.eot_id) and self.eot_id >= 0, "a token id")
        return faults

    def _contradictions(self) -> list[str]:
        faults = []
        revision = self.revision
        if self.cache not in _CACHES[revision]:
            allowed = ", ".join(_CACHES[revision])
            faults.append(f"cache: {self.cache!r} with revision {revision!r}, allowed: {allowed}")
        whole = revision == "dream" and self.cache == "none"
        if not whole:
            if self.gen_length % self.block_length:
                faults.append(
                    f"gen_length: {self.gen_length}, allowed: a multiple of block_length = "
                    f"{self.block_length}"
                )
            elif revision != "fast-dllm-v2" and self.steps % self.blocks:
                faults.append(
                    f"steps: {self.steps}, allowed: a multiple of the {self.blocks} blocks"
                )
        if self.threshold is not None and self.factor is not None:
            faults.append("threshold and factor: both given, allowed: one of them")
        if self.threshold is not None and revision == "llada":
            faults.append(f"threshold: {self.threshold}, revision 'llada' has none")
        if self.factor is not None and revision != "fast-dllm-2026":
            faults.append(f"factor: {self.factor}, allowed: only with revision 'fast-dllm-2026'")
        if revision in ("dream", "fast-dllm-v2"):
            if self.cfg_scale:
                faults.append(f"cfg_scale: {self.cfg_scale}, revision {revision!r} has none")
            if self.remasking != "low_confidence":
                faults.append(f"remasking: {self.remasking!r}, revision {revision!r} has none")
        for name, owners in _ONLY.items():
            default = next(f.default for f in fields(self) if f.name == name)
            if getattr(self, name) != default and revision not in owners:
                faults.append(
                    f"{name}: {getattr(self, name)!r}, allowed: only with revision "
                    f"{' or '.join(repr(owner) for owner in owners)}"
                )
        if revision == "dream":
            algorithm = self.dream_algorithm
            if self.cache != "none" and algorithm not in _DREAM_BLOCKS:
                faults.append(
                    f"algorithm: {algorithm!r} with cache {self.cache!r}, allowed: "
                    f"{', '.join(_DREAM_BLOCKS)} (the published code scores all others by entropy)"
                )
            if (algorithm == "confidence_threshold") != (self.threshold is not None):
                faults.append(
                    f"algorithm: {algorithm!r} with threshold {self.threshold}: "
                    "'confidence_threshold' needs a threshold, no other algorithm has one"
                )
        if revision == "fast-dllm-v2" and self.block_length % self.sub_block:
            faults.append(
                f"sub_block: {self.sub_block}, allowed: a divisor of block_length = "
                f"{self.block_length}"
            )
        return faults


_ONLY = {
    "algorithm": ("dream",),
    "alg_temp": ("dream",),
    "top_p": ("dream", "fast-dllm-v2"),
    "top_k": ("dream",),
    "eps": ("dream",),
    "sub_block": ("fast-dllm-v2",),
    "sub_block_cache": ("fast-dllm-v2",),
    "logits_eos_inf": ("llada",),
    "confidence_eos_eot_inf": ("llada",),
    "eot_id": ("llada",),
}


def quotas(masked: ArrayLike, steps: int) -> NDArray[np.int64]:
    """Positions to commit in each step of a block, per row.

    Every step gets floor(masked / steps), the first (masked mod steps) steps one more; fixed for
    the block (LLaDA, `get_num_transfer_tokens`).

    Args:
        masked: Masked positions in the block, shape (B,).
        steps: S, 1 or more.

    Returns:
        Shape (B, S).
    """
    counts = np.asarray(masked, dtype=np.int64)
    base, extra = np.divmod(counts[:, None], steps)
    return base + (np.arange(steps) < extra)
