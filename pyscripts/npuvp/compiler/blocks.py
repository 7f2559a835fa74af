"""Block diffusion in firmware: Fast-dLLM v2 (facts 4).

Keys and values of a block stand where the canvas has its positions. A pass over the running block
overwrites them, and the pass over the finished block leaves what later blocks see: no copy is made,
and nothing of a finished block is computed again. What a call sees ends with its block; the mask of
keys says so. Complete blocks of the prompt go through one after the other, which is the same as one
pass that is causal between blocks.
"""

import math

import numpy as np
from numpy.typing import NDArray

from npuvp.compiler.control import Control
from npuvp.compiler.state import State
from npuvp.generation.calls import Kind
from npuvp.plan import GenerationPlan

__all__ = [
    "KINDS",
    "BlockControl",
    "block_positions",
    "canvas_ends",
    "canvas_length",
    "ended",
    "unseen_positions",
]

#: By the number in the call log.
KINDS: dict[int, Kind] = {2: "prefill", 3: "block", 4: "sub_block", 5: "commit"}
_NUMBERS = {kind: number for number, kind in KINDS.items()}


def canvas_length(plan: GenerationPlan, prompt: int) -> int:
    """Positions of the longest canvas: the block in which the prompt ends or that follows it and
    the others, and the token behind the last one."""
    return prompt // plan.block_length * plan.block_length + plan.gen_length + 1


def unseen_positions(plan: GenerationPlan, prompt: int) -> int:
    """A prompt of exactly one block is, as published, not shown to the model."""
    return prompt if prompt == plan.block_length else 0


def block_positions(plan: GenerationPlan, prompt: int) -> NDArray[np.int32]:
    """Rotary positions, shape (1, canvas)."""
    positions = np.arange(canvas_length(plan, prompt)) - unseen_positions(plan, prompt)
    return np.maximum(positions, 0).astype(np.int32)[None]


