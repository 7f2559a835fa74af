"""A SystemC TLM-2.0 virtual platform of an NPU for diffusion language models."""

from npuvp.firmware import Firmware
from npuvp.isa import AssemblyError, assemble

__all__ = ["AssemblyError", "Firmware", "assemble"]
