"""Masked diffusion in blocks: LLaDA's `generate` and Fast-dLLM's for LLaDA (facts 2 and 3)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npuvp.generation import selection
from npuvp.generation.calls import Bools, Floats, ForwardCall, GenerationError, Kind, Tokens
from npuvp.generation.candidates import Place, chosen_probability, guided, noisy_argmax
from npuvp.generation.machine import Generation, index_range
from npuvp.generation.random import position_uniform
from npuvp.model.spec import ModelSpec
from npuvp.plan import GenerationPlan, quotas

__all__ = ["MaskedDiffusion"]


class MaskedDiffusion(Generation):
    """Blocks from left to right; in each, denoising steps over a canvas of prompt and masks.

    A block's first call sees the whole canvas. Without a cache so do all others; with the prefix or
    the dual cache the others see the block and what the first call kept.
    """

    def __init__(
        self,
        spec: ModelSpec,
        plan: GenerationPlan,
        tokens: ArrayLike,
        attention_mask: ArrayLike | None = None,
    ):
        super().__init__(spec, plan, tokens, attention_mask)
        self._append_masks(plan.gen_length)
        self.guidance = plan.cfg_scale > 0
        # Guidance hides what was given: the tokens of the prompt that are no masks.
        self.given: Bools = ~self.masked
        self.quota: NDArray[np.int64] = np.zeros((self.rows, 0), np.int64)

    @property
    def start(self) -> int:
        """Canvas index of the block's first position, s."""
        return self.prompt_length + self.block * self.plan.block_length

    @property
    def end(self) -> int:
        """Canvas index behind the block, e."""
        return self.start + self.plan.block_length

    def _next(self) -> ForwardCall | None:
        while self.block < self.plan.blocks:
            if self.step == 0:
                in_block = self.masked[:, self.start : self.end].sum(axis=1)
                self.quota = quotas(in_block, self.plan.steps_per_block)
                return self._call()
            if not self._block_finished():
                return self._call()
            self.block += 1
            self.step = 0
        return None

    def _block_finished(self) -> bool:
        """Whether the block ends after `step` calls, of which there was at least one."""
        plan = self.plan
        out_of_steps = self.step >= plan.steps_per_block
        if plan.revision == "llada":
            return out_of_steps
        clear = not self.masked[:, self.start : self.end].any()
        if plan.cache == "none":
            return clear
        if plan.revision == "fast-dllm-2025":
            # Its loop tests at the end, so that one refine pass always runs.
            return clear and self.step >= 2
        return clear or (plan.cache == "dual" and out_of_steps)

    def _call(self) -> ForwardCall:
        plan = self.plan
        quota_mode = plan.threshold is None and plan.factor is None
        if quota_mode and self.step >= plan.steps_per_block:
            raise GenerationError(
                f"block {self.block}: step {self.step} has no quota, the block has "
                f"{plan.steps_per_block} steps; revision {plan.revision!r} fails here with "
                "an IndexError"
            )
        length = self.canvas.shape[1]
        kind: Kind = "full"
        first, last, keep = 0, length, 0
        if self.step == 0 or plan.cache == "none":
            keep = {"none": 0, "prefix": self.start, "dual": length}[plan.cache]
        elif plan.cache == "prefix":
            kind, first = "refine_prefix", self.start
        else:
            kind, first, last = "refine_dual", self.start, self.end
        tokens = self.canvas
        if self.guidance:
            hidden = np.where(self.given, np.int32(self.spec.mask_id), self.canvas)
            tokens = np.concatenate([self.canvas, hidden])
        low, high = index_range(self._eligible(first))
        return ForwardCall(
            index=self.calls,
            kind=kind,
            block=self.block,
            step=self.step,
            start=first,
            tokens=tokens[:, first:last],
            positions=np.broadcast_to(
                np.arange(first, last, dtype=np.int32), (len(tokens), last - first)
            ),
            key_mask=self._key_mask(len(tokens) // self.rows),
            logits=(low + first, high + first) if high else (self.start, self.end),
            keep=keep,
        )

    def _eligible(self, first: int) -> Bools:
        """Masked positions in [first, e), shape (B, e - first): leftovers of earlier blocks and
        masks in the prompt compete in calls that see them."""
        return self.masked[:, first : self.end]

    def _apply(self, call: ForwardCall, logits: Floats) -> Bools:
        plan = self.plan
        if self.guidance:
            logits = guided(logits, plan.cfg_scale)
        low, high = call.logits
        eligible = self.masked[:, low:high]
        place = Place(np.arange(low, high), eligible, call.index, plan.seed)
        tokens, confidence = self._candidates(logits, place)
        if plan.factor is not None:
            transfer = selection.by_factor(confidence, eligible, plan.factor)
        elif plan.threshold is not None:
            transfer = selection.by_threshold(confidence, eligible, plan.threshold)
        else:
            transfer = selection.by_quota(confidence, eligible, self.quota[:, self.step])
        whole = self._write(transfer, tokens, low)
        unlimited = plan.threshold is not None or plan.factor is not None
        if plan.cache == "dual" and plan.revision == "fast-dllm-2026":
            unlimited = False
        # A block's first pass and the next differ in what they see if there is a cache.
        repeats = plan.cache == "none" or self.step > 0
        # Another draw may commit another position, if that has another candidate.
        alike = plan.remasking == "low_confidence" or bool(
            (tokens[eligible] == self.spec.mask_id).all()
        )
        if unlimited and repeats and alike:
            self._demand_progress(whole)
        self.step += 1
        return whole

    def _candidates(self, logits: Floats, place: Place) -> tuple[Tokens, NDArray[np.float64]]:
        plan = self.plan
        eos = self.spec.eos_id
        if plan.logits_eos_inf:
            logits = logits.copy()
            logits[..., eos] = -np.inf
        tokens = noisy_argmax(logits, plan.temperature, place)
        if plan.remasking == "random":
            draws = position_uniform(self.rows, place.positions, place.call, plan.seed)
            return tokens, draws.astype(np.float64)
        if plan.confidence_eos_eot_inf:
            logits = logits.copy()
            logits[..., plan.eot_id] = -np.inf
            if plan.temperature == 0:
                # The published code writes EOS into the noisy logits, which are the plain ones
                # only without noise.
                logits[..., eos] = -np.inf
        return tokens, self._confidence(logits, tokens, place.wanted)

    def _confidence(self, logits: Floats, tokens: Tokens, wanted: Bools) -> NDArray[np.float64]:
        return chosen_probability(logits, tokens, wanted)
