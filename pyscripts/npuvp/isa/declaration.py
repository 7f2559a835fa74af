"""The ISA's declaration (isa.yaml) as validated Python objects.

Needs nothing but PyYAML, because the build loads it before the package exists.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DECLARATION = Path(__file__).with_name("isa.yaml")

REGISTER_KINDS = {"gp": 16, "fp": 8, "ha": 16}
KINDS = (*REGISTER_KINDS, "imm", "rel", "csr")
ROLES = ("read", "write", "read_write")
UNITS = ("scalar", "vector", "matrix", "dma", "control")
REGISTER_FIELDS = ("rd", "rs1", "rs2", "rs3", "f1")


class DeclarationError(ValueError):
    """isa.yaml contradicts itself; the message lists every fault with its place."""


@dataclass(frozen=True)
class BitField:
    """A field of the instruction word: `bits` bits from bit `low` on."""

    name: str
    low: int
    bits: int

    @property
    def limit(self) -> int:
        """Smallest unsigned value that does not fit."""
        return 1 << self.bits

    @property
    def mask(self) -> int:
        """The field's bits in the word."""
        return (self.limit - 1) << self.low

    def get(self, word: int) -> int:
        """The field's value in `word`."""
        return (word >> self.low) & (self.limit - 1)

    def put(self, value: int) -> int:
        """The word that holds `value` in this field and 0 elsewhere."""
        if not 0 <= value < self.limit:
            raise ValueError(f"{value} does not fit into field {self.name} (0..{self.limit - 1})")
        return value << self.low


