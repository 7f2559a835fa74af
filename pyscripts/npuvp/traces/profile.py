"""Where the time, the memory traffic and the energy of a run went.

A profile holds two tables that were summed up while the run went on, by instruction (core and pc)
and by the marks that held. Every other view is a sum of rows of one of them, so each adds up to the
whole run exactly: in core time (picoseconds), bytes and femtojoules.

Energy of a core, its units, SRAMs and DMA is charged where it was spent. What memory and
interconnect spend on events is shared out in proportion to the bytes that an instruction moved, and
leakage and clocks in proportion to time; both in whole femtojoules, by differences of a running
sum that is rounded down, so that nothing is lost.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npuvp.isa.disassembler import instruction_text
from npuvp.traces.limits import achievable_bandwidth, limit_of
from npuvp.traces.names import mark_names
from npuvp.traces.triggers import MARK_KINDS

if TYPE_CHECKING:
    from npuvp.machine import Machine
    from npuvp.run import Result

__all__ = ["STALLS", "VIEWS", "Profile", "Row", "make_profile", "read_profile"]

STALLS = ("operand", "unit", "dma", "noc", "memory", "synchronisation")
TIMES = ("own", *STALLS, "idle")
_FORMAT = "npuvp profile 2"
VIEWS = ("line", "pc", "operation", *(k for k in MARK_KINDS if k != "op"), "core")


@dataclass
class Row:
    """What one line, instruction, operation, layer or step took.

    Attributes:
        key: Which.
        text: Its source text or instruction, where there is one.
        times: Core time in ps by what it went to: ``own`` (issue slots), a stall cause, ``idle``
            (the core had halted).
        instructions: Executed.
        bytes_read, bytes_written: Of memory.
        energy_fj: All energy in fJ, an estimate.
        vector_busy_ps: Time in which the vector unit worked.
        lane_operations: Lanes of the vector unit, once per instruction.
        macs: Multiply-accumulates of the matrix unit.
    """

    key: str
    text: str = ""
    times: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TIMES, 0))
    instructions: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    energy_fj: int = 0
    scalar_busy_ps: int = 0
    vector_busy_ps: int = 0
    lane_operations: int = 0
    macs: int = 0

    @property
    def time_ps(self) -> int:
        """Core time, the sum of `times`."""
        return sum(self.times.values())

    def add(self, other: "Row") -> None:
        """Adds another row's figures."""
        for name, value in other.times.items():
            self.times[name] += value
        for name in _FIGURES:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_FIGURES = (
    "instructions",
    "bytes_read",
    "bytes_written",
    "energy_fj",
    "scalar_busy_ps",
    "vector_busy_ps",
    "lane_operations",
    "macs",
)
#: Columns of the sink by the field of `Row` that holds them.
_COLUMNS = {
    "instructions": "instructions",
    "bytes_read": "bytes_read",
    "bytes_written": "bytes_written",
    "energy": "energy_fj",
    "scalar_busy": "scalar_busy_ps",
    "vector_busy": "vector_busy_ps",
    "lane_operations": "lane_operations",
    "macs": "macs",
}


