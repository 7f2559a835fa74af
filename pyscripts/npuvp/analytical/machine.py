"""The machine as the analytical path sees it: a handful of figures from a platform's description."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, wraps
from typing import Any, TypeVar, cast

from npuvp.area import Area, area_of
from npuvp.compiler.errors import CompileError
from npuvp.compiler.layout import Geometry
from npuvp.energy import CoreEnergy, load_energy
from npuvp.kept import Kept

__all__ = [
    "INTERLEAVE",
    "Classes",
    "EnergyFigures",
    "Hardware",
    "InstructionEnergy",
    "MemoryFigures",
    "hardware_of",
    "nodes_met",
    "of_core",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])


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


@lru_cache(maxsize=4096)
def _share(banks: Banks, row_bytes: int, pitch: int) -> float:
    """Share of the bandwidth that rows of some bytes at some distance get: they may meet few
    channels, or within a channel one bank group alone."""
    rows, most = 64, 256
    accesses: dict[tuple[int, int], list[int]] = {}
    units = min(most, -(-row_bytes // banks.access_bytes))
    for row in range(rows):
        for unit in range(units):
            index = row * pitch // banks.access_bytes + unit
            place = {}
            for name, size in banks.slices:
                index, place[name] = divmod(index, size)
            channel = (place.get("channel", 0), place.get("pseudo_channel", 0))
            accesses.setdefault(channel, []).append(place.get("bank_group", 0))
    longest = max(
        len(groups) * (banks.burst if len(set(groups)) > 1 else banks.same_group)
        for groups in accesses.values()
    )
    return min(1.0, rows * units * banks.burst / banks.channels / longest)


#: Bytes after which a memory's next node has its turn.
INTERLEAVE = 4096
#: How links and banks add up where several cores stream: an exponent (measured on quad.yaml with two
#: and four cores, whose streams take from 440 to 570 B per cycle together as their addresses fall).
_MEETING = 3.0


@lru_cache(maxsize=4096)
def nodes_met(nodes: int, cores: int, share: int, panel: int, blocks: tuple[int, ...]) -> float:
    """Nodes of a memory in which all cores meet while they stream weights: pieces of 4 KiB go round
    the nodes, and the bytes of one node that is asked for most are what all wait for.

    Args:
        nodes: Of the memory.
        cores: That stream.
        share: Bytes of a block of columns from one core's outputs to the next one's.
        panel: Bytes of such a block that a core asks for at a time, twice.
        blocks: Where blocks begin.
    """
    asked = [0] * nodes
    for core in range(cores):
        for block in blocks:
            first = block + core * share
            for piece in range(first // INTERLEAVE, -(-(first + 2 * panel) // INTERLEAVE)):
                asked[piece % nodes] += 1
    return sum(asked) / max(asked)


@lru_cache(maxsize=4096)
def _passage(nodes: float, cores: int) -> float:
    """Share of its time for which a core's link is busy while all cores read from a memory of some
    nodes: packets wait in a node's queue behind packets to other cores.

    The heads of the queues that want one link are an M/D/1 queue with as many customers on average
    as there are nodes to a core: load + load^2 / (2 (1 - load)) = nodes / cores (Karol, Hluchyj and
    Morgan, IEEE Trans. Commun. 35(12), 1987, for as many of one as of the other: 0.586).
    """
    each = nodes / cores
    return 1.0 if cores == 1 else 1.0 + each - math.sqrt(1.0 + each * each)


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
        met: float = 0.0,
    ) -> float:
        """Cycles for which a transfer keeps the memory, once its first data are there.

        Args:
            rows: Pieces of memory.
            row_bytes: Bytes of one.
            write: Writes are posted: their number under way limits nothing.
            pitch: Bytes from one to the next; 0: they follow each other.
            met: Nodes of the memory in which streams of all cores meet; 0: they are too short to.
        """
        bytes_per_cycle = self.bytes_per_cycle / self.sharers
        if pitch <= row_bytes:
            rows, row_bytes = 1, rows * row_bytes
        elif self.banks is not None:
            # The columns of other cores stand beside these.
            together = min(pitch, int(row_bytes) * self.sharers)
            bytes_per_cycle *= _share(self.banks, together, pitch)
        bursts = rows * max(1.0, row_bytes / self.burst_bytes)
        burst_bytes = rows * row_bytes / bursts
        cycles = rows * row_bytes / bytes_per_cycle
        # Behind the memory: the ports, and on a mesh a packet per burst, with a header flit.
        behind = burst_bytes / self.port_bytes
        if self.flit_bytes:
            behind = max(behind, 1.0 - -burst_bytes // self.flit_bytes)
        # What has been read covers a part of each refresh.
        length, period = self.refresh
        exposed = max(0.0, length - self.reads * behind)
        cycles = max(cycles, bursts * behind / (1.0 - exposed / period))
        if self.sharers > 1 and met:
            cycles = max(cycles, rows * row_bytes / self._shared_rate(burst_bytes / behind, met))
        if bursts > self.reads and not write:
            # A window of bursts per round trip.
            trip = self.latency + max(behind, burst_bytes / bytes_per_cycle)
            cycles = max(cycles, trip * (bursts - self.reads) / self.reads)
        return cycles

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

    def _shared_rate(self, link: float, met: float) -> float:
        """Bytes per cycle that a core gets whose link gives so many to it alone, and which meets the
        others in so many nodes."""
        if self.flit_bytes:
            link *= _passage(met, self.sharers)
        if self.banks is None:
            return link
        # Where links leave the memory little to spare, streams meet in its banks.
        own = self.bytes_per_cycle / self.sharers * met / self.nodes
        return float((link**-_MEETING + own**-_MEETING) ** (-1 / _MEETING))

    def load(self, rows: float, row_bytes: float, pitch: int = 0) -> float:
        """Cycles from the issue of a load to its end."""
        return self.start + self.latency + self.streaming(rows, row_bytes, pitch=pitch)

    def load_alike(self, rows: float, row_bytes: float, pitch: int = 0) -> float:
        """Cycles from the issue of a load to its end, where all cores load the same rows: they stand in
        few nodes of the memory. A core's turn for a burst comes half way on average, so that of several
        bursts the last one is served late."""
        cycles = self.streaming(rows, row_bytes, pitch=pitch)
        if self.sharers > 1 and self.flit_bytes:
            if pitch <= row_bytes:
                rows, row_bytes = 1, rows * row_bytes
            bytes_ = rows * row_bytes
            nodes = min(self.nodes, -(-int(bytes_) // INTERLEAVE))
            bursts = rows * max(1.0, row_bytes / self.burst_bytes)
            flits = bursts * (1.0 - -(bytes_ / bursts) // self.flit_bytes)
            data = bytes_ * self.nodes / self.peak_bytes_per_cycle
            late = 1 - 0.5 / bursts
            cycles = max(cycles, self.sharers / nodes * max(flits, data) * late)
        return self.start + self.latency + cycles

    def store(self, rows: float, row_bytes: float, pitch: int = 0) -> float:
        """Cycles from the issue of a store to its end: writes are posted."""
        return self.start + self.streaming(rows, row_bytes, write=True, pitch=pitch)


@dataclass(frozen=True, eq=False)
class InstructionEnergy:
    """Coefficients in fJ of instructions, one object for all machines that have the same ones."""

    issue: int
    once: Mapping[str, int]
    element: Mapping[str, int]
    vector_row: int

    def of(self, timing: str, elements: float = 0) -> float:
        """fJ of an instruction of a timing class that streams so many elements, rows apart."""
        return self.issue + self.once[timing] + self.element[timing] * elements


@dataclass(frozen=True, eq=False)
class EnergyFigures:
    """Coefficients in fJ, and static power in W; see `npuvp.energy`. All are estimates."""

    instructions: InstructionEnergy
    matrix_row: int
    mac: int
    dma_byte: int
    read_byte: float
    write_byte: float
    static_watts: float


@dataclass(frozen=True, eq=False)
class Classes:
    """(interval, latency, per element) of every timing class, one object for all machines that have
    the same ones."""

    costs: Mapping[str, tuple[int, int, int]]
    blocking: bool


@dataclass(frozen=True, eq=False)
class Hardware:
    """A core, its memory, and how many such cores there are.

    Attributes:
        name: Of the platform.
        clock_hz: Clock.
        geometry: As the compiler sees the core, or why it does not serve it.
        vlen, mlen, blen, tile_rows: Widths; `tile_rows` rows of an output tile of the matrix unit.
        matrix: (interval, latency) of M_MM on top of the geometry, or alone with `matrix_table`.
        writeout: The same of a write-out.
        matrix_table: Whether the timing table alone counts.
        overlapping_tiles: Whether a tile's operands follow those of the one before it at once.
        classes: Costs of the instructions.
        memory, energy, area: Figures.
        fp_words, int_words, vector_rows: SRAMs of the sampling engine.
        prefetch_rows: Rows of a prefetch of the sampling step.
        cores: Number of cores.
        unlike: In what others differ from the first, by their number.
        rounds: What rounds of loops take, by their text (`npuvp.analytical.schedule`); the same for
            all machines with the same classes and energies.
        parts: What `of_core` keeps; the same for all machines that differ in name, clock, number of
            cores, memory and area alone.
        sharing: The same as so many cores see it that stream at once.
    """

    name: str
    clock_hz: float
    geometry: Geometry | CompileError
    vlen: int
    mlen: int
    blen: int
    tile_rows: int
    matrix: tuple[int, int]
    writeout: tuple[int, int]
    matrix_table: bool
    overlapping_tiles: bool
    classes: Classes
    memory: MemoryFigures
    energy: EnergyFigures = field(repr=False)
    area: Area = field(repr=False)
    vector_rows: int = 0
    imem_words: int = 0
    prefetch_rows: int = 16
    cores: int = 1
    unlike: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    rounds: Kept[str, tuple[float, float, float]] = field(init=False, repr=False)
    parts: Kept[tuple[Any, ...], Any] = field(init=False, repr=False)
    sharing: dict[int, "Hardware"] = field(default_factory=dict, init=False, repr=False)
    _core: object = field(init=False, repr=False)
    _seen: Kept[tuple[Any, ...], Kept[tuple[Any, ...], Any]] = field(
        default_factory=lambda: Kept(16), init=False, repr=False
    )

    def __post_init__(self) -> None:
        self.sharing[1] = self
        instructions = self.energy.instructions
        object.__setattr__(self, "rounds", _rounds(self.classes, instructions))
        object.__setattr__(self, "_core", self._of_core())
        object.__setattr__(self, "parts", _parts(self._core))

    def _of_core(self) -> object:
        """Stands for all that closed forms see of the machine but its memory."""
        energy = self.energy
        return _core(
            self.geometry,
            self.vlen,
            self.mlen,
            self.blen,
            self.tile_rows,
            self.matrix,
            self.writeout,
            self.matrix_table,
            self.overlapping_tiles,
            self.classes,
            energy.instructions,
            energy.matrix_row,
            energy.mac,
            energy.dma_byte,
        )

    def seen(self, *model: Any) -> Kept[tuple[Any, ...], Any]:
        """What closed forms keep between estimates of a model on equal cores and memories."""
        found = self._seen.get(model)
        if found is None:
            found = self._seen.keep(model, _seen(self._core, self.memory, *model))
        return found

    @property
    def multipliers(self) -> int:
        """Of the matrix unit."""
        return self.mlen * self.tile_rows

    @cached_property
    def peak_flops(self) -> float:
        """Floating-point operations per second of the matrix unit, a multiply-accumulate being two."""
        return 2.0 * self.multipliers * self.clock_hz

    def shared(self, cores: int) -> "Hardware":
        """As one of the first cores sees it while all of them work."""
        if cores not in self.sharing:
            own = replace(self, memory=self.sharing[1].memory.shared(cores))
            object.__setattr__(own, "sharing", self.sharing)
            self.sharing[cores] = own
        return self.sharing[cores]

    def differing(self, cores: int) -> list[str]:
        """Why the first so many cores cannot share a generation."""
        return [fault for core in range(1, cores) for fault in self.unlike.get(core, ())]

    @property
    def peak_bandwidth(self) -> float:
        """Of the memory, bytes per second."""
        return self.memory.peak_bytes_per_cycle * self.clock_hz


# Machines of a sweep share what they have in common, so many of the latest ones each.


@lru_cache(maxsize=256)
def _rounds(
    classes: Classes, instructions: InstructionEnergy
) -> Kept[str, tuple[float, float, float]]:
    return Kept(8192)


@lru_cache(maxsize=256)
def _core(*figures: Any) -> object:
    return object()


@lru_cache(maxsize=256)
def _parts(core: object) -> Kept[tuple[Any, ...], Any]:
    return Kept(8192)


@lru_cache(maxsize=64)
def _seen(core: object, memory: MemoryFigures, *model: Any) -> Kept[tuple[Any, ...], Any]:
    return Kept(8192)


def of_core(function: _Function) -> _Function:
    """Keeps the results of a function of a machine that does not look at its memory, nor at its clock.

    Args:
        function: Of a `Hardware` and arguments that can be keys.
    """

    @wraps(function)
    def kept(h: Hardware, *arguments: Any) -> Any:
        key = (function, *arguments)
        found = h.parts.get(key)
        return h.parts.keep(key, function(h, *arguments)) if found is None else found

    return cast(_Function, kept)


@lru_cache(maxsize=1024)
def _classes(costs: tuple[tuple[str, tuple[int, int, int]], ...], blocking: bool) -> Classes:
    return Classes(dict(costs), blocking)


@lru_cache(maxsize=1024)
def _instruction_energy(
    issue: int,
    vector_row: int,
    names: tuple[str, ...],
    once: tuple[int, ...],
    element: tuple[int, ...],
) -> InstructionEnergy:
    return InstructionEnergy(
        issue,
        dict(zip(names, once, strict=True)),
        dict(zip(names, element, strict=True)),
        vector_row,
    )


@lru_cache(maxsize=1024)
def _instructions_of(e: CoreEnergy) -> InstructionEnergy:
    return _instruction_energy(
        e.issue_fj,
        e.sram_access_fj["vector"],
        tuple(e.classes),
        tuple(c.once_fj for c in e.classes.values()),
        tuple(c.element_fj for c in e.classes.values()),
    )


def _tick(config: Mapping[str, Any]) -> float:
    """Seconds of a tick of a memory's timing."""
    return 1e-3 / float(config["clock_khz"] * config["bus"]["ticks_per_clock"])


