"""Memory presets: geometry, timing and controller of one kind of HBM, as data with sources.

A preset is a file ``platform/hbm/NAME.yaml`` that describes one stack. ``load_preset`` reads and
checks one (of your own, by its path), ``memory_config`` makes the plain description of a whole memory that the C++ side
takes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npuvp.kept import KeptFiles
from npuvp.memory_mappings import (
    FIELDS,
    MemoryConfigError,
    find,
    is_integer,
    load_mapping,
    mapping_names,
    names,
    presets_dir,
    read,
    slices,
    unknown,
)
from npuvp.parameters import Entry, Fault, Settings
from npuvp.quantities import QuantityError, parse_quantity

__all__ = [
    "MemoryConfigError",
    "Preset",
    "is_preset_file",
    "load_mapping",
    "load_preset",
    "mapping_names",
    "memory_config",
    "preset_names",
]

FAMILIES = ("HBM2", "HBM3")
ROW_POLICIES = ("open", "closed", "capped")
REFRESHES = ("none", "all_bank", "per_bank")
BANK_REFRESH_ORDERS = ("bank_by_bank", "pseudo_channels_together")
MAX_PSEUDO_CHANNELS = 2
MAX_BANKS = 64
MAX_QUEUE = 4096


@dataclass(frozen=True)
class _Key:
    """What one value of a preset may be; `allowed` ends a sentence."""

    accepts: Callable[[Any], bool]
    allowed: str


def _integer(low: int, high: int) -> _Key:
    return _Key(lambda v: is_integer(v) and low <= v <= high, f"an integer from {low} to {high}")


def _choice(*names: str) -> _Key:
    return _Key(lambda v: v in names, ", ".join(names))


def _share() -> _Key:
    return _Key(
        lambda v: isinstance(v, int | float) and not isinstance(v, bool) and 0 < v < 1,
        "a number between 0 and 1",
    )


def _frequency(value: Any) -> bool:
    try:
        hertz = parse_quantity("frequency", value)
    except (QuantityError, TypeError, ValueError):
        return False
    return 10**6 <= hertz <= 10**11 and hertz % 1000 == 0


_CLOCKS = _integer(1, 1_000_000)

TIMINGS = (
    *("cl", "cwl", "burst", "rcd_rd", "rcd_wr", "rp", "ras", "rc"),
    *("ccd_s", "ccd_l", "ccd_r", "rrd_s", "rrd_l", "faw", "wr", "rtp", "wtr_s", "wtr_l", "rtw"),
    *("rfc", "rfc_pb", "rrefd", "refi", "ppd"),
)
"""JEDEC delays in clocks, as in ``tlm/memory/config.h``."""

_SECTIONS: dict[str, dict[str, _Key]] = {
    "organization": {
        "stacks": _integer(1, 64),
        "channels": _integer(1, 256),
        "pseudo_channels": _integer(1, MAX_PSEUDO_CHANNELS),
        "stack_ids": _integer(1, 8),
        "bank_groups": _integer(1, MAX_BANKS),
        "banks": _integer(1, MAX_BANKS),
        "rows": _integer(1, 2**24),
        "columns": _integer(1, 2**16),
    },
    "interface": {
        "clock": _Key(_frequency, "a frequency from 1MHz to 100GHz in whole kHz"),
        "pin_rate_mbps": _integer(1, 100_000),
        "data_bits": _integer(8, 4096),
        "burst_length": _integer(1, 64),
    },
    "timing": {
        **dict.fromkeys(TIMINGS, _CLOCKS),
        "ppd": _integer(0, 1_000_000),
    },
    "bus": {
        "ticks_per_clock": _integer(1, 2),
        "activate_ticks": _integer(1, 16),
        "precharge_ticks": _integer(1, 16),
        "refresh_ticks": _integer(1, 16),
        "column_ticks": _integer(1, 16),
    },
    "controller": {
        "queue_depth": _integer(1, MAX_QUEUE),
        "write_drain_start": _share(),
        "write_drain_stop": _share(),
        "protect_row_hits": _Key(lambda v: isinstance(v, bool), "true or false"),
        "row_policy": _choice(*ROW_POLICIES),
        "row_cap": _integer(1, 2**20),
        "refresh": _choice(*REFRESHES),
        "bank_refresh_order": _choice(*BANK_REFRESH_ORDERS),
    },
    "ideal": {
        "latency_ns": _Key(
            lambda v: isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 1e6,
            "a number of ns from 0 to 1000000",
        ),
    },
}
_TEXTS = ("name", "description", "family", "mapping")

# What must hold between the values of a preset: (section.key, relation, section.key).
_ORDERED = (
    ("timing.ccd_s", "timing.ccd_l"),
    ("timing.rrd_s", "timing.rrd_l"),
    ("timing.wtr_s", "timing.wtr_l"),
    ("timing.rrd_s", "timing.faw"),
    ("timing.rcd_rd", "timing.ras"),
    ("timing.ras", "timing.rc"),
    ("timing.rfc_pb", "timing.rfc"),
    ("controller.write_drain_stop", "controller.write_drain_start"),
)


@dataclass(frozen=True, eq=False)
class Preset:
    """One kind of memory, checked; the same object until its file changes.

    Attributes:
        name: of the file.
        description: one sentence.
        family: standard whose command set it follows, ``HBM2`` or ``HBM3``.
        mapping: name of its address mapping.
        values: the plain values by section (``organization``, ``interface``, ``timing``, ``bus``,
            ``controller``, ``ideal``) and key.
        sources: where each value comes from, by section and key.
    """

    name: str
    description: str
    family: str
    mapping: str
    values: dict[str, dict[str, Any]]
    sources: dict[str, dict[str, str]]

    @property
    def stacks(self) -> int:
        """Stacks that the preset is meant for."""
        return int(self.values["organization"]["stacks"])

    @property
    def channels(self) -> int:
        """Channels of a stack."""
        return int(self.values["organization"]["channels"])

    @property
    def pseudo_channels(self) -> int:
        """Pseudo-channels of a channel."""
        return int(self.values["organization"]["pseudo_channels"])

    @property
    def access_bytes(self) -> int:
        """Bytes of one access: a burst over the pins of a pseudo-channel."""
        interface = self.values["interface"]
        return int(interface["data_bits"]) * int(interface["burst_length"]) // 8

    @property
    def clock_khz(self) -> int:
        """Command clock (CK) in kHz."""
        return parse_quantity("frequency", self.values["interface"]["clock"]) // 1000

    @property
    def stack_bytes(self) -> int:
        """Capacity of a stack."""
        o = self.values["organization"]
        units = o["channels"] * o["pseudo_channels"] * o["stack_ids"] * o["bank_groups"]
        return int(units * o["banks"] * o["rows"] * o["columns"] * self.access_bytes)

    @property
    def stack_bandwidth(self) -> int:
        """Peak of a stack in bytes per second."""
        o, i = self.values["organization"], self.values["interface"]
        pins = o["channels"] * o["pseudo_channels"] * i["data_bits"]
        return int(pins * i["pin_rate_mbps"] * 1_000_000 // 8)


def preset_names() -> list[str]:
    """Names that `load_preset` knows."""
    return names(presets_dir())


def is_preset_file(name: str) -> bool:
    """Whether a text is the path of a preset's file, and no name of one that ships."""
    return name.endswith(".yaml")


