"""The memory as the analytical path sees it: what streams, bursts and the mesh in between cost."""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from npuvp._core.estimate import Memory
from npuvp.analytical import flow
from npuvp.kept import Kept

__all__ = ["INTERLEAVE", "Banks", "MemoryFigures", "banks_of", "row_sizes"]


@dataclass(frozen=True)
class Banks:
    """How addresses spread over a memory (hashing left aside).

    Attributes:
        slices: (field, size) of the index of an access, least significant first.
        access_bytes: Bytes of an access.
        channels: Pseudo-channels.
        burst: Ticks of the data bus per access.
        same_group: Ticks between accesses of one bank group.
    """

    slices: tuple[tuple[str, int], ...]
    access_bytes: int
    channels: int
    burst: int
    same_group: int
    _shares: Kept[tuple[int, int], float] = field(
        default_factory=lambda: Kept(4096), init=False, repr=False, compare=False
    )

    def share(self, row_bytes: int, pitch: int) -> float:
        """Share of the bandwidth that rows of some bytes at some distance get: they may meet few
        channels, or within a channel one bank group alone."""
        found = self._shares.get((row_bytes, pitch))
        if found is None:
            found = self._shares.keep((row_bytes, pitch), self._share(row_bytes, pitch))
        return found

    def _share(self, row_bytes: int, pitch: int) -> float:
        rows, most = 64, 256
        accesses: dict[tuple[int, int], list[int]] = {}
        units = min(most, -(-row_bytes // self.access_bytes))
        for row in range(rows):
            for unit in range(units):
                index = row * pitch // self.access_bytes + unit
                place = {}
                for name, size in self.slices:
                    index, place[name] = divmod(index, size)
                channel = (place.get("channel", 0), place.get("pseudo_channel", 0))
                accesses.setdefault(channel, []).append(place.get("bank_group", 0))
        longest = max(
            len(groups) * (self.burst if len(set(groups)) > 1 else self.same_group)
            for groups in accesses.values()
        )
        return min(1.0, rows * units * self.burst / self.channels / longest)


@lru_cache(maxsize=256)
def banks_of(
    slices: tuple[tuple[str, int], ...], access_bytes: int, channels: int, burst: int, group: int
) -> Banks:
    """One object for all memories that spread addresses alike; arguments as its attributes."""
    return Banks(slices, access_bytes, channels, burst, group)


#: Bytes after which a memory's next node has its turn.
INTERLEAVE = 4096


def row_sizes(banks: Banks) -> tuple[int, int]:
    """Bytes that lie before the second column of the first row, and columns of a row."""
    before = banks.access_bytes
    for name, size in banks.slices:
        if name == "column":
            return before, size
        before *= size
    return before, 1


@dataclass(frozen=True)
class MemoryFigures:
    """A memory and the DMA engine in front of it.

    Attributes:
        bytes_per_cycle: What sequential bursts get, per cycle of the core's clock.
        peak_bytes_per_cycle: Peak of the data bus.
        latency: Cycles from a request to its first data, on average.
        port_bytes: Bytes per cycle of all DMA ports.
        reads: Bursts that may be under way.
        burst_bytes: Greatest length of a burst.
        hit: Cycles by which that is less in a row of a bank that is open.
        start: Cycles from issue to the first request.
        queue: Transfers that wait in the DMA engine.
        banks: Of a memory that is simulated command by command.
        flit_bytes: Of the mesh in between, whose links carry a flit per cycle; 0: there is none.
        refresh: Cycles of a refresh of all banks, and from one to the next; (0, 1): there is none.
        ways: Cycles that request and response spend on the mesh, of every core.
        nodes: Of the memory on the mesh.
        flit_fj: Femtojoules of a flit on its way, of every core.
        sharers: Cores that stream at the same time.
        posted: Bytes that wait in its queues of writes.
        rows: Of a memory of banks: cycles to first data in a closed row and in an open one, refresh
            left aside; bytes from which on rows are open that are read one after the other, and
            after which others are opened. None: every access takes `latency`.
        mesh: As several cores meet in it; None: there is none.
    """

    bytes_per_cycle: float
    peak_bytes_per_cycle: float
    latency: float
    port_bytes: float
    reads: int
    burst_bytes: int
    start: int
    queue: int
    banks: Banks | None = None
    flit_bytes: int = 0
    refresh: tuple[float, float] = (0.0, 1.0)
    ways: tuple[float, ...] = (0.0,)
    nodes: int = 1
    flit_fj: tuple[float, ...] = (0.0,)
    hit: float = 0.0
    sharers: int = 1
    posted: float = float("inf")
    rows: tuple[float, float, int, int] | None = None
    mesh: flow.Mesh | None = None
    _timing: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        refresh, every = self.refresh
        timing = Memory(
            bytes_per_cycle=self.bytes_per_cycle / self.sharers,
            port_bytes=self.port_bytes,
            burst_bytes=self.burst_bytes,
            flit_bytes=self.flit_bytes,
            reads=self.reads,
            queue=self.queue,
            latency=self.latency,
            refresh=refresh,
            refresh_every=every,
        )
        object.__setattr__(self, "_timing", timing)

    def shared(self, cores: int) -> "MemoryFigures":
        """As one of the first cores sees it while all of them stream: the farthest one."""
        further = max(self.ways[:cores]) - self.ways[0]
        return replace(self, sharers=cores, latency=self.latency + further)

    def streaming(
        self,
        rows: float,
        row_bytes: float,
        write: bool = False,
        pitch: int = 0,
        transfers: int = 1,
    ) -> float:
        """Cycles for which a transfer keeps the memory, once its first data are there.

        Args:
            rows: Pieces of memory.
            row_bytes: Bytes of one.
            write: Writes are posted: their number under way limits nothing.
            pitch: Bytes from one to the next; 0: they follow each other.
            transfers: That share the rows.
        """
        return self.streamed(((rows, row_bytes, pitch),), transfers, write)

    def streamed(
        self,
        parts: tuple[tuple[float, float, int], ...],
        transfers: int,
        write: bool = False,
        before: bool = False,
    ) -> float:
        """Cycles for which several transfers alike keep the memory.

        Args:
            parts: What is moved, in pieces of memory: how many, bytes of one, and bytes from one to
                the next; pieces that follow each other are one as far as a transfer goes.
            transfers: That share it.
            write: Whether they write.
            before: Whether others are under way when they begin.
        """
        banks = self.banks
        moved = [
            (
                rows,
                row_bytes,
                pitch,
                1.0
                if banks is None or pitch <= row_bytes
                # The columns of other cores stand beside these.
                else banks.share(min(pitch, int(row_bytes) * self.sharers), pitch),
            )
            for rows, row_bytes, pitch in parts
        ]
        found: float = self._timing.streamed(moved, transfers, write, before)
        return found

    def mesh_energy(self, rows: float, row_bytes: float, pitch: int = 0) -> float:
        """Femtojoules of a transfer on the mesh, of the sharing cores on average: a packet of data and
        one that only asks or answers for every burst, each with a header flit."""
        if not self.flit_bytes:
            return 0.0
        if pitch <= row_bytes:
            rows, row_bytes = 1, rows * row_bytes
        bursts = rows * max(1.0, row_bytes / self.burst_bytes)
        flits = 2.0 - -(rows * row_bytes / bursts) // self.flit_bytes
        return bursts * flits * sum(self.flit_fj[: self.sharers]) / self.sharers

    def load(self, rows: float, row_bytes: float, pitch: int = 0, transfers: int = 1) -> float:
        """Cycles from the issue of a load to its end."""
        streaming = self.streaming(rows, row_bytes, pitch=pitch, transfers=transfers)
        bytes_ = rows * row_bytes
        if streaming <= bytes_ / self.port_bytes:  # the ports stream the first burst meanwhile
            burst = min(bytes_, self.burst_bytes) / self.port_bytes
            streaming = max(bytes_ / self.bytes_per_cycle, streaming - min(self.latency, burst))
        return self.start + self.latency + streaming

    def load_alike(
        self,
        holders: tuple[int, ...],
        at: int,
        rows: float,
        row_bytes: float,
        pitch: int = 0,
        transfers: int = 1,
    ) -> float:
        """Cycles from the issue of a load to its end on the last of some cores (none: of all), where
        all cores load the same rows."""
        if self.sharers == 1 or self.mesh is None:
            return self.load(rows, row_bytes, pitch, transfers)
        return self.loads_alike(holders, (at, rows, row_bytes, pitch))[0]

    def loads_alike(
        self,
        holders: tuple[int, ...],
        *loads: tuple[int, float, float, int],
    ) -> tuple[float, ...]:
        """Cycles from the issue of the first of several such loads to the end of each: address, rows,
        bytes of one, bytes from one to the next. There are several cores and a mesh."""
        cores = holders or range(self.sharers)
        return tuple(
            self.start + max(each[core] for core in cores) for each in self.arrivals(*loads)
        )

    def arrivals(self, *loads: tuple[int, float, float, int]) -> tuple[tuple[float, ...], ...]:
        """The same without the issue, core by core."""
        assert self.mesh is not None
        turn = self.mesh.turn
        sizes = [
            (at % turn, round(rows), round(row_bytes), pitch)
            for at, rows, row_bytes, pitch in loads
        ]
        return flow.alike(self.mesh, self.sharers, *sizes)

    def beside(
        self,
        begins: tuple[int, ...],
        cores: tuple[int, ...],
        at: int,
        rows: float,
        row_bytes: float,
        pitch: int,
        write: bool,
    ) -> float | None:
        """Cycles from the issue of a transfer to its end, or to the last answer's way back if it
        writes, where cores move columns of the same rows, each its own; None: they do not meet in a
        mesh.

        Args:
            begins: Cycle in which each core begins; none: as they leave a barrier.
            cores: Those that have some columns.
            at: Address of the first row.
            rows, row_bytes, pitch: How many, bytes of one, and from one to the next.
            write: Whether they are stored.
        """
        if len(cores) < 2 or self.mesh is None:
            return None
        sizes = (at % self.mesh.turn, round(rows), round(row_bytes), pitch)
        end = flow.beside(self.mesh, begins, cores, *sizes, write)
        way = max(self.ways[core] for core in cores)
        return self.start + max(0.0, end - way * write)

    def store(self, rows: float, row_bytes: float, pitch: int = 0, transfers: int = 1) -> float:
        """Cycles from the issue of a store to its end: writes are posted, so that what the memory's
        queues take waits for the ports alone."""
        cycles = self.streaming(rows, row_bytes, True, pitch, transfers)
        bytes_ = rows * row_bytes
        queued = cycles * min(1.0, self.posted / self.sharers / bytes_)
        return self.start + max(cycles - queued, bytes_ / self.port_bytes)