def _memory(description: Mapping[str, Any], clock: float) -> MemoryFigures:
    core = description["cores"][0]["parameters"]
    memory = description["hbms"][0]
    p, config = memory["parameters"], memory["config"]
    port_bits = core["dma_port_bits"] // 8
    port_bytes = float(core["dma_ports"] * port_bits)
    ways, flit_bytes = [0.0] * len(description["cores"]), 0
    flit_fj = [0.0] * len(description["cores"])
    if description["noc"] is not None:
        # Request and response cross the mesh; a node's link carries a flit per cycle.
        p_noc = description["noc"]["parameters"]
        per_hop = p_noc["router_cycles"] + p_noc["link_cycles"]
        from npuvp.machine import energy_coefficients

        nodes = memory["nodes"]
        hop_fj = energy_coefficients(description)[description["noc"]["name"]]["hop_fj"]
        for index, other in enumerate(description["cores"]):
            x, y = other["nodes"][0]
            distance = sum(abs(x - at[0]) + abs(y - at[1]) for at in nodes) / len(nodes)
            ways[index] = 2 * (distance + 1) * per_hop
            flit_fj[index] = (distance + 1) * hop_fj
        flit_bytes = p_noc["flit_bytes"]
    latency_s, hit = p["latency"] * 1e-12, 0.0
    bandwidth = float(p["bandwidth"])
    refresh = (0.0, 1.0)
    banks = None
    if p["backend"] != "ideal":
        timing, organisation = config["timing"], config["organization"]
        banks = Banks(
            slices=tuple((name, size) for name, size in config["mapping"]["slices"]),
            access_bytes=organisation["access_bytes"],
            channels=config["organization"]["channels"] * organisation["pseudo_channels"],
            burst=timing["burst"],
            same_group=timing["ccd_l"],
        )
        # A closed row: activate, read, burst, and a tick in the queue.
        ticks = timing["rcd_rd"] + timing["cl"] + timing["burst"] + 1
        latency_s = ticks * _tick(config)
        hit = timing["rcd_rd"] * _tick(config) * clock
        if p["refresh"] != "none":
            tick = _tick(config) * clock
            refresh = (timing["rfc"] * tick, timing["refi"] * tick)
            # A request that comes at any time meets a refresh with this probability, and waits for
            # half of it on average.
            latency_s += refresh[0] / refresh[1] * refresh[0] / 2 / clock
    return MemoryFigures(
        bytes_per_cycle=bandwidth * (1.0 - refresh[0] / refresh[1]) / clock,
        peak_bytes_per_cycle=bandwidth / clock,
        latency=latency_s * clock + ways[0],
        port_bytes=port_bytes,
        reads=core["dma_ports"] * core["dma_outstanding_reads"],
        burst_bytes=port_bits * core["dma_burst_beats"],
        start=core["dma_start_cycles"],
        queue=core["dma_queue_depth"],
        banks=banks,
        flit_bytes=flit_bytes,
        refresh=refresh,
        ways=tuple(ways),
        nodes=len(memory["nodes"]),
        flit_fj=tuple(flit_fj),
        hit=hit,
    )


