"""Closed form of logits that go through memory on their way to sampling (`npuvp.compiler.head`): in
other formats than BF16, and where cores share the head, a chunk of the vocabulary is loaded and gone
through row by row; then the first core gathers what the others found."""

from typing import TYPE_CHECKING

from npuvp.analytical import blocking
from npuvp.analytical.schedule import Work, body, repeat
from npuvp.analytical.shared import together

if TYPE_CHECKING:
    from npuvp.analytical.head import ForwardCall

__all__ = ["gathered", "through_logits"]

#: Bytes of a word of FP SRAM or INT SRAM.
_WORD = 4
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


def gathered(call: "ForwardCall") -> Work:
    """What all cores know of their positions, on the first one."""
    cores, samples = call.layout.cores, call.call.samples
    names, words = len(call.sampler.words), call.call.span * samples
    stored = Work()
    for _ in range(names + 1):
        stored.add(call._store(1, _WORD * words))
        stored.add(body(call.hardware, "int int int dma"))
    stored = call._fence(stored)
    total = together((((), cores),), lambda: stored)
    total.add(call._meet())
    leader = call.shared_by(1)
    h = leader.hardware
    array = leader._load(1, _WORD * words)
    array.add(body(h, "im int int ctl int ctl ctl int int int dma ctl int"))
    array.add(body(h, "fm fm. fp. fm. int int br", words))
    row = leader._load(1, _WORD * call.call.span)
    row.add(body(h, "int dma ctl im int int ctl"))
    row.add(body(h, "im im int im int int int br", call.call.span))
    other = body(h, "im int ctl int ctl ctl int int int ctl int ctl")
    other.add(array, names)
    other.add(row, samples)
    total.add(other, cores - 1)
    return total
