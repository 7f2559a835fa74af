"""A SystemC TLM-2.0 virtual platform of an NPU for diffusion language models."""

from npuvp.components import Target
from npuvp.errors import DeadlockError, InputError, RunError, Trap
from npuvp.firmware import Firmware, FirmwareError
from npuvp.isa import AssemblyError, assemble
from npuvp.memory_stream import MemoryStream, memory_stream
from npuvp.parameters import PlatformError
from npuvp.platform import Platform
from npuvp.run import Result

__all__ = [
    "AssemblyError",
    "DeadlockError",
    "Firmware",
    "FirmwareError",
    "InputError",
    "MemoryStream",
    "Platform",
    "PlatformError",
    "Result",
    "RunError",
    "Target",
    "Trap",
    "assemble",
    "memory_stream",
]
