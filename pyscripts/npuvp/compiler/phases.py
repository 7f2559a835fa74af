"""The phases of a forward call, each as a routine over tiles of rows.

Between phases activations are in HBM, so that no phase depends on the number of tokens for its
footprint. Rows are position-major over the batch (row = position * B + b): what a call computes,
stores and attends to is one contiguous range of every table.
"""

import math
from collections.abc import Callable

from npuvp.compiler.assembly import Assembly
from npuvp.compiler.emitter import GLOBAL, LAYER, OTHER
from npuvp.compiler.formats import Stored
from npuvp.compiler.kv_cache import KeysAndValues
from npuvp.compiler.layout import Layout
from npuvp.compiler.linear import (
    BLOCK,
    CHUNKS,
    GROUP,
    PANEL,
    PANELS,
    W_BLOCK,
    W_PANEL,
    X_BLOCK,
    X_GROUP,
    Y_GROUP,
    Y_PANEL,
    A,
    B,
    Panels,
    Weights,
)
from npuvp.compiler.state import State

__all__ = ["LAYER", "Phases"]


class Phases(KeysAndValues):
    """Emits the phases.

    Args:
        asm: Where to.
        layout: Of memory.
        tokens_at: Words of INT SRAM from here on are free for token ids.
        confidences: FP SRAM and INT SRAM addresses of the maxima, sums and candidates of the head.
        guidance: Scale of classifier-free guidance; 0: none.
        core: For which of the cores that share the work.
    """

    def __init__(
        self,
        asm: Assembly,
        layout: Layout,
        tokens_at: int,
        maxima: int,
        sums: int,
        candidates: int,
        guidance: float = 0.0,
        core: int = 0,
    ):
        super().__init__(asm, layout, core)
        self.tokens_at = tokens_at
        self.maxima, self.sums, self.candidates = maxima, sums, candidates
        self.guidance = guidance

    @property
    def embedded_rows(self) -> int:
        """Rows that a core fetches from the embedding at once; the cores take turns."""
        geometry, shape, cores = self.geometry, self.layout.shape, self.layout.cores
        blocks = -(-self.layout.spec.hidden // geometry.width)
        positions = shape.length if cores == 1 else -(-shape.span // cores)
        room = min(geometry.int_words - self.tokens_at, shape.batch * positions)
        return min(room, geometry.vector_rows // blocks)

    # Phases

    def embed(self) -> None:
        """x <- rows of the embedding."""
        asm, spec = self.asm, self.layout.spec
        rows, cores = self.embedded_rows, self.layout.cores
        embedding, x = self.layout.stored["embedding"], self.layout.stored["x"]
        self._address(GLOBAL, "embedding")
        self._address(OTHER, "x")
        self._address("a3", "tokens")

        def tile() -> None:
            asm.load(A, State.FIRST)
            asm.scaled(A, A, self.layout.shape.batch)
            asm.load(B, State.TILE)
            asm(f"S_ADD_INT {A}, {A}, {B}")
            asm.scaled(A, A, 4)
            asm.load(B, State.TILE_ROWS)
            asm.li(X_BLOCK, self.tokens_at)
            asm.csr("dma_pitch", 0)
            asm.csr("dma_len", 1)
            asm(f"H_LD_INT {X_BLOCK}, {A}, a3, {B}, 1", "C_FENCE 0xFFFF")
            self.tiles.memory_rows(embedding, spec.hidden)
            asm.label("decide_row")
            asm(f"H_GATHER_V gp0, {X_BLOCK}, {GLOBAL}, {B}, 1")
            asm.load(A, State.TILE)
            asm.scaled(A, A, x.pitch)
            self.tiles.memory_rows(x, spec.hidden)
            asm(f"H_ST_V gp0, {A}, {OTHER}, {B}, 2")

        self.tiles.over_tiles(rows, State.ROWS, tile, self.core, cores)
        self._end()

    def _residual(self, name: str, source: str, role: str) -> None:
        """x <- x + source . transpose(weights)."""
        asm, spec, geometry = self.asm, self.layout.spec, self.geometry
        stored = self.layout.stored
        inputs = stored[source].columns
        blocks = -(-inputs // geometry.width)
        rows = self._tile_rows(name, blocks + 2, 0)
        memory = self._vector()
        x = self._tile(memory, source, rows, inputs)
        y = self._rows(memory, "chunk", rows)
        old = self._rows(memory, "residual", rows)
        self._address(GLOBAL, source)
        self._address(OTHER, "x")
        weights = self._layer_weights(role, spec.hidden, geometry.blen)
        panels = Panels.plan(geometry, role, inputs, weights.outputs, 0)

        def add(columns: int) -> None:
            self.tiles.move_chunk("H_LD_V", old, columns, OTHER, stored["x"])
            self.tiles.for_rows(
                {X_GROUP: y, Y_GROUP: old},
                lambda: asm(f"V_ADD_VV {X_GROUP}, {X_GROUP}, {Y_GROUP}"),
            )
            self.tiles.move_chunk("H_ST_V", y, columns, OTHER, stored["x"])

        def tile() -> None:
            self.tiles.move("H_LD_V", x, GLOBAL, stored[source], State.TILE, State.TILE_ROWS)
            self._quantise(x)
            self.tiles.product(x, y, weights, panels, add, 2 * geometry.width)

        self.tiles.over_tiles(rows, State.ROWS, tile)
        self._end()

    def attention_output(self) -> None:
        """x <- x + o . transpose(Wo)."""
        self._residual("o", "o", "o")

    def down(self) -> None:
        """x <- x + gated . transpose(Wdown)."""
        self._residual("down", "gated", "down")

    def gate_up(self) -> None:
        """gated <- silu(gate) * up, of the normalised x."""
        asm, spec, geometry = self.asm, self.layout.spec, self.geometry
        width = geometry.width
        blocks = -(-spec.hidden // width)
        rows = self._tile_rows("gate_up", blocks + 2, blocks + 1)
        memory = self._vector()
        x = self._tile(memory, "x", rows, spec.hidden)
        y = self._rows(memory, "chunk", rows)
        other = self._rows(memory, "gate", rows)
        weight = self._rows(memory, "mlp_norm", blocks)
        square = self._rows(memory, "squares", 1)
        self._load_norm(LAYER, "mlp_norm", weight)
        self._address(GLOBAL, "x")
        self._address(OTHER, "gated")
        gated = self.layout.stored["gated"]

        def silu(columns: int) -> None:
            self._float("f3", -1.0)
            self._float("f4", 1.0)
            self.tiles.for_rows(
                {X_GROUP: y, Y_GROUP: other},
                lambda: asm(
                    f"V_MUL_VF {Y_GROUP}, {X_GROUP}, f3",
                    f"V_EXP_V {Y_GROUP}, {Y_GROUP}, 0",
                    f"V_ADD_VF {Y_GROUP}, {Y_GROUP}, f4",
                    f"V_RECI_V {Y_GROUP}, {Y_GROUP}, 0",
                    f"V_MUL_VV {X_GROUP}, {X_GROUP}, {Y_GROUP}",
                ),
            )
            self.tiles.move_chunk("H_ST_V", y, columns, OTHER, gated)

        def multiply(columns: int) -> None:
            self.tiles.move_chunk("H_LD_V", other, columns, OTHER, gated)
            self.tiles.for_rows(
                {X_GROUP: y, Y_GROUP: other},
                lambda: asm(f"V_MUL_VV {X_GROUP}, {X_GROUP}, {Y_GROUP}"),
            )
            self.tiles.move_chunk("H_ST_V", y, columns, OTHER, gated)

        def tile() -> None:
            self.tiles.move(
                "H_LD_V", x, GLOBAL, self.layout.stored["x"], State.TILE, State.TILE_ROWS
            )
            self._norm(x, weight, square)
            self._quantise(x)
            for role, epilogue in (("gate", silu), ("up", multiply)):
                weights = self._layer_weights(role, spec.mlp, geometry.blen)
                panels = Panels.plan(geometry, role, spec.hidden, weights.outputs, 0)
                self.tiles.product(x, y, weights, panels, epilogue, 2 * width)
                asm("C_FENCE 4")

        self.tiles.over_tiles(rows, State.ROWS, tile)
        self._end()

    def head(self) -> None:
        """For every sampled row: running maximum with its token, and the sum of exponentials.

        On one core with logits in BF16 a chunk of the vocabulary is used where it is made and never
        stored. Otherwise every core stores its columns of the logits, in their format, and then
        goes through the whole vocabulary for its positions, in the same order as one core would.

        The state of position i of row b of the batch is word b * SPAN + i.
        """
        asm, spec, geometry, shape = self.asm, self.layout.spec, self.geometry, self.layout.shape
        layout = self.layout
        width = geometry.width
        blocks = -(-spec.hidden // width)
        rows = self._tile_rows("head", blocks + 1, blocks + 3)
        if self.guidance or layout.stores_logits:
            # The rows with and without the prompt, or all of a position, must be in one tile.
            rows = layout.whole_positions
        memory = self._vector()
        x = self._tile(memory, "x", rows, spec.hidden)
        y = self._rows(memory, "logits", rows)
        weight = self._rows(memory, "final_norm", blocks)
        square = self._rows(memory, "squares", 1)
        seen = self._rows(memory, "vocabulary mask", 1)
        lowest = self._rows(memory, "row of -inf", 1)
        self._address(GLOBAL, "final_norm")
        self._load_norm(GLOBAL, "final_norm", weight)
        self._address(GLOBAL, "vocab_mask")
        asm.li(A, seen)
        asm.li(B, 1)
        self.tiles.memory_rows(Stored("vocab_mask", 0, width), width)
        asm(f"H_LD_V {A}, gp0, {GLOBAL}, {B}, 1")
        self._float("f5", -math.inf)
        asm.li(A, width)
        asm.li(B, lowest)
        asm(f"V_SHFT_V {B}, {B}, {A}", f"V_ADD_VF {B}, {B}, f5")
        self._address(GLOBAL, "x")
        self._address(OTHER, "head")
        if layout.stores_logits:
            self._address("a3", "logits")
        # Rows of the call to skip, and how many there are.
        asm.load(A, State.LOW)
        asm.load(B, State.FIRST)
        asm(f"S_SUB_INT {A}, {A}, {B}")
        asm.scaled(A, A, shape.batch)
        asm.store(A, State.ROW)
        asm.load(A, State.SPAN)
        asm.scaled(B, A, shape.batch)
        asm.store(B, State.HEAD_ROWS)
        # Nothing seen yet.
        asm.scaled(GROUP, A, shape.samples)
        asm.li(A, 0)
        with asm.repeat(GROUP):
            asm(f"S_ST_FP f5, {A}, {self.maxima}", f"S_ST_FP f0, {A}, {self.sums}")
            asm(f"S_ST_INT gp0, {A}, {self.candidates}")
            asm.add(A, A, 1)

        word, row_of_batch, token, span, index = Y_PANEL, PANELS, W_PANEL, W_BLOCK, Y_GROUP
        hidden, samples = PANEL, BLOCK

        first, count = State.TILE, State.TILE_ROWS
        if layout.stores_logits:
            first, count = State.OFFSET, State.REMAINING

        def statistics(columns: int) -> None:
            # Word and batch row of the first row.
            asm.load(A, first)
            asm.load(span, State.SPAN)
            asm.li(word, 0)
            if shape.batch > 1:
                asm.li(B, shape.batch)
                again, done = asm.new_label("position"), asm.new_label("position_done")
                asm.label(again)
                asm(f"C_BLTU {A}, {B}, {done}")
                asm(f"S_SUB_INT {A}, {A}, {B}")
                asm.add(word, word, 1)
                asm(f"C_JUMP {again}")
                asm.label(done)
                asm(f"MV {row_of_batch}, {A}", f"S_MUL_INT {A}, {A}, {span}")
                asm(f"S_ADD_INT {word}, {word}, {A}")
            else:
                asm(f"MV {word}, {A}")
            asm.load(token, State.COLUMN)
            if self.guidance:
                asm.li(samples, shape.samples)
                self._float("f4", self.guidance + 1)
                asm.li(hidden, y + shape.samples * width)

            def row() -> None:
                if self.guidance:
                    # u + (scale + 1) (c - u), in the rows with the prompt.
                    with asm.skip_if("C_BGEU", row_of_batch, samples):
                        row_with_prompt()
                    asm.add(hidden, hidden, width)
                    step()
                else:
                    row_with_prompt()
                    step()

            def row_with_prompt() -> None:
                if self.guidance:
                    asm(
                        f"V_SUB_VV {X_GROUP}, {X_GROUP}, {hidden}",
                        f"V_MUL_VF {X_GROUP}, {X_GROUP}, f4",
                        f"V_ADD_VV {X_GROUP}, {X_GROUP}, {hidden}",
                    )
                if columns < width:
                    asm.li(A, seen)
                    asm.li(B, lowest)
                    asm(f"V_SELECT_VVM {X_GROUP}, {X_GROUP}, {B}, {A}")
                asm(
                    f"S_LD_FP f1, {word}, {self.maxima}",
                    f"S_LD_FP f2, {word}, {self.sums}",
                    f"S_LD_INT {index}, {word}, {self.candidates}",
                    "S_ADD_FP f3, f1, f0",
                    f"V_RED_MAX_IDX {index}, {X_GROUP}, {token}, f1",
                    "S_SUB_FP f3, f3, f1",
                    "S_EXP_FP f3, f3",
                    "S_MUL_FP f2, f2, f3",
                    f"V_SUB_VF {X_GROUP}, {X_GROUP}, f1, 0, 0",
                    f"V_EXP_V {X_GROUP}, {X_GROUP}, 0",
                    f"V_RED_SUM f2, {X_GROUP}",
                    f"S_ST_FP f1, {word}, {self.maxima}",
                    f"S_ST_FP f2, {word}, {self.sums}",
                    f"S_ST_INT {index}, {word}, {self.candidates}",
                )

            def step() -> None:
                if shape.batch > 1:
                    # The next row is the same position of the next row of the batch.
                    asm(f"S_ADD_INT {word}, {word}, {span}")
                    asm.add(row_of_batch, row_of_batch, 1)
                    asm.li(A, shape.batch)
                    with asm.skip_if("C_BNE", row_of_batch, A):
                        asm.li(row_of_batch, 0)
                        asm(f"S_MUL_INT {A}, {A}, {span}", f"S_SUB_INT {word}, {word}, {A}")
                        asm.add(word, word, 1)
                else:
                    asm.add(word, word, 1)

            self.tiles.for_rows({X_GROUP: y}, row, count)

        first_token, tokens = self.share(spec.vocab, layout.logits.block)
        weights = Weights(OTHER, layout.stored["head"], tokens, first_token)
        panels = Panels.plan(geometry, "head", spec.hidden, tokens, 0)

        def tile() -> None:
            self.tiles.move(
                "H_LD_V", x, GLOBAL, layout.stored["x"], State.TILE, State.TILE_ROWS, State.ROW
            )
            self._norm(x, weight, square)
            self._quantise(x)
            if not layout.stores_logits:
                self.tiles.product(x, y, weights, panels, statistics, width)
                return
            self.tiles.product(
                x, y, weights, panels, lambda columns: self._logits("H_ST_V", y, columns, 0), width
            )
            self._end()
            self._through_logits(y, rows, statistics)
            self.meet()

        self.tiles.over_tiles(rows, State.HEAD_ROWS, tile)
        if layout.cores > 1:
            self._gather_statistics()
        if self.leads:
            self._confidences()

    def _logits(self, operation: str, y: int, columns: int, row: int) -> None:
        """A chunk of stored logits, columns from COLUMN on, of the tile's rows from `row` on (moved
        into Vector SRAM: of as many as REMAINING says)."""
        asm, logits = self.asm, self.layout.stored["logits"]
        asm.load(A, State.COLUMN)
        asm.scaled(A, A, logits.bits)
        asm.li(B, 3)
        asm(f"S_SHR_INT {A}, {A}, {B}")
        asm.add(A, A, row * logits.pitch)
        asm.load(B, State.TILE_ROWS if operation == "H_ST_V" else State.REMAINING)
        asm.li(X_BLOCK, y)
        self.tiles.memory_rows(logits, columns)
        asm(f"{operation} {X_BLOCK}, {A}, a3, {B}, 2")

    def _through_logits(self, y: int, rows: int, statistics: Callable[[int], None]) -> None:
        """The statistics of this core's positions of the tile, over the whole vocabulary."""
        asm, width, batch = self.asm, self.geometry.width, self.layout.shape.batch
        full, rest = divmod(self.layout.spec.vocab, width)
        first, most = self.share(rows, batch)
        behind = asm.new_label("no_positions")
        asm.load(A, State.TILE_ROWS)
        asm.li(B, first)
        asm(f"C_BGEU {B}, {A}, {behind}", f"S_SUB_INT {A}, {A}, {B}")
        asm.li(B, most)
        asm.minimum(A, B)
        asm(f"C_BEQ {A}, gp0, {behind}")
        asm.store(A, State.REMAINING)
        asm.load(A, State.TILE)
        asm.add(A, A, first)
        asm.store(A, State.OFFSET)
        asm.store("gp0", State.COLUMN)

        def chunk(columns: int) -> None:
            self._logits("H_LD_V", y, columns, first)
            statistics(columns)
            asm.load(A, State.COLUMN)
            asm.add(A, A, width)
            asm.store(A, State.COLUMN)

        if full:
            with asm.loop(CHUNKS, full):
                chunk(width)
        if rest:
            chunk(rest)
        asm.label(behind)

    def _gather_statistics(self) -> None:
        """Sums and candidates of all cores on the one that samples: every word is zero but on the
        core that had the position, so adding changes nothing."""
        asm, layout, samples = self.asm, self.layout, self.layout.shape.samples
        slot = layout.statistics_bytes
        asm(f"LIA a3, {layout.addresses['statistics']}, {A}, {B}")
        asm.load(A, State.SPAN)
        asm.scaled(A, A, samples)
        asm.csr("dma_format", 9)
        asm.csr("dma_pitch", 0)
        asm.csr_from("dma_len", A)
        asm.li(GROUP, 1)
        if not self.leads:
            asm.li(X_BLOCK, self.sums)
            asm.li(B, self.core * slot)
            asm(f"H_ST_FP {X_BLOCK}, {B}, a3, {GROUP}, 1")
            asm.li(X_BLOCK, self.candidates)
            asm.add(B, B, slot // 2)
            asm(f"H_ST_INT {X_BLOCK}, {B}, a3, {GROUP}, 1")
        self._end()
        if not self.leads:
            return
        asm.li(B, slot)
        with asm.loop(CHUNKS, layout.cores - 1):
            asm.load(A, State.SPAN)
            asm.scaled(A, A, samples)
            asm.csr("dma_format", 9)
            asm.csr("dma_pitch", 0)
            asm.csr_from("dma_len", A)
            asm.li(GROUP, 1)
            asm.li(X_BLOCK, self.maxima)
            asm(f"H_LD_FP {X_BLOCK}, {B}, a3, {GROUP}, 1", "C_FENCE 2")
            asm.li(X_BLOCK, 0)
            with asm.repeat(A):
                asm(f"S_LD_FP f1, {X_BLOCK}, {self.sums}", f"S_LD_FP f2, {X_BLOCK}, {self.maxima}")
                asm("S_ADD_FP f1, f1, f2", f"S_ST_FP f1, {X_BLOCK}, {self.sums}")
                asm.add(X_BLOCK, X_BLOCK, 1)
            # Candidates, a row of the batch at a time: that is the room there is for tokens.
            asm.load(A, State.SPAN)
            asm.csr_from("dma_len", A)
            asm.add(Y_GROUP, B, slot // 2)
            asm.li(X_BLOCK, 0)
            with asm.loop(PANELS, samples):
                asm.li(W_BLOCK, self.tokens_at)
                asm(f"H_LD_INT {W_BLOCK}, {Y_GROUP}, a3, {GROUP}, 1", "C_FENCE 2")
                asm.load(A, State.SPAN)
                asm.scaled(W_PANEL, A, 4)
                asm(f"S_ADD_INT {Y_GROUP}, {Y_GROUP}, {W_PANEL}")
                with asm.repeat(A):
                    asm(f"S_LD_INT {W_PANEL}, {W_BLOCK}, 0")
                    asm(f"S_LD_INT {Y_PANEL}, {X_BLOCK}, {self.candidates}")
                    asm(f"S_ADD_INT {Y_PANEL}, {Y_PANEL}, {W_PANEL}")
                    asm(f"S_ST_INT {Y_PANEL}, {X_BLOCK}, {self.candidates}")
                    asm.add(W_BLOCK, W_BLOCK, 1)
                    asm.add(X_BLOCK, X_BLOCK, 1)
            asm.add(B, B, slot)

    def _confidences(self) -> None:
        """They take the place of the maxima."""
        asm, shape = self.asm, self.layout.shape
        asm.load(A, State.SPAN)
        asm.scaled(GROUP, A, shape.samples)
        asm.li(A, 0)
        with asm.repeat(GROUP):
            asm(f"S_LD_FP f1, {A}, {self.sums}", "S_RECI_FP f1, f1")
            asm(f"S_ST_FP f1, {A}, {self.maxima}")
            asm.add(A, A, 1)