def canvas_ends(plan: GenerationPlan, prompt: int, kind: int, first: int) -> tuple[int, int]:
    """How long the canvas is before and after a call of the log."""
    size = plan.block_length
    if kind == _NUMBERS["prefill"]:
        return prompt, prompt + (prompt % size == 0)
    end = (first // size + 1) * size
    return end, end + (kind == _NUMBERS["commit"])


def ended(canvas: NDArray[np.int32], prompt: int, eos: int) -> NDArray[np.int32]:
    """The canvas (1, L) up to the first end token that was generated."""
    ends = np.flatnonzero(canvas[0, prompt:] == eos)
    last = prompt + int(ends[0]) + 1 if len(ends) else canvas.shape[1]
    return canvas[:, :last].copy()


class BlockControl(Control):
    """Emits a generation of Fast-dLLM v2, one row."""

    @property
    def by_quota(self) -> bool:
        """LLaDA's quotas of a block: none here."""
        return False

    @property
    def _mask_bytes(self) -> int:
        return self.layout.mask_bytes

    def program(self, padded: bool) -> None:
        """The whole text. Every call sees a part of the keys, whatever `padded` says."""
        asm, plan, prompt = self.asm, self.plan, self.shape.prompt
        size = plan.block_length
        complete = prompt // size * size if prompt > size else 0
        first = prompt // size * size
        done, step = asm.new_label("done"), asm.new_label("step")
        forward, log = asm.new_label("forward"), asm.new_label("log")
        asm.comment("generation: one block after the other")
        self._seed()
        for word in (State.CALL, State.STEP, State.LEFT):
            asm.store("gp0", word)
        self._store(State.BLOCK, 0)
        self._store(State.START, first)
        self._store(State.END, first + size)
        self._store(State.FRESH, prompt)
        self._store(State.LIMIT, first // size * self._mask_bytes)
        if complete:
            asm.comment("the complete blocks of the prompt")
            self._store(State.KIND, _NUMBERS["prefill"])
            self._store(State.BLOCK, 0xFFFFFFFF)
            self._store(State.FIRST, 0)
            self._store(State.COUNT, size)
            self._store(State.ROWS, size)
            self._store(State.LIMIT, 0)
            self._store(State.LOW, prompt)
            self._store(State.SPAN, 0 if prompt % size else 1)
            self._count_call()
            asm(f"C_JUMP {forward}")
        asm.label(step)
        asm.load("gp1", State.STEP)
        asm("C_MARK step, gp1")
        self._count_call()
        self._what_next(done)
        asm.label(forward)
        self._layers(True)
        if complete:
            self._next_of_prompt(complete, forward, log)
        self._phase("head")
        self.phases.head()
        if self.phases.leads:
            self._sample()
        asm.label(log)
        if complete:
            asm.load("gp1", State.KIND)
            asm.li("gp2", _NUMBERS["prefill"])
            with asm.skip_if("C_BNE", "gp1", "gp2"):
                self._store(State.FIRST, 0)
                self._store(State.COUNT, complete)
                self._store(State.SPAN, 1)
        if self.phases.leads:
            asm(f"LIA a0, {self.layout.addresses['tokens']}, gp1, gp2")
            self._log()
            self.phases.meet()
        else:
            self._follow()
        self._behind_call(complete, done)
        asm(f"C_JUMP {step}")
        asm.label(done)
        self._halt()

    def _store(self, word: State, value: int) -> None:
        self.asm.li("gp1", value)
        self.asm.store("gp1", word)

    def _next_of_prompt(self, complete: int, forward: str, log: str) -> None:
        """The next block of the prompt, until there is none; then the head, if a token follows."""
        asm, size = self.asm, self.plan.block_length
        behind = asm.new_label("no_prompt")
        asm.load("gp1", State.KIND)
        asm.li("gp2", _NUMBERS["prefill"])
        asm(f"C_BNE gp1, gp2, {behind}")
        last = asm.new_label("prompt_done")
        asm.load("gp1", State.FIRST)
        asm.li("gp2", complete - size)
        asm(f"C_BEQ gp1, gp2, {last}")
        asm.add("gp1", "gp1", size)
        asm.store("gp1", State.FIRST)
        asm.load("gp1", State.LIMIT)
        asm.add("gp1", "gp1", self._mask_bytes)
        asm.store("gp1", State.LIMIT)
        asm(f"C_JUMP {forward}")
        asm.label(last)
        if self.shape.prompt % size:
            asm(f"C_JUMP {log}")
        asm.label(behind)

    def _what_next(self, done: str) -> None:
        """KIND, FIRST, COUNT, LOW and SPAN of the next call from the tokens of the block."""
        asm, plan, words = self.asm, self.plan, self.memory.tokens
        size, sub = plan.block_length, plan.sub_block
        asm.comment("what the call computes")
        asm(f"LIA a0, {self.layout.addresses['tokens']}, gp9, gp10")
        asm.li("gp1", 0)
        asm.load("gp2", State.START)
        self._load_tokens("gp1", "gp2", size)
        asm.load("gp3", State.FRESH)
        asm("S_SUB_INT gp3, gp3, gp2")
        asm.li("gp4", self.spec.mask_id)
        asm.li("gp5", self.spec.eos_id)
        asm.li("gp6", size)
        # An end token with nothing masked before it ends the generation.
        scan, scanned = asm.new_label("scan"), asm.new_label("scanned")
        asm.label(scan)
        asm(f"C_BEQ gp3, gp6, {scanned}", f"S_LD_INT gp7, gp3, {words}")
        asm(f"C_BEQ gp7, gp4, {scanned}")
        with asm.skip_if("C_BNE", "gp7", "gp5"):
            asm(f"C_JUMP {done}")
        asm.add("gp3", "gp3", 1)
        asm(f"C_JUMP {scan}")
        asm.label(scanned)
        find, found, ready = (asm.new_label(name) for name in ("find", "found", "ready"))
        asm.store("gp2", State.FIRST)
        asm.li("gp8", size)
        asm.store("gp8", State.COUNT)
        asm.li("gp3", 0)
        asm.label(find)
        full = asm.new_label("full")
        asm(f"C_BEQ gp3, gp6, {full}", f"S_LD_INT gp7, gp3, {words}")
        asm(f"C_BEQ gp7, gp4, {found}")
        asm.add("gp3", "gp3", 1)
        asm(f"C_JUMP {find}")
        asm.label(full)
        asm.load("gp7", State.END)
        asm.store("gp7", State.LOW)
        self._store(State.SPAN, 1)
        self._store(State.KIND, _NUMBERS["commit"])
        asm(f"C_JUMP {ready}")
        asm.label(found)
        # gp8: offset of the sub-block that holds the first mask.
        asm.li("gp8", 0)
        sub_block, at_sub_block = asm.new_label("sub_block"), asm.new_label("at_sub_block")
        asm.label(sub_block)
        asm.add("gp7", "gp8", sub)
        asm(f"C_BLTU gp3, gp7, {at_sub_block}", "MV gp8, gp7", f"C_JUMP {sub_block}")
        asm.label(at_sub_block)
        asm("S_ADD_INT gp7, gp2, gp8")
        asm.store("gp7", State.LOW)
        self._store(State.SPAN, sub)
        self._store(State.KIND, _NUMBERS["block"])
        if plan.sub_block_cache:
            # The block's keys and values are there after its first call; the first row of the
            # sub-block predicts nothing that is still wanted.
            asm.load("gp9", State.STEP)
            asm(f"C_BEQ gp9, gp0, {ready}", f"C_BEQ gp3, gp8, {ready}")
            asm.store("gp7", State.FIRST)
            self._store(State.COUNT, sub)
            self._store(State.KIND, _NUMBERS["sub_block"])
        asm.label(ready)
        asm.load("gp1", State.COUNT)
        asm.store("gp1", State.ROWS)

    def _behind_call(self, complete: int, done: str) -> None:
        """A step more; behind a finished block the next one, unless the text ends."""
        asm, plan, prompt = self.asm, self.plan, self.shape.prompt
        size = plan.block_length
        go_on, opened = asm.new_label("go_on"), asm.new_label("opened")
        asm.load("gp1", State.KIND)
        if complete:
            asm.li("gp2", _NUMBERS["prefill"])
            other = asm.new_label("no_prefill")
            asm(f"C_BNE gp1, gp2, {other}")
            self._store(State.BLOCK, 0)
            self._store(State.LIMIT, prompt // size * self._mask_bytes)
            if prompt % size == 0:
                self._store(State.FRESH, prompt + 1)
                self._end_at(prompt, done)
            asm(f"C_JUMP {opened}")
            asm.label(other)
        asm.li("gp2", _NUMBERS["commit"])
        asm(f"C_BEQ gp1, gp2, {go_on}")
        asm.load("gp1", State.STEP)
        asm.add("gp1", "gp1", 1)
        asm.store("gp1", State.STEP)
        asm(f"C_JUMP {opened}")
        asm.label(go_on)
        self._end_at(None, done)
        asm.load("gp1", State.BLOCK)
        asm.add("gp1", "gp1", 1)
        asm.store("gp1", State.BLOCK)
        asm.li("gp2", plan.blocks)
        with asm.skip_if("C_BNE", "gp1", "gp2"):
            asm(f"C_JUMP {done}")
        asm("C_MARK block, gp1")
        asm.store("gp0", State.STEP)
        asm.load("gp1", State.END)
        asm.store("gp1", State.START)
        asm.add("gp2", "gp1", 1)
        asm.store("gp2", State.FRESH)
        asm.add("gp1", "gp1", size)
        asm.store("gp1", State.END)
        asm.load("gp1", State.LIMIT)
        asm.add("gp1", "gp1", self._mask_bytes)
        asm.store("gp1", State.LIMIT)
        asm.label(opened)

    def _end_at(self, position: int | None, done: str) -> None:
        """Ends where the token at a position, None: at the block's end, is the end token."""
        asm = self.asm
        asm(f"LIA a0, {self.layout.addresses['tokens']}, gp9, gp10")
        asm.li("gp3", 0)
        if position is None:
            asm.load("gp2", State.END)
        else:
            asm.li("gp2", position)
        self._load_tokens("gp3", "gp2", 1)
        asm(f"S_LD_INT gp7, gp0, {self.memory.tokens}")
        asm.li("gp5", self.spec.eos_id)
        with asm.skip_if("C_BNE", "gp7", "gp5"):
            asm(f"C_JUMP {done}")

    # Sampling

    def _prepare(self) -> None:
        """f4 <- the largest float32 that does not exceed the threshold: the published comparison is
        confidence > threshold."""
        threshold = 1.0 if self.plan.threshold is None else self.plan.threshold
        least = np.float32(threshold)
        if least > threshold:
            least = np.nextafter(least, np.float32(-math.inf))
        self.asm.li("gp9", int(least.view(np.uint32)))
        self.asm("S_SET_FP f4, gp9")

    def _choose(self, span: str) -> None:
        asm = self.asm
        asm.li("gp7", 1)
        self._best(self.transfer, self.masks, span)
        asm.li("gp11", self.above)
        asm(f"V_CMP_FP gp11, gp9, f4, {span}, gt")
        self._rows_of(
            span,
            {"gp6": self.masks, "gp10": self.transfer, "gp11": self.above},
            "V_MUL_VV gp11, gp11, gp6",
            "V_MAX_VV gp10, gp10, gp11",
        )

    def _count_left(self, row: str, low: str) -> None:
        """Nobody asks."""
        self.asm.li("gp7", 0)