def _children(entry: Entry) -> Mapping[str, Entry] | None:
    return entry.value if isinstance(entry.value, dict) else None


def _merged(settings: Settings, base: Settings) -> dict[str, Entry]:
    """`settings` over `base`: whole values, section by section."""
    result = dict(base)
    for name, entry in settings.items():
        below, above = _children(base[name]) if name in base else None, _children(entry)
        if below is not None and above is not None:
            entry = Entry({**below, **above}, entry.place, entry.key)
        result[name] = entry
    return result


def _settings(path: Path, chain: tuple[str, ...] = ()) -> Settings:
    settings = read(path, "memory preset")
    if "extends" not in settings:
        return settings
    entry = settings["extends"]
    chain = (*chain, path.stem)
    # Beside the file, or one that ships.
    folders = dict.fromkeys((path.parent, presets_dir().resolve()))
    known = {
        name: folder for folder in reversed(folders) for name in names(folder) if name not in chain
    }
    if entry.value not in known:
        message = f"is no other preset, allowed: {', '.join(known)}"
        raise MemoryConfigError(
            f"memory preset {path.stem}",
            [Fault(entry.place, "extends", repr(entry.value), message)],
        )
    base = _settings(known[entry.value] / f"{entry.value}.yaml", chain)
    return _merged({k: v for k, v in settings.items() if k != "extends"}, base)


