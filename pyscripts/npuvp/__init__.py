"""A SystemC TLM-2.0 virtual platform of an NPU for diffusion language models."""

from npuvp.components import Target
from npuvp.errors import DeadlockError, InputError, RunError, Trap
from npuvp.firmware import Firmware, FirmwareError
from npuvp.isa import AssemblyError, assemble
from npuvp.parameters import PlatformError
from npuvp.platform import Platform
from npuvp.run import Result

__all__ = [
    "AssemblyError",
    "DeadlockError",
    "Firmware",
    "FirmwareError",
    "InputError",
    "Platform",
    "PlatformError",
    "Result",
    "RunError",
    "Target",
    "Trap",
    "assemble",
]
