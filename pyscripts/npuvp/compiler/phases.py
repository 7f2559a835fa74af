"""The phases of a forward call before the head, each as a routine over tiles of rows.

Between phases activations are in HBM, so that no phase depends on the number of tokens for its
footprint. Rows are position-major over the batch (row = position * B + b): what a call computes,
stores and attends to is one contiguous range of every table.
"""

import math
from collections.abc import Callable

import numpy as np

from npuvp.compiler.assembly import Assembly
from npuvp.compiler.errors import CompileError
from npuvp.compiler.layout import Allocator, Geometry, Layout
from npuvp.compiler.linear import (
    BLOCK,
    GROUP,
    PANEL,
    W_BLOCK,
    W_PANEL,
    X_BLOCK,
    X_GROUP,
    Y_GROUP,
    Y_PANEL,
    A,
    B,
    Panels,
    Tile,
    Tiles,
    Weights,
)
from npuvp.compiler.state import State

__all__ = ["LAYER", "Phases"]

#: Address register of the layer's base.
LAYER = "a1"
_GLOBAL = "a0"
_OFFSETS = "a2"


def _bits(value: float) -> int:
    """Bit pattern of a float32."""
    return int(np.float32(value).view(np.uint32))


class Phases:
    """Emits the phases.

    Args:
        asm: Where to.
        layout: Of memory.
        tokens_at: Words of INT SRAM from here on are free for token ids.
    """

    def __init__(self, asm: Assembly, layout: Layout, tokens_at: int):
        self.asm = asm
        self.layout = layout
        self.geometry: Geometry = layout.geometry
        self.tiles = Tiles(asm, layout.geometry)
        self.tokens_at = tokens_at

    # Helpers

    def _address(self, register: str, name: str) -> None:
        self.asm(f"LIA {register}, {self.layout.addresses[name]}, {A}, {B}")

    def _float(self, register: str, value: float, scratch: str = A) -> None:
        self.asm.li(scratch, _bits(value))
        self.asm(f"S_SET_FP {register}, {scratch}")

    def _fence(self) -> None:
        self.asm("C_FENCE 0xFFFF")

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

    def _load_norm(self, register: str, offset: int, at: int) -> None:
        """A norm's weights into whole rows."""
        asm, hidden = self.asm, self.layout.spec.hidden
        asm.li(A, offset)
        asm.li(B, 1)
        asm.li(X_BLOCK, at)
        self.tiles.memory_rows(2 * hidden, hidden)
        asm(f"H_LD_V {X_BLOCK}, {A}, {register}, {B}, 1")

    def _norm(self, x: Tile, weight: int, square: int) -> None:
        """RMSNorm of the tile's rows in place, rounded before and after the weight."""
        asm = self.asm
        self._float("f3", 1.0 / self.layout.spec.hidden)
        self._float("f4", self.layout.spec.norm_eps)
        asm.li(Y_PANEL, square)

        def row() -> None:
            asm("S_ADD_FP f1, f0, f0", f"MV {X_BLOCK}, {X_GROUP}")
            with asm.loop(BLOCK, x.blocks):
                asm(f"V_MUL_VV {Y_PANEL}, {X_BLOCK}, {X_BLOCK}", f"V_RED_SUM f1, {Y_PANEL}")
                asm.add(X_BLOCK, X_BLOCK, x.pitch)
            asm(
                "S_MUL_FP f1, f1, f3", "S_ADD_FP f1, f1, f4", "S_SQRT_FP f1, f1", "S_RECI_FP f1, f1"
            )
            asm(f"MV {X_BLOCK}, {X_GROUP}")
            asm.li(W_BLOCK, weight)
            with asm.loop(BLOCK, x.blocks):
                asm(f"V_MUL_VF {X_BLOCK}, {X_BLOCK}, f1")
                asm(f"V_MUL_VV {X_BLOCK}, {X_BLOCK}, {W_BLOCK}")
                asm.add(X_BLOCK, X_BLOCK, x.pitch)
                asm.add(W_BLOCK, W_BLOCK, x.width)

        self.tiles.for_rows({X_GROUP: x.address}, row)

    def _layer_weights(self, role: str, outputs: int, inputs: int) -> Weights:
        return Weights(LAYER, self.layout.offsets[role], outputs, inputs)

    # Phases

    def embed(self) -> None:
        """x <- rows of the embedding."""
        asm, spec, geometry = self.asm, self.layout.spec, self.geometry
        blocks = -(-spec.hidden // geometry.width)
        room = min(
            geometry.int_words - self.tokens_at,
            self.layout.shape.batch * self.layout.shape.length,
        )
        rows = min(room, geometry.vector_rows // blocks)
        self._address(_GLOBAL, "embedding")
        self._address(_OFFSETS, "x")
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
            self.tiles.memory_rows(2 * spec.hidden, spec.hidden)
            asm.label("decide_row")
            asm(f"H_GATHER_V gp0, {X_BLOCK}, {_GLOBAL}, {B}, 1")
            asm.load(A, State.TILE)
            asm.scaled(A, A, 2 * spec.hidden)
            asm(f"H_ST_V gp0, {A}, {_OFFSETS}, {B}, 2")

        self.tiles.over_tiles(rows, State.ROWS, tile)
        self._fence()

    def qkv(self) -> None:
        """q, and the rows of the call in the cache of keys and values, from x."""
        asm, spec, geometry = self.asm, self.layout.spec, self.geometry
        width = geometry.width
        blocks = -(-spec.hidden // width)
        q_columns, kv_columns = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        rows = self._tile_rows("qkv", blocks + 4, blocks + 1)
        memory = self._vector()
        x = self._tile(memory, "x", rows, spec.hidden)
        y = self._rows(memory, "chunk", rows)
        turned = self._rows(memory, "chunk, halves swapped", rows)
        cosine = self._rows(memory, "cosine", rows)
        sine = self._rows(memory, "sine", rows)
        weight = self._rows(memory, "attn_norm", blocks)
        square = self._rows(memory, "squares", 1)
        if width % spec.head_dim:
            raise CompileError([f"head_dim: {spec.head_dim}, allowed: a divisor of vlen = {width}"])
        taken = width  # the rotation's tile
        self._load_norm(LAYER, self.layout.offsets["attn_norm"], weight)
        self._address(_GLOBAL, "rotation")
        asm.li(A, width)
        self.tiles.memory_rows(2 * width, width)
        asm(f"H_LD_M gp0, gp0, {_GLOBAL}, {A}, 3")
        self._address(_GLOBAL, "cosine")
        self._address(_OFFSETS, "sine")
        self._address("a3", "q")
        self._address("a4", "x")
        asm.load(A, State.FIRST)
        asm.scaled(A, A, self.layout.shape.batch)
        asm.store(A, State.ROW)

        def rope(columns: int) -> None:
            """The chunk at y, rotated."""
            asm.li(Y_PANEL, turned)
            asm.li(W_PANEL, 0)
            with asm.loop(PANEL, -(-columns // geometry.blen)):
                asm.li(X_GROUP, y)
                asm(f"MV {Y_GROUP}, {Y_PANEL}")
                asm.load(GROUP, State.GROUPS)
                with asm.repeat(GROUP):
                    asm(f"M_TMM 0, {X_GROUP}, {W_PANEL}", f"M_MM_WO {Y_GROUP}, gp0, 0")
                    asm.add(X_GROUP, X_GROUP, geometry.group * width)
                    asm.add(Y_GROUP, Y_GROUP, geometry.group * width)
                asm.add(W_PANEL, W_PANEL, geometry.blen * width)
                asm.add(Y_PANEL, Y_PANEL, geometry.blen)

            def row() -> None:
                asm(
                    f"V_MUL_VV {X_GROUP}, {X_GROUP}, {X_BLOCK}",
                    f"V_MUL_VV {Y_GROUP}, {Y_GROUP}, {W_BLOCK}",
                    f"V_ADD_VV {X_GROUP}, {X_GROUP}, {Y_GROUP}",
                )

            pointers = {X_GROUP: y, Y_GROUP: turned, X_BLOCK: cosine, W_BLOCK: sine}
            self.tiles.for_rows(pointers, row)

        def query(columns: int) -> None:
            rope(columns)
            self.tiles.move_chunk("H_ST_V", y, columns, "a3", 0, 2 * q_columns)

        def keep(role: str) -> Callable[[int], None]:
            def store(columns: int) -> None:
                if role == "keys":
                    rope(columns)
                offset = self.layout.offsets[role]
                self.tiles.move_chunk(
                    "H_ST_V", y, columns, LAYER, offset, 2 * kv_columns, State.ROW
                )

            return store

        def tile() -> None:
            self.tiles.move("H_LD_V", x, "a4", 0, State.TILE, State.TILE_ROWS)
            for register, at in ((_GLOBAL, cosine), (_OFFSETS, sine)):
                table = Tile(at, rows, width, width)
                self.tiles.move(
                    "H_LD_V", table, register, 0, State.TILE, State.TILE_ROWS, State.ROW
                )
            self._norm(x, weight, square)
            for role, outputs, epilogue in (
                ("q", q_columns, query),
                ("k", kv_columns, keep("keys")),
                ("v", kv_columns, keep("values")),
            ):
                weights = self._layer_weights(role, outputs, spec.hidden)
                panels = Panels.plan(geometry, role, spec.hidden, outputs, taken)
                self.tiles.product(x, y, weights, panels, epilogue, 2 * width)

        self.tiles.over_tiles(rows, State.ROWS, tile)
        self._fence()

    def attention(self, padded: bool) -> None:
        """o from q and the cache: for every row of the batch and head, a group of queries at a
        time against all keys.

        Args:
            padded: Whether prompts are padded, so that rows of the batch see different keys.
        """
        asm, spec, geometry, shape = self.asm, self.layout.spec, self.geometry, self.layout.shape
        width, group, blen, tiles = (
            geometry.width,
            geometry.group,
            geometry.blen,
            self.layout.key_tiles,
        )
        if 2 * tiles * width > geometry.matrix_rows:
            raise CompileError(
                [
                    f"keys and values of a head, {shape.length} x {spec.head_dim}: "
                    f"{2 * tiles} tiles, Matrix SRAM has {geometry.matrix_rows // width}"
                ]
            )
        memory = self._vector()
        q = self._rows(memory, "queries of a head", group)
        o = self._rows(memory, "outputs of a head", group)
        scores = self._rows(memory, "scores", group * tiles)
        seen = self._rows(memory, "key mask", tiles)
        lowest = self._rows(memory, "row of -inf", 1)
        q_columns, kv_columns = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        batch, head = shape.batch, spec.head_dim
        masked = [tile for tile in range(tiles) if padded or (tile + 1) * width > shape.length]
        # Registers that live across a head.
        q_offset, kv_offset, left_group, left_heads, left_batch = (
            "gp1",
            "gp2",
            "gp3",
            "gp4",
            "gp5",
        )
        first, rows, at, other, inner, address, column, count, mask = (
            "gp6",
            "gp7",
            "gp8",
            "gp9",
            "gp10",
            "gp11",
            "gp12",
            "gp13",
            "gp14",
        )
        self._address(_GLOBAL, "q")
        self._address(_OFFSETS, "o")
        self._address("a3", "key_mask")
        asm.li(at, width)
        asm.li(other, lowest)
        self._float("f5", -math.inf)
        self._float("f6", head**-0.5)
        asm(f"V_SHFT_V {other}, {other}, {at}", f"V_ADD_VF {other}, {other}, f5")
        asm.li(q_offset, 0)
        asm.li(kv_offset, 0)
        asm.li(mask, 0)

        def load_mask() -> None:
            if not masked:
                return
            asm.li(at, seen)
            asm.li(rows, tiles)
            self.tiles.memory_rows(2 * width, width)
            asm(f"H_LD_V {at}, {mask}, a3, {rows}, 1")
            asm.add(mask, mask, 2 * width * tiles)

        def load_cache(role: str, first_tile: int) -> None:
            asm.add(address, kv_offset, self.layout.offsets[role])
            self.tiles.memory_rows(2 * kv_columns * batch, head)
            for tile in range(tiles):
                asm.li(at, (first_tile + tile) * width * width)
                asm.li(rows, min(width, shape.length - tile * width))
                asm(f"H_LD_M {at}, {address}, {LAYER}, {rows}, 0")
                if tile + 1 < tiles:
                    asm.add(address, address, 2 * kv_columns * batch * width)

        def move_head(operation: str, register: str, place: int) -> None:
            """Queries or outputs of the group of rows."""
            asm.scaled(address, first, 2 * q_columns * batch)
            asm(f"S_ADD_INT {address}, {address}, {q_offset}")
            asm.li(at, place)
            self.tiles.memory_rows(2 * q_columns * batch, head)
            asm(f"{operation} {at}, {address}, {register}, {rows}, 1")

        def softmax() -> None:
            asm.li(at, scores)
            asm(f"MV {count}, {rows}")
            with asm.repeat(count):
                asm("S_ADD_FP f1, f5, f0", "S_ADD_FP f2, f0, f0")
                for tile in range(tiles):
                    if tile:
                        asm.add(other, at, tile * group * width)
                    row = other if tile else at
                    if tile in masked:
                        asm.li(inner, seen + tile * width)
                        asm.li(column, lowest)
                        asm(f"V_SELECT_VVM {row}, {row}, {column}, {inner}")
                    asm(f"V_RED_MAX f1, {row}, 0")
                for tile in range(tiles):
                    if tile:
                        asm.add(other, at, tile * group * width)
                    row = other if tile else at
                    asm(
                        f"V_SUB_VF {row}, {row}, f1, 0, 0",
                        f"V_MUL_VF {row}, {row}, f6",
                        f"V_EXP_V {row}, {row}, 0",
                        f"V_RED_SUM f2, {row}",
                    )
                asm("S_RECI_FP f2, f2")
                for tile in range(tiles):
                    if tile:
                        asm.add(other, at, tile * group * width)
                    row = other if tile else at
                    asm(f"V_MUL_VF {row}, {row}, f2")
                asm.add(at, at, width)

        def queries() -> None:
            """A group of rows of one head."""
            move_head("H_LD_V", _GLOBAL, q)
            for tile in range(tiles):
                asm.li(at, q)
                asm.li(other, tile * width * width)
                asm.li(address, scores + tile * group * width)
                keys = min(width, shape.length - tile * width)
                with asm.loop(inner, -(-keys // blen)):
                    asm(f"M_TMM 0, {at}, {other}", f"M_MM_WO {address}, gp0, 0")
                    asm.add(other, other, blen * width)
                    asm.add(address, address, blen)
            softmax()
            asm.li(column, tiles * width * width)
            asm.li(address, o)
            with asm.loop(inner, -(-head // blen)):
                asm.li(at, scores)
                asm(f"MV {other}, {column}")
                for tile in range(tiles):
                    asm(f"M_MM 0, {other}, {at}")
                    if tile + 1 < tiles:
                        asm.add(at, at, group * width)
                        asm.add(other, other, width * width)
                asm(f"M_MM_WO {address}, gp0, 0")
                asm.add(column, column, blen * width)
                asm.add(address, address, blen)
            move_head("H_ST_V", _OFFSETS, o)

        with asm.loop(left_batch, batch):
            load_mask()
            with asm.loop(left_heads, spec.kv_heads):
                load_cache("keys", 0)
                load_cache("values", tiles)
                with asm.loop(left_group, spec.group):
                    asm.li(first, 0)
                    again = asm.new_label("queries")
                    asm.label(again)
                    asm.load(rows, State.COUNT)
                    asm(f"S_SUB_INT {rows}, {rows}, {first}")
                    asm.li(other, group)
                    asm.minimum(rows, other)
                    queries()
                    asm.add(first, first, group)
                    asm.load(at, State.COUNT)
                    asm(f"C_BLTU {first}, {at}, {again}")
                    asm.add(q_offset, q_offset, 2 * head)
                asm.add(kv_offset, kv_offset, 2 * head)
        self._fence()

    def _residual(self, name: str, source: str, role: str, inputs: int) -> None:
        """x <- x + source . transpose(weights)."""
        asm, spec, geometry = self.asm, self.layout.spec, self.geometry
        blocks = -(-inputs // geometry.width)
        rows = self._tile_rows(name, blocks + 2, 0)
        memory = self._vector()
        x = self._tile(memory, source, rows, inputs)
        y = self._rows(memory, "chunk", rows)
        old = self._rows(memory, "residual", rows)
        self._address(_GLOBAL, source)
        self._address(_OFFSETS, "x")
        weights = self._layer_weights(role, spec.hidden, inputs)
        panels = Panels.plan(geometry, role, inputs, spec.hidden, 0)

        def add(columns: int) -> None:
            pitch = 2 * spec.hidden
            self.tiles.move_chunk("H_LD_V", old, columns, _OFFSETS, 0, pitch)
            self.tiles.for_rows(
                {X_GROUP: y, Y_GROUP: old},
                lambda: asm(f"V_ADD_VV {X_GROUP}, {X_GROUP}, {Y_GROUP}"),
            )
            self.tiles.move_chunk("H_ST_V", y, columns, _OFFSETS, 0, pitch)

        def tile() -> None:
            self.tiles.move("H_LD_V", x, _GLOBAL, 0, State.TILE, State.TILE_ROWS)
            self.tiles.product(x, y, weights, panels, add, 2 * geometry.width)

        self.tiles.over_tiles(rows, State.ROWS, tile)
        self._fence()

    def attention_output(self) -> None:
        """x <- x + o . transpose(Wo)."""
        self._residual("o", "o", "o", self.layout.spec.heads * self.layout.spec.head_dim)

    def down(self) -> None:
        """x <- x + gated . transpose(Wdown)."""
        self._residual("down", "gated", "down", self.layout.spec.mlp)

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
        self._load_norm(LAYER, self.layout.offsets["mlp_norm"], weight)
        self._address(_GLOBAL, "x")
        self._address(_OFFSETS, "gated")
        pitch = 2 * spec.mlp

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
            self.tiles.move_chunk("H_ST_V", y, columns, _OFFSETS, 0, pitch)

        def multiply(columns: int) -> None:
            self.tiles.move_chunk("H_LD_V", other, columns, _OFFSETS, 0, pitch)
            self.tiles.for_rows(
                {X_GROUP: y, Y_GROUP: other},
                lambda: asm(f"V_MUL_VV {X_GROUP}, {X_GROUP}, {Y_GROUP}"),
            )
            self.tiles.move_chunk("H_ST_V", y, columns, _OFFSETS, 0, pitch)

        def tile() -> None:
            self.tiles.move("H_LD_V", x, _GLOBAL, 0, State.TILE, State.TILE_ROWS)
            self._norm(x, weight, square)
            for role, epilogue in (("gate", silu), ("up", multiply)):
                weights = self._layer_weights(role, spec.mlp, spec.hidden)
                panels = Panels.plan(geometry, role, spec.hidden, spec.mlp, 0)
                self.tiles.product(x, y, weights, panels, epilogue, 2 * width)
                asm("C_FENCE 4")

        self.tiles.over_tiles(rows, State.ROWS, tile)
        self._fence()
