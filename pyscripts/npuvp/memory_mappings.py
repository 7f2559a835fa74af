"""Address mappings: how the number of an access splits into channel, bank, row and the rest.

A mapping is a file ``platform/hbm/mappings/NAME.yaml``.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npuvp.kept import KeptFiles
from npuvp.parameters import Entry, Fault, PlatformError, Settings
from npuvp.paths import platform_dir
from npuvp.platform_file import read_file

__all__ = ["AddressMapping", "MemoryConfigError", "load_mapping", "mapping_names", "slices"]

FIELDS = ("channel", "pseudo_channel", "stack_id", "bank_group", "bank", "row", "column")


def unknown(name: object, known: Iterable[str]) -> str:
    """What to say about an unknown name: all that are known, and the nearest."""
    names = list(known)
    by_case = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(str(name).casefold(), by_case, n=1, cutoff=0.7)
    hint = f"; did you mean {by_case[near[0]]}?" if near else ""
    return f"is unknown, allowed: {', '.join(names)}{hint}"


def is_integer(value: Any) -> bool:
    """Whether it is an int and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


class MemoryConfigError(ValueError):
    """A preset, mapping or memory that cannot be used, with every fault that was found.

    Attributes:
        faults: the faults, in the order of the file or the call.
    """

    def __init__(self, what: str, faults: Iterable[Fault]):
        self.faults = tuple(dict.fromkeys(faults))
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"{what}: {count}\n" + "\n".join(f"  {fault}" for fault in self.faults))


def presets_dir() -> Path:
    """The folder of the presets."""
    return platform_dir() / "hbm"


def names(folder: Path) -> list[str]:
    """Names of the files in a folder."""
    return sorted(file.stem for file in folder.glob("*.yaml"))


def mapping_names() -> list[str]:
    """Names that `load_mapping` knows."""
    return names(presets_dir() / "mappings")


def find(folder: Path, what: str, name: str) -> Path:
    """The file of a preset or mapping; raises `MemoryConfigError` if there is none."""
    known = names(folder)
    if name not in known:
        raise MemoryConfigError(
            what,
            [Fault(str(folder), what, repr(name), unknown(name, known))],
        )
    return folder / f"{name}.yaml"


def read(path: Path, what: str) -> Settings:
    """Reads a file; raises `MemoryConfigError` if it is no YAML of unique keys."""
    faults: list[Fault] = []
    try:
        settings = read_file(path, faults)
    except PlatformError as error:
        raise MemoryConfigError(f"{what} {path.stem}", error.faults) from None
    if faults:
        raise MemoryConfigError(f"{what} {path.stem}", faults)
    return settings


@dataclass(frozen=True)
class AddressMapping:
    """How the number of an access splits into coordinates.

    Attributes:
        name: of the file.
        order: fields from the least significant, each with the number of its values that the slice
            takes, or None for all that are left.
        hashes: (target, source, shift): target ^= source >> shift, after splitting, in order.
    """

    name: str
    order: tuple[tuple[str, int | None], ...]
    hashes: tuple[tuple[str, str, int], ...]


_mappings: KeptFiles[str, AddressMapping] = KeptFiles()


def load_mapping(name: str) -> AddressMapping:
    """Reads and checks an address mapping, one of `mapping_names()`.

    Raises:
        MemoryConfigError: there is no such mapping, or it is not valid.
    """
    folder = presets_dir() / "mappings"
    return _mappings.get(
        name,
        lambda: [find(folder, "mapping", name)],
        lambda: _load(find(folder, "mapping", name)),
    )


def _load(path: Path) -> AddressMapping:
    name = path.stem
    settings = read(path, "memory mapping")
    faults: list[Fault] = []
    allowed = ("name", "description", "order", "hash")
    for key, entry in settings.items():
        if key not in allowed:
            faults.append(Fault(entry.place, key, None, unknown(key, allowed)))
    order: list[tuple[str, int | None]] = []
    entry = settings.get("order", Entry([], str(path), "order"))
    items = entry.value if isinstance(entry.value, list) else []
    for item in items:
        field, _, size = str(item).partition(":")
        if field not in FIELDS or (size and not (size.isdecimal() and int(size) > 1)):
            message = f"must be FIELD or FIELD:COUNT with FIELD one of {', '.join(FIELDS)}"
            faults.append(Fault(entry.place, "order", repr(item), message))
            continue
        order.append((field, int(size) if size else None))
    for field in FIELDS:
        if sum(1 for f, size in order if f == field and size is None) != 1:
            message = "must be in it exactly once without a count"
            faults.append(Fault(entry.place, "order", field, message))
    hashes: list[tuple[str, str, int]] = []
    entry = settings.get("hash", Entry([], str(path), "hash"))
    for item in entry.value if isinstance(entry.value, list) else [entry.value]:
        parts = {k: v.value for k, v in item.items()} if isinstance(item, dict) else {}
        target, source, shift = (parts.get(k) for k in ("target", "source", "shift"))
        good = set(parts) == {"target", "source", "shift"} and is_integer(shift)
        if not good or target not in FIELDS or source not in FIELDS or target == source:
            message = "must be {target: FIELD, source: another FIELD, shift: N}"
            faults.append(Fault(entry.place, "hash", repr(parts or item), message))
            continue
        hashes.append((str(target), str(source), int(str(shift))))
    if faults:
        raise MemoryConfigError(f"memory mapping {name}", faults)
    return AddressMapping(name, tuple(order), tuple(hashes))


def slices(
    mapping: AddressMapping, counts: dict[str, int], faults: list[Fault], place: str
) -> list[tuple[str, int]]:
    """The slices of a mapping for given counts per field; appends what it cannot serve."""
    rest = dict(counts)
    for field, size in mapping.order:
        if size is None:
            continue
        if rest[field] % size:
            message = f"takes the {field}s in slices of {size}, and {counts[field]} is no multiple"
            faults.append(Fault(place, "mapping", repr(mapping.name), message))
        rest[field] = max(1, rest[field] // size)
    for target, _, _ in mapping.hashes:
        if counts[target] & (counts[target] - 1):
            message = f"hashes the {target}s, and {counts[target]} is no power of two"
            faults.append(Fault(place, "mapping", repr(mapping.name), message))
    return [(field, size or rest[field]) for field, size in mapping.order]
