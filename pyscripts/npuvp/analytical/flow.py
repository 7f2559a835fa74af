"""What several cores ask of one memory at the same time, burst by burst (`npuvp._core.flow`).

Which nodes, links and banks the cores meet in, in which order they are served there, and who falls
behind whom follows from addresses, routes and the machine's parameters; no closed form says it. So
the bursts of a transfer that all cores make are gone through, once for every pattern.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from npuvp._core import flow as _flow

__all__ = ["Mesh", "Pattern", "alike", "beside", "slices", "streams"]

#: Bursts of all cores from which on it does not matter when each of them begins, and after which a
#: stream of weights is taken to go on as it did.
_LONG, _MOST_BURSTS = 4_000, 16_000

#: Address, bytes, and whether they are written.
_Stretch = tuple[int, int, bool]


@dataclass(frozen=True)
class Mesh:
    """A memory behind a mesh, as its bursts meet it.

    Attributes:
        figures: Of `npuvp._core.flow.ends` but for the cores, by name.
        cores: Places of the cores.
        released: Cycles by which the cores leave a barrier one behind the other.
    """

    figures: tuple[tuple[str, Any], ...]
    cores: tuple[tuple[int, int], ...]
    released: tuple[int, ...]
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.figures, self.cores)))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _named(self) -> dict[str, Any]:
        return dict(self.figures)

    @property
    def burst_bytes(self) -> int:
        """Most of a burst."""
        return int(self._named["burst_bytes"])

    @cached_property
    def turn(self) -> int:
        """Bytes after which the memory's nodes have their turns again."""
        return int(self._named["interleave"]) * len(self._named["nodes"])

    def ends(
        self, stretches: list[list[_Stretch]], begins: tuple[int, ...] = ()
    ) -> list[list[float]]:
        """Cycles to the end of each stretch of each of the first cores; refreshes fall due as they do
        behind cycle 0.

        Args:
            stretches: Of every core, which asks for them in order.
            begins: Cycle in which each core begins; none: as they leave a barrier, cycle 0 being
                that in which the last of them does.
        """
        count = len(stretches)
        machine = self._named | {"cores": list(self.cores[:count])}
        starts = begins or self.released[:count]
        last = 0 if begins else max(starts)
        found: list[list[float]] = _flow.ends(machine, stretches, list(starts))
        return [[end - last for end in own] for own in found]


@dataclass(frozen=True)
class Pattern:
    """Where the weights of a matrix, or of several side by side, stand, and how they are asked for.

    Attributes:
        begins: Of each matrix, in bytes, and of its scales where it has some.
        row: Bytes of a row of a block of columns, of each of these.
        pitch: Bytes from it to the next one.
        step: Bytes from a block to the next one, of each.
        blocks: Of columns.
        shares: First row and number of rows of every core that has some.
        panel: Rows of a panel.
        piece: Rows of a piece.
    """

    begins: tuple[tuple[int, ...], ...]
    row: tuple[int, ...]
    pitch: tuple[int, ...]
    step: tuple[int, ...]
    blocks: int
    shares: tuple[tuple[int, int], ...]
    panel: int
    piece: int

    @property
    def row_bytes(self) -> int:
        """Of a row of all matrices."""
        return len(self.begins) * self.blocks * sum(self.row)

    def bursts(self, mesh: Mesh) -> float:
        """Of all cores, about."""
        return sum(count for _, count in self.shares) * self.row_bytes / mesh.burst_bytes

    def asked(self, first: int, count: int) -> list[_Stretch]:
        """Stretches of rows of a core, in the order in which they are asked for."""
        found: list[_Stretch] = []
        done = 0
        for rows in self._pieces(count):
            for begin in self.begins:
                for block in range(self.blocks):
                    places = zip(begin, self.row, self.pitch, self.step, strict=True)
                    for at, row, pitch, step in places:
                        at += (first + done) * pitch + block * step
                        found += _rows(at, rows, row, pitch, False)
            done += rows
        return found

    def _pieces(self, count: int) -> Iterator[int]:
        """Rows of the pieces of so many rows: those of the first panel grow."""
        done, size = 0, self.piece
        while done < count:
            room = self.panel - done if done < self.panel else self.piece
            rows = min(size if done < self.panel else self.piece, room, count - done)
            yield rows
            size = 2 * size if done else size
            done += rows