class _Reader:
    """Reads the sections of a preset and collects what is wrong with them."""

    def __init__(self, path: Path, settings: Settings):
        self.path, self.settings = path, settings
        self.faults: list[Fault] = []
        self.values: dict[str, dict[str, Any]] = {}
        self.sources: dict[str, dict[str, str]] = {}
        self.places: dict[str, str] = {}

    def fault(self, place: str, key: str, value: str | None, message: str) -> None:
        self.faults.append(Fault(place, key, value, message))

    def read(self) -> None:
        known = (*_TEXTS, "sources", *_SECTIONS)
        for name, entry in self.settings.items():
            if name not in known:
                self.fault(entry.place, name, None, unknown(name, known))
        declared = self._declared_sources()
        for section, keys in _SECTIONS.items():
            self._section(section, keys, declared)

    def text(self, name: str, allowed: tuple[str, ...] | None = None) -> str:
        entry = self.settings.get(name)
        if entry is None:
            self.fault(str(self.path), name, None, "is missing")
            return ""
        if not isinstance(entry.value, str) or (allowed and entry.value not in allowed):
            message = f"allowed: {', '.join(allowed)}" if allowed else "must be a text"
            self.fault(entry.place, name, repr(entry.value), message)
            return ""
        return entry.value

    def _declared_sources(self) -> dict[str, str]:
        entry = self.settings.get("sources")
        children = _children(entry) if entry is not None else None
        if children is None:
            self.fault(str(self.path), "sources", None, "must map abbreviations to texts")
            return {}
        return {name: str(child.value) for name, child in children.items()}

    def _section(self, section: str, keys: dict[str, _Key], declared: dict[str, str]) -> None:
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        self.values[section], self.sources[section] = values, sources
        entry = self.settings.get(section)
        children = _children(entry) if entry is not None else None
        if children is None:
            self.fault(str(self.path), section, None, f"is missing, with {', '.join(keys)}")
            return
        for name, child in children.items():
            if name not in keys:
                self.fault(child.place, f"{section}.{name}", None, unknown(name, keys))
        for name, key in keys.items():
            path = f"{section}.{name}"
            if name not in children:
                self.fault(str(self.path), path, None, f"is missing; it must be {key.allowed}")
                continue
            child = children[name]
            parts = _children(child)
            if parts is None or set(parts) != {"value", "source"}:
                message = "must be {value: .., source: ..}"
                self.fault(child.place, path, repr(child.value), message)
                continue
            value, source = parts["value"].value, parts["source"].value
            self.places[path] = child.place
            if source not in declared:
                message = f"has an undeclared source, allowed: {', '.join(declared)}"
                self.fault(child.place, path, repr(source), message)
            else:
                sources[name] = declared[source]
            if key.accepts(value):
                values[name] = value
            else:
                self.fault(child.place, path, repr(value), f"must be {key.allowed}")

    def value(self, path: str) -> Any:
        section, key = path.split(".")
        return self.values[section].get(key)

    def check_relations(self) -> None:
        """What must hold between values that are each as they should be."""
        for low, high in _ORDERED:
            a, b = self.value(low), self.value(high)
            if a is not None and b is not None and a > b:
                self.fault(self.places[low], low, str(a), f"must not exceed {high} = {b}")
        ras, rp, rc = (self.value(f"timing.{k}") for k in ("ras", "rp", "rc"))
        if None not in (ras, rp, rc) and rc < ras + rp:
            message = f"must be at least timing.ras + timing.rp = {ras + rp}"
            self.fault(self.places["timing.rc"], "timing.rc", str(rc), message)
        rfc, refi = self.value("timing.rfc"), self.value("timing.refi")
        if None not in (rfc, refi) and rfc >= refi:
            message = f"must be below timing.refi = {refi}, or refreshes leave no time"
            self.fault(self.places["timing.rfc"], "timing.rfc", str(rfc), message)
        bits, length = self.value("interface.data_bits"), self.value("interface.burst_length")
        if None not in (bits, length):
            access = bits * length // 8
            if bits * length % 8 or access & (access - 1) or access > 4096:
                message = (
                    f"times interface.burst_length = {length} gives accesses of {bits * length} "
                    "bits, which must be a power of two of bytes up to 4096"
                )
                self.fault(
                    self.places["interface.data_bits"], "interface.data_bits", str(bits), message
                )
        rate, clock = self.value("interface.pin_rate_mbps"), self.value("interface.clock")
        burst = self.value("timing.burst")
        if None not in (rate, clock, burst, length):
            hertz = parse_quantity("frequency", clock)
            if rate * 10**6 * burst != length * hertz:
                message = (
                    f"at a clock of {clock} moves {rate * 10**6 * burst / hertz:g} bits per pin in "
                    f"timing.burst = {burst} clocks, but interface.burst_length is {length}"
                )
                place = self.places["interface.pin_rate_mbps"]
                self.fault(place, "interface.pin_rate_mbps", str(rate), message)
        ids, groups, banks = (
            self.value(f"organization.{k}") for k in ("stack_ids", "bank_groups", "banks")
        )
        if None not in (ids, groups, banks) and ids * groups * banks > MAX_BANKS:
            message = (
                f"makes {ids * groups * banks} banks per pseudo-channel with bank_groups and "
                f"stack_ids, allowed: up to {MAX_BANKS}"
            )
            place = self.places["organization.banks"]
            self.fault(place, "organization.banks", str(banks), message)


