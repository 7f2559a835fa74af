"""The generation itself as firmware: blocks, steps, what a call computes, sampling, the end."""

from npuvp.compiler.phases import LAYER
from npuvp.compiler.selection import Selection
from npuvp.compiler.state import State

__all__ = ["LAUNCH_SEMAPHORE", "LOG_WORDS", "TRAPS", "Control"]

#: Words of a record of the call log.
LOG_WORDS = 8
#: Semaphore with which the host launches a call of a generation that it drives.
LAUNCH_SEMAPHORE = 0
#: What the codes of C_TRAP mean.
TRAPS = {
    1: "a step has no quota: the block has masks left after its last step; the published code "
    "fails here with an IndexError",
    2: "the model predicts the mask token wherever a token is committed; the published code would "
    "repeat this step for ever",
    3: "masks outside the block compete, and their state does not fit in INT SRAM or FP SRAM",
}


class Control(Selection):
    """Emits the generation around the phases.

    Attributes:
        host_driven: Whether the host launches every call.
    """

    host_driven = False

    def program(self, padded: bool) -> None:
        """The whole text."""
        asm = self.asm
        asm.comment("generation: blocks from left to right")
        self._seed()
        for word in (State.BLOCK, State.CALL):
            asm.store("gp0", word)
        self._begin()
        asm.li("gp1", self.shape.prompt)
        asm.store("gp1", State.START)
        block, step = asm.new_label("block"), asm.new_label("step")
        next_block = asm.new_label("next_block")
        asm.label(block)
        asm.load("gp1", State.BLOCK)
        asm("C_MARK block, gp1")
        asm.load("gp1", State.START)
        asm.add("gp1", "gp1", self.schedule.length)
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
        asm.add("gp1", "gp1", self.schedule.length)
        asm.store("gp1", State.START)
        asm.load("gp1", State.BLOCK)
        asm.add("gp1", "gp1", 1)
        asm.store("gp1", State.BLOCK)
        asm.li("gp2", self.schedule.blocks)
        done = asm.new_label("done")
        asm(f"C_BEQ gp1, gp2, {done}", f"C_JUMP {block}")
        asm.label(done)
        self._halt()

    def _seed(self) -> None:
        """The key of all random draws."""
        if self.phases.sampler.draws:
            self.asm.csr("rng_key0", self.plan.seed & 0xFFFFFFFF)
            self.asm.csr("rng_key1", self.plan.seed >> 32)

    def _halt(self) -> None:
        """The end of the generation."""
        self.asm("C_FENCE 0xFFFF")
        if self.phases.leads:
            self.asm("C_DOORBELL gp0")
        self.asm("C_HALT gp0")

    def _begin(self) -> None:
        """State that a schedule of its own needs."""

    def _quotas(self) -> None:
        """Per row of the batch: floor(masked / steps), and how many steps take one more."""
        asm, memory, samples = self.asm, self.memory, self.shape.samples
        if not self.by_quota or not self.phases.leads:
            return
        asm.comment("quotas of the block")
        asm(f"LIA a0, {self.layout.addresses['tokens']}, gp1, gp2")
        asm.li("gp1", 0)
        again = asm.new_label("quota")
        asm.label(again)
        asm.load("gp2", State.START)
        self._load_tokens("gp1", "gp2", self.schedule.length)
        asm.li("gp3", memory.tokens)
        asm.li("gp4", self.spec.mask_id)
        asm.li("gp5", self.schedule.length)
        asm("V_CMP_INT gp0, gp3, gp4, gp5, eq", "V_COUNT gp6, gp0, gp5")
        asm.li("gp7", 0)
        asm.li("gp8", self.schedule.steps)
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

    def _begin_call(self) -> None:
        """Which positions are computed, and which of them compete."""
        asm, plan, length = self.asm, self.plan, self.shape.length
        asm.comment("what the call computes")
        asm.load("gp1", State.STEP)
        asm("C_MARK step, gp1")
        self._count_call()
        if self.by_quota:
            asm.li("gp3", self.schedule.steps)
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
                    asm.li("gp5", self.schedule.length)
                else:
                    asm("S_SUB_INT gp5, gp5, gp4")
        asm.store("gp4", State.FIRST)
        asm.store("gp5", State.COUNT)
        asm.store("gp6", State.KIND)
        asm.scaled("gp5", "gp5", self.shape.batch)
        asm.store("gp5", State.ROWS)
        self._competing()

    def _count_call(self) -> None:
        """A call more: not more than can make progress."""
        asm = self.asm
        if self.host_driven:
            self._await_host()
        asm.load("gp2", State.CALL)
        asm("C_MARK call, gp2")
        asm.li("gp3", self.shape.calls)
        with asm.skip_if("C_BLTU", "gp2", "gp3"):
            asm.li("gp3", 2)
            asm("C_TRAP gp3")

    def _await_host(self) -> None:
        """The host is told which call comes next (counted from 1: 0 is the end), and launches it."""
        asm = self.asm
        asm.comment("the host launches the call")
        if self.phases.leads:
            asm.load("gp2", State.CALL)
            asm.add("gp2", "gp2", 1)
            asm.li("gp3", LAUNCH_SEMAPHORE)
            asm("C_DOORBELL gp2")
            asm.li("gp2", 1)
            asm("C_SEM_WAIT gp3, gp2")
        self.phases.meet()

    def _competing(self) -> None:
        """LOW and SPAN: the positions whose logits are wanted. gp4 is the call's first one."""
        asm = self.asm
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
        positions = self.memory.earlier_positions
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
        self._layers(padded)
        self._phase("head")
        self.phases.head()

    def _layers(self, padded: bool) -> None:
        """Everything before the head."""
        asm, layout = self.asm, self.layout
        phases, phase = self.phases, self._phase
        phase("embed")
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
        phase("qkv")
        phases.qkv()
        phases.calibrate()
        phase("attention")
        phases.attention(padded)
        phase("o")
        phases.attention_output()
        if self.spec.moe is None:
            phase("gate_up")
            phases.gate_up()
            phase("down")
            phases.down()
        else:
            phase("experts")
            phases.experts()
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
        asm.li("gp1", 0xFFFFFFFF)  # no layer from here on
        asm("C_MARK layer, gp1")

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
        asm.li("gp2", self.schedule.steps)
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
