"""The phases of a forward call before the head, each as a routine over tiles of rows.

Between phases activations are in HBM, so that no phase depends on the number of tokens for its
footprint. Rows are position-major over the batch (row = position * B + b): what a call computes,
stores and attends to is one contiguous range of every table.
"""

from dataclasses import replace

from npuvp.compiler.assembly import Assembly
from npuvp.compiler.emitter import GLOBAL, LAYER, OTHER
from npuvp.compiler.kv_cache import KeysAndValues
from npuvp.compiler.layout import Layout
from npuvp.compiler.linear import X_BLOCK, X_GROUP, Y_GROUP, A, B, Tile
from npuvp.compiler.products import Panels, RowWork, Weights
from npuvp.compiler.state import State

__all__ = ["LAYER", "Phases"]


class Phases(KeysAndValues):
    """Emits the phases.

    Args:
        asm: Where to.
        layout: Of memory.
        tokens_at: Words of INT SRAM from here on are free for token ids.
        core: For which of the cores that share the work.
    """

    def __init__(
        self,
        asm: Assembly,
        layout: Layout,
        tokens_at: int,
        core: int = 0,
    ):
        super().__init__(asm, layout, core)
        self.tokens_at = tokens_at

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

        def add(columns: int) -> RowWork:
            def pointers() -> None:
                asm.li(X_GROUP, y)
                asm.li(Y_GROUP, old)

            def row() -> None:
                asm(f"V_ADD_VV {X_GROUP}, {X_GROUP}, {Y_GROUP}")
                asm.add(X_GROUP, X_GROUP, geometry.width)
                asm.add(Y_GROUP, Y_GROUP, geometry.width)

            return RowWork(
                row,
                (X_GROUP, Y_GROUP),
                pointers,
                end=lambda: self.tiles.store_group(y, columns, OTHER, stored["x"]),
                prepare=lambda: self.tiles.move_chunk(
                    "H_LD_V", old, columns, OTHER, stored["x"], column=State.CHUNK_COLUMN,
                    rows=(State.STAGE_ROW, State.STAGE_ROWS),
                ),
                cycles=5,
            )  # fmt: skip

        def tile() -> None:
            self.tiles.load_tile(x, GLOBAL, stored[source])
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
        spec, geometry = self.layout.spec, self.geometry
        width = geometry.width
        blocks = -(-spec.hidden // width)
        # The norm's weights and its squares stand where a chunk is computed later: larger tiles.
        spare = max(0, blocks + 1 - geometry.group)
        rows = self._tile_rows("gate_up", blocks + 2, spare)
        memory = self._vector()
        x = self._tile(memory, "x", rows, spec.hidden)
        y = self._rows(memory, "chunk", rows + spare)
        other = self._rows(memory, "gate", rows)
        weight, square = y, y + blocks * width
        self._address(GLOBAL, "x")
        self._address(OTHER, "gated")

        def tile() -> None:
            self._load_norm(LAYER, "mlp_norm", weight)
            self.tiles.load_tile(x, GLOBAL, self.layout.stored["x"])
            self._norm(x, weight, square)
            self._quantise(x)
            gate, up = (self._layer_weights(n, spec.mlp, geometry.blen) for n in ("gate", "up"))
            self._gated(x, y, other, gate, up)

        self.tiles.over_tiles(rows, State.ROWS, tile)
        self._end()

    def _gated(self, x: Tile, y: int, other: int, gate: Weights, up: Weights) -> None:
        """gated, at address register OTHER, <- silu(gate) * up of a tile; `y` and `other` are rows
        for chunks of the two."""
        asm, geometry = self.asm, self.geometry
        gated = self.layout.stored["gated"]

        def gate_and_up(columns: int) -> RowWork:
            def begin() -> None:
                asm.li(X_GROUP, y)
                asm.li(Y_GROUP, other)

            def row() -> None:
                asm(
                    f"V_SILU_V {X_GROUP}, {X_GROUP}",
                    f"V_MUL_VV {X_GROUP}, {X_GROUP}, {Y_GROUP}",
                )
                asm.add(X_GROUP, X_GROUP, geometry.width)
                asm.add(Y_GROUP, Y_GROUP, geometry.width)

            return RowWork(
                row,
                (X_GROUP, Y_GROUP),
                begin,
                end=lambda: self.tiles.store_group(y, columns, OTHER, gated),
                cycles=12,
            )

        both = replace(gate, beside=(up.stored,))
        panels = Panels.plan(geometry, "gate and up", x.columns, gate.outputs, 0, ways=2)
        self.tiles.product(x, y, both, panels, gate_and_up, 2 * geometry.width, beside=other)
