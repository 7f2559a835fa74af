"""A platform as text: topology, memory map and peak figures."""

from collections.abc import Iterable
from typing import Any

from npuvp.energy import load_energy
from npuvp.platform import Platform
from npuvp.quantities import format_quantity
from npuvp.resolve import FORMAT_BYTES

__all__ = ["describe"]


def describe(platform: Platform) -> str:
    """Draws the topology, lists the memory map and states the peak figures.

    Peak figures are products of the parameters: lanes, multipliers or port bits times the clock.
    A memory's is the bandwidth of its ideal backend or its preset's data buses.

    Raises:
        PlatformError: the platform has faults.
    """
    description = platform.description()
    clock = format_quantity("frequency", description["platform"]["clock"])
    lines = [
        f"{description['name']}: clock {clock} (period {description['period_ps']} ps), "
        f"{description['platform']['process']}",
        "",
        "Topology",
        *_indented(_topology(description)),
        "",
        "Memory map",
        *_indented(_memory_map(description)),
        "",
        "Peak figures",
        *_indented(_peaks(description)),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _runs(parts: list[dict[str, Any]]) -> list[tuple[str, int, dict[str, Any]]]:
    """Consecutive parts with equal parameters as (name, count, parameters)."""
    result: list[tuple[str, int, dict[str, Any]]] = []
    first = ""
    for part in parts:
        if result and result[-1][2] == part["parameters"]:
            result[-1] = (f"{first}..{part['name']}", result[-1][1] + 1, part["parameters"])
        else:
            first = part["name"]
            result.append((first, 1, part["parameters"]))
    return result


def _topology(description: dict[str, Any]) -> list[str]:
    host = description["host"]
    parts = [*description["cores"], *description["targets"]]
    memories = description["hbms"]
    if description["noc"] is None:
        left = [part["name"] for part in (*parts, host)]
        right = [memory["name"] for memory in memories]
        height = max(len(left), len(right))
        width = max(map(len, left))
        middle = (height - 1) // 2
        offset = (height - len(right)) // 2
        lines = []
        for row in range(height):
            start = f"{left[row]:<{width}} --" if row < len(left) else " " * (width + 3)
            has_right = offset <= row < offset + len(right)
            end = f"-- {right[row - offset]}" if has_right else ""
            lines.append(f"{start}{'+ bus +' if row == middle else '|     |'}{end}")
        return lines
    columns = description["noc"]["parameters"]["columns"]
    rows = description["noc"]["parameters"]["rows"]
    names = {(x, y): "." for x in range(columns) for y in range(rows)}
    for part in [*parts, *memories]:
        for number, (x, y) in enumerate(part["nodes"]):
            name = part["name"] if len(part["nodes"]) == 1 else f"{part['name']}:{number}"
            names[x, y] = name
    width = max(map(len, names.values()))
    mesh = description["noc"]
    flit = mesh["parameters"]["flit_bytes"]
    x, y = host["nodes"][0]
    lines = [
        f"{mesh['name']}: {columns} x {rows} nodes, links of {flit} B per cycle; "
        f"host interface at node [{x}, {y}]"
    ]
    for y in range(rows):
        if y:
            lines.append("   ".join("|".center(width + 4) for _ in range(columns)))
        lines.append("---".join(f"[ {names[x, y].center(width)} ]" for x in range(columns)))
    return lines


def _memory_map(description: dict[str, Any]) -> list[str]:
    regions = description["memory_map"]
    width = max(len(region["name"]) for region in regions)
    digits = max(len(f"{region['base'] + region['size']:x}") for region in regions)
    # Of cores that are alike, the first one's spaces and the distance of the windows say all.
    alike: dict[str, str] = {}
    first, repeats = description["cores"][0], []
    for core in description["cores"]:
        if core["parameters"] != first["parameters"]:
            first = core
        elif core is not first:
            alike[core["name"]] = first["name"]
            repeats.append(core)
    window = description["platform"]["core_window"]
    lines = []
    for region in regions:
        if region["owner"] not in alike:
            lines.append(
                f"{region['name']:<{width}}  0x{region['base']:0{digits}x} .. "
                f"0x{region['base'] + region['size'] - 1:0{digits}x}  "
                f"{format_quantity('bytes', region['size'])}"
            )
        elif repeats and region["owner"] == repeats[0]["name"]:
            group = [
                core["name"] for core in repeats if alike[core["name"]] == alike[repeats[0]["name"]]
            ]
            repeats = repeats[len(group) :]
            names = group[0] if len(group) == 1 else f"{group[0]}..{group[-1]}"
            lines.append(f"{names}: as {alike[group[0]]}, at steps of 0x{window:x}")
    return lines


def _per_second(value: float, what: str) -> str:
    for prefix, factor in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= factor:
            return f"{value / factor:.4g} {prefix}{what}/s"
    return f"{value:.4g} {what}/s"


def _peaks(description: dict[str, Any]) -> list[str]:
    clock = description["platform"]["clock"]
    table = load_energy(description["platform"]["energy"]).at(description["platform"]["voltage"])
    lines = []
    for name, count, p in _runs(description["cores"]):
        each = " each" if count > 1 else ""
        macs = p["mlen"] * p["blen"] * p["matrix_rows"]
        port = p["dma_port_bits"] // 8
        vector = p["vector_sram_bytes"]
        row = p["vlen"] * FORMAT_BYTES[p["vector_format"]]
        tile = p["mlen"] ** 2 * FORMAT_BYTES[p["matrix_format"]]
        lines += [
            f"{name} ({p['issue']} issue)",
            f"  vector unit   {p['vlen']} lanes: {_per_second(p['vlen'] * clock, 'op')}{each}, "
            f"{table.full_activity_power(p['vlen'], clock):.4g} W at full activity (estimate)",
            f"  matrix unit   {p['matrix_rows']} x {p['mlen'] // p['blen']} sub-arrays of "
            f"{p['blen']} x {p['blen']} = {macs} MACs: {_per_second(macs * clock, 'MAC')}{each}",
            f"  DMA engine    {p['dma_ports']} ports of {p['dma_port_bits']} bit: "
            f"{_per_second(p['dma_ports'] * port * clock, 'B')}{each}",
            f"  Vector SRAM   {format_quantity('bytes', vector)}, {vector // row} rows of "
            f"{p['vlen']} {p['vector_format']}",
            f"  Matrix SRAM   {format_quantity('bytes', p['matrix_sram_bytes'])}, "
            f"{p['matrix_sram_bytes'] // tile} tiles of {p['mlen']} x {p['mlen']} "
            f"{p['matrix_format']}",
        ]
        if count > 1:
            lines.append(
                f"  {f'all {count}':<14}{_per_second(count * p['vlen'] * clock, 'op')}, "
                f"{_per_second(count * macs * clock, 'MAC')}"
            )
    for name, count, p in _runs(description["hbms"]):
        each = " each" if count > 1 else ""
        preset = f"{p['stacks']} x {p['preset']}, " if p["preset"] else ""
        latency = (
            f", latency {format_quantity('time', p['latency'])}" if p["backend"] == "ideal" else ""
        )
        lines += [
            f"{name} ({p['backend']} backend)",
            f"  {preset}{format_quantity('bytes', p['size'])}, "
            f"{_per_second(p['bandwidth'], 'B')}{latency}{each}",
        ]
    return lines
