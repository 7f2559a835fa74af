"""What products with streamed weights take on a core with a scoreboard, as
`npuvp.compiler.products` lays them out.

An output tile is a chain of products, a few instructions apart, and a tail of instructions that
runs while its sums leave the array. A panel of weights is asked for piece by piece while the panel
before it is multiplied: the queue of the DMA engine takes so many descriptors, and the core waits
where it is full. So the period of a piece is the longest way round of three that go on side by
side: the core's instructions and the array, the memory, and the queue between the two.
"""

from typing import Any, NamedTuple

from npuvp._core.estimate import Chunk, Product, ResultCosts, Stage, Weights
from npuvp.analytical.blocking import ADVANCE, AGAIN, FINISH_ALL, GROUP, PIECE_DUE, piece_text
from npuvp.analytical.machine import Hardware, of_core
from npuvp.analytical.schedule import addition, body, repeat
from npuvp.compiler.formats import Stored
from npuvp.compiler.layout import Geometry
from npuvp.compiler.products import Panels, hidden_tiles, rows_at_once

__all__ = ["RowCosts", "product_of", "weights_moved"]

#: A product begins: the words of its stream of weights.
_BEGIN = "int im im int im int im int im int im"


@of_core
def stage_of(
    h: Hardware, panel: Panels, pitch: int, number: int, whole: bool, prepares: bool
) -> Any:
    """The stages of a chunk: a `Stage` (tlm/estimate/product.h).

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
        products=products,
        stream=stream,
        skew=skew,
        row=row,
        rows=max(1, full),
        tails=tails,
        sets=1 if drained else 2,
        port=max(float(h.writeout[0]), float(rows_out)),
        tiles=panel.rows // g.blen,
        between=issue(between),
        last=issue(last),
        around=issue(around),
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
def product_of(
    h: Hardware,
    panel: Panels,
    weights: Stored,
    outputs: int,
    pitch: int,
    costs: RowCosts,
    prepares: bool,
    drain: float,
) -> Any:
    """Any tile of rows, all outputs: a `Product` (tlm/estimate/product.h).

    Args:
        h: The machine.
        panel: How weights pass through Matrix SRAM.
        weights, outputs: The matrix, and how many rows of it one core has.
        pitch: Elements between column blocks of the tile.
        costs: Of the work on results.
        prepares: Whether a chunk's results are added to rows that are loaded.
        drain: Cycles from the last product of a tile to its rows in Vector SRAM.
    """
    g = h.geometry
    assert isinstance(g, Geometry)

    def issue(text: str) -> float:
        return body(h, text).cycles

    full, rest = divmod(outputs, g.width)
    chunks = []
    for columns, times in [(g.width, full)] * bool(full) + [(rest, 1)] * bool(rest):
        number = -(-columns // panel.rows)
        stage = stage_of(h, panel, pitch, number, costs.whole, prepares)
        at_once = rows_at_once(g, panel, columns, costs.about) if costs.row else g.group
        chunks.append(Chunk(stage, number, at_once, times))
    return Product(
        chunks=chunks,
        group=g.group,
        hidden_tiles=hidden_tiles(g, panel),
        costs=ResultCosts(
            row=costs.row,
            entry=costs.entry,
            finish=costs.finish,
            finish_all=issue(FINISH_ALL),
            whole=costs.whole,
            untouched=costs.untouched,
        ),
        weights=Weights(
            panels=outputs / panel.rows,
            pieces=panel.pieces(g),
            descriptors=panel.blocks * panel.ways,
            descriptor=issue("dma int int ctl") if panel.blocks > 1 else 1.0,
            issue=issue(piece_text(panel, g, weights)),
            due=issue(PIECE_DUE),
            begin=issue(_BEGIN),
        ),
        words=issue(f"im im im im int im im int im int im {GROUP}"),
        drain=drain,
    )


def weights_moved(
    g: Geometry, panel: Panels, weights: Stored
) -> tuple[tuple[tuple[float, float, int], ...], int]:
    """The transfers of a panel, as `MemoryFigures.streamed` takes them, and how many they are."""
    rows, inputs = panel.rows * panel.blocks * panel.ways, weights.columns
    columns = inputs / panel.blocks  # the last block may have less
    parts = [(float(rows), columns * weights.bits / 8, weights.pitch)]
    if weights.scaled:
        pitch = (weights.piece or inputs) // weights.block
        parts.append((float(rows), columns / weights.block, pitch))
    return tuple(parts), panel.pieces(g) * panel.blocks * panel.ways