_presets: KeptFiles[str | Path, Preset] = KeptFiles()


def _chain(path: Path) -> list[Path]:
    """The file of a preset, and those that it extends."""
    files: list[Path] = []
    while path not in files and path.is_file():
        files.append(path)
        base = read(path, "memory preset").get("extends")
        beside = path.parent / f"{None if base is None else base.value}.yaml"
        if base is not None and not beside.is_file():
            files.append(beside)  # should there be one, it counts
        path = beside if beside.is_file() else presets_dir().resolve() / beside.name
    return files


def _load(path: Path) -> Preset:
    reader = _Reader(path, _settings(path))
    reader.read()
    reader.check_relations()
    texts = {name: reader.text(name, FAMILIES if name == "family" else None) for name in _TEXTS}
    mapping = reader.settings.get("mapping")
    if mapping is not None and texts["mapping"] and texts["mapping"] not in mapping_names():
        message = f"is no mapping, allowed: {', '.join(mapping_names())}"
        reader.fault(mapping.place, "mapping", repr(mapping.value), message)
    name = reader.settings.get("name")
    if name is not None and texts["name"] and texts["name"] != path.stem:
        reader.fault(name.place, "name", repr(name.value), f"must be that of the file, {path.stem}")
    if reader.faults:
        raise MemoryConfigError(f"memory preset {path.stem}", reader.faults)
    return Preset(**texts, values=reader.values, sources=reader.sources)


def load_preset(name: str | Path) -> Preset:
    """Reads and checks a preset.

    Args:
        name: one of `preset_names()`, or the path of a file (a text is one if it ends in .yaml).

    Raises:
        MemoryConfigError: there is no such preset, or it is not valid; all faults at once, each
            with its place.
    """
    if not isinstance(name, str | Path):
        message = f"must be the name of a preset ({', '.join(preset_names())}) or a file's path"
        raise MemoryConfigError("preset", [Fault("memory", "preset", repr(name), message)])
    if isinstance(name, Path) or is_preset_file(name):
        path = Path(name)
        if not path.is_file():
            message = f"there is no such file; presets that ship: {', '.join(preset_names())}"
            fault = Fault(str(path), "preset", repr(str(name)), message)
            raise MemoryConfigError("preset", [fault])
        own = path.resolve()
        return _presets.get(own, lambda: _chain(own), lambda: _load(own))

    def shipped() -> Path:
        return find(presets_dir(), "preset", name)

    return _presets.get(name, lambda: _chain(shipped()), lambda: _load(shipped()))


