"""When recording begins and ends: a time, a place in the program, a mark or a trap.

``1us``, ``pc=0x12``, ``label=row``, ``step=3`` (or another kind of mark), ``trap``; a begin may have
a stretch of time before it (``trap-2us``), for which what happened is kept in memory until then.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from npuvp._core import trace as _trace
from npuvp.traces.times import picoseconds

if TYPE_CHECKING:
    from npuvp.firmware import Firmware

__all__ = ["MARK_KINDS", "Bound", "bound"]

MARK_KINDS = ("layer", "block", "step", "call", "op", "phase")
_ALLOWED = (
    "a time such as 1us, pc=ADDRESS, label=NAME, "
    + ", ".join(f"{kind}=N" for kind in MARK_KINDS)
    + " or trap"
)


@dataclass(frozen=True)
class Bound:
    """A begin or an end.

    Attributes:
        time: The instant in ps; None where an event decides.
        trigger: That event, or None.
        before: Time before the event that is recorded as well, in ps.
    """

    time: int | None = None
    trigger: Any = None
    before: int = 0


def bound(
    text: str | int,
    what: str,
    *,
    firmware: "Firmware | None" = None,
    cores: Iterable[str] = (),
    sources: Mapping[str, int] | None = None,
) -> Bound:
    """Reads a begin or an end.

    Args:
        text: See the module; a number is picoseconds.
        what: What it is for, for messages.
        firmware: Whose labels are meant.
        cores: Paths of the cores, in order.
        sources: Index of each source of events.

    Raises:
        ValueError: No such time, label or mark; the message lists what is allowed.
    """
    if not isinstance(text, str) or text[:1].isdigit():
        return Bound(picoseconds(text, what))
    event, dash, stretch = text.partition("-")
    before = picoseconds(stretch, f"stretch of time of the {what}") if dash else 0
    key, equals, value = event.partition("=")
    wanted = [(sources or {})[core] for core in cores if core in (sources or {})]
    if event == "trap":
        return Bound(trigger=_trace.Trigger(_trace.Kind.trap, wanted), before=before)
    if equals and key == "label":
        address = _label(value, what, firmware)
        return Bound(
            trigger=_trace.Trigger(_trace.Kind.instruction, wanted, a=address), before=before
        )
    if equals and (key == "pc" or key in MARK_KINDS):
        try:
            number = int(value, 0)
        except ValueError:
            number = -1
        if not 0 <= number < 1 << 32:
            raise ValueError(f"{what} {text!r}: {value!r} is no number from 0 to 2^32-1")
        if key == "pc":
            trigger = _trace.Trigger(_trace.Kind.instruction, wanted, a=number)
        else:
            trigger = _trace.Trigger(_trace.Kind.mark, wanted, a=MARK_KINDS.index(key), b=number)
        return Bound(trigger=trigger, before=before)
    raise ValueError(f"{what} {text!r} (allowed: {_ALLOWED})")


def _label(name: str, what: str, firmware: "Firmware | None") -> int:
    labels = {} if firmware is None else firmware.symbols
    found = labels.get(name)
    if found is None or found.section != "text":
        known = [label for label, symbol in labels.items() if symbol.section == "text"]
        shown = ", ".join(known[:12]) + (", .." if len(known) > 12 else "")
        raise ValueError(f"{what}: no label {name!r} (labels: {shown or 'none'})")
    return found.value
