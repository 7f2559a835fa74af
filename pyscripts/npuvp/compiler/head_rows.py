"""The rows of a chunk of logits: which position each belongs to, and what is kept of it.

The state of position i of row b of the batch is word b * SPAN + i of every array.
"""

from collections.abc import Callable

from npuvp.compiler.assembly import Assembly
from npuvp.compiler.experts import Experts
from npuvp.compiler.layout import Layout
from npuvp.compiler.linear import (
    BLOCK,
    GROUP,
    PANEL,
    ROW1,
    ROW2,
    ROW3,
    W_BLOCK,
    X_BLOCK,
    X_GROUP,
    Y_GROUP,
    A,
    B,
)
from npuvp.compiler.sampler import Sampler
from npuvp.compiler.state import State

__all__ = [
    "HIDDEN",
    "INDEX",
    "LEAST",
    "ROW_OF_BATCH",
    "SAMPLES",
    "SPAN",
    "SPARE",
    "TOKEN",
    "WORD",
    "HeadRows",
]

LEAST = -1e30
"""A logit that no model makes, and whose difference to any other is finite."""

# Registers of a row's statistics; a loop around them may use W_PANEL.
WORD, ROW_OF_BATCH, TOKEN, SPAN, INDEX = ROW1, ROW2, ROW3, W_BLOCK, Y_GROUP
HIDDEN, SAMPLES, SPARE = PANEL, BLOCK, X_BLOCK


class HeadRows(Experts):
    """Emits loops over rows of logits.

    Args:
        asm: Where to.
        layout: Of memory.
        tokens_at: Words of INT SRAM from here on are free for token ids.
        sampler: What becomes of the logits.
        words: FP SRAM address of every array of `Sampler.words` and `Sampler.search_words`, and of
            ``arrived``, where words of other cores arrive, if there are any.
        candidates: INT SRAM address of the tokens.
        core: For which of the cores that share the work.
        bounds: INT SRAM address of the levels that are being found, if tokens are left out.
    """

    def __init__(
        self,
        asm: Assembly,
        layout: Layout,
        tokens_at: int,
        sampler: Sampler,
        words: dict[str, int],
        candidates: int,
        core: int = 0,
        bounds: int = 0,
    ):
        super().__init__(asm, layout, tokens_at, core)
        self.sampler = sampler
        self.words = {name: words[name] for name in sampler.words}
        self.search = {name: words[name] for name in sampler.search_words}
        self.arrived = words.get("arrived", 0)
        self.candidates = candidates
        self.bounds = bounds
        self.width = layout.geometry.width
        # Addresses of the head's rows of Vector SRAM.
        self.logits = self.seen = self.lowest = self.ones = self.spare = self.over = self.equal = 0

    def _each_row(self, work: Callable[[], None]) -> None:
        """Work for every row of stored logits of this core that is in Vector SRAM."""

        def row() -> None:
            work()
            self._count_row()
            self._next_word()

        self._rows_of_chunk(row)

    def _rows_of_chunk(self, row: Callable[[], None]) -> None:
        """The same, with work that goes on to the next row: X_GROUP is a row's address, WORD its
        position's word, ROW_OF_BATCH its row of the batch, TOKEN the token of the first column."""
        asm = self.asm
        self._first_row(State.OFFSET)
        self._constants_of_rows()
        asm.li(X_GROUP, self.logits)
        asm.load(GROUP, State.REMAINING)
        with asm.repeat(GROUP):
            row()

    def _first_row(self, first: State) -> None:
        """Word and batch row of a row of the call's sampled positions."""
        asm, shape = self.asm, self.layout.shape
        asm.load(A, first)
        asm.li(WORD, 0)
        if shape.batch > 1:
            asm.li(B, shape.batch)
            again, done = asm.new_label("position"), asm.new_label("position_done")
            asm.label(again)
            asm(f"C_BLTU {A}, {B}, {done}")
            asm(f"S_SUB_INT {A}, {A}, {B}")
            asm.add(WORD, WORD, 1)
            asm(f"C_JUMP {again}")
            asm.label(done)
            asm.load(B, State.SPAN)
            asm(f"MV {ROW_OF_BATCH}, {A}", f"S_MUL_INT {A}, {A}, {B}")
            asm(f"S_ADD_INT {WORD}, {WORD}, {A}")
        else:
            asm(f"MV {WORD}, {A}")
            asm.li(ROW_OF_BATCH, 0)
        if self.sampler.guidance:
            asm.li(HIDDEN, self.logits + shape.samples * self.width)

    def _constants_of_rows(self) -> None:
        asm, sampler = self.asm, self.sampler
        asm.load(SPAN, State.SPAN)
        asm.load(TOKEN, State.COLUMN)
        if sampler.guidance:
            asm.li(SAMPLES, self.layout.shape.samples)
            self._float("f4", sampler.guidance + 1)

    def _count_row(self) -> None:
        """Address and row of the batch of the next row."""
        asm = self.asm
        asm.add(X_GROUP, X_GROUP, self.width)
        if self.layout.shape.batch > 1:
            asm.add(ROW_OF_BATCH, ROW_OF_BATCH, 1)

    def _next_word(self) -> None:
        """The next row is the same position of the next row of the batch."""
        asm, batch = self.asm, self.layout.shape.batch
        if batch == 1:
            asm.add(WORD, WORD, 1)
            return
        asm(f"S_ADD_INT {WORD}, {WORD}, {SPAN}")
        asm.li(A, batch)
        with asm.skip_if("C_BNE", ROW_OF_BATCH, A):
            asm.li(ROW_OF_BATCH, 0)
            asm(f"S_MUL_INT {A}, {A}, {SPAN}", f"S_SUB_INT {WORD}, {WORD}, {A}")
            asm.add(WORD, WORD, 1)

    def _get(self, register: str, name: str) -> None:
        """register <- the row's word of an array of FP SRAM."""
        at = self.words[name] if name in self.words else self.search[name]
        self.asm(f"S_LD_FP {register}, {WORD}, {at}")

    def _put(self, register: str, name: str) -> None:
        """The row's word of an array of FP SRAM <- register."""
        at = self.words[name] if name in self.words else self.search[name]
        self.asm(f"S_ST_FP {register}, {WORD}, {at}")

    def _only_vocabulary(self, columns: int) -> None:
        """No logits behind the last column of the vocabulary, in the row at X_GROUP."""
        if columns < self.width:
            self.asm.li(A, self.seen)
            self.asm.li(B, self.lowest)
            self.asm(f"V_SELECT_VVM {X_GROUP}, {X_GROUP}, {B}, {A}")

    def _position(self) -> None:
        """A <- the row's position in the canvas."""
        asm = self.asm
        asm(f"S_MUL_INT {A}, {ROW_OF_BATCH}, {SPAN}", f"S_SUB_INT {A}, {WORD}, {A}")
        asm.load(B, State.LOW)
        asm(f"S_ADD_INT {A}, {A}, {B}")
