"""Everything that must hold between the parameters of a platform, and its memory map."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from npuvp.components import Attachment, Component, Core, Host, Memory, Mesh, Node, Target
from npuvp.energy import EnergyError, EnergyTable, load_energy
from npuvp.kept import Kept
from npuvp.memory_facts import PresetFacts, energy_generation, node_config, resolve_memory
from npuvp.memory_map import CORE_SPACES, SLOTS, Region, overlaps
from npuvp.memory_presets import MemoryConfigError
from npuvp.parameters import Fault, Values, declaration
from npuvp.quantities import format_quantity
from npuvp.resolve import FORMAT_BYTES, UNSCALED, resolve_core

__all__ = ["CSR_BYTES", "HOST_PAGE", "Checked", "Parts", "check_parts", "core_sizes"]

CSR_BYTES = 4096
HOST_PAGE = 4096
"""Bytes of the host interface per core: each core has its own mailbox, doorbell and console."""
_PERIPHERAL_SLOT = 64 * 1024
_MEMORY_STEP = 4096
_ADDRESSES = 1 << 63
_cores: Kept[tuple[Any, ...], dict[str, Any]] = Kept(4096)


@dataclass
class Parts:
    """What a platform consists of."""

    platform: Component
    cores: list[Core] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    meshes: list[Mesh] = field(default_factory=list)
    host: Host | None = None
    targets: list[Target] = field(default_factory=list)


@dataclass
class Checked:
    """The result of checking.

    Attributes:
        faults: what is wrong; the rest may be used only if it is empty.
        platform, cores, memories, mesh, host: values as the machine sees them. Other platforms may
            share them: who changes one makes a copy before.
        targets: per target (size, latency in ps, base).
        presets: per memory, the preset's facts or None.
        configs: per memory, what simulates the channels behind a node, or None.
        regions: the memory map, by address.
        nodes: nodes by component name; empty without a mesh.
    """

    faults: list[Fault] = field(default_factory=list)
    platform: dict[str, Any] = field(default_factory=dict)
    cores: list[dict[str, Any]] = field(default_factory=list)
    memories: list[dict[str, Any]] = field(default_factory=list)
    mesh: dict[str, Any] | None = None
    host: dict[str, Any] = field(default_factory=dict)
    targets: list[tuple[int, int, int]] = field(default_factory=list)
    presets: list[PresetFacts | None] = field(default_factory=list)
    configs: list[dict[str, Any] | None] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    nodes: dict[str, list[Node]] = field(default_factory=dict)


def _bytes(value: int) -> str:
    return format_quantity("bytes", value)


def core_sizes(values: dict[str, Any]) -> dict[str, int]:
    """Bytes of a core's memory-mapped spaces, by the name of the space."""
    return {
        "csr": CSR_BYTES,
        "vector": values["vector_sram_bytes"],
        "matrix": values["matrix_sram_bytes"],
        "fp": values["fp_sram_words"] * FORMAT_BYTES[values["fp_format"]],
        "int": values["int_sram_words"] * 4,
    }


