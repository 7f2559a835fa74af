"""Queries, keys and values, their cache in BF16 or MX, and attention.

A quantised cache (`npuvp.baos` has the algebra) is never what a warm pass attends to: that pass
leaves its keys and values in BF16 in tables of their own, which all layers share. The cache of a
layer is written from there, and refine passes read nothing else.
"""

from collections.abc import Callable
from functools import partial

from npuvp.baos import TINY, CacheFormat, headroom
from npuvp.compiler.emitter import GLOBAL, LAYER, OTHER
from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import Stored
from npuvp.compiler.linear import BLOCK, W_PANEL, X_GROUP, Y_GROUP, A, B
from npuvp.compiler.products import Panels, RowWork
from npuvp.compiler.projections import Projections
from npuvp.compiler.state import State

__all__ = ["FRESH", "KeysAndValues"]

#: Address registers of the tables that a warm pass leaves to itself where the cache is quantised.
FRESH = {"keys": "a4", "values": "a5"}
_ROLES = {"k": "keys", "v": "values"}
# Registers of BAOS: the row of inverse factors, and one for everything.
_INVERSE, _SPARE = BLOCK, W_PANEL


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
        width = geometry.width
        blocks = -(-spec.hidden // width)
        q_columns, kv_columns = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        batch = layout.shape.batch if layout.smoothed_cache else 0
        self._check_heads()
        rows, alike = layout.qkv_tile
        memory = self._vector()
        x = self._tile(memory, "x", rows, spec.hidden)
        y = self._rows(memory, "chunk", rows)
        cosine = self._rows(memory, "cosine", rows // alike)
        sine = self._rows(memory, "sine", rows // alike)
        weight = self._rows(memory, "attn_norm", blocks)
        # The norm's squares, then swapped halves of a row.
        square = self._rows(memory, "squares", 1)
        inverse = self._rows(memory, "inverse factors", batch) if batch else 0
        extra = self._rows(memory, "biases, norms of heads", layout.projection_rows)
        self._load_norm(LAYER, "attn_norm", weight)
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
        asm.store("gp0", State.POSITION)
        tables = ((GLOBAL, "cosine", cosine), (OTHER, "sine", sine))

        def work(role: str, store: Callable[[int], None], columns: int) -> RowWork:
            turned, smoothed = role != "v", role != "q" and layout.smoothed_cache

            def begin() -> None:
                self._begin_projection(role, columns, extra)
                if smoothed:
                    self._load_inverse(role, columns, inverse)
                    self._first_inverse(alike, inverse)
                asm.li(X_GROUP, y)
                if turned:
                    asm.li(self.COSINE, cosine)
                    asm.li(self.SINE, sine)
                    if alike > 1:
                        asm.li(self.LEFT, (1 << 32) - alike)

            def enter() -> None:
                self._enter_projection(role, extra)
                if turned:
                    self._enter_rotation(square)

            def row() -> None:
                self._project_row(role, columns)
                if turned:
                    self._rotate_row(alike)
                if smoothed:
                    self._normalise_row(inverse)
                asm.add(X_GROUP, X_GROUP, width)

            state: tuple[str, ...] = (X_GROUP,)
            if turned:
                state += (self.COSINE, self.SINE, *((self.LEFT,) if alike > 1 else ()))
            if smoothed:
                state += (_INVERSE,)
            uses = self._projection_uses(role)
            rows_change = turned or smoothed or spec.qkv_bias
            if not rows_change:
                return RowWork(end=lambda: store(columns))
            return RowWork(
                row, state, begin, enter, lambda: store(columns),
                uses=(*uses, *((_SPARE,) if smoothed else ())), cycles=11,
            )  # fmt: skip

        def keep_query(columns: int) -> None:
            self.tiles.store_group(y, columns, "a3", layout.stored["q"])

        def keep(role: str) -> Callable[[int], None]:
            cache = layout.stored[role]

            def store(columns: int) -> None:
                if not layout.quantised_cache:
                    self.tiles.store_group(y, columns, LAYER, cache, State.ROW)
                    return
                fresh = layout.stored[f"fresh_{role}"]
                refine, done = asm.new_label("refine"), asm.new_label("kept")
                asm.load(A, State.KIND)
                asm(f"C_BNE {A}, gp0, {refine}")
                if not layout.smoothed_cache:
                    self.tiles.store_group(y, columns, LAYER, cache, State.ROW)
                self.tiles.store_group(y, columns, FRESH[role], fresh, State.ROW)
                asm(f"C_JUMP {done}")
                asm.label(refine)
                self.tiles.store_group(y, columns, LAYER, cache, State.ROW)
                asm.label(done)

            return store

        def tile() -> None:
            self.tiles.load_tile(x, "a7", layout.stored["x"])
            self._load_angles(tables, rows // alike, alike)
            self._norm(x, weight, square)
            self._quantise(x)
            for role, outputs, store in (
                ("q", q_columns, keep_query),
                ("k", kv_columns, keep("keys")),
                ("v", kv_columns, keep("values")),
            ):
                weights = self._layer_weights(role, outputs, spec.head_dim)
                panels = Panels.plan(geometry, role, spec.hidden, weights.outputs, 0)
                self.tiles.product(x, y, weights, panels, partial(work, role, store), 2 * width)
            # HLEN of the array again: what else looks at heads sets its own length.
            asm.csr("head_len", 0)

        self.tiles.over_tiles(rows, State.ROWS, tile)
        self._end()

    def _load_angles(self, tables: tuple[tuple[str, str, int], ...], rows: int, alike: int) -> None:
        """The tile's rows of the rotary tables."""
        asm, width = self.asm, self.geometry.width
        first, count = (State.FIRST, State.COUNT) if alike > 1 else (State.ROW, State.ROWS)
        table = Stored("angles", 0, width)
        asm.load(B, State.POSITION)
        asm.load(A, first)
        asm(f"S_ADD_INT {A}, {A}, {B}")
        asm.scaled(A, A, table.pitch)
        asm.load(Y_GROUP, count)
        asm(f"S_SUB_INT {Y_GROUP}, {Y_GROUP}, {B}")
        asm.add(B, B, rows)
        asm.store(B, State.POSITION)
        asm.li(B, rows)
        asm.minimum(Y_GROUP, B)
        self.tiles.memory_rows(table, width)
        for register, _, at in tables:
            asm.li(X_GROUP, at)
            asm(f"H_LD_V {X_GROUP}, {A}, {register}, {Y_GROUP}, 1")

    def _load_inverse(self, role: str, columns: int, inverse: int) -> None:
        """Inverse factors of a chunk of columns, of all rows of the batch."""
        asm = self.asm
        table = self.layout.stored[f"{_ROLES[role]}.inverse"]
        asm.load(A, State.COLUMN)
        asm.add(A, A, table.offset)
        asm.li(B, self.layout.shape.batch)
        asm.li(X_GROUP, inverse)
        self.tiles.memory_rows(table, columns)
        asm(f"H_LD_V {X_GROUP}, {A}, {LAYER}, {B}, 1")

    def _first_inverse(self, alike: int, inverse: int) -> None:
        """Those of the tile's first row."""
        asm, batch = self.asm, self.layout.shape.batch
        asm.li(_INVERSE, inverse)
        if batch > alike:
            asm.li(B, batch)
            asm.load(A, State.TILE)
            again, done = asm.new_label("row_of_batch"), asm.new_label("row_of_batch_done")
            asm.label(again)
            asm(f"C_BLTU {A}, {B}, {done}", f"S_SUB_INT {A}, {A}, {B}", f"C_JUMP {again}")
            asm.label(done)
            asm.scaled(A, A, self.geometry.width)
            asm(f"S_ADD_INT {_INVERSE}, {_INVERSE}, {A}")

    def _normalise_row(self, inverse: int) -> None:
        """A fresh row of a refine pass times the inverse factors of its row of the batch."""
        asm, width, batch = self.asm, self.geometry.width, self.layout.shape.batch
        asm.load(_SPARE, State.KIND)
        with asm.skip_if("C_BEQ", _SPARE, "gp0"):
            asm(f"V_MUL_VV {X_GROUP}, {X_GROUP}, {_INVERSE}")
        if batch > 1:
            asm.add(_INVERSE, _INVERSE, width)
            asm.li(_SPARE, inverse + batch * width)
            with asm.skip_if("C_BNE", _INVERSE, _SPARE):
                asm.li(_INVERSE, inverse)

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
            self._factors(layout.cache(role), largest, factor, inverse, other, mask, ones)
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
        format: CacheFormat,
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
        if format.rounding == "pow2":
            asm(
                f"V_POW2_V {f}, {m}",
                f"V_ADD_VV {twice}, {f}, {f}",
                f"V_CMP_VV {chosen}, {m}, {f}, gt",
                f"V_SELECT_VVM {f}, {twice}, {f}, {chosen}",
                f"V_CMP_VF {chosen}, {m}, f2, lt",
                f"V_SELECT_VVM {f}, {one}, {f}, {chosen}",
            )
        else:
            wide = m
            if (stretch := headroom(format.element)) != 1:
                self._float("f3", stretch)
                asm(f"V_MUL_VF {f}, {m}, f3")
                wide = f
            asm(
                f"V_CMP_VF {chosen}, {m}, f2, lt",
                f"V_SELECT_VVM {f}, {one}, {wide}, {chosen}",
            )
        asm.li(chosen, inverse)
        asm(f"V_RECI_V {chosen}, {f}, 0")
