"""What products take on a core in which nothing overlaps: every instruction takes its whole cost, and
every transfer its whole round trip.

All instructions that `npuvp.compiler.products` emits count here; on a core with a scoreboard most of
them hide under the products.
"""

from dataclasses import dataclass

from npuvp.analytical.machine import Hardware
from npuvp.analytical.schedule import addition, body, repeat
from npuvp.compiler.formats import Stored
from npuvp.compiler.layout import Geometry
from npuvp.compiler.products import Panels, rows_at_once

__all__ = [
    "ADVANCE",
    "AGAIN",
    "FINISH_ALL",
    "GROUP",
    "PIECE_DUE",
    "Chunks",
    "arrival_text",
    "arrivals",
    "finish_text",
    "piece_text",
    "product",
    "stage_text",
    "table_text",
]

#: Of a word that counts down to 0, with the way back.
AGAIN = "im int int im br"
#: Of a word to which something is added.
ADVANCE = "im int im"
#: The next group of results.
GROUP = "im im int int br int im im"
#: Around a group that is finished at one go.
FINISH_ALL = "im int br im im br"
#: A piece of weights is due, and the next one later.
PIECE_DUE = "im int int int im"


@dataclass(frozen=True)
class Chunks:
    """The results of a product, a chunk of columns at a time.

    Attributes:
        entry: Instructions around the rows that are worked on at a time.
        about: What the compiler takes for the cycles of a row.
        row_cycles: Of a row.
        loads, stores: Cycles for which the transfers of a chunk keep the memory.
        loaded, stored: How many transfers of a group there are.
        whole: Whether they are worked on behind a chunk only.
    """

    entry: str
    about: int
    row_cycles: float
    loads: float
    stores: float
    loaded: int
    stored: int
    whole: bool


def table_text(stored: Stored) -> str:
    """How rows stand in memory."""
    return repeat("int ctl", 6 if stored.scaled else 4)


def _converted(stored: Stored) -> str:
    """From bytes of elements in BF16 to those of elements as they are stored."""
    return repeat("int", 4) if stored.bits != 16 else ""


def _moved(stored: Stored | None, transfers: int) -> str:
    """Transfers of a group's rows of a chunk."""
    if stored is None:
        return ""
    text = f"im int im int int int int int int im {_converted(stored)} int int im"
    return repeat(f"{text} {table_text(stored)} dma", transfers)


def stage_text(panel: Panels, g: Geometry, pitch: int, whole: bool) -> str:
    """Instructions of a turn of the loop over output tiles beside products, write-outs, work on
    results and pieces of weights."""
    per_row = g.width // g.mlen
    full, rest = divmod(panel.blocks, per_row)
    step = addition(panel.ways * panel.rows * g.mlen)
    part = repeat("int", addition(g.mlen) + step)
    slice_ = "" if whole else "im br"
    row = " ".join([part] * (per_row - 1))
    if panel.blocks > per_row:
        row += " " + repeat("int", addition(pitch - (per_row - 1) * g.mlen) + step)
    row += f" {slice_}" + (" ctl" if full > 1 else "")
    products = ("ctl " if full > 1 else "") + " ".join([row] * full)
    products += " " + " ".join([part] * max(0, rest - 1)) + ("" if full else f" {slice_}")
    other = repeat("int", addition(panel.rows * g.mlen) + 1) + " im"
    tick = "im int im br" + ("" if whole else " im br")
    last = f"{tick} int int int int im" + (" ctl" if panel.rows > g.blen else "")
    return " ".join([*[f"{products} {other}"] * (panel.ways - 1), f"{products} {last}"])


def finish_text(table: Stored | None, stored: int) -> str:
    """Instructions behind the last row of a group of results, which go to `stored` tables."""
    text = f"{_moved(table, stored)} im int int im im int int im im im int im im br"
    return f"{text} {GROUP}"


def piece_text(panel: Panels, g: Geometry, weights: Stored) -> str:
    """Instructions that load a piece of a panel."""
    several = panel.blocks > 1
    full, rest = divmod(weights.columns, g.mlen)
    step = repeat(
        "int", addition(panel.ways * panel.rows * g.mlen) + addition(weights.step(g.mlen))
    )
    table = table_text(weights)
    blocks = ""
    if full:
        block = f"dma {step if several else ''} {'ctl' if full > 1 else ''}"
        blocks += f"{table} {'ctl' if full > 1 else ''} {repeat(block, full)}"
    if rest:
        blocks += f" {table} dma"
    # Another way's matrix and its place are further on; how its rows stand is known, but for where
    # its scales are, and but behind a loop.
    apart = repeat("int", addition(weights.rows * weights.row_bytes))
    place = repeat("int", addition(panel.rows * g.mlen))
    known = blocks if several else blocks.replace(table, "int ctl" if weights.scaled else "")
    ways = f"im im {blocks}" + repeat(f" im {apart} im {place} {known}", panel.ways - 1)
    return f"im br int br int int im {ways} {ADVANCE} {ADVANCE}"


