"""What the phases of a forward call are made of, in closed form: transfers, products with streamed
weights, rows, and the ends of phases.

Tiles of rows and panels of weights follow from the compiler's own rules (`Panels.plan`); everything
else is arithmetic on the number of rows. A tile is loaded, normalised, and multiplied with weights
that stream through Matrix SRAM: per panel the greater of the time to multiply it and the time to
load the next one, per chunk of columns the work on its results on top.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from npuvp.analytical import blocking, flow
from npuvp.analytical.machine import Hardware, of_core
from npuvp.analytical.products import RowCosts, product_of, weights_moved
from npuvp.analytical.schedule import Work, addition, body, repeat
from npuvp.analytical.shared import Shares, together
from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import Stored
from npuvp.compiler.layout import Geometry, Layout
from npuvp.compiler.products import Panels
from npuvp.compiler.shares import share
from npuvp.kept import Kept
from npuvp.model.spec import ModelSpec

__all__ = ["BF16_BYTES", "Call", "Pieces", "Results"]

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
        committed: Of a row of the batch, on average.
        pieces: Pieces of the canvas that are searched for earlier masks.
        earlier: Positions of a piece.
        block: Length of a block.
        warm: Whether it computes the whole canvas.
        experts: Of a mixture, how many the rows of a tile use (see `used_experts`).
        start: The first position that it computes.
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
    start: int = 0


@of_core
def _output_tile(h: Hardware, products: int, extra: str, tile: int) -> tuple[Work, float]:
    """An output tile of `products` products (see `Pieces._tile_products`), and how much earlier than
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
        return *self.work.rest(), *moved, *about, self.table, self.stored


class _Made(NamedTuple):
    """A product but for the memory.

    Attributes:
        rest: Of its `Work`.
        clear: Cycles that make room for the last chunk, where it is no whole row.
        timing: Of the product with its streamed weights.
        parts, transfers: Of a panel of weights.
    """

    rest: tuple[float, ...]
    clear: float
    timing: Any
    parts: tuple[tuple[float, float, int], ...]
    transfers: int


@of_core
def _panels(h: Hardware, name: str, inputs: int, outputs: int, ways: int) -> Panels:
    assert isinstance(h.geometry, Geometry)
    return Panels.plan(h.geometry, name, inputs, outputs, 0, ways)


