"""The head: statistics of logits, a chunk of the vocabulary at a time.

On one core with logits in BF16 a chunk is used where it is made and never stored. Otherwise (and
where top_p or top_k look at logits more than once, `restriction.py`) every core stores its columns of the logits, in their format, and then goes through the whole vocabulary
for its positions, in the same order as one core would.

For every sampled position the firmware keeps a running maximum, the sum of exponentials relative to
it, the token and what else the sampler needs; at the end of the vocabulary a score comes of them.
"""

from collections.abc import Callable

import numpy as np

from npuvp.compiler.emitter import GLOBAL, OTHER
from npuvp.compiler.formats import Stored
from npuvp.compiler.head_rows import (
    HIDDEN,
    INDEX,
    LEAST,
    ROW_OF_BATCH,
    SAMPLES,
    SPAN,
    SPARE,
    TOKEN,
    WORD,
)
from npuvp.compiler.linear import (
    GROUP,
    ROW1,
    ROW2,
    W_BLOCK,
    W_PANEL,
    X_BLOCK,
    X_GROUP,
    Y_GROUP,
    Y_PANEL,
    A,
    B,
)
from npuvp.compiler.products import Panels, RowWork, Weights
from npuvp.compiler.restriction import Restriction
from npuvp.compiler.state import State

__all__ = ["NO_TOKEN", "Forward"]

NO_TOKEN = 0xFFFFFFFF
"""Word 0 of the counter of a draw that concerns a position (see npuvp.generation.random)."""

_MAXIMA = ("maxima", "best", "second")
"""Arrays that begin at `LEAST`; all others begin at 0."""


