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
    row, during, after, made, round_ = issued
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
    # Values wait for the last products with the ones before, and for what is queued before them;
    # with one buffer keys wait for the last scores.
    latency = h.memory.start + h.memory.latency
    lead = (_OUTPUTS - 1 - sizes.units + tiles.together) % sizes.units
    queued = max(0.0, loads["ahead"] - lead * round_)
    stall = max(0.0, latency + loads["values"] - round_)
    behind = max(0.0, latency + queued + loads["values"] - round_)
    # Several groups' queries and keys are loaded before the first values.
    ahead = min(visits, (_OUTPUTS - 1) // sizes.units + 2)
    if tiles.buffers == 1:
        stall += max(0.0, latency + loads["keys"] - round_ * (1 - sizes.scores / products))
        behind = stall
        ahead = 1
    visit = sizes.units * round_ + stall
    # The first units have no softmax beside them, the last one nothing beside its outputs.
    alone = body(h, "vmul3. int int int int br", rows).cycles if tiles.together > 1 else 0.0
    stream = h.blen + h.matrix[0]
    # Few units leave stages empty, and then nothing enters.
    filled = min(1.0, (number + 2) / (2 * _OUTPUTS))
    entered = (_OUTPUTS - 1) * (during.cycles * filled + alone)
    entered += min(_OUTPUTS - 1, number - 1) * after.cycles
    first = latency + loads["queries"] + loads["keys"] + after.cycles + rows * row.cycles
    first += max(entered, stream * sizes.scores + _settled(phases))
    moved = latency + ahead * loads["ahead"] + loads["values"]
    total.cycles += max(first, moved)
    total.cycles += (visits - ahead) * max(
        sizes.units * round_ + behind, loads["ahead"] + loads["values"]
    )
    total.cycles += (ahead - 1) * visit + (sizes.units - 1) * round_
    if tiles.together == 1:  # nothing enters behind the last ones
        total.cycles -= min(number - 1, _OUTPUTS) * (after.cycles - 34)
    total.cycles += stream * sizes.outputs * tiles.parts + _settled(phases) + loads["store"]
    for part, times in ((during, number), (after, number), (row, number * rows), (made, number)):
        total.beside(part, times)
    total.beside(transfers)
    total.add(folded)
    return phases._fence(total)


class _Issued(NamedTuple):
    """What does not depend on the memory.

    Attributes:
        row: Of the softmax.
        during, after: Instructions of a round up to the end of a unit, and behind it.
        made: Products of a unit.
        round: Cycles of a round in which all stages have a unit, on a core with a scoreboard.
    """

    row: Work
    during: Work
    after: Work
    made: Work
    round: float


def _issued(phases: "Phases", sizes: _Sizes) -> _Issued:
    g, h, tiles = phases.geometry, phases.hardware, sizes.tiles
    row = body(h, _row(sizes, g.group * g.width))
    during, after = (body(h, text) for text in _overhead(sizes, g.blen * g.mlen))
    made = Work()
    made.add(
        phases._tile_products(
            tiles.parts, repeat("int", 4) + " im br int br ctl", 1, sizes.outputs, g.mlen
        )
    )
    made.add(phases._tile_products(1, repeat("int", 2) + " im br int br ctl", 1, sizes.scores))
    round_ = 0.0
    if not h.classes.blocking:
        round_ = _round(phases, sizes, row.cycles, during.cycles, after.cycles)
    return _Issued(row, during, after, made, round_)


def _masks(phases: "Phases", visits: int) -> tuple[tuple[bool, ...], int]:
    """Where a mask of keys is applied, and how often one is loaded."""
    tiles = phases.layout.key_tiles
    if not phases.layout.shape.block:
        hidden = tuple(tiles.has_hidden)
        return hidden, (1 if tiles.count == 1 else visits) * any(hidden)
    # Calls see different keys; there is room for two masks.
    return (True,) * tiles.blocks, 2 if tiles.count == 1 else visits


def _settled(phases: "Phases") -> float:
    """Cycles from the end of a product's operands to its rows in Vector SRAM."""
    h = phases.hardware
    if h.matrix_table:
        return 0.0
    skew = 2 * (h.blen - 1) + h.matrix[1]
    return phases._drain() + (0 if h.overlapping_tiles else skew)


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
    outputs += repeat(" im br int br int int int ctl", sizes.outputs)
    values = f"{_STAGE} im im im br br"
    scores = f"{_STAGE} im br im im im ctl"
    panel = " im br int br ctl int" + repeat(" int", addition(step))
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


def _round(phases: "Phases", sizes: _Sizes, row: float, during: float, after: float) -> float:
    """Cycles of a round in which all stages have a unit.

    Args:
        phases, sizes: Of what.
        row: Cycles of a row of the softmax.
        during, after: Of the instructions up to the end of a unit and behind it.
    """
    h, tiles, rows = phases.hardware, sizes.tiles, sizes.rows
    products = sizes.outputs + sizes.scores
    settled = _settled(phases)
    stream = float(h.matrix[0] if h.matrix_table else h.blen + h.matrix[0])
    skew = 0.0 if h.matrix_table else 2.0 * (h.blen - 1) + h.matrix[1]
    sets = 2 if h.overlapping_tiles else 1
    part = -(-rows // products)
    left = rows
    cycles = begun = ended = 0.0
    for product in range(products):
        count = min(part, left)
        left -= count
        output = product < sizes.outputs
        streams = stream * (tiles.parts if output else 1)
        # Sums stay in a set of accumulators until their write-out.
        array = max(streams, (streams + skew) / sets, float(h.writeout[0]))
        if not h.matrix_table:
            array = max(array, float(h.tile_rows))
        begun = cycles
        if output:
            ended = cycles + streams + settled
        behind = after if product + 1 == products else 0.0
        cycles += max(array, count * row + during / products + behind)
    # Scores are there two rounds later; outputs before they are stored or added up.
    cycles = max(cycles, (begun + stream + settled) / 2)
    if tiles.count > 1:
        merged = body(h, "fm vmul2. vadd3. int int int int int br").cycles * rows
        return max(cycles, ended + after) + merged * (1 - 1 / tiles.count)
    group = body(h, repeat("im int int im br ctl", 26)).cycles if tiles.together > 1 else 0.0
    return cycles + (max(0.0, ended + after - cycles) + group) / tiles.together


def _transfers(phases: "Phases", sizes: _Sizes) -> tuple[Work, dict[str, float]]:
    """All transfers, and cycles for which those of a visit keep the memory."""
    spec, call, h = phases.spec, phases.call, phases.hardware
    tiles = sizes.tiles
    columns = tiles.together * spec.head_dim
    pitch = BF16_BYTES * spec.heads * spec.head_dim * call.batch
    latency = h.memory.start + h.memory.latency
    work = Work()
    loads = {}
    for role in ("keys", "values"):
        fresh = phases.layout.quantised_cache and call.warm
        table = phases.layout.stored[f"fresh_{role}" if fresh else role]
        part = phases._head_rows(table, tiles.keys, columns)
        loads[role] = part.cycles - latency
        # A window of requests that is smaller than a transfer is filled again by the next one.
        if loads[role] > 1.5 * part.read / h.memory.bytes_per_cycle:
            loads[role] += latency
        work.add(part, sizes.visits)
    queries = phases._load(sizes.rows, BF16_BYTES * columns, pitch)
    store = phases._store(sizes.rows, BF16_BYTES * columns, pitch)
    loads["queries"], loads["store"] = queries.cycles - latency, store.cycles
    if loads["queries"] > 1.5 * queries.read / h.memory.bytes_per_cycle:
        loads["queries"] += latency
    per_visit = sizes.units / tiles.together
    work.add(queries, sizes.visits * per_visit)
    work.add(store, sizes.visits * per_visit / tiles.count)
    if sizes.masks:
        width = BF16_BYTES * phases.geometry.width
        work.add(phases._load(tiles.blocks, width), sizes.masks)
    loads["ahead"] = loads["keys"]
    loads["ahead"] += per_visit * (loads["queries"] + loads["store"] / tiles.count)
    return work, loads
