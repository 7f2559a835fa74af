"""Writes GTKWave save files: grouped, coloured, well-chosen signals of a waveform."""

import io
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from vcd.gtkw import GTKWColor, GTKWFlag, GTKWSave

from npuvp.traces.times import picoseconds

__all__ = ["VIEWS", "WaveSignal", "read_signals", "write_view"]

VIEWS = ("core", "memory", "noc", "power")

_TIMESCALE = re.compile(r"\$timescale\s+(\d+)\s*(ps|ns|us|ms|s)\s+\$end")
#: GTKWave's zoom z shows 2^-z units of time in 200 pixels; this many pixels show waves.
_ZOOM_PIXELS = 200
_WAVE_PIXELS = 1150


@dataclass(frozen=True)
class WaveSignal:
    """A signal that a waveform declares.

    Attributes:
        path: Full name with scopes: ``core0.vector.busy``.
        kind: ``wire``, ``string`` or ``real``.
        width: Bits of a wire.
    """

    path: str
    kind: str
    width: int

    @property
    def scope(self) -> str:
        """The component that the signal belongs to."""
        return self.path.rpartition(".")[0]

    @property
    def leaf(self) -> str:
        """The name without the component."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True)
class _Style:
    colour: GTKWColor
    form: str = "hex"
    analog: bool = False


#: In order of display within a component: pattern of the signal's own name, and how it is shown.
_STYLES: tuple[tuple[str, _Style], ...] = (
    ("trap", _Style(GTKWColor.red)),
    ("layer_name", _Style(GTKWColor.violet, "ascii")),
    ("layer", _Style(GTKWColor.violet, "dec")),
    ("block_name", _Style(GTKWColor.violet, "ascii")),
    ("block", _Style(GTKWColor.violet, "dec")),
    ("step_name", _Style(GTKWColor.violet, "ascii")),
    ("step", _Style(GTKWColor.violet, "dec")),
    ("call_name", _Style(GTKWColor.violet, "ascii")),
    ("call", _Style(GTKWColor.violet, "dec")),
    ("op_name", _Style(GTKWColor.indigo, "ascii")),
    ("op_mark", _Style(GTKWColor.indigo, "dec")),
    ("phase_name", _Style(GTKWColor.indigo, "ascii")),
    ("phase", _Style(GTKWColor.indigo, "dec")),
    ("mnemonic", _Style(GTKWColor.yellow, "ascii")),
    ("pc", _Style(GTKWColor.yellow)),
    ("stall_cause", _Style(GTKWColor.orange, "ascii")),
    ("busy", _Style(GTKWColor.green)),
    ("bursts", _Style(GTKWColor.blue, "dec", analog=True)),
    ("outstanding", _Style(GTKWColor.blue, "dec", analog=True)),
    ("bytes", _Style(GTKWColor.blue, "dec", analog=True)),
    ("command_name", _Style(GTKWColor.yellow, "ascii")),
    ("bank", _Style(GTKWColor.blue, "dec")),
    ("row", _Style(GTKWColor.blue)),
    ("write", _Style(GTKWColor.orange)),
    ("network", _Style(GTKWColor.blue, "dec")),
    ("doorbell", _Style(GTKWColor.red)),
    ("running", _Style(GTKWColor.green)),
    ("irq", _Style(GTKWColor.red)),
    ("word", _Style(GTKWColor.yellow, "dec")),
    ("power", _Style(GTKWColor.violet, "dec", analog=True)),
    ("total", _Style(GTKWColor.red, "dec", analog=True)),
)


def read_signals(vcd_path: str | Path) -> list[WaveSignal]:
    """The signals that a VCD declares, in order.

    Raises:
        ValueError: The file's declarations do not end; it is no VCD.
        FileNotFoundError: There is no such file.
    """
    signals, scopes = [], []
    with Path(vcd_path).open(encoding="ascii", errors="replace") as file:
        for line in file:
            words = line.split()
            if not words:
                continue
            if words[0] == "$scope":
                scopes.append(words[2])
            elif words[0] == "$upscope":
                scopes.pop()
            elif words[0] == "$var":
                path = ".".join([*scopes, words[4]])
                signals.append(WaveSignal(path, words[1], int(words[2])))
            elif words[0] == "$enddefinitions":
                return signals
    raise ValueError(f"{vcd_path}: no VCD: its declarations do not end")


def write_view(
    vcd_path: str | Path,
    view_path: str | Path,
    views: Iterable[str] = VIEWS,
    signals: Iterable[WaveSignal] | None = None,
    *,
    start: str | int = 0,
    span: str | int = "2us",
) -> Path:
    """Writes a GTKWave save file for a waveform: ``gtkwave -a VIEW``.

    Args:
        vcd_path: The waveform.
        view_path: The save file.
        views: What to show: ``core``, ``memory``, ``noc``, ``power``; groups beyond the first are
            closed where they repeat (further cores, channels and links).
        signals: What the waveform holds; read from the VCD if not given.
        start: First instant in sight.
        span: How much is in sight from there, at most the whole run.

    Raises:
        ValueError: An unknown view, a time that is none, or a waveform that holds no signal for the views.
    """
    chosen = list(views)
    for view in chosen:
        if view not in VIEWS:
            raise ValueError(f"wave view {view!r}: there are {', '.join(VIEWS)}")
    waveform = Path(vcd_path)
    available = list(signals) if signals is not None else read_signals(waveform)
    text = io.StringIO()
    save = GTKWSave(text)
    save.dumpfile(str(waveform.resolve()))
    tick, end = _extent(waveform)
    first = picoseconds(start, "start of the view")
    length = picoseconds(span, "span of the view")
    if length == 0:
        raise ValueError("span of the view: must be more than 0")
    length = max(min(length, end - first), tick)
    save.zoom_markers(zoom=-math.log2(length / tick * _ZOOM_PIXELS / _WAVE_PIXELS))
    save.timestart(first // tick)
    save.treeopen(available[0].path.split(".")[0] + "." if available else "")
    save.sst_expanded(True)
    save.size(1600, 1000)
    save.signals_width(220)
    shown = 0
    for view in chosen:
        for index, (title, members) in enumerate(_groups(view, available)):
            with save.group(title, closed=index > 0 and view != "power"):
                for signal, style in members:
                    _trace(save, signal, style)
                    shown += 1
    if shown == 0:
        raise ValueError(f"{waveform}: holds no signal for the views {', '.join(chosen)}")
    made = Path(view_path)
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(text.getvalue(), encoding="ascii")
    return made


def _extent(vcd_path: Path) -> tuple[int, int]:
    """The unit of time of a VCD and its last instant, both in ps."""
    with vcd_path.open("rb") as file:
        found = _TIMESCALE.search(file.read(4096).decode("ascii", "replace"))
        file.seek(max(0, file.seek(0, io.SEEK_END) - 65536))
        stamps = re.findall(rb"^#(\d+)$", file.read(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{vcd_path}: no VCD: it has no timescale")
    tick = picoseconds(f"{found[1]}{found[2]}")
    return tick, int(stamps[-1]) * tick if stamps else tick


def _groups(
    view: str, available: list[WaveSignal]
) -> Iterator[tuple[str, list[tuple[WaveSignal, _Style]]]]:
    """Titles of a view's groups, and their signals in order of display."""
    tops = list(dict.fromkeys(signal.path.split(".")[0] for signal in available))
    cores = {
        s.scope for s in available if s.leaf in ("mnemonic", "pc", "stall") and "." not in s.scope
    }
    for top in tops:
        members = [s for s in available if s.path.split(".")[0] == top]
        is_noc = any(s.leaf == "network" for s in members) or top == "noc"
        is_host = any(s.leaf == "doorbell" for s in members)
        kind = (
            "core"
            if top in cores or is_host or any(s.scope.startswith(top + ".vector") for s in members)
            else "noc"
            if is_noc
            else "power"
            if top == "power"
            else "memory"
        )
        if view == "power":
            members = [s for s in members if s.kind == "real"]
        elif kind == view:
            members = [s for s in members if s.kind != "real"]
        else:
            continue
        styled = _styled(members)
        if styled:
            yield (f"{top} power" if view == "power" and top != "power" else top), styled


