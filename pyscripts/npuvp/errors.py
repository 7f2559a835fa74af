"""What can go wrong in a run."""

from typing import Any

__all__ = ["DeadlockError", "InputError", "RunError", "Trap"]


class RunError(RuntimeError):
    """A run that did not end as it should."""


class InputError(ValueError):
    """Inputs or outputs that do not fit the firmware; the message lists every fault."""


class Trap(RunError):
    """Firmware did something that the machine cannot carry out.

    Attributes:
        core: Name of the core.
        pc: Word address of the instruction.
        cycle: The core's clock.
        time_ps: Simulated time.
        message: What happened, without the place.
        machine: The machine as it stood, for inspection.
    """

    def __init__(self, text: str, report: dict[str, Any], machine: Any):
        super().__init__(text)
        self.core: str = report["core"]
        self.pc: int = report["pc"]
        self.cycle: int = report["cycle"]
        self.time_ps: int = report["time_ps"]
        self.message: str = report["message"]
        self.machine = machine


class DeadlockError(RunError):
    """Nothing can happen any more, yet a core has not halted: the message says who waits why."""
