"""Where runs stop, and what is found there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from npuvp.debug.places import Place
from npuvp.debug.watching import Watched
from npuvp.errors import RunError

if TYPE_CHECKING:
    import ast

    from npuvp.debug.control import Debugger

__all__ = [
    "Breakpoint",
    "Condition",
    "DebuggerError",
    "Loop",
    "Stop",
    "Transfer",
    "Watchpoint",
]

Condition = str | Callable[["Debugger"], bool]


class DebuggerError(RunError):
    """A request that the run cannot follow, such as a step after its end."""


@dataclass
class Breakpoint:
    """A place where cores stop.

    Attributes:
        number: What `clear` takes.
        places: By core: the words.
        condition: Stops only where it holds.
        hits: How often it stopped the run.
    """

    number: int
    places: dict[int, Place]
    condition: Condition | None = None
    hits: int = 0
    tree: ast.expr | None = field(default=None, repr=False)

    def __str__(self) -> str:
        what = next(iter(self.places.values())).what
        condition = self.condition if isinstance(self.condition, str) else "a function"
        return what + (f" if {condition}" if self.condition is not None else "")


@dataclass
class Watchpoint:
    """Something whose change stops the run.

    Attributes:
        number: What `clear` takes.
        watched: What it is.
        hits: How often it stopped the run.
    """

    number: int
    watched: Watched
    hits: int = 0

    def __str__(self) -> str:
        return self.watched.what


@dataclass(frozen=True)
class Stop:
    """Where and why the machine stands still.

    Attributes:
        reason: "start", "breakpoint", "watch", "step", "line", "mark", "cycle", "restored",
            "interrupted", "finished", "trap" or "deadlock".
        core: Name of the core whose instruction it was.
        pc: Its next instruction; of "watch": the instruction (or the transfer's) that changed it.
        cycle: That core's clock.
        numbers: Breakpoints or watchpoints that stopped it.
        changes: Of "watch": what changed, one text each.
        by_transfer: Of "watch": a transfer changed it.
        position: Number of this instant, the same in every run alike.
        error: Of "trap" and "deadlock": what `Platform.run` would have raised.
        text: All of it for people.
    """

    reason: str
    core: str
    pc: int
    cycle: int
    position: int
    numbers: tuple[int, ...] = ()
    changes: tuple[str, ...] = ()
    by_transfer: bool = False
    error: RunError | None = None
    text: str = ""

    def __str__(self) -> str:
        return self.text

    @property
    def ended(self) -> bool:
        """The run is over."""
        return self.reason in ("finished", "trap", "deadlock")


@dataclass(frozen=True)
class Loop:
    """An open loop of C_LOOP_START.

    Attributes:
        pc: Of C_LOOP_START.
        register: Its counter, such as "gp3".
        iteration: The one under way, from 1 on.
        count: How many there will be.
        where: Source line and label.
    """

    pc: int
    register: str
    iteration: int
    count: int
    where: str


@dataclass(frozen=True)
class Transfer:
    """A DMA transfer that is not complete.

    Attributes:
        pc: Of the instruction that started it.
        tag: Its tag, which C_FENCE waits for.
        to_sram: A load; else a store.
        address: Global address of its first byte.
        bytes: Length.
        in_flight: Transactions under way.
        ranges: (space, first row or word, count) in SRAMs of the core.
        where: Source line and label.
    """

    pc: int
    tag: int
    to_sram: bool
    address: int
    bytes: int
    in_flight: int
    ranges: tuple[tuple[str, int, int], ...]
    where: str