def _styled(members: list[WaveSignal]) -> list[tuple[WaveSignal, _Style]]:
    """The members worth showing: per component, in the order of the styles."""
    leaves_of: dict[str, set[str]] = {}
    for signal in members:
        leaves_of.setdefault(signal.scope, set()).add(signal.leaf)
    styled = []
    for scope, leaves in leaves_of.items():
        for pattern, style in _STYLES:
            for signal in members:
                if signal.scope != scope or not fnmatchcase(signal.leaf, pattern):
                    continue
                # A word says more than the number beside it.
                if f"{signal.leaf.removesuffix('_mark')}_name" in leaves:
                    continue
                styled.append((signal, style))
    return styled


def _trace(save: GTKWSave, signal: WaveSignal, style: _Style) -> None:
    name = signal.path
    if signal.kind == "wire" and signal.width > 1:
        name += f"[{signal.width - 1}:0]"
    flags = (GTKWFlag.analog_step | GTKWFlag.analog_fullscale) if style.analog else GTKWFlag.none
    form = "ascii" if signal.kind == "string" else "real" if signal.kind == "real" else style.form
    # GTKWave cuts an alias at its last dot.
    alias = signal.path.partition(".")[2].replace(".", " ")
    save.trace(name, alias=alias, color=style.colour, datafmt=form, extraflags=flags)
    if style.analog:
        # Height of an analog signal: one more row.
        save.blank(analog_extend=True)
