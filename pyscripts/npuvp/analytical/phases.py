"""Closed forms of the phases of a forward call, as the compiler lays them out."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from npuvp.analytical import blocking
from npuvp.analytical.attention import attention
from npuvp.analytical.experts import experts
from npuvp.analytical.pieces import BF16_BYTES, Pieces, Results
from npuvp.analytical.projections import projection
from npuvp.analytical.schedule import Work, body, repeat
from npuvp.analytical.shared import dealt, in_turns
from npuvp.analytical.smoothing import calibration
from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import Stored
from npuvp.compiler.projections import MASK_BITS

__all__ = ["Phases"]


@dataclass
class Phases(Pieces):
    """Closed forms of the phases of a call, for a machine and a model."""

    def embed(self) -> Work:
        """Rows of the embedding."""
        spec, g, call = self.spec, self.geometry, self.call
        blocks = -(-spec.hidden // g.width)
        cores = self.layout.cores
        positions = call.length if cores == 1 else -(-self.layout.shape.span // cores)
        room = min(g.int_words - self.tokens_at, call.batch * positions)
        most = max(1, min(room, g.vector_rows // blocks))

        def part(full: int, rest: int, leads: int) -> Work:
            total = Work() if leads else self._follow()
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

        shares = in_turns(cores, most, call.count * call.batch)
        return self._phase(shares, part, ("embed", most))

    def _follow(self) -> Work:
        """What another core than the first does between two calls: the record of the last one."""
        work = self._load(1, 32)
        work.add(body(self.hardware, repeat("int", 16) + " im im im"))
        return work

    def qkv(self) -> Work:
        """Queries, keys and values with rotation."""
        spec, g = self.spec, self.geometry
        if g.mlen % spec.head_dim:
            raise CompileError(
                [f"head_dim: {spec.head_dim}, allowed: a divisor of mlen = {g.mlen}"]
            )
        if spec.qk_norm and g.width // spec.head_dim > MASK_BITS:
            raise CompileError(
                [
                    f"norms of heads of {spec.head_dim} channels: {g.width // spec.head_dim} in a "
                    f"row, V_MASK has {MASK_BITS} bits"
                ]
            )
        # Behind what the layer before has stored last.
        columns = min(spec.hidden, g.width)
        rows = min(g.group, self.call.count * self.call.batch)
        store = self._store(rows, BF16_BYTES * columns, self.layout.stored["x"].pitch)
        self._leave(store.written / self.hardware.memory.bytes_per_cycle, store.cycles)
        most, alike = self.layout.qkv_tile

        # With BAOS every row of the batch has factors of its own.
        factors = f", {self.call.batch} factors" if self.layout.smoothed_cache else ""

        def part(q: int, kv: int) -> Work:
            def one(rows: int, most: int) -> Work:
                return self._qkv_tile(rows, most, alike, q, kv)

            tiles = self._tiled(f"qkv {q}, {kv}, {alike} alike{factors}", most, one)
            return self._fence(tiles)

        head = spec.head_dim
        things = ((spec.heads * head, head), (spec.kv_heads * head, head))
        sizes = self.call.count * self.call.batch, most, alike, factors, self.call.warm
        phase = self._phase(dealt(self.layout.cores, *things), part, ("qkv", *sizes))
        if not self.layout.smoothed_cache:
            return phase
        total = calibration(self)
        total.add(phase)
        return total

    def _qkv_tile(self, rows: int, most: int, alike: int, q: int, kv: int) -> Work:
        spec, g, stored = self.spec, self.geometry, self.layout.stored
        pitch = most * g.width
        tables = (2 * rows // alike, BF16_BYTES * g.width)
        tile, arriving = self._normalised(rows, spec.hidden, "attn_norm", tables)
        exposed = 0.0
        for name, outputs, turned in (("q", q, True), ("k", kv, True), ("v", kv, False)):
            if not outputs:
                continue
            columns = self._chunk_columns(outputs)
            table = {"q": "q", "k": "keys", "v": "values"}[name]
            own, tables_stored = stored[table], 1
            of = (spec.heads if name == "q" else spec.kv_heads) * spec.head_dim
            busy = self._busy(outputs, of)
            store = self._chunk(rows, columns, own, True, busy)
            if self.layout.quantised_cache and name != "q" and self.call.warm:
                fresh = self._chunk(rows, columns, stored[f"fresh_{table}"], True, busy)
                if self.layout.smoothed_cache:
                    own, store = stored[f"fresh_{table}"], fresh
                else:
                    tables_stored = 2
                    store.add(fresh)
            made = projection(self, name, min(outputs, g.width), alike)
            tile.add(made.begun, -(-outputs // g.width))
            weights = stored[f"weights.{name}"]
            results = self._results(made.text, made.registers, 11, rows, store, own)
            # Of values BAOS counts the rows of a warm pass, and leaves them as they are.
            counted = self.call.warm and not turned and not spec.qkv_bias
            results = results._replace(stored=tables_stored, untouched=counted)
            if turned and alike > 1:  # the next position's angles
                results = results._replace(row_cycles=results.row_cycles + 3 / alike)
            product, arriving = self._product(
                rows,
                weights,
                outputs,
                name,
                pitch,
                results,
                of=of,
                arriving=arriving,
            )
            tile.add(product)
            exposed = self._last_group(results, rows)
        tile.cycles += self._leave(arriving, exposed)
        return tile

    def _results(
        self,
        text: str,
        state: int,
        about: int,
        rows: int,
        store: Work,
        table: Stored | None = None,
        load: Work | None = None,
    ) -> Results:
        """Results of which every row goes through the instructions of `text`; `state` registers are
        carried from row to row."""
        work = self._rows_loop(text, 0, rows) if text else Work()
        carried = repeat("im", 2 * state)
        entry = f"im br im int int br int im int {carried} im br int int int int"
        return Results(
            work, work.cycles / rows if text else 0.0, entry, about, load or Work(), store, table
        )

    def _queued(self, issue: float, end: float, transfers: int) -> tuple[float, float]:
        """Cycles from the first of several loads until the queue has taken the last one, and until
        all are there, which alone is `end`."""
        memory = self.hardware.memory
        waits = transfers - memory.queue
        if waits <= 0:
            return issue, max(issue, end)
        latency = memory.start + memory.latency
        each = max(0.0, end - latency) / transfers
        return max(issue, latency + max(1, waits) * each), max(issue, end)

    def _normalised(
        self, rows: int, columns: int, weights: str, tables: tuple[int, int] | None = None
    ) -> tuple[Work, float]:
        """A tile that is loaded group by group and normalised as it arrives; and the cycles for which
        the memory then still works on `tables`, which are asked for behind the tile: rows, and bytes
        of one."""
        memory, blocks = self.hardware.memory, -(-columns // self.geometry.width)
        # The norm's weights before it.
        tile = self._beside_others(
            self._load_alike(self._address(weights), 1, BF16_BYTES * columns)
        )
        move = self._move(rows, columns)
        norm = self._norm(rows, blocks)
        tile.beside(move)
        tile.beside(norm)
        latency = memory.start + memory.latency
        angles: tuple[int, ...] = ()
        if tables is not None:  # those of the call's first position first
            before = self.call.start * self.call.batch // self.layout.qkv_tile[1] * tables[1]
            angles = tuple(self._address(name) + before for name in ("cosine", "sine"))
        behind = self._load_alike(angles[0], *tables) if tables is not None else None
        if behind is not None:
            tile.beside(behind)
        quantised = self._quantised(rows, columns)
        if self.hardware.classes.blocking:
            tile.cycles += move.cycles + norm.cycles
            tile.cycles += blocking.arrivals(self.hardware, rows, blocks)
            if behind is not None:  # two tables, each waited for
                tile.cycles += behind.cycles + latency
            tile.add(quantised)
            return tile, 0.0
        # The first group arrives alone, or is waited for until the others are in the queue; then
        # whichever takes longer.
        group, transfers = min(rows, self.geometry.group), self._groups(rows) * blocks
        issue = body(self.hardware, blocking.arrival_text(blocks), self._groups(rows)).cycles
        row_bytes = BF16_BYTES * columns
        if memory.sharers > 1 and memory.mesh is not None:
            # What all cores load, one behind the other.
            # The norm's weights come while the words of the tile are made.
            at = self._address("x")
            asked: list[tuple[int, float, float, int]] = [(at, group, row_bytes, 0)]
            if rows > group:
                asked.append((at + group * row_bytes, rows - group, row_bytes, 0))
            if tables is not None:
                each = tables[0] // 2
                asked += [(angle, each, tables[1], 0) for angle in angles]
            ends = memory.loads_alike(self.holders, *asked)
            first, moved, arrived = ends[0], ends[int(rows > group)], ends[-1]
            queued, _ = self._queued(issue, moved, transfers)
            tile.cycles = self._words_of_tile().cycles
            arrived += tile.cycles
            first = max(queued, first)
        else:
            queued, _ = self._queued(issue, move.cycles, transfers)
            at = self._address("x")
            first, moved = self._load_alike(at, group, row_bytes).cycles, move.cycles
            first = max(queued, first)
            arrived = tile.cycles + moved
            if behind is not None:
                arrived += behind.cycles - latency
        arrived += self.debt
        last = norm.cycles * group / rows
        tile.cycles += self.debt + max(first + norm.cycles, moved + last)
        if quantised.cycles:
            tile.cycles = max(tile.cycles, arrived)
            tile.add(quantised)
        return tile, max(0.0, arrived - tile.cycles)

    def _beside_others(self, load: Work) -> Work:
        """A load of which only what it keeps the memory counts: others are under way."""
        memory = self.hardware.memory
        if not self.hardware.classes.blocking:
            load.cycles -= memory.start + memory.latency
        return load

    def _quantised(self, rows: float, columns: int) -> Work:
        """A tile in the format of activations, by way of memory: nothing of it overlaps."""
        total = Work()
        if self.layout.formats.activations == "bf16":
            return total
        h, table = self.hardware, self.layout.activations(columns)
        blocks = -(-columns // self.geometry.width)
        bytes_, pitch = columns / blocks * table.bits / 8, columns // table.block
        for move in (self._store, self._load):
            total.add(move(rows * blocks, bytes_, table.pitch))
            if table.scaled:
                scales = move(rows * blocks, columns / blocks / table.block, pitch)
                scales.cycles -= h.memory.start + (h.memory.latency if scales.read else 0.0)
                total.add(scales)
            # One block of columns comes back as it went.
            known = blocks == 1 and move == self._load
            rows_text = "" if known else blocking.table_text(table)
            issue = body(h, f"int int int int im int {rows_text} {'ctl' if blocks > 1 else ''}")
            total.add(issue)
            total.add(body(h, "sync"))
            if move == self._store and not h.classes.blocking:  # as the tile still comes
                total.cycles -= min(issue.cycles, h.memory.start + h.memory.latency)
            total.add(body(h, "dma int int ctl", blocks))
            if h.classes.blocking:
                latency = h.memory.latency if move == self._load else 0.0
                total.cycles += (blocks - 1) * (h.memory.start + latency)
        return total

    def attention(self) -> Work:
        """Softmax(q k^T) v of every row of the batch and head."""
        call, cores = self.call, self.layout.cores
        items = call.batch * self.spec.kv_heads // self.layout.key_tiles.together
        busy = self.shared_by(min(cores, items))
        sizes = call.count, call.batch, call.length, call.warm, self.layout.shape.block
        # Of the cores `seen` stands for all, `busy` follows from what the key names.
        key = ("attention", *sizes, self.layout.key_tiles)
        work = self._phase(dealt(cores, (items, 1)), partial(attention, busy), key)
        self.debt = 0.0  # what it stores last is little
        return work

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

        def one(outputs: int, rows: int, most: int) -> Work:
            tile = self._move(rows, inputs, source)
            if not outputs:
                return tile
            columns, busy = self._chunk_columns(outputs), self._busy(outputs, spec.hidden)
            blocks = -(-inputs // g.width)
            before, arriving = 0, 0.0
            quantised = self._quantised(rows, inputs)
            tile.beside(quantised)
            if self.hardware.classes.blocking:
                tile.cycles += blocking.arrivals(self.hardware, rows, blocks) + quantised.cycles
            elif quantised.cycles:
                tile.cycles += self.debt + quantised.cycles
            else:  # nothing waits for it but the products, and the queue of the DMA engine
                groups = self._groups(rows)
                before = groups * blocks
                issue = body(self.hardware, blocking.arrival_text(blocks), groups).cycles
                tile.cycles, moved = self._queued(issue, tile.cycles + self.debt, before)
                arriving = max(0.0, moved - tile.cycles)
            results = self._results(
                "vadd3. int int",
                2,
                5,
                rows,
                self._chunk(rows, columns, stored["x"], True, busy),
                stored["x"],
                self._chunk(rows, columns, stored["x"], False, busy),
            )
            weights = stored[f"weights.{name}"]
            product, behind = self._product(
                rows,
                weights,
                outputs,
                name,
                most * g.width,
                results,
                of=spec.hidden,
                arriving=arriving,
                before=before,
            )
            tile.add(product)
            tile.cycles += self._leave(behind, self._last_group(results, rows))
            return tile

        most = self._tile_rows(name, -(-inputs // g.width) + 2, 0)

        def part(outputs: int) -> Work:
            return self._fence(self._tiled(f"{name} {outputs}", most, partial(one, outputs)))

        shares = dealt(self.layout.cores, (spec.hidden, g.blen))
        return self._phase(shares, part, self._rows_key(name, most))

    def _rows_key(self, name: str, most: int) -> tuple[Any, ...]:
        """What a phase follows from that goes through all rows of a call in tiles of at most `most`,
        beside its shares."""
        return name, self.call.count * self.call.batch, most, self.call.warm

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

        def part(outputs: int) -> Work:
            tile = partial(self._gate_up_tile, outputs)
            return self._fence(self._tiled(f"gate_up {outputs}", most, tile))

        shares = dealt(self.layout.cores, (self.spec.mlp, self.geometry.blen))
        return self._phase(shares, part, self._rows_key("gate_up", most))

    def experts(self) -> Work:
        """A mixture of experts in place of the MLP."""
        return experts(self)

    def _gate_up_tile(self, outputs: int, rows: int, most: int) -> Work:
        spec, g = self.spec, self.geometry
        pitch = most * g.width
        tile, _ = self._normalised(rows, spec.hidden, "mlp_norm")
        if not outputs:
            return tile
        columns = self._chunk_columns(outputs)
        gated = self.layout.stored["gated"]
        store = self._chunk(rows, columns, gated, True, self._busy(outputs, spec.mlp))
        results = self._results("vsilu2. vmul3. int int", 2, 12, rows, store, gated)
        weights = self.layout.stored["weights.gate"]
        product, behind = self._product(
            rows, weights, outputs, "gate and up", pitch, results, ways=2, of=spec.mlp
        )
        tile.add(product)
        tile.cycles += self._leave(behind, self._last_group(results, rows))
        return tile
