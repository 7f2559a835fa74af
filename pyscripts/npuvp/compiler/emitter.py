"""What all phases share: places in the SRAMs, the core's share of the work, fences."""

import numpy as np

from npuvp.compiler.assembly import Assembly
from npuvp.compiler.errors import CompileError
from npuvp.compiler.layout import Allocator, Geometry, Layout
from npuvp.compiler.linear import (
    BLOCK,
    W_BLOCK,
    W_PANEL,
    X_BLOCK,
    X_GROUP,
    Y_PANEL,
    A,
    B,
    Tile,
)
from npuvp.compiler.products import Products, Weights
from npuvp.compiler.shares import share
from npuvp.compiler.state import State

__all__ = ["GLOBAL", "LAYER", "OTHER", "Emitter"]

#: Address register of the layer's base.
LAYER = "a1"
#: Address registers for the tables of a phase.
GLOBAL, OTHER = "a0", "a2"
_ROUND_TRIP = "a6"


class Emitter:
    """Emits parts of phases.

    Args:
        asm: Where to.
        layout: Of memory.
        core: For which of the cores that share the work.
    """

    def __init__(self, asm: Assembly, layout: Layout, core: int = 0):
        self.asm = asm
        self.layout = layout
        self.geometry: Geometry = layout.geometry
        self.core = core
        self.tiles = Products(asm, layout.geometry)

    @property
    def leads(self) -> bool:
        """Whether this core also samples and decides."""
        return self.core == 0

    def share(self, total: int, unit: int) -> tuple[int, int]:
        """This core's range of `total` things that are dealt out in groups of `unit`: the first
        and how many."""
        return share(total, unit, self.core, self.layout.cores)

    def meet(self) -> None:
        """All cores have come to this point."""
        if self.layout.cores > 1:
            self.asm.li(A, 0)
            self.asm.li(B, self.layout.cores)
            self.asm(f"C_BARRIER {A}, {B}")

    def _address(self, register: str, name: str) -> None:
        self.asm(f"LIA {register}, {self.layout.addresses[name]}, {A}, {B}")

    def _float(self, register: str, value: float, scratch: str = A) -> None:
        self.asm.li(scratch, int(np.float32(value).view(np.uint32)))
        self.asm(f"S_SET_FP {register}, {scratch}")

    def _end(self) -> None:
        """The end of a phase: what it stored is in memory, on all cores."""
        self.asm("C_FENCE 0xFFFF")
        self.meet()

    def _tile_rows(self, name: str, per_row: int, fixed: int) -> int:
        """The largest tile that fits: rows of Vector SRAM per token and in any case."""
        geometry = self.geometry
        most = self.layout.shape.length * self.layout.shape.batch
        rows = (geometry.vector_rows - fixed) // per_row // geometry.group * geometry.group
        if rows < geometry.group:
            raise CompileError(
                [
                    f"phase {name}: {per_row} rows per token for {geometry.group} tokens and {fixed} "
                    f"more take {per_row * geometry.group + fixed} rows of {geometry.width}, "
                    f"Vector SRAM has {geometry.vector_rows}"
                ]
            )
        return min(rows, -(-most // geometry.group) * geometry.group)

    def _rows(self, memory: Allocator, name: str, rows: int) -> int:
        return memory.take(name, rows * self.geometry.width)

    def _vector(self) -> Allocator:
        geometry = self.geometry
        return Allocator("Vector SRAM", geometry.vector_rows * geometry.width, unit="elements")

    def _tile(self, memory: Allocator, name: str, rows: int, columns: int) -> Tile:
        width = self.geometry.width
        blocks = -(-columns // width)
        return Tile(self._rows(memory, name, rows * blocks), rows, columns, width)

    def _load_norm(self, register: str, table: str, at: int) -> None:
        """A norm's weights into whole rows."""
        asm, stored = self.asm, self.layout.stored[table]
        asm.li(A, stored.offset)
        asm.li(B, 1)
        asm.li(X_BLOCK, at)
        self.tiles.memory_rows(stored, stored.columns)
        asm(f"H_LD_V {X_BLOCK}, {A}, {register}, {B}, 1")

    def _norm(self, x: Tile, weight: int, square: int) -> None:
        """RMSNorm of the tile's rows in place, rounded before and after the weight."""
        asm = self.asm
        self._float("f3", 1.0 / self.layout.spec.hidden)
        self._float("f4", self.layout.spec.norm_eps)
        asm.li(Y_PANEL, square)
        asm.li(W_PANEL, x.pitch)

        def row() -> None:
            asm("S_ADD_FP f1, f0, f0", f"MV {X_BLOCK}, {X_GROUP}")
            with asm.loop(BLOCK, x.blocks):
                asm(f"V_MUL_VV {Y_PANEL}, {X_BLOCK}, {X_BLOCK}", f"V_RED_SUM f1, {Y_PANEL}")
                asm(f"S_ADD_INT {X_BLOCK}, {X_BLOCK}, {W_PANEL}")
            # While the sum is made.
            asm(f"MV {X_BLOCK}, {X_GROUP}")
            asm.li(W_BLOCK, weight)
            asm(
                "S_MUL_FP f1, f1, f3", "S_ADD_FP f1, f1, f4", "S_SQRT_FP f1, f1", "S_RECI_FP f1, f1"
            )
            with asm.loop(BLOCK, x.blocks):
                asm(f"V_MUL_VF {X_BLOCK}, {X_BLOCK}, f1")
                asm(f"V_MUL_VV {X_BLOCK}, {X_BLOCK}, {W_BLOCK}")
                asm(f"S_ADD_INT {X_BLOCK}, {X_BLOCK}, {W_PANEL}")
                asm.add(W_BLOCK, W_BLOCK, x.width)

        self.tiles.for_rows({X_GROUP: x.address}, row)

    def _quantise(self, x: Tile) -> None:
        """The tile's rows in the format of activations, by way of memory."""
        layout = self.layout
        if layout.formats.activations == "bf16":
            return
        stored = layout.activations(x.columns)
        at = layout.addresses["activations"] + self.core * 2 * stored.scales
        self.asm(f"LIA {_ROUND_TRIP}, {at}, {A}, {B}")
        for operation in ("H_ST_V", "H_LD_V"):
            self.tiles.move(operation, x, _ROUND_TRIP, stored, None, State.TILE_ROWS)
            self.asm("C_FENCE 2")

    def _layer_weights(
        self, role: str, outputs: int, unit: int, base: State | None = None
    ) -> Weights:
        """This core's outputs of a matrix of the layer."""
        first, count = self.share(outputs, unit)
        return Weights(LAYER, self.layout.stored[f"weights.{role}"], count, first, base)

    def _all_weights(self, role: str, outputs: int) -> Weights:
        """All outputs of a matrix of the layer, on every core."""
        return Weights(LAYER, self.layout.stored[f"weights.{role}"], outputs)
