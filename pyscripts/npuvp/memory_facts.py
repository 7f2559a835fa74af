"""What assembling a platform needs to know of a memory preset."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PresetFacts", "node_config", "preset_facts"]


@dataclass(frozen=True)
class PresetFacts:
    """Figures of a preset, per stack.

    Attributes:
        stacks: how many stacks the preset is meant for where nothing else is asked for.
        channels: channels of a stack.
        stack_bytes: capacity of a stack.
        stack_bandwidth: peak of a stack in bytes per second.
        latency_ps: of the ideal backend: an idle read of a closed row.
    """

    stacks: int
    channels: int
    stack_bytes: int
    stack_bandwidth: int
    latency_ps: int


def preset_facts(name: str) -> PresetFacts:
    """Reads a preset's figures.

    Raises:
        ValueError: there is no such preset; the message names those that there are.
    """
    presets = importlib.import_module("npuvp.memory_presets")
    preset = presets.load_preset(name)
    return PresetFacts(
        stacks=preset.stacks,
        channels=preset.channels,
        stack_bytes=preset.stack_bytes,
        stack_bandwidth=preset.stack_bandwidth,
        latency_ps=round(1000 * preset.values["ideal"]["latency_ns"]),
    )


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
