"""What assembling a platform needs to know of a memory preset."""

import importlib
from dataclasses import dataclass

__all__ = ["PresetFacts", "preset_facts"]


@dataclass(frozen=True)
class PresetFacts:
    """Figures of a preset, per stack.

    Attributes:
        stacks: how many stacks the preset is meant for where nothing else is asked for.
        channels: channels of a stack.
        stack_bytes: capacity of a stack.
        stack_bandwidth: peak of a stack in bytes per second.
    """

    stacks: int
    channels: int
    stack_bytes: int
    stack_bandwidth: int


def preset_facts(name: str) -> PresetFacts:
    """Reads a preset's figures.

    Raises:
        ValueError: there is no such preset; the message names those that there are.
    """
    presets = importlib.import_module("npuvp.memory_presets")
    preset = presets.load_preset(name)
    return PresetFacts(preset.stacks, preset.channels, preset.stack_bytes, preset.stack_bandwidth)