def _pieces(panel: Panels, g: Geometry, outputs: int) -> tuple[int, int]:
    """Pieces that the weights are loaded in: before the first product, and behind it."""
    piece = rows = panel.rows // panel.pieces(g)
    ahead, step = 1, piece
    while rows < min(panel.rows, outputs):
        ahead += 1
        rows += step
        step *= 2
    return ahead, max(0, -(-(outputs - panel.rows) // piece))


def product(
    h: Hardware,
    panel: Panels,
    rows: int,
    weights: Stored,
    outputs: int,
    chunks: Chunks,
    table: Stored | None,
    stage: float,
    streaming: float,
) -> float:
    """Cycles of a product with streamed weights and of the work on its results.

    Args:
        h: The machine.
        panel: How weights pass through Matrix SRAM.
        rows: Of the tile.
        weights, outputs: The matrix, and how many rows it has.
        chunks: What becomes of the results.
        table: Where they go; None: nowhere.
        stage: Cycles of a panel's products and write-outs with a group of rows.
        streaming: Cycles for which a panel keeps the memory.
    """
    g = h.geometry
    assert isinstance(g, Geometry)
    groups = -(-rows // g.group)
    full, rest = divmod(outputs, g.width)
    latency = h.memory.start + h.memory.latency

    def issue(text: str, times: float = 1.0) -> float:
        return body(h, text, times).cycles

    # Weights.
    ahead, behind = _pieces(panel, g, outputs)
    cycles = issue(piece_text(panel, g, weights), ahead + behind)
    cycles += issue(PIECE_DUE, behind)
    transfers = (ahead + behind) * panel.blocks * panel.ways
    cycles += transfers * latency + streaming * outputs / panel.rows
    cycles += issue("int im im int im int im int im int im")
    for columns, count in ((g.width, full), (rest, 1 if rest else 0)):
        if not count:
            continue
        number = -(-columns // panel.rows)
        cycles += issue("im im im im int im im im im int int br im im")
        # A group: before its first panel, and behind its last one.
        stages = number * groups * count
        cycles += stages * stage
        last = "" if number == 1 else "im int br"
        cycles += issue(f"im im im int {last} {ADVANCE} {ADVANCE} {AGAIN}", stages)
        cycles += stages * (0.0 if chunks.whole or number == 1 else issue("im int br"))
        cycles += issue(f"int im int im {ADVANCE}" + (f" {AGAIN}" if count > 1 else ""), count)
        around = f"im im int int im int im {repeat('im', 3 + 2)} int"
        cycles += issue(around + (f" {ADVANCE} {AGAIN}" if number > 1 else ""), number * count)
        if chunks.loaded:
            text = f"im im int int br im {_moved(table, chunks.loaded)} {ADVANCE}"
            cycles += count * (chunks.loads + groups * chunks.loaded * latency)
            cycles += issue(text, groups * count)
        turns = 1.0
        if chunks.row_cycles:
            done = groups * count
            if not chunks.whole:
                at_once = rows_at_once(g, panel, columns, chunks.about)
                turns = -(-g.group // at_once)
                cycles += issue("im im br", done)  # before the first panel
                cycles += issue("im int im int im", done)  # handed over
            # The last group is worked on at one go.
            cycles += issue(chunks.entry, turns * done - (turns - 1) * (count == full or not full))
            cycles += count * rows * chunks.row_cycles
        cycles += issue(finish_text(table, chunks.stored), groups * count)
        cycles += issue("im im int im im int im br int int im im", count)
        cycles += count * (
            chunks.stores + groups * chunks.stored * (table is not None) * h.memory.start
        )
    return cycles


def arrival_text(blocks: int) -> str:
    """Instructions that ask for a group's rows of a tile, a block of columns at a time."""
    loop = "ctl" if blocks > 1 else ""
    turns = repeat(f"dma int int {loop}", blocks)
    return f"int br int int {repeat('int ctl', 4)} {loop} {turns} int int int br"


def arrivals(h: Hardware, rows: int, blocks: int) -> float:
    """Cycles by which a tile that is loaded group by group, a block of columns at a time, is there
    later than one that comes in one transfer."""
    g = h.geometry
    assert isinstance(g, Geometry)
    groups = -(-rows // g.group)
    waits = (groups * blocks - 1) * (h.memory.start + h.memory.latency)
    return waits + body(h, arrival_text(blocks), groups).cycles
