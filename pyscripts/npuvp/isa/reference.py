"""The ISA's reference, as a page (docs/isa.md) and for the command line.

Loads without the package: the build makes the page before anything is installed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npuvp.isa.declaration import Csr, Instruction, Isa, Operand

__all__ = ["describe", "overview", "page"]

UNITS = {
    "scalar": "Scalar unit",
    "vector": "Vector unit",
    "matrix": "Matrix unit",
    "dma": "DMA engine",
    "control": "Control",
}
KINDS = {
    "gp": "integer register",
    "fp": "FP register",
    "ha": "address register",
    "imm": "number",
    "rel": "label",
    "csr": "CSR",
}
ROLES = {"read": "reads", "write": "writes", "read_write": "reads and writes"}

HEAD = """# The dLLM-ISA

Generated from `pyscripts/npuvp/isa/isa.yaml` by `tools/generate_isa.py --doc docs/isa.md`; a test
proves that this page is fresh. `npuvp isa MNEMONIC` prints one entry. The assembly language is
described in [assembly.md](assembly.md).

## Instruction word

32 bits, little field first. Where an entry shows no use of a bit, it is ignored in instructions of
the public machine and must be 0 in all others; a word that breaks this, an unassigned opcode and a
register f8..f15 are illegal and trap precisely. Where a register holds a length in elements, gp0
in its place means VLEN.

