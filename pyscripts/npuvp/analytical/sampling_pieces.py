"""Pieces of a sampling step that all of its forms have."""

from npuvp.analytical.machine import Hardware
from npuvp.analytical.schedule import Work, body, repeat

__all__ = ["elements", "loaded", "row_of_batch"]


def elements(hardware: Hardware, timing: str, number: float) -> Work:
    """An instruction that streams so many elements."""
    interval, latency, per = hardware.classes.costs[timing]
    cycles = max(interval, latency) + per * number
    spent = hardware.energy.instructions.of(timing, number)
    return Work(cycles, spent, cycles)


def loaded(hardware: Hardware, bytes_: float) -> Work:
    """A load of contiguous bytes."""
    return Work(hardware.memory.load(1, bytes_), hardware.energy.dma_byte * bytes_, read=bytes_)


def row_of_batch(hardware: Hardware, positions: int) -> Work:
    """What surrounds the positions of a row: its tokens, the choice, the results."""
    memory = hardware.memory
    mask_rows = -(-positions // hardware.vlen)
    work = Work(memory.load(1, 4.0 * positions), read=4.0 * positions)
    work.add(elements(hardware, "vector_compare", positions))
    work.add(elements(hardware, "vector_topk", positions))
    work.add(elements(hardware, "vector_select_int", 2 * positions), 1)
    work.add(body(hardware, repeat("int", 9), mask_rows))
    work.add(body(hardware, repeat("int", 26) + " im br " + repeat("ctl ", 7)))
    for bytes_ in (4, 4, 4, 2):
        cycles = memory.store(1, bytes_ * positions)
        work.cycles += cycles if hardware.classes.blocking else 0.0
        work.written += bytes_ * positions
    if not hardware.classes.blocking:
        # The next row's tokens overwrite what the first store still reads.
        work.cycles += memory.store(1, 8.0 * positions)
    work.femtojoules += hardware.energy.dma_byte * 18.0 * positions
    return work
