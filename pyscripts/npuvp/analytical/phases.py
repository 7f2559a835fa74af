"""Closed forms of the phases of a forward call, as the compiler lays them out.

Tiles of rows and panels of weights follow from the compiler's own rules (`Panels.plan`); everything
else is arithmetic on the number of rows. A tile is loaded, normalised, and multiplied with weights
that stream through Matrix SRAM: per panel the greater of the time to multiply it and the time to
load the next one, per chunk of columns the work on its results on top.
"""

from dataclasses import dataclass, field
from functools import lru_cache

from npuvp.analytical.attention import attention
from npuvp.analytical.machine import Hardware
from npuvp.analytical.schedule import Work, addition, body, repeat
from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import Stored
from npuvp.compiler.layout import Geometry, Layout
from npuvp.compiler.linear import Panels
from npuvp.model.spec import ModelSpec

__all__ = ["Call", "Phases"]

BF16_BYTES = 2


@dataclass(frozen=True)
class Call:
    """Sizes of a forward call.

    Attributes:
        batch: Rows of the canvas that are computed together.
        samples: Rows that are written (half of them under guidance).
        length: Positions of the canvas, L.
        count: Positions that the call computes.
        span: Positions that are sampled.
        pieces: Pieces of the canvas that are searched for earlier masks.
        earlier: Positions of a piece.
        block: Length of a block.
        warm: Whether it computes the whole canvas.
    """

    batch: int
    samples: int
    length: int
    count: int
    span: int
    pieces: int
    earlier: int
    block: int
    warm: bool


@lru_cache(maxsize=65536)
def _panels(geometry: Geometry, name: str, inputs: int, outputs: int, taken: int) -> Panels:
    return Panels.plan(geometry, name, inputs, outputs, taken)


