"""A SystemC TLM-2.0 virtual platform of an NPU for diffusion language models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from npuvp.compiler import CompileError
from npuvp.compiler import compile_model as compile
from npuvp.compiler.host_driven import HostDriven
from npuvp.compiler.runtime import generate
from npuvp.components import Target
from npuvp.energy import full_activity_power
from npuvp.errors import DeadlockError, InputError, RunError, Trap
from npuvp.firmware import Firmware, FirmwareError
from npuvp.isa import AssemblyError, assemble
from npuvp.memory_stream import MemoryStream, memory_stream
from npuvp.parameters import PlatformError
from npuvp.plan import GenerationPlan
from npuvp.platform import Platform

if TYPE_CHECKING:
    from npuvp.debug import Checkpoint, Debugger
    from npuvp.replay import time_generation
    from npuvp.run import Result

__all__ = [
    "AssemblyError",
    "Checkpoint",
    "CompileError",
    "DeadlockError",
    "Debugger",
    "Firmware",
    "FirmwareError",
    "GenerationPlan",
    "HostDriven",
    "InputError",
    "MemoryStream",
    "Platform",
    "PlatformError",
    "Result",
    "RunError",
    "Target",
    "Trap",
    "assemble",
    "compile",
    "full_activity_power",
    "generate",
    "memory_stream",
    "time_generation",
]


def __getattr__(name: str) -> Any:
    # The ISA tools, platform descriptions and the golden machine work without the extension module.
    if name == "golden":
        return import_module("npuvp.golden")
    if name in ("Checkpoint", "Debugger"):
        return getattr(import_module("npuvp.debug"), name)
    if name == "time_generation":
        return import_module("npuvp.replay").time_generation
    if name == "Result":
        from npuvp.run import Result

        return Result
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
