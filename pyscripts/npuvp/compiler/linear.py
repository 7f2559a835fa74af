"""Tiles of rows and the products with streamed weights.

Activations stand in column blocks of Vector SRAM: element (r, c) of a tile of R rows at
base + ((c / W) * R + r) * W + c mod W. Weights are [out, in] as they lie in the checkpoint; panels
of BLEN outputs pass through two halves of Matrix SRAM, one filled while the other is multiplied.
"""

from collections.abc import Callable
from dataclasses import dataclass

from npuvp.compiler.assembly import Assembly
from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import Stored
from npuvp.compiler.layout import Geometry
from npuvp.compiler.state import State

__all__ = ["Panels", "Tile", "Tiles", "Weights"]

Epilogue = Callable[[int], None]

# Registers of the product. Epilogues may use all but CHUNKS, BUFFER and the scratch register.
CHUNKS, PANELS, PANEL, GROUP = "gp1", "gp2", "gp3", "gp4"
X_GROUP, X_BLOCK, W_PANEL, W_BLOCK = "gp5", "gp6", "gp7", "gp8"
Y_PANEL, Y_GROUP, BUFFER, A, B, BLOCK = "gp9", "gp10", "gp11", "gp12", "gp13", "gp14"


@dataclass(frozen=True)
class Tile:
    """Rows of an activation in Vector SRAM.

    Attributes:
        address: Element address.
        rows: Rows that there is room for.
        columns: Channels.
        width: Elements of a row of Vector SRAM.
    """

    address: int
    rows: int
    columns: int
    width: int

    @property
    def blocks(self) -> int:
        """Column blocks."""
        return -(-self.columns // self.width)

    @property
    def pitch(self) -> int:
        """Elements from one column block to the next."""
        return self.rows * self.width

    def block_columns(self, block: int) -> int:
        """Channels of a column block."""
        return min(self.width, self.columns - block * self.width)


@dataclass(frozen=True)
class Weights:
    """A weight matrix in memory, [outputs, inputs], or a range of its outputs.

    Attributes:
        register: Address register that its offsets count from.
        stored: Where it is, offsets below 2^32.
        outputs: That are wanted, from `first` on.
        first: The first one.
        base: Word that holds bytes more, where the matrix is one of many.
    """

    register: str
    stored: Stored
    outputs: int
    first: int = 0
    base: State | None = None

    @property
    def inputs(self) -> int:
        """Elements of a row."""
        return self.stored.columns


@dataclass(frozen=True)
class Panels:
    """How weights pass through Matrix SRAM.

    Attributes:
        rows: Outputs that one transfer brings per column block.
        blocks: Column blocks.
        first: Element address of the first half.
        half: Elements of a half.
    """

    rows: int
    blocks: int
    first: int
    half: int

    @classmethod
    def plan(cls, geometry: Geometry, name: str, inputs: int, outputs: int, taken: int) -> "Panels":
        """The largest panels of which two fit behind `taken` rows of Matrix SRAM.

        Raises:
            CompileError: Not even the smallest do.
        """
        blocks = -(-inputs // geometry.mlen)
        free = geometry.matrix_rows - taken
        rows = geometry.mlen
        # Panels that are no larger than the matrix, and at least two of them where that is possible.
        while rows > geometry.blen and (2 * blocks * rows > free or rows >= outputs):
            rows //= 2
        if 2 * blocks * rows > free:
            raise CompileError(
                [
                    f"weights {name} [{outputs}, {inputs}]: two panels of {rows} outputs take "
                    f"{2 * blocks * rows} rows of {geometry.mlen} in Matrix SRAM, {free} are free"
                ]
            )
        return cls(rows, blocks, taken * geometry.mlen, blocks * rows * geometry.mlen)


class Tiles:
    """Emits transfers of tiles and products.

    Args:
        asm: Where to.
        geometry: Of the core.
    """

    def __init__(self, asm: Assembly, geometry: Geometry):
        self.asm = asm
        self.geometry = geometry

    def over_tiles(
        self, rows: int, total: State, work: Callable[[], None], core: int = 0, cores: int = 1
    ) -> None:
        """Repeats `work` for tiles of up to `rows` rows until the number in `total` is reached.

        Args:
            rows: Of a tile.
            total: Rows in all.
            work: For a tile.
            core, cores: Every so many-th tile only, from which on.
        """
        asm, group = self.asm, self.geometry.group
        asm.li(A, core * rows)
        asm.store(A, State.TILE)
        again, behind = asm.new_label("tile"), asm.new_label("tiles_done")
        asm.label(again)
        asm.load(A, total)
        asm.load(B, State.TILE)
        asm(f"C_BGEU {B}, {A}, {behind}", f"S_SUB_INT {A}, {A}, {B}")
        asm.li(B, rows)
        asm.minimum(A, B)
        asm.store(A, State.TILE_ROWS)
        asm.add(A, A, group - 1)
        asm.li(B, group.bit_length() - 1)
        asm(f"S_SHR_INT {A}, {A}, {B}")
        asm.store(A, State.GROUPS)
        work()
        asm.load(A, State.TILE)
        asm.add(A, A, cores * rows)
        asm.store(A, State.TILE)
        asm(f"C_JUMP {again}")
        asm.label(behind)

    def memory_rows(self, stored: Stored, columns: int, every: int = 1) -> None:
        """Says how rows stand in memory.

        Args:
            stored: They.
            columns: Elements of a row that are moved.
            every: Only each so many-th row.
        """
        asm = self.asm
        asm.csr("dma_format", stored.number)
        if stored.scaled:
            asm.csr("dma_block", stored.block)
            asm.csr("scale", stored.distance)
        asm.csr("dma_fill", 0)
        asm.csr("dma_pitch", every * stored.pitch)
        asm.csr("dma_len", columns)

    def bytes_from(self, register: str, stored: Stored) -> None:
        """register <- bytes of as many elements as take register bytes in BF16."""
        if stored.bits != 16:
            self.asm.scaled(register, register, stored.bits)
            self.asm.li(self.asm.scratch, 4)
            self.asm(f"S_SHR_INT {register}, {register}, {self.asm.scratch}")

    def move(
        self,
        operation: str,
        tile: Tile,
        register: str,
        stored: Stored,
        first: State | None,
        count: State,
        base: State | None = None,
    ) -> None:
        """Moves the rows of a tile of whole rows between memory and Vector SRAM.

        Args:
            operation: H_LD_V or H_ST_V.
            tile: In Vector SRAM.
            register: Address register.
            stored: Where, from there.
            first: Number of the first row; None: 0.
            count: Number of rows.
            base: Added to `first`.
        """
        asm = self.asm
        asm.li(A, 0) if first is None else asm.load(A, first)
        if base is not None:
            asm.load(B, base)
            asm(f"S_ADD_INT {A}, {A}, {B}")
        asm.scaled(A, A, stored.pitch)
        asm.add(A, A, stored.offset)
        asm.load(B, count)
        asm.li(X_BLOCK, tile.address)
        full = tile.columns // tile.width
        if full:
            self.memory_rows(stored, tile.width)
            with asm.loop(BLOCK, full):
                asm(f"{operation} {X_BLOCK}, {A}, {register}, {B}, 1")
                asm.add(X_BLOCK, X_BLOCK, tile.pitch)
                asm.add(A, A, stored.bytes_of(tile.width))
        if tile.columns % tile.width:
            self.memory_rows(stored, tile.columns % tile.width)
            asm(f"{operation} {X_BLOCK}, {A}, {register}, {B}, 1")

    def move_chunk(
        self,
        operation: str,
        address: int,
        columns: int,
        register: str,
        stored: Stored,
        base: State | None = None,
    ) -> None:
        """Moves a chunk of columns of the tile between memory and Vector SRAM.

        Args:
            operation: H_LD_V or H_ST_V.
            address: In Vector SRAM.
            columns: Of the chunk.
            register: Address register.
            stored: Where, from there.
            base: Number of row 0 of the call, times the rows of the batch: None for 0.
        """
        asm = self.asm
        asm.load(A, State.TILE)
        if base is not None:
            asm.load(B, base)
            asm(f"S_ADD_INT {A}, {A}, {B}")
        asm.scaled(A, A, stored.pitch)
        asm.load(B, State.COLUMN)
        self.bytes_from(B, stored)
        asm(f"S_ADD_INT {A}, {A}, {B}")
        asm.add(A, A, stored.offset)
        asm.load(B, State.TILE_ROWS)
        asm.li(X_BLOCK, address)
        self.memory_rows(stored, columns)
        asm(f"{operation} {X_BLOCK}, {A}, {register}, {B}, 2")

    def for_rows(
        self,
        pointers: dict[str, int],
        work: Callable[[], None],
        count: State = State.TILE_ROWS,
    ) -> None:
        """Repeats `work` for every row of the tile, or `count` rows; pointers advance by a row."""
        asm = self.asm
        for register, address in pointers.items():
            asm.li(register, address)
        asm.load(GROUP, count)
        with asm.repeat(GROUP):
            work()
            for register in pointers:
                asm.add(register, register, self.geometry.width)

    def _clear(self, address: int) -> None:
        """Zeros in a chunk whose columns will not all be written: a later product over the whole
        row must not meet what an earlier phase left there."""
        asm = self.asm
        asm.li(A, self.geometry.width)
        self.for_rows({X_GROUP: address}, lambda: asm(f"V_SHFT_V {X_GROUP}, {X_GROUP}, {A}"))

    # Products

    def begin(self, weights: Weights, panels: Panels) -> None:
        """Starts the stream of a matrix: the first panel is on its way."""
        asm = self.asm
        asm.li(A, weights.stored.offset + weights.first * weights.stored.pitch)
        if weights.base is not None:
            asm.load(B, weights.base)
            asm(f"S_ADD_INT {A}, {A}, {B}")
        asm.store(A, State.OFFSET)
        asm.li(A, weights.outputs)
        asm.store(A, State.REMAINING)
        asm.li(BUFFER, panels.first + panels.half)
        self._prefetch(weights, panels)

    def _prefetch(self, weights: Weights, panels: Panels) -> None:
        """Loads the next panel into the half that BUFFER does not name."""
        asm, width, stored = self.asm, self.geometry.mlen, weights.stored
        asm.load(A, State.REMAINING)
        with asm.skip_if("C_BEQ", A, "gp0"):
            asm.li(B, panels.rows)
            asm.minimum(B, A)
            asm(f"S_SUB_INT {A}, {A}, {B}")
            asm.store(A, State.REMAINING)
            asm.load(A, State.OFFSET)
            asm.li(W_BLOCK, 2 * panels.first + panels.half)
            asm(f"S_SUB_INT {W_BLOCK}, {W_BLOCK}, {BUFFER}")
            full = weights.inputs // width
            if full:
                self.memory_rows(stored, width)
                with asm.loop(BLOCK, full):
                    asm(f"H_LD_M {W_BLOCK}, {A}, {weights.register}, {B}, 0")
                    asm.add(W_BLOCK, W_BLOCK, panels.rows * width)
                    asm.add(A, A, stored.step(width))
            if weights.inputs % width:
                self.memory_rows(stored, weights.inputs % width)
                asm(f"H_LD_M {W_BLOCK}, {A}, {weights.register}, {B}, 0")
            asm.load(A, State.OFFSET)
            asm.add(A, A, panels.rows * stored.pitch)
            asm.store(A, State.OFFSET)

    def chunk(self, x: Tile, y: int, columns: int, weights: Weights, panels: Panels) -> None:
        """The next `columns` outputs of the stream, at most a row of Vector SRAM, for all rows.

        Args:
            x: Input.
            y: Address of the output, one column block of the same rows.
            columns: Outputs; the columns behind them are arbitrary.
            weights, panels: The stream.
        """
        asm, geometry = self.asm, self.geometry
        width, blen, group = geometry.width, geometry.blen, geometry.group
        per_transfer = panels.rows // blen
        asm.li(Y_PANEL, y)
        with asm.loop(PANELS, -(-columns // panels.rows)):
            asm.li(A, 2 * panels.first + panels.half)
            asm(f"S_SUB_INT {BUFFER}, {A}, {BUFFER}")
            self._prefetch(weights, panels)
            asm(f"MV {W_PANEL}, {BUFFER}")
            with asm.loop(PANEL, per_transfer):
                asm.li(X_GROUP, x.address)
                asm(f"MV {Y_GROUP}, {Y_PANEL}")
                asm.load(GROUP, State.GROUPS)
                with asm.repeat(GROUP):
                    asm(f"MV {X_BLOCK}, {X_GROUP}", f"MV {W_BLOCK}, {W_PANEL}")
                    self._accumulate(x, panels)
                    asm(f"M_MM_WO {Y_GROUP}, gp0, 0")
                    asm.add(X_GROUP, X_GROUP, group * width)
                    asm.add(Y_GROUP, Y_GROUP, group * width)
                asm.add(W_PANEL, W_PANEL, blen * geometry.mlen)
                asm.add(Y_PANEL, Y_PANEL, blen)

    def _accumulate(self, x: Tile, panels: Panels) -> None:
        """Products of a group of rows with BLEN outputs over all inputs, MLEN at a time."""
        asm, geometry = self.asm, self.geometry
        mlen = geometry.mlen
        per_row = geometry.width // mlen

        def products(count: int, leave: bool) -> None:
            for part in range(count):
                asm(f"M_TMM 0, {X_BLOCK}, {W_BLOCK}")
                if leave or part + 1 < count:
                    step = mlen if part + 1 < count else x.pitch - (count - 1) * mlen
                    asm.add(X_BLOCK, X_BLOCK, step)
                    asm.add(W_BLOCK, W_BLOCK, panels.rows * mlen)

        full, rest = divmod(panels.blocks, per_row)
        if full:
            with asm.loop(BLOCK, full):
                products(per_row, leave=panels.blocks > per_row)
        products(rest, leave=False)

    def product(
        self, x: Tile, y: int, weights: Weights, panels: Panels, epilogue: Epilogue, step: int
    ) -> None:
        """All outputs, a chunk of columns at a time.

        Args:
            x: Input.
            y: Address of the chunk.
            weights, panels: The stream.
            epilogue: Is told the chunk's columns; COLUMN says where it begins.
            step: What COLUMN counts a whole chunk as.
        """
        asm, width = self.asm, self.geometry.width
        if weights.outputs == 0:
            return
        asm.li(A, weights.first * step // width)
        asm.store(A, State.COLUMN)
        self.begin(weights, panels)
        full, rest = divmod(weights.outputs, width)
        if full:
            with asm.loop(CHUNKS, full):
                self.chunk(x, y, width, weights, panels)
                epilogue(width)
                asm.load(A, State.COLUMN)
                asm.add(A, A, step)
                asm.store(A, State.COLUMN)
        if rest:
            self._clear(y)
            self.chunk(x, y, rest, weights, panels)
            epilogue(rest)