def _check_core(core: Core, given: Values, platform: Values, faults: list[Fault]) -> dict[str, Any]:
    sound = platform.sound("clock")
    key = None if given.key is None else (given.key, platform["clock"], sound)
    if key is not None and (found := _cores.get(key)) is not None:
        return found
    before = len(faults)
    values = resolve_core(given.values)
    vlen, mlen = values["vlen"], values["mlen"]
    core_parameters = declaration().components["core"].parameters

    def demand(holds: bool, names: Sequence[str], message: str) -> None:
        """A fault of names[0], unless one of `names` is faulty in itself."""
        if not holds and given.sound(*names):
            default = core_parameters[names[0]].format(values[names[0]])
            faults.append(core.fault(names[0], default, message))

    demand(
        values["blen"] <= mlen, ("blen", "mlen", "vlen"), f"must be at most mlen, which is {mlen}"
    )
    demand(
        values["hlen"] <= min(vlen, mlen),
        ("hlen", "mlen", "vlen"),
        f"must be at most vlen and mlen, which are {vlen} and {mlen}",
    )

    period = 10**12 / platform["clock"]
    demand(
        values["quantum"] >= period or not sound,
        ("quantum",),
        f"must be at least a period of the clock, {period:g} ps",
    )

    row = vlen * FORMAT_BYTES[values["vector_format"]]
    size = values["vector_sram_bytes"]
    demand(
        size % row == 0,
        ("vector_sram_bytes", "vlen", "vector_format"),
        f"must be a whole number of rows of {row} bytes "
        f"({vlen} elements of {values['vector_format']})",
    )
    rows = size // row
    demand(
        rows * vlen <= 1 << 32,
        ("vector_sram_bytes", "vlen", "vector_format"),
        "must hold at most 2^32 elements, which is what an integer register can address",
    )
    tile = mlen * mlen * FORMAT_BYTES[values["matrix_format"]]
    matrix = values["matrix_sram_bytes"]
    demand(
        matrix % tile == 0,
        ("matrix_sram_bytes", "mlen", "vlen", "matrix_format"),
        f"must be a whole number of tiles of {tile} bytes "
        f"({mlen} x {mlen} elements of {values['matrix_format']})",
    )
    demand(
        matrix // FORMAT_BYTES[values["matrix_format"]] <= 1 << 32,
        ("matrix_sram_bytes", "mlen", "vlen", "matrix_format"),
        "must hold at most 2^32 elements, which is what an integer register can address",
    )
    for name in ("prefetch_v_rows", "writeback_v_rows"):
        demand(
            values[name] <= rows or size % row != 0,
            (name, "vector_sram_bytes", "vlen", "vector_format"),
            f"must be at most the rows of Vector SRAM, {rows} ({_bytes(size)} at vlen {vlen})",
        )
    matrix_rows = matrix // (mlen * FORMAT_BYTES[values["matrix_format"]])
    demand(
        values["prefetch_m_rows"] <= matrix_rows or matrix % tile != 0,
        ("prefetch_m_rows", "matrix_sram_bytes", "mlen", "vlen", "matrix_format"),
        f"must be at most the rows of Matrix SRAM, {matrix_rows} ({_bytes(matrix)} at mlen {mlen})",
    )
    for tensor, length, name in (
        ("act", vlen, "vlen"),
        ("weight", mlen, "mlen"),
        ("kv", min(vlen, mlen), "vlen and mlen"),
    ):
        demand(
            values[f"{tensor}_block"] <= length or values[f"{tensor}_format"] in UNSCALED,
            (f"{tensor}_block", f"{tensor}_format", "vlen", "mlen"),
            f"must be at most {name}, a row of {length} elements: blocks do not cross rows",
        )
    if key is not None and len(faults) == before:
        _cores.keep(key, values)
    return values


def _energy_table(platform: Component, given: Values, faults: list[Fault]) -> EnergyTable | None:
    if not given.sound("energy"):
        return None
    try:
        table = load_energy(given["energy"])
    except EnergyError as error:
        faults.append(platform.fault("energy", given["energy"], str(error)))
        return None
    if given.sound("process") and given["process"] != table.name:
        message = f"the energy table {given['energy']} is of another process, {table.name}"
        faults.append(platform.fault("process", given["process"], message))
    return table


def _check_memory(
    memory: Memory, given: Values, energy: EnergyTable | None, faults: list[Fault]
) -> tuple[dict[str, Any], PresetFacts | None]:
    facts = memory.facts(given, faults)
    values = resolve_memory(given.values, given.entries, facts)
    if facts is None and given.sound("preset", "backend"):
        if values["backend"] != "ideal":
            message = (
                f"the backend {values['backend']} needs a preset; without one only the ideal "
                "backend works (with size and bandwidth)"
            )
            faults.append(memory.fault("preset", "''", message))
        else:
            for name in ("size", "bandwidth"):
                if values[name] == 0 and given.sound(name):
                    message = "must be given where there is no preset to take it from"
                    faults.append(memory.fault(name, "0", message))
    if facts is not None and values["backend"] != "ideal" and given.sound("size"):
        capacity = facts.stack_bytes * values["stacks"] * values["channels"] // facts.channels
        if values["size"] > capacity:
            message = f"must be at most what the channels hold, {_bytes(capacity)}"
            faults.append(memory.fault("size", _bytes(values["size"]), message))
    # The only backend that a build may lack; all else holds without the extension module.
    if given.sound("backend") and values["backend"] == "ramulator":
        from npuvp._core import memory_backend_unavailable

        missing = memory_backend_unavailable(values["backend"])
        if missing:
            faults.append(memory.fault("backend", repr(values["backend"]), missing))
    if energy is not None and given.sound("preset", "energy"):
        generation = energy_generation(values)
        key = "preset" if generation == values["preset"] else "energy"
        try:
            energy.memory(generation)
        except EnergyError as error:
            faults.append(memory.fault(key, generation, str(error)))
    for name in ("size", "base"):
        if values[name] % 64 and given.sound(name):
            message = "must be a multiple of 64 bytes"
            faults.append(memory.fault(name, _bytes(values[name]), message))
    return values, facts