@dataclass
class Pieces:
    """Pieces of the phases of a call, for a machine and a model.

    Attributes:
        hardware, spec, call: What; the hardware as one of the cores sees it that share the work.
        tokens_at: Words of INT SRAM from here on are free for token ids.
        layout: Of memory; its tables say how wide numbers are.
        debt: Cycles for which the memory still writes what the phase before has stored.
        holders: Cores whose part of a phase is looked at; none: all of them.
        active: Cores that have any part of it.
        begins: When each core has its tile, where they meet in a mesh.
        places: Where tables stand as far as nodes of the memory go, if that matters.
    """

    hardware: Hardware
    spec: ModelSpec
    call: Call
    tokens_at: int
    layout: Layout
    geometry: Geometry = field(init=False)
    seen: Kept[tuple[Any, ...], tuple[Work, float]] = field(init=False)
    debt: float = field(default=0.0, init=False)
    holders: tuple[int, ...] = field(default=(), init=False)
    active: tuple[int, ...] = field(default=(), init=False)
    begins: tuple[int, ...] = field(default=(), init=False)
    places: tuple[int, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self.hardware = self.hardware.shared(self.layout.cores)
        assert isinstance(self.hardware.geometry, Geometry)
        self.geometry = self.hardware.geometry
        # Tiles of one machine, model and formats are mostly those of other plans and batches.
        layout = self.layout
        self.seen = self.hardware.seen(self.spec, layout.formats, layout.kv_format)
        if layout.cores > 1 and (mesh := self.hardware.memory.mesh) is not None:
            addresses = (*layout.addresses.values(), layout.layer_base)
            places = tuple(address % mesh.turn for address in addresses)
            self.places = (*places, self.call.start)

    def shared_by(self, cores: int) -> Self:
        """The same with the memory as a core sees it while so many of them stream."""
        if self.hardware.shared(cores) is self.hardware:
            return self
        found = copy(self)
        found.hardware = self.hardware.shared(cores)
        return found

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

    def _groups(self, rows: float) -> int:
        """Groups of rows, which are moved one by one."""
        return -(-int(rows) // self.geometry.group)

    def _tiles(self, tile: int, rows: int) -> list[tuple[int, int]]:
        """(rows, how many such tiles) of a number of rows."""
        full, rest = divmod(rows, tile)
        return [(tile, full)] * bool(full) + [(rest, 1)] * bool(rest)

    def _tiled(self, name: str, most: int, tile: Callable[[int, int], Work]) -> Work:
        """`tile(rows, most)` of all tiles of the call's rows."""
        call = self.call
        total = Work()
        for rows, times in self._tiles(most, call.count * call.batch):
            key = (name, rows, most, call.warm, self.holders, self.places, int(self.debt))
            done = self.seen.get(key)
            if done is None:
                work = tile(rows, most)
                done = self.seen.keep(key, (work, self.debt))
            total.add(done[0], times)
            self.debt = done[1]
        return total

    def _leave(self, behind: float, exposed: float) -> float:
        """The end of a phase, whose last stores take `exposed` cycles for the core and keep the memory
        for `behind`."""
        memory = self.hardware.memory
        if self.hardware.classes.blocking:
            self.debt = 0.0
            return 0.0
        debt = min(max(0.0, behind - exposed), memory.posted / memory.bytes_per_cycle)
        self.debt = float(int(debt))  # what is kept of a tile is kept by it
        return exposed

    def _load(self, rows: float, row_bytes: float, pitch: int = 0, transfers: int = 1) -> Work:
        """A load that is waited for."""
        bytes_ = rows * row_bytes
        cycles = self.hardware.memory.load(rows, row_bytes, pitch, transfers)
        return Work(cycles, self._moved(rows, row_bytes, pitch), read=bytes_)

    def _load_alike(
        self, at: int, rows: float, row_bytes: float, pitch: int = 0, transfers: int = 1
    ) -> Work:
        """A load of the same rows on every core, which is waited for."""
        memory = self.hardware.memory
        cycles = memory.load_alike(self.holders, at, rows, row_bytes, pitch, transfers)
        return Work(cycles, self._moved(rows, row_bytes, pitch), read=rows * row_bytes)

    def _address(self, table: Stored | str) -> int:
        """Of a table, in the first layer where every layer has one."""
        layout = self.layout
        name = table if isinstance(table, str) else table.name
        if name in layout.addresses:
            return layout.addresses[name]
        return layout.layer_base + layout.offsets[name]

    def _store(self, rows: float, row_bytes: float, pitch: int = 0, transfers: int = 1) -> Work:
        bytes_ = rows * row_bytes
        cycles = self.hardware.memory.store(rows, row_bytes, pitch, transfers)
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
        arriving: float = 0.0,
        before: int = 0,
    ) -> tuple[Work, float]:
        """A product with streamed weights: one tile of rows, all outputs; and the cycles for which
        the memory works on its results when the core has done with them.

        Args:
            rows: Of the tile.
            weights, outputs: The matrix, and how many rows it has.
            name: Of the weights.
            pitch: Elements between column blocks of the tile.
            results: What becomes of a chunk.
            ways: Matrices side by side.
            of: Outputs of all cores; 0: of one.
            arriving: Cycles for which the memory still works on what was asked for before.
            before: Transfers that this is.
        """
        h = self.hardware
        panel = _panels(h, name, weights.columns, outputs, ways)
        key = (name, weights, outputs, rows, pitch, ways, *results.key())
        made: _Made = h.parts.get(key) or h.parts.keep(
            key, self._made(panel, rows, weights, outputs, pitch, results)
        )
        busy = self._busy(outputs, of)
        memory = h.shared(busy).memory.streamed(made.parts, made.transfers, before=True)
        if busy > 1:
            memory = max(memory, self._together(name, weights, of, panel) * panel.rows)
        loads, stores = results.loads, results.stores
        total = Work(0.0, *made.rest)
        panel_bytes = weights.bytes_of(weights.columns) / panel.blocks
        rows_of_pieces = outputs * panel.blocks * ways
        total.femtojoules += h.memory.mesh_energy(rows_of_pieces, panel_bytes, weights.pitch)
        if h.classes.blocking:
            total.cycles = self._blocking(panel, rows, weights, outputs, pitch, results, memory)
            total.cycles += made.clear
            return total, 0.0
        loading = 0.0
        if loads.read and results.table is not None:  # other transfers are under way
            pieces_of_rows = ((float(rows), loads.read / rows, results.table.pitch),)
            groups = self._groups(rows)
            own = h.shared(busy).memory
            loading = own.streamed(pieces_of_rows, groups, before=True)
            at = self._address(results.table)
            moved = (at, rows, loads.read / rows, results.table.pitch, False)
            met = own.beside(self.begins, self.active, *moved) if busy > 1 else None
            if met is not None:
                loading = max(loading, met - own.latency)
        storing = max(stores.cycles, stores.written / h.memory.bytes_per_cycle)
        total.cycles, behind = made.timing.time(
            rows,
            made.clear,
            h.memory.start + h.memory.latency,
            h.memory.queue,
            memory,
            loading,
            storing,
            arriving,
            before,
        )
        return total, behind

    def _last_group(self, results: Results, rows: int) -> float:
        """Cycles for which the last group's results are stored when all else is done."""
        return results.stores.cycles / self._groups(rows)

    def finished_product(
        self,
        rows: int,
        weights: Stored,
        outputs: int,
        name: str,
        pitch: int,
        results: "Results",
        ways: int = 1,
        of: int = 0,
        arriving: float = 0.0,
    ) -> Work:
        """A product behind which nothing goes on until its results are in memory."""
        product, _ = self._product(rows, weights, outputs, name, pitch, results, ways, of, arriving)
        product.cycles += self._last_group(results, rows)
        return product

    def _made(
        self,
        panel: Panels,
        rows: int,
        weights: Stored,
        outputs: int,
        pitch: int,
        results: Results,
    ) -> "_Made":
        """What of a product does not depend on the memory."""
        g, h, ways = self.geometry, self.hardware, panel.ways
        full, rest = divmod(outputs, g.width)
        number, tiles = -(-outputs // panel.rows), panel.rows // g.blen
        made = self._tile_products(panel.blocks * ways, self._tile_text(panel, pitch), 1, tiles)
        total = Work()
        cleared = 0.0
        for columns, times in [(g.width, full)] * bool(full) + [(rest, 1)] * bool(rest):
            total.beside(results.work, times)
            total.beside(results.loads, times)
            total.beside(results.stores, times)
            if columns == rest:  # lanes that will not all be written
                clear = self._rows_loop("vshft1.", 1, rows)
                total.beside(clear, ways)
                cleared = ways * clear.cycles
        total.beside(made, number * self._groups(rows))
        weight_bytes = ways * (
            weights.row_bytes * outputs + weights.scale_bytes(outputs) * weights.scaled
        )
        total.read += weight_bytes
        total.femtojoules += h.energy.dma_byte * weight_bytes
        costs = RowCosts(
            results.row_cycles,
            body(h, results.entry).cycles if results.row_cycles else 0.0,
            body(h, blocking.finish_text(results.table, results.stored)).cycles,
            results.about,
            results.whole,
            results.untouched,
        )
        prepares = results.loads.read > 0 and results.table is not None
        timing = product_of(h, panel, weights, outputs, pitch, costs, prepares, self._drain())
        return _Made(total.rest(), cleared, timing, *weights_moved(g, panel, weights))

    def _busy(self, outputs: int, of: int) -> int:
        """Cores that have outputs of a matrix, where one has so many."""
        return max(1, min(self.layout.cores, -(-of // outputs)))

    def _together(self, name: str, weights: Stored, of: int, panel: Panels) -> float:
        """Cycles for which a row of a matrix with so many keeps the memory while all cores that have
        some stream theirs; 0: they do not meet in a mesh."""
        memory, layout, g = self.hardware.memory, self.layout, self.geometry
        if memory.mesh is None:
            return 0.0
        unit = {"q": self.spec.head_dim, "k": self.spec.head_dim, "v": self.spec.head_dim}.get(name)
        if name == "head":
            unit = layout.stored["logits"].block
        cores = layout.cores
        shares = tuple(share(of, unit or g.blen, core, cores) for core in range(cores))
        matrices = [weights]
        if panel.ways > 1:
            matrices.append(layout.stored["weights.up"])
        begins: list[tuple[int, ...]] = []
        for matrix in matrices:
            at = self._address(matrix)
            begins.append((at, at + matrix.scales - matrix.offset) if weights.scaled else (at,))
        origin = begins[0][0] // memory.mesh.turn * memory.mesh.turn
        begins = [tuple(at - origin for at in begin) for begin in begins]
        columns = min(g.mlen, weights.columns)
        row, pitch, step = [weights.bytes_of(columns)], [weights.pitch], [weights.step(g.mlen)]
        if weights.scaled:
            of_row = (weights.piece or weights.columns) // weights.block
            row.append(columns // weights.block)
            pitch.append(of_row)
            step.append(weights.rows * of_row if weights.piece else g.mlen // weights.block)
        pattern = flow.Pattern(
            tuple(begins),
            tuple(row),
            tuple(pitch),
            tuple(step),
            panel.blocks,
            shares,
            panel.rows,
            panel.rows // panel.pieces(g),
        )
        cycles = flow.streams(memory.mesh, pattern, self.begins)
        return max(0.0, cycles - memory.latency) / max(count for _, count in shares)

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

    def _rows_loop(self, text: str, pointers: int, rows: float) -> Work:
        """A loop over rows whose pointers advance by one row each; without pointers one in the midst
        of a product, whose text advances them."""
        back = "int int br" if pointers else "int br"  # counted down, or up to 0
        return body(self.hardware, f"{text} {repeat('int', pointers)} {back}", rows)

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

    def _move(self, rows: float, columns: int, source: str = "x") -> Work:
        """A tile of whole rows from memory."""
        blocks = -(-columns // self.geometry.width)
        transfers = self._groups(rows) * blocks
        bytes_ = BF16_BYTES * columns
        at, memory = self._address(source), self.hardware.memory
        work = self._load_alike(at, rows * blocks, bytes_ / blocks, bytes_, transfers)
        if memory.sharers > 1 and memory.mesh is not None:
            # What follows, the cores do as late as this has come to each.
            (there,) = memory.arrivals((at, rows, bytes_, 0))
            self.begins = tuple(int(end) for end in there)
        work.add(self._words_of_tile())
        return work

    def _words_of_tile(self) -> Work:
        """A tile's bounds, where it stands, and how its rows do."""
        return body(self.hardware, repeat("int", 22) + repeat(" im", 8) + repeat(" ctl", 6))

    def _chunk_columns(self, outputs: int) -> float:
        """Columns of a chunk of results: the last one may have less, so on average."""
        return outputs / -(-outputs // self.geometry.width)

    def _chunk(
        self, rows: float, columns: float, table: Stored, store: bool, busy: int = 1
    ) -> Work:
        """A chunk of columns between memory and Vector SRAM, while so many cores move theirs."""
        own = self.shared_by(busy)
        move = own._store if store else own._load
        groups = self._groups(rows)
        bytes_ = columns * table.bits / 8
        work = move(rows, bytes_, table.pitch, groups)
        at = self._address(table)
        moved = (at, rows, bytes_, table.pitch, store)
        shared = own.hardware.memory
        met = shared.beside(self.begins, self.active, *moved) if busy > 1 else None
        if met is not None:
            work.cycles = max(work.cycles, met)
        if table.scaled:
            pitch = table.columns // table.block
            scales = move(rows, columns / table.block, pitch, groups)
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

    def _phase(self, shares: Shares, part: Callable[..., Work], key: tuple[Any, ...] = ()) -> Work:
        """A phase in which every core does its part of a share, up to the point where all meet. What
        the phase before has stored is written as the first tiles of all cores come.

        Args:
            shares: As of `together`.
            part: Of a core that gets such a share.
            key: All else that the phase follows from, beside what `seen` stands for, so that it is
                kept; nothing: it is not.
        """
        if not key:
            return self._made_by_all(shares, part)
        kept = (*key, shares, self.places, int(self.debt))
        found = self.seen.get(kept)
        if found is None:
            work = self._made_by_all(shares, part)
            found = self.seen.keep(kept, (work, self.debt))
        work, self.debt = found
        return work

    def _made_by_all(self, shares: Shares, part: Callable[..., Work]) -> Work:
        before, left = self.debt, []
        self.active = tuple(
            sorted(core for counts, cores in shares if any(counts) for core in cores)
        )

        def own(cores: tuple[int, ...], *counts: int) -> Work:
            self.debt, self.holders = before, cores
            work = part(*counts)
            left.append(self.debt)
            return work

        whole = together(shares, own)
        self.debt, self.holders, self.begins = max(left), (), ()
        whole.add(self._meet())
        return whole
