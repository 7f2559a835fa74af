"""What assembling a platform needs to know of a memory preset."""

import importlib
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npuvp.memory_presets import Preset

__all__ = ["PresetFacts", "energy_generation", "node_config", "preset_facts", "resolve_memory"]


@dataclass(frozen=True)
class PresetFacts:
    """Figures of a preset, per stack.

    Attributes:
        stacks: how many stacks the preset is meant for where nothing else is asked for.
        channels: channels of a stack.
        stack_bytes: capacity of a stack.
        stack_bandwidth: peak of a stack in bytes per second.
        unset: what the preset says of parameters that are not given: `latency` (of the ideal
            backend, in ps: an idle read of an open row, to its first data), `queue`, `refresh` and
            `row_policy`.
    """

    stacks: int
    channels: int
    stack_bytes: int
    stack_bandwidth: int
    unset: Mapping[str, Any]


def preset_facts(name: str) -> PresetFacts:
    """Reads a preset's figures.

    Raises:
        MemoryConfigError: there is no such preset, or it is not valid.
    """
    presets = importlib.import_module("npuvp.memory_presets")
    return _facts(presets.load_preset(name))


@lru_cache(maxsize=64)
def _facts(preset: "Preset") -> PresetFacts:
    controller = preset.values["controller"]
    return PresetFacts(
        stacks=preset.stacks,
        channels=preset.channels,
        stack_bytes=preset.stack_bytes,
        stack_bandwidth=preset.stack_bandwidth,
        unset={
            "latency": round(1000 * preset.values["ideal"]["latency_ns"]),
            "queue": controller["queue_depth"],
            "refresh": controller["refresh"],
            "row_policy": controller["row_policy"],
        },
    )


def resolve_memory(
    values: Mapping[str, Any], given: Container[str], facts: PresetFacts | None
) -> dict[str, Any]:
    """The values of a memory as the machine sees them (`zero` and `unset` in `parameters.yaml`).

    Args:
        values: by the declaration alone.
        given: names of those that were given.
        facts: of the memory's preset; None without one.
    """
    result = dict(values)
    result["stacks"] = values["stacks"] or (1 if facts is None else facts.stacks)
    result["channels"] = values["channels"] or (1 if facts is None else facts.channels)
    if facts is not None:
        stacks, channels = result["stacks"], result["channels"]
        for name, per_stack in (("size", facts.stack_bytes), ("bandwidth", facts.stack_bandwidth)):
            result[name] = values[name] or per_stack * stacks * channels // facts.channels
        result |= {name: value for name, value in facts.unset.items() if name not in given}
    return result


def energy_generation(values: Mapping[str, Any]) -> str:
    """The generation of memory whose energy coefficients hold for a memory's parameters."""
    presets = importlib.import_module("npuvp.memory_presets")
    preset: str = values["preset"]
    return str(values["energy"]) if not preset or presets.is_preset_file(preset) else preset


def node_config(name: str, values: Mapping[str, Any], nodes: int) -> dict[str, Any] | None:
    """What simulates the channels behind one node of the mesh (all of them without a mesh).

    Args:
        name: of the memory, for messages.
        values: parameters of the memory, 0 nowhere standing for something else.
        nodes: over how many nodes the channels spread.

    Returns:
        As `npuvp.memory_presets.memory_config` makes it; None for the ideal backend, which needs
        size, latency and bandwidth alone.

    Raises:
        MemoryConfigError: the preset or the mapping does not serve these counts.
    """
    if values["backend"] == "ideal":
        return None
    presets = importlib.import_module("npuvp.memory_presets")
    config: dict[str, Any] = presets.memory_config(
        values["preset"],
        channels=values["channels"] * values["stacks"] // nodes,
        mapping=values["mapping"] or None,
        refresh=values["refresh"],
        row_policy=values["row_policy"],
        queue=values["queue"],
        place=name,
    )
    return config
