"""A SystemC TLM-2.0 virtual platform of an NPU for diffusion language models."""

from npuvp.components import Target
from npuvp.firmware import Firmware, FirmwareError
from npuvp.isa import AssemblyError, assemble
from npuvp.parameters import PlatformError
from npuvp.platform import Platform

__all__ = [
    "AssemblyError",
    "Firmware",
    "FirmwareError",
    "Platform",
    "PlatformError",
    "Target",
    "assemble",
]
