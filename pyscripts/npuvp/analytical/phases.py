"""Closed forms of the phases of a forward call, as the compiler lays them out.

Tiles of rows and panels of weights follow from the compiler's own rules (`Panels.plan`); everything
else is arithmetic on the number of rows. A tile is loaded, normalised, and multiplied with weights
that stream through Matrix SRAM: per panel the greater of the time to multiply it and the time to
load the next one, per chunk of columns the work on its results on top.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple, Self

from npuvp.analytical import blocking
from npuvp.analytical.attention import attention
from npuvp.analytical.experts import experts
from npuvp.analytical.machine import Hardware, nodes_met, of_core
from npuvp.analytical.projections import projection
from npuvp.analytical.schedule import Work, addition, body, repeat
from npuvp.analytical.shared import dealt, in_turns, together
from npuvp.analytical.smoothing import calibration
from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import Stored
from npuvp.compiler.layout import Geometry, Layout
from npuvp.compiler.products import Panels, hidden_tiles, rows_at_once
from npuvp.compiler.projections import MASK_BITS
from npuvp.kept import Kept
from npuvp.model.spec import ModelSpec

__all__ = ["Call", "Phases", "Results"]

BF16_BYTES = 2
#: Instructions between two stages of a product.
_BETWEEN_STAGES = 33
#: Instructions around the store of a finished group.
_GROUP_DONE = 42
#: Instructions from the first transfer of weights to the first product.
_BEFORE_STAGES = 82


@dataclass(frozen=True, slots=True)
class Call:
    """Sizes of a forward call.

    Attributes:
        batch: Rows of the canvas that are computed together.
        samples: Rows that are written (half of them under guidance).
        length: Positions of the canvas, L.
        count: Positions that the call computes.
        span: Positions that are sampled.
        committed: Of a row of the batch, on average.
        pieces: Pieces of the canvas that are searched for earlier masks.
        earlier: Positions of a piece.
        block: Length of a block.
        warm: Whether it computes the whole canvas.
        experts: Of a mixture, how many the rows of a tile use (see `used_experts`).
    """

    batch: int
    samples: int
    length: int
    count: int
    span: int
    committed: int
    pieces: int
    earlier: int
    block: int
    warm: bool
    experts: int | None = None


@of_core
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


class Results(NamedTuple):
    """What becomes of a chunk of results.

    Attributes:
        work: Computation on all rows.
        row_cycles: Of one of them.
        entry: Instructions around the rows that are worked on at a time.
        about: What the compiler takes for `row_cycles`.
        loads, stores: Transfers.
        table: Where they go; None: nowhere.
        stored: Tables of which that is true.
        whole: Whether they are worked on behind a chunk only.
        untouched: Whether rows are counted only, so that it can be done before they are there.
    """

    work: Work
    row_cycles: float
    entry: str
    about: int
    loads: Work
    stores: Work
    table: Stored | None = None
    stored: int = 1
    whole: bool = False
    untouched: bool = False

    def key(self) -> tuple[Any, ...]:
        """All of it that the product looks at, but the cycles of the transfers."""
        moved = (*self.loads.rest(), *self.stores.rest())
        about = (self.row_cycles, self.entry, self.about, self.whole, self.untouched)
        return *self.work.rest(), *moved, *about


class _Made(NamedTuple):
    """A product but for the memory.

    Attributes:
        panel: How weights pass through Matrix SRAM.
        pieces: Of a panel.
        panels: How many, the last one in part.
        groups: Of rows.
        chunks: Of columns.
        rest: Of its `Work`.
        multiplied: Cycles of its chunks.
        clear: Cycles that make room for the last one, where it is no whole row.
        behind: Cycles that are left to do when the last weights are there.
    """

    panel: Panels
    pieces: int
    panels: float
    groups: int
    chunks: int
    rest: tuple[float, ...]
    multiplied: float
    clear: float
    behind: float


@lru_cache(maxsize=65536)
def _panels(
    geometry: Geometry, name: str, inputs: int, outputs: int, taken: int, ways: int
) -> Panels:
    return Panels.plan(geometry, name, inputs, outputs, taken, ways)


@dataclass
class Phases:
    """Closed forms for a machine and a model.

    Attributes:
        hardware, spec, call: What; the hardware as one of the cores sees it that share the work.
        tokens_at: Words of INT SRAM from here on are free for token ids.
        layout: Of memory; its tables say how wide numbers are.
    """

    hardware: Hardware
    spec: ModelSpec
    call: Call
    tokens_at: int
    layout: Layout
    geometry: Geometry = field(init=False)
    seen: Kept[tuple[Any, ...], Work] = field(init=False)

    def __post_init__(self) -> None:
        self.hardware = self.hardware.shared(self.layout.cores)
        assert isinstance(self.hardware.geometry, Geometry)
        self.geometry = self.hardware.geometry
        # Tiles of one machine, model and formats are mostly those of other plans and batches.
        layout = self.layout
        self.seen = self.hardware.seen(self.spec, layout.formats, layout.kv_format)

    def shared_by(self, cores: int) -> Self:
        """The same with the memory as a core sees it while so many of them stream."""
        found = copy(self)
        found.hardware = self.hardware.shared(cores)
        return found

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
            done = self.seen.get(key)
            if done is None:
                done = self.seen.keep(key, tile(rows, most))
            total.add(done, times)
        return total

    def _load(self, rows: float, row_bytes: float, pitch: int = 0) -> Work:
        """A load that is waited for."""
        bytes_ = rows * row_bytes
        cycles = self.hardware.memory.load(rows, row_bytes, pitch)
        return Work(cycles, self._moved(rows, row_bytes, pitch), read=bytes_)

    def _load_alike(self, rows: float, row_bytes: float, pitch: int = 0) -> Work:
        """A load of the same rows on every core, which is waited for."""
        cycles = self.hardware.memory.load_alike(rows, row_bytes, pitch)
        return Work(cycles, self._moved(rows, row_bytes, pitch), read=rows * row_bytes)

    def _store(self, rows: float, row_bytes: float, pitch: int = 0) -> Work:
        bytes_ = rows * row_bytes
        cycles = self.hardware.memory.store(rows, row_bytes, pitch)
        return Work(cycles, self._moved(rows, row_bytes, pitch), written=bytes_)

    def _moved(self, rows: float, row_bytes: float, pitch: int) -> float:
        """Femtojoules of a transfer in the DMA engine and on the mesh."""
        h = self.hardware
        mesh = h.memory.mesh_energy(rows, row_bytes, pitch)
        return h.energy.dma_byte * rows * row_bytes + mesh

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

    def _tile_text(self, panel: Panels, pitch: int) -> str:
        """Instructions of a turn of the loop over output tiles, work on results left aside."""
        g = self.geometry
        per_row = g.width // g.mlen
        full, rest = divmod(panel.blocks, per_row)
        part = repeat("int", addition(g.mlen) + addition(panel.ways * panel.rows * g.mlen))
        row = " ".join(["ctl", *[f"{part} ctl"] * (per_row - 1)])
        if panel.blocks > per_row:
            leave = addition(pitch - (per_row - 1) * g.mlen)
            row += " " + repeat("int", leave + addition(panel.ways * panel.rows * g.mlen))
        blocks = " ".join([f"{row} im br" + (" ctl" if full > 1 else "")] * full)
        blocks += " ctl" if full > 1 else ""
        blocks += " " + " ".join([f"{part} ctl"] * max(0, rest - 1)) + (" ctl" if rest else "")
        between = "im ctl int int" + (" int" if panel.ways > 1 else "")
        # A piece of weights now and then, results that leave the array, the next tile's places.
        behind = "im int im br im br int int int int ctl"
        return " ".join([*[f"{blocks} {between}"] * panel.ways, behind])

    def _product(
        self,
        rows: int,
        weights: Stored,
        outputs: int,
        name: str,
        pitch: int,
        results: "Results",
        ways: int = 1,
        of: int = 0,
    ) -> Work:
        """A product with streamed weights: one tile of rows, all outputs.

        Args:
            rows: Of the tile.
            weights, outputs: The matrix, and how many rows it has.
            name: Of the weights.
            pitch: Elements between column blocks of the tile.
            results: What becomes of a chunk.
            ways: Matrices side by side.
            of: Outputs of all cores; 0: of one.
        """
        h, inputs = self.hardware, weights.columns
        key = (name, weights, outputs, rows, pitch, ways, *results.key())
        made: _Made = h.parts.get(key) or h.parts.keep(
            key, self._made(name, rows, weights, outputs, pitch, ways, results)
        )
        panel, groups = made.panel, made.groups
        panel_bytes = weights.bytes_of(inputs) / panel.blocks
        # Pieces of a matrix that is stored as Matrix SRAM takes it follow each other.
        pieces = panel.rows * panel.blocks * ways
        busy = self._busy(outputs, of)
        memory = h.shared(busy).memory
        met = self._nodes_met(weights, outputs, panel, busy)
        streaming = memory.streaming(pieces, panel_bytes, pitch=weights.pitch, met=met)
        if weights.scaled:
            scales = inputs / panel.blocks / weights.block
            streaming += memory.streaming(
                pieces, scales, pitch=(weights.piece or inputs) // weights.block
            )
        total = Work(0.0, *made.rest)
        rows_of_pieces = outputs * panel.blocks * ways
        total.femtojoules += h.memory.mesh_energy(rows_of_pieces, panel_bytes, weights.pitch)
        if h.classes.blocking:
            total.cycles = self._blocking(panel, rows, weights, outputs, pitch, results, streaming)
            total.cycles += made.clear
            return total
        loads, stores = results.loads, results.stores
        latency = h.memory.start + h.memory.latency
        first = latency + streaming / made.pieces
        multiplied = made.multiplied
        if made.clear:  # as the first weights arrive
            alone = made.chunks == 1
            hidden = first if alone else 0.0
            set_up = _BEFORE_STAGES if alone else 0.0
            multiplied += max(0.0, made.clear + set_up - hidden)
        moved = loads.cycles + stores.cycles
        moved -= min(loads.cycles, latency)  # other transfers are under way
        # Either the array is the limit, or the memory: then behind the last weights the groups of
        # rows but the first meet the last panel.
        taken = made.panels * streaming + made.chunks * moved
        # A panel's successor is asked for when its first piece is there; what streams behind that
        # piece hides the way to the memory, or a part of it.
        left = streaming * (1 - 1 / made.pieces)
        taken += ((outputs - 1) // panel.rows) * max(0.0, latency - left)
        stored = stores.cycles / groups
        total.cycles = max(first + multiplied, latency + taken - stored + made.behind)
        total.cycles += stored
        return total

    def _made(
        self,
        name: str,
        rows: int,
        weights: Stored,
        outputs: int,
        pitch: int,
        ways: int,
        results: Results,
    ) -> "_Made":
        """What of a product does not depend on the memory."""
        g, h = self.geometry, self.hardware
        panel = _panels(g, name, weights.columns, outputs, 0, ways)
        full, rest = divmod(outputs, g.width)
        number = -(-outputs // panel.rows)
        groups = -(-rows // g.group)
        tiles = panel.rows // g.blen
        # A panel and all groups of rows, without work on results.
        text = self._tile_text(panel, pitch)
        stage = self._tile_products(panel.blocks * ways, text, 1, tiles)
        if ways > 1:  # as many tiles, of half the products
            one = self._tile_products(panel.blocks, "int", 1, tiles * ways)
            stage.cycles = max(stage.cycles, one.cycles)
        stage.add(body(h, repeat("int", _BETWEEN_STAGES)))
        piece = body(
            h,
            "im br int br int int im " + repeat("im int im int ctl ", ways) + "im int im im int im",
        )
        piece.add(body(h, "dma int int int ctl", panel.blocks * ways))
        issued = body(h, text, tiles).cycles + _BETWEEN_STAGES
        if number > 1:
            stage.add(piece, panel.pieces(g) / groups)
        total = Work()
        chunks = [(g.width, full)] * bool(full) + [(rest, 1)] * bool(rest)
        multiplied = cleared = 0.0
        for columns, times in chunks:
            once, again, end = self._chunk_cycles(
                stage.cycles, issued, panel, columns, rows, results
            )
            multiplied += once + (times - 1) * again + end
            total.beside(results.work, times)
            total.beside(results.loads, times)
            total.beside(results.stores, times)
            if columns == rest:  # lanes that will not all be written
                clear = self._rows_loop("vshft1.", 1, rows)
                total.beside(clear, ways)
                cleared = ways * clear.cycles
        total.beside(stage, number * groups)
        weight_bytes = ways * (
            weights.row_bytes * outputs + weights.scale_bytes(outputs) * weights.scaled
        )
        total.read += weight_bytes
        total.femtojoules += h.energy.dma_byte * weight_bytes
        share = outputs / (number * panel.rows)
        behind = (groups - 1) * stage.cycles + stage.cycles / panel.pieces(g) + end
        chunked = full + bool(rest)
        return _Made(
            panel,
            panel.pieces(g),
            number * share,
            groups,
            chunked,
            total.rest(),
            multiplied,
            cleared,
            behind,
        )

    def _busy(self, outputs: int, of: int) -> int:
        """Cores that have outputs of a matrix, where one has so many."""
        return max(1, min(self.layout.cores, -(-of // outputs)))

    def _nodes_met(self, weights: Stored, outputs: int, panel: Panels, cores: int) -> float:
        """Nodes of the memory in which the streams of a matrix of all cores that have outputs meet, if
        they are long enough for that."""
        memory = self.hardware.memory
        if (
            cores == 1
            or panel.ways * outputs * weights.row_bytes <= memory.reads * memory.burst_bytes
        ):
            return 0.0
        # A row of a block of columns, or a whole one.
        row = weights.pitch if weights.piece else weights.row_bytes
        number = panel.blocks if weights.piece else 1
        step = weights.step(self.geometry.mlen)
        apart = weights.row_bytes * self.spec.mlp  # of matrices side by side
        blocks = tuple(way * apart + n * step for way in range(panel.ways) for n in range(number))
        return nodes_met(memory.nodes, cores, outputs * row, panel.rows * row, blocks)

    def _blocking(
        self,
        panel: Panels,
        rows: int,
        weights: Stored,
        outputs: int,
        pitch: int,
        results: "Results",
        streaming: float,
    ) -> float:
        """Cycles of a product of which nothing overlaps; a panel keeps the memory for `streaming`."""
        g, h = self.geometry, self.hardware
        text = blocking.stage_text(panel, g, pitch, results.whole)
        products = panel.blocks * panel.ways
        tiles = panel.rows // g.blen
        stage = self._tile_products(products, text, 1, tiles).cycles
        # The write-outs of further matrices.
        one, two = (self._tile_products(n, "", 1, 1).cycles for n in (1, 2))
        stage += (panel.ways - 1) * tiles * (2 * one - two)
        loads, stores = results.loads, results.stores
        latency = h.memory.start + h.memory.latency
        return blocking.product(
            h,
            panel,
            rows,
            weights,
            outputs,
            blocking.Chunks(
                results.entry,
                results.about,
                results.row_cycles,
                max(0.0, loads.cycles - latency),
                stores.cycles,
                int(loads.read > 0),
                results.stored,
                results.whole,
            ),
            results.table,
            stage,
            streaming,
        )

    def _chunk_cycles(
        self,
        stage: float,
        issued: float,
        panel: Panels,
        columns: int,
        rows: int,
        results: Results,
    ) -> tuple[float, float, float]:
        """Cycles of the first chunk, of one behind others, and what is left to do behind the last; of
        a stage there are `stage` cycles in which `issued` instructions issue, all without work on
        results."""
        g, h = self.geometry, self.hardware
        number = -(-columns // panel.rows)
        groups = -(-rows // g.group)
        cost = results.row_cycles
        plain = number * groups * stage
        if h.classes.blocking:
            return plain, plain, 0.0
        if not cost:
            return plain, plain, self._drain()
        if results.whole:
            behind = plain + self._drain() + rows * cost
            return behind, behind, 0.0
        at_once = rows_at_once(g, panel, columns, results.about)
        slices = panel.slices(g)
        hidden = hidden_tiles(g, panel) * panel.ways * max(1, panel.blocks * g.mlen // g.width)
        issue = issued / slices
        window = max(stage / slices, issue)
        entry = body(h, results.entry).cycles + _GROUP_DONE * at_once / g.group
        waiting = 0.0
        cycles = before = 0.0
        for _ in range(2):
            before = cycles
            for n in range(number):
                if 0 < n < number - 1:
                    cycles += groups * stage
                    continue
                for group in range(groups):
                    if n == 0:
                        free = groups - 1 - (group if number > 1 else 0)
                        due = waiting - free * g.group
                        if due > 0:
                            cycles += due * cost + entry
                            waiting -= due
                    new = min(waiting, (slices - (hidden if waiting else 0)) * at_once)
                    turns = -(-new // at_once)
                    extra = max(0.0, entry + at_once * cost + issue - window)
                    cycles += stage + turns * extra
                    waiting -= new
                    if n == number - 1:
                        waiting += min(g.group, rows - group * g.group)
        # The instructions behind the last tile run while its results leave the array.
        counted = waiting * cost if results.untouched else 0.0
        under = min(self._drain(), entry + counted + _BETWEEN_STAGES)
        return before, cycles - before, self._drain() - under + entry + waiting * cost

    def _rows_loop(self, text: str, pointers: int, rows: float) -> Work:
        """A loop over rows whose pointers advance by one row each."""
        return body(self.hardware, f"{text} {repeat('int', pointers)} int br", rows)

    def _elements(self, timing: str, elements: float) -> Work:
        """An instruction that streams elements."""
        h = self.hardware
        interval, latency, per = h.classes.costs[timing]
        cycles = max(interval, latency) + per * elements
        spent = h.energy.instructions.of(timing, elements)
        return Work(cycles, spent, cycles)

    def _column_maxima(self, rows: int) -> Work:
        """The maximum of every lane over rows."""
        work = self._elements("vector_colmax", rows)
        work.femtojoules += (rows + 1) * self.hardware.energy.instructions.vector_row
        return work

    def _norm(self, rows: float, blocks: int) -> Work:
        """RMSNorm of the rows of a tile."""
        loop = "ctl" if blocks > 1 else ""
        squares = " ".join([f"vmul3. vsum1. int {loop}"] * blocks)
        scaled = " ".join([f"vmul2. vmul3. int int {loop}"] * blocks)
        text = f"fp int {loop} {squares} int int fp. fp. fsqrt. freci. {loop} {scaled}"
        return self._rows_loop(text, 1, rows)

    def _move(self, rows: float, columns: int) -> Work:
        """A tile of whole rows from memory."""
        blocks = -(-columns // self.geometry.width)
        row = BF16_BYTES * columns
        work = self._load_alike(rows * blocks, row / blocks, row)
        # The tile's bounds, where it stands, and how its rows do.
        work.add(body(self.hardware, repeat("int", 22) + repeat(" im", 8) + repeat(" ctl", 6)))
        return work

    def _chunk_columns(self, outputs: int) -> float:
        """Columns of a chunk of results: the last one may have less, so on average."""
        return outputs / -(-outputs // self.geometry.width)

    def _chunk(self, rows: float, columns: float, table: Stored, store: bool) -> Work:
        """A chunk of columns between memory and Vector SRAM."""
        move = self._store if store else self._load
        work = move(rows, columns * table.bits / 8, table.pitch)
        if table.scaled:
            scales = move(rows, columns / table.block, table.columns // table.block)
            work.cycles += scales.cycles
            work.beside(scales)
        issue = body(self.hardware, "im int int im int int im int int ctl int ctl int ctl int ctl")
        if not self.hardware.classes.blocking:  # otherwise counted group by group
            work.cycles += issue.cycles
        work.beside(issue)
        return work

    def _fence(self, work: Work) -> Work:
        # Addresses of the phase's tables, and of the next layer.
        work.add(body(self.hardware, repeat("int", 18) + " ctl ctl sync"))
        return work

    def _meet(self) -> Work:
        """All cores come to a point."""
        work = Work()
        cores = self.layout.cores
        if cores > 1:
            # A request and its answer, and one after the other where all come at once.
            work.add(body(self.hardware, "int int sync"), cores)
            work.cycles = body(self.hardware, "int int sync").cycles
            work.cycles += max(self.hardware.memory.ways) + cores
        return work

    def _phase(
        self, shares: tuple[tuple[tuple[int, ...], int], ...], part: Callable[..., Work]
    ) -> Work:
        """A phase in which every core does its part of a share, up to the point where all meet."""
        whole = together(shares, part)
        whole.add(self._meet())
        return whole

    # Phases

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

        return self._phase(in_turns(cores, most, call.count * call.batch), part)

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
        most, alike = self.layout.qkv_tile

        # With BAOS every row of the batch has factors of its own.
        factors = f", {self.call.batch} factors" if self.layout.smoothed_cache else ""

        def part(q: int, kv: int) -> Work:
            def one(rows: int, most: int) -> Work:
                return self._qkv_tile(rows, most, alike, q, kv)

            total = self._load_alike(1, BF16_BYTES * spec.hidden)
            total.add(self._tiled(f"qkv {q}, {kv}, {alike} alike{factors}", most, one))
            return self._fence(total)

        head = spec.head_dim
        things = ((spec.heads * head, head), (spec.kv_heads * head, head))
        total = self._phase(dealt(self.layout.cores, *things), part)
        if self.layout.smoothed_cache:
            total.add(calibration(self))
        return total

    def _qkv_tile(self, rows: int, most: int, alike: int, q: int, kv: int) -> Work:
        spec, g, stored = self.spec, self.geometry, self.layout.stored
        pitch = most * g.width
        tables = self._load_alike(2 * rows // alike, BF16_BYTES * g.width)
        tile = self._normalised(rows, spec.hidden, tables)
        for name, outputs, turned in (("q", q, True), ("k", kv, True), ("v", kv, False)):
            if not outputs:
                continue
            columns = self._chunk_columns(outputs)
            table = {"q": "q", "k": "keys", "v": "values"}[name]
            own, tables_stored = stored[table], 1
            store = self._chunk(rows, columns, own, True)
            if self.layout.quantised_cache and name != "q" and self.call.warm:
                fresh = self._chunk(rows, columns, stored[f"fresh_{table}"], True)
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
            heads = spec.heads if name == "q" else spec.kv_heads
            of = heads * spec.head_dim
            tile.add(self._product(rows, weights, outputs, name, pitch, results, of=of))
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

    def _normalised(self, rows: int, columns: int, beside: Work | None = None) -> Work:
        """A tile that is loaded group by group and normalised as it arrives."""
        blocks = -(-columns // self.geometry.width)
        tile = self._move(rows, columns)
        own = tile.cycles
        if beside is not None:
            tile.cycles += beside.cycles - self.hardware.memory.latency
            tile.beside(beside)
        norm = self._norm(rows, blocks)
        tile.beside(norm)
        quantised = self._quantised(rows, columns)
        if self.hardware.classes.blocking:
            tile.cycles += norm.cycles + blocking.arrivals(self.hardware, rows, blocks)
            if beside is not None:  # two tables, each waited for
                tile.cycles += 2 * self.hardware.memory.latency + self.hardware.memory.start
            tile.add(quantised)
            return tile
        # The first group arrives alone, or is waited for until the others are in the queue; then
        # whichever takes longer.
        group = min(rows, self.geometry.group)
        transfers = -(-rows // group) * blocks + 2 * (beside is not None)
        queued = tile.cycles * max(0.0, 1 - self.hardware.memory.queue / transfers)
        first = max(queued, self._load_alike(group, BF16_BYTES * columns).cycles)
        last = norm.cycles * group / rows
        if self.layout.cores == 1:
            own = tile.cycles
        # What several cores load beside the tile takes them as long as the norm, or longer; half of
        # the last group's norm is what was measured behind it (quad.yaml).
        tile.cycles = max(first + norm.cycles, own + last, tile.cycles + last / 2)
        tile.add(quantised)
        return tile

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
            issue = f"int int int int im int {blocking.table_text(table)}"
            total.add(body(h, f"{issue} {'ctl' if blocks > 1 else ''} sync"))
            total.add(body(h, "dma int int ctl", blocks))
            if h.classes.blocking:
                latency = h.memory.latency if move == self._load else 0.0
                total.cycles += (blocks - 1) * (h.memory.start + latency)
        return total

    def attention(self) -> Work:
        """Softmax(q k^T) v of every row of the batch and head."""
        items = self.call.batch * self.spec.kv_heads // self.layout.key_tiles.together
        busy = self.shared_by(min(self.layout.cores, items))
        return self._phase(dealt(self.layout.cores, (items, 1)), partial(attention, busy))

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
            # Work begins with the first group.
            tile = self._move(rows, inputs)
            if not outputs:
                return tile
            columns = self._chunk_columns(outputs)
            whole, group = tile.cycles, min(rows, g.group)
            quantised = self._quantised(rows, inputs)
            tile.beside(quantised)
            if self.hardware.classes.blocking:
                blocks = -(-inputs // g.width)
                tile.cycles += blocking.arrivals(self.hardware, rows, blocks) + quantised.cycles
            elif quantised.cycles:
                tile.cycles += quantised.cycles
            else:
                tile.cycles = whole * group / rows - self.hardware.memory.latency
            results = self._results(
                "vadd3. int int",
                2,
                5,
                rows,
                self._chunk(rows, columns, stored["x"], True),
                stored["x"],
                self._chunk(rows, columns, stored["x"], False),
            )
            weights = stored[f"weights.{name}"]
            chunk = most * g.width
            product = self._product(rows, weights, outputs, name, chunk, results, of=spec.hidden)
            tile.add(product)
            if not (self.hardware.classes.blocking or quantised.cycles):
                # The rest arrives before the weights.
                tile.cycles += whole * (1 - group / rows)
            return tile

        most = self._tile_rows(name, -(-inputs // g.width) + 2, 0)

        def part(outputs: int) -> Work:
            return self._fence(self._tiled(f"{name} {outputs}", most, partial(one, outputs)))

        return self._phase(dealt(self.layout.cores, (spec.hidden, g.blen)), part)

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

        return self._phase(dealt(self.layout.cores, (self.spec.mlp, self.geometry.blen)), part)

    def experts(self) -> Work:
        """A mixture of experts in place of the MLP."""
        return experts(self)

    def _gate_up_tile(self, outputs: int, rows: int, most: int) -> Work:
        spec, g = self.spec, self.geometry
        pitch = most * g.width
        if not outputs:
            tile = self._load_alike(1, BF16_BYTES * spec.hidden)
            tile.add(self._normalised(rows, spec.hidden))
            return tile
        columns = self._chunk_columns(outputs)
        gated = self.layout.stored["gated"]
        tile = self._load_alike(1, BF16_BYTES * spec.hidden)
        tile.add(self._normalised(rows, spec.hidden))
        store = self._chunk(rows, columns, gated, True)
        results = self._results("vsilu2. vmul3. int int", 2, 12, rows, store, gated)
        weights = self.layout.stored["weights.gate"]
        tile.add(self._product(rows, weights, outputs, "gate and up", pitch, results, 2, spec.mlp))
        return tile
