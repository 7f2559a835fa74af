"""Closed form of logits that go through memory on their way to sampling (`npuvp.compiler.head`): in
other formats than BF16, a chunk of the vocabulary is loaded and gone through row by row."""

from typing import TYPE_CHECKING

from npuvp.analytical import blocking
from npuvp.analytical.schedule import Work, body, repeat

if TYPE_CHECKING:
    from npuvp.analytical.head import ForwardCall

__all__ = ["through_logits"]

#: Word and row of the batch of the first row, constants of rows, the chunk's place.
_CHUNK = "im int int int im int int " + repeat("int", 7) + " im im im int im int im"


def through_logits(call: "ForwardCall", rows: int, before: float, each_row: Work) -> Work:
    """The statistics of a tile's rows, over the whole vocabulary.

    Args:
        call: Of what.
        rows: Of the tile.
        before: Rows before the tile.
        each_row: What is done with a row of a chunk, on average.
    """
    spec, g, h = call.spec, call.geometry, call.hardware
    table = call.layout.stored["logits"]
    chunks = -(-spec.vocab // g.width)
    columns = spec.vocab / chunks
    load = call._load(rows, columns * table.bits / 8, table.pitch)
    if table.scaled:
        scales = call._load(rows, columns / table.block, table.columns // table.block)
        load.cycles += scales.cycles - h.memory.start - h.memory.latency
        load.beside(scales)
    chunk = body(h, f"{_CHUNK} {blocking.table_text(table)} dma ctl")
    chunk.add(load)
    chunk.add(each_row, rows)
    if call.call.batch > 1:  # by subtraction
        chunk.add(body(h, "br int int br", before / call.call.batch))
    work = body(h, "im int br int int br int br im im int im sync")
    work.add(chunk, chunks)
    return work