def _check_mesh(parts: Parts, mesh: Mesh, given: Values, result: Checked) -> None:
    faults = result.faults
    columns, rows = given["columns"], given["rows"]
    owner: dict[Node, Attachment] = {}
    attached: dict[int, Attachment] = {}
    members: list[Component | Target] = [*parts.cores, *parts.memories, *parts.targets]
    if parts.host is not None:
        members.append(parts.host)
    for attachment in mesh.attachments:
        component, place, key = attachment.component, attachment.place, attachment.key
        if not any(component is member for member in members):
            message = "is no part of this platform"
            faults.append(Fault(place, key, None, f"{component.name} {message}"))
            continue
        first = attached.setdefault(id(component), attachment)
        if first is not attachment:
            message = f"{component.name} is attached already (at {first.place})"
            faults.append(Fault(place, key, None, message))
            continue
        nodes = attachment.nodes()
        several = isinstance(component, Memory)
        if nodes is None or (len(nodes) > 1 and not several):
            allowed = "a node [x, y] or a list of nodes" if several else "a node [x, y]"
            faults.append(Fault(place, key, attachment.text, f"must be {allowed}"))
            continue
        result.nodes[component.name] = nodes
        if isinstance(component, Memory):
            facts = result.presets[parts.memories.index(component)]
            values = result.memories[parts.memories.index(component)]
            channels = values["channels"] * values["stacks"]
            if facts is not None and len(nodes) > channels:
                message = f"more nodes than the memory has channels, which is {channels}"
                faults.append(Fault(place, key, attachment.text, message))
            elif facts is not None and channels % len(nodes):
                message = (
                    f"{len(nodes)} nodes cannot share {component.name}'s {channels} channels evenly"
                )
                faults.append(Fault(place, key, attachment.text, message))
        for node in nodes:
            x, y = node
            text = f"[{x}, {y}]"
            if not (0 <= x < columns and 0 <= y < rows):
                if given.sound("columns", "rows"):
                    message = (
                        f"outside the mesh: x must be from 0 to {columns - 1}, "
                        f"y from 0 to {rows - 1}"
                    )
                    faults.append(Fault(place, key, text, message))
                continue
            other = owner.setdefault(node, attachment)
            if other is not attachment and not isinstance(component, Host):
                message = f"node taken by {other.component.name} (at {other.place})"
                faults.append(Fault(place, key, text, message))
            elif other is attachment and nodes.count(node) > 1:
                faults.append(Fault(place, key, text, "node named twice"))
    for member in members:
        if id(member) not in attached and not isinstance(member, Host):
            message = f"is not connected: attach it to a node of the mesh {mesh.name}"
            faults.append(Fault(member.place, str(member.name), None, message))


def _check_channels(parts: Parts, result: Checked) -> None:
    """Whether what simulates a memory can be made from its parameters and nodes."""
    for memory, values in zip(parts.memories, result.memories, strict=True):
        nodes = max(1, len(result.nodes.get(memory.name, [])))
        try:
            config = node_config(memory.name, values, nodes)
            # What an external simulator does not know, only it can say.
            if values["backend"] == "ramulator":
                from npuvp._core import memory_backend_refusal

                refusal = memory_backend_refusal(values["backend"], config)
                if refusal:
                    fault = memory.fault("backend", repr(values["backend"]), refusal)
                    result.faults.append(fault)
            result.configs.append(config)
        except MemoryConfigError as error:
            for fault in error.faults:
                given = memory.settings.get(fault.key)
                place = memory.place if given is None else given.place
                key = memory.key(fault.key)
                result.faults.append(Fault(place, key, fault.value, fault.message))