class Forward(Restriction):
    """Emits the phases of a forward call, the head with the plan's sampler."""

    def head(self) -> None:
        """Statistics of all sampled positions, then their scores in place of the maxima."""
        asm, spec = self.asm, self.layout.spec
        geometry, shape, width, layout = self.geometry, self.layout.shape, self.width, self.layout
        blocks = -(-spec.hidden // width)
        edited = len(layout.edited)
        rows = self._tile_rows("head", blocks + 1, blocks + layout.head_rows)
        if self.sampler.guidance or layout.stores_logits:
            # The rows with and without the prompt, or all of a position, must be in one tile.
            rows = layout.whole_positions
        memory = self._vector()
        x = self._tile(memory, "x", rows, spec.hidden)
        self.logits = self._rows(memory, "logits", rows)
        weight = self._rows(memory, "final_norm", blocks)
        square = self._rows(memory, "squares", 1)
        self.seen = self._rows(memory, "vocabulary masks", 1 + edited)
        self.lowest = self._rows(memory, "row of no logits", 1)
        if self.sampler.restricted or self.sampler.score in ("margin", "entropy"):
            self.ones = self._rows(memory, "row of ones", 1)
            self.spare = self._rows(memory, "spare row", 1)
        if self.sampler.restricted:
            self.over = self._rows(memory, "above the level", 1)
            self.equal = self._rows(memory, "at the level", 1)
        self._address(GLOBAL, "final_norm")
        self._load_norm(GLOBAL, "final_norm", weight)
        self._address(GLOBAL, "vocab_mask")
        asm.li(A, self.seen)
        asm.li(B, 1 + edited)
        self.tiles.memory_rows(Stored("vocab_mask", 0, width), width)
        asm(f"H_LD_V {A}, gp0, {GLOBAL}, {B}, 1")
        self._constant_row(self.lowest, LEAST)
        if self.ones:
            self._constant_row(self.ones, 1.0)
        if spec.logit_shift:
            self._repeat_first_position()
        self._address(GLOBAL, "head_input")
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
        self._clear()
        first_token, tokens = self.share(spec.vocab, layout.logits.block)
        weights = Weights(OTHER, layout.stored["head"], tokens, first_token)
        panels = Panels.plan(geometry, "head", spec.hidden, tokens, 0)

        def tile() -> None:
            self.tiles.load_tile(x, GLOBAL, layout.stored["x"], State.ROW)
            self._norm(x, weight, square)
            self._quantise(x)
            if not layout.stores_logits:
                self.tiles.product(x, self.logits, weights, panels, self._statistics, width)
                return
            self.tiles.product(x, self.logits, weights, panels, self._store_logits, width)
            self._end()
            self._through_logits(rows)
            self.meet()

        self.tiles.over_tiles(rows, State.HEAD_ROWS, tile)
        if layout.cores > 1:
            self._gather_statistics()
        if self.leads:
            self._scores()

    def _repeat_first_position(self) -> None:
        """A position is predicted by the row before it, the first of a call by itself: its row
        again in front of all rows."""
        asm, x = self.asm, self.layout.stored["x"]
        if self.leads:
            self._address(GLOBAL, "x")
            self._address(OTHER, "head_input")
            asm.csr("dma_rows", 1)
            asm.csr("dma_pitch", 0)
            asm.csr("dma_len", self.layout.shape.batch * x.pitch)
            asm(f"H_COPY {OTHER}, gp0, {GLOBAL}, gp0, 1")
        self._end()

    def _clear(self) -> None:
        """Nothing seen yet."""
        asm = self.asm
        self._float("f5", LEAST)
        asm.load(A, State.SPAN)
        asm.scaled(GROUP, A, self.layout.shape.samples)
        asm.li(A, 0)
        with asm.repeat(GROUP):
            for name, at in self.words.items():
                value = "f5" if name in _MAXIMA else "f0"
                asm(f"S_ST_FP {value}, {A}, {at}")
            asm(f"S_ST_INT gp0, {A}, {self.candidates}")
            asm.add(A, A, 1)
        if self.sampler.temperature:
            asm.li(A, int(np.float32(self.sampler.temperature).view(np.uint32)))
            if self.layout.shape.block:
                # A token behind a finished block or prompt is greedy at any temperature: only
                # kinds 3 and 4 are calls within a block.
                asm.load(B, State.KIND)
                asm.add(B, B, -3)
                asm.li(GROUP, 2)
                with asm.skip_if("C_BLTU", B, GROUP):
                    asm.li(A, 0)
            asm.csr_from("rng_scale", A)
            asm.load(A, State.CALL)
            asm.csr_from("rng_counter2", A)

    # By way of memory: other formats, several cores

    def _store_logits(self, columns: int) -> RowWork:
        """A chunk on its way to memory, a group of the tile's rows at a time."""
        asm, stored = self.asm, self.layout.stored["logits"]

        def store() -> None:
            self._column_of_logits()
            asm.load(B, State.GROUP_FIRST)
            asm.scaled(X_GROUP, B, self.width)
            asm.add(X_GROUP, X_GROUP, self.logits)
            asm.scaled(B, B, stored.pitch)
            asm(f"S_ADD_INT {A}, {A}, {B}")
            asm.load(B, State.GROUP_ROWS)
            self.tiles.memory_rows(stored, columns)
            asm(f"H_ST_V {X_GROUP}, {A}, a3, {B}, 2")

        return RowWork(end=store)

    def _load_logits(self, columns: int, row: int) -> None:
        """A chunk of stored logits of as many of the tile's rows as REMAINING says, from `row` on."""
        asm, stored = self.asm, self.layout.stored["logits"]
        self._column_of_logits()
        asm.add(A, A, row * stored.pitch)
        asm.load(B, State.REMAINING)
        asm.li(X_BLOCK, self.logits)
        self.tiles.memory_rows(stored, columns)
        asm(f"H_LD_V {X_BLOCK}, {A}, a3, {B}, 2")

    def _column_of_logits(self) -> None:
        """A <- bytes before COLUMN in a row of stored logits."""
        asm = self.asm
        asm.load(A, State.COLUMN)
        asm.scaled(A, A, self.layout.stored["logits"].bits)
        asm.li(B, 3)
        asm(f"S_SHR_INT {A}, {A}, {B}")

    def _through_logits(self, rows: int) -> None:
        """The statistics of this core's positions of the tile, over the whole vocabulary."""
        asm, width, batch = self.asm, self.width, self.layout.shape.batch
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

        def vocabulary(work: Callable[[int], None]) -> None:
            """Work for every chunk of columns, told how many they are."""

            def chunk(columns: int) -> None:
                self._load_logits(columns, first)
                work(columns)
                asm.load(A, State.COLUMN)
                asm.add(A, A, width)
                asm.store(A, State.COLUMN)

            asm.store("gp0", State.COLUMN)
            if full:
                with asm.loop(W_PANEL, full):
                    chunk(width)
            if rest:
                chunk(rest)

        if self.sampler.restricted:
            self._find_levels(vocabulary)
        vocabulary(lambda columns: self._rows_of_chunk(lambda: self._statistics_row(columns)))
        asm.label(behind)

    def _gather_statistics(self) -> None:
        """What all cores know of their positions, on the one that samples: every word is as it was
        in the beginning but on the core that had the position, so that the larger one, or the sum,
        is its word."""
        asm, layout, samples = self.asm, self.layout, self.layout.shape.samples
        array, slot = 4 * samples * layout.shape.length, layout.statistics_bytes
        names = list(self.words)
        self._address("a3", "statistics")
        asm.load(A, State.SPAN)
        asm.scaled(A, A, samples)
        self._words(A)
        asm.li(GROUP, 1)
        if not self.leads:
            for index, name in enumerate(names):
                asm.li(X_BLOCK, self.words[name])
                asm.li(B, self.core * slot + index * array)
                asm(f"H_ST_FP {X_BLOCK}, {B}, a3, {GROUP}, 1")
            asm.li(X_BLOCK, self.candidates)
            asm.li(B, self.core * slot + len(names) * array)
            asm(f"H_ST_INT {X_BLOCK}, {B}, a3, {GROUP}, 1")
        self._end()
        if not self.leads:
            return
        asm.li(B, slot)
        with asm.loop(ROW1, layout.cores - 1):
            for index, name in enumerate(names):
                asm.load(A, State.SPAN)
                asm.scaled(A, A, samples)
                self._words(A)
                asm.li(GROUP, 1)
                asm.li(X_BLOCK, self.arrived)
                asm.add(Y_GROUP, B, index * array)
                asm(f"H_LD_FP {X_BLOCK}, {Y_GROUP}, a3, {GROUP}, 1", "C_FENCE 2")
                asm.li(X_BLOCK, 0)
                combine = "S_MAX_FP" if name in _MAXIMA else "S_ADD_FP"
                with asm.repeat(A):
                    asm(f"S_LD_FP f1, {X_BLOCK}, {self.words[name]}")
                    asm(f"S_LD_FP f2, {X_BLOCK}, {self.arrived}")
                    asm(f"{combine} f1, f1, f2", f"S_ST_FP f1, {X_BLOCK}, {self.words[name]}")
                    asm.add(X_BLOCK, X_BLOCK, 1)
            # Candidates, a row of the batch at a time: that is the room there is for tokens.
            asm.load(A, State.SPAN)
            self._words(A)
            asm.li(GROUP, 1)
            asm.add(Y_GROUP, B, len(names) * array)
            asm.li(X_BLOCK, 0)
            with asm.loop(ROW2, samples):
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

    def _words(self, count: str) -> None:
        """Says that `count` words of 32 bits are moved."""
        asm = self.asm
        asm.csr("dma_format", 9)
        asm.csr("dma_pitch", 0)
        asm.csr_from("dma_len", count)

    # A chunk of the vocabulary

    def _statistics(self, columns: int) -> RowWork:
        """What becomes of a chunk."""
        guided = self.sampler.guidance

        def begin() -> None:
            self._first_row(State.TILE)
            self.asm.li(X_GROUP, self.logits)

        spare = (SPARE,) if self.sampler.score in ("margin", "entropy") else ()
        return RowWork(
            lambda: self._statistics_row(columns),
            (X_GROUP, WORD, ROW_OF_BATCH, *((HIDDEN,) if guided else ())),
            begin,
            self._constants_of_rows,
            uses=(SPAN, *spare),
            cycles=24,
            whole=bool(guided),
        )

    def _statistics_row(self, columns: int) -> None:
        """The row of logits at X_GROUP, of a chunk; then the next one."""
        asm, sampler = self.asm, self.sampler
        if sampler.guidance:
            # u + (scale + 1) (c - u), in the rows with the prompt.
            with asm.skip_if("C_BGEU", ROW_OF_BATCH, SAMPLES):
                asm(
                    f"V_SUB_VV {X_GROUP}, {X_GROUP}, {HIDDEN}",
                    f"V_MUL_VF {X_GROUP}, {X_GROUP}, f4",
                    f"V_ADD_VV {X_GROUP}, {X_GROUP}, {HIDDEN}",
                )
                self._row(columns)
            asm.add(HIDDEN, HIDDEN, self.width)
            self._count_row()
        else:
            self._row(columns)
        self._next_word()

    def _mask(self, token: int) -> None:
        """No logit for a token, in the chunk that holds it."""
        asm, width = self.asm, self.width
        asm.li(A, token // width * width)
        with asm.skip_if("C_BNE", TOKEN, A):
            asm.li(A, self.seen + (1 + self.layout.edited.index(token)) * width)
            asm.li(B, self.lowest)
            asm(f"V_SELECT_VVM {X_GROUP}, {X_GROUP}, {B}, {A}")

    def _row(self, columns: int) -> None:
        """One row of logits of a chunk, at X_GROUP. What waits for a result stands behind what does
        not."""
        asm, sampler = self.asm, self.sampler
        self._only_vocabulary(columns)
        for token in sampler.hidden:
            self._mask(token)
        if sampler.restricted:
            self._leave_out()
        asm(f"S_LD_INT {INDEX}, {WORD}, {self.candidates}")
        self._get("f1", "maxima")
        asm("S_ADD_FP f3, f1, f0")
        if "best" in self.words:
            self._choose()
            asm(f"V_RED_MAX f1, {X_GROUP}, 0")
        else:
            asm(f"V_RED_MAX_IDX {INDEX}, {X_GROUP}, {TOKEN}, f1")
        if sampler.score in ("uniform", "margin"):
            self._keep_maximum()
        if sampler.score == "uniform":
            self._behind_row()
            return
        if sampler.score == "margin":
            self._second()
        self._get("f2", "sums")
        asm(f"V_SUB_VF {X_GROUP}, {X_GROUP}, f1, 0, 0", "S_SUB_FP f3, f3, f1")
        if sampler.sharpness != 1:
            self._float("f6", sampler.sharpness)
            asm("S_MUL_FP f3, f3, f6", f"V_MUL_VF {X_GROUP}, {X_GROUP}, f6")
        if sampler.score == "entropy":
            self._weighted()
        asm("S_EXP_FP f3, f3", "S_MUL_FP f2, f2, f3", f"V_EXP_V {X_GROUP}, {X_GROUP}, 0")
        self._without_left_out(X_GROUP)
        asm(f"V_RED_SUM f2, {X_GROUP}")
        if sampler.score != "margin":
            self._keep_maximum()
        self._behind_row()
        self._put("f2", "sums")

    def _keep_maximum(self) -> None:
        self.asm(f"S_ST_INT {INDEX}, {WORD}, {self.candidates}")
        self._put("f1", "maxima")

    def _behind_row(self) -> None:
        """Under guidance the row behind is another one's."""
        if not self.sampler.guidance:
            self._count_row()

    def _choose(self) -> None:
        """The token, where it is not that of the largest logit of which probabilities are made."""
        asm, sampler = self.asm, self.sampler
        self._get("f6", "best")
        if sampler.temperature:
            # The draw of a token is named by position, call and row of the batch.
            self._position()
            asm.csr_from("rng_counter1", A)
            asm.csr_from("rng_counter3", ROW_OF_BATCH)
            self._get("f7", "chosen")
            asm(f"V_RED_MAX_RAND {INDEX}, {X_GROUP}, {TOKEN}, f6, f7")
            self._put("f7", "chosen")
        else:
            asm(f"V_RED_MAX_IDX {INDEX}, {X_GROUP}, {TOKEN}, f6")
        self._put("f6", "best")
        for token in sampler.outcast:
            self._mask(token)

    def _second(self) -> None:
        """The second largest logit so far: of the chunk's two largest, the maximum before and the
        second before."""
        asm = self.asm
        self._get("f6", "second")
        asm.li(A, self.ones)
        asm.li(B, 1)
        asm.li(SPARE, self.spare)
        self._float("f7", LEAST, INDEX)
        asm(
            f"V_RED_MAX f7, {X_GROUP}, 0",
            "S_MIN_FP f7, f7, f3",
            "S_MAX_FP f6, f6, f7",
            f"V_TOPK_MASK {SPARE}, {X_GROUP}, {A}, {B}",
        )
        asm.li(A, self.lowest)
        asm(
            f"V_SELECT_VVM {SPARE}, {A}, {X_GROUP}, {SPARE}",
            f"V_RED_MAX f6, {SPARE}, 0",
        )
        self._put("f6", "second")

    def _weighted(self) -> None:
        """The sum of d exp(d), d the logits relative to the maximum, which moved by f3."""
        asm = self.asm
        self._get("f7", "weighted")
        self._float("f6", -88.0)
        asm.li(SPARE, self.spare)
        asm(
            f"V_MAX_VF {X_GROUP}, {X_GROUP}, f6",
            f"V_EXP_V {SPARE}, {X_GROUP}, 0",
            f"V_MUL_VV {SPARE}, {SPARE}, {X_GROUP}",
        )
        self._without_left_out(SPARE)
        asm(
            "S_MUL_FP f6, f2, f3",
            "S_ADD_FP f7, f7, f6",
            "S_EXP_FP f6, f3",
            "S_MUL_FP f7, f7, f6",
            f"V_RED_SUM f7, {SPARE}",
        )
        self._put("f7", "weighted")

    # Behind the last chunk

    def _scores(self) -> None:
        """Scores take the place of the maxima."""
        asm, samples, sampler = self.asm, self.layout.shape.samples, self.sampler
        asm.load(SPAN, State.SPAN)
        asm.li(WORD, 0)
        asm.li(ROW_OF_BATCH, 0)
        if sampler.draws:
            asm.load(A, State.CALL)
            asm.csr_from("rng_counter2", A)
            asm.csr("rng_counter0", NO_TOKEN)
        rows, words = asm.new_label("score_row"), asm.new_label("score")
        asm.label(rows)
        if sampler.draws:
            asm.csr_from("rng_counter3", ROW_OF_BATCH)
        asm(f"MV {GROUP}, {SPAN}")
        asm.label(words)
        self._score()
        self._put("f1", "maxima")
        asm.add(WORD, WORD, 1)
        asm.add(GROUP, GROUP, -1)
        asm(f"C_BNE {GROUP}, gp0, {words}")
        asm.add(ROW_OF_BATCH, ROW_OF_BATCH, 1)
        asm.li(A, samples)
        asm(f"C_BNE {ROW_OF_BATCH}, {A}, {rows}")
        asm.label(asm.new_label("scores_done"))

    def _score(self) -> None:
        """f1 <- the score of the word."""
        asm, sampler = self.asm, self.sampler
        if sampler.score == "uniform":
            self._position()
            asm(f"S_RAND_FP f1, {A}, uniform")
            return
        self._get("f2", "sums")
        asm("S_RECI_FP f1, f2")
        if sampler.score == "entropy":
            self._get("f3", "weighted")
            asm("S_MUL_FP f1, f1, f3", "S_LOG_FP f2, f2", "S_SUB_FP f1, f1, f2")
        else:
            other = {"margin": "second", "probability": "chosen"}[sampler.score]
            if other in self.words:
                self._get("f3", other)
                self._get("f4", "maxima")
                asm("S_SUB_FP f3, f3, f4")
                if sampler.sharpness != 1:
                    self._float("f4", sampler.sharpness)
                    asm("S_MUL_FP f3, f3, f4")
                asm("S_EXP_FP f3, f3")
                if other == "second":
                    self._float("f4", 1.0)
                    asm("S_SUB_FP f3, f4, f3")
                asm("S_MUL_FP f1, f1, f3")
        for token in sampler.outcast:
            # One word at a time, because the rows of sampling are not yet laid out.
            asm.li(A, token)
            asm.add(B, WORD, self.candidates)
            asm.li(SPARE, 1)
            asm.li(SAMPLES, self.logits)
            asm(f"V_CMP_INT {SAMPLES}, {B}, {A}, {SPARE}, ne", f"V_GET f3, {SAMPLES}, gp0")
            asm("S_MUL_FP f1, f1, f3")
        if sampler.ranking_temperature:
            self._float("f2", 1 / sampler.ranking_temperature)
            self._position()
            asm(f"S_RAND_FP f3, {A}, gumbel", "S_MUL_FP f1, f1, f2", "S_ADD_FP f1, f1, f3")
