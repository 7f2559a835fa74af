"""Which positions are committed, in firmware: the canvas, the scores, the rules of the plan."""

import math
from dataclasses import dataclass

import numpy as np

from npuvp.compiler.assembly import Assembly
from npuvp.compiler.errors import CompileError
from npuvp.compiler.head import Forward
from npuvp.compiler.layout import Allocator, Geometry, Shape
from npuvp.compiler.sampler import Sampler
from npuvp.compiler.state import PHASES, State
from npuvp.model.spec import ModelSpec
from npuvp.plan import GenerationPlan

__all__ = ["Memory", "Schedule", "Selection"]


@dataclass(frozen=True)
class Schedule:
    """Blocks and steps as the firmware goes through them.

    Attributes:
        blocks: How many.
        length: Positions of each.
        steps: Denoising steps of each.
        calls: Most forward calls that can happen: a call commits a token at least, or the block
            ends after its steps; the revision of 2025 adds a call that may commit nothing.
    """

    blocks: int
    length: int
    steps: int
    calls: int

    @classmethod
    def of(cls, plan: GenerationPlan) -> "Schedule":
        """That of a plan; Dream without a cache knows no blocks."""
        if plan.revision == "dream" and plan.cache == "none":
            more = plan.gen_length if plan.threshold is not None else 0
            return cls(1, plan.gen_length, plan.steps, plan.steps + more)
        if plan.revision == "fast-dllm-v2":
            # The prompt, and in every block its positions and the block when it is finished.
            return cls(plan.blocks, plan.block_length, 1, 1 + plan.blocks * (plan.block_length + 1))
        length, steps = plan.block_length, plan.steps_per_block
        return cls(plan.blocks, length, steps, plan.blocks * (max(steps, length) + 1))


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
        least = Schedule.of(plan).length
        # Tokens of a row of the batch, and candidates of all rows.
        # Bounds as well, where it is found out which tokens remain.
        arrays = 2 if sampler.restricted else 1
        room = (geometry.int_words - words.used) // (arrays * shape.samples + 1)
        names = (*sampler.words, *sampler.search_words, *(("arrived",) if cores > 1 else ()))
        per_position = len(names) * shape.samples
        # Behind them two words for constants that a sampler loads.
        constants = 2 if plan.revision == "dream" else 0
        self.span = min(wanted, room, (geometry.fp_words - constants) // per_position)
        self.constants = len(names) * shape.samples * self.span
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
        self.bounds = words.take("bounds", (arrays - 1) * shape.samples * self.span)
        self.words = {name: index * shape.samples * self.span for index, name in enumerate(names)}
        self.mask_rows = -(-self.span // geometry.width)
        # Of all samples at once, in the words for tokens and candidates, which are adjacent.
        elements = geometry.vector_rows * geometry.width
        self.earlier_positions = max(1, min(self.span, shape.length, elements // shape.samples))


class Selection:
    """Emits sampling behind the head.

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
        self.schedule = Schedule.of(plan)
        self.layout = phases.layout
        self.width = phases.geometry.width
        # Vector SRAM during sampling, in elements.
        rows = memory.mask_rows * self.width
        self.masks, self.transfer, self.above, self.ranked = 0, rows, 2 * rows, 3 * rows

    @property
    def by_quota(self) -> bool:
        """Whether the plan commits LLaDA's quotas."""
        return self.plan.threshold is None and self.plan.factor is None

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

    def _phase(self, name: str) -> None:
        self.asm.comment(f"phase {name}")
        self.asm.li("gp1", PHASES.index(name))
        self.asm("C_MARK phase, gp1")

    def _sample(self) -> None:
        """Per row of the batch: which positions are committed, and the tokens there."""
        asm, memory = self.asm, self.memory
        batch, samples, length = self.shape.batch, self.shape.samples, self.shape.length
        self._phase("sampling")
        asm(f"LIA a0, {self.layout.addresses['tokens']}, gp9, gp10")
        asm(f"LIA a1, {self.layout.addresses['transfer_log']}, gp9, gp10")
        asm.store("gp0", State.LEFT)
        self._prepare()
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
        self._choose(span)
        asm.li("gp4", memory.tokens)
        asm(f"S_MUL_INT gp8, {row}, {span}")
        asm.add("gp8", "gp8", memory.candidates)
        asm.li("gp10", self.transfer)
        self._select("gp4", "gp8", "gp10", span)
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
        self._count_left(row, low)
        asm.load("gp8", State.LEFT)
        asm("S_ADD_INT gp8, gp8, gp7")
        asm.store("gp8", State.LEFT)
        asm("C_FENCE 0xFFFF")
        asm.add(row, row, 1)
        asm.li("gp4", samples)
        done = asm.new_label("rows_done")
        asm(f"C_BEQ {row}, gp4, {done}", f"C_JUMP {again}")
        asm.label(done)

    def _prepare(self) -> None:
        """What the choice in all rows of the batch needs."""
        if self.plan.threshold is not None:
            self._threshold(self.plan.threshold)

    def _threshold(self, threshold: float) -> None:
        """f4 <- the least float32 that reaches it: the published comparison is of float64 numbers,
        confidence >= threshold."""
        least = np.float32(threshold)
        if least < threshold:
            least = np.nextafter(least, np.float32(math.inf))
        self.asm.li("gp9", int(least.view(np.uint32)))
        self.asm("S_SET_FP f4, gp9")

    def _choose(self, span: str) -> None:
        """The rows at `transfer` <- what of the row of the batch gp1 is committed: of `span`
        positions those that are masked (rows at gp6), by their scores.

        Uses gp4..gp14.
        """
        asm, plan, memory = self.asm, self.plan, self.memory
        if plan.threshold is not None:
            asm.li("gp7", 1)
        elif plan.factor is not None:
            self._by_factor(span)
        else:
            asm(f"S_LD_INT gp7, gp1, {memory.base}", f"S_LD_INT gp8, gp1, {memory.extra}")
            asm.load("gp10", State.STEP)
            with asm.skip_if("C_BGEU", "gp10", "gp8"):
                asm.add("gp7", "gp7", 1)
        self._best(self.transfer, self.masks, span)
        if plan.threshold is not None:
            asm.li("gp11", self.above)
            asm(f"V_CMP_FP gp11, gp9, f4, {span}, ge")
            self._rows_of(
                span,
                {"gp6": self.masks, "gp10": self.transfer, "gp11": self.above},
                "V_MUL_VV gp11, gp11, gp6",
                "V_MAX_VV gp10, gp10, gp11",
            )

    def _best(self, to: int, among: int, span: str) -> None:
        """Rows at `to` <- the gp7 best of those marked in the rows at `among`; gp9 <- the words
        that hold the scores."""
        asm = self.asm
        self._scores("gp9", span)
        asm.li("gp10", to)
        asm.li("gp6", among)
        asm(f"V_TOPK_FP gp10, gp9, gp6, gp7, {span}")

    def _scores(self, register: str, span: str) -> None:
        """register <- the first word of the scores of the row of the batch gp1."""
        self.asm(f"S_MUL_INT {register}, gp1, {span}")
        self.asm.add(register, register, self.memory.words["maxima"])

    def _rows_of(self, span: str, pointers: dict[str, int], *statements: str) -> None:
        """Statements for every row of Vector SRAM that `span` lanes take; uses gp5 and gp7."""
        asm = self.asm
        for register, address in pointers.items():
            asm.li(register, address)
        asm(f"MV gp5, {span}")
        again, done = asm.new_label("mask_row"), asm.new_label("mask_rows_done")
        asm.label(again)
        asm(*statements)
        asm.li("gp7", self.width)
        asm.minimum("gp7", "gp5")
        asm("S_SUB_INT gp5, gp5, gp7", f"C_BEQ gp5, gp0, {done}")
        for register in pointers:
            asm.add(register, register, self.width)
        asm(f"C_JUMP {again}")
        asm.label(done)

    def _count_left(self, row: str, low: str) -> None:
        """gp7 <- masks that are left in the block, of the tokens from `low` on."""
        asm = self.asm
        asm.load("gp4", State.START)
        asm(f"S_SUB_INT gp4, gp4, {low}")
        asm.add("gp4", "gp4", self.memory.tokens)
        self._count_masks("gp4", self.schedule.length)

    def _count_masks(self, tokens: str, count: int | str) -> None:
        """gp7 <- how many of the tokens at a word of INT SRAM are the mask. Uses gp5, gp6."""
        asm = self.asm
        asm.li("gp5", self.spec.mask_id)
        if isinstance(count, int):
            asm.li("gp6", count)
        else:
            asm(f"MV gp6, {count}")
        asm(f"V_CMP_INT gp0, {tokens}, gp5, gp6, eq", "V_COUNT gp7, gp0, gp6")

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
        self._scores("gp10", span)
        asm.li("gp11", int(np.float32(plan.factor).view(np.uint32)))
        asm("S_SET_FP f4, gp11")
        asm.li("gp11", int(np.float32(1).view(np.uint32)))
        asm("S_SET_FP f5, gp11")
        asm.li("gp4", 2)
        again, failed, done = (asm.new_label(f"factor_{n}") for n in ("rank", "failed", "done"))
        asm.label(again)
        asm("MV gp7, gp9")
        asm.label("decide_masked")
        asm(f"C_BGEU gp4, gp9, {done}")
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
        asm(f"V_COUNT gp12, gp11, {span}")
        asm.label("decide_reached")
        asm(f"C_BLTU gp12, gp4, {failed}")
        asm.add("gp4", "gp4", 1)
        asm(f"C_JUMP {again}")
        asm.label(failed)
        asm.add("gp7", "gp4", -1)
        asm.label(done)
