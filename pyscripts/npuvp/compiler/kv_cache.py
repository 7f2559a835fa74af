"""Queries, keys and values, their cache in BF16 or MX, and attention.

A quantised cache (`npuvp.baos` has the algebra) is never what a warm pass attends to: that pass
leaves its keys and values in BF16 in tables of their own, which all layers share. The cache of a
layer is written from there, and refine passes read nothing else.
"""

from collections.abc import Callable

from npuvp.baos import TINY
from npuvp.compiler.emitter import GLOBAL, LAYER, OTHER
from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import Stored
from npuvp.compiler.linear import (
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
)
from npuvp.compiler.projections import Projections
from npuvp.compiler.state import State

__all__ = ["FRESH", "KeysAndValues"]

#: Address registers of the tables that a warm pass leaves to itself where the cache is quantised.
FRESH = {"keys": "a4", "values": "a5"}


class KeysAndValues(Projections):
    """Emits the phases between the residual stream and the output of attention."""

    def _check_heads(self) -> None:
        head, mlen = self.layout.spec.head_dim, self.geometry.mlen
        faults = self._projection_faults()
        if mlen % head:
            faults.append(f"head_dim: {head}, allowed: a divisor of mlen = {mlen}")
        if faults:
            raise CompileError(faults)

    def qkv(self) -> None:
        """q, and the rows of the call in the cache of keys and values, from x."""
        asm, spec, geometry, layout = self.asm, self.layout.spec, self.geometry, self.layout
        width, mlen = geometry.width, geometry.mlen
        blocks = -(-spec.hidden // width)
        q_columns, kv_columns = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        batch = layout.shape.batch if layout.smoothed_cache else 0
        rows = self._tile_rows("qkv", blocks + 4, blocks + 1 + batch + self.projection_rows)
        memory = self._vector()
        x = self._tile(memory, "x", rows, spec.hidden)
        y = self._rows(memory, "chunk", rows)
        turned = self._rows(memory, "chunk, halves swapped", rows)
        cosine = self._rows(memory, "cosine", rows)
        sine = self._rows(memory, "sine", rows)
        weight = self._rows(memory, "attn_norm", blocks)
        square = self._rows(memory, "squares", 1)
        inverse = self._rows(memory, "inverse factors", batch) if batch else 0
        extra = self._rows(memory, "biases, norms of heads", self.projection_rows)
        self._check_heads()
        taken = mlen  # the rotation's tile
        self._load_norm(LAYER, "attn_norm", weight)
        self._address(GLOBAL, "rotation")
        asm.li(A, mlen)
        self.tiles.memory_rows(Stored("rotation", 0, mlen), mlen)
        asm(f"H_LD_M gp0, gp0, {GLOBAL}, {A}, 3")
        self._address(GLOBAL, "cosine")
        self._address(OTHER, "sine")
        self._address("a3", "q")
        self._address("a7", "x")
        if layout.quantised_cache:
            for role, register in FRESH.items():
                self._address(register, f"fresh_{role}")
        asm.load(A, State.FIRST)
        asm.scaled(A, A, layout.shape.batch)
        asm.store(A, State.ROW)

        def rope(columns: int) -> None:
            """The chunk at y, rotated, MLEN columns at a time."""
            for part in range(0, columns, mlen):
                asm.li(Y_PANEL, turned + part)
                asm.li(W_PANEL, 0)
                with asm.loop(PANEL, -(-min(mlen, columns - part) // geometry.blen)):
                    asm.li(X_GROUP, y + part)
                    asm(f"MV {Y_GROUP}, {Y_PANEL}")
                    asm.load(GROUP, State.GROUPS)
                    with asm.repeat(GROUP):
                        asm(f"M_TMM 0, {X_GROUP}, {W_PANEL}", f"M_MM_WO {Y_GROUP}, gp0, 0")
                        asm.add(X_GROUP, X_GROUP, geometry.group * width)
                        asm.add(Y_GROUP, Y_GROUP, geometry.group * width)
                    asm.add(W_PANEL, W_PANEL, geometry.blen * mlen)
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
            self._finish("q", y, columns, extra)
            rope(columns)
            self.tiles.move_chunk("H_ST_V", y, columns, "a3", layout.stored["q"])

        def keep(role: str) -> Callable[[int], None]:
            cache = layout.stored[role]

            def store(columns: int) -> None:
                self._finish(role[0], y, columns, extra)
                if role == "keys":
                    rope(columns)
                if not layout.quantised_cache:
                    self.tiles.move_chunk("H_ST_V", y, columns, LAYER, cache, State.ROW)
                    return
                fresh = layout.stored[f"fresh_{role}"]
                refine, done = asm.new_label("refine"), asm.new_label("kept")
                asm.load(A, State.KIND)
                asm(f"C_BNE {A}, gp0, {refine}")
                if not layout.smoothed_cache:
                    self.tiles.move_chunk("H_ST_V", y, columns, LAYER, cache, State.ROW)
                self.tiles.move_chunk("H_ST_V", y, columns, FRESH[role], fresh, State.ROW)
                asm(f"C_JUMP {done}")
                asm.label(refine)
                if layout.smoothed_cache:
                    self._normalise(role, y, columns, inverse)
                self.tiles.move_chunk("H_ST_V", y, columns, LAYER, cache, State.ROW)
                asm.label(done)

            return store

        def tile() -> None:
            self.tiles.move("H_LD_V", x, "a7", layout.stored["x"], State.TILE, State.TILE_ROWS)
            for name, register, at in (("cosine", GLOBAL, cosine), ("sine", OTHER, sine)):
                table = Tile(at, rows, width, width)
                self.tiles.move(
                    "H_LD_V", table, register, layout.stored[name], State.TILE, State.TILE_ROWS,
                    State.ROW,
                )  # fmt: skip
            self._norm(x, weight, square)
            self._quantise(x)
            for role, outputs, epilogue in (
                ("q", q_columns, query),
                ("k", kv_columns, keep("keys")),
                ("v", kv_columns, keep("values")),
            ):
                weights = self._layer_weights(role, outputs, spec.head_dim)
                panels = Panels.plan(geometry, role, spec.hidden, weights.outputs, taken)
                self.tiles.product(x, y, weights, panels, epilogue, 2 * width)

        self.tiles.over_tiles(rows, State.ROWS, tile)
        self._end()

    def _normalise(self, role: str, y: int, columns: int, inverse: int) -> None:
        """Fresh rows of a refine pass times the inverse factors of their row of the batch."""
        asm, width, batch = self.asm, self.geometry.width, self.layout.shape.batch
        table = self.layout.stored[f"{role}.inverse"]
        asm.load(A, State.COLUMN)
        asm.add(A, A, table.offset)
        asm.li(B, batch)
        asm.li(X_BLOCK, inverse)
        self.tiles.memory_rows(table, columns)
        asm(f"H_LD_V {X_BLOCK}, {A}, {LAYER}, {B}, 1")
        if batch > 1:
            asm.load(A, State.TILE)
            again, done = asm.new_label("row_of_batch"), asm.new_label("row_of_batch_done")
            asm.label(again)
            asm(f"C_BLTU {A}, {B}, {done}", f"S_SUB_INT {A}, {A}, {B}", f"C_JUMP {again}")
            asm.label(done)
            asm.scaled(A, A, width)
            asm(f"S_ADD_INT {X_BLOCK}, {X_BLOCK}, {A}")

        def row() -> None:
            asm(f"V_MUL_VV {X_GROUP}, {X_GROUP}, {X_BLOCK}")
            if batch > 1:
                asm.add(X_BLOCK, X_BLOCK, width)
                asm.li(B, inverse + batch * width)
                with asm.skip_if("C_BNE", X_BLOCK, B):
                    asm.li(X_BLOCK, inverse)

        self.tiles.for_rows({X_GROUP: y}, row)

    def calibrate(self) -> None:
        """BAOS, in a warm pass: factors of every channel, and the cache of normalised rows."""
        if not self.layout.smoothed_cache:
            return
        asm, spec, geometry, layout = self.asm, self.layout.spec, self.geometry, self.layout
        width, batch, length = geometry.width, layout.shape.batch, layout.shape.length
        # Whole heads, as many as a row takes and as divide them all: pieces are then equidistant.
        heads = max(
            n
            for n in range(1, spec.kv_heads + 1)
            if spec.kv_heads % n == 0 and n * spec.head_dim <= width
        )
        columns = heads * spec.head_dim
        first, count = self.share(batch * spec.kv_heads // heads, 1)
        if count == 0:
            return
        fixed = 6
        rows = min(length, geometry.vector_rows - fixed)
        if rows < 1:
            raise CompileError(
                [
                    f"phase calibrate: {fixed + 1} rows of {width}, "
                    f"Vector SRAM has {geometry.vector_rows}"
                ]
            )
        memory = self._vector()
        x = self._rows(memory, "rows", rows)
        largest, factor, inverse, other, mask, ones = (
            self._rows(memory, name, 1)
            for name in ("maximum", "factor", "inverse", "twice", "mask", "ones")
        )
        tiles = [(at, min(rows, length - at)) for at in range(0, length, rows)]
        piece, offset, at, left, address, a, b = (
            "gp1", "gp2", "gp3", "gp4", "gp5", "gp6", "gp7",
        )  # fmt: skip
        behind = asm.new_label("calibrated")
        asm.load(A, State.KIND)
        asm(f"C_BNE {A}, gp0, {behind}")
        for role, register in FRESH.items():
            self._address(register, f"fresh_{role}")
        self._float("f1", 1.0)
        self._float("f2", TINY)
        asm.li(a, ones)
        asm.li(b, width)
        asm(f"V_SHFT_V {a}, {a}, {b}", f"V_ADD_VF {a}, {a}, f1")

        def load(role: str, begin: int, number: int) -> None:
            fresh = layout.stored[f"fresh_{role}"]
            asm.add(address, offset, begin * batch * fresh.pitch)
            asm.li(at, x)
            asm.li(left, number)
            self.tiles.memory_rows(fresh, columns, every=batch)
            asm(f"H_LD_V {at}, {address}, {FRESH[role]}, {left}, 1")

        def one(role: str) -> None:
            # Largest magnitudes.
            for begin, number in tiles:
                load(role, begin, number)
                asm.li(a, other if begin else largest)
                asm(f"V_COLMAX {a}, {at}, {left}, gp0")
                if begin:
                    asm.li(b, largest)
                    asm(f"V_MAX_VV {b}, {b}, {a}")
            self._factors(layout.cache(role).factors, largest, factor, inverse, other, mask, ones)
            for name, place in (("factors", factor), ("inverse", inverse)):
                table = layout.stored[f"{role}.{name}"]
                asm.add(address, offset, table.offset)
                asm.li(a, place)
                asm.li(left, 1)
                self.tiles.memory_rows(table, columns)
                asm(f"H_ST_V {a}, {address}, {LAYER}, {left}, 2")
            cache = layout.stored[role]
            for begin, number in tiles:
                if len(tiles) > 1:
                    load(role, begin, number)
                asm.li(at, x)
                asm.li(left, number)
                asm.li(a, inverse)
                with asm.repeat(left):
                    asm(f"V_MUL_VV {at}, {at}, {a}")
                    asm.add(at, at, width)
                asm(f"MV {address}, {offset}")
                self.tiles.bytes_from(address, cache)
                asm.add(address, address, cache.offset + begin * batch * cache.pitch)
                asm.li(at, x)
                asm.li(left, number)
                self.tiles.memory_rows(cache, columns, every=batch)
                asm(f"H_ST_V {at}, {address}, {LAYER}, {left}, 2")

        asm.li(offset, first * 2 * columns)
        with asm.loop(piece, count):
            one("keys")
            one("values")
            asm.add(offset, offset, 2 * columns)
        asm("C_FENCE 0xFFFF")
        asm.label(behind)

    def _factors(
        self,
        rounding: str,
        largest: int,
        factor: int,
        inverse: int,
        other: int,
        mask: int,
        ones: int,
    ) -> None:
        """Row `factor` and row `inverse` from the row of maxima."""
        asm = self.asm
        m, f, twice, chosen, one = "gp6", "gp7", "gp8", "gp9", "gp10"
        for register, place in ((m, largest), (f, factor), (twice, other), (chosen, mask)):
            asm.li(register, place)
        asm.li(one, ones)
        if rounding == "pow2":
            asm(
                f"V_POW2_V {f}, {m}",
                f"V_ADD_VV {twice}, {f}, {f}",
                f"V_CMP_VV {chosen}, {m}, {f}, gt",
                f"V_SELECT_VVM {f}, {twice}, {f}, {chosen}",
                f"V_CMP_VF {chosen}, {m}, f2, lt",
                f"V_SELECT_VVM {f}, {one}, {f}, {chosen}",
            )
        else:
            asm(
                f"V_CMP_VF {chosen}, {m}, f2, lt",
                f"V_SELECT_VVM {f}, {one}, {m}, {chosen}",
            )
        asm.li(chosen, inverse)
        asm(f"V_RECI_V {chosen}, {f}, 0")
