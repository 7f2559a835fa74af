"""Queries, keys and values, their cache in BF16 or MX, and attention.

A quantised cache (`npuvp.baos` has the algebra) is never what a warm pass attends to: that pass
leaves its keys and values in BF16 in tables of their own, which all layers share. The cache of a
layer is written from there, and refine passes read nothing else.
"""

import math
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

__all__ = ["KeysAndValues"]

_FRESH = {"keys": "a4", "values": "a5"}
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
            for role, register in _FRESH.items():
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
                self.tiles.store_group(y, columns, _FRESH[role], fresh, State.ROW)
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
        for role, register in _FRESH.items():
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
            asm(f"H_LD_V {at}, {address}, {_FRESH[role]}, {left}, 1")

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

    def attention(self, padded: bool) -> None:
        """o from q and the cache: for every row of the batch and head, a group of queries at a
        time against all keys.

        Heads whose keys lie beside each other in rows of Matrix SRAM are moved together; a product
        sees one of them, because all other channels of its queries are zero.

        Args:
            padded: Whether prompts are padded, so that rows of the batch see different keys.
        """
        asm, spec, geometry, shape = self.asm, self.layout.spec, self.geometry, self.layout.shape
        layout = self.layout
        width, mlen, group, blen = geometry.width, geometry.mlen, geometry.group, geometry.blen
        tiles, blocks = layout.key_tiles, layout.key_rows
        per_row = width // mlen
        if 2 * tiles * mlen > geometry.matrix_rows:
            raise CompileError(
                [
                    f"keys and values of a head, {shape.length} x {spec.head_dim}: "
                    f"{2 * tiles} tiles, Matrix SRAM has {geometry.matrix_rows // mlen}"
                ]
            )
        memory = self._vector()
        together = layout.heads_together
        q = self._rows(memory, "queries", group)
        o = self._rows(memory, "outputs", group)
        own = self._rows(memory, "queries of a head", group) if together > 1 else q
        lanes = self._rows(memory, "lanes of a head", 2) if together > 1 else 0
        scores = self._rows(memory, "scores", group * blocks)
        seen = self._rows(memory, "key mask", blocks)
        lowest = self._rows(memory, "row of -inf", 1)
        factors = {
            role: self._rows(memory, f"factors of {role}", 1)
            for role in _FRESH
            if layout.smoothed_cache
        }
        batch, head = shape.batch, spec.head_dim
        columns = together * head
        masked = [row for row in range(blocks) if padded or (row + 1) * width > shape.length]
        # Heads of keys of a row of the batch, some together.
        per_batch = spec.kv_heads // together
        first_item, items = self.share(batch * per_batch, 1)
        # Registers that live across a head.
        q_offset, kv_offset, left_group, left_items, head_of_row = (
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
        self._address(GLOBAL, "q")
        self._address(OTHER, "o")
        self._address("a3", "key_mask")
        if layout.quantised_cache:
            for role, register in _FRESH.items():
                self._address(register, f"fresh_{role}")
        asm.li(at, width)
        asm.li(other, lowest)
        self._float("f5", -math.inf)
        self._float("f6", spec.head_channels**-0.5)
        asm(f"V_SHFT_V {other}, {other}, {at}", f"V_ADD_VF {other}, {other}, f5")
        if together > 1:
            # One in the lanes of the first head, and zero behind.
            self._float("f7", 1.0, other)
            asm.li(other, lanes)
            asm(f"V_SHFT_V {other}, {other}, {at}", f"V_ADD_VF {other}, {other}, f7")
            asm.li(at, lanes + width)
            asm.li(inner, head)
            asm(f"V_SHFT_V {at}, {other}, {inner}", f"V_SUB_VV {other}, {other}, {at}")
        asm.li(q_offset, first_item * spec.group * 2 * columns)
        asm.li(kv_offset, first_item * 2 * columns)
        asm.li(mask, first_item // per_batch * 2 * width * blocks)
        if shape.block:
            asm.load(mask, State.LIMIT)
        asm.li(head_of_row, first_item % per_batch)

        def load_mask() -> None:
            asm.li(at, seen)
            asm.li(rows, blocks)
            self.tiles.memory_rows(Stored("key_mask", 0, width), width)
            asm(f"H_LD_V {at}, {mask}, a3, {rows}, 1")

        def load_tiles(stored: Stored, register: str, first_tile: int) -> None:
            asm(f"MV {address}, {kv_offset}")
            self.tiles.bytes_from(address, stored)
            asm.add(address, address, stored.offset)
            self.tiles.memory_rows(stored, columns, every=batch)
            for tile in range(tiles):
                asm.li(at, (first_tile + tile) * mlen * mlen)
                asm.li(rows, min(mlen, shape.length - tile * mlen))
                asm(f"H_LD_M {at}, {address}, {register}, {rows}, 0")
                if tile + 1 < tiles:
                    asm.add(address, address, stored.pitch * batch * mlen)

        def load_cache(role: str, first_tile: int) -> None:
            if not layout.quantised_cache:
                load_tiles(layout.stored[role], LAYER, first_tile)
                return
            refine, done = asm.new_label("refine"), asm.new_label("loaded")
            asm.load(at, State.KIND)
            asm(f"C_BNE {at}, gp0, {refine}")
            load_tiles(layout.stored[f"fresh_{role}"], _FRESH[role], first_tile)
            asm(f"C_JUMP {done}")
            asm.label(refine)
            load_tiles(layout.stored[role], LAYER, first_tile)
            if layout.smoothed_cache:
                table = layout.stored[f"{role}.factors"]
                asm.add(address, kv_offset, table.offset)
                asm.li(at, factors[role])
                asm.li(rows, 1)
                self.tiles.memory_rows(table, columns)
                asm(f"H_LD_V {at}, {address}, {LAYER}, {rows}, 1")
            asm.label(done)

        def fold(place: int, role: str) -> None:
            """Rows of queries or outputs times the factors, in refine passes."""
            if not layout.smoothed_cache:
                return
            asm.load(at, State.KIND)
            with asm.skip_if("C_BEQ", at, "gp0"):
                asm.li(at, place)
                asm.li(other, factors[role])
                asm(f"MV {count}, {rows}")
                with asm.repeat(count):
                    asm(f"V_MUL_VV {at}, {at}, {other}")
                    asm.add(at, at, width)

        def move_heads(operation: str, register: str, name: str, place: int) -> None:
            """Queries or outputs of the group of rows."""
            stored = layout.stored[name]
            asm.scaled(address, first, stored.pitch * batch)
            asm(f"S_ADD_INT {address}, {address}, {q_offset}")
            asm.li(at, place)
            self.tiles.memory_rows(stored, columns, every=batch)
            asm(f"{operation} {at}, {address}, {register}, {rows}, 1")

        def softmax() -> None:
            asm.li(at, scores)
            asm(f"MV {count}, {rows}")
            with asm.repeat(count):
                asm("S_ADD_FP f1, f5, f0", "S_ADD_FP f2, f0, f0")
                for block in range(blocks):
                    if block:
                        asm.add(other, at, block * group * width)
                    row = other if block else at
                    if block in masked:
                        asm.li(inner, seen + block * width)
                        asm.li(column, lowest)
                        asm(f"V_SELECT_VVM {row}, {row}, {column}, {inner}")
                    asm(f"V_RED_MAX f1, {row}, 0")
                for block in range(blocks):
                    if block:
                        asm.add(other, at, block * group * width)
                    row = other if block else at
                    asm(
                        f"V_SUB_VF {row}, {row}, f1, 0, 0",
                        f"V_MUL_VF {row}, {row}, f6",
                        f"V_EXP_V {row}, {row}, 0",
                        f"V_RED_SUM f2, {row}",
                    )
                asm("S_RECI_FP f2, f2")
                for block in range(blocks):
                    if block:
                        asm.add(other, at, block * group * width)
                    row = other if block else at
                    asm(f"V_MUL_VF {row}, {row}, f2")
                asm.add(at, at, width)

        def scores_at(tile: int) -> int:
            """Where the scores of a tile of keys stand."""
            return scores + tile // per_row * group * width + tile % per_row * mlen

        def separate() -> None:
            """The queries of the head at lane COLUMN, in rows of their own."""
            asm.li(at, q)
            asm.li(address, own)
            asm.li(other, lanes + width)
            asm(f"MV {count}, {rows}")
            with asm.repeat(count):
                asm(f"V_MUL_VV {address}, {at}, {other}")
                asm.add(at, at, width)
                asm.add(address, address, width)

        def one_head() -> None:
            """A group of rows of one head."""
            if together > 1:
                separate()
            for tile in range(tiles):
                asm.li(at, own)
                asm.li(other, tile * mlen * mlen)
                asm.li(address, scores_at(tile))
                keys = min(mlen, shape.length - tile * mlen)
                with asm.loop(inner, -(-keys // blen)):
                    asm(f"M_TMM 0, {at}, {other}", f"M_MM_WO {address}, gp0, 0")
                    asm.add(other, other, blen * mlen)
                    asm.add(address, address, blen)
            softmax()
            if together > 1:
                asm.load(address, State.COLUMN)
                asm.scaled(column, address, mlen)
                asm.add(column, column, tiles * mlen * mlen)
                asm.add(address, address, o)
            else:
                asm.li(column, tiles * mlen * mlen)
                asm.li(address, o)
            with asm.loop(inner, -(-head // blen)):
                asm(f"MV {other}, {column}")
                for tile in range(tiles):
                    asm.li(at, scores_at(tile))
                    asm(f"M_MM 0, {other}, {at}")
                    if tile + 1 < tiles:
                        asm.add(other, other, mlen * mlen)
                asm(f"M_MM_WO {address}, gp0, 0")
                asm.add(column, column, blen * mlen)
                asm.add(address, address, blen)

        def queries() -> None:
            """A group of rows of heads that lie together."""
            move_heads("H_LD_V", GLOBAL, "q", q)
            fold(q, "keys")
            if together == 1:
                one_head()
            else:
                asm.store("gp0", State.COLUMN)
                asm.li(at, lanes + width)
                asm.li(other, lanes)
                asm(f"V_ADD_VF {at}, {other}, f0")
                with asm.loop(left_group, together):
                    one_head()
                    asm.load(other, State.COLUMN)
                    asm.add(other, other, head)
                    asm.store(other, State.COLUMN)
                    asm.li(at, lanes + width)
                    asm.li(other, head)
                    asm(f"V_SHFT_V {at}, {at}, {other}")
            fold(o, "values")
            move_heads("H_ST_V", OTHER, "o", o)

        def item() -> None:
            if padded:
                load_mask()
            load_cache("keys", 0)
            load_cache("values", tiles)
            # Heads lie together only where every one has queries of its own.
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
                asm.add(q_offset, q_offset, 2 * columns)
            asm.add(kv_offset, kv_offset, 2 * columns)
            if padded:
                asm.add(head_of_row, head_of_row, 1)
                asm.li(at, per_batch)
                with asm.skip_if("C_BNE", head_of_row, at):
                    asm.li(head_of_row, 0)
                    asm.add(mask, mask, 2 * width * blocks)

        if items:
            if masked and not padded:
                load_mask()
            with asm.loop(left_items, items):
                item()
        self._end()