@dataclass(frozen=True)
class Operand:
    """One operand of an instruction, in the order of the text."""

    name: str
    kind: str
    field: BitField | None
    text_field: BitField | None
    role: str = ""
    space: str = ""
    access: str = ""
    extent: str = ""
    count: str = ""
    optional: bool = False
    closed: bool = False
    min: int = 0
    max: int | None = None
    values: Mapping[str, int] = dataclasses.field(default_factory=dict)
    value_set: str = ""

    @property
    def is_register(self) -> bool:
        """Whether the operand names a register."""
        return self.kind in REGISTER_KINDS

    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value that the text may give."""
        if self.is_register:
            return 0, REGISTER_KINDS[self.kind] - 1
        if self.text_field is None:
            return 0, (1 << 31) - 1
        if self.kind == "rel":
            half = self.text_field.limit // 2
            return -half, half - 1
        return self.min, self.text_field.limit - 1 if self.max is None else self.max


@dataclass(frozen=True)
class Instruction:
    """One instruction; `text` is its mnemonic."""

    name: str
    text: str
    aliases: tuple[str, ...]
    opcode: int
    fixed: Mapping[str, int]
    unit: str
    timing: str
    operands: tuple[Operand, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    clobbers_gp: bool
    source: str
    semantics: str
    example: str
    match: int
    match_mask: int
    must_be_zero: int

    @property
    def required(self) -> int:
        """Number of operands that the text must give."""
        return sum(not operand.optional for operand in self.operands)

    @property
    def syntax(self) -> str:
        """The text form, e.g. `V_ADD_VV gpD, gpA, gpB[, m]`."""
        text = ""
        for operand in self.operands:
            comma = ", " if text else ""
            text += f"[{comma}{operand.name}]" if operand.optional else comma + operand.name
        return f"{self.text} {text}".rstrip()


@dataclass(frozen=True)
class Csr:
    """A control and status register."""

    name: str
    number: int
    access: str
    meaning: str
    values: Mapping[str, int]


@dataclass(frozen=True)
class Isa:
    """The whole declaration."""

    fields: Mapping[str, BitField]
    sources: Mapping[str, str]
    spaces: Mapping[str, str]
    extents: Mapping[str, str]
    states: Mapping[str, str]
    timing_classes: Mapping[str, str]
    value_sets: Mapping[str, Mapping[str, int]]
    csrs: tuple[Csr, ...]
    instructions: tuple[Instruction, ...]

    def by_name(self) -> dict[str, Instruction]:
        """Instructions by their identifier."""
        return {instruction.name: instruction for instruction in self.instructions}

    def by_mnemonic(self) -> dict[str, list[Instruction]]:
        """Instructions by mnemonic and alias; more than one where operand counts differ."""
        table: dict[str, list[Instruction]] = {}
        for instruction in self.instructions:
            for mnemonic in dict.fromkeys((instruction.text, *instruction.aliases)):
                table.setdefault(mnemonic, []).append(instruction)
        return table

    def csr_numbers(self) -> dict[str, int]:
        """Numbers of the CSRs by name."""
        return {csr.name: csr.number for csr in self.csrs}


class _Reader:
    def __init__(self) -> None:
        self.faults: list[str] = []

    def keys(self, where: str, entry: Mapping[str, Any], required: str, optional: str) -> None:
        need, allowed = set(required.split()), set(required.split()) | set(optional.split())
        for key in sorted(need - set(entry)):
            self.faults.append(f"{where}: {key} is missing")
        for key in sorted(set(entry) - allowed):
            self.faults.append(
                f"{where}: unknown key {key!r} (allowed: {', '.join(sorted(allowed))})"
            )

    def one_of(self, where: str, value: Any, choices: Any) -> None:
        if value not in choices:
            self.faults.append(f"{where}: {value!r} (allowed: {', '.join(map(str, choices))})")


def _operand(
    reader: _Reader,
    where: str,
    entry: Mapping[str, Any],
    raw: Mapping[str, Any],
    fields: Mapping[str, BitField],
) -> Operand:
    reader.keys(
        where,
        entry,
        "name field kind",
        "text_field role space access extent count optional closed min max values",
    )
    reader.one_of(f"{where}: kind", entry.get("kind"), KINDS)
    reader.one_of(f"{where}: field", entry.get("field"), (*fields, "none"))
    if "text_field" in entry:
        reader.one_of(f"{where}: text_field", entry["text_field"], fields)
    if entry.get("kind") in REGISTER_KINDS:
        reader.one_of(f"{where}: role", entry.get("role"), ROLES)
        reader.one_of(f"{where}: field", entry.get("field"), REGISTER_FIELDS)
    if "values" in entry:
        reader.one_of(f"{where}: values", entry["values"], raw["value_sets"])
    if "space" in entry:
        reader.one_of(f"{where}: space", entry["space"], raw["spaces"])
        reader.one_of(f"{where}: access", entry.get("access"), ROLES)
        reader.one_of(f"{where}: extent", entry.get("extent"), raw["extents"])
    machine_field = fields.get(str(entry.get("field")))
    return Operand(
        name=str(entry.get("name")),
        kind=str(entry.get("kind")),
        field=machine_field,
        text_field=fields.get(str(entry.get("text_field"))) or machine_field,
        role=entry.get("role", ""),
        space=entry.get("space", ""),
        access=entry.get("access", ""),
        extent=entry.get("extent", ""),
        count=entry.get("count", ""),
        optional=entry.get("optional", False),
        closed=entry.get("closed", False),
        min=entry.get("min", 0),
        max=entry.get("max"),
        values=raw["value_sets"].get(entry.get("values"), {}),
        value_set=entry.get("values", ""),
    )


def _instruction(
    reader: _Reader,
    entry: Mapping[str, Any],
    raw: Mapping[str, Any],
    fields: Mapping[str, BitField],
) -> Instruction:
    where = str(entry.get("name"))
    reader.keys(
        where,
        entry,
        "name opcode unit timing source operands semantics example",
        "text aliases fixed reads writes clobbers",
    )
    reader.one_of(f"{where}: unit", entry.get("unit"), UNITS)
    reader.one_of(f"{where}: timing", entry.get("timing"), raw["timing_classes"])
    reader.one_of(f"{where}: source", entry.get("source"), raw["sources"])
    for state in (*entry.get("reads", []), *entry.get("writes", [])):
        reader.one_of(f"{where}: state", state, raw["states"])
    match, match_mask = fields["opcode"].put(entry["opcode"]), fields["opcode"].mask
    for name, value in entry.get("fixed", {}).items():
        match |= fields[name].put(value)
        match_mask |= fields[name].mask
    operands = tuple(
        _operand(reader, f"{where} operand {number + 1}", operand, raw, fields)
        for number, operand in enumerate(entry["operands"])
    )
    covered = match_mask
    seen_optional = False
    for operand in operands:
        if seen_optional and not operand.optional:
            reader.faults.append(f"{where}: {operand.name} follows an optional operand")
        seen_optional |= operand.optional
        if operand.count and operand.count not in [other.name for other in operands]:
            reader.faults.append(f"{where}: count {operand.count!r} names no operand")
        if operand.field is None:
            continue
        if covered & operand.field.mask & ~match_mask:
            reader.faults.append(f"{where}: {operand.name} overlaps another operand")
        covered |= operand.field.mask
    ignores = entry.get("source") == "plena"
    return Instruction(
        name=where,
        text=entry.get("text", where),
        aliases=tuple(entry.get("aliases", ())),
        opcode=entry["opcode"],
        fixed=entry.get("fixed", {}),
        unit=entry.get("unit", ""),
        timing=entry.get("timing", ""),
        operands=operands,
        reads=tuple(entry.get("reads", ())),
        writes=tuple(entry.get("writes", ())),
        clobbers_gp=entry.get("clobbers") == "gp",
        source=entry.get("source", ""),
        semantics=entry.get("semantics", ""),
        example=entry.get("example", ""),
        match=match,
        match_mask=match_mask,
        must_be_zero=0 if ignores else 0xFFFFFFFF & ~covered,
    )


def parse(raw: Mapping[str, Any]) -> Isa:
    """The declaration as objects.

    Raises:
        DeclarationError: every contradiction found, one per line.
    """
    reader = _Reader()
    fields = {name: BitField(name, low, bits) for name, (low, bits) in raw["fields"].items()}
    instructions = tuple(_instruction(reader, entry, raw, fields) for entry in raw["instructions"])
    for index, one in enumerate(instructions):
        for other in instructions[:index]:
            common = one.match_mask & other.match_mask
            if one.match & common == other.match & common:
                reader.faults.append(f"{one.name} and {other.name} share an encoding")
            same_text = {one.text, *one.aliases} & {other.text, *other.aliases}
            if same_text and not (
                one.required > len(other.operands) or other.required > len(one.operands)
            ):
                reader.faults.append(f"{one.name} and {other.name} share text {same_text}")
    csrs = []
    for entry in raw["csrs"]:
        reader.keys(f"csr {entry.get('name')}", entry, "name number access meaning", "values")
        reader.one_of(f"csr {entry.get('name')}: access", entry.get("access"), ("r", "rw"))
        csrs.append(
            Csr(
                entry["name"],
                entry["number"],
                entry["access"],
                entry["meaning"],
                raw["value_sets"].get(entry.get("values"), {}),
            )
        )
    for attribute in ("name", "number"):
        values = [getattr(csr, attribute) for csr in csrs]
        reader.faults += [f"csr {attribute} {v} twice" for v in {*values} if values.count(v) > 1]
    if reader.faults:
        raise DeclarationError("\n".join(reader.faults))
    return Isa(
        fields=fields,
        sources=raw["sources"],
        spaces=raw["spaces"],
        extents=raw["extents"],
        states=raw["states"],
        timing_classes=raw["timing_classes"],
        value_sets=raw["value_sets"],
        csrs=tuple(csrs),
        instructions=instructions,
    )


@cache
def load() -> Isa:
    """The declaration of this package."""
    return parse(yaml.safe_load(DECLARATION.read_text(encoding="utf-8")))
