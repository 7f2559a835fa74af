"""Closed form of attention, as `npuvp.compiler.attention` lays it out: a pipeline of units over
rounds.

In a round the products of one unit are issued one by one, each with a part of the rows of another
unit's softmax behind it. A product takes what the array needs for it, or what those rows and the
instructions around them take to issue, whichever is more.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from npuvp._core.estimate import RoundCosts, RoundTiles
from npuvp.analytical.machine import Hardware
from npuvp.analytical.schedule import Work, addition, body, repeat
from npuvp.analytical.smoothing import folds
from npuvp.compiler.key_tiles import KeyTiles

if TYPE_CHECKING:
    from npuvp.analytical.phases import Phases

__all__ = ["attention"]

BF16_BYTES = 2
_STAGE = "im int int int"


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
    row, during, after, made, rounds = issued
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
    memory = h.memory
    total.cycles += rounds.cycles(
        visits=visits,
        units=sizes.units,
        latency=memory.start + memory.latency,
        queue=memory.queue,
        debt=phases.debt,
        **loads,
    )
    phases.debt = 0.0
    for part, times in ((during, number), (after, number), (row, number * rows), (made, number)):
        total.beside(part, times)
    total.beside(transfers)
    total.add(folded)
    return phases._fence(total)


def _rounds(h: Hardware, sizes: _Sizes, row: float, settled: float) -> Any:
    """What the rounds of a call issue (`RoundCosts`, tlm/estimate/attention_rounds.h).

    Args:
        h: The machine.
        sizes: Of the rounds.
        row: Cycles of the softmax of a row.
        settled: Cycles from the end of the array's work to rows in Vector SRAM.
    """
    tiles = sizes.tiles

    def issue(text: str) -> float:
        return body(h, text).cycles

    several, together = tiles.count > 1, tiles.together > 1
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

    part = "im br int br"
    step = repeat("int", addition(h.mlen * h.mlen) + 1)
    more = repeat(f"int {step}", tiles.parts - 1)
    back = repeat("int", 4 if tiles.parts > 1 else 1)  # to the next panel of channels
    panel = f"int {part} int {repeat('int', addition(h.blen * h.mlen))} int ctl"
    table = repeat("int ctl", 4)
    begin = f"{_STAGE} im im int int im int int"
    begin += " im im int int int br int int" if several else ""
    begin += " im im im im im br" if together else ""
    mask = f"{_STAGE} im im im br br" if sizes.masks_differ else ""
    after = "im int int int im im br"
    after += " im br int int im br im int im im int im im int im im br" if together else ""
    own = body(h, "vmul3. int int int int br", sizes.rows).cycles
    merged = body(h, "fm vmul2. vadd3. int int int int int br").cycles * sizes.rows

    costs = RoundCosts()
    costs.rows, costs.outputs, costs.scores = sizes.rows, sizes.outputs, sizes.scores
    costs.together, costs.tiles, costs.one_buffer = tiles.together, tiles.count, tiles.buffers == 1
    costs.output = RoundTiles(*array(tiles.parts), issue(f"int {more} {part} int {back} int ctl"))
    costs.score = RoundTiles(*array(1), issue(panel + (" int int br" if tiles.blocks > 1 else "")))
    costs.settled, costs.row = settled, row
    costs.alone = own if together else 0.0
    costs.merged = merged if several else 0.0
    costs.enter = issue(repeat("im", 25) + repeat(" im int", 9) + repeat(" int", 8) + " br br br")
    costs.visit = issue(" ".join(["im int im"] * 4) + " int im br")
    costs.unit = issue(repeat("im", 17) + " int im im int int br im")
    costs.begin = issue(begin)
    costs.before_outputs = issue(f"{_STAGE} im br im im im ctl")
    costs.mask = issue(mask) if mask else 0.0
    costs.ask_values = issue(f"{_STAGE} im im im br br")
    costs.load_rows = issue(f"im im int int {table} dma")
    costs.before_scores = issue(f"{_STAGE} im br im im im ctl")
    costs.ask_next = issue("im br" + (f" {_STAGE} im im im br br" if tiles.buffers == 1 else ""))
    costs.load_group = issue(f"im im im im {table} dma")
    costs.finish = issue("int br freci vmul2.") + issue(f"{_STAGE} im br im int br")
    costs.store_group = issue(f"im im im {table} dma")
    costs.after = issue(after)
    return costs


class _Issued(NamedTuple):
    """What does not depend on the memory.

    Attributes:
        row: Of the softmax.
        during, after: Instructions of a round up to the end of a unit, and behind it.
        made: Products of a unit.
        rounds: Of all of it.
    """

    row: Work
    during: Work
    after: Work
    made: Work
    rounds: Any


def _issued(phases: "Phases", sizes: _Sizes) -> _Issued:
    g, h, tiles = phases.geometry, phases.hardware, sizes.tiles
    row = body(h, _row(sizes, g.group * g.width))
    during, after = (body(h, text) for text in _overhead(sizes, g.blen * g.mlen))
    made = Work()
    made.add(phases._tile_products(tiles.parts, "", 1, sizes.outputs, g.mlen))
    made.add(phases._tile_products(1, "", 1, sizes.scores))
    rounds = _rounds(h, sizes, row.cycles, phases._drain())
    return _Issued(row, during, after, made, rounds)


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
