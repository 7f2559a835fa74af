"""Operands of instructions: text to field values, in the language for people and the public one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache

from npuvp.isa.declaration import Instruction, Operand, load
from npuvp.isa.encoding import assemble_fields, operand_fault
from npuvp.isa.errors import SourceError, listed
from npuvp.isa.expressions import Resolve, Value, evaluate
from npuvp.isa.source import Piece

PREFIX = {"gp": "gp", "f": "fp", "a": "ha"}
KIND_TEXT = {
    "gp": "an integer register gp0..gp15",
    "fp": "an FP register f0..f7",
    "ha": "an address register a0..a15",
}
_REGISTER = re.compile(r"(gp|f|a)(\d+|[A-Fa-f])")


@cache
def csr_numbers() -> dict[str, int]:
    """CSRs by name."""
    return load().csr_numbers()


@lru_cache(maxsize=4096)
def parse_register(text: str) -> tuple[str, int] | None:
    """Kind and number of a register name: decimal, or one hex digit A..F (d-PLENA)."""
    match = _REGISTER.fullmatch(text)
    if not match or (match.group(1) == "f" and not match.group(2).isdigit()):
        return None
    number = match.group(2)
    return PREFIX[match.group(1)], int(number) if number.isdigit() else int(number, 16)


class OperandReader:
    """Reads the operands of one instruction at word address `pc`."""

    def __init__(self, aliases: Mapping[str, str], resolve: Resolve, pc: int) -> None:
        self.aliases, self.resolve_symbol, self.pc = aliases, resolve, pc
        self.used_symbols = False

    def resolve(self, name: str, column: int) -> Value:
        """The value of a symbol; remembers that the operands depend on one."""
        self.used_symbols = True
        return self.resolve_symbol(name, column)

    def register(self, piece: Piece) -> tuple[str, int] | None:
        """Kind and number, if the operand is a register or an alias of one."""
        alias = self.aliases.get(piece.text)
        if alias is None:
            return parse_register(piece.text)
        self.used_symbols = True
        return parse_register(alias)

    def integer(self, piece: Piece) -> int:
        """The value of an expression that must be a whole number."""
        value = evaluate(piece.text, self.resolve, piece.column)
        if isinstance(value.number, float):
            raise SourceError(
                f"{value.number} is not a whole number (f32() gives a bit pattern)",
                piece.column,
                piece.text,
            )
        return value.number

    def value(self, operand: Operand, piece: Piece, placeholder: bool) -> int:
        """The value of one operand.

        Args:
            operand: its declaration.
            piece: its text.
            placeholder: a plain number may stand for a register and a register for a number, as
                the public assembler allows for first operands.

        Raises:
            SourceError: not of the declared kind, or out of range.
        """
        value = self._value(operand, piece, placeholder)
        if fault := operand_fault(operand, value):
            raise SourceError(fault, piece.column, piece.text)
        return value

    def _value(self, operand: Operand, piece: Piece, placeholder: bool) -> int:
        register = self.register(piece)
        if operand.is_register:
            if register is None and placeholder and piece.text.isdecimal():
                return int(piece.text)
            if register is None or register[0] != operand.kind:
                raise SourceError(
                    f"{operand.name} must be {KIND_TEXT[operand.kind]}, not {piece.text!r}",
                    piece.column,
                    piece.text,
                )
            return register[1]
        if register is not None:
            if placeholder and operand.kind == "imm" and register[0] == "gp":
                return register[1]
            raise SourceError(
                f"{operand.name} must be a number, not the register {piece.text!r}",
                piece.column,
                piece.text,
            )
        if piece.text in operand.values:
            return operand.values[piece.text]
        if operand.kind == "csr":
            if piece.text in csr_numbers():
                return csr_numbers()[piece.text]
            if not piece.text[:1].isdecimal():
                raise SourceError(
                    f"no CSR is called {piece.text!r} (there are {listed(csr_numbers(), 40)})",
                    piece.column,
                    piece.text,
                )
        if operand.kind == "rel":
            value = evaluate(piece.text, self.resolve, piece.column)
            if value.section != "text" or isinstance(value.number, float):
                raise SourceError(
                    f"{operand.name} must be a label or an address such as .+4, not {piece.text!r}",
                    piece.column,
                    piece.text,
                )
            return value.number - self.pc
        return self.integer(piece)

    def word(
        self, candidates: list[Instruction], name: Piece, pieces: list[Piece]
    ) -> tuple[int, str]:
        """The word of an instruction, and a warning or nothing.

        Args:
            candidates: the instructions that share the mnemonic.
            name: the mnemonic.
            pieces: the operands' texts.

        Raises:
            SourceError: with what was allowed.
        """
        count = len(pieces)
        for instruction in candidates:
            if instruction.required <= count <= len(instruction.operands):
                return self._declared(instruction, pieces), ""
        public_one = next((i for i in candidates if i.source == "plena"), None)
        if public_one is not None and count > 1:
            return self._public(public_one, name, pieces)
        forms = " or ".join(instruction.syntax for instruction in candidates)
        raise SourceError(f"{count} operands; expected {forms}", name.column, name.text)

    def _declared(self, instruction: Instruction, pieces: list[Piece]) -> int:
        public = instruction.source == "plena"
        values = tuple(
            self.value(operand, piece, public and number == 0)
            for number, (operand, piece) in enumerate(
                zip(instruction.operands, pieces, strict=False)
            )
        )
        return assemble_fields(instruction, values)

    def _public(
        self, instruction: Instruction, name: Piece, pieces: list[Piece]
    ) -> tuple[int, str]:
        """The public assembler's reading by position: it drops what an instruction does not encode.

        Operand 1 is rd; 2 and 3 are rs1 and rs2 where they are registers, else the last number is
        the immediate; 4 is rs3; 5 is funct1; 6 is dropped.
        """
        if len(pieces) > 6:
            raise SourceError(
                f"{len(pieces)} operands; expected {instruction.syntax}", name.column, name.text
            )
        by_field: dict[str, Piece] = {"rd": pieces[0]}
        for piece, register_field in zip(pieces[1:3], ("rs1", "rs2"), strict=False):
            by_field["imm" if self.register(piece) is None else register_field] = piece
        by_field.update(zip(("rs3", "f1", "dropped"), pieces[3:], strict=False))
        values = []
        for number, operand in enumerate(instruction.operands):
            if operand.text_field is None:
                continue
            key = operand.text_field.name
            key = "imm" if key.startswith("imm") else key
            found = by_field.pop(key, None)
            if found is None:
                if operand.optional:
                    continue
                raise SourceError(
                    f"{operand.name} is missing; expected {instruction.syntax}",
                    name.column,
                    name.text,
                )
            values.append(self.value(operand, found, number == 0))
        dropped = [
            piece.text
            for piece in by_field.values()
            if (self.register(piece) or ("", self.integer(piece)))[1] != 0
        ]
        warning = f"{name.text}: {', '.join(dropped)} is not encoded" if dropped else ""
        return assemble_fields(instruction, tuple(values)), warning
