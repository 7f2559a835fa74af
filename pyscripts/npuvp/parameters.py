"""Platform parameters: the declaration in `parameters.yaml`, and checking values against it."""

import difflib
import functools
import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from npuvp.kept import Kept
from npuvp.quantities import UNITS, QuantityError, format_quantity, parse_quantity

__all__ = [
    "Component",
    "Declaration",
    "Entry",
    "EnumType",
    "Fault",
    "Parameter",
    "PlatformError",
    "Settings",
    "TableType",
    "Values",
    "check_settings",
    "copied",
    "declaration",
    "unknown_key",
]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a platform.

    Attributes:
        place: where it was said: "file.yaml:12", "Python call at script.py:8", "--set core.vlen=5".
        key: full path of the key, for instance "cores.core0.vlen".
        value: the value as it was written; None where the fault is in no single value.
        message: what is wrong, and what was allowed.
    """

    place: str
    key: str
    value: str | None
    message: str

    def __str__(self) -> str:
        value = "" if self.value is None else f" = {self.value}"
        return f"{self.place}: {self.key}{value}: {self.message}"


class PlatformError(ValueError):
    """A platform that cannot be built, with every fault that was found.

    Attributes:
        faults: the faults, in the order in which the platform was described.
    """

    def __init__(self, name: str, faults: Iterable[Fault]):
        self.faults = tuple(dict.fromkeys(faults))
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        lines = "\n".join(f"  {fault}" for fault in self.faults)
        super().__init__(f"platform {name}: {count}\n{lines}")


@dataclass(frozen=True)
class Entry:
    """A value before it is checked, with where it comes from.

    Attributes:
        value: a scalar, a list, or for a mapping a dict of entries.
        place: see `Fault.place`.
        key: full path of the key.
    """

    value: Any
    place: str
    key: str

    @property
    def text(self) -> str:
        """The value as a message shows it."""
        return _show(self.value)


Settings = dict[str, Entry]


def _show(value: Any) -> str:
    if isinstance(value, Entry):
        return _show(value.value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_show(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_show(v) for v in value) + "]"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


@dataclass(frozen=True)
class EnumType:
    """An enumeration; `cpp` and `header` name a C++ type that exists already."""

    name: str
    values: tuple[str, ...]
    description: str
    cpp: str | None = None
    header: str | None = None


@dataclass(frozen=True)
class TableClass:
    """One row of a table, with its default per field."""

    name: str
    default: tuple[int, ...]
    description: str
    source: str


@dataclass(frozen=True)
class TableType:
    """A table of integers: rows by class, columns by field.

    In C++ a row is a struct `entry`, and the existing enumeration `index` (in `header`) numbers the
    classes in the same order.
    """

    name: str
    index: str
    header: str
    entry: str
    fields: tuple[str, ...]
    least: int
    greatest: int
    unit: str
    description: str
    classes: dict[str, TableClass]


@dataclass(frozen=True)
class Parameter:
    """One declared parameter. Numbers and quantities are in the base unit.

    `zero` says what a 0 stands for, `unset` what holds in place of the default where no value is
    given, for instance because a preset has it.
    """

    name: str
    type: str
    default: Any
    description: str
    unit: str = ""
    source: str = ""
    least: int | float | None = None
    greatest: int | float | None = None
    power_of_two: bool = False
    zero: str | None = None
    unset: str | None = None
    enum: EnumType | None = None
    table: TableType | None = None

    def format(self, value: Any) -> str:
        """A checked value as text that `parse` reads back."""
        if self.type in UNITS:
            return format_quantity(self.type, value)
        if self.type == "bool":
            return "true" if value else "false"
        return str(value)

    @property
    def allowed(self) -> str:
        """What is allowed, as the end of the sentence "must be ..."."""
        if self.type == "bool":
            return "true or false"
        if self.type == "string":
            return "text"
        if self.enum is not None:
            return "one of " + ", ".join(self.enum.values)
        noun = {
            "int": "an integer",
            "float": "a number",
            "time": "a time",
            "frequency": "a frequency",
            "bytes": "a number of bytes",
            "bandwidth": "a bandwidth",
        }[self.type]
        if self.power_of_two:
            noun = "a power of two" if self.type == "int" else f"{noun} that is a power of two"
        text = f"{noun} from {self.format(self.least)} to {self.format(self.greatest)}"
        return text if self.zero is None else f"{text}, or 0 ({self.zero})"

    def parse(self, value: Any) -> Any:
        """Reads one value that is no table.

        Raises:
            ValueError: with what was allowed, as the end of a sentence.
        """
        if self.type == "bool":
            if isinstance(value, bool):
                return value
        elif self.type == "string":
            if isinstance(value, str):
                return value
        elif self.enum is not None:
            if isinstance(value, str) and value in self.enum.values:
                return value
        elif not isinstance(value, bool):
            number = self._number(value)
            if number is not None and self._within(number):
                return number
        raise ValueError(f"must be {self.allowed}")

    def _number(self, value: Any) -> int | float | None:
        if self.type in UNITS:
            if not isinstance(value, str | float):
                try:
                    value = operator.index(value)
                except TypeError:
                    return None
            try:
                return parse_quantity(self.type, value)
            except QuantityError as error:
                raise ValueError(f"{error}; must be {self.allowed}") from None
        if self.type == "float" and isinstance(value, float):
            return float(value) if math.isfinite(value) else None
        try:
            number = operator.index(value)
        except TypeError:
            return None
        return float(number) if self.type == "float" else number

    def _within(self, number: int | float) -> bool:
        if self.zero is not None and number == 0:
            return True
        assert self.least is not None and self.greatest is not None
        if not self.least <= number <= self.greatest:
            return False
        return not self.power_of_two or (isinstance(number, int) and number.bit_count() == 1)


@dataclass(frozen=True)
class Component:
    """A type of component: platform, core, hbm, noc, host."""

    name: str
    description: str
    parameters: dict[str, Parameter]


@dataclass(frozen=True)
class Declaration:
    """All that `parameters.yaml` declares."""

    enums: dict[str, EnumType]
    tables: dict[str, TableType]
    components: dict[str, Component]


_TYPES = {"int", "float", "bool", "string", "enum", "table", *UNITS}
_FIELDS = {"type", "unit", "default", "range", "power_of_two", "zero", "unset", "enum", "table"}
_FIELDS |= {"description", "source"}


def _parameter(
    name: str, raw: Mapping[str, Any], enums: dict[str, EnumType], tables: dict[str, TableType]
) -> Parameter:
    if (
        not re.fullmatch(r"[a-z][a-z0-9_]*", name)
        or set(raw) - _FIELDS
        or raw["type"] not in _TYPES
    ):
        raise ValueError(f"parameters.yaml: malformed declaration of {name}: {dict(raw)}")
    kind = raw["type"]
    limits = raw.get("range", [None, None])
    if kind in UNITS:
        limits = [parse_quantity(kind, limit) for limit in limits]
    parameter = Parameter(
        name=name,
        type=kind,
        default=None,
        description=raw["description"],
        unit=raw.get("unit", ""),
        source=raw.get("source", ""),
        least=limits[0],
        greatest=limits[1],
        power_of_two=raw.get("power_of_two", False),
        zero=raw.get("zero"),
        unset=raw.get("unset"),
        enum=enums[raw["enum"]] if kind == "enum" else None,
        table=tables[raw["table"]] if kind == "table" else None,
    )
    if parameter.table is not None:
        default: Any = {
            cls.name: dict(zip(parameter.table.fields, cls.default, strict=True))
            for cls in parameter.table.classes.values()
        }
    else:
        default = parameter.parse(raw["default"])
    object.__setattr__(parameter, "default", default)
    return parameter


@functools.cache
def declaration() -> Declaration:
    """The declaration that this package ships.

    Raises:
        ValueError: it is malformed; a default outside its own range, for instance.
    """
    path = Path(__file__).with_name("parameters.yaml")
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    enums = {
        name: EnumType(name, tuple(e["values"]), e["description"], e.get("cpp"), e.get("header"))
        for name, e in raw["enums"].items()
    }
    tables = {
        name: TableType(
            name=name,
            index=t["index"],
            header=t["header"],
            entry=t["entry"],
            fields=tuple(t["fields"]),
            least=t["range"][0],
            greatest=t["range"][1],
            unit=t["unit"],
            description=t["description"],
            classes={
                cls: TableClass(cls, tuple(c["default"]), c["description"], c["source"])
                for cls, c in t["classes"].items()
            },
        )
        for name, t in raw["tables"].items()
    }
    components = {
        name: Component(
            name,
            c["description"],
            {p: _parameter(p, body, enums, tables) for p, body in c["parameters"].items()},
        )
        for name, c in raw["components"].items()
    }
    return Declaration(enums, tables, components)


@dataclass
class Values:
    """Checked values of one component.

    Attributes:
        values: every declared parameter; the default where none was given or a fault was found. All
            components that were given the same share them: who changes one makes a copy before.
        faulty: names of the parameters with a fault, about which nothing further can be said.
        entries: what was given, by name.
        key: equal only where all values are; None where there is a fault, or something was given
            that need not stay as it is.
    """

    values: dict[str, Any]
    faulty: set[str] = field(default_factory=set)
    entries: Settings = field(default_factory=dict)
    key: tuple[Any, ...] | None = None

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def sound(self, *names: str) -> bool:
        """Whether none of the named parameters has a fault."""
        return self.faulty.isdisjoint(names)


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What to say about an unknown key: the nearest known one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return "unknown key; known are " + ", ".join(names)


def _defaults(component: str) -> dict[str, Any]:
    """Values of every declared parameter, which the caller may change."""
    parameters = declaration().components[component].parameters
    return {
        name: p.default if p.table is None else {c: dict(row) for c, row in p.default.items()}
        for name, p in parameters.items()
    }


_PLAIN = frozenset({bool, float, int, str})
_checked: Kept[tuple[Any, ...], dict[str, Any]] = Kept(4096)


def _key(settings: Settings) -> tuple[Any, ...] | None:
    """What was given, with its types: of equal numbers an int, a float and a bool differ."""
    parts = []
    for name, entry in settings.items():
        value = entry.value
        kind = value.__class__
        if kind is dict:
            kind, value = dict, _key(value)
            if value is None:
                return None
        elif kind not in _PLAIN:
            return None
        parts.append((name, kind, value))
    return tuple(parts)


def check_settings(component: str, settings: Settings, faults: list[Fault]) -> Values:
    """Checks what was given for one component against the declaration.

    Args:
        component: a type of component ("core", ...).
        settings: what was given, by key.
        faults: receives what is wrong.
    """
    given = _key(settings)
    key = None if given is None else (component, given)
    if key is not None and (found := _checked.get(key)) is not None:
        return Values(found, entries=dict(settings), key=key)
    parameters = declaration().components[component].parameters
    result = Values(_defaults(component), entries=dict(settings))
    before = len(faults)
    for name, entry in settings.items():
        parameter = parameters.get(name)
        if parameter is None:
            message = unknown_key(name, parameters)
            faults.append(Fault(entry.place, entry.key, entry.text, message))
        elif parameter.table is not None:
            count = len(faults)
            result.values[name] = _check_table(parameter.table, entry, faults)
            if len(faults) > count:
                result.faulty.add(name)
        else:
            try:
                result.values[name] = parameter.parse(entry.value)
            except ValueError as error:
                faults.append(Fault(entry.place, entry.key, entry.text, str(error)))
                result.faulty.add(name)
    if key is not None and len(faults) == before:
        _checked.keep(key, result.values)
        result.key = key
    return result


def copied(value: Any) -> Any:
    """Plain data that may be changed, whoever shares the original."""
    if type(value) is dict:
        return {
            name: copied(inner) if type(inner) in (dict, list) else inner
            for name, inner in value.items()
        }
    return [copied(inner) for inner in value] if type(value) is list else value


def _check_table(table: TableType, entry: Entry, faults: list[Fault]) -> dict[str, dict[str, int]]:
    result = {
        cls.name: dict(zip(table.fields, cls.default, strict=True))
        for cls in table.classes.values()
    }
    if not isinstance(entry.value, dict):
        message = f"must be a table of {{class: {{{', '.join(table.fields)}}}}}"
        faults.append(Fault(entry.place, entry.key, entry.text, message))
        return result
    allowed = f"must be an integer from {table.least} to {table.greatest} ({table.unit})"
    for name, row in entry.value.items():
        if name not in table.classes:
            faults.append(Fault(row.place, row.key, None, unknown_key(name, table.classes)))
            continue
        if not isinstance(row.value, dict):
            message = f"must be a mapping with any of {', '.join(table.fields)}"
            faults.append(Fault(row.place, row.key, row.text, message))
            continue
        for column, cell in row.value.items():
            if column not in table.fields:
                message = unknown_key(column, table.fields)
            elif type(cell.value) is not int or not table.least <= cell.value <= table.greatest:
                message = allowed
            else:
                result[name][column] = cell.value
                continue
            faults.append(Fault(cell.place, cell.key, cell.text, message))
    return result
