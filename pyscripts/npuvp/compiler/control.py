"""The generation itself as firmware: blocks, steps, what a call computes, sampling, the end."""

import math

import numpy as np

from npuvp.compiler.assembly import Assembly
from npuvp.compiler.errors import CompileError
from npuvp.compiler.head import Forward
from npuvp.compiler.layout import Allocator, Geometry, Shape
from npuvp.compiler.phases import LAYER
from npuvp.compiler.sampler import Sampler
from npuvp.compiler.state import State
from npuvp.model.spec import ModelSpec
from npuvp.plan import GenerationPlan

__all__ = ["LOG_WORDS", "TRAPS", "Control", "Memory", "most_calls", "plan_faults"]

#: Words of a record of the call log.
LOG_WORDS = 8
#: What the codes of C_TRAP mean.
TRAPS = {
    1: "a step has no quota: the block has masks left after its last step; the published code "
    "fails here with an IndexError",
    2: "the model predicts the mask token wherever a token is committed; the published code would "
    "repeat this step for ever",
    3: "masks outside the block compete, and their state does not fit in INT SRAM or FP SRAM",
}


def plan_faults(plan: GenerationPlan) -> list[str]:
    """What of a plan the compiler does not support."""
    faults = []
    if plan.revision not in ("llada", "fast-dllm-2025", "fast-dllm-2026"):
        faults.append(
            f"revision: {plan.revision!r}, allowed: llada, fast-dllm-2025, fast-dllm-2026"
        )
    return faults


def most_calls(plan: GenerationPlan) -> int:
    """Forward calls that a generation of one row can take at most: a call commits a token at least,
    or the block ends after its steps; the revision of 2025 adds a call that may commit nothing."""
    per_block = max(plan.steps_per_block, plan.block_length) + 1
    return plan.blocks * per_block


