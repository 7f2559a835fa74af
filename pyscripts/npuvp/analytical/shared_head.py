"""Closed form of the head on several cores (`npuvp.compiler.head`): each stores its columns of the
logits, and then goes through the whole vocabulary for its positions; the first core gathers what they
found."""

from typing import TYPE_CHECKING

from npuvp.analytical.schedule import Work, body, repeat
from npuvp.analytical.shared import dealt, together
from npuvp.compiler.shares import share

if TYPE_CHECKING:
    from npuvp.analytical.head import ForwardCall

__all__ = ["shared_head"]

#: Bytes of a word of FP SRAM or INT SRAM.
_WORD = 4
#: A chunk of stored logits that is asked for.
_ASKED = "im " + repeat("int", 6) + " im int " + repeat("int ctl", 4) + " dma"
#: Around the rows of a chunk.
_ROWS = "im im int int " + repeat("int", 4) + " im im im im int im"


def shared_head(phases: "ForwardCall") -> Work:
    """Maximum, token and sum of exponentials over the vocabulary, on all cores."""
    cores, call = phases.layout.cores, phases.call
    total = Work()
    total.add(phases._head_begins())
    total.beside(phases._head_begins(), cores - 1)
    most = phases.layout.whole_positions
    done = 0
    for rows, times in phases._tiles(most, call.span * call.batch):
        total.add(_made(phases, rows, most), times)
        for _ in range(times):
            total.add(_gone_through(phases, rows, most, done))
            done += rows
    total.add(_gathered(phases))
    leader = phases.alone
    words = call.span * call.samples
    total.add(body(leader.hardware, f"{leader._scores()} int int br", words))
    return total


def _made(phases: "ForwardCall", rows: int, most: int) -> Work:
    """The logits of a tile of rows, in memory."""
    spec, table = phases.spec, phases.layout.logits

    def part(tokens: int) -> Work:
        tile = phases._normalised(rows, spec.hidden)
        if not tokens:
            return phases._fence(tile)
        store = phases._chunk(rows, min(tokens, phases.geometry.width), table, True)
        results = phases._results("", 0, 0, rows, store, table)
        tile.add(phases._logits(rows, tokens, most, results))
        return phases._fence(tile)

    return phases._phase(dealt(phases.layout.cores, (spec.vocab, table.block)), part)


def _gone_through(phases: "ForwardCall", rows: int, most: int, before: int) -> Work:
    """The statistics of a tile of rows, `before` rows of the call behind others."""
    cores, batch, h = phases.layout.cores, phases.call.batch, phases.hardware
    spec, width, table = phases.spec, phases.geometry.width, phases.layout.logits
    own = []
    for core in range(cores):
        first, count = share(most, batch, core, cores)
        own.append((first, max(0, min(count, rows - first))))
    busy = sum(count > 0 for _, count in own)
    text = phases._row_of_logits()
    together_ = 2 if phases.sampler.guidance else 1
    sharing = h.shared(busy).memory
    found = Work()
    for first, count in own:
        part = body(h, "im int br int int int im im int im")
        for columns in (width, spec.vocab % width):
            times = spec.vocab // width if columns == width else 1
            if not count or not columns or not times:
                continue
            bytes_ = table.bytes_of(columns)
            load = sharing.load(count, bytes_, table.pitch)
            chunk = body(h, f"{_ASKED} {_ROWS} im int im ctl")
            chunk.add(phases._divided(before + first))
            # A chunk's rows wait for it, its registers are set meanwhile.
            chunk.cycles = load + (chunk.cycles if h.classes.blocking else 0.0)
            chunk.read += count * bytes_
            chunk.femtojoules += h.energy.dma_byte * count * bytes_
            chunk.add(phases._rows_loop(text, 0, count / together_))
            part.add(chunk, times)
        cycles = max(found.cycles, part.cycles)
        found.beside(part)
        found.cycles = cycles
    found.add(phases._meet())
    return found


def _gathered(phases: "ForwardCall") -> Work:
    """The words of all cores, on the first one."""
    cores, call = phases.layout.cores, phases.call
    names, words = len(phases.sampler.words), call.span * call.samples
    stored = Work()
    for _ in range(names + 1):
        stored.add(phases._store(1, _WORD * words))
        stored.add(body(phases.hardware, "int int int dma"))
    stored = phases._fence(stored)
    total = together((((), cores),), lambda: stored)
    total.add(phases._meet())
    leader = phases.alone
    h = leader.hardware
    other = Work()
    array = leader._load(1, _WORD * words)
    array.add(body(h, "im int int ctl int ctl ctl int int int dma ctl int"))
    array.add(body(h, "fm fm. fp. fm. int int br", words))
    other.add(array, names)
    row = leader._load(1, _WORD * call.span)
    row.add(body(h, "int dma ctl im int int ctl"))
    row.add(body(h, "im im. int. im. int int int br", call.span))
    other.add(row, call.samples)
    other.add(body(h, "im int ctl int ctl ctl int int int ctl int ctl"))
    total.add(other, cores - 1)
    return total
