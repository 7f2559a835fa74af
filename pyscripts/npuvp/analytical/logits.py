"""Closed form of logits that go through memory on their way to sampling (`npuvp.compiler.head`): in
other formats than BF16, and where cores share the head, a chunk of the vocabulary is loaded and gone
through row by row; then the first core gathers what the others found."""

from typing import TYPE_CHECKING

from npuvp.analytical import blocking
from npuvp.analytical.schedule import Work, body
from npuvp.analytical.shared import together
from npuvp.analytical.statistics import levels

if TYPE_CHECKING:
    from npuvp.analytical.head import ForwardCall

__all__ = ["gathered", "through_logits"]

#: Bytes of a word of FP SRAM or INT SRAM.
_WORD = 4
#: The chunk's place, and the way to the next one.
_CHUNK = "im int int int int im int im int im"


#: Bits of a level, which are found one after the other.
_BITS = 16


def through_logits(call: "ForwardCall", rows: int, before: float, each_row: Work) -> Work:
    """The statistics of a tile's rows, over the whole vocabulary.

    Args:
        call: Of what.
        rows: Of the tile.
        before: Rows before the tile.
        each_row: What is done with a row of a chunk, on average.
    """
    h = call.hardware
    work = body(h, "im int br int int br int br im im int im sync")
    work.add(_vocabulary(call, rows, before, each_row))
    sampler = call.sampler
    if not sampler.restricted:
        return work
    chunks, once = levels(sampler, call.call.batch)
    if "total" in chunks:
        work.add(_vocabulary(call, rows, before, call.each_row(chunks["total"], 1)))
    work.add(_vocabulary(call, rows, before, call.each_row(chunks["above"], 1)), _BITS)
    around = _first_row(call, before)
    for name, text in once.items():
        each = call.each_row(text, rows)
        each.add(around)
        work.add(each, _BITS if name in ("begin", "end") else 1)
    work.add(body(h, "im int int im br", _BITS))
    return work


def _first_row(call: "ForwardCall", before: float) -> Work:
    """Word and row of the batch of the first row, by subtraction, and constants of rows."""
    batch = call.call.batch
    if batch == 1:
        return body(call.hardware, "im int int int im im int im")
    work = body(call.hardware, "im int int br im int int int im im int im")
    work.add(body(call.hardware, "br int int br", before / batch))
    return work


def _vocabulary(call: "ForwardCall", rows: int, before: float, each_row: Work) -> Work:
    """Work on every row of every chunk of columns."""
    spec, g, h = call.spec, call.geometry, call.hardware
    table = call.layout.stored["logits"]
    chunks = -(-spec.vocab // g.width)
    columns = spec.vocab / chunks
    load = call._load(rows, columns * table.bits / 8, table.pitch)
    if table.scaled:
        scales = call._load(rows, columns / table.block, table.columns // table.block)
        scales.cycles -= h.memory.start + h.memory.latency
        load.add(scales)
    chunk = body(h, f"{_CHUNK} {blocking.table_text(table)} dma ctl")
    chunk.add(load)
    chunk.add(each_row, rows)
    begun = _first_row(call, before)
    chunk.add(begun)
    if not h.classes.blocking:  # while the chunk is on its way
        chunk.cycles -= min(begun.cycles, load.cycles)
    work = Work()
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
    total = together((((), tuple(range(cores))),), lambda cores: stored)
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
