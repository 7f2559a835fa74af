"""A phase on the cores that share it: it lasts as long as the busiest one, and takes what all take."""

from collections.abc import Callable
from functools import lru_cache

from npuvp.analytical.schedule import Work
from npuvp.compiler.shares import share

__all__ = ["Shares", "dealt", "in_turns", "rows_dealt", "together"]

#: What cores get, in numbers of things, and which cores get that.
Shares = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def _alike(parts: list[tuple[int, ...]]) -> Shares:
    """Of what every core gets."""
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    for core, part in enumerate(parts):
        found[part] = (*found.get(part, ()), core)
    return tuple(found.items())


@lru_cache(maxsize=4096)
def dealt(cores: int, *things: tuple[int, int]) -> Shares:
    """What the cores get of things that are dealt out.

    Args:
        cores: Their number.
        things: (how many, in groups of how many) of each kind.
    """
    return _alike(
        [
            tuple(share(total, unit, core, cores)[1] for total, unit in things)
            for core in range(cores)
        ]
    )


@lru_cache(maxsize=4096)
def in_turns(cores: int, tile: int, rows: int) -> Shares:
    """Whole tiles and rows of the last one of the cores that take tiles in turns, and whether it is the
    first core."""
    full, rest = divmod(rows, tile)
    return _alike(
        [
            (
                (full - core + cores - 1) // cores,
                rest if full % cores == core else 0,
                int(core == 0),
            )
            for core in range(cores)
        ]
    )


@lru_cache(maxsize=4096)
def rows_dealt(cores: int, tile: int, unit: int, rows: int) -> Shares:
    """Rows of the cores that share a tile, in groups of `unit`, of which so many rows are there."""
    ranges = [share(tile, unit, core, cores) for core in range(cores)]
    return _alike([(max(0, min(count, rows - first)),) for first, count in ranges])


def together(shares: Shares, part: Callable[..., Work]) -> Work:
    """The work of all cores.

    Args:
        shares: As of `dealt`.
        part: What each of some cores does, told which, that gets these numbers of things.
    """
    whole = Work()
    for counts, cores in shares:
        one = part(cores, *counts)
        whole.beside(one, len(cores))
        whole.cycles = max(whole.cycles, one.cycles)
    return whole
