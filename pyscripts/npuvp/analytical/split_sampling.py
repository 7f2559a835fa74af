"""Closed form of the sampling step whose vocabulary all cores share (`programs/sampling_split.s`).

Every core takes the maximum of its slice of a position's logits, and behind a barrier the sums of its
exponentials; then the first core chooses for the row of the batch, while the others go on with the
next one.
"""

from npuvp.analytical import flow
from npuvp.analytical.machine import Hardware
from npuvp.analytical.memory import INTERLEAVE, MemoryFigures
from npuvp.analytical.sampling_pieces import elements, row_of_batch
from npuvp.analytical.schedule import Work, body, repeat
from npuvp.compiler.layout import Geometry
from npuvp.errors import InputError

__all__ = ["split_step"]

#: Bytes of a word of FP SRAM or INT SRAM.
_WORD = 4


def _fault(hardware: Hardware, batch: int, positions: int, rows: int) -> str | None:
    """Why a step does not fit."""
    cores, each = hardware.cores, -(-rows // hardware.cores)
    if positions > hardware.vlen:
        return f"{positions} positions do not fit in a row of Vector SRAM"
    if 2 + cores + 2 + 2 * each > hardware.vector_rows:
        return f"maxima of {cores} cores and two slices of {each} rows do not fit in Vector SRAM"
    geometry = hardware.geometry
    if not isinstance(geometry, Geometry):
        return None
    words = (4 + cores) * positions + batch + 3
    if words > geometry.int_words:
        return f"the indices of all cores take {words} words, INT SRAM has {geometry.int_words}"
    words = (3 + each) * positions + rows
    if words > geometry.fp_words:
        return f"the sums of the rows take {words} words, FP SRAM has {geometry.fp_words}"
    return None


def split_step(
    hardware: Hardware, batch: int, positions: int, vocabulary: int, logit_bytes: float
) -> tuple[Work, float, float]:
    """A step on all cores, and cycles of a position's arithmetic and loads on one of them.

    Args:
        hardware: The machine.
        batch: B.
        positions: L.
        vocabulary: V.
        logit_bytes: Of a logit in memory, scales included.

    Raises:
        InputError: It does not fit, or cores are not alike.
    """
    vlen, cores = hardware.vlen, hardware.cores
    rows = -(-vocabulary // vlen)
    faults = hardware.differing(cores)
    if fault := _fault(hardware, batch, positions, rows):
        faults.append(fault)
    if faults:
        raise InputError("; ".join(faults))
    each = -(-rows // cores)
    busy = -(-rows // each)
    own = min(each * vlen, vocabulary)
    shared = hardware.shared(busy)
    total = Work()
    for first in (True, False):
        times = 1 if first else batch - 1
        # The others are ahead of the first core when it comes to another row of the batch.
        memory = shared.memory if first else hardware.memory
        maxima = _pass(
            hardware,
            memory,
            positions,
            each,
            own * logit_bytes,
            "vmaxi1. int",
            "fp int im",
            "fm im",
        )
        sums = _pass(
            hardware, shared.memory, positions, each, own * logit_bytes,
            "vadd2. vexp2. fp vsum1. fm int", "fm", "",
        )  # fmt: skip
        total.add(maxima, times)
        total.add(sums, times)
        # What the other cores do at the same time.
        total.beside(maxima, times * (vocabulary / own - 1))
        total.beside(sums, times * (vocabulary / own - 1))
    total.add(_between(hardware, shared.memory, positions, each), batch)
    chosen = _chosen(hardware, positions, rows)
    total.add(chosen, batch)
    if not hardware.classes.blocking:
        # Meanwhile the others load the next row's logits, two slices at a time, and what the first
        # core asks for waits behind them: its first load, which comes as they begin, and more of
        # them as long as they go on.
        queued = 2 * own * logit_bytes * (busy - 1) / hardware.memory.bytes_per_cycle
        if busy > 1 and shared.memory.mesh is not None:
            queued = _slices(shared.memory, own * logit_bytes, 2)[-1] * (busy - 1) / busy
        turns = positions * (vocabulary - own) * logit_bytes / hardware.memory.bytes_per_cycle
        waits = min(positions, max(1.0, turns / (chosen.cycles / positions + queued)))
        total.cycles += (batch - 1) * waits * queued
    total.add(row_of_batch(hardware, positions), batch)
    total.cycles += hardware.memory.load(1, _WORD * batch)
    total.add(body(hardware, repeat("int", 40) + repeat(" br", 4)))
    load = shared.memory.load(1, own * logit_bytes)
    compute = body(hardware, "vmaxi1. int int br", each).cycles
    compute += body(hardware, "vadd2. vexp2. fp vsum1. fm int int br", each).cycles
    return total, compute, 2 * load


def _slices(memory: MemoryFigures, bytes_: float, count: int) -> tuple[float, ...]:
    """Cycles until all sharing cores have their slices of each of so many positions, asked for at
    once."""
    assert memory.mesh is not None
    sizes = (round(bytes_), round(bytes_ * memory.sharers))
    return flow.slices(memory.mesh, memory.sharers, *sizes, count)


def _pass(
    hardware: Hardware,
    memory: MemoryFigures,
    positions: int,
    rows: int,
    bytes_: float,
    work: str,
    begin: str,
    end: str,
) -> Work:
    """A core's slice of all positions, of which the next one loads meanwhile."""
    streamed = memory.streaming(1, bytes_)
    load = memory.start + memory.latency + streamed
    if memory.sharers > 1 and memory.mesh is not None:
        # Slices of two positions are under way at a time, of all cores; in blocking mode one is.
        under_way = 1 if hardware.classes.blocking else min(2, positions)
        ends = _slices(memory, bytes_, under_way)
        load = memory.start + ends[0]
        streamed = ends[-1] - ends[0]
    around = body(hardware, f"{begin} br int int int int int br dma int int {end} int ctl")
    one = body(hardware, f"{work} int br", rows)
    one.add(around)
    total = body(hardware, f"{repeat('int', 12)} im im br dma int ctl ctl ctl")
    total.beside(one, positions)
    if hardware.classes.blocking:
        total.cycles += positions * (one.cycles + load)
    else:
        # The first slice is waited for; behind it two loads are under way: the next one is issued
        # before the work on a slice, and with it before that slice is there.
        total.cycles += load + one.cycles
        total.cycles += (positions - 1) * max(
            one.cycles, (one.cycles + load - memory.hit) / 2, streamed
        )
    total.read += positions * bytes_
    total.femtojoules += positions * (
        hardware.energy.dma_byte * bytes_ + memory.mesh_energy(1, bytes_)
    )
    return total


def _meet(hardware: Hardware) -> Work:
    work = body(hardware, "sync int sync")
    work.cycles += max(hardware.memory.ways) + hardware.cores
    return work


def _between(hardware: Hardware, memory: MemoryFigures, positions: int, rows: int) -> Work:
    """What all cores exchange: maxima and their indices, then sums."""
    cores, words = hardware.cores, _WORD * positions
    total = body(hardware, f"{repeat('int', 20)} {repeat('ctl', 4)} dma dma")
    total.cycles += 2 * memory.store(1, words)
    total.add(_meet(hardware))
    # All cores load the same rows, which stand in few nodes of the memory.
    nodes = min(memory.nodes, -(-cores * words // INTERLEAVE))
    rate = memory.peak_bytes_per_cycle * nodes / memory.nodes
    total.cycles += memory.start + memory.latency - memory.hit + cores * cores * words / rate
    total.add(body(hardware, "int int int int int dma int"))
    total.add(body(hardware, "int vmax3.", cores))
    total.add(elements(hardware, "vector_map", positions))
    total.add(body(hardware, f"{repeat('int', 18)} im {repeat('ctl', 4)} br dma"))
    total.cycles += memory.store(positions, _WORD * rows, _WORD * rows * cores)
    total.add(_meet(hardware))
    # On every core.
    total.read += cores * cores * words
    total.written += cores * (2 * words + words * rows)
    total.beside(body(hardware, "int vmax3.", cores), cores - 1)
    total.femtojoules += hardware.energy.dma_byte * (total.read + total.written)
    total.femtojoules += cores * memory.mesh_energy(1, (cores + 2) * words)
    return total


def _chosen(hardware: Hardware, positions: int, rows: int) -> Work:
    """Token and confidence of every position of a row of the batch, on the first core."""
    memory, cores = hardware.memory, hardware.cores
    total = body(hardware, f"{repeat('int', 14)} dma vmax3.")
    # What has just been stored stands in open rows.
    total.cycles += memory.load(1, cores * _WORD * positions) - memory.hit
    total.add(elements(hardware, "vector_select_int", positions))
    other = body(hardware, "int int vsel3. vmax3.")
    other.add(elements(hardware, "vector_select_int", positions))
    total.add(other, cores - 1)
    total.add(body(hardware, f"{repeat('int', 6)} ctl ctl"))
    position = body(hardware, "dma int fp int ctl freci. fm. int ctl")
    position.cycles += memory.load(1, _WORD * rows) - memory.hit
    position.add(body(hardware, "fm fp. int ctl", rows))
    position.read += _WORD * rows
    total.add(position, positions)
    return total
