"""Closed forms of the phases of a forward call, as the compiler lays them out.

Tiles of rows and panels of weights follow from the compiler's own rules (`Panels.plan`); everything
else is arithmetic on the number of rows. A tile is loaded, normalised, and multiplied with weights
that stream through Matrix SRAM: per panel the greater of the time to multiply it and the time to
load the next one, per chunk of columns the work on its results on top.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from npuvp.analytical.machine import Hardware
from npuvp.analytical.schedule import Work, addition, body, repeat
from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import Stored
from npuvp.compiler.layout import Geometry, Layout
from npuvp.compiler.linear import Panels
from npuvp.model.spec import ModelSpec

__all__ = ["Call", "Phases"]

BF16_BYTES = 2


@dataclass(frozen=True, slots=True)
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


@lru_cache(maxsize=4096)
def _output_tile(h: Hardware, products: int, extra: str, tile: int) -> tuple[Work, float]:
    """An output tile of `products` products (see `Phases._tile_products`), and how much earlier than
    its period the last one of an even number of tiles ends."""
    tile = tile or h.blen
    instructions = body(h, extra)
    interval, latency = h.matrix
    if h.matrix_table:
        stream, skew = interval, max(0, latency - interval)
    else:
        stream, skew = h.blen + interval, 2 * (h.blen - 1) + latency
    issue_per_product = instructions.cycles / products
    # Operands of a tile's products follow each other. With one set of accumulators the array
    # drains before the next tile. With two the next tile follows at once, but the one behind it
    # waits until this one has left its set; what is left is behind the last tile (`_drain`).
    period = (products - 1) * max(stream, issue_per_product) + stream
    drained = period + skew
    early = 0.0
    if not h.overlapping_tiles or h.matrix_table:
        period = drained
    elif drained / 2 > max(period, h.tile_rows, instructions.cycles):
        # Two tiles follow each other at once, and then the next two.
        early = drained - 2 * period
        period = drained / 2
    rows = h.tile_rows
    port = h.writeout[0] if h.matrix_table else max(h.writeout[0], rows)
    e = h.energy
    one = Work(
        cycles=max(period, float(port), instructions.cycles),
        matrix=float(products * stream),
        macs=float(products * h.tile_rows * h.blen * h.mlen),
    )
    row = e.instructions.vector_row
    sram = products * (rows * row + tile * e.matrix_row) + rows * row
    one.femtojoules = one.macs * e.mac + sram + (products + 1) * e.instructions.issue
    if h.classes.blocking:
        tree = 0 if h.matrix_table else max(0, (h.mlen // h.blen).bit_length() - 1)
        drain = h.writeout[1] + (0 if h.matrix_table else tree + rows)
        one.cycles = products * (stream + skew) + drain + instructions.cycles
        early = 0.0
    one.beside(instructions)
    return one, early


@dataclass(frozen=True, eq=False)
class Stream:
    """How a matrix passes through Matrix SRAM, whatever rows it is multiplied with.

    Attributes:
        panel: Of the compiler.
        chunks: (panels of a chunk of columns, how many such chunks).
        per_group: A panel's products with a group of rows.
        early: How much earlier than its period the last one of an even number of tiles ends.
        overhead: A panel's instructions beside its products.
        load: Cycles from a panel's prefetch to its last byte.
        streaming: Of them those for which it keeps the memory.
        bytes_: Of the matrix, scales included.
    """

    panel: Panels
    chunks: tuple[tuple[int, int], ...]
    per_group: Work
    early: float
    overhead: Work
    load: float
    streaming: float
    bytes_: float


@lru_cache(maxsize=4096)
def _stream(
    h: Hardware, name: str, weights: Stored, outputs: int, pitch: int, taken: int
) -> Stream:
    assert isinstance(h.geometry, Geometry)
    g, inputs = h.geometry, weights.columns
    panel = Panels.plan(g, name, inputs, outputs, taken)
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
    per_group = Work()
    one, early = _output_tile(h, panel.blocks, text, 0)
    per_group.add(one, per_panel)
    overhead = body(h, "int int int im ctl", per_panel)
    prefetch = body(h, "im br int br int im int int im int int int int int int im int int im")
    prefetch.add(body(h, "dma int int int ctl", max(1, panel.blocks)))
    overhead.add(prefetch)
    row_bytes = weights.bytes_of(min(inputs, g.mlen))
    pieces = panel.rows * panel.blocks
    streaming = h.memory.streaming(pieces, row_bytes, pitch=weights.pitch)
    if weights.scaled:
        scales = min(inputs, g.mlen) / weights.block
        streaming += h.memory.streaming(
            pieces, scales, pitch=(weights.piece or inputs) // weights.block
        )
    load = h.memory.start + h.memory.latency + streaming + prefetch.cycles
    bytes_ = weights.row_bytes * outputs + weights.scale_bytes(outputs) * weights.scaled
    return Stream(panel, tuple(chunks), per_group, early, overhead, load, streaming, bytes_)


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
    seen: dict[tuple[str, int, int, bool], Work] = field(init=False)

    def __post_init__(self) -> None:
        assert isinstance(self.hardware.geometry, Geometry)
        self.geometry = self.hardware.geometry
        # Tiles of one machine, model and formats are mostly those of other plans and batches.
        layout = self.layout
        self.seen = self.hardware.seen.setdefault((self.spec, layout.formats, layout.kv_format), {})

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

    def _tiled(self, name: str, most: int, tile: Callable[[int, int], Work]) -> Work:
        """`tile(rows, most)` of all tiles of the call's rows."""
        call = self.call
        total = Work()
        for rows, times in self._tiles(most, call.count * call.batch):
            key = (name, rows, most, call.warm)
            if key not in self.seen:
                self.seen[key] = tile(rows, most)
            total.add(self.seen[key], times)
        return total

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
        one, early = _output_tile(self.hardware, products, extra, tile)
        number = groups * columns
        total = Work()
        total.add(one, number)
        total.cycles -= early / (1 + number % 2)
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
        stream = _stream(h, name, weights, outputs, pitch, taken)
        panel, load, streaming = stream.panel, stream.load, stream.streaming
        groups = -(-rows // g.group)
        tiles = Work()
        tiles.add(stream.per_group, groups)
        tiles.add(stream.overhead)
        number = groups * (panel.rows // g.blen)
        first_tile = tiles.cycles / number
        # From the first product of a panel to the last results of its last one.
        whole = tiles.cycles - stream.early / (1 + number % 2) + self._drain()
        loads, compute, stores = epilogue
        total = Work()
        if outputs % g.width:  # lanes that will not all be written, beside the load of a panel
            clear = self._rows_loop("vshft1.", 1, rows)
            total.beside(clear)
            total.cycles += clear.cycles if h.classes.blocking else max(0.0, clear.cycles - load)
        panels = 0
        for count, times in stream.chunks:
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

            def chunk(load: float, streaming: float) -> float:
                done = whole
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
        total.read += stream.bytes_
        total.femtojoules += h.energy.dma_byte * stream.bytes_
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
        spec, g = self.spec, self.geometry
        if g.mlen % spec.head_dim:
            raise CompileError(
                [f"head_dim: {spec.head_dim}, allowed: a divisor of mlen = {g.mlen}"]
            )
        blocks = -(-spec.hidden // g.width)
        total = self._load(1, BF16_BYTES * spec.hidden)
        total.add(self._load(g.mlen, BF16_BYTES * g.mlen))  # the rotation
        most = self._tile_rows("qkv", blocks + 4, blocks + 1)
        total.add(self._tiled("qkv", most, self._qkv_tile))
        return self._fence(total)

    def _qkv_tile(self, rows: int, most: int) -> Work:
        spec, g, stored = self.spec, self.geometry, self.layout.stored
        blocks, pitch = -(-spec.hidden // g.width), most * g.width
        q, kv = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
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
            if self.layout.quantised_cache and name != "q" and self.call.warm:
                store.add(self._chunk(rows, columns, stored[f"fresh_{table}"], True))
            weights = stored[f"weights.{name}"]
            parts = (Work(), compute, store)
            tile.add(self._product(rows, weights, outputs, name, pitch, g.mlen, parts))
        return tile

    def attention(self) -> Work:
        """Softmax(q k^T) v of every row of the batch and head."""
        spec, g, call, h = self.spec, self.geometry, self.call, self.hardware
        width, head = g.width, spec.head_dim
        together = self.layout.heads_together
        columns = together * head
        tiles, blocks = -(-call.length // g.mlen), -(-call.length // width)
        if 2 * tiles * g.mlen > g.matrix_rows:
            raise CompileError(
                [
                    f"keys and values of a head, {call.length} x {head}: {2 * tiles} tiles, Matrix "
                    f"SRAM has {g.matrix_rows // g.mlen}"
                ]
            )
        taken = g.group * (2 + blocks) + blocks + 1
        if together > 1:
            taken += g.group + 2
        if taken > g.vector_rows:
            raise CompileError(
                [f"scores: {taken} rows of {width}, but Vector SRAM has {g.vector_rows}"]
            )
        masked = 1 if call.length % width else 0
        total = Work()
        if masked:
            total.add(self._load(blocks, BF16_BYTES * width))
        q_pitch = BF16_BYTES * spec.heads * head * call.batch
        cache = Work(cycles=h.memory.latency + h.memory.start)
        for role in ("keys", "values"):
            fresh = self.layout.quantised_cache and call.warm
            table = self.layout.stored[f"fresh_{role}" if fresh else role]
            part = self._head_rows(table, call.length, columns)
            cache.cycles += part.cycles - h.memory.latency - h.memory.start
            cache.beside(part)
        if h.classes.blocking:  # a transfer per tile of keys and of values
            cache.cycles += (2 * tiles - 1) * h.memory.latency
        full, rest = divmod(call.count, g.group)
        heads = call.batch * spec.kv_heads // together
        first = True
        for rows, times in ((g.group, full), (rest, 1)):
            if not rows or not times:
                continue
            queries = self._load(rows, BF16_BYTES * columns, q_pitch)
            one = Work()
            if together > 1:  # the queries of one head, and the lanes of the next
                one.add(self._rows_loop("vmul3.", 2, rows))
                one.add(body(h, "int int int int br im int im int int vshft1. im int int int"))
            for tile in range(tiles):
                keys = min(g.mlen, call.length - tile * g.mlen)
                one.add(self._tile_products(1, "int int int ctl", 1, -(-keys // g.blen)))
            one.cycles += self._drain()
            maxima, sums, scaled = [], [], []
            for block in range(blocks):
                address = repeat("int", addition(block * g.group * width)) if block else ""
                select = "int int vsel4." if masked and block == blocks - 1 else ""
                maxima.append(f"{address} {select} vmax1.")
                sums.append(f"{address} vadd2. vmul2. vexp2. vsum1.")
                scaled.append(f"{address} vmul2.")
            text = " ".join(["fp fp", *maxima, *sums, "freci.", *scaled])
            one.add(self._rows_loop(text, 1, rows))
            values = -(-head // g.blen)
            extra = repeat("int", 2 + 2 * (tiles - 1) + 2) + " ctl"
            one.add(self._tile_products(tiles, extra, 1, values, g.mlen))
            one.cycles += self._drain()
            work = Work()
            work.add(one, together)
            work.add(self._store(rows, BF16_BYTES * columns, q_pitch))
            work.add(body(h, repeat("int", 56) + " im im br br"))
            work.beside(queries)
            # The first queries of a head arrive behind its keys and values; later ones alone.
            later = Work()
            later.add(work)
            later.cycles += queries.cycles
            alone = times * spec.group - (1 if first else 0)
            total.add(later, heads * alone)
            if first:
                overlap = 0.0 if h.classes.blocking else h.memory.latency
                work.cycles += cache.cycles + queries.cycles - overlap
                work.beside(cache)
                total.add(work, heads)
            first = False
        return self._fence(total)

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
        spec, g, stored = self.spec, self.geometry, self.layout.stored
        inputs = stored[source].columns
        columns = min(spec.hidden, g.width)

        def one(rows: int, most: int) -> Work:
            tile = self._move(rows, inputs)
            if not self.hardware.classes.blocking:  # the first panel follows at once
                tile.cycles -= self.hardware.memory.latency
            parts = (
                self._chunk(rows, columns, stored["x"], False),
                self._rows_loop("vadd3.", 2, rows),
                self._chunk(rows, columns, stored["x"], True),
            )
            weights = stored[f"weights.{name}"]
            tile.add(self._product(rows, weights, spec.hidden, name, most * g.width, 0, parts))
            return tile

        most = self._tile_rows(name, -(-inputs // g.width) + 2, 0)
        return self._fence(self._tiled(name, most, one))

    def attention_output(self) -> Work:
        """x <- x + o . transpose(Wo)."""
        return self._residual("o", "o")

    def down(self) -> Work:
        """x <- x + gated . transpose(Wdown)."""
        return self._residual("down", "gated")

    def gate_up(self) -> Work:
        """silu(gate) * up."""
        blocks = -(-self.spec.hidden // self.geometry.width)
        most = self._tile_rows("gate_up", blocks + 2, max(0, blocks + 1 - self.geometry.group))
        return self._fence(self._tiled("gate_up", most, self._gate_up_tile))

    def _gate_up_tile(self, rows: int, most: int) -> Work:
        spec, g = self.spec, self.geometry
        blocks, pitch = -(-spec.hidden // g.width), most * g.width
        columns = min(spec.mlp, g.width)
        gated = self.layout.stored["gated"]
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
        return tile