@dataclass
class Profile:
    """A run's profile.

    Attributes:
        meta: The run: title, platform, mode, cycles, time_ps, period_ps, peak figures.
        by_pc: (core, pc or None for what belongs to no instruction, row).
        by_marks: (core, values by `MARK_KINDS` or None, row).
        places: (file, line, text of the line, instruction) by core and pc.
        names: Words of mark values, by kind.
        traffic: (window in ps, bytes read per window, bytes written) by memory.
        power: (window in ps, fJ of events per window) by component.
        sources: Text of the source files that were executed, by path.
    """

    meta: dict[str, Any]
    by_pc: list[tuple[str, int | None, Row]]
    by_marks: list[tuple[str, tuple[int | None, ...], Row]]
    places: dict[tuple[str, int], tuple[str, int, str, str]]
    names: dict[str, list[str]]
    traffic: dict[str, tuple[int, list[int], list[int]]]
    power: dict[str, tuple[int, list[int]]]
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> Row:
        """The whole run."""
        row = Row("total")
        for _, _, part in self.by_pc:
            row.add(part)
        return row

    def by(self, view: str) -> list[Row]:
        """Rows of a view, those of the most time first.

        Args:
            view: One of `VIEWS`. ``operation`` is the ``op`` mark, or the ``phase`` mark in
                programs that set no ``op``.

        Raises:
            ValueError: No such view.
        """
        if view not in VIEWS:
            raise ValueError(f"view {view!r} (allowed: {', '.join(VIEWS)})")
        rows: dict[str, Row] = {}

        def collect(key: str, text: str, part: Row) -> None:
            rows.setdefault(key, Row(key, text)).add(part)

        if view in ("line", "pc", "core"):
            for core, pc, part in self.by_pc:
                collect(*self._place(view, core, pc), part)
        else:
            label = self._marked(view)
            for _, marks, part in self.by_marks:
                collect(label(marks), "", part)
        return sorted(rows.values(), key=lambda row: -row.time_ps)

    def _place(self, view: str, core: str, pc: int | None) -> tuple[str, str]:
        if view == "core":
            return core, ""
        if pc is None:
            return "(no instruction)", ""
        file, line, text, instruction = self.places.get((core, pc), ("", 0, "", ""))
        if view == "line" and file:
            return f"{Path(file).name}:{line}", text.strip()
        return f"{pc:#06x}", instruction

    def _marked(self, view: str) -> Callable[[tuple[int | None, ...]], str]:
        kind = view
        if view == "operation":
            op = MARK_KINDS.index("op")
            kind = "op" if any(marks[op] is not None for _, marks, _ in self.by_marks) else "phase"
        at = MARK_KINDS.index(kind)
        words = self.names.get(kind, [])

        def label(marks: tuple[int | None, ...]) -> str:
            value = marks[at]
            if value is None:
                return f"(no {kind})"
            return words[value] if value < len(words) else f"{kind} {value}"

        return label

    def table(self, view: str, top: int | None = None) -> list[dict[str, Any]]:
        """Plain data of a view: figures of each row and its share of the time.

        Utilisation of a unit is that in the row's time; by line and by instruction, whose
        operations go on while later ones issue, it is the part of the whole run in which the unit
        worked for the row, so that it adds up to the run's. `hbm_utilisation` is the same of what
        the memories give at best. `limit` says in words what limited a row, except in those two.
        """
        period = self.meta["period_ps"]
        whole = self.total.time_ps or 1
        macs = self.meta["macs_per_cycle_per_core"]
        bandwidth = self.meta["achievable_bandwidth"] / len(self.meta["cores"])
        made = []
        for row in self.by(view)[:top]:
            time = whole if view in ("line", "pc") else row.time_ps or 1
            peak = macs * time / period
            matrix = row.macs / peak if peak else 0.0
            moved = row.bytes_read + row.bytes_written
            memory = moved / (bandwidth * time * 1e-12) if bandwidth else 0.0
            vector = row.vector_busy_ps / time
            limit = ""
            if view not in ("line", "pc"):
                shares = {name: spent / time for name, spent in row.times.items()}
                limit = limit_of(matrix, memory, vector, shares)
            made.append(
                {
                    "key": row.key,
                    "text": row.text,
                    "core_cycles": _whole(row.time_ps, period),
                    "share": row.time_ps / whole,
                    "own_cycles": _whole(row.times["own"], period),
                    "idle_cycles": _whole(row.times["idle"], period),
                    "stall_cycles": {name: _whole(row.times[name], period) for name in STALLS},
                    "instructions": row.instructions,
                    "hbm_bytes_read": row.bytes_read,
                    "hbm_bytes_written": row.bytes_written,
                    "energy_fj": row.energy_fj,
                    "vector_utilisation": vector,
                    "matrix_utilisation": matrix,
                    "hbm_utilisation": memory,
                    "limit": limit,
                    "lane_operations": row.lane_operations,
                    "macs": row.macs,
                }
            )
        return made

    def save(self, path: str | Path) -> Path:
        """Writes the profile as JSON, which `read_profile` reads."""

        def plain(row: Row) -> dict[str, Any]:
            return {k: v for k, v in asdict(row).items() if k not in ("key", "text")}

        data = {
            "format": _FORMAT,
            "meta": self.meta,
            "by_pc": [[core, pc, plain(row)] for core, pc, row in self.by_pc],
            "by_marks": [[core, list(marks), plain(row)] for core, marks, row in self.by_marks],
            "places": [[core, pc, *place] for (core, pc), place in self.places.items()],
            "names": self.names,
            "traffic": self.traffic,
            "power": self.power,
            "sources": self.sources,
        }
        made = Path(path)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(json.dumps(data) + "\n", encoding="utf-8")
        return made


