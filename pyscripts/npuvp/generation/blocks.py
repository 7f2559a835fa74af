"""Fast-dLLM v2: block diffusion with causal attention between blocks (facts 4)."""

import numpy as np
from numpy.typing import ArrayLike

from npuvp.generation import selection
from npuvp.generation.calls import Bools, Floats, ForwardCall, Kind
from npuvp.generation.candidates import Place, v2_candidates
from npuvp.generation.machine import Generation
from npuvp.model.spec import ModelSpec
from npuvp.plan import GenerationPlan

__all__ = ["BlockDiffusion"]


class BlockDiffusion(Generation):
    """One block after the other; a finished one goes to the cache and is never computed again.

    Complete blocks of the prompt are prefilled, what remains of it opens the first block. A prompt
    of exactly one block is, as published, neither: the model does not see it.

    Attributes:
        cached: Rows in the cache; the rotary position of the running block's first token.
        held: Whether keys and values of the running block are held (`sub_block_cache`).
    """

    def __init__(
        self,
        spec: ModelSpec,
        plan: GenerationPlan,
        tokens: ArrayLike,
        attention_mask: ArrayLike | None = None,
    ):
        super().__init__(spec, plan, tokens, attention_mask)
        self.cached = 0
        self.held = False
        self.open = False
        self.fresh_from = 0
        """Canvas index from which the running block is searched for the end token."""

    @property
    def start(self) -> int:
        """Canvas index of the running block's first position."""
        return int(self.canvas.shape[1]) - self.plan.block_length

    def _next(self) -> ForwardCall | None:
        size = self.plan.block_length
        if self.calls == 0 and self.prompt_length > size:
            return self._call("prefill", 0, self.prompt_length // size * size, last_row=True)
        if self.open and self._ended():
            self._close()
        if not self.open:
            if self.block == self.plan.blocks or self._has_end(self.prompt_length):
                return None
            self.fresh_from = int(self.canvas.shape[1])
            self._append_masks(size - self.fresh_from % size)
            self.open = True
        length = int(self.canvas.shape[1])
        masked = self.masked[0, self.start :].reshape(-1, self.plan.sub_block)
        subs = np.flatnonzero(masked.any(axis=1))
        if not len(subs):
            return self._call("commit", self.start, length, last_row=True)
        offset = int(subs[0]) * self.plan.sub_block
        if self.plan.sub_block_cache and self.held and not self.masked[0, self.start + offset]:
            first = self.start + offset
            return self._call("sub_block", first, first + self.plan.sub_block, offset=offset)
        return self._call("block", self.start, length, offset=offset)

    def _call(
        self, kind: Kind, first: int, last: int, *, offset: int = 0, last_row: bool = False
    ) -> ForwardCall:
        count = last - first
        position = self.cached + (offset if kind == "sub_block" else 0)
        if last_row:
            rows = (last - 1, last)
        else:
            low = self.start + offset
            # Each position is predicted by the row before it, the first of a call by itself.
            rows = (max(low - 1, first), max(low + self.plan.sub_block - 1, first + 1))
        keeps = kind in ("prefill", "commit") or (kind == "block" and self.plan.sub_block_cache)
        return ForwardCall(
            index=self.calls,
            kind=kind,
            block=-1 if kind == "prefill" else self.block,
            step=self.step,
            start=first,
            tokens=self.canvas[:, first:last],
            positions=np.arange(position, position + count, dtype=np.int32)[None],
            key_mask=None,
            logits=rows,
            keep=count if keeps else 0,
            offset=offset,
            block_length=self.plan.block_length if kind == "prefill" else 0,
        )

    def _apply(self, call: ForwardCall, logits: Floats) -> Bools:
        if call.kind in ("prefill", "commit"):
            self.cached += call.length
            if call.kind == "prefill" and self.prompt_length % self.plan.block_length:
                return np.zeros(self.canvas.shape, bool)
            # The next token by plain autoregression, greedy at any temperature.
            token = logits[:, -1:].argmax(axis=-1).astype(np.int32)
            self.canvas = np.concatenate([self.canvas, token], axis=1)
            transfer = np.zeros(self.canvas.shape, bool)
            transfer[:, -1] = True
            if call.kind == "commit":
                self._close()
            return transfer
        first = self.start + call.offset
        positions = np.arange(first, first + self.plan.sub_block)
        rows = np.maximum(positions - 1, call.start) - call.logits[0]
        masked = self.masked[:, first : first + self.plan.sub_block]
        tokens, confidence = v2_candidates(
            logits[:, rows],
            Place(positions, masked, call.index, self.plan.seed),
            temperature=self.plan.temperature,
            top_p=self.plan.top_p,
        )
        threshold = 1.0 if self.plan.threshold is None else self.plan.threshold
        transfer = selection.by_threshold(confidence, masked, threshold, strict=True)
        whole = self._write(transfer, tokens, first)
        # The next call is another one only where what it holds of the block is of use to it.
        if call.kind == "sub_block" or not self.plan.sub_block_cache or self.masked[0, first]:
            self._demand_progress(whole)
        self.held = self.held or call.keep > 0
        self.step += 1
        return whole

    def _close(self) -> None:
        self.block += 1
        self.step = 0
        self.open = self.held = False

    def _has_end(self, first: int) -> bool:
        return bool((self.canvas[0, first:] == self.spec.eos_id).any())

    def _ended(self) -> bool:
        """Whether the running block holds the end token and nothing before it is masked."""
        fresh = self.canvas[0, self.fresh_from :]
        ends = np.flatnonzero(fresh == self.spec.eos_id)
        return bool(len(ends)) and not (fresh[: ends[0]] == self.spec.mask_id).any()

    def final(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        """The canvas up to the first end token that was generated."""
        ends = np.flatnonzero(self.canvas[0, self.prompt_length :] == self.spec.eos_id)
        last = self.prompt_length + int(ends[0]) + 1 if len(ends) else self.canvas.shape[1]
        return self.canvas[:, :last].copy()