"""


def _bits(low: int, bits: int) -> str:
    return f"{low + bits - 1}..{low}"


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return _cells(*header) + _cells(*["---"] * len(header)) + "".join(_cells(*r) for r in rows)


def encoding(isa: Isa, instruction: Instruction) -> str:
    """The fields of the word, highest first, e.g. `m[21..18] gpB[17..14] ... opcode=0x0d`."""
    parts: list[tuple[int, str]] = [(0, f"opcode=0x{instruction.opcode:02x}")]
    for name, value in instruction.fixed.items():
        field = isa.fields[name]
        parts.append((field.low, f"{name}={value}[{_bits(field.low, field.bits)}]"))
    for operand in instruction.operands:
        field_or_none = operand.text_field
        if field_or_none is None or field_or_none.name in instruction.fixed:
            continue
        place = _bits(field_or_none.low, field_or_none.bits)
        parts.append((field_or_none.low, f"{operand.name}[{place}]"))
    return " ".join(text for _, text in sorted(parts, reverse=True))


def operand_text(isa: Isa, operand: Operand) -> str:
    """What an operand is, in words."""
    text = KINDS[operand.kind]
    if operand.space:
        text += (
            f", address in {operand.space}: {ROLES[operand.access]} {isa.extents[operand.extent]}"
        )
        text += f" ({operand.count})" if operand.count else ""
    elif operand.is_register:
        text += f", {ROLES[operand.role]}"
    elif operand.values:
        text += ": " + ", ".join(f"{number} {name}" for name, number in operand.values.items())
    elif operand.field is not None:
        low, high = operand.bounds()
        text += f" {low}..{high}"
    if operand.field is None:
        text += ", not encoded"
    elif operand.text_field is not operand.field and operand.text_field is not None:
        text += (
            f", written to bits {_bits(operand.text_field.low, operand.text_field.bits)}, "
            f"read from bits {_bits(operand.field.low, operand.field.bits)}"
        )
    return text + (", optional (0)" if operand.optional else "")


def _state_text(isa: Isa, instruction: Instruction) -> str:
    parts = []
    if instruction.reads:
        parts.append("reads " + ", ".join(isa.states[state] for state in instruction.reads))
    if instruction.writes:
        parts.append("writes " + ", ".join(isa.states[state] for state in instruction.writes))
    return "; ".join(parts)


def _entry(isa: Isa, instruction: Instruction) -> str:
    title = instruction.name
    if instruction.aliases:
        title += f" ({', '.join(a for a in instruction.aliases if a != instruction.name)})"
        title = title.removesuffix(" ()")
    text = f"### {title}\n\n    {instruction.syntax}\n\n{instruction.semantics}\n\n"
    if instruction.operands:
        rows = [(operand.name, operand_text(isa, operand)) for operand in instruction.operands]
        text += _table(("operand", "meaning"), rows) + "\n"
    state = _state_text(isa, instruction)
    text += f"- encoding: `{encoding(isa, instruction)}`\n"
    text += f"- timing class: `{instruction.timing}` ({isa.timing_classes[instruction.timing]})\n"
    text += f"- beside its operands: {state}\n" if state else ""
    text += f"- example: `{instruction.example}`\n"
    text += f"- source: {instruction.source}\n\n"
    return text


def _csr_row(csr: Csr) -> tuple[str, ...]:
    meaning = csr.meaning
    if csr.values:
        meaning += ": " + ", ".join(f"{number} {name}" for name, number in csr.values.items())
    return csr.name, str(csr.number), csr.access, meaning


def page(isa: Isa) -> str:
    """The whole reference in Markdown."""
    text = HEAD
    fields = [(f.name, _bits(f.low, f.bits)) for f in isa.fields.values()]
    text += _table(("field", "bits"), fields)
    text += "\n## Registers and memories\n\n"
    text += (
        "Integer registers gp0..gp15 (32 bits), FP registers f0..f7, address registers a0..a15\n"
        "(64 bits); gp0 and f0 are hard-wired to zero. What an address in a register addresses:\n\n"
    )
    text += _table(("space", "meaning"), isa.spaces.items())
    text += "\n## Control and status registers\n\n"
    text += _table(("name", "number", "access", "meaning"), map(_csr_row, isa.csrs))
    text += "\n## Timing classes\n\n"
    text += "Issue interval and latency of a class stand in the platform file.\n\n"
    text += _table(("class", "instructions"), isa.timing_classes.items())
    text += "\n## Sources\n\n" + _table(("source", "meaning"), isa.sources.items())
    text += "\n## All instructions by encoding\n\n"
    ordered = sorted(isa.instructions, key=lambda i: (i.opcode, sorted(i.fixed.items())))
    rows = [
        (f"0x{i.opcode:02x}", " ".join(f"{k}={v}" for k, v in i.fixed.items()), f"`{i.syntax}`")
        for i in ordered
    ]
    text += _table(("opcode", "fixed", "text"), rows)
    for unit, title in UNITS.items():
        text += f"\n## {title}\n\n"
        text += "".join(_entry(isa, i) for i in isa.instructions if i.unit == unit)
    return text.rstrip("\n") + "\n"


def overview(isa: Isa) -> str:
    """One line per instruction, for `npuvp isa`."""
    width = max(len(instruction.syntax) for instruction in isa.instructions)
    lines = []
    for unit, title in UNITS.items():
        lines.append(f"{title}:")
        for instruction in isa.instructions:
            if instruction.unit == unit:
                summary = instruction.semantics.split(". ")[0]
                lines.append(f"  {instruction.syntax:<{width}}  {summary}")
    return "\n".join(lines) + "\n"


def describe(isa: Isa, mnemonic: str) -> str:
    """The entry of a mnemonic or CSR, for `npuvp isa MNEMONIC`.

    Raises:
        ValueError: no such mnemonic; names the nearest ones.
    """
    wanted = mnemonic.upper()
    found = [
        instruction
        for instruction in isa.instructions
        if wanted in (instruction.name, instruction.text, *instruction.aliases)
    ]
    if found:
        return "\n".join(_plain(isa, instruction) for instruction in found)
    csr = next((csr for csr in isa.csrs if csr.name == mnemonic.lower()), None)
    if csr is not None:
        name, number, access, meaning = _csr_row(csr)
        return f"CSR {name} (number {number}, {access}): {meaning}\n"
    known = [name for i in isa.instructions for name in (i.name, *i.aliases)]
    near = difflib.get_close_matches(wanted, known, 4)
    hint = f"; near: {', '.join(near)}" if near else ""
    raise ValueError(f"no instruction or CSR is called {mnemonic!r}{hint}")


def _plain(isa: Isa, instruction: Instruction) -> str:
    lines = [instruction.syntax, f"    {instruction.semantics}"]
    lines += [f"    {o.name:<10} {operand_text(isa, o)}" for o in instruction.operands]
    state = _state_text(isa, instruction)
    lines.append(f"    encoding   {encoding(isa, instruction)}")
    lines.append(f"    timing     {instruction.timing}, {isa.timing_classes[instruction.timing]}")
    lines += [f"    state      {state}"] if state else []
    lines.append(f"    example    {instruction.example}")
    lines.append(f"    source     {isa.sources[instruction.source]}")
    return "\n".join(lines) + "\n"
