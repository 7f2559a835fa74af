"""Closed form of attention, as `npuvp.compiler.attention` lays it out: a pipeline of units over
rounds.

In a round the products of one unit are issued one by one, each with a part of the rows of another
unit's softmax behind it. A product takes what the array needs for it, or what those rows and the
instructions around them take to issue, whichever is more.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from npuvp.analytical.schedule import Work, addition, body, repeat
from npuvp.analytical.smoothing import folds
from npuvp.compiler.key_tiles import KeyTiles

if TYPE_CHECKING:
    from npuvp.analytical.phases import Phases

__all__ = ["attention"]

BF16_BYTES = 2
_STAGE = "im int int int"
#: Rounds from a unit's first stage to its outputs.
_OUTPUTS = 4
#: Heads of a group that are looked at one by one.
_HEADS = 8


@dataclass(frozen=True)
class _Sizes:
    """Of the rounds of a call.

    Attributes:
        tiles: Of keys.
        rows: Of a group of queries, and how many groups there are for a head.
        outputs, scores: Tiles of the array that a unit's products fill.
        visits: Times that keys and values are loaded; units of each.
        hidden: For every block of the lanes of a tile, whether a mask of keys is applied.
        masks: How often one is loaded.
    """

    tiles: KeyTiles
    rows: int
    groups: int
    outputs: int
    scores: int
    visits: int
    units: int
    hidden: tuple[bool, ...]
    masks: int

    @property
    def masks_differ(self) -> bool:
        """Whether units look whether theirs is another mask."""
        return self.masks > 1


def attention(phases: "Phases", items: int) -> Work:
    """Softmax(q k^T) v of so many rows of the batch and groups of heads that are moved together."""
    if items == 0:
        return phases._fence(Work())
    spec, g, call, h = phases.spec, phases.geometry, phases.call, phases.hardware
    tiles = phases.layout.key_tiles
    groups = -(-call.count // g.group)
    rows = -(-call.count // groups)
    per_item = spec.group * groups * tiles.together * tiles.count
    visits = items if tiles.count == 1 else items * per_item
    sizes = _Sizes(
        tiles,
        rows,
        groups,
        -(-spec.head_dim // g.blen),
        tiles.key_rows // g.blen,
        visits,
        items * per_item // visits,
        *_masks(phases, visits),
    )
    total = Work()
    # Slots and words, and the divisions of the rows.
    products = sizes.outputs + sizes.scores
    divided = -(-rows // products) + (rows if groups > 1 else 0)
    total.add(body(h, repeat("int im", 88) + " ctl ctl ctl ctl ctl"))
    total.add(body(h, "br int int br", divided))
    number = visits * sizes.units
    key = ("attention", tiles, rows, sizes.outputs, sizes.scores, sizes.hidden, sizes.masks_differ)
    issued: _Issued = h.parts.get(key) or h.parts.keep(key, _issued(phases, sizes))
    row, during, after, made = issued
    transfers, loads = _transfers(phases, sizes)
    folded = Work()
    if phases.layout.smoothed_cache and not call.warm:
        per_group = items * spec.group * groups
        for part in folds(phases, rows, tiles.together * spec.head_dim):
            folded.add(part, per_group)
    if h.classes.blocking:
        unit = Work()
        unit.add(during)
        unit.add(after)
        unit.add(row, rows)
        unit.add(made)
        total.add(unit, number)
        total.add(transfers)
        total.add(folded)
        return phases._fence(total)
    total.cycles += _Rounds(phases, sizes, row.cycles, loads).cycles()
    phases.debt = 0.0
    for part, times in ((during, number), (after, number), (row, number * rows), (made, number)):
        total.beside(part, times)
    total.beside(transfers)
    total.add(folded)
    return phases._fence(total)


class _Rounds:
    """The rounds of a call, one after the other: what they issue, and what they wait for.

    In a round a unit enters, another one's scores are made, another one is in softmax and another
    one's outputs are made (see `npuvp.compiler.attention`). Units with other keys and values come
    again and again: when two such visits in a row take the same time, so do all others.
    """

    def __init__(
        self, phases: "Phases", sizes: _Sizes, row: float, loads: dict[str, float]
    ) -> None:
        h, tiles = phases.hardware, sizes.tiles
        self.sizes, self.loads = sizes, loads
        self.latency = h.memory.start + h.memory.latency
        self.queue = h.memory.queue
        self.memory_free = phases.debt + self.latency
        self.pending: list[float] = []

        def issue(text: str) -> float:
            return body(h, text).cycles

        several = tiles.count > 1
        stream = float(h.matrix[0] if h.matrix_table else h.blen + h.matrix[0])
        skew = 0.0 if h.matrix_table else 2.0 * (h.blen - 1) + h.matrix[1]
        sets = 2 if h.overlapping_tiles and not h.matrix_table else 1
        port = max(float(h.writeout[0]), 0.0 if h.matrix_table else float(h.tile_rows))

        def array(parts: int) -> tuple[float, float]:
            """Of a tile of that many products: from it to the next one, and behind the last one."""
            streams = parts * stream
            if sets > 1:
                return max(streams, (streams + skew) / 2, port), streams
            return max(streams + skew, port), streams + skew

        #: From a product to the next one: the array, behind the last one, and instructions.
        part = "im br int br"
        step = repeat("int", addition(h.mlen * h.mlen) + 1)
        more = repeat(f"int {step}", tiles.parts - 1)
        back = repeat("int", 4 if tiles.parts > 1 else 1)  # to the next panel of channels
        self.output = (*array(tiles.parts), issue(f"int {more} {part} int {back} int ctl"))
        panel = f"int {part} int {repeat('int', addition(h.blen * h.mlen))} int ctl"
        self.score = (*array(1), issue(panel + (" int int br" if tiles.blocks > 1 else "")))
        #: From the end of the array's work to rows in Vector SRAM.
        self.settled = phases._drain()
        self.row = row
        products = sizes.outputs + sizes.scores
        self.part = -(-sizes.rows // products)
        together = tiles.together > 1
        self.alone = body(h, "vmul3. int int int int br", sizes.rows).cycles if together else 0.0
        merged = body(h, "fm vmul2. vadd3. int int int int int br").cycles * sizes.rows
        self.merged = merged if several else 0.0
        table = repeat("int ctl", 4)
        begin = f"{_STAGE} im im int int im int int"
        begin += " im im int int int br int int" if several else ""
        begin += " im im im im im br" if together else ""
        self.begin = issue(begin)
        self.before_outputs = issue(f"{_STAGE} im br im im im ctl")
        self.ask_values = issue(f"{_STAGE} im im im br br")
        self.load_rows = issue(f"im im int int {table} dma")
        self.before_scores = issue(f"{_STAGE} im br im im im ctl")
        self.ask_next = issue("im br" + (f" {_STAGE} im im im br br" if tiles.buffers == 1 else ""))
        self.load_group = issue(f"im im im im {table} dma")
        self.rest = issue("int br freci vmul2.")
        mask = f"{_STAGE} im im im br br" if sizes.masks_differ else ""
        self.mask = issue(mask) if mask else 0.0
        self.finish = issue(f"{_STAGE} im br im int br")
        self.store_group = issue(f"im im im {table} dma")
        after = "im int int int im im br"
        after += " im br int int im br im int im im int im im int im im br" if together else ""
        self.after = issue(after)
        self.unit = issue(repeat("im", 17) + " int im im int int br im")
        self.enter = issue(
            repeat("im", 25) + repeat(" im int", 9) + repeat(" int", 8) + " br br br"
        )
        self.visit = issue(" ".join(["im int im"] * 4) + " int im br")

    def _load(self, now: float, keeps: float) -> tuple[float, float]:
        """A load that is issued now: when the queue has taken it, and when it is there."""
        if len(self.pending) >= self.queue:
            now = max(now, self.pending[-self.queue])
        there = max(self.memory_free, now + self.latency) + keeps
        self.memory_free = there
        self.pending.append(there)
        return now, there

    def _products(
        self, now: float, number: int, left: int, figures: tuple[float, float, float]
    ) -> tuple[float, float, int]:
        """Products with a part of the softmax behind each: when they are issued, when the array is
        free again, and rows that are left."""
        array, last, issued = figures
        whole = issued + self.part * self.row
        full = left // self.part
        if full >= number:
            begun = now + (number - 1) * (whole if whole > array else array)
            return begun + whole, begun + last, left - number * self.part
        # Some with a whole part, one with the rest, and none with the others.
        rest = issued + left % self.part * self.row
        begun = now + full * (whole if whole > array else array)
        behind = number - 1 - full
        if behind:
            alone = issued if issued > array else array
            begun += (rest if rest > array else array) + (behind - 1) * alone
            rest = issued
        return begun + rest, begun + last, 0

    def cycles(self) -> float:
        """From the first round to the last stores."""
        sizes, loads = self.sizes, self.loads
        tiles = sizes.tiles
        # Heads in the midst of a group and groups in the midst of a visit are all alike: of many,
        # some stand for those that are left out.
        together = min(tiles.together, _HEADS)
        groups = sizes.units // tiles.together
        simulated_groups = min(groups, max(4, 3 - -8 // together))
        visits, units = sizes.visits, simulated_groups * together
        group_ends = 0.0
        keys: dict[int, float] = {}
        queries: dict[int, float] = {}
        values: dict[int, float] = {}
        made: dict[int, float] = {}
        begins: list[float] = []
        simulated = visits
        now = array = 0.0
        round_ = 0
        number = visits * units
        end = 0.0
        products, settled, row, rows = self._products, self.settled, self.row, sizes.rows
        outputs, scores, output_of, score_of = sizes.outputs, sizes.scores, self.output, self.score
        begin, after, ask_next = self.begin, self.after, self.ask_next
        before_scores, finished = self.before_scores, self.rest + self.finish
        before_outputs = self.before_outputs
        stored = together if tiles.count == 1 else tiles.count
        while round_ <= number + _OUTPUTS:
            began = now
            first, scored, softmax, output = round_ - 1, round_ - 2, round_ - 4, round_ - 5
            enters = 0 <= first < number
            has_scores, has_softmax = 0 <= scored < number, 0 <= softmax < number
            has_outputs = 0 <= output < number
            new_group = enters and first % together == 0
            if new_group:
                now += self.enter
                if first % units == 0:
                    now += self.visit
                    begins.append(now)
                    count = len(begins)
                    if round_ > 2 * _OUTPUTS + units and 2 < count < visits - 2:
                        period, before = begins[-1] - begins[-2], begins[-2] - begins[-3]
                        if abs(period - before) < 0.01 * period or count > 5:
                            # All others but the last ones take as long.
                            end += (simulated - count - 2) * (begins[-1] - begins[-3]) / 2
                            number -= (simulated - count - 2) * units
                            simulated = visits = count + 2
            if enters:
                now += self.unit
            now += begin
            group = first // together
            left = rows if has_softmax else 0
            if together > 1 and enters:
                now = max(now, queries[group])
                if not has_softmax:
                    now += self.alone
            if has_softmax and made[softmax] > now:  # its scores have left the array
                now = made[softmax]
            now += before_outputs
            out_at = 0.0
            if has_outputs:
                now = max(now, array, values[output // units])
                now, array, left = products(now, outputs, left, output_of)
                out_at = array + settled
            now += self.mask
            if self.mask and has_softmax:
                now, _ = self._load(now, loads["mask"])
            now += self.ask_values
            if has_softmax and softmax % units == 0:
                now, values[softmax // units] = self._load(now + self.load_rows, loads["values"])
            now += before_scores
            if has_scores:
                now = max(now, array, keys[scored // units], queries[scored // together])
                now, array, left = products(now, scores, left, score_of)
                made[scored] = array + settled
            now += ask_next
            # The next group, and its keys.
            following = group + 1 if enters else 0
            if (new_group or round_ == 0) and following * together < number:
                now, queries[following] = self._load(now + self.load_group, loads["queries"])
                visit, behind = divmod(following * together, units)
                if behind == 0 and tiles.buffers > 1:
                    now, keys[visit] = self._load(now + self.load_rows, loads["keys"])
            if tiles.buffers == 1 and enters and first % units == 0:
                now, keys[first // units] = self._load(now + self.load_rows, loads["keys"])
            now += left * row + finished
            if has_outputs:
                if self.merged and output % tiles.count:
                    now = max(now, out_at) + self.merged
                if (output + 1) % stored == 0:
                    now = max(now + self.store_group, out_at)
                    if len(self.pending) >= self.queue:
                        now = max(now, self.pending[-self.queue])
                    self.memory_free = max(self.memory_free, now + self.latency) + loads["written"]
                    self.pending.append(max(now, self.memory_free - self.latency))
            now += after
            round_ += 1
            if not enters:
                continue
            left_out = 0.0
            if first % together == _HEADS - 3:
                left_out = (tiles.together - together) * (now - began)
            elif (first + 1) % together == 0:
                if first % units // together == simulated_groups - 2:
                    left_out = (groups - simulated_groups) * (now - group_ends)
                    self.memory_free += left_out
                    self.pending = [time + left_out for time in self.pending[-self.queue :]]
                    for times in (keys, queries, values):
                        for index in times:
                            times[index] += left_out
                group_ends = now
            if left_out:
                now += left_out
                array += left_out
                made = {u: time + left_out for u, time in made.items() if u > first - _OUTPUTS}
        return now + end + loads["store"]


class _Issued(NamedTuple):
    """What does not depend on the memory.

    Attributes:
        row: Of the softmax.
        during, after: Instructions of a round up to the end of a unit, and behind it.
        made: Products of a unit.
    """

    row: Work
    during: Work
    after: Work
    made: Work


def _issued(phases: "Phases", sizes: _Sizes) -> _Issued:
    g, h, tiles = phases.geometry, phases.hardware, sizes.tiles
    row = body(h, _row(sizes, g.group * g.width))
    during, after = (body(h, text) for text in _overhead(sizes, g.blen * g.mlen))
    made = Work()
    made.add(phases._tile_products(tiles.parts, "", 1, sizes.outputs, g.mlen))
    made.add(phases._tile_products(1, "", 1, sizes.scores))
    return _Issued(row, during, after, made)


def _masks(phases: "Phases", visits: int) -> tuple[tuple[bool, ...], int]:
    """Where a mask of keys is applied, and how often one is loaded."""
    tiles = phases.layout.key_tiles
    if not phases.layout.shape.block:
        hidden = tuple(tiles.has_hidden)
        return hidden, (1 if tiles.count == 1 else visits) * any(hidden)
    # Calls see different keys; there is room for two masks.
    return (True,) * tiles.blocks, 2 if tiles.count == 1 else visits


def _row(sizes: _Sizes, pitch: int) -> str:
    """The loop over rows of stages 0 and 3."""
    tiles = sizes.tiles
    several = tiles.count > 1

    def each(text: str) -> str:
        return " ".join(
            f"{repeat('int', addition(block * pitch)) if block else ''} {text}"
            for block in range(tiles.blocks)
        )

    maxima = []
    for block in range(tiles.blocks):
        address = repeat("int", addition(block * pitch)) if block else ""
        hidden = sizes.hidden[block]
        select = f"{'int' if tiles.blocks > 1 or several else ''} vsel4." if hidden else ""
        first = ("fm" if several else "fp") if block == 0 else ""
        maxima.append(f"{address} {select} {first} vmax1.")
    scalars = "fp fm fm fm fm fp fp fexp. fp. fp fm" if several else "fp"
    own = "vmul3" if tiles.together > 1 else ""
    pointers = 7 if several else 6 if tiles.together > 1 else 4
    return " ".join(
        [
            *maxima,
            "freci",
            scalars,
            own,
            each("vmul2"),
            each("vadd2. vmul2. vexp2. vsum1."),
            repeat("int", pointers),
            "br",
        ]
    ).replace("vsum1.", "vsum1")


def _overhead(sizes: _Sizes, step: int) -> tuple[str, str]:
    """Instructions of a round beside rows and products: up to the end of a unit, and from there to
    the next round's first product."""
    tiles = sizes.tiles
    several = tiles.count > 1
    enter = "im im im im im im im im im im im im im im im int im im int int int br im"
    begin = f"{_STAGE} im im int int int int int"
    begin += " im im int int int br int int" if several else " int int"
    if tiles.together > 1:
        begin += " im im im im im br"
    outputs = f"{_STAGE} im br im im im ctl"
    back = "int int int int" if tiles.parts > 1 else "int"
    outputs += repeat(f" im br int br {back} int ctl", sizes.outputs)
    values = f"{_STAGE} im im im br br"
    scores = f"{_STAGE} im br im im im ctl"
    panel = " im br int br int ctl " + repeat("int", addition(step))
    if tiles.blocks > 1:
        panel += " int int br"
    scores += repeat(panel, sizes.scores)
    rest = "im br int br freci vmul2."
    if tiles.buffers == 1:
        rest += f" {_STAGE} im im im br br"
    if sizes.masks_differ:
        rest += f" {_STAGE} im im im br br"
    finish = f"{_STAGE} im br im int int br"
    after = "im int int int im"
    if tiles.together > 1:
        after += " im br int int im br im int im im int im im int int im br"
    # A group enters, its successor is loaded, its outputs are stored.
    if tiles.together == 1:
        after += repeat(" im im", 9) + repeat(" im int", 31) + repeat(" br", 7)
        finish += repeat(" im int int ctl", 14)
    during = " ".join([outputs, values, scores, rest, finish])
    return during, " ".join([after, enter, begin])