def streams(mesh: Mesh, pattern: Pattern, begins: tuple[int, ...]) -> float:
    """Cycles from when the last core begins until all cores have their weights."""
    # In a long stream the cores lose what they began with.
    return _streams(mesh, pattern, begins if pattern.bursts(mesh) <= _LONG else ())


@lru_cache(maxsize=1024)
def _streams(mesh: Mesh, pattern: Pattern, begins: tuple[int, ...]) -> float:
    most = max(count for _, count in pattern.shares)
    bursts = pattern.bursts(mesh)
    if bursts > _MOST_BURSTS:
        most = max(
            pattern.panel, int(most * _MOST_BURSTS / bursts) // pattern.panel * pattern.panel
        )
    asked = [pattern.asked(first, min(count, most)) for first, count in pattern.shares]
    ends = mesh.ends(asked, begins)
    holders = [core for core, (_, count) in enumerate(pattern.shares) if count]
    if bursts <= _MOST_BURSTS:
        return _behind_last(ends, begins, holders)
    # As long as all of them stream: how they begin, and how they go on.
    last = max(begins) if begins else 0
    stop = min(max(ends[core]) for core in holders)
    done = sorted(
        (end, length)
        for core in holders
        for end, (_, length, _) in zip(ends[core], asked[core], strict=True)
        if end <= stop
    )
    half = (stop + last) / 2
    moved = sum(length for _, length in done)
    rate = sum(length for end, length in done if end > half) / (stop - half)
    total = sum(count for _, count in pattern.shares) * pattern.row_bytes
    return stop - last + (total - moved) / rate


def _behind_last(
    ends: list[list[float]], begins: tuple[int, ...], cores: list[int] | tuple[int, ...]
) -> float:
    """From when the last of some cores begins to when the last is done."""
    last = max(begins[core] for core in cores) if begins else 0
    return max(max(ends[core]) for core in cores) - last


def _rows(at: int, rows: int, row_bytes: int, pitch: int, write: bool) -> list[_Stretch]:
    if pitch <= row_bytes:
        return [(at, rows * row_bytes, write)]
    return [(at + row * pitch, row_bytes, write) for row in range(rows)]


@lru_cache(maxsize=4096)
def alike(
    mesh: Mesh, cores: int, *loads: tuple[int, int, int, int]
) -> tuple[tuple[float, ...], ...]:
    """Cycles until each core has loaded rows that all of them load: (address, how many, bytes of one,
    bytes from one to the next), one such load behind the other."""
    stretches: list[_Stretch] = []
    behind = []
    for load in loads:
        stretches += _rows(*load, False)
        behind.append(len(stretches))
    ends = mesh.ends([stretches] * cores)
    return tuple(tuple(max(own[:count]) for own in ends) for count in behind)


@lru_cache(maxsize=4096)
def beside(
    mesh: Mesh,
    begins: tuple[int, ...],
    cores: tuple[int, ...],
    at: int,
    rows: int,
    row_bytes: int,
    pitch: int,
    write: bool,
) -> float:
    """Cycles from when the last of some cores begins until all of them have moved columns of the same
    rows, each its own."""
    stretches: list[list[_Stretch]] = [[] for _ in range(max(cores) + 1)]
    for number, core in enumerate(cores):
        stretches[core] = _rows(at + number * row_bytes, rows, row_bytes, pitch, write)
    ends = mesh.ends(stretches, begins[: len(stretches)])
    return _behind_last(ends, begins, cores)


@lru_cache(maxsize=1024)
def slices(mesh: Mesh, cores: int, bytes_: int, pitch: int, count: int) -> tuple[float, ...]:
    """Cycles until all cores have each of so many slices: a core's lie `pitch` bytes apart, beside the
    same ones of the cores before it."""
    ends = mesh.ends(
        [
            [(core * bytes_ + number * pitch, bytes_, False) for number in range(count)]
            for core in range(cores)
        ]
    )
    return tuple(max(own[number] for own in ends) for number in range(count))
