"""Tiles of rows, and their transfers.

Activations stand in column blocks of Vector SRAM: element (r, c) of a tile of R rows at
base + ((c / W) * R + r) * W + c mod W.
"""

from collections.abc import Callable
from dataclasses import dataclass

from npuvp.compiler.assembly import Assembly
from npuvp.compiler.formats import Stored
from npuvp.compiler.layout import Geometry
from npuvp.compiler.state import State

__all__ = ["Tile", "Tiles"]

# Registers of products and transfers.
PANEL, GROUP = "gp3", "gp4"
X_GROUP, X_BLOCK, W_PANEL, W_BLOCK = "gp5", "gp6", "gp7", "gp8"
Y_PANEL, Y_GROUP, A, B, BLOCK = "gp9", "gp10", "gp12", "gp13", "gp14"
# Further ones of work on rows of results.
ROW1, ROW2, ROW3 = "gp1", "gp2", "gp11"


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
        column: State = State.COLUMN,
        rows: tuple[State, State] | None = None,
    ) -> None:
        """Moves a chunk of columns of the tile between memory and Vector SRAM.

        Args:
            operation: H_LD_V or H_ST_V.
            address: In Vector SRAM.
            columns: Of the chunk.
            register: Address register.
            stored: Where, from there.
            base: Number of row 0 of the call, times the rows of the batch: None for 0.
            column: Where the chunk begins.
            rows: First row of the tile that is moved, and how many; None: all.
        """
        asm = self.asm
        asm.load(A, State.TILE)
        asm.li(X_GROUP, address)
        if rows is not None:
            asm.load(B, rows[0])
            asm(f"S_ADD_INT {A}, {A}, {B}")
            asm.scaled(B, B, self.geometry.width)
            asm(f"S_ADD_INT {X_GROUP}, {X_GROUP}, {B}")
        if base is not None:
            asm.load(B, base)
            asm(f"S_ADD_INT {A}, {A}, {B}")
        asm.scaled(A, A, stored.pitch)
        asm.load(B, column)
        self.bytes_from(B, stored)
        asm(f"S_ADD_INT {A}, {A}, {B}")
        asm.add(A, A, stored.offset)
        asm.load(B, rows[1] if rows is not None else State.TILE_ROWS)
        self.memory_rows(stored, columns)
        asm(f"{operation} {X_GROUP}, {A}, {register}, {B}, 2")

    def store_group(
        self,
        address: int,
        columns: int,
        register: str,
        stored: Stored,
        base: State | None = None,
    ) -> None:
        """Stores a chunk of columns of the group of rows that is finished."""
        rows = (State.GROUP_FIRST, State.GROUP_ROWS)
        self.move_chunk("H_ST_V", address, columns, register, stored, base, rows=rows)

    def load_tile(
        self, tile: Tile, register: str, stored: Stored, base: State | None = None
    ) -> None:
        """Loads the tile's rows, a group at a time, so that work on the first rows need not wait for
        the last ones.

        Args:
            tile: In Vector SRAM.
            register: Address register.
            stored: Where, from there.
            base: Number of row 0 of the call, times the rows of the batch: None for 0.
        """
        asm, geometry = self.asm, self.geometry
        asm.load(A, State.TILE)
        if base is not None:
            asm.load(B, base)
            asm(f"S_ADD_INT {A}, {A}, {B}")
        asm.scaled(A, A, stored.pitch)
        asm.add(A, A, stored.offset)
        asm.load(GROUP, State.TILE_ROWS)
        asm.li(X_GROUP, tile.address)
        full, rest = divmod(tile.columns, tile.width)
        again = asm.new_label("group")
        asm.label(again)
        asm.li(B, geometry.group)
        asm.minimum(B, GROUP)
        asm(f"MV {X_BLOCK}, {X_GROUP}", f"MV {Y_GROUP}, {A}")
        if full:
            self.memory_rows(stored, tile.width)
            with asm.loop(BLOCK, full):
                asm(f"H_LD_V {X_BLOCK}, {Y_GROUP}, {register}, {B}, 1")
                asm.add(X_BLOCK, X_BLOCK, tile.pitch)
                asm.add(Y_GROUP, Y_GROUP, stored.bytes_of(tile.width))
        if rest:
            self.memory_rows(stored, rest)
            asm(f"H_LD_V {X_BLOCK}, {Y_GROUP}, {register}, {B}, 1")
        asm.add(X_GROUP, X_GROUP, geometry.group * tile.width)
        asm.add(A, A, geometry.group * stored.pitch)
        asm(f"S_SUB_INT {GROUP}, {GROUP}, {B}", f"C_BNE {GROUP}, gp0, {again}")

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
