"""The debugger: run control, inspection, checkpoints."""

from npuvp.debug.checkpoint import Checkpoint, CheckpointError
from npuvp.debug.control import Breakpoint, Debugger, DebuggerError, Stop, Watchpoint

__all__ = [
    "Breakpoint",
    "Checkpoint",
    "CheckpointError",
    "Debugger",
    "DebuggerError",
    "Stop",
    "Watchpoint",
]