def _whole(time_ps: int, period: int) -> int | float:
    return time_ps // period if time_ps % period == 0 else time_ps / period


def read_profile(path: str | Path) -> Profile:
    """Reads a profile: a file that `--profile` wrote, or a directory that `--record` wrote.

    Raises:
        ValueError: The file is no profile.
        FileNotFoundError: There is none.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "profile.json"
        if not file.exists():
            raise FileNotFoundError(
                f"{path}: no profile.json in this directory (allowed: a directory that --record "
                "wrote, or a file that --profile wrote)"
            )
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["format"] != _FORMAT:
            raise ValueError(f"{file}: format {data['format']!r} (allowed: {_FORMAT!r})")
        return Profile(
            meta=data["meta"],
            by_pc=[(core, pc, Row("", **row)) for core, pc, row in data["by_pc"]],
            by_marks=[(core, tuple(m), Row("", **row)) for core, m, row in data["by_marks"]],
            places={(core, pc): tuple(place) for core, pc, *place in data["places"]},
            names=data["names"],
            traffic={name: tuple(value) for name, value in data["traffic"].items()},
            power={name: tuple(value) for name, value in data["power"].items()},
            sources=data["sources"],
        )
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError(f"{file}: no profile that this version of npuvp wrote") from None


def _share_out(rows: Sequence[Row], amount: int, weights: Iterable[int], rest: Row) -> None:
    """Adds `amount` fJ to the rows in proportion to whole weights; to `rest` if there are none."""
    weighed = list(weights)
    whole = sum(weighed)
    if whole == 0:
        rest.energy_fj += amount
        return
    seen = spent = 0
    for row, weight in zip(rows, weighed, strict=True):
        seen += weight
        until = amount * seen // whole
        row.energy_fj += until - spent
        spent = until


def _rows(columns: Sequence[str], sums: Iterable[Sequence[int]]) -> list[Row]:
    rows = []
    for values in sums:
        row = Row("")
        for name, value in zip(columns, values, strict=True):
            if name in row.times:
                row.times[name] = int(value)
            elif name in _COLUMNS:
                setattr(row, _COLUMNS[name], int(value))
        rows.append(row)
    return rows


def make_profile(data: Mapping[str, Any], machine: "Machine", result: "Result") -> Profile:
    """A run's profile from its sink's data (`ProfileSink.data`), the machine and the result."""
    sources = machine.native.hub.sources
    paths = [source.path for source in sources]
    cores = {core["name"]: core for core in machine.description["cores"]}
    own = [
        index
        for index, source in enumerate(sources)
        if source.path.split(".")[0] in cores and source.type in ("core", "unit", "dma", "sram")
    ]
    charged = sum(sources[index].dynamic_fj for index in own)
    shared = sum(source.dynamic_fj for source in sources) - charged
    static = sum(result.energy.static_fj.values())
    tables = []
    for kind in ("pc", "marks"):
        rows = _rows(data["columns"], data[f"{kind}_sums"])
        # The first rows are those of what belongs to no instruction.
        moved = [row.bytes_read + row.bytes_written for row in rows]
        _share_out(rows, shared, moved, rows[0])
        _share_out(rows, static, [row.time_ps for row in rows], rows[0])
        tables.append(rows)
    by_pc, by_marks = tables
    places: dict[tuple[str, int], tuple[str, int, str, str]] = {}
    pcs: list[tuple[str, int | None, Row]] = []
    firmware = machine.firmware
    for (source, pc), row in zip(data["pc"], by_pc, strict=True):
        core = paths[source]
        pcs.append((core, pc, row))
        if pc is None:
            continue
        text = firmware.text(cores[core]["index"])
        location = firmware.location(cores[core]["index"], pc)
        # A core that runs off the end of its program waits there for its transfers.
        instruction = "(end of the program)"
        if text is not None and pc < len(text.words):
            instruction = instruction_text(text.words[pc], pc)
        if location is None:
            places[core, pc] = ("", 0, "", instruction)
        else:
            line = firmware.source_line(location)
            places[core, pc] = (location.file, location.line, line, instruction)
    return Profile(
        meta=_meta(machine, result),
        by_pc=pcs,
        by_marks=[
            (paths[source], tuple(marks), row)
            for (source, marks), row in zip(data["marks"], by_marks, strict=True)
        ],
        places=places,
        names=mark_names(firmware),
        traffic={
            paths[source]: (int(window), list(read), list(written))
            for source, (window, read, written) in data["traffic"].items()
        },
        power={
            paths[source]: (int(window), list(sums))
            for source, (window, sums) in data["energy"].items()
        },
        sources={
            file: firmware.sources[file]
            for file in dict.fromkeys(place[0] for place in places.values())
            if file in firmware.sources
        },
    )


def _meta(machine: "Machine", result: "Result") -> dict[str, Any]:
    description = machine.description
    clock = description["platform"]["clock"]
    lanes = [core["parameters"]["vlen"] for core in description["cores"]]
    macs = [
        p["mlen"] * p["blen"] * p["matrix_rows"]
        for p in (core["parameters"] for core in description["cores"])
    ]
    memories = {
        memory["name"]: {
            "peak_bandwidth": result.stats[memory["name"]]["peak_bandwidth"],
            "bytes_read": result.stats[memory["name"]]["bytes_read"],
            "bytes_written": result.stats[memory["name"]]["bytes_written"],
        }
        for memory in description["hbms"]
    }
    mesh = None
    if description["noc"] is not None:
        name = description["noc"]["name"]
        parameters = description["noc"]["parameters"]
        mesh = {
            "name": name,
            "columns": parameters["columns"],
            "rows": parameters["rows"],
            "links": {k: v["utilisation"] for k, v in result.stats[name]["links"].items()},
            "nodes": {
                part["name"]: part["nodes"]
                for part in (
                    *description["cores"],
                    *description["hbms"],
                    *description["targets"],
                    description["host"],
                )
            },
        }
    program = Path(machine.firmware.path or next(iter(machine.firmware.sources), "program")).name
    return {
        "title": f"{program} on {description['name']}",
        "platform": description["name"],
        "mode": result.mode,
        "cycles": result.cycles,
        "time_ps": result.time_ps,
        "period_ps": description["period_ps"],
        "clock": clock,
        "cores": [core["name"] for core in description["cores"]],
        "lanes": sum(lanes),
        "lanes_per_core": sum(lanes) / len(lanes),
        "macs_per_cycle": sum(macs),
        "achievable_bandwidth": achievable_bandwidth(description),
        "macs_per_cycle_per_core": sum(macs) / len(macs),
        "memories": memories,
        "mesh": mesh,
        "energy_fj": {
            name: result.energy.dynamic_fj[name] + result.energy.static_fj[name]
            for name in result.energy.dynamic_fj
        },
        "static_fj": dict(result.energy.static_fj),
    }
