"""Dream's sampler in firmware: over the whole canvas, and in Fast-dLLM's blocks (facts 1.3)."""

import numpy as np
from numpy.typing import NDArray

from npuvp.compiler.control import Control
from npuvp.compiler.layout import Shape
from npuvp.compiler.selection import Schedule
from npuvp.compiler.state import State
from npuvp.generation.dream import times
from npuvp.plan import GenerationPlan

__all__ = ["DreamControl", "dream_numbers", "dream_positions", "dream_shares"]


def dream_shares(plan: GenerationPlan) -> NDArray[np.float32]:
    """Of every step the share of the masks that it commits."""
    time = times(Schedule.of(plan).steps, plan.eps)
    shares = np.float32(1) - time[1:] / time[:-1]
    shares[-1] = 1
    # With blocks one call more than there are steps is made, which commits nothing.
    return np.append(shares, np.float32(0))


def dream_numbers(plan: GenerationPlan, shape: Shape) -> dict[str, NDArray[np.float32]]:
    """Tables of float32: of every step the share of the masks that it commits, and of every number
    of masks its mean over the batch, rounded as the published code does."""
    means = np.arange(shape.samples * shape.length + 1, dtype=np.float32) / np.float32(
        shape.samples
    )
    return {"shares": dream_shares(plan), "means": means}


def dream_positions(padding: NDArray[np.bool_] | None, length: int) -> NDArray[np.int32] | None:
    """Rotary positions (batch, L): they count tokens, not padding; padding gets position 1."""
    if padding is None:
        return None
    beyond = np.ones((len(padding), length - padding.shape[1]), bool)
    seen = np.concatenate([padding, beyond], axis=1)
    return np.where(seen, np.cumsum(seen, axis=1) - 1, 1).astype(np.int32)