def _energy(description: Mapping[str, Any]) -> EnergyFigures:
    from npuvp.machine import core_coefficients, memory_coefficients

    platform, memory = description["platform"], description["hbms"][0]
    core = description["cores"][0]["parameters"]
    table = load_energy(platform["energy"]).at(platform["voltage"])
    of_core = table.core(core, platform["clock"], platform["clock_gating"])
    e = core_coefficients(of_core, core["weight_format"])
    m = memory_coefficients(table, memory)
    watts = m["static_watts"]
    read, write = float(m["read_byte_fj"]), float(m["write_byte_fj"])
    if m["by_command"]:
        config = memory["config"]
        organisation, timing = config["organization"], config["timing"]
        row = organisation["columns"] * organisation["access_bytes"]
        read = m["read_command_byte_fj"] + m["activate_fj"] / row
        write = m["write_command_byte_fj"] + m["activate_fj"] / row
        p = memory["parameters"]
        if p["refresh"] != "none":
            channels = p["channels"] * p["stacks"] * organisation["pseudo_channels"]
            watts += channels * m["refresh_fj"] * 1e-15 / (timing["refi"] * _tick(config))
    cores = len(description["cores"])
    return EnergyFigures(
        instructions=_instructions_of(of_core),
        matrix_row=e["matrix_row_fj"],
        mac=e["mac_fj"],
        dma_byte=e["dma_byte_fj"],
        read_byte=read,
        write_byte=write,
        static_watts=watts + cores * sum(e["static_watts"].values()),
    )