def memory_config(
    preset: str | Path | Preset,
    *,
    channels: int | None = None,
    pseudo_channels: int | None = None,
    mapping: str | None = None,
    refresh: str | None = None,
    row_policy: str | None = None,
    row_cap: int | None = None,
    queue: int | None = None,
    latency_ns: float | None = None,
    bandwidth: float | None = None,
    place: str = "memory",
) -> dict[str, Any]:
    """The plain description of a whole memory, as the C++ side takes it.

    Every argument but the preset replaces what the preset says; None keeps it.

    Args:
        preset: name, file or preset.
        channels: of all stacks together (default: of the stacks that the preset is meant for).
        pseudo_channels: of a channel.
        mapping: one of `mapping_names()`.
        refresh: ``none``, ``all_bank`` or ``per_bank``.
        row_policy: ``open``, ``closed`` or ``capped``.
        row_cap: column accesses after which ``capped`` closes a row.
        queue: entries of the read queue, and of the write queue, per pseudo-channel.
        latency_ns: of the backend ``ideal``.
        bandwidth: of the backend ``ideal``, bytes per second (default: the peak of the channels).
        place: for messages.

    Raises:
        MemoryConfigError: unknown preset or mapping, or values that are not allowed; all at once.
    """
    chosen = preset if isinstance(preset, Preset) else load_preset(preset)
    faults: list[Fault] = []

    def number(name: str, value: Any, default: Any, low: int, high: int) -> int:
        if value is None:
            return int(default)
        if not is_integer(value) or not low <= value <= high:
            faults.append(Fault(place, name, repr(value), f"allowed: {low} to {high}"))
            return int(default)
        return int(value)

    def choice(name: str, value: Any, default: str, allowed: tuple[str, ...]) -> str:
        if value is None:
            return default
        if value not in allowed:
            faults.append(Fault(place, name, repr(value), f"allowed: {', '.join(allowed)}"))
            return default
        return str(value)

    controller = dict(chosen.values["controller"])
    controller |= {
        "queue_depth": number("queue", queue, controller["queue_depth"], 1, MAX_QUEUE),
        "row_policy": choice("row_policy", row_policy, controller["row_policy"], ROW_POLICIES),
        "row_cap": number("row_cap", row_cap, controller["row_cap"], 1, 2**20),
        "refresh": choice("refresh", refresh, controller["refresh"], REFRESHES),
    }
    organization = {k: v for k, v in chosen.values["organization"].items() if k != "stacks"}
    organization |= {
        "channels": number("channels", channels, chosen.channels * chosen.stacks, 1, 4096),
        "pseudo_channels": number(
            "pseudo_channels", pseudo_channels, chosen.pseudo_channels, 1, chosen.pseudo_channels
        ),
        "access_bytes": chosen.access_bytes,
    }
    peak = chosen.stack_bandwidth / (chosen.channels * chosen.pseudo_channels)
    peak *= organization["channels"] * organization["pseudo_channels"]
    for name, value, low in (("latency_ns", latency_ns, 0.0), ("bandwidth", bandwidth, 1.0)):
        if value is not None and not (isinstance(value, int | float) and low <= value < 1e18):
            faults.append(Fault(place, name, repr(value), f"allowed: {low:g} and more"))
    counts = {field: organization[f"{field}s"] for field in FIELDS}
    used = load_mapping(chosen.mapping)
    if mapping is not None:
        try:
            used = load_mapping(mapping)
        except MemoryConfigError as error:
            faults += error.faults
    split = slices(used, counts, faults, place)
    if faults:
        raise MemoryConfigError(f"memory of preset {chosen.name}", faults)
    return {
        "name": chosen.name,
        "family": chosen.family,
        "clock_khz": chosen.clock_khz,
        "organization": organization,
        "timing": dict(chosen.values["timing"]),
        "bus": dict(chosen.values["bus"]),
        "controller": controller,
        "mapping": {"slices": split, "hashes": list(used.hashes)},
        "ideal": {
            "latency_ns": float(
                chosen.values["ideal"]["latency_ns"] if latency_ns is None else latency_ns
            ),
            "bandwidth": float(peak if bandwidth is None else bandwidth),
        },
    }
