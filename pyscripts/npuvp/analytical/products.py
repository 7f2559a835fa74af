"""What products with streamed weights take on a core with a scoreboard, as
`npuvp.compiler.products` lays them out.

An output tile is a chain of products, a few instructions apart, and a tail of instructions that
runs while its sums leave the array. A panel of weights is asked for piece by piece while the panel
before it is multiplied: the queue of the DMA engine takes so many descriptors, and the core waits
where it is full. So the period of a piece is the longest way round of three that go on side by
side: the core's instructions and the array, the memory, and the queue between the two.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from npuvp.analytical.blocking import ADVANCE, AGAIN, FINISH_ALL, GROUP, PIECE_DUE, piece_text
from npuvp.analytical.machine import Hardware, of_core
from npuvp.analytical.schedule import addition, body, repeat
from npuvp.compiler.formats import Stored
from npuvp.compiler.layout import Geometry
from npuvp.compiler.products import Panels, hidden_tiles, rows_at_once

__all__ = ["Product", "RowCosts", "Stream"]

#: A product begins: the words of its stream of weights.
_BEGIN = "int im im int im int im int im int im"


@dataclass(frozen=True)
class Stage:
    """A panel that meets a group of rows.

    Attributes:
        products: Cycles of a tile up to its last product, by way; without work on results.
        stream, skew: Cycles for which a product's operands stream, and from there to its sums.
        row: From one row of inputs to the next: instructions.
        rows: Such places in a tile of one way at which results are worked on.
        tails: Instructions behind the last product, by way.
        sets: Of accumulators.
        port: Cycles for which a write-out takes the way to Vector SRAM.
        tiles: Of a stage.
        between: Instructions between two stages; `last` more where the panel is a chunk's last.
        around: Between two panels.
    """

    products: float
    stream: float
    skew: float
    row: float
    rows: int
    tails: tuple[float, ...]
    sets: int
    port: float
    tiles: int
    between: float
    last: float
    around: float

    @cached_property
    def slices(self) -> int:
        """Places in a stage at which results are worked on."""
        return self.tiles * self.rows * len(self.tails)

    def _tile(self, extra: float, behind: float) -> float:
        """Cycles of a tile of all ways, with instructions in front of its end and behind it."""
        alone = self._alone(extra, behind)
        return max(alone, self._in_turn) if self.sets > 1 else alone

    def _alone(self, extra: float, behind: float) -> float:
        total = 0.0
        for way, tail in enumerate(self.tails):
            last = way + 1 == len(self.tails)
            instructions = tail + (extra + behind if last else 0.0)
            waits = self.stream if self.sets > 1 else self.stream + self.skew
            total += max(self.products + max(waits, instructions), self.port)
        return total

    @cached_property
    def _in_turn(self) -> float:
        """The set of accumulators that a tile needs is that of the tile before the last one."""
        return len(self.tails) * (self.products + self.stream + self.skew) / 2

    def early(self, stages: float) -> float:
        """By how much an unbroken row of stages ends earlier than their sum: two tiles follow each
        other at once where two sets of accumulators take turns, and then the next two."""
        if self.sets == 1:
            return 0.0
        early = 2 * max(0.0, self._in_turn - self._alone(0.0, 0.0)) / len(self.tails)
        return early / (1 + stages * self.tiles * len(self.tails) % 2)

    @cached_property
    def plain(self) -> float:
        """Cycles of a tile without work on results."""
        return self._tile(0.0, 0.0)

    @cached_property
    def cycles(self) -> float:
        """Cycles of a stage without work on results."""
        return (self.tiles - 1) * self.plain + self._tile(0.0, self.between)

    def more(self, extra: float) -> float:
        """Cycles that a tile takes longer with work on results in one place, an average over all."""
        inner = max(self.stream, self.row + extra) - max(self.stream, self.row)
        outer = self._tile(extra, 0.0) - self.plain
        return ((self.rows - 1) * inner + outer) / self.rows


@of_core
def stage_of(
    h: Hardware, panel: Panels, pitch: int, number: int, whole: bool, prepares: bool
) -> Stage:
    """The stages of a chunk.

    Args:
        h: The machine.
        panel: How weights pass through Matrix SRAM.
        pitch: Elements between column blocks of the tile of rows.
        number: Panels of a chunk.
        whole: Whether results are worked on behind a chunk only.
        prepares: Whether rows are loaded before a group's first panel.
    """
    g = h.geometry
    assert isinstance(g, Geometry)
    interval, latency = h.matrix
    if h.matrix_table:
        stream, skew = float(interval), float(max(0, latency - interval))
    else:
        stream, skew = float(h.blen + interval), float(2 * (h.blen - 1) + latency)

    def issue(text: str) -> float:
        return body(h, text).cycles

    per_row = g.width // g.mlen
    full, rest = divmod(panel.blocks, per_row)
    panel_step = addition(panel.ways * panel.rows * g.mlen)
    part = 1 + issue(repeat("int", addition(g.mlen) + panel_step))
    leave = 0
    if panel.blocks > per_row:
        leave = addition(pitch - (per_row - 1) * g.mlen) + panel_step
    slice_ = "" if whole else "im br"
    row = 1 + issue(f"{repeat('int', leave)} {slice_} {'ctl' if full > 1 else ''}")
    within = max(stream, part)
    products = 0.0
    if full:
        products += full * (per_row - 1) * within + (full - 1) * max(stream, row)
        end = row
        if rest:
            products += max(stream, row) + (rest - 1) * within
            end = 1.0
    else:
        products += (rest - 1) * within
        end = 1 + issue(slice_)
    begin = issue("ctl") if full > 1 else 0.0
    other = issue(repeat("int", addition(panel.rows * g.mlen) + 1) + " im") + 1
    tick = "im int im br" + ("" if whole else " im br")
    places = repeat("int", addition(g.blen * g.mlen) + 3)
    tail = issue(f"{tick} {places} im {'ctl' if panel.rows > g.blen else ''}") + 1
    tails = (*[begin + end + other] * (panel.ways - 1), begin + end + tail)
    rows_out = 0 if h.matrix_table else h.tile_rows
    # From the end of a stage to the first product of the next one.
    between = f"im im im int {ADVANCE} {ADVANCE} {AGAIN}"
    last = ""
    if number > 1:
        between += " im int br"
    if prepares:
        between += f" {ADVANCE}"
    if not whole:
        between += " im int br" if number > 1 else ""
        last = "im im br im int im int im"
    around = "im im int int im int im im im int im im im"
    if number > 1:
        around += f" {ADVANCE} {AGAIN}"
    drained = h.matrix_table or not h.overlapping_tiles
    return Stage(
        products,
        stream,
        skew,
        row,
        max(1, full),
        tails,
        1 if drained else 2,
        max(float(h.writeout[0]), float(rows_out)),
        panel.rows // g.blen,
        issue(between),
        issue(last),
        issue(around),
    )


class RowCosts(NamedTuple):
    """What work on results takes.

    Attributes:
        row: Cycles of a row.
        entry: Of the instructions around the rows that are worked on at a time.
        finish: Of those behind the last row of a group.
        about: What the compiler takes for `row`.
        whole: Whether it is done behind a chunk only.
        untouched: Whether rows are counted only, so that it can be done before they are there.
    """

    row: float
    entry: float
    finish: float
    about: int
    whole: bool
    untouched: bool


@of_core
def chunk_of(
    h: Hardware,
    stage: Stage,
    panel: Panels,
    columns: int,
    rows: int,
    costs: RowCosts,
    drain: float,
) -> tuple[float, float, float, float]:
    """Cycles of the first chunk, of one behind others, and what is left to do behind the last; and of
    a chunk behind others what is done at one go between its products.

    Args:
        h: The machine.
        stage: Of the chunk.
        panel: How weights pass through Matrix SRAM.
        columns: Of the chunk.
        rows: Of the tile.
        costs: Of the work on results.
        drain: Cycles from the last product of a tile to its rows in Vector SRAM.
    """
    g = h.geometry
    assert isinstance(g, Geometry)
    number = -(-columns // panel.rows)
    groups = -(-rows // g.group)
    one = stage.cycles
    early = stage.early(number * groups)
    if costs.whole:
        behind = number * (groups * one + stage.around) + groups * stage.last
        behind += drain + rows * costs.row - early
        return behind, behind, 0.0, 0.0
    cost, entry, finish = costs.row, costs.entry, costs.finish
    at_once = rows_at_once(g, panel, columns, costs.about) if cost else g.group
    places = stage.slices
    hidden = hidden_tiles(g, panel) * stage.rows * panel.ways
    turn = stage.more(entry + at_once * cost)
    done = (stage.more(entry + at_once * cost + finish) - turn) / g.group
    # A group that is finished at one go, found and left.
    whole = entry + finish + body(h, FINISH_ALL).cycles
    broken = stage.early(number)
    ready = fresh = 0.0  # rows of results that may be worked on, or soon
    cycles = before = lumps = 0.0
    for _ in range(2):
        before, lumps = cycles, 0.0
        for n in range(number):
            cycles += stage.around
            if 0 < n < number - 1:
                cycles += groups * one
                ready, fresh = ready + fresh, 0.0
                continue
            for group in range(groups):
                if n == 0:
                    free = groups - 1 - (group if number > 1 else 0)
                    due = ready + fresh - free * g.group
                    if due > 0:
                        lumps += max(0.0, due * (cost + whole / g.group) - broken)
                        ready, fresh = max(0.0, ready + fresh - due), 0.0
                cycles += one
                if ready or fresh:
                    turns = min(-(-ready // at_once), places)
                    new = min(ready, turns * at_once)
                    soon = 0.0
                    if fresh:
                        more = max(0.0, min(places - turns, places - hidden))
                        soon = min(fresh, more * at_once)
                        turns += -(-soon // at_once)
                    cycles += turns * turn + (new + soon) * done
                    ready, fresh = ready - new + fresh - soon, 0.0
                if n == number - 1:
                    fresh = min(g.group, rows - group * g.group)
                    cycles += stage.last
        cycles += lumps
    left = ready + fresh
    # The instructions behind the last tile run while its results leave the array.
    under = stage.between + stage.around + left // g.group * whole
    under = min(drain, under + (left * cost if costs.untouched else 0.0))
    last = left * cost + -(-left // g.group) * whole - early
    return before, cycles - before, drain - under + last, lumps


@dataclass(frozen=True)
class Stream:
    """The weights of a product on their way through the DMA engine.

    Attributes:
        h: The machine.
        panel: How they pass through Matrix SRAM.
        panels: So many, the last one perhaps not a whole one.
        memory: Cycles for which a panel keeps the memory.
        issue: Cycles in which a piece is asked for, and of them each descriptor.
        descriptor: See there.
    """

    h: Hardware
    panel: Panels
    panels: float
    memory: float
    issue: float
    descriptor: float

    @classmethod
    def of(
        cls,
        h: Hardware,
        panel: Panels,
        weights: Stored,
        outputs: int,
        sharers: int = 1,
        together: float = 0.0,
    ) -> "Stream":
        """Of a matrix with so many rows.

        Args:
            h: The machine.
            panel: How weights pass through Matrix SRAM.
            weights, outputs: The matrix, and how many rows of it one core has.
            sharers: Cores that have some.
            together: Cycles for which a row of outputs keeps the memory while all of them stream.
        """
        g = h.geometry
        assert isinstance(g, Geometry)
        inputs = weights.columns
        rows = panel.rows * panel.blocks * panel.ways
        transfers = panel.pieces(g) * panel.blocks * panel.ways
        columns = inputs / panel.blocks  # the last block may have less
        parts = [(float(rows), columns * weights.bits / 8, weights.pitch)]
        if weights.scaled:
            pitch = (weights.piece or inputs) // weights.block
            parts.append((float(rows), columns / weights.block, pitch))
        shared = h.shared(sharers).memory
        memory = shared.streamed(tuple(parts), transfers, before=True)
        memory = max(memory, together * panel.rows)
        descriptor = body(h, "dma int int ctl").cycles if panel.blocks > 1 else 1.0
        issue = body(h, piece_text(panel, g, weights)).cycles
        return cls(h, panel, outputs / panel.rows, memory, issue, descriptor)

    @cached_property
    def pieces(self) -> int:
        """Of a panel."""
        assert isinstance(self.h.geometry, Geometry)
        return self.panel.pieces(self.h.geometry)

    @cached_property
    def descriptors(self) -> int:
        """Of a piece."""
        return self.panel.blocks * self.panel.ways

    @cached_property
    def each(self) -> float:
        """Cycles for which a descriptor keeps the memory."""
        return self.memory / (self.pieces * self.descriptors)

    def begin(
        self, stage: float, arriving: float, cleared: float, before: int = 0
    ) -> tuple[float, float]:
        """Cycles from the first instruction to where the first panel's products may be thought to
        begin if none of them waits, and to the memory's first data.

        Args:
            stage: Cycles of a stage.
            arriving: Cycles for which the memory still works on what was asked for before.
            cleared: Work of the core before the first product.
            before: Transfers that this is.
        """
        h, count, each = self.h, self.descriptors, self.each
        latency = h.memory.start + h.memory.latency
        lead = max(0.0, self.issue - count * self.descriptor)
        now = body(h, _BEGIN).cycles
        asked = max(now + lead + self.descriptor + latency, arriving)
        free, done, size, ahead = arriving, before, 1, 0
        ends = [(before, arriving, arriving / before if before else 0.0)]
        latest = 0.0
        wanted = self.pieces * min(1.0, self.panels)
        while ahead < wanted:
            size = min(size, self.pieces - ahead)
            now += lead
            first, amount = now + self.descriptor, min(size, wanted - ahead) * each
            one = amount
            now += count * self.descriptor
            if count > h.memory.queue:
                one = max(one, (latency + one) / h.memory.queue)
            # Served one by one; the queue takes the last one when there is room, and it is there a
            # latency later.
            free = max(free, first + latency) + count * one
            done += count
            ends.append((done, free, one))
            waited = done - h.memory.queue
            for index, end, apart in ends:
                if 0 < waited <= index:
                    now = max(now, end - (index - waited) * apart)
                    break
            free = max(free, now + latency + amount)
            ends[-1] = (done, free, one)
            latest = max(latest, free - ahead / self.pieces * stage)
            ahead += size
            size = 2 * size if ahead > 1 else 1
        return max(now + cleared, latest), asked

    def period(
        self, core: float, lead: float, other: float = 0.0, transfers: float = 0.0
    ) -> tuple[float, float]:
        """Cycles from a piece to the next one where core and array take `core` cycles for it: by ways
        round that lead through the core's work, and by those that do not.

        A way round that leads over the queue: the core asks for a piece, the memory answers a
        latency later and serves what does not fit into the queue, the core multiplies; or the same
        over several pieces. Another one leads over a panel's pieces: a piece is asked for, is there,
        and is multiplied a panel later.

        Args:
            core: Of instructions and products, waits left aside.
            lead: From the first product with a piece to where the piece is asked for that takes
                its place.
            other: Cycles for which other transfers between the two keep the memory.
            transfers: How many those are.
        """
        h, count, each = self.h, self.descriptors, self.each
        queue = h.memory.queue
        latency = h.memory.start + h.memory.latency
        beside = max(count * each + other, count * (latency + each) / queue)
        beside = max(beside, (lead + latency + other + count * each) / self.pieces)
        longest = core
        multiplied = core - (count - 1) * self.descriptor
        # Others are served while the core multiplies, or wait with the piece.
        behind = max(0.0, other - multiplied)
        for pieces in range(1, 5):
            for crossed in range(1, pieces + 1):
                served = (pieces - crossed + 1) * (count + transfers) - queue
                if served >= 1:
                    served = min(served, (pieces - crossed + 1) * count)
                    way = multiplied + behind + (crossed - 1) * core + latency + served * each
                    longest = max(longest, way / pieces)
        return longest, beside

    @property
    def backlog(self) -> float:
        """Cycles that the memory has to do when a piece has been asked for, if it is the limit."""
        return min(self.h.memory.queue, self.pieces * self.descriptors) * self.each


@dataclass(frozen=True)
class Product:
    """A tile of rows, all outputs.

    Attributes:
        h: The machine.
        panel: How weights pass through Matrix SRAM.
        pitch: Elements between column blocks of the tile.
        rows: Of the tile.
        outputs: Rows of the matrix.
        stream: The weights.
        costs: Of the work on results.
        loading: Cycles for which rows that a chunk's results are added to keep the memory; 0: none.
        storing: Cycles for which a chunk's results do.
        clear: Of the core, for lanes that will not all be written.
        drain: Cycles from the last product of a tile to its rows in Vector SRAM.
    """

    h: Hardware
    panel: Panels
    pitch: int
    rows: int
    outputs: int
    stream: Stream
    costs: RowCosts
    loading: float
    storing: float
    clear: float
    drain: float

    def cycles(self, arriving: float, before: int) -> tuple[float, float]:
        """Cycles of the core, and those for which the memory then still works on results.

        Args:
            arriving: Cycles for which the memory still works on what was asked for before.
            before: Transfers that this is.
        """
        h, stream, costs = self.h, self.stream, self.costs
        g = h.geometry
        assert isinstance(g, Geometry)
        groups = -(-self.rows // g.group)
        full, rest = divmod(self.outputs, g.width)
        latency = h.memory.start + h.memory.latency
        cleared, paced = self.clear, 0.0
        multiplied = panels = lumps = places = 0.0
        for columns, times in [(g.width, full)] * bool(full) + [(rest, 1)] * bool(rest):
            number = -(-columns // self.panel.rows)
            stage = stage_of(h, self.panel, self.pitch, number, costs.whole, self.loading > 0)
            once, again, end, at_one_go = chunk_of(
                h, stage, self.panel, columns, self.rows, costs, self.drain
            )
            if self.loading and groups > h.memory.queue:  # asked for as the first panel meets them
                each = (latency + self.loading / groups) / h.memory.queue
                paced = groups * max(0.0, each - stage.cycles)
            last_chunk = (again if times > 1 else once) + paced
            multiplied += once + (times - 1) * again + times * paced
            panels += times * number
            lumps += (times - 1) * at_one_go
            places += (times - 1) * min(groups, stream.pieces) * (at_one_go > 0)
        if full:
            multiplied += cleared
            cleared = 0.0
        # The words of the first chunk, and of the first group of results.
        cleared += body(h, f"im im im im int im im int im int im {GROUP}").cycles
        begin, asked = stream.begin(stage.cycles, arriving, cleared, before)
        chunks = full + bool(rest)
        core = (multiplied - lumps) / panels
        loaded = max(0.0, min(panels, stream.panels) - 1)
        share = loaded / max(1, panels - 1)
        waits = self._waits(stage, core, loaded, number == 1, lumps * share, places * share)
        # Either that, or the memory is the limit. Then behind the last weights the groups of rows but
        # the first meet the last panel, or those that waited until the queue had room; or behind the
        # last rows that results are added to the work on a group is left.
        busy = asked + stream.panels * stream.memory
        busy += (chunks - 1) * (self.loading + self.storing)
        alone = (groups - 1) * stage.cycles + stage.cycles / stream.pieces
        queued = core - stream.backlog if loaded > 0 else 0.0
        rows_before = 0.0  # asked for before the last weights
        if number > 1:
            among = groups * (1 - 1 / stream.pieces) // 1 + 1 if number == 2 else groups
            rows_before = self.loading * among / groups
        through = begin + multiplied + waits
        longest = max(through + end, busy + rows_before + max(alone, queued) + end)
        group = min(self.rows, g.group) * costs.row
        longest = max(longest, busy + self.loading + group)
        if self.loading and chunks > 1:  # the last chunk's rows are asked for as it begins
            # Behind the last rows of the chunk before, which go to memory first.
            moved = latency + self.storing / groups + self.loading
            work = group + costs.entry + costs.finish
            longest = max(longest, through - last_chunk + moved + work)
        ends = busy + self.loading + self.storing
        return longest, max(self.storing / groups, ends - longest)

    def _waits(
        self, stage: Stage, core: float, loaded: float, one_panel: bool, lumps: float, places: float
    ) -> float:
        """Cycles for which the core waits for weights, or for room in the queue.

        Args:
            stage: Of the last chunk.
            core: Cycles of a panel's products and instructions.
            loaded: Panels that are multiplied while others are loaded.
            one_panel: Whether a chunk has one panel.
            lumps: Cycles of groups that are finished at one go.
            places: Pieces that are asked for behind such work.
        """
        h, stream = self.h, self.stream
        g = h.geometry
        assert isinstance(g, Geometry)
        groups, chunks = -(-self.rows // g.group), -(-self.outputs // g.width)
        pieces = stream.pieces
        # What a panel takes while a piece of the next one is asked for.
        piece = core / pieces + stage.more(stream.issue + body(h, PIECE_DUE).cycles)
        lead = stage.tails[-1]  # a block of columns is there before its product
        through, beside = stream.period(piece, lead)
        by_core, by_memory = loaded * pieces * through, loaded * pieces * beside
        if self.loading:  # behind a chunk's first panel rows that results are added to come between
            among = min(loaded, chunks) * pieces
            moved, transfers = self.loading, groups
            if one_panel and chunks > 1 and groups > 1:  # and those of groups before
                moved, transfers = moved + self.storing, 2 * groups
            others = stream.period(piece, lead, moved / pieces, transfers / pieces)
            by_core += among * (others[0] - through)
            by_memory += among * (others[1] - beside)
        if places:  # where a group is finished at one go, the memory may have nothing left to do
            idle = piece + h.memory.start + h.memory.latency - stream.backlog
            by_core += lumps
            by_memory += places * (max(0.0, idle + lumps / places) - max(0.0, idle))
        return max(by_core, by_memory) - loaded * core - lumps
