"""Dream's sampler, over the whole canvas and in Fast-dLLM's blocks (facts 1.3)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npuvp.generation import selection
from npuvp.generation.calls import Bools, Floats, ForwardCall, Kind, Tokens
from npuvp.generation.candidates import Place, dream_candidates
from npuvp.generation.machine import Generation, index_range
from npuvp.generation.random import position_gumbel, position_uniform
from npuvp.model.spec import ModelSpec
from npuvp.plan import GenerationPlan

__all__ = ["DreamBlocks", "DreamWhole", "times"]

_SCORES = {"topk_margin": "margin", "entropy": "entropy"}


def times(steps: int, eps: float) -> NDArray[np.float32]:
    """Times from 1 to eps in float32, as `torch.linspace` has them; shape (steps + 1,)."""
    step = np.float32((np.float32(eps) - np.float32(1)) / np.float32(steps))
    i = np.arange(steps + 1)
    rising = np.float32(1) + step * i.astype(np.float32)
    falling = np.float32(eps) - step * (steps - i).astype(np.float32)
    return np.where(i < (steps + 1) // 2, rising, falling).astype(np.float32)


class _Dream(Generation):
    def __init__(
        self,
        spec: ModelSpec,
        plan: GenerationPlan,
        tokens: ArrayLike,
        attention_mask: ArrayLike | None = None,
    ):
        super().__init__(spec, plan, tokens, attention_mask)
        self._append_masks(plan.gen_length)
        length = self.canvas.shape[1]
        self.positions: Tokens = np.tile(np.arange(length, dtype=np.int32), (self.rows, 1))
        seen = self._key_mask()
        if seen is not None:
            # Positions count tokens, not padding; padding gets position 1.
            self.positions = np.where(seen, np.cumsum(seen, axis=1) - 1, 1).astype(np.int32)

    def _forward(
        self, kind: Kind, first: int, last: int, wanted: tuple[int, int], keep: int
    ) -> ForwardCall:
        """A call over [first, last) with the output rows that predict the positions `wanted`."""
        low, high = wanted
        return ForwardCall(
            index=self.calls,
            kind=kind,
            block=self.block,
            step=self.step,
            start=first,
            tokens=self.canvas[:, first:last],
            positions=self.positions[:, first:last],
            key_mask=self._key_mask(),
            logits=(max(low - 1, first), max(high - 1, first + 1)),
            keep=keep,
        )

    def _candidates(
        self, call: ForwardCall, logits: Floats, first: int, wanted: Bools
    ) -> tuple[Tokens, NDArray[np.float64]]:
        """Candidates of positions [first, first + n), each predicted by the row before it; the
        first row of a call predicts itself as well. `wanted`: shape (B, n)."""
        positions = np.arange(first, first + wanted.shape[1])
        rows = np.maximum(positions - 1, call.start) - call.logits[0]
        score = _SCORES.get(self.plan.dream_algorithm, "probability")
        return dream_candidates(
            logits[:, rows],
            Place(positions, wanted, call.index, self.plan.seed),
            score,
            temperature=self.plan.temperature,
            top_p=self.plan.top_p,
            top_k=self.plan.top_k,
        )

    def _count(self, masked: Bools, step: int, time: NDArray[np.float32], *, last: bool) -> int:
        """Positions to commit: a truncated mean, so that unequal rows get equal counts."""
        mean = np.float32(masked.sum()) / np.float32(self.rows)
        return int(mean) if last else int(mean * (np.float32(1) - time[step + 1] / time[step]))

    def _best(
        self, call: ForwardCall, score: NDArray[np.float64], masked: Bools, first: int, count: int
    ) -> Bools:
        if self.plan.alg_temp:
            # Drawing without replacement from softmax(score / T) is taking the largest of
            # score / T plus Gumbel noise.
            positions = np.arange(first, first + score.shape[1])
            noise = position_gumbel(self.rows, positions, call.index, self.plan.seed)
            score = score / self.plan.alg_temp + noise
        return selection.by_quota(score, masked, np.full(self.rows, count))


class DreamWhole(_Dream):
    """All masked positions of the canvas compete in every step; no cache.

    In a batch with unequal numbers of masks the published code commits the mean count in every row,
    and writes masks over tokens in rows that have fewer; here such rows commit what they have.
    """

    def __init__(
        self,
        spec: ModelSpec,
        plan: GenerationPlan,
        tokens: ArrayLike,
        attention_mask: ArrayLike | None = None,
    ):
        super().__init__(spec, plan, tokens, attention_mask)
        self.time = times(plan.steps, plan.eps)
        self.last_step = plan.steps
        masks = int(self.masked.sum())
        self.quota = masks // plan.steps
        self.left_over = 0
        if plan.dream_algorithm == "confidence_threshold" and masks % plan.steps:
            raise ValueError(
                f"steps: {plan.steps}, allowed: a divisor of the {masks} masked positions "
                "(algorithm 'confidence_threshold')"
            )

    def _next(self) -> ForwardCall | None:
        if self.step == self.last_step:
            return None
        low, high = index_range(self.masked)
        if not high:
            low, high = self.prompt_length, self.canvas.shape[1]
        return self._forward("full", 0, self.canvas.shape[1], (low, high), 0)

    def _apply(self, call: ForwardCall, logits: Floats) -> Bools:
        masked = self.masked
        low, high = index_range(masked)
        masked = masked[:, low:high]
        last = self.step == self.last_step - 1
        algorithm = self.plan.dream_algorithm
        if algorithm == "origin":
            ratio = self.time[self.step + 1] / self.time[self.step]
            share = np.float32(1) if last else np.float32(1) - ratio
            draws = position_uniform(self.rows, np.arange(low, high), call.index, self.plan.seed)
            transfer = masked & (draws < share)
            tokens, _ = self._candidates(call, logits, low, transfer)
        else:
            tokens, score = self._candidates(call, logits, low, masked)
            if algorithm == "confidence_threshold":
                transfer = self._above(score, masked, last=last)
            else:
                count = self._count(masked, self.step, self.time, last=last)
                transfer = self._best(call, score, masked, low, count)
        whole = self._write(transfer, tokens, low)
        self.step += 1
        return whole

    def _above(self, score: NDArray[np.float64], masked: Bools, *, last: bool) -> Bools:
        """The step's share of the best that reach the threshold; what misses it moves to the next
        step, and a step is added at the end until all is filled."""
        assert self.plan.threshold is not None
        ranked = selection.by_quota(score, masked, np.array([self.quota + self.left_over]))
        transfer = ranked & selection.by_threshold(score, ranked, self.plan.threshold)
        self.left_over = int(ranked.sum() - transfer.sum())
        if last and self.left_over:
            # The published loop adds a step for the first position that is left; to the others the
            # step is the last no more.
            self.quota = 0
            self.last_step += 1
        return transfer


class DreamBlocks(_Dream):
    """Fast-dLLM's block variants: prefix and dual cache.

    A block's first call sees the whole canvas and commits the block's first position, whatever its
    confidence; refine calls follow, at least one.
    """

    def __init__(
        self,
        spec: ModelSpec,
        plan: GenerationPlan,
        tokens: ArrayLike,
        attention_mask: ArrayLike | None = None,
    ):
        super().__init__(spec, plan, tokens, attention_mask)
        self.time = times(plan.steps_per_block, plan.eps)
        self.given_up = False

    @property
    def start(self) -> int:
        """Canvas index of the block's first position, s."""
        return self.prompt_length + self.block * self.plan.block_length

    @property
    def end(self) -> int:
        """Canvas index behind the block, e."""
        return self.start + self.plan.block_length

    def _next(self) -> ForwardCall | None:
        clear = not self.masked[:, self.start : self.end].any()
        if self.step >= 2 and (clear or self.given_up):
            self.block += 1
            self.step = 0
            self.given_up = False
        if self.block == self.plan.blocks:
            return None
        length = self.canvas.shape[1]
        if self.step == 0:
            keep = self.start if self.plan.cache == "prefix" else length
            return self._forward("full", 0, length, (self.start, self.start + 1), keep)
        wanted = (self.start, self.end)
        if self.plan.cache == "prefix":
            return self._forward("refine_prefix", self.start, length, wanted, 0)
        return self._forward("refine_dual", self.start, self.end, wanted, 0)

    def _apply(self, call: ForwardCall, logits: Floats) -> Bools:
        first = self.start
        if self.step == 0:
            everything = np.ones((self.rows, 1), bool)
            tokens, _ = self._candidates(call, logits, first, everything)
            transfer = everything
        else:
            masked = self.masked[:, first : self.end]
            tokens, score = self._candidates(call, logits, first, masked)
            transfer = self._refine(call, score, masked)
        whole = self._write(transfer, tokens, first)
        if self.plan.threshold is not None and self.step > 0:
            self._demand_progress(whole)
        self.step += 1
        return whole

    def _refine(self, call: ForwardCall, score: NDArray[np.float64], masked: Bools) -> Bools:
        if self.plan.threshold is not None:
            return selection.by_threshold(score, masked, self.plan.threshold)
        steps = self.plan.steps_per_block
        if self.step == steps:
            # The published loop has run the pass before it sees that no step is left.
            self.given_up = True
            return np.zeros(masked.shape, bool)
        count = self._count(masked, self.step, self.time, last=self.step == steps - 1)
        return self._best(call, score, masked, self.start, count)