@dataclass
class Phases:
    """Closed forms for a machine and a model.

    Attributes:
        hardware, spec, call: What.
        tokens_at: Words of INT SRAM from here on are free for token ids.
        layout: Of memory; its tables say how wide numbers are.
    """

    hardware: Hardware
    spec: ModelSpec
    call: Call
    tokens_at: int
    layout: Layout
    geometry: Geometry = field(init=False)

    def __post_init__(self) -> None:
        assert isinstance(self.hardware.geometry, Geometry)
        self.geometry = self.hardware.geometry

    # Pieces

    def _tile_rows(self, name: str, per_row: int, fixed: int) -> int:
        """Rows of the largest tile that fits in Vector SRAM.

        Raises:
            CompileError: None fits.
        """
        g = self.geometry
        tile = (g.vector_rows - fixed) // per_row // g.group * g.group
        if tile < g.group:
            raise CompileError(
                [
                    f"phase {name}: {per_row} rows per token for {g.group} tokens and {fixed} more "
                    f"take {per_row * g.group + fixed} rows of {g.width}, Vector SRAM has "
                    f"{g.vector_rows}"
                ]
            )
        most = self.call.length * self.call.batch
        return min(tile, -(-most // g.group) * g.group)

    def _tiles(self, tile: int, rows: int) -> list[tuple[int, int]]:
        """(rows, how many such tiles) of a number of rows."""
        full, rest = divmod(rows, tile)
        return [(tile, full)] * bool(full) + [(rest, 1)] * bool(rest)

    def _load(self, rows: float, row_bytes: float, pitch: int = 0) -> Work:
        """A load that is waited for."""
        bytes_ = rows * row_bytes
        cycles = self.hardware.memory.load(rows, row_bytes, pitch)
        return Work(cycles, self.hardware.energy.dma_byte * bytes_, read=bytes_)

    def _store(self, rows: float, row_bytes: float, pitch: int = 0) -> Work:
        bytes_ = rows * row_bytes
        cycles = self.hardware.memory.store(rows, row_bytes, pitch)
        return Work(cycles, self.hardware.energy.dma_byte * bytes_, written=bytes_)

    def _tile_products(
        self, products: int, extra: str, groups: float, columns: float, tile: int = 0
    ) -> Work:
        """`groups * columns` output tiles of `products` products each, with the instructions of a
        loop over them; a product reads `tile` rows of Matrix SRAM (0: BLEN)."""
        h = self.hardware
        tile = tile or h.blen
        number = groups * columns
        instructions = body(h, extra, number)
        interval, latency = h.matrix
        if h.matrix_table:
            stream, skew = interval, max(0, latency - interval)
        else:
            stream, skew = h.blen + interval, 2 * (h.blen - 1) + latency
        issue_per_product = instructions.cycles / number / products
        # Operands of a tile's products follow each other. With one set of accumulators the array
        # drains before the next tile, with two behind the last one (`_drain`).
        drains = not h.overlapping_tiles or h.matrix_table
        period = (products - 1) * max(stream, issue_per_product) + stream + (skew if drains else 0)
        rows = h.tile_rows
        port = h.writeout[0] if h.matrix_table else max(h.writeout[0], rows)
        e = h.energy
        one = Work(
            cycles=max(period, float(port), issue_per_product * products),
            matrix=float(products * stream),
            macs=float(products * h.tile_rows * h.blen * h.mlen),
        )
        sram = products * (rows * e.vector_row + tile * e.matrix_row) + rows * e.vector_row
        one.femtojoules = one.macs * e.mac + sram + (products + 1) * e.issue
        one.instructions = products + 1.0
        if h.classes.blocking:
            tree = 0 if h.matrix_table else max(0, (h.mlen // h.blen).bit_length() - 1)
            drain = h.writeout[1] + (0 if h.matrix_table else tree + rows)
            one.cycles = products * (stream + skew) + drain + instructions.cycles / number
        total = Work()
        total.add(one, number)
        total.beside(instructions)
        return total

    def _drain(self) -> float:
        """Cycles from the last product of a tile to its rows in Vector SRAM."""
        h = self.hardware
        if h.classes.blocking or h.matrix_table:
            return 0.0
        skew = 2 * (h.blen - 1) + h.matrix[1] if h.overlapping_tiles else 0
        return skew + (h.mlen // h.blen).bit_length() - 1 + float(h.tile_rows) + h.writeout[1]

    def _product(
        self,
        rows: int,
        weights: Stored,
        outputs: int,
        name: str,
        pitch: int,
        taken: int,
        epilogue: tuple[Work, Work, Work],
    ) -> Work:
        """A product with streamed weights: one tile of rows, all outputs.

        Args:
            rows: Of the tile.
            weights, outputs: The matrix, and how many rows it has.
            name: Of the weights.
            pitch: Elements between column blocks of the tile.
            taken: Rows of Matrix SRAM that are in use.
            epilogue: Of a chunk: loads that it waits for, computation, stores.
        """
        g, h = self.geometry, self.hardware
        inputs = weights.columns
        panel = _panels(g, name, inputs, outputs, taken)
        groups = -(-rows // g.group)
        full, rest = divmod(outputs, g.width)
        chunks = [(-(-g.width // panel.rows), full)] * bool(full)
        chunks += [(-(-rest // panel.rows), 1)] * bool(rest)
        per_panel = panel.rows // g.blen
        # Per output tile: moves, additions and the loop, and per product its additions. A row of
        # Vector SRAM holds several operand rows where MLEN is less than VLEN.
        per_row = g.width // g.mlen
        loop = "ctl" if panel.blocks > per_row else ""
        adds = 0
        if panel.blocks > 1:
            adds = addition(pitch if per_row == 1 else g.mlen) + addition(panel.rows * g.mlen)
        inner = repeat("int", adds)
        outer = repeat("int", 4 + 2 * (addition(g.group * g.width) - 1)) + " int br"
        loops = " ".join([loop] * -(-panel.blocks // per_row))
        text = " ".join([f"{inner} ctl"] * panel.blocks) + f" {loops} ctl {outer}"
        tiles = self._tile_products(panel.blocks, text, groups, per_panel)
        tiles.add(body(h, "int int int im ctl", per_panel))
        prefetch = body(h, "im br int br int im int int im int int int int int int im int int im")
        prefetch.add(body(h, "dma int int int ctl", max(1, panel.blocks)))
        tiles.add(prefetch)
        row_bytes = weights.bytes_of(min(inputs, g.mlen))
        pieces = panel.rows * panel.blocks
        streaming = h.memory.streaming(pieces, row_bytes, pitch=weights.pitch)
        if weights.scaled:
            scales = min(inputs, g.mlen) / weights.block
            streaming += h.memory.streaming(pieces, scales, pitch=inputs // weights.block)
        load = h.memory.start + h.memory.latency + streaming + prefetch.cycles
        loads, compute, stores = epilogue
        total = Work()
        if rest:  # lanes that will not all be written, beside the load of a panel
            clear = self._rows_loop("vshft1.", 1, rows)
            total.beside(clear)
            total.cycles += clear.cycles if h.classes.blocking else max(0.0, clear.cycles - load)
        panels = 0
        for count, times in chunks:
            panels += count * times
            if h.classes.blocking:
                total.add(tiles, count * times)
                total.cycles += count * times * load
                for part in epilogue:
                    total.add(part, times)
                continue
            # Per panel the greater of multiplying it and loading the next one. Behind the last one of
            # a chunk its results are worked on; transfers of that queue behind the panel's.
            within = max(tiles.cycles, load)
            first_tile = tiles.cycles / max(1, groups * per_panel)

            def chunk(load: float, streaming: float, first_tile: float = first_tile) -> float:
                done = tiles.cycles + self._drain()
                if loads.cycles:
                    # Issued behind the last product, while the array still works on it.
                    issued = tiles.cycles - min(first_tile, 3.0 * h.blen)
                    done = max(done, max(issued, streaming) + loads.cycles)
                done += compute.cycles
                stored = max(done, streaming) + stores.cycles if stores.cycles else 0.0
                return max(done, load, stored - first_tile)

            total.cycles += times * ((count - 1) * within + chunk(load, streaming))
            if panels * panel.rows >= outputs:  # nothing is left to load beside the last panel
                total.cycles += chunk(0.0, 0.0) - chunk(load, streaming)
            total.beside(tiles, count * times)
            for part in epilogue:
                total.beside(part, times)
        if not h.classes.blocking:
            total.cycles += load
        weight_bytes = weights.pitch * outputs + weights.scale_bytes(outputs) * weights.scaled
        total.read += weight_bytes
        total.femtojoules += h.energy.dma_byte * weight_bytes
        return total

    def _rows_loop(self, text: str, pointers: int, rows: float) -> Work:
        """A loop over rows whose pointers advance by one row each."""
        return body(self.hardware, f"{text} {repeat('int', pointers)} int br", rows)

    def _norm(self, rows: float, blocks: int, pitch: int) -> Work:
        """RMSNorm of the rows of a tile."""
        advance = repeat("int", addition(pitch))
        loop = "ctl" if blocks > 1 else ""
        squares = " ".join([f"vmul3. vsum1. {advance} {loop}"] * blocks)
        scaled = " ".join([f"vmul2. vmul3. {advance} int {loop}"] * blocks)
        text = f"fp int ctl {squares} fp. fp. fsqrt. freci. int int ctl {scaled}"
        return self._rows_loop(text, 1, rows)

    def _move(self, rows: float, columns: int) -> Work:
        """A tile of whole rows from memory."""
        width = self.geometry.width
        work = self._load(
            rows * -(-columns // width), BF16_BYTES * min(columns, width), BF16_BYTES * columns
        )
        # The tile's bounds, where it stands, and how its rows do.
        work.add(body(self.hardware, repeat("int", 22) + repeat(" im", 8) + repeat(" ctl", 6)))
        return work

    def _chunk(self, rows: float, columns: int, table: Stored, store: bool) -> Work:
        """A chunk of columns between memory and Vector SRAM."""
        move = self._store if store else self._load
        work = move(rows, table.bytes_of(columns), table.pitch)
        if table.scaled:
            scales = move(rows, columns / table.block, table.columns // table.block)
            work.cycles += scales.cycles
            work.beside(scales)
        issue = body(self.hardware, "im int int im int int im int int ctl int ctl int ctl int ctl")
        work.cycles += issue.cycles
        work.beside(issue)
        return work

    def _fence(self, work: Work) -> Work:
        # Addresses of the phase's tables, and of the next layer.
        work.add(body(self.hardware, repeat("int", 18) + " ctl ctl sync"))
        return work

    # Phases

    def embed(self) -> Work:
        """Rows of the embedding."""
        spec, g, call = self.spec, self.geometry, self.call
        blocks = -(-spec.hidden // g.width)
        room = min(g.int_words - self.tokens_at, call.batch * call.length)
        most = max(1, min(room, g.vector_rows // blocks))
        rows = call.count * call.batch
        full, rest = divmod(rows, most)
        total = Work()
        for count, times in ((most, full), (rest, 1)):
            if not count or not times:
                continue
            total.add(self._load(1, 4 * count), times)
            table = self.layout.stored["embedding"]
            row_bytes = table.pitch + table.scale_bytes(1) * table.scaled
            total.add(self._load(count, row_bytes, 2 * row_bytes), times)  # gathered
            total.add(self._store(count, BF16_BYTES * spec.hidden), times)
            total.add(body(self.hardware, repeat("int", 20) + " im im im"), times)
        return self._fence(total)

    def qkv(self) -> Work:
        """Queries, keys and values with rotation."""
        spec, g, call = self.spec, self.geometry, self.call
        if g.mlen % spec.head_dim:
            raise CompileError(
                [f"head_dim: {spec.head_dim}, allowed: a divisor of mlen = {g.mlen}"]
            )
        stored = self.layout.stored
        blocks = -(-spec.hidden // g.width)
        total = self._load(1, BF16_BYTES * spec.hidden)
        rotation = self._load(g.mlen, BF16_BYTES * g.mlen)
        total.add(rotation)
        q, kv = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        most = self._tile_rows("qkv", blocks + 4, blocks + 1)
        pitch = most * g.width
        for rows, times in self._tiles(most, call.count * call.batch):
            tile = self._move(rows, spec.hidden)
            tables = self._load(2 * rows, BF16_BYTES * g.width)
            tile.cycles += tables.cycles - self.hardware.memory.latency
            tile.beside(tables)
            tile.add(self._norm(rows, blocks, pitch))
            for name, outputs, turned in (("q", q, True), ("k", kv, True), ("v", kv, False)):
                columns = min(outputs, g.width)
                compute = Work()
                if turned:
                    groups = -(-rows // g.group)
                    large = 2 * (addition(g.group * g.width) - 1)
                    text = repeat("int", 4 + large) + " br"
                    compute.add(self._tile_products(1, text, groups, -(-columns // g.blen)))
                    compute.cycles += self._drain()
                    compute.add(self._rows_loop("vmul3. vmul3 vadd3.", 4, rows))
                table = {"q": "q", "k": "keys", "v": "values"}[name]
                store = self._chunk(rows, columns, stored[table], True)
                if self.layout.quantised_cache and name != "q" and call.warm:
                    store.add(self._chunk(rows, columns, stored[f"fresh_{table}"], True))
                weights = stored[f"weights.{name}"]
                parts = (Work(), compute, store)
                tile.add(self._product(rows, weights, outputs, name, pitch, g.mlen, parts))
            total.add(tile, times)
        return self._fence(total)

    def attention(self) -> Work:
        """Softmax(q k^T) v of every row of the batch and head."""
        return attention(self)

    def _head_rows(self, table: Stored, rows: int, head: int) -> Work:
        """Rows of one head of keys or values, elements and scales."""
        batch = self.call.batch
        work = self._load(rows, table.bytes_of(head), table.pitch * batch)
        if table.scaled:
            pitch = batch * table.columns // table.block
            scales = self._load(rows, head / table.block, pitch)
            work.cycles += scales.cycles - self.hardware.memory.latency
            work.beside(scales)
        return work

    def _residual(self, name: str, source: str) -> Work:
        spec, g, call = self.spec, self.geometry, self.call
        stored = self.layout.stored
        inputs = stored[source].columns
        blocks = -(-inputs // g.width)
        columns = min(spec.hidden, g.width)
        total = Work()
        most = self._tile_rows(name, blocks + 2, 0)
        pitch = most * g.width
        for rows, times in self._tiles(most, call.count * call.batch):
            tile = self._move(rows, inputs)
            if not self.hardware.classes.blocking:  # the first panel follows at once
                tile.cycles -= self.hardware.memory.latency
            parts = (
                self._chunk(rows, columns, stored["x"], False),
                self._rows_loop("vadd3.", 2, rows),
                self._chunk(rows, columns, stored["x"], True),
            )
            tile.add(
                self._product(rows, stored[f"weights.{name}"], spec.hidden, name, pitch, 0, parts)
            )
            total.add(tile, times)
        return self._fence(total)

    def attention_output(self) -> Work:
        """x <- x + o . transpose(Wo)."""
        return self._residual("o", "o")

    def down(self) -> Work:
        """x <- x + gated . transpose(Wdown)."""
        return self._residual("down", "gated")

    def gate_up(self) -> Work:
        """silu(gate) * up."""
        spec, g, call = self.spec, self.geometry, self.call
        blocks = -(-spec.hidden // g.width)
        columns = min(spec.mlp, g.width)
        gated = self.layout.stored["gated"]
        total = Work()
        most = self._tile_rows("gate_up", blocks + 2, max(0, blocks + 1 - g.group))
        pitch = most * g.width
        for rows, times in self._tiles(most, call.count * call.batch):
            tile = self._move(rows, spec.hidden)
            tile.add(self._load(1, BF16_BYTES * spec.hidden))
            tile.add(self._norm(rows, blocks, pitch))
            store = self._chunk(rows, columns, gated, True)
            silu = self._rows_loop("vmul2. vexp2. vadd2. vreci2. vmul3.", 2, rows)
            other = self._chunk(rows, columns, gated, False)
            both = self._rows_loop("vmul3.", 2, rows)
            for name, parts in (("gate", (Work(), silu, store)), ("up", (other, both, store))):
                weights = self.layout.stored[f"weights.{name}"]
                tile.add(self._product(rows, weights, spec.mlp, name, pitch, 0, parts))
            total.add(tile, times)
        return self._fence(total)

    def head(self) -> Work:
        """Maximum, token and sum of exponentials over the vocabulary."""
        spec, g, call, h = self.spec, self.geometry, self.call, self.hardware
        blocks = -(-spec.hidden // g.width)
        rows_in_all = call.span * call.batch
        total = self._load(1, BF16_BYTES * spec.hidden)
        total.add(self._load(1, BF16_BYTES * g.width))
        total.add(body(h, "fm fm im int int br", call.span * call.samples))
        most = self._tile_rows("head", blocks + 1, blocks + self.layout.head_rows)
        pitch = most * g.width
        done = 0
        for rows, times in self._tiles(most, rows_in_all):
            tile = self._move(rows, spec.hidden)
            tile.add(self._norm(rows, blocks, pitch))
            text = "fm fm im fp vmaxi1. fp. fexp. fp. vadd2. vexp2. vsum1. fm. fm im int" + (
                " int int br" if call.batch > 1 else ""
            )
            compute = self._rows_loop(text, 1, rows)
            # The tile's first row is divided by the batch, by subtraction.
            before = done + rows * (times - 1) / 2
            if call.batch > 1:
                compute.add(body(h, "br int int br", before / call.batch))
            done += rows * times
            tile.add(
                self._product(
                    rows,
                    self.layout.stored["head"],
                    spec.vocab,
                    "head",
                    pitch,
                    0,
                    (Work(), compute, Work()),
                )
            )
            total.add(tile, times)
        total.add(body(h, "fm freci. fm. int int br", call.span * call.samples))
        return total

    def _elements(self, timing: str, elements: float) -> Work:
        """An instruction that streams elements."""
        h = self.hardware
        interval, latency, per = h.classes.costs[timing]
        cycles = max(interval, latency) + per * elements
        fj = h.energy.issue + h.energy.once[timing] + h.energy.element[timing] * elements
        return Work(cycles, fj, 1.0, cycles)

    def sampling(self) -> Work:
        """What is committed, per row of the batch, and the record of the call."""
        call, h = self.call, self.hardware
        pieces = 1 if call.batch == 1 else call.span
        row = self._load(pieces, 4 * call.span / pieces, 4 * call.batch)
        row.add(body(h, repeat("int", 50) + " im im im im im br br br br"))
        row.add(self._elements("vector_compare", call.span))
        row.add(self._elements("vector_topk", call.span))
        row.add(self._elements("vector_select_int", call.span))
        row.add(self._elements("vector_compare", call.block))
        row.add(self._elements("vector_count", -(-call.block // h.vlen)))
        row.add(self._store(pieces, 4 * call.span / pieces, 4 * call.batch))
        row.add(self._store(1, BF16_BYTES * call.span))
        total = Work()
        total.add(row, call.samples)
        total.add(body(h, repeat("im int", 16) + repeat(" int", 16)))
        total.add(self._load(1, 4 * call.batch * call.length))
        total.add(self._store(1, 4 * call.batch * call.length))
        return self._fence(total)

    def begin(self) -> Work:
        """What the call computes; the search for masks before the block."""
        call, h = self.call, self.hardware
        total = body(h, repeat("int", 24) + repeat(" im", 14) + repeat(" br", 4))
        if call.pieces:
            count = call.earlier * call.samples
            pieces = 1 if call.batch == call.samples else call.earlier
            piece = self._load(pieces, 4 * count / pieces, 4 * call.batch)
            piece.add(self._elements("vector_compare", count))
            piece.add(self._elements("vector_count", -(-count // h.vlen)))
            piece.add(body(h, repeat("int", 14)))
            total.add(piece, call.pieces)
        return total