def _lay_out(parts: Parts, result: Checked, platform: Values) -> None:
    """The memory map; addresses of targets without a base are given out here."""
    values = platform.values
    regions = result.regions
    faults = result.faults
    behind = 0
    for memory, memory_values in zip(parts.memories, result.memories, strict=True):
        if "base" not in memory.settings:
            memory_values["base"] = -(-behind // _MEMORY_STEP) * _MEMORY_STEP
        base, size = memory_values["base"], memory_values["size"]
        behind = max(behind, base + size)
        regions.append(Region(memory.name, memory.name, "memory", base, size, memory.place))
    if platform.sound("core_base", "core_window"):
        slot = values["core_window"] // SLOTS
        for index, (core, core_values) in enumerate(zip(parts.cores, result.cores, strict=True)):
            base = values["core_base"] + index * values["core_window"]
            sizes = core_sizes(core_values)
            for number, space in enumerate(CORE_SPACES):
                name = f"{core.name}.{space}"
                if sizes[space] > slot:
                    message = (
                        f"{_bytes(sizes[space])} do not fit into a slot of {_bytes(slot)}: "
                        f"core_window must be at least {SLOTS} times the greatest space"
                    )
                    faults.append(Fault(core.place, name, None, message))
                    continue
                regions.append(
                    Region(name, core.name, space, base + number * slot, sizes[space], core.place)
                )
    if platform.sound("peripheral_base", "peripheral_window"):
        base = values["peripheral_base"]
        end = base + values["peripheral_window"]
        place = parts.platform.place if parts.host is None else parts.host.place
        pages = -(-len(parts.cores) * HOST_PAGE // _PERIPHERAL_SLOT) * _PERIPHERAL_SLOT
        for name, size in (("host", pages or _PERIPHERAL_SLOT), ("semaphores", _PERIPHERAL_SLOT)):
            regions.append(Region(name, "host", "peripheral", base, size, place))
            base += size
        for index, target in enumerate(parts.targets):
            size, latency, wanted = result.targets[index]
            at = base if wanted < 0 else wanted
            if wanted < 0:
                base += -(-size // _PERIPHERAL_SLOT) * _PERIPHERAL_SLOT
                if at + size > end:
                    message = f"does not fit into the window of peripherals, which ends at {end:#x}"
                    faults.append(Fault(target.place, f"{target.name}", _bytes(size), message))
            result.targets[index] = (size, latency, at)
            regions.append(Region(target.name, target.name, "peripheral", at, size, target.place))
    regions.sort(key=lambda region: region.base)
    for region in regions:
        if region.end > _ADDRESSES:
            message = f"{region} ends above the address space of 2^63 bytes"
            faults.append(Fault(region.place, "memory map", None, message))
    faults.extend(overlaps(regions))


def check_parts(parts: Parts) -> Checked:
    """Checks all of a platform and lays out its memory map; never stops at the first fault."""
    result = Checked()
    faults = result.faults
    place = parts.platform.place
    platform = parts.platform.checked(faults)
    result.platform = platform.values
    if platform.sound("name") and not platform["name"]:
        faults.append(parts.platform.fault("name", "''", "must not be empty"))
    energy = _energy_table(parts.platform, platform, faults)
    for core in parts.cores:
        result.cores.append(_check_core(core, core.checked(faults), platform, faults))
    for memory in parts.memories:
        values, facts = _check_memory(memory, memory.checked(faults), energy, faults)
        result.memories.append(values)
        result.presets.append(facts)
    host = parts.host or Host("host", {}, place)
    result.host = host.checked(faults).values
    for target in parts.targets:
        size, latency, base = target.checked(faults)
        result.targets.append((size, latency, -1 if base is None else base))
    if not parts.cores:
        faults.append(Fault(place, "cores", None, "a platform needs at least one core"))
    if not parts.memories:
        faults.append(Fault(place, "hbm", None, "a platform needs at least one memory"))
    named: dict[str, str] = {}
    everything: list[Component | Target] = [
        *parts.cores,
        *parts.memories,
        *parts.meshes,
        host,
        *parts.targets,
    ]
    for part in everything:
        if part.name in named:
            message = f"the name is taken (at {named[part.name]})"
            faults.append(Fault(part.place, str(part.name), None, message))
        else:
            named[part.name] = part.place
    for mesh in parts.meshes:
        given = mesh.checked(faults)
        if mesh is not parts.meshes[0]:
            message = f"a platform has one mesh, and {parts.meshes[0].name} is it"
            faults.append(Fault(mesh.place, mesh.name, None, message))
            continue
        result.mesh = given.values
        _check_mesh(parts, mesh, given, result)
    _lay_out(parts, result, platform)
    if not faults:
        _check_channels(parts, result)
    result.faults = list(dict.fromkeys(faults))
    return result