def _transfers(phases: "Phases", sizes: _Sizes) -> tuple[Work, dict[str, float]]:
    """All transfers, and cycles for which those of a visit keep the memory."""
    spec, call, h = phases.spec, phases.call, phases.hardware
    tiles = sizes.tiles
    columns = tiles.together * spec.head_dim
    pitch = BF16_BYTES * spec.heads * spec.head_dim * call.batch
    latency = h.memory.start + h.memory.latency
    work = Work()
    loads = {}
    memory = h.memory
    for role in ("keys", "values"):
        fresh = phases.layout.quantised_cache and call.warm
        table = phases.layout.stored[f"fresh_{role}" if fresh else role]
        work.add(phases._head_rows(table, tiles.keys, columns), sizes.visits)
        rows = [(float(tiles.keys), float(table.bytes_of(columns)), table.pitch * call.batch)]
        if table.scaled:
            scales = call.batch * table.columns // table.block
            rows.append((float(tiles.keys), columns / table.block, scales))
        loads[role] = memory.streamed(tuple(rows), 1, before=True)
    width = BF16_BYTES * columns
    queries = phases._load(sizes.rows, width, pitch)
    store = phases._store(sizes.rows, width, pitch)
    loads["queries"] = memory.streamed(((float(sizes.rows), float(width), pitch),), 1, before=True)
    loads["store"] = store.cycles
    per_visit = sizes.units / tiles.together
    work.add(queries, sizes.visits * per_visit)
    work.add(store, sizes.visits * per_visit / tiles.count)
    loads["written"] = store.written / h.memory.bytes_per_cycle
    loads["mask"] = 0.0
    if sizes.masks:
        mask = phases._load(tiles.blocks, BF16_BYTES * phases.geometry.width)
        loads["mask"] = mask.cycles - latency
        work.add(mask, sizes.masks)
    return work, loads
