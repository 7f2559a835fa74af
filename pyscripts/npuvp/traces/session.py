"""Opens the sinks of one run on a platform's event stream."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npuvp._core import trace as _trace
from npuvp.isa.encoding import decode
from npuvp.traces.selection import SelectionError, select
from npuvp.traces.times import picoseconds
from npuvp.traces.triggers import MARK_KINDS, Bound, bound

if TYPE_CHECKING:
    from npuvp.firmware import Firmware

__all__ = [
    "MARK_KINDS",
    "POWER_COLUMNS",
    "TraceOptions",
    "Tracing",
    "open_tracing",
    "power_columns",
]

#: Left out unless a pattern names them: they double the size of a file and repeat what others show.
_VERBOSE = {
    "unit": {"active", "pc"},
    "memory": {"outstanding", "command", "command_name", "bank", "row"},
    "link": {"network"},
}
#: Marks whose number is called otherwise than their kind: `op` is the operation that issues.
_MARK_SIGNALS = {"op": "op_mark"}
#: Types whose sources get a power column of their own; the others share that of their top level.
_OWN_COLUMN = {"core", "unit", "dma", "sram"}

POWER_COLUMNS = ("component", "part", "kind")
"""What the power trace can have a column for, see `power_columns`."""


@dataclass(frozen=True)
class TraceOptions:
    """What to record of a run. Times are strings such as ``"100ns"`` or whole picoseconds.

    Attributes:
        vcd: Waveform file, or None.
        signals: Globs that choose the waveform's signals; None: a set that fits most uses.
        power: CSV file of the power trace, or None.
        power_window: Length of a window of the power trace.
        power_by: What has a column of the power trace, of `POWER_COLUMNS`.
        start: Where waveform, timeline and log begin (the power trace is always whole): a time,
            ``"pc=0x12"``, ``"label=NAME"``, ``"step=3"`` or another mark, ``"trap"``; with a
            stretch of time before that event: ``"trap-2us"``.
        stop: Where they end, in the same way; None: with the run.
        limit_bytes: Where the waveform stops growing; 0: nowhere.
        timeline: JSON file for Perfetto and Chrome's tracing, or None.
        timeline_commands: Whether the timeline shows every DRAM command.
        log: Instruction log, or None: text, or binary where the name ends in ``.bin``.
        cores: Globs that choose the cores to log; None: all.
        log_only: Globs of the mnemonics that are logged; None: all.
        profile: Whether time, traffic and energy are added up by instruction and mark.
    """

    vcd: str | Path | None = None
    signals: Sequence[str] | None = None
    power: str | Path | None = None
    power_window: str | int = "100ns"
    power_by: str = "component"
    start: str | int = 0
    stop: str | int | None = None
    limit_bytes: int = 0
    timeline: str | Path | None = None
    timeline_commands: bool = False
    log: str | Path | None = None
    cores: Sequence[str] | None = None
    log_only: Sequence[str] | None = None
    profile: bool = False


@dataclass
class Tracing:
    """The open sinks of one run. Dropping it detaches them.

    Attributes:
        session: Owner of the sinks, bound to the hub.
        vcd: The waveform's sink, or None.
        power: The power trace's sink, or None.
        timeline: The timeline's sink, or None.
        log: The instruction log's sink, or None.
        profile: The profile's sink, or None.
        files: What is written, by kind.
    """

    session: Any
    vcd: Any = None
    power: Any = None
    timeline: Any = None
    log: Any = None
    profile: Any = None
    files: dict[str, Path] = field(default_factory=dict)


def power_columns(sources: Iterable[Any], by: str = "component") -> list[tuple[str, list[int]]]:
    """Columns of the power trace: name, and indices of the sources that it adds up.

    Every source is in exactly one column, so the total does not depend on the choice.

    Args:
        sources: Those of the event stream.
        by: ``component``: cores and their units have a column each (``core0`` is what the core
            spends outside its units); memory channels, links and the rest share one per top-level
            name (``hbm``, ``noc``). ``part``: one per top-level name, a core with all its units
            included. ``kind``: units of one kind share one over all cores (``vector``, ``dma``;
            ``control`` is what cores spend outside their units).

    Raises:
        ValueError: Another choice.
    """
    if by not in POWER_COLUMNS:
        raise ValueError(f"power_by: {by!r}, allowed: {', '.join(POWER_COLUMNS)}")
    columns: dict[str, list[int]] = {}
    for index, source in enumerate(sources):
        part, _, unit = source.path.partition(".")
        name = part
        if source.type in _OWN_COLUMN and by == "component":
            name = source.path
        elif source.type in _OWN_COLUMN and by == "kind":
            name = unit or "control"
        columns.setdefault(name, []).append(index)
    return list(columns.items())


def open_tracing(
    hub: Any,
    options: TraceOptions,
    *,
    operations: Sequence[str] = (),
    commands: Sequence[str] = (),
    marks: Mapping[str, Sequence[str]] | None = None,
    listings: Mapping[str, Sequence[str]] | None = None,
    periods: Iterable[int] = (1,),
    origin: int = 0,
    firmware: "Firmware | None" = None,
    memories: Iterable[tuple[int, int]] = (),
) -> Tracing:
    """Checks the options, creates the files and attaches their sinks to the event stream.

    Args:
        hub: The platform's event stream (``npuvp._core.trace.Hub``).
        options: What to record.
        operations: Mnemonic by operation number.
        commands: DRAM command by number.
        marks: Words by mark value, for the mark kinds that have some (``{"phase": ["max", ..]}``).
        listings: Text of each instruction by address, per core, for the log.
        periods: Clock periods in ps that every time is a multiple of one of; they decide the
            waveform's time unit. Without them it is 1 ps, which is always right.
        origin: Begin of the run in ps: the first power window starts there.
        firmware: Whose labels `options` may name.
        memories: Base and size of the address ranges whose traffic the profile counts.

    Raises:
        SelectionError: A pattern that matches no signal.
        ValueError: An option that cannot be; nothing is written then.
    """
    words = dict(marks or {})
    unknown = sorted(set(words) - set(MARK_KINDS))
    if unknown:
        raise ValueError(f"marks: no mark kind {unknown[0]!r}; there are {', '.join(MARK_KINDS)}")
    names = _trace.Names(
        list(operations), list(commands), [list(words.get(kind, ())) for kind in MARK_KINDS]
    )
    window = picoseconds(options.power_window, "power window")
    columns = power_columns(hub.sources, options.power_by) if options.power is not None else []
    signals = []
    if options.vcd is not None:
        shown = [*(name for name, _ in columns), "total"] if columns else []
        catalog = _trace.signal_catalog(hub, names, shown)
        signals = _chosen(catalog, options.signals, _never_moving(firmware))
    elif options.signals is not None:
        raise SelectionError("signals were chosen, but there is no waveform to show them")
    indices = {source.path: i for i, source in enumerate(hub.sources)}
    cores = [source.path for source in hub.sources if source.type == "core"]
    limits = _limits(options, firmware, cores, indices, origin)
    if options.log is None and (options.cores is not None or options.log_only is not None):
        raise SelectionError("cores or mnemonics were chosen, but there is no instruction log")
    if options.cores is not None:
        cores = [cores[i] for i in select(cores, options.cores, "core")]
    logged: list[bool] = []
    if options.log_only is not None:
        kept = set(select(list(operations), options.log_only, "mnemonic"))
        logged = [i in kept for i in range(len(operations))]
    if options.timeline is None and options.timeline_commands:
        raise SelectionError("DRAM commands were asked for, but there is no timeline")

    tracing = Tracing(_trace.Session(hub))
    if options.power is not None:
        path = _ready(options.power)
        tracing.power = tracing.session.add_power(str(path), columns, window, origin)
        tracing.files["power"] = path
    if options.vcd is not None:
        path = _ready(options.vcd)
        tracing.vcd = tracing.session.add_vcd(
            str(path),
            signals,
            names,
            tick=_trace.coarsest_tick(list(periods)),
            limit_bytes=options.limit_bytes,
            **limits,
        )
        tracing.files["vcd"] = path
    if options.timeline is not None:
        path = _ready(options.timeline)
        tracing.timeline = tracing.session.add_timeline(
            str(path), names, origin=origin, commands=options.timeline_commands, **limits
        )
        tracing.files["timeline"] = path
    if options.log is not None:
        path = _ready(options.log)
        texts = {
            indices[core]: list(text) for core, text in (listings or {}).items() if core in indices
        }
        tracing.log = tracing.session.add_log(
            str(path),
            path.suffix == ".bin",
            names,
            texts,
            [indices[c] for c in cores],
            operations=logged,
            **limits,
        )
        tracing.files["log"] = path
    if options.profile:
        tracing.profile = tracing.session.add_profile(list(memories))
    return tracing


def _limits(
    options: TraceOptions,
    firmware: "Firmware | None",
    cores: Sequence[str],
    sources: Mapping[str, int],
    origin: int,
) -> dict[str, Any]:
    """Begin and end, as the sinks take them."""

    def read(text: str | int, what: str) -> Bound:
        return bound(text, what, firmware=firmware, cores=cores, sources=sources)

    start = read(options.start, "start of the waveform")
    stop = Bound() if options.stop is None else read(options.stop, "stop of the waveform")
    if stop.before:
        raise ValueError(f"stop of the waveform {options.stop!r}: only a start may look back")
    limits: dict[str, Any] = {"start": origin, "lookback": start.before}
    if start.trigger is not None:
        limits["on"] = start.trigger
    else:
        limits["start"] = max(start.time or 0, origin)
    if stop.trigger is not None:
        limits["off"] = stop.trigger
    elif stop.time is not None:
        if start.trigger is None and limits["start"] >= stop.time:
            raise ValueError(
                f"trace window: start {limits['start']} ps is not before stop {stop.time} ps"
            )
        limits["stop"] = stop.time
    return limits


def _never_moving(firmware: "Firmware | None") -> set[tuple[str, str]]:
    """Type and name of the signals that no instruction of the firmware can change."""
    if firmware is None:
        return set()
    words = {word for text in firmware.cores.values() for word in text.words}
    decoded = [d for d in map(decode, words) if d is not None]
    kinds = {d.values[0] for d in decoded if d.instruction.name == "C_MARK"}
    missing = [kind for code, kind in enumerate(MARK_KINDS) if code not in kinds]
    never = {
        ("core", name)
        for kind in missing
        for name in (_MARK_SIGNALS.get(kind, kind), f"{kind}_name")
    }
    if not any(d.instruction.name.startswith("C_SEM_") for d in decoded):
        never |= {("semaphore", "index"), ("semaphore", "value")}
    return never


def _chosen(
    catalog: list[Any],
    patterns: Sequence[str] | None,
    never: Container[tuple[str, str]] = (),
) -> list[Any]:
    if patterns is None:
        leaves = [(s, s.path.rsplit(".", 1)[1]) for s in catalog]
        return [
            s
            for s, leaf in leaves
            if leaf not in _VERBOSE.get(s.type, ()) and (s.type, leaf) not in never
        ]
    return [catalog[i] for i in select([s.path for s in catalog], patterns)]


def _ready(path: str | Path) -> Path:
    made = Path(path)
    made.parent.mkdir(parents=True, exist_ok=True)
    return made
