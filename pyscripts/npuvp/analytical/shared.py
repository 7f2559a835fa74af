"""A phase on the cores that share it: it lasts as long as the busiest one, and takes what all take."""

from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from npuvp.analytical.schedule import Work
from npuvp.compiler.shares import share

__all__ = ["dealt", "in_turns", "rows_dealt", "together"]


@lru_cache(maxsize=4096)
def dealt(cores: int, *things: tuple[int, int]) -> tuple[tuple[tuple[int, ...], int], ...]:
    """What the cores get of things that are dealt out, and how many cores get that.

    Args:
        cores: Their number.
        things: (how many, in groups of how many) of each kind.
    """
    found = Counter(
        tuple(share(total, unit, core, cores)[1] for total, unit in things) for core in range(cores)
    )
    return tuple(found.items())


@lru_cache(maxsize=4096)
def in_turns(cores: int, tile: int, rows: int) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Whole tiles and rows of the last one of the cores that take tiles in turns, whether it is the
    first core, and how many cores get that."""
    full, rest = divmod(rows, tile)
    found = Counter(
        ((full - core + cores - 1) // cores, rest if full % cores == core else 0, int(core == 0))
        for core in range(cores)
    )
    return tuple(found.items())


@lru_cache(maxsize=4096)
def rows_dealt(
    cores: int, tile: int, unit: int, rows: int
) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Rows of the cores that share a tile, in groups of `unit`, of which so many rows are there, and
    how many cores get that."""
    ranges = [share(tile, unit, core, cores) for core in range(cores)]
    found = Counter((max(0, min(count, rows - first)),) for first, count in ranges)
    return tuple(found.items())


def together(shares: tuple[tuple[tuple[int, ...], int], ...], part: Callable[..., Work]) -> Work:
    """The work of all cores.

    Args:
        shares: As of `dealt`.
        part: What a core does that gets these numbers of things.
    """
    whole = Work()
    for counts, times in shares:
        one = part(*counts)
        whole.beside(one, times)
        whole.cycles = max(whole.cycles, one.cycles)
    return whole
