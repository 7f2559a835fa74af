"""A SystemC TLM-2.0 virtual platform of an NPU for diffusion language models."""

from npuvp.components import Target
from npuvp.memory_stream import MemoryStream, memory_stream
from npuvp.parameters import PlatformError
from npuvp.platform import Platform

__all__ = ["MemoryStream", "Platform", "PlatformError", "Target", "memory_stream"]