def _unlike(description: Mapping[str, Any]) -> dict[int, tuple[str, ...]]:
    """In what cores differ from the first one, by their number."""
    first = description["cores"][0]
    found = {}
    for index, other in enumerate(description["cores"]):
        if other["parameters"] != first["parameters"]:
            found[index] = tuple(
                f"{other['name']}.{name}: {value}, allowed: {first['parameters'][name]}, as "
                f"{first['name']} has (closed form: cores that share a generation are alike)"
                for name, value in other["parameters"].items()
                if value != first["parameters"][name]
            )
    return found


def hardware_of(description: Mapping[str, Any]) -> Hardware:
    """The figures of a platform: its cores, by the first one, and its first memory.

    Args:
        description: `Platform.description()`.

    Raises:
        EnergyError: The energy table lacks something that the platform needs.
    """
    geometry: Geometry | CompileError
    try:
        geometry = Geometry.of(dict(description))
    except CompileError as error:
        geometry = error
    p = description["cores"][0]["parameters"]
    clock = 1e12 / description["period_ps"]
    costs = {
        name: (cost["interval"], cost["latency"], cost["per_element"])
        for name, cost in p["timing"].items()
    }
    unit = 2 if p["vector_format"] == "bf16" else 4
    return Hardware(
        name=description["name"],
        clock_hz=clock,
        geometry=geometry,
        vlen=p["vlen"],
        mlen=p["mlen"],
        blen=p["blen"],
        tile_rows=p["blen"] * p["matrix_rows"],
        matrix=costs["matrix_mm"][:2],
        writeout=costs["matrix_writeout"][:2],
        matrix_table=p["matrix_timing"] == "table",
        overlapping_tiles=p["accumulators"] > 1,
        classes=_classes(tuple(costs.items()), p["issue"] == "blocking"),
        memory=_memory(description, clock),
        energy=_energy(description),
        area=area_of(description),
        vector_rows=p["vector_sram_bytes"] // (p["vlen"] * unit),
        imem_words=p["imem_words"],
        prefetch_rows=p["prefetch_v_rows"],
        cores=len(description["cores"]),
        unlike=_unlike(description),
    )