class DreamControl(Control):
    """Emits a generation of Dream."""

    @property
    def _whole(self) -> bool:
        return self.plan.cache == "none"

    @property
    def by_quota(self) -> bool:
        """LLaDA's quotas of a block: none here."""
        return False

    def _begin(self) -> None:
        asm = self.asm
        asm.store("gp0", State.POOL)
        asm.li("gp1", self.schedule.steps)
        asm.store("gp1", State.LAST)

    def _competing(self) -> None:
        if self._whole:
            super()._competing()
            return
        # The first call of a block commits its first position, the others see the block only.
        asm = self.asm
        asm.load("gp1", State.STEP)
        asm.load("gp2", State.START)
        asm.store("gp2", State.LOW)
        asm.li("gp3", 1)
        with asm.skip_if("C_BEQ", "gp1", "gp0"):
            asm.li("gp3", self.schedule.length)
        asm.store("gp3", State.SPAN)

    def _number(self, register: str, table: str, index: str, decided: str = "") -> None:
        """register <- an entry of a table of float32, at a label if the index depends on data. Uses
        gp9..gp11 and a3."""
        asm, word = self.asm, self.memory.constants
        asm(f"LIA a3, {self.layout.addresses[table]}, gp9, gp10")
        asm.scaled("gp9", index, 4)
        asm.li("gp10", word)
        asm.li("gp11", 1)
        asm.csr("dma_format", 9)
        asm.csr("dma_pitch", 0)
        asm.csr("dma_len", 1)
        if decided:
            asm.label(decided)
        asm("H_LD_FP gp10, gp9, a3, gp11, 1", "C_FENCE 0xFFFF")
        asm(f"S_LD_FP {register}, gp0, {word}")

    def _prepare(self) -> None:
        algorithm = self.plan.dream_algorithm
        if algorithm == "confidence_threshold":
            super()._prepare()
            return
        asm = self.asm
        asm.load("gp1", State.STEP)
        self._number("f4", "shares", "gp1")
        if algorithm != "origin":
            self._take()

    def _take(self) -> None:
        """TAKE <- trunc(mean number of masks * share), the share in f4."""
        asm, memory = self.asm, self.memory
        asm.li("gp1", 0)
        asm.li("gp8", 0)
        asm.load("gp2", State.SPAN)
        asm.load("gp3", State.LOW)
        again = asm.new_label("masked")
        asm.label(again)
        self._load_tokens("gp1", "gp3", "gp2")
        asm.li("gp4", memory.tokens)
        self._count_masks("gp4", "gp2")
        asm("S_ADD_INT gp8, gp8, gp7")
        asm.add("gp1", "gp1", 1)
        asm.li("gp4", self.shape.samples)
        asm(f"C_BNE gp1, gp4, {again}")
        self._number("f1", "means", "gp8", "decide_masks")
        asm("S_MUL_FP f1, f1, f4")
        asm.li("gp7", 0)
        count, counted = asm.new_label("take"), asm.new_label("taken")
        asm.label(count)
        asm.add("gp8", "gp7", 1)
        asm("S_ITOF f2, gp8", "S_CMP_FP gp9, f2, f1, le")
        asm.label("decide_take")
        asm(f"C_BEQ gp9, gp0, {counted}")
        asm("MV gp7, gp8", f"C_JUMP {count}")
        asm.label(counted)
        asm.store("gp7", State.TAKE)

    def _choose(self, span: str) -> None:
        asm = self.asm
        algorithm = self.plan.dream_algorithm
        if not self._whole:
            first, done = asm.new_label("first_position"), asm.new_label("chosen")
            asm.load("gp7", State.STEP)
            asm(f"C_BEQ gp7, gp0, {first}")
            if algorithm == "confidence_threshold":
                super()._choose(span)
            else:
                asm.load("gp7", State.TAKE)
                self._best(self.transfer, self.masks, span)
            asm(f"C_JUMP {done}")
            asm.label(first)
            asm.li("gp7", 1)
            self._best(self.transfer, self.masks, span)
            asm.label(done)
        elif algorithm == "origin":
            self._scores("gp9", span)
            asm.li("gp10", self.transfer)
            asm(f"V_CMP_FP gp10, gp9, f4, {span}, lt")
            self._rows_of(
                span,
                {"gp6": self.masks, "gp10": self.transfer},
                "V_MUL_VV gp10, gp10, gp6",
            )
        elif algorithm == "confidence_threshold":
            self._from_pool(span)
        else:
            asm.load("gp7", State.TAKE)
            self._best(self.transfer, self.masks, span)

    def _from_pool(self, span: str) -> None:
        """The step's share of the best that reach the threshold, and the best of all; what misses
        the threshold is left to the next step. One row of the batch."""
        asm, masks = self.asm, self.plan.gen_length
        quota, zero = masks // self.schedule.steps, asm.new_label("no_quota")
        asm.load("gp7", State.POOL)
        asm.load("gp4", State.STEP)
        asm.li("gp5", self.schedule.steps)
        asm(f"C_BGEU gp4, gp5, {zero}")
        asm.add("gp7", "gp7", quota)
        asm.label(zero)
        self._best(self.ranked, self.masks, span)
        asm.li("gp10", self.ranked)
        asm(f"V_COUNT gp14, gp10, {span}")
        asm.li("gp7", 1)
        self._best(self.transfer, self.ranked, span)
        asm.li("gp11", self.above)
        asm(f"V_CMP_FP gp11, gp9, f4, {span}, ge")
        self._rows_of(
            span,
            {"gp6": self.ranked, "gp10": self.transfer, "gp11": self.above},
            "V_MUL_VV gp11, gp11, gp6",
            "V_MAX_VV gp10, gp10, gp11",
        )
        asm.li("gp10", self.transfer)
        asm(f"V_COUNT gp7, gp10, {span}", "S_SUB_INT gp7, gp14, gp7")
        asm.store("gp7", State.POOL)

    def _count_left(self, row: str, low: str) -> None:
        """As the canvas has them: sampling may have seen the block's first position only. Without
        blocks but with a threshold: what is left to the next step."""
        asm = self.asm
        if self._whole and self.plan.dream_algorithm == "confidence_threshold":
            asm.load("gp7", State.POOL)
            return
        asm("C_FENCE 0xFFFF")
        asm.load("gp4", State.START)
        self._load_tokens(row, "gp4", self.schedule.length)
        asm.li("gp4", self.memory.tokens)
        self._count_masks("gp4", self.schedule.length)

    def _end_step(self, again: str, next_block: str) -> None:
        asm, steps = self.asm, self.schedule.steps
        go_on = asm.new_label("go_on")
        asm.load("gp1", State.STEP)
        asm.add("gp1", "gp1", 1)
        asm.store("gp1", State.STEP)
        if self._whole:
            if self.plan.dream_algorithm == "confidence_threshold":
                # A step is added if positions are left after the last one.
                last = asm.new_label("not_last")
                asm.load("gp2", State.LAST)
                asm(f"C_BNE gp1, gp2, {last}")
                asm.load("gp3", State.LEFT)
                asm(f"C_BEQ gp3, gp0, {last}")
                asm.add("gp2", "gp2", 1)
                asm.store("gp2", State.LAST)
                asm.label(last)
            asm.load("gp2", State.LAST)
            asm(f"C_BNE gp1, gp2, {go_on}", f"C_JUMP {next_block}")
        else:
            asm.li("gp2", 2)
            asm(f"C_BLTU gp1, gp2, {go_on}")
            asm.load("gp3", State.LEFT)
            asm.label("decide_left")
            asm(f"C_BEQ gp3, gp0, {next_block}")
            if self.plan.threshold is None:
                # The published loop has run the pass before it sees that no step is left.
                asm.li("gp2", steps + 1)
                asm(f"C_BEQ gp1, gp2, {next_block}")
        asm.label(go_on)
        asm(f"C_JUMP {again}")
