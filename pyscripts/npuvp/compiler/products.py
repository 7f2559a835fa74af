"""Products with streamed weights, and the work on their results under the products that follow.

Panels of weights pass through two halves of Matrix SRAM, one filled piece by piece while the other
is multiplied. A panel meets one group of rows of the tile after the other: a stage. What becomes of
the results (`RowWork`: rotation, gate, residual, statistics, stores) goes row by row between the
products of the stages behind: some rows behind every row of operands, so that a core that issues in
order keeps its matrix unit fed. A group's rows of results are free again when the next chunk of
columns comes to the group, one round of all groups later; should the work be behind by then, it is
finished first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import Stored
from npuvp.compiler.layout import Geometry
from npuvp.compiler.linear import (
    BLOCK,
    GROUP,
    PANEL,
    W_BLOCK,
    W_PANEL,
    X_BLOCK,
    X_GROUP,
    Y_PANEL,
    A,
    B,
    Tile,
    Tiles,
)
from npuvp.compiler.state import State

__all__ = ["Panels", "Products", "RowWork", "Weights", "hidden_tiles", "rows_at_once"]

#: Registers that hold something between the products of an output tile.
_LIVE = (PANEL, BLOCK, X_BLOCK, W_BLOCK, W_PANEL, Y_PANEL)
#: Most pieces that a panel is loaded in.
_PIECES = 8
#: Cycles around the rows that are worked on at a time.
_ENTRY = 40
#: Fewer rows at a time are not worth it.
_FEW_ROWS = 4


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class RowWork:
    """What becomes of a chunk of results, in the order of rows.

    Registers that the work may use freely are gp1, gp2, gp5 and gp10..gp13; it may use others that
    it declares. A and B, and what is not in `state`, do not last from row to row. The chunk is that
    of COLUMN; a finished group of rows is GROUP_ROWS rows from row GROUP_FIRST of the tile on.

    Attributes:
        row: Emits the work on one row; None: only `end` is to be done.
        state: Registers that are carried from row to row.
        begin: Emits their values for the first row of a chunk.
        enter: Emits the values of registers that rows only read.
        end: Emits what is to be done with a finished group of rows.
        prepare: Emits what is to be done before a group is multiplied, STAGE_ROWS rows from
            STAGE_ROW on, columns from CHUNK_COLUMN on.
        uses: Other registers that rows change.
        cycles: About what a row takes on a core of full width.
        whole: Whether rows of different groups depend on each other.
    """

    row: Callable[[], None] | None = None
    state: tuple[str, ...] = ()
    begin: Callable[[], None] = _nothing
    enter: Callable[[], None] = _nothing
    end: Callable[[], None] = _nothing
    prepare: Callable[[], None] | None = None
    uses: tuple[str, ...] = ()
    cycles: int = 0
    whole: bool = False


@dataclass(frozen=True)
class Weights:
    """A weight matrix in memory, [outputs, inputs], or a range of its outputs; or several of the same
    shape, whose outputs are wanted side by side.

    Attributes:
        register: Address register that its offsets count from.
        stored: Where it is, offsets below 2^32.
        outputs: That are wanted, from `first` on.
        first: The first one.
        base: Word that holds bytes more, where the matrix is one of many.
        beside: Further matrices.
    """

    register: str
    stored: Stored
    outputs: int
    first: int = 0
    base: State | None = None
    beside: tuple[Stored, ...] = field(default=())

    @property
    def inputs(self) -> int:
        """Elements of a row."""
        return self.stored.columns

    @property
    def all(self) -> tuple[Stored, ...]:
        """All matrices."""
        return (self.stored, *self.beside)


@dataclass(frozen=True)
class Panels:
    """How weights pass through Matrix SRAM.

    Attributes:
        rows: Outputs of a matrix that a panel holds.
        blocks: Column blocks.
        first: Element address of the first half.
        half: Elements of a half.
        ways: Matrices side by side.
    """

    rows: int
    blocks: int
    first: int
    half: int
    ways: int = 1

    @classmethod
    def plan(
        cls, geometry: Geometry, name: str, inputs: int, outputs: int, taken: int, ways: int = 1
    ) -> "Panels":
        """The largest panels of which two fit behind `taken` rows of Matrix SRAM.

        Raises:
            CompileError: Not even the smallest do.
        """
        blocks = -(-inputs // geometry.mlen)
        free = geometry.matrix_rows - taken
        rows = geometry.mlen
        # Panels that are no larger than the matrix, and at least two of them where that is possible.
        while rows > geometry.blen and (2 * ways * blocks * rows > free or rows >= outputs):
            rows //= 2
        if 2 * ways * blocks * rows > free:
            raise CompileError(
                [
                    f"weights {name} [{outputs}, {inputs}]: two panels of {ways * rows} outputs take "
                    f"{2 * ways * blocks * rows} rows of {geometry.mlen} in Matrix SRAM, {free} are "
                    "free"
                ]
            )
        half = ways * blocks * rows * geometry.mlen
        return cls(rows, blocks, taken * geometry.mlen, half, ways)

    def slices(self, geometry: Geometry) -> int:
        """Places between the products of a stage at which rows of results are worked on."""
        per_row = geometry.width // geometry.mlen
        return self.rows // geometry.blen * self.ways * max(1, self.blocks // per_row)

    def pieces(self, geometry: Geometry) -> int:
        """Pieces that a panel is loaded in."""
        return min(_PIECES, self.rows // geometry.blen)


def rows_at_once(geometry: Geometry, panels: Panels, columns: int, cycles: int) -> int:
    """Rows of results that are worked on at a time: a group per stage where every stage completes
    one; where the stages of other panels lie between, what fits under a product, but not so few that
    the next chunk would have to wait."""
    slices = panels.slices(geometry)
    most = max(_FEW_ROWS, -(-geometry.group // slices))
    if columns <= panels.rows:
        return most
    least = -(-2 * geometry.group // (3 * slices))
    return max(least, _FEW_ROWS, min(most, (geometry.blen - _ENTRY) // max(1, cycles)))


def hidden_tiles(geometry: Geometry, panels: Panels) -> int:
    """Turns of the loop over output tiles until the results of an earlier stage have left the array
    (fill, drain and a write-out take three times the streaming of a product)."""
    return min(panels.rows // geometry.blen, -(-3 // (panels.blocks * panels.ways)))


class Products(Tiles):
    """Emits products."""

    def product(
        self,
        x: Tile,
        y: int,
        weights: Weights,
        panels: Panels,
        work: Callable[[int], RowWork],
        step: int,
        beside: int = 0,
    ) -> None:
        """All outputs, a chunk of columns (a row of Vector SRAM) at a time.

        Args:
            x: Input.
            y: Address of the chunk's rows.
            weights, panels: The stream.
            work: Is told the chunk's columns; those behind them are arbitrary.
            step: What COLUMN counts a whole chunk as.
            beside: Address of the rows of a second matrix's chunk.
        """
        asm, width = self.asm, self.geometry.width
        if weights.outputs == 0:
            return
        asm.li(A, weights.first * step // width)
        asm.store(A, State.COLUMN)
        asm.store(A, State.CHUNK_COLUMN)
        self._begin(weights, panels)
        full, rest = divmod(weights.outputs, width)
        ys = (y, beside) if panels.ways > 1 else (y,)
        if full:
            self._run(x, ys, weights, panels, work(width), step, width, full)
        if rest:
            for address in ys:
                self._clear(address)
            self._run(x, ys, weights, panels, work(rest), step, rest, 1)

    def _clear(self, address: int) -> None:
        """Zeros in a chunk whose columns will not all be written: a later product over the whole
        row must not meet what an earlier phase left there."""
        asm = self.asm
        asm.li(A, self.geometry.width)
        self.for_rows({X_GROUP: address}, lambda: asm(f"V_SHFT_V {X_GROUP}, {X_GROUP}, {A}"))

    # The stream of weights

    def _begin(self, weights: Weights, panels: Panels) -> None:
        """Starts the stream of a matrix: the first panel is on its way, its first outputs ahead."""
        asm, geometry = self.asm, self.geometry
        asm.li(A, weights.stored.offset + weights.first * weights.stored.pitch)
        if weights.base is not None:
            asm.load(B, weights.base)
            asm(f"S_ADD_INT {A}, {A}, {B}")
        asm.store(A, State.OFFSET)
        asm.li(A, weights.outputs)
        asm.store(A, State.REMAINING)
        asm.li(A, panels.first + panels.half)
        asm.store(A, State.BUFFER)
        asm.li(A, panels.first)
        asm.store(A, State.PIECE_AT)
        # Small pieces first: the array begins with their outputs.
        rows = piece = panels.rows // panels.pieces(geometry)
        self._piece(weights, panels, piece)
        while rows < min(panels.rows, weights.outputs):
            self._piece(weights, panels, min(piece, panels.rows - rows))
            rows += piece
            piece *= 2

    def _piece(self, weights: Weights, panels: Panels, rows: int) -> None:
        """Loads up to `rows` outputs more, if there are any."""
        asm, mlen = self.asm, self.geometry.mlen
        asm.load(A, State.REMAINING)
        with asm.skip_if("C_BEQ", A, "gp0"):
            asm.li(B, rows)
            asm.minimum(B, A)
            asm(f"S_SUB_INT {A}, {A}, {B}")
            asm.store(A, State.REMAINING)
            full, rest = divmod(weights.inputs, mlen)
            for way, stored in enumerate(weights.all):
                asm.load(A, State.OFFSET)
                asm.add(A, A, stored.offset - weights.stored.offset)
                asm.load(W_BLOCK, State.PIECE_AT)
                asm.add(W_BLOCK, W_BLOCK, way * panels.rows * mlen)
                if full:
                    self.memory_rows(stored, mlen)
                    with asm.loop(BLOCK, full):
                        asm(f"H_LD_M {W_BLOCK}, {A}, {weights.register}, {B}, 0")
                        if panels.blocks > 1:
                            asm.add(W_BLOCK, W_BLOCK, panels.ways * panels.rows * mlen)
                            asm.add(A, A, stored.step(mlen))
                if rest:
                    self.memory_rows(stored, rest)
                    asm(f"H_LD_M {W_BLOCK}, {A}, {weights.register}, {B}, 0")
            for word, distance in (
                (State.OFFSET, rows * weights.stored.pitch),
                (State.PIECE_AT, rows * mlen),
            ):
                asm.load(A, word)
                asm.add(A, A, distance)
                asm.store(A, word)

    def _other_half(self, panels: Panels) -> None:
        """The half that was filled is multiplied, the other one filled."""
        asm = self.asm
        asm.load(B, State.BUFFER)
        asm.store(B, State.PIECE_AT)
        asm.li(A, 2 * panels.first + panels.half)
        asm(f"S_SUB_INT {A}, {A}, {B}")
        asm.store(A, State.BUFFER)
        asm.li(A, (1 << 32) - 1)
        asm.store(A, State.TICK)

    def _tick(self, weights: Weights, panels: Panels) -> None:
        """Asks for a piece of the next panel at equal distances, so that stores find their way
        between them."""
        asm, geometry = self.asm, self.geometry
        pieces = panels.pieces(geometry)
        asm.load(A, State.TICK)
        asm.add(A, A, 1)
        asm.store(A, State.TICK)
        with asm.skip_if("C_BNE", A, "gp0"):
            asm.load(A, State.GROUPS)
            if panels.rows // geometry.blen > pieces:
                asm.scaled(A, A, panels.rows // geometry.blen // pieces)
            asm(f"S_SUB_INT {A}, gp0, {A}")
            asm.store(A, State.TICK)
            self._piece(weights, panels, panels.rows // pieces)

    # Stages

    def _run(
        self,
        x: Tile,
        ys: tuple[int, ...],
        weights: Weights,
        panels: Panels,
        work: RowWork,
        step: int,
        columns: int,
        count: int,
    ) -> None:
        """So many chunks of so many columns, and the work on all of their results."""
        asm, geometry = self.asm, self.geometry
        width, group = geometry.width, geometry.group
        number = -(-columns // panels.rows)
        for word in (State.UNFINISHED, State.BACKLOG, State.HAND, State.GROUP_FIRST):
            asm.store("gp0", word)
        asm.li(A, count)
        asm.store(A, State.CHUNKS)
        asm.store(A, State.PENDING)
        self._begin_work(work)
        self._begin_group(work)
        chunk, panel, stage = (asm.new_label(name) for name in ("chunk", "panel", "stage"))
        if count > 1:
            asm.label(chunk)
        asm.li(A, number)
        asm.store(A, State.PANELS)
        asm.li(A, ys[0])
        asm.store(A, State.PANEL_Y)
        asm.label(panel)
        self._other_half(panels)
        asm.load(A, State.GROUPS)
        asm.store(A, State.STAGES)
        if work.prepare is not None:
            asm.store("gp0", State.STAGE_ROW)
        asm.li(A, x.address)
        asm.store(A, State.STAGE_X)
        asm.load(A, State.PANEL_Y)
        asm.store(A, State.STAGE_Y)
        asm.label(stage)
        self._first_panel(work, number, step)
        at_once = rows_at_once(geometry, panels, columns, work.cycles)
        self._stage(x, ys, weights, panels, work, step, at_once)
        if not work.whole:
            self._hand_over(panels, number)
        advance = [(State.STAGE_X, group * width), (State.STAGE_Y, group * width)]
        if work.prepare is not None:
            advance.append((State.STAGE_ROW, group))
        for word, distance in advance:
            asm.load(A, word)
            asm.add(A, A, distance)
            asm.store(A, word)
        self._again(State.STAGES, stage)
        if number > 1:
            asm.load(A, State.PANEL_Y)
            asm.add(A, A, panels.rows)
            asm.store(A, State.PANEL_Y)
            self._again(State.PANELS, panel)
        if work.whole:
            asm.li(A, 1)
            asm.store(A, State.UNFINISHED)
            self._finish_all(work, step, 1)
        asm.load(A, State.CHUNK_COLUMN)
        asm.add(A, A, step)
        asm.store(A, State.CHUNK_COLUMN)
        if count > 1:
            self._again(State.CHUNKS, chunk)
        if not work.whole:
            self._finish_all(work, step, 1)

    def _again(self, word: State, label: str) -> None:
        """Back to a label until a word has counted down to 0."""
        asm = self.asm
        asm.load(A, word)
        asm.add(A, A, -1)
        asm.store(A, word)
        asm(f"C_BNE {A}, gp0, {label}")

    def _first_panel(self, work: RowWork, number: int, step: int) -> None:
        """Before a chunk's first panel meets a group, the results of the chunk before have left the
        group's rows."""
        asm, group = self.asm, self.geometry.group
        if work.whole and work.prepare is None:
            return
        later = asm.new_label("later_panel")
        if number > 1:
            asm.load(A, State.PANELS)
            asm.li(B, number)
            asm(f"C_BNE {A}, {B}, {later}")
        if not work.whole:
            # Groups of this chunk count too where every panel is a chunk's last one.
            self._finish_all(work, step, State.STAGES if number > 1 else State.GROUPS)
        if work.prepare is not None:
            asm.load(A, State.TILE_ROWS)
            asm.load(B, State.STAGE_ROW)
            asm(f"S_SUB_INT {A}, {A}, {B}")
            asm.li(B, group)
            asm.minimum(A, B)
            asm.store(A, State.STAGE_ROWS)
            work.prepare()
        asm.label(later)

    def _stage(
        self,
        x: Tile,
        ys: tuple[int, ...],
        weights: Weights,
        panels: Panels,
        work: RowWork,
        step: int,
        at_once: int,
    ) -> None:
        """A panel and a group of rows.

        A write-out waits until the array has handed over the tile before, and the core with it: what
        the next tile needs is done ahead of it.
        """
        asm, geometry = self.asm, self.geometry
        blen, mlen = geometry.blen, geometry.mlen
        asm.load(W_PANEL, State.BUFFER)
        asm.load(Y_PANEL, State.STAGE_Y)
        asm.load(X_BLOCK, State.STAGE_X)
        asm(f"MV {W_BLOCK}, {W_PANEL}")
        with asm.loop(PANEL, panels.rows // blen):
            for way, y in enumerate(ys):
                self._accumulate(x, panels, work, step, at_once)
                if way + 1 < len(ys):
                    asm.add(W_BLOCK, W_PANEL, (way + 1) * panels.rows * mlen)
                    asm.add(A, Y_PANEL, y - ys[0])
                else:
                    self._tick(weights, panels)
                    if not work.whole:
                        self._note_results()
                    asm.add(W_PANEL, W_PANEL, blen * mlen)
                    asm(f"MV {W_BLOCK}, {W_PANEL}")
                    asm.add(A, Y_PANEL, y - ys[0])
                    asm.add(Y_PANEL, Y_PANEL, blen)
                asm.load(X_BLOCK, State.STAGE_X)
                asm(f"M_MM_WO {A}, gp0, 0")

    def _note_results(self) -> None:
        """An output tile more since the last group was handed over."""
        asm = self.asm
        asm.load(A, State.HAND)
        with asm.skip_if("C_BEQ", A, "gp0"):
            asm.add(A, A, -1)
            asm.store(A, State.HAND)
            with asm.skip_if("C_BNE", A, "gp0"):
                asm.load(A, State.UNFINISHED)
                asm.store(A, State.BACKLOG)

    def _accumulate(self, x: Tile, panels: Panels, work: RowWork, step: int, at_once: int) -> None:
        """Products of a group of rows with BLEN outputs over all inputs, MLEN at a time, and behind
        every row of inputs a slice of the work on earlier results."""
        asm, geometry = self.asm, self.geometry
        mlen = geometry.mlen
        per_row = geometry.width // mlen

        def products(count: int, leave: bool) -> None:
            for part in range(count):
                asm(f"M_TMM 0, {X_BLOCK}, {W_BLOCK}")
                if leave or part + 1 < count:
                    stride = mlen if part + 1 < count else x.pitch - (count - 1) * mlen
                    asm.add(X_BLOCK, X_BLOCK, stride)
                    asm.add(W_BLOCK, W_BLOCK, panels.ways * panels.rows * mlen)

        full, rest = divmod(panels.blocks, per_row)
        if full:
            with asm.loop(BLOCK, full):
                products(per_row, leave=panels.blocks > per_row)
                if not work.whole:
                    self._slice(work, step, at_once)
        products(rest, leave=False)
        if not (full or work.whole):
            self._slice(work, step, at_once)

    # Work on results

    def _begin_work(self, work: RowWork) -> None:
        work.begin()
        for index, register in enumerate(work.state):
            self.asm.store(register, State.SAVED + index)

    def _begin_group(self, work: RowWork) -> None:
        """The group whose first row GROUP_FIRST says; without groups: all rows."""
        asm = self.asm
        asm.load(A, State.GROUP_FIRST)
        asm.load(B, State.TILE_ROWS)
        asm(f"S_SUB_INT {B}, {B}, {A}")
        if not work.whole:
            asm.li(A, self.geometry.group)
            asm.minimum(B, A)
        asm.store(B, State.GROUP_ROWS)
        asm.store(B, State.GROUP_LEFT)

    def _hand_over(self, panels: Panels, number: int) -> None:
        """A chunk's last panel has met the group: its results are soon there."""
        asm = self.asm
        earlier = asm.new_label("earlier_panel")
        if number > 1:
            asm.load(A, State.PANELS)
            asm.li(B, 1)
            asm(f"C_BNE {A}, {B}, {earlier}")
        asm.load(A, State.UNFINISHED)
        asm.add(A, A, 1)
        asm.store(A, State.UNFINISHED)
        asm.li(A, hidden_tiles(self.geometry, panels))
        asm.store(A, State.HAND)
        asm.label(earlier)

    def _finish_all(self, work: RowWork, step: int, below: int | State) -> None:
        """Works on results until fewer groups than that are unfinished."""
        asm = self.asm
        again, done = asm.new_label("finish"), asm.new_label("finished")
        asm.label(again)
        asm.load(A, State.UNFINISHED)
        if isinstance(below, State):
            asm.load(B, below)
        else:
            asm.li(B, below)
        asm(f"C_BLTU {A}, {B}, {done}")
        asm.store(A, State.BACKLOG)
        asm.store("gp0", State.HAND)
        self._slice(work, step, None)
        asm(f"C_JUMP {again}")
        asm.label(done)

    def _slice(self, work: RowWork, step: int, at_once: int | None) -> None:
        """Some rows of results, or all that are left of a group, if any are there."""
        asm = self.asm
        nothing, more = asm.new_label("no_results"), asm.new_label("more_results")
        kept = [r for r in _LIVE if r in (*work.state, *work.uses)] if at_once else []
        if at_once:
            asm.load(A, State.BACKLOG)
            asm(f"C_BEQ {A}, gp0, {nothing}")
        for index, register in enumerate(kept):
            asm.store(register, State.KEPT + index)
        if work.row is not None:
            asm.load(A, State.GROUP_LEFT)
            if at_once:
                asm.li(GROUP, at_once)
                asm.minimum(GROUP, A)
                asm(f"S_SUB_INT {A}, {A}, {GROUP}")
                asm.store(A, State.GROUP_LEFT)
                asm(f"S_SUB_INT {GROUP}, gp0, {GROUP}")
            else:
                asm(f"S_SUB_INT {GROUP}, gp0, {A}")
            for index, register in enumerate(work.state):
                asm.load(register, State.SAVED + index)
            work.enter()
            again = asm.new_label("row")
            asm.label(again)
            work.row()
            asm.add(GROUP, GROUP, 1)
            asm(f"C_BNE {GROUP}, gp0, {again}")
            for index, register in enumerate(work.state):
                asm.store(register, State.SAVED + index)
            if at_once:
                asm.load(A, State.GROUP_LEFT)
                asm(f"C_BNE {A}, gp0, {more}")
        self._finish(work, step)
        asm.label(more)
        for index, register in enumerate(kept):
            asm.load(register, State.KEPT + index)
        asm.label(nothing)

    def _finish(self, work: RowWork, step: int) -> None:
        """A group is finished; the next one, of the next chunk if it was the last one."""
        asm = self.asm
        work.end()
        for word in (State.UNFINISHED, State.BACKLOG):
            asm.load(A, word)
            asm.add(A, A, -1)
            asm.store(A, word)
        asm.load(A, State.GROUP_FIRST)
        asm.load(B, State.GROUP_ROWS)
        asm(f"S_ADD_INT {A}, {A}, {B}")
        asm.store(A, State.GROUP_FIRST)
        asm.load(B, State.TILE_ROWS)
        with asm.skip_if("C_BLTU", A, B):
            asm.store("gp0", State.GROUP_FIRST)
            asm.load(A, State.COLUMN)
            asm.add(A, A, step)
            asm.store(A, State.COLUMN)
            asm.load(A, State.PENDING)
            asm.add(A, A, -1)
            asm.store(A, State.PENDING)
            with asm.skip_if("C_BEQ", A, "gp0"):
                self._begin_work(work)
        self._begin_group(work)