class Memory:
    """INT SRAM, FP SRAM and the rows of Vector SRAM that sampling uses.

    Args:
        geometry: Of the core.
        shape: Of the generation.
        plan: What to generate.
        sampler: What becomes of logits.
        cores: That share the work.
    """

    def __init__(
        self,
        geometry: Geometry,
        shape: Shape,
        plan: GenerationPlan,
        sampler: Sampler,
        cores: int = 1,
    ):
        words = Allocator("INT SRAM", geometry.int_words)
        words.take("state", State.FREE)
        self.base = words.take("quota of every step", shape.samples)
        self.extra = words.take("steps with one more", shape.samples)
        wanted = shape.length
        least = plan.block_length
        # Tokens of a row of the batch, and candidates of all rows.
        room = (geometry.int_words - words.used) // (shape.samples + 1)
        # With several cores, room for a row of the batch of what another core has found.
        per_position = len(sampler.words) * shape.samples + (cores > 1)
        self.span = min(wanted, room, geometry.fp_words // per_position)
        if self.span < least:
            raise CompileError(
                [
                    f"sampling state of {shape.samples} x {least} positions: INT SRAM has "
                    f"{geometry.int_words} words, FP SRAM {geometry.fp_words}; room for "
                    f"{shape.samples} x {max(0, self.span)}"
                ]
            )
        self.tokens = words.take("tokens", self.span)
        self.candidates = words.take("candidates", shape.samples * self.span)
        self.words = {
            name: index * shape.samples * self.span for index, name in enumerate(sampler.words)
        }
        self.gathered = len(sampler.words) * shape.samples * self.span
        self.mask_rows = -(-self.span // geometry.width)


class Control:
    """Emits the generation around the phases.

    Args:
        asm, phases: Where to, and the forward call.
        spec, plan, shape: What.
        memory: Where the state is.
    """

    def __init__(
        self,
        asm: Assembly,
        phases: Forward,
        spec: ModelSpec,
        plan: GenerationPlan,
        shape: Shape,
        memory: Memory,
    ):
        self.asm, self.phases, self.spec, self.plan = asm, phases, spec, plan
        self.shape, self.memory = shape, memory
        self.layout = phases.layout
        self.width = phases.geometry.width
        # Vector SRAM during sampling, in elements.
        rows = memory.mask_rows * self.width
        self.masks, self.transfer, self.above = 0, rows, 2 * rows
        # Of all samples at once, in the words for tokens and candidates, which are adjacent.
        elements = phases.geometry.vector_rows * self.width
        self.earlier_positions = max(1, min(memory.span, shape.length, elements // shape.samples))
        self.by_quota = plan.threshold is None and plan.factor is None

    def program(self, padded: bool) -> None:
        """The whole text."""
        asm, plan = self.asm, self.plan
        asm.comment("generation: blocks from left to right")
        if self.phases.sampler.draws:
            asm.csr("rng_key0", plan.seed & 0xFFFFFFFF)
            asm.csr("rng_key1", plan.seed >> 32)
        for word in (State.BLOCK, State.CALL):
            asm.store("gp0", word)
        asm.li("gp1", self.shape.prompt)
        asm.store("gp1", State.START)
        block, step = asm.new_label("block"), asm.new_label("step")
        next_block = asm.new_label("next_block")
        asm.label(block)
        asm.load("gp1", State.BLOCK)
        asm("C_MARK block, gp1")
        asm.load("gp1", State.START)
        asm.add("gp1", "gp1", plan.block_length)
        asm.store("gp1", State.END)
        asm.store("gp0", State.STEP)
        self._quotas()
        asm.label(step)
        self._begin_call()
        self._forward(padded)
        if self.phases.leads:
            self._sample()
            self._log()
            self.phases.meet()
        else:
            self._follow()
        self._end_step(step, next_block)
        asm.label(next_block)
        asm.load("gp1", State.START)
        asm.add("gp1", "gp1", plan.block_length)
        asm.store("gp1", State.START)
        asm.load("gp1", State.BLOCK)
        asm.add("gp1", "gp1", 1)
        asm.store("gp1", State.BLOCK)
        asm.li("gp2", plan.blocks)
        done = asm.new_label("done")
        asm(f"C_BEQ gp1, gp2, {done}", f"C_JUMP {block}")
        asm.label(done)
        asm("C_FENCE 0xFFFF")
        if self.phases.leads:
            asm("C_DOORBELL gp0")
        asm("C_HALT gp0")

    def _quotas(self) -> None:
        """Per row of the batch: floor(masked / steps), and how many steps take one more."""
        asm, memory, plan, samples = self.asm, self.memory, self.plan, self.shape.samples
        if not self.by_quota or not self.phases.leads:
            return
        asm.comment("quotas of the block")
        asm(f"LIA a0, {self.layout.addresses['tokens']}, gp1, gp2")
        asm.li("gp1", 0)
        again = asm.new_label("quota")
        asm.label(again)
        asm.load("gp2", State.START)
        self._load_tokens("gp1", "gp2", plan.block_length)
        asm.li("gp3", memory.tokens)
        asm.li("gp4", self.spec.mask_id)
        asm.li("gp5", plan.block_length)
        asm("V_CMP_INT gp0, gp3, gp4, gp5, eq", "V_COUNT gp6, gp0, gp5")
        asm.li("gp7", 0)
        asm.li("gp8", plan.steps_per_block)
        divide, divided = asm.new_label("divide"), asm.new_label("divided")
        asm.label("decide_quota")
        asm.label(divide)
        asm(f"C_BLTU gp6, gp8, {divided}", "S_SUB_INT gp6, gp6, gp8")
        asm.add("gp7", "gp7", 1)
        asm(f"C_JUMP {divide}")
        asm.label(divided)
        asm(f"S_ST_INT gp7, gp1, {memory.base}", f"S_ST_INT gp6, gp1, {memory.extra}")
        asm.add("gp1", "gp1", 1)
        asm.li("gp2", samples)
        asm(f"C_BNE gp1, gp2, {again}")
        asm.label(asm.new_label("quotas_done"))

    def _load_tokens(self, row: str, position: str, count: int | str, place: int = -1) -> None:
        """`count` tokens of a row of the batch from a position on, into the words for tokens.

        Uses gp9..gp12.
        """
        self._move_tokens("H_LD_INT", row, position, count, place)
        self.asm("C_FENCE 0xFFFF")

    def _move_tokens(
        self, operation: str, row: str, position: str, count: int | str, place: int = -1
    ) -> None:
        asm, batch = self.asm, self.shape.batch
        asm.scaled("gp9", position, batch)
        asm(f"S_ADD_INT gp9, gp9, {row}")
        asm.scaled("gp9", "gp9", 4)
        if isinstance(count, int):
            asm.li("gp10", count)
        else:
            asm(f"MV gp10, {count}")
        asm.li("gp11", self.memory.tokens if place < 0 else place)
        asm.csr("dma_len", 1)
        asm.csr("dma_pitch", 4 * batch)
        asm(f"{operation} gp11, gp9, a0, gp10, 1")

    def _begin_call(self) -> None:
        """Which positions are computed, and which of them compete."""
        asm, plan, length = self.asm, self.plan, self.shape.length
        asm.comment("what the call computes")
        asm.load("gp1", State.STEP)
        asm("C_MARK step, gp1")
        asm.load("gp2", State.CALL)
        asm("C_MARK call, gp2")
        asm.li("gp3", self.shape.calls)
        with asm.skip_if("C_BLTU", "gp2", "gp3"):
            asm.li("gp3", 2)
            asm("C_TRAP gp3")
        if self.by_quota:
            asm.li("gp3", plan.steps_per_block)
            with asm.skip_if("C_BLTU", "gp1", "gp3"):
                asm.li("gp3", 1)
                asm("C_TRAP gp3")
        asm.li("gp4", 0)  # first
        asm.li("gp5", length)  # positions
        asm.li("gp6", 0)  # kind
        if plan.cache != "none":
            with asm.skip_if("C_BEQ", "gp1", "gp0"):
                asm.load("gp4", State.START)
                asm.li("gp6", 1)
                if plan.cache == "dual":
                    asm.li("gp5", plan.block_length)
                else:
                    asm("S_SUB_INT gp5, gp5, gp4")
        asm.store("gp4", State.FIRST)
        asm.store("gp5", State.COUNT)
        asm.store("gp6", State.KIND)
        asm.scaled("gp5", "gp5", self.shape.batch)
        asm.store("gp5", State.ROWS)
        asm.load("gp7", State.START)
        asm.store("gp7", State.LOW)
        self._earlier_masks()
        asm.load("gp7", State.LOW)
        asm.load("gp8", State.END)
        asm("S_SUB_INT gp8, gp8, gp7")
        asm.store("gp8", State.SPAN)
        asm.li("gp9", self.memory.span)
        with asm.skip_if("C_BGEU", "gp9", "gp8"):
            asm.li("gp9", 3)
            asm("C_TRAP gp9")

    def _earlier_masks(self) -> None:
        """Masks before the block compete where a call sees them: LOW moves to the piece of the
        canvas that holds the first one."""
        asm, batch, samples = self.asm, self.shape.batch, self.shape.samples
        positions = self.earlier_positions
        asm(f"LIA a0, {self.layout.addresses['tokens']}, gp9, gp10")
        asm("S_ADDI_INT gp1, gp4, 0")
        again, done = asm.new_label("earlier"), asm.new_label("earlier_done")
        asm.label(again)
        asm.load("gp2", State.START)
        asm(f"C_BGEU gp1, gp2, {done}", "S_SUB_INT gp2, gp2, gp1")
        asm.li("gp3", positions)
        asm.minimum("gp2", "gp3")
        asm.scaled("gp5", "gp2", samples)
        asm.scaled("gp6", "gp1", 4 * batch)
        asm.li("gp7", self.memory.tokens)
        asm.csr("dma_pitch", 4 * batch)
        asm.csr("dma_len", samples)
        asm("H_LD_INT gp7, gp6, a0, gp2, 1", "C_FENCE 0xFFFF")
        asm.li("gp8", self.spec.mask_id)
        asm("V_CMP_INT gp0, gp7, gp8, gp5, eq", "V_COUNT gp6, gp0, gp5")
        asm.label("decide_earlier")
        with asm.skip_if("C_BEQ", "gp6", "gp0"):
            asm.store("gp1", State.LOW)
            asm(f"C_JUMP {done}")
        asm("S_ADD_INT gp1, gp1, gp2", f"C_JUMP {again}")
        asm.label(done)

    def _forward(self, padded: bool) -> None:
        asm, layout = self.asm, self.layout
        phases = self.phases

        def phase(number: int, name: str) -> None:
            asm.comment(f"phase {name}")
            asm.li("gp1", number)
            asm("C_MARK phase, gp1")

        phase(0, "embed")
        phases.embed()
        asm.li("gp1", layout.layer_base & 0xFFFFFFFF)
        asm.li("gp2", layout.layer_base >> 32)
        asm.store("gp1", State.LAYER_LOW)
        asm.store("gp2", State.LAYER_HIGH)
        asm.store("gp0", State.LAYER)
        again, layers_done = asm.new_label("layer"), asm.new_label("layers_done")
        asm.label(again)
        asm.load("gp1", State.LAYER)
        asm("C_MARK layer, gp1")
        asm.load("gp1", State.LAYER_LOW)
        asm.load("gp2", State.LAYER_HIGH)
        asm(f"C_SET_ADDR_REG {LAYER}, gp2, gp1")
        phase(1, "qkv")
        phases.qkv()
        phases.calibrate()
        phase(2, "attention")
        phases.attention(padded)
        phase(3, "o")
        phases.attention_output()
        phase(4, "gate_up")
        phases.gate_up()
        phase(5, "down")
        phases.down()
        asm.load("gp1", State.LAYER_LOW)
        asm.load("gp2", State.LAYER_HIGH)
        asm.li("gp3", layout.layer_stride)
        asm("S_ADD_INT gp1, gp1, gp3")
        with asm.skip_if("C_BGEU", "gp1", "gp3"):
            asm.add("gp2", "gp2", 1)
        asm.store("gp1", State.LAYER_LOW)
        asm.store("gp2", State.LAYER_HIGH)
        asm.load("gp1", State.LAYER)
        asm.add("gp1", "gp1", 1)
        asm.store("gp1", State.LAYER)
        asm.li("gp2", self.spec.layers)
        asm(f"C_BEQ gp1, gp2, {layers_done}", f"C_JUMP {again}")
        asm.label(layers_done)
        phase(6, "head")
        phases.head()

    def _sample(self) -> None:
        """Per row of the batch: which positions are committed, and the tokens there."""
        asm, plan, memory, width = self.asm, self.plan, self.memory, self.width
        batch, samples, length = self.shape.batch, self.shape.samples, self.shape.length
        asm.comment("sampling")
        asm.li("gp1", 7)
        asm("C_MARK phase, gp1")
        asm(f"LIA a0, {self.layout.addresses['tokens']}, gp9, gp10")
        asm(f"LIA a1, {self.layout.addresses['transfer_log']}, gp9, gp10")
        asm.store("gp0", State.LEFT)
        if plan.threshold is not None:
            # The published comparison is of float64 numbers: confidence >= threshold.
            threshold = np.float32(plan.threshold)
            if threshold < plan.threshold:
                threshold = np.nextafter(threshold, np.float32(math.inf))
            asm.li("gp9", int(threshold.view(np.uint32)))
            asm("S_SET_FP f4, gp9")
        row, span, low = "gp1", "gp2", "gp3"
        asm.li(row, 0)
        again = asm.new_label("row")
        asm.label(again)
        asm.load(span, State.SPAN)
        asm.load(low, State.LOW)
        self._load_tokens(row, low, span)
        asm.li("gp4", memory.tokens)
        asm.li("gp5", self.spec.mask_id)
        asm.li("gp6", self.masks)
        asm(f"V_CMP_INT gp6, gp4, gp5, {span}, eq")
        # gp7: positions to commit.
        if plan.threshold is not None:
            asm.li("gp7", 1)
        elif plan.factor is not None:
            self._by_factor(span)
            asm.li("gp4", memory.tokens)
        else:
            asm(f"S_LD_INT gp7, {row}, {memory.base}", f"S_LD_INT gp8, {row}, {memory.extra}")
            asm.load("gp9", State.STEP)
            with asm.skip_if("C_BGEU", "gp9", "gp8"):
                asm.add("gp7", "gp7", 1)
        asm(f"S_MUL_INT gp8, {row}, {span}")
        asm.add("gp9", "gp8", memory.words["maxima"])
        asm.li("gp10", self.transfer)
        asm(f"V_TOPK_FP gp10, gp9, gp6, gp7, {span}")
        if plan.threshold is not None:
            asm.li("gp11", self.above)
            asm(f"V_CMP_FP gp11, gp9, f4, {span}, ge")
        # A row of Vector SRAM at a time: candidates where committed.
        asm.add("gp8", "gp8", memory.candidates)
        asm(f"MV gp5, {span}")
        piece, pieces_done = asm.new_label("piece"), asm.new_label("pieces_done")
        asm.label(piece)
        asm.li("gp7", width)
        asm.minimum("gp7", "gp5")
        if plan.threshold is not None:
            asm("V_MUL_VV gp11, gp11, gp6", "V_MAX_VV gp10, gp10, gp11")
        asm("V_SELECT_INT gp4, gp8, gp4, gp10, gp7", "S_SUB_INT gp5, gp5, gp7")
        asm(f"C_BEQ gp5, gp0, {pieces_done}")
        for register in ("gp4", "gp6", "gp8", "gp10", "gp11"):
            asm.add(register, register, width)
        asm(f"C_JUMP {piece}")
        asm.label(pieces_done)
        # Canvas and log.
        asm.load(low, State.LOW)
        self._move_tokens("H_ST_INT", row, low, span)
        if batch != samples:
            self._commit_hidden(row, low, span)
        asm.load("gp4", State.CALL)
        asm.scaled("gp4", "gp4", samples)
        asm(f"S_ADD_INT gp4, gp4, {row}")
        asm.scaled("gp4", "gp4", length)
        asm(f"S_ADD_INT gp4, gp4, {low}")
        asm.scaled("gp4", "gp4", 2)
        asm.li("gp5", self.transfer)
        asm.li("gp6", 1)
        asm.csr("dma_format", 8)
        asm.csr("dma_pitch", 0)
        asm.csr_from("dma_len", span)
        asm("H_ST_V gp5, gp4, a1, gp6, 2")
        # Masks that are left in the block.
        asm.load("gp4", State.START)
        asm(f"S_SUB_INT gp4, gp4, {low}")
        asm.add("gp4", "gp4", memory.tokens)
        asm.li("gp5", self.spec.mask_id)
        asm.li("gp6", plan.block_length)
        asm("V_CMP_INT gp0, gp4, gp5, gp6, eq", "V_COUNT gp7, gp0, gp6")
        asm.load("gp8", State.LEFT)
        asm("S_ADD_INT gp8, gp8, gp7")
        asm.store("gp8", State.LEFT)
        asm("C_FENCE 0xFFFF")
        asm.add(row, row, 1)
        asm.li("gp4", samples)
        done = asm.new_label("rows_done")
        asm(f"C_BEQ {row}, gp4, {done}", f"C_JUMP {again}")
        asm.label(done)

    def _commit_hidden(self, row: str, low: str, span: str) -> None:
        """Guidance: the same tokens into the canvas in which the prompt is hidden. The tokens of
        the row are loaded again afterwards."""
        asm, memory, samples = self.asm, self.memory, self.shape.samples
        asm.add("gp14", row, samples)
        asm("C_FENCE 0xFFFF")
        self._load_tokens("gp14", low, span)
        asm(f"S_MUL_INT gp8, {row}, {span}")
        asm.add("gp8", "gp8", memory.candidates)
        asm.li("gp4", memory.tokens)
        asm.li("gp10", self.transfer)
        self._select("gp4", "gp8", "gp10", span)
        asm.load(low, State.LOW)
        self._move_tokens("H_ST_INT", "gp14", low, span)
        asm("C_FENCE 0xFFFF")
        self._load_tokens(row, low, span)

    def _select(self, tokens: str, candidates: str, transfer: str, span: str) -> None:
        """Candidates in place of tokens where the transfer says so, a row of lanes at a time.

        Uses gp5 and gp7, and advances the three registers.
        """
        asm = self.asm
        asm(f"MV gp5, {span}")
        piece, done = asm.new_label("piece"), asm.new_label("pieces_done")
        asm.label(piece)
        asm.li("gp7", self.width)
        asm.minimum("gp7", "gp5")
        asm(f"V_SELECT_INT {tokens}, {candidates}, {tokens}, {transfer}, gp7")
        asm("S_SUB_INT gp5, gp5, gp7", f"C_BEQ gp5, gp0, {done}")
        for register in (tokens, candidates, transfer):
            asm.add(register, register, self.width)
        asm(f"C_JUMP {piece}")
        asm.label(done)

    def _by_factor(self, span: str) -> None:
        """gp7 <- how many the factor rule commits (facts 3.5): with n eligible ones, i - 1 for the
        first i in 2..n-1 whose i-th largest confidence is below 1 - factor / (i + 1), else n.

        The i-th largest is below a limit where fewer than i reach it. Uses gp4..gp14.
        """
        asm, memory, plan = self.asm, self.memory, self.plan
        assert plan.factor is not None
        asm.li("gp8", self.masks)
        asm(f"V_COUNT gp9, gp8, {span}")
        asm(f"S_MUL_INT gp10, gp1, {span}")
        asm.add("gp10", "gp10", memory.words["maxima"])
        asm.li("gp11", int(np.float32(plan.factor).view(np.uint32)))
        asm("S_SET_FP f4, gp11")
        asm.li("gp11", int(np.float32(1).view(np.uint32)))
        asm("S_SET_FP f5, gp11")
        asm.li("gp4", 2)
        again, failed, done = (asm.new_label(f"factor_{n}") for n in ("rank", "failed", "done"))
        asm.label(again)
        asm("MV gp7, gp9", f"C_BGEU gp4, gp9, {done}")
        asm.add("gp5", "gp4", 1)
        asm("S_ITOF f1, gp5", "S_RECI_FP f1, f1", "S_MUL_FP f1, f1, f4", "S_SUB_FP f1, f5, f1")
        asm.li("gp11", self.above)
        asm(f"V_CMP_FP gp11, gp10, f1, {span}, ge")
        asm.li("gp12", self.masks)
        for _ in range(memory.mask_rows):
            asm("V_MUL_VV gp11, gp11, gp12")
            asm.add("gp11", "gp11", self.width)
            asm.add("gp12", "gp12", self.width)
        asm.li("gp11", self.above)
        asm(f"V_COUNT gp12, gp11, {span}", f"C_BLTU gp12, gp4, {failed}")
        asm.add("gp4", "gp4", 1)
        asm(f"C_JUMP {again}")
        asm.label(failed)
        asm.add("gp7", "gp4", -1)
        asm.label(done)

    def _log(self) -> None:
        """The record of the call, the canvas behind it, and a word for the host."""
        asm, addresses = self.asm, self.layout.addresses
        bytes_of_canvas = 4 * self.shape.batch * self.shape.length
        asm.comment("record of the call")
        words = (
            State.KIND, State.BLOCK, State.STEP, State.FIRST,
            State.COUNT, State.LOW, State.SPAN, State.LEFT,
        )  # fmt: skip
        for index, word in enumerate(words):
            asm.load("gp1", word)
            asm.store("gp1", State.LOG + index)
        asm(f"LIA a1, {addresses['call_log']}, gp1, gp2")
        asm(f"LIA a2, {addresses['canvas_log']}, gp1, gp2")
        asm.load("gp1", State.CALL)
        asm.scaled("gp2", "gp1", 4 * LOG_WORDS)
        asm.li("gp3", State.LOG)
        asm.li("gp4", 1)
        asm.csr("dma_pitch", 0)
        asm.csr("dma_len", LOG_WORDS)
        asm("H_ST_INT gp3, gp2, a1, gp4, 1")
        asm.scaled("gp2", "gp1", bytes_of_canvas)
        asm.csr("dma_rows", 1)
        asm.csr("dma_len", bytes_of_canvas)
        asm("H_COPY a2, gp2, a0, gp0, 1", "C_FENCE 0xFFFF", "C_HOST_PUSH gp1")
        asm.add("gp1", "gp1", 1)
        asm.store("gp1", State.CALL)

    def _follow(self) -> None:
        """Another core samples; what it found is in its record of the call."""
        asm = self.asm
        asm.comment("the first core samples")
        self.phases.meet()
        asm(f"LIA a1, {self.layout.addresses['call_log']}, gp1, gp2")
        asm.load("gp1", State.CALL)
        asm.scaled("gp2", "gp1", 4 * LOG_WORDS)
        asm.li("gp3", State.LOG)
        asm.li("gp4", 1)
        asm.csr("dma_pitch", 0)
        asm.csr("dma_len", LOG_WORDS)
        asm("H_LD_INT gp3, gp2, a1, gp4, 1", "C_FENCE 2")
        asm.load("gp3", State.LOG + LOG_WORDS - 1)
        asm.store("gp3", State.LEFT)
        asm.add("gp1", "gp1", 1)
        asm.store("gp1", State.CALL)

    def _end_step(self, again: str, next_block: str) -> None:
        """Whether the block goes on; what the published revisions do (facts 2 and 3.2)."""
        asm, plan = self.asm, self.plan
        asm.load("gp1", State.STEP)
        asm.add("gp1", "gp1", 1)
        asm.store("gp1", State.STEP)
        asm.li("gp2", plan.steps_per_block)
        go_on = asm.new_label("go_on")
        if plan.revision == "llada":
            asm(f"C_BNE gp1, gp2, {go_on}", f"C_JUMP {next_block}")
        else:
            if plan.cache == "dual" and plan.revision == "fast-dllm-2026":
                asm(f"C_BEQ gp1, gp2, {next_block}")
            asm.load("gp3", State.LEFT)
            asm.label("decide_left")
            asm(f"C_BNE gp3, gp0, {go_on}")
            if plan.cache != "none" and plan.revision == "fast-dllm-2025":
                # Its loop tests at the end, so that one refine pass always runs.
                asm.li("gp4", 2)
                asm(f"C_BLTU gp1, gp4, {go_on}")
            asm(f"C_JUMP {next_block}")
        asm.label(go_on)
        asm(f"C_JUMP {again}")
