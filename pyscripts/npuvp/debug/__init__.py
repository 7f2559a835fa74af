"""The debugger: run control, inspection, checkpoints."""

from npuvp.debug.checkpoint import Checkpoint, CheckpointError
from npuvp.debug.control import Debugger
from npuvp.debug.stops import Breakpoint, DebuggerError, Loop, Stop, Transfer, Watchpoint

__all__ = [
    "Breakpoint",
    "Checkpoint",
    "CheckpointError",
    "Debugger",
    "DebuggerError",
    "Loop",
    "Stop",
    "Transfer",
    "Watchpoint",
]
