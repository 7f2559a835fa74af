"""The machine as the analytical path sees it: a handful of figures from a platform's description."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from npuvp.analytical.flow import Mesh
from npuvp.analytical.memory import INTERLEAVE, MemoryFigures, banks_of, row_sizes
from npuvp.area import Area, area_of
from npuvp.compiler.errors import CompileError
from npuvp.compiler.layout import Geometry
from npuvp.energy import CoreEnergy, load_energy
from npuvp.kept import Kept

if TYPE_CHECKING:
    from npuvp.analytical.schedule import Work

__all__ = [
    "Classes",
    "EnergyFigures",
    "Hardware",
    "InstructionEnergy",
    "hardware_of",
    "of_core",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])


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
    rounds: Kept[str, "Work"] = field(init=False, repr=False)
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
def _rounds(classes: Classes, instructions: InstructionEnergy) -> Kept[str, "Work"]:
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


#: Bytes of an access of a memory without banks.
_IDEAL_ACCESS = 64


def _mesh(description: Mapping[str, Any], clock: float, ways: list[float]) -> Mesh:
    """The memory as bursts of several cores meet it."""
    core = description["cores"][0]["parameters"]
    memory, noc = description["hbms"][0], description["noc"]["parameters"]
    p, config = memory["parameters"], memory["config"]
    nodes = memory["nodes"]
    port_bytes = core["dma_port_bits"] // 8
    figures: dict[str, Any] = {
        name: noc[name]
        for name in ("columns", "rows", "router_cycles", "link_cycles", "buffer_flits")
    }
    figures |= {
        "nodes": tuple((x, y) for x, y in nodes),
        "flit_bytes": noc["flit_bytes"],
        "burst_bytes": port_bytes * core["dma_burst_beats"],
        "reads": core["dma_ports"] * core["dma_outstanding_reads"],
        "writes": core["dma_ports"] * core["dma_outstanding_writes"],
        "port_bytes": float(core["dma_ports"] * port_bytes),
        "interleave": INTERLEAVE,
    }
    if p["backend"] == "ideal":
        figures |= {
            "access_bytes": _IDEAL_ACCESS,
            "channels": 1,
            "depth": p["queue"] * p["channels"] * p["stacks"] // len(nodes),
            "latency": p["latency"] * 1e-12 * clock,
            "access": _IDEAL_ACCESS * len(nodes) / (p["bandwidth"] / clock),
        }
    else:
        organisation = config["organization"]
        per_node = p["channels"] * p["stacks"] // len(nodes) * organisation["pseudo_channels"]
        timing, tick = config["timing"], _tick(config) * clock
        refreshed = p["refresh"] != "none"
        figures |= {
            "access_bytes": organisation["access_bytes"],
            "channels": per_node,
            "depth": p["queue"],
            "latency": timing["cl"] * tick,
            "access": timing["burst"] * tick,
            "activate": timing["rcd_rd"] * tick,
            "precharge": timing["rp"] * tick,
            "read_to_close": timing["rtp"] * tick,
            "row_cycle": timing["rc"] * tick,
            "refresh": timing["rfc"] * tick,
            "refresh_every": timing["refi"] * tick if refreshed else 0.0,
            "groups": organisation["bank_groups"],
            "slices": tuple((name, size) for name, size in config["mapping"]["slices"]),
        }
    places = [tuple(other["nodes"][0]) for other in description["cores"]]
    x, y = description["host"]["nodes"][0]
    hops = [abs(own[0] - x) + abs(own[1] - y) for own in places]
    # Cores near the host come to a barrier first, and the answers leave one after the other.
    first = sorted(range(len(places)), key=lambda core: hops[core])
    per_hop = noc["router_cycles"] + noc["link_cycles"]
    return Mesh(
        tuple(figures.items()),
        tuple((x, y) for x, y in places),
        tuple(first.index(core) + hops[core] * per_hop for core in range(len(places))),
    )


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
    posted = float("inf")
    rows = None
    if p["backend"] != "ideal":
        timing, organisation = config["timing"], config["organization"]
        banks = banks_of(
            tuple((name, size) for name, size in config["mapping"]["slices"]),
            organisation["access_bytes"],
            config["organization"]["channels"] * organisation["pseudo_channels"],
            timing["burst"],
            timing["ccd_l"],
        )
        posted = float(p["queue"] * banks.channels * banks.access_bytes)
        # A closed row: activate, read, burst, and a tick in the queue.
        ticks = timing["rcd_rd"] + timing["cl"] + timing["burst"] + 1
        latency_s = ticks * _tick(config)
        hit = timing["rcd_rd"] * _tick(config) * clock
        before, columns = row_sizes(banks)
        opened = (ticks - timing["rcd_rd"]) * _tick(config) * clock + ways[0]
        rows = (latency_s * clock + ways[0], opened, before, before * columns)
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
        posted=posted,
        rows=rows,
        mesh=_mesh(description, clock, ways) if len(ways) > 1 and flit_bytes else None,
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
