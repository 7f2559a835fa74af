"""The assembler: source text to firmware.

Language (one statement per line; `;` and `//` begin comments):

    label:  MNEMONIC operand, operand    ; labels and statements may share a line

Integers are decimal, 0x or 0b; registers gp0..gp15 (gpA..gpF too), f0..f7, a0..a15, or a `.reg`
alias. `.` is the current address. The directives are described in `directives.py`. Text of the
public PLENA assembler and of the d-PLENA branch assembles unmodified.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from npuvp.firmware import ALL_CORES, Firmware, FirmwareError, Image, Symbol, Tensor, Text
from npuvp.isa import directives
from npuvp.isa.declaration import load
from npuvp.isa.errors import MAX_ERRORS, AssemblyError, Diagnostic, Location, SourceError
from npuvp.isa.expressions import UndefinedSymbolError, Value, evaluate, float32_bits
from npuvp.isa.operands import OperandReader, parse_register
from npuvp.isa.sections import DataSection, Section, TextSection
from npuvp.isa.source import (
    Line,
    Macro,
    Piece,
    Reader,
    Statement,
    read_lines,
    substitute,
    take_apart,
)

__all__ = ["Assembler", "assemble", "assemble_text"]

PSEUDO = {
    "LI": "LI gpD, value",
    "LIA": "LIA aD, address, gpT[, gpT2]",
    "LIF": "LIF fD, number, gpT",
    "MV": "MV gpD, gpA",
    "NOP": "NOP",
}
_NAME = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_]\w*)*")


class Deferred:
    """A constant whose expression names labels that come later."""

    def __init__(self, piece: Piece, line: Line, here: Value) -> None:
        self.piece, self.line, self.here = piece, line, here
        self.busy = False


class Assembler:
    """One run over one source; make a new one for each."""

    def __init__(
        self,
        include_paths: Iterable[Path | str] = (),
        defines: Mapping[str, int | float] | None = None,
        max_errors: int = MAX_ERRORS,
    ) -> None:
        self.include_paths = [Path(path) for path in include_paths]
        self.max_errors = max_errors
        self.mnemonics = load().by_mnemonic()
        self.diagnostics: list[Diagnostic] = []
        self.suppressed = 0
        self.warnings: list[str] = []
        self.sources: dict[str, str] = {}
        self.macros: dict[str, Macro] = {}
        self.aliases: dict[str, str] = {}
        self.constants: dict[str, Value | Deferred] = {}
        self.variables: dict[str, Value] = {}
        self.labels: dict[tuple[tuple[int, ...] | str, str], Value] = {}
        self.tensors: dict[str, Tensor] = {}
        self.images: list[Image] = []
        self.texts: dict[tuple[int, ...], TextSection] = {}
        self.datas: dict[str, DataSection] = {}
        self.entries: list[tuple[TextSection, Piece, Line]] = []
        self.fixups: list[Callable[[], None]] = []
        self.conditions: list[tuple[bool, bool, Statement]] = []
        self.expansions = 0
        self.reader = Reader([])
        self.line = Line("", Location("<start>", 1))
        self.final = False
        # Words of lines that name no symbol: they are the same wherever they stand.
        self.known_lines: dict[str, int] = {}
        self.core: tuple[int, ...] = (0,)
        self.section: Section = self.text_section((0,))
        for name, value in (defines or {}).items():
            if not _NAME.fullmatch(name) or parse_register(name):
                raise ValueError(f"defines: {name!r} is no name of a symbol")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"defines: {name} is {value!r}, not a number")
            self.constants[name] = Value(value)

    # -------------------------------------------------------------------------------- symbols

    def text_section(self, cores: tuple[int, ...]) -> TextSection:
        """The text of a set of cores, begun if need be."""
        return self.texts.setdefault(cores, TextSection(cores))

    def data_section(self, space: str) -> DataSection:
        """The data of a space, begun if need be."""
        return self.datas.setdefault(space, DataSection(space))

    def here(self) -> Value:
        """The current address."""
        return Value(self.section.here, self.section.name)

    def define(self, name: Piece, value: Value | Deferred) -> None:
        """Makes a constant.

        Raises:
            SourceError: not a name, or taken.
        """
        self.check_name(name)
        self.constants[name.text] = value

    def check_name(self, name: Piece) -> None:
        """Raises SourceError if `name` cannot become a symbol."""
        if not _NAME.fullmatch(name.text):
            raise SourceError(f"{name.text!r} is no name", name.column, name.text)
        if parse_register(name.text) or name.text in self.mnemonics or name.text in PSEUDO:
            raise SourceError(f"{name.text} is a register or mnemonic", name.column, name.text)
        if (
            name.text in self.constants
            or name.text in self.variables
            or name.text in self.aliases
            or (self.scope(), name.text) in self.labels
            or ("", name.text) in self.labels
        ):
            raise SourceError(f"{name.text} is already defined", name.column, name.text)

    def scope(self) -> tuple[int, ...] | str:
        """Text labels belong to their cores, all others to everyone."""
        return self.core if isinstance(self.section, TextSection) else ""

    def resolver(
        self, here: Value, core: tuple[int, ...], variables: Mapping[str, Value]
    ) -> Callable[[str, int], Value]:
        """Values of symbols as seen from one place."""

        def resolve(name: str, column: int) -> Value:
            if name == ".":
                return here
            for found in (
                self.labels.get((core, name)),
                self.labels.get(("", name)),
                variables.get(name),
                self.constants.get(name),
            ):
                if isinstance(found, Value):
                    return found
                if isinstance(found, Deferred):
                    return self.resolve_deferred(name, found, column, core)
            # Before the end the name may still come: nobody reads a hint then, and finding one is slow.
            known = [*self.constants, *self.variables, *(label for _, label in self.labels)]
            hint = difflib.get_close_matches(name, known, 1) if self.final else []
            raise UndefinedSymbolError(
                f"undefined symbol {name!r}" + (f" (did you mean {hint[0]!r}?)" if hint else ""),
                column,
                name,
            )

        return resolve

    def resolve_deferred(
        self, name: str, deferred: Deferred, column: int, core: tuple[int, ...]
    ) -> Value:
        """The value of a constant defined by what came later."""
        if not self.final:
            raise UndefinedSymbolError(f"{name} depends on a symbol not yet defined", column, name)
        if deferred.busy:
            raise SourceError(f"{name} is defined by itself", column, name)
        deferred.busy = True
        try:
            value = evaluate(
                deferred.piece.text, self.resolver(deferred.here, core, self.variables)
            )
        finally:
            deferred.busy = False
        self.constants[name] = value
        return value

    def resolve_now(self) -> Callable[[str, int], Value]:
        """Values of symbols as seen from the current statement."""
        return self.resolver(self.here(), self.core, self.variables)

    def number(self, piece: Piece) -> int | float:
        """The value of an expression that must be known now."""
        return evaluate(piece.text, self.resolve_now(), piece.column).number

    def integer(self, piece: Piece, low: int = -(1 << 62), high: int = 1 << 62) -> int:
        """The value of an expression that must be a whole number and known now."""
        number = self.number(piece)
        if isinstance(number, float) or not low <= number <= high:
            raise SourceError(
                f"{number} (allowed: whole numbers {low}..{high})", piece.column, piece.text
            )
        return number

    # -------------------------------------------------------------------------------- errors

    def report(self, error: SourceError, line: Line) -> None:
        """Notes an error and goes on."""
        diagnostic = Diagnostic(
            line.location, error.column, error.token, error.message, line.text.expandtabs(1)
        )
        if diagnostic in self.diagnostics:
            return
        if len(self.diagnostics) < self.max_errors:
            self.diagnostics.append(diagnostic)
        else:
            self.suppressed += 1

    def warn(self, message: str, location: Location) -> None:
        """Notes something that assembles but is probably not meant."""
        text = f"{location}: {message}"
        if text not in self.warnings:
            self.warnings.append(text)

    # -------------------------------------------------------------------------------- statements

    def statement(self, statement: Statement) -> None:
        """Assembles one statement."""
        name = statement.name
        if name is not None and name.text in directives.CONDITIONALS:
            directives.CONDITIONALS[name.text](self, statement)
            return
        if not all(active for active, _, _ in self.conditions):
            return
        for label in statement.labels:
            self.check_name(label)
            self.labels[(self.scope(), label.text)] = self.here()
        if name is None:
            return
        if name.text.startswith("."):
            directive = directives.DIRECTIVES.get(name.text)
            if directive is None:
                raise SourceError(
                    f"no directive {name.text!r}{self.hint(name.text, directives.DIRECTIVES)}",
                    name.column,
                    name.text,
                )
            directive(self, statement)
        elif name.text in self.macros:
            self.expand(self.macros[name.text], statement)
        elif name.text in PSEUDO:
            self.pseudo(name, statement.operands())
        elif name.text in self.mnemonics:
            self.instruction(name, statement.operands(), not statement.labels)
        else:
            known = [*self.mnemonics, *PSEUDO, *self.macros, *directives.DIRECTIVES]
            raise SourceError(
                f"{name.text!r} is no instruction, macro or directive{self.hint(name.text, known)}",
                name.column,
                name.text,
            )

    @staticmethod
    def hint(name: str, known: Iterable[str]) -> str:
        """A suggestion for a misspelt name."""
        found = difflib.get_close_matches(name, known, 3) or difflib.get_close_matches(
            name.upper(), known, 3
        )
        return f" (did you mean {' or '.join(found)}?)" if found else ""

    def expand(self, macro: Macro, statement: Statement) -> None:
        """Pushes a macro's body."""
        assert statement.name is not None
        self.expansions += 1
        bound = macro.bind(statement.operands(), statement.name.column)
        bound["@"] = str(self.expansions)
        location = self.line.location
        self.reader.push(substitute(macro.body, bound, location, f"in macro {macro.name}"))

    def instruction(self, name: Piece, operands: list[Piece], cacheable: bool = False) -> None:
        """Assembles an instruction now, or later if it names what comes later.

        `cacheable`: the line holds nothing else.
        """
        section = self.section
        if not isinstance(section, TextSection):
            raise SourceError(
                f"instruction in a data section ({section.name}); .text goes back",
                name.column,
                name.text,
            )
        pc, line = section.here, self.line
        candidates = self.mnemonics[name.text]
        variables = self.variables
        depends = False

        def word() -> int:
            nonlocal depends
            resolve = self.resolver(Value(pc, "text"), section.cores, variables)
            reader = OperandReader(self.aliases, resolve, pc)
            value, warning = reader.word(candidates, name, operands)
            if warning:
                self.warn(warning, line.location)
            depends = reader.used_symbols or bool(warning)
            return value

        try:
            section.emit(word(), line.location)
            if not depends and cacheable:
                self.known_lines[line.text] = section.words[pc]
        except UndefinedSymbolError:
            variables = dict(self.variables)
            section.emit(0, line.location)
            self.later(lambda: section.words.__setitem__(pc, word()), line)
        except SourceError:
            section.emit(0, line.location)
            raise

    def later(self, action: Callable[[], None], line: Line) -> None:
        """Runs `action` when every symbol is known."""

        def run() -> None:
            try:
                action()
            except SourceError as error:
                self.report(error, line)

        self.fixups.append(run)

    def pseudo(self, name: Piece, operands: list[Piece]) -> None:
        """Assembles a pseudo-instruction."""
        counts = {"LI": (2, 2), "LIA": (3, 4), "LIF": (3, 3), "MV": (2, 2), "NOP": (0, 0)}
        low, high = counts[name.text]
        if not low <= len(operands) <= high:
            raise SourceError(
                f"{len(operands)} operands; expected {PSEUDO[name.text]}", name.column, name.text
            )
        at = name.column
        if name.text == "NOP":
            self.emit("S_ADDI_INT", at, "gp0", "gp0", "0")
        elif name.text == "MV":
            self.emit("S_ADDI_INT", at, operands[0], operands[1], "0")
        elif name.text == "LI":
            self.load_immediate(operands[0], operands[1])
        elif name.text == "LIF":
            bits = float32_bits(self.number(operands[1]))
            self.load_immediate(operands[2], Piece(str(bits), operands[1].column))
            self.emit("S_SET_FP", at, operands[0], operands[2])
        else:
            self.load_address(name, operands)

    def emit(self, mnemonic: str, column: int, *operands: Piece | str) -> None:
        """Assembles one instruction of a pseudo-instruction."""
        pieces = [Piece(o, column) if isinstance(o, str) else o for o in operands]
        self.instruction(Piece(mnemonic, column), pieces)

    def load_immediate(self, register: Piece, value: Piece) -> None:
        """The shortest words that set a register; two where the value is not known yet."""
        at = register.column
        try:
            number = self.integer(value, -(1 << 31), (1 << 32) - 1) & 0xFFFFFFFF
        except UndefinedSymbolError:
            high = Piece(f"hi({value.text})", value.column - len("hi("))
            low = Piece(f"lo({value.text})", value.column - len("lo("))
            self.emit("S_LUI_INT", at, register, high)
            self.emit("S_ADDI_INT", at, register, register, low)
            return
        if number < 1 << 18:
            self.emit("S_ADDI_INT", at, register, "gp0", str(number))
            return
        self.emit("S_LUI_INT", at, register, str(number >> 12))
        if number & 0xFFF:
            self.emit("S_ADDI_INT", at, register, register, str(number & 0xFFF))

    def load_address(self, name: Piece, operands: list[Piece]) -> None:
        """A 64-bit address into an address register, by way of one or two integer registers."""
        target, address, low = operands[:3]
        try:
            number = self.integer(address, 0, 1 << 62)
        except UndefinedSymbolError as error:
            raise SourceError(
                f"{error.message}; LIA needs its address defined above", error.column, error.token
            ) from None
        high: Piece | str = "gp0"
        if number >> 32:
            if len(operands) < 4:
                raise SourceError(
                    f"{number:#x} is above 4 GiB: a second register is needed ({PSEUDO['LIA']})",
                    address.column,
                    address.text,
                )
            high = operands[3]
            self.load_immediate(operands[3], Piece(str(number >> 32), address.column))
        self.load_immediate(low, Piece(str(number & 0xFFFFFFFF), address.column))
        self.emit("C_SET_ADDR_REG", name.column, target, high, low)

    # -------------------------------------------------------------------------------- passes

    def include(self, path: Path, statement_column: int) -> None:
        """Pushes the lines of another file."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"cannot read {path}: {error}", statement_column) from None
        self.sources[str(path)] = text
        location = self.line.location
        self.reader.push(read_lines(text, str(path), location, "included here"))

    def run(self, text: str, file: str) -> Firmware:
        """Assembles `text`, called `file` in messages.

        Raises:
            AssemblyError: every error found.
        """
        self.sources[file] = text
        self.reader = Reader(read_lines(text, file))
        while True:
            try:
                line = self.reader.next()
                if line is None:
                    break
                self.line = line
                word = self.known_lines.get(line.text)
                if (
                    word is not None
                    and isinstance(self.section, TextSection)
                    and all(active for active, _, _ in self.conditions)
                ):
                    self.section.emit(word, line.location)
                else:
                    self.statement(take_apart(line))
            except SourceError as error:
                self.report(error, self.line)
            if self.suppressed > 1000:
                break
        for _, _, opening in self.conditions:
            assert opening.name is not None
            self.report(
                SourceError(".if without .endif", opening.name.column, opening.name.text),
                opening.line,
            )
        self.final = True
        for fixup in self.fixups:
            fixup()
        for section, piece, line in self.entries:
            self.later(lambda s=section, p=piece: self.set_entry(s, p), line)  # type: ignore[misc]
            self.fixups[-1]()
        firmware = self.finish()
        if self.diagnostics:
            self.diagnostics.sort(key=lambda d: (d.location.frames()[-1].line, d.location.line))
            raise AssemblyError(self.diagnostics, self.suppressed)
        return firmware

    def set_entry(self, section: TextSection, piece: Piece) -> None:
        """Fixes where a core starts."""
        resolve = self.resolver(Value(0, "text"), section.cores, self.variables)
        value = evaluate(piece.text, resolve, piece.column)
        if value.section != "text" or not 0 <= value.number < len(section.words):
            raise SourceError(
                f".entry needs a label of this text, not {piece.text!r}", piece.column, piece.text
            )
        section.entry = int(value.number)

    def finish(self) -> Firmware:
        """Puts the parts together."""
        firmware = Firmware(
            tensors=self.tensors,
            sources=self.sources,
            images=self.images,
            warnings=self.warnings,
        )
        for cores, text in self.texts.items():
            if not text.words:
                continue
            for core in cores:
                if core in firmware.cores:
                    self.report(
                        SourceError(f"core {core} has text in two .core sections"), self.line
                    )
                firmware.cores[core] = Text(text.words, text.locations, text.entry or 0)
        for data in self.datas.values():
            firmware.segments += data.segments()
        self.collect_symbols(firmware)
        try:
            firmware.check()
        except FirmwareError as error:
            self.report(SourceError(str(error)), self.line)
        return firmware

    def collect_symbols(self, firmware: Firmware) -> None:
        """Labels and constants, for debuggers and tools."""
        for (scope, name), value in self.labels.items():
            core = scope[0] if isinstance(scope, tuple) and scope else ALL_CORES
            key = name if name not in firmware.symbols and core <= 0 else f"core{core}:{name}"
            firmware.symbols[key] = Symbol(name, int(value.number), value.section, core)
        for name in list(self.constants):
            found = self.constants[name]
            if isinstance(found, Deferred):
                deferred = found
                try:
                    found = self.resolve_deferred(name, deferred, deferred.piece.column, (0,))
                except SourceError as error:
                    self.report(error, deferred.line)
                    continue
            if isinstance(found.number, int) and name not in firmware.symbols:
                firmware.symbols[name] = Symbol(name, found.number, found.section)


def assemble_text(
    text: str,
    file: str = "<text>",
    *,
    defines: Mapping[str, int | float] | None = None,
    include_paths: Iterable[Path | str] = (),
    max_errors: int = MAX_ERRORS,
) -> Firmware:
    """Assembles source text; `file` is its name in messages and in the line table.

    Raises:
        AssemblyError: every error of the source, with file, line, column, token and what was
            allowed.
    """
    return Assembler(include_paths, defines, max_errors).run(text, file)


def assemble(
    source: Path | str,
    *,
    defines: Mapping[str, int | float] | None = None,
    include_paths: Iterable[Path | str] = (),
    max_errors: int = MAX_ERRORS,
) -> Firmware:
    """Assembles a file, or source text if `source` holds a line break.

    Args:
        source: path of a `.s` or `.asm` file, or the text itself.
        defines: constants that the source sees, as if defined by `.equ` before its first line.
        include_paths: folders that `.include` searches after the including file's own.
        max_errors: how many errors are reported in full.

    Raises:
        AssemblyError: every error of the source.
        OSError: the file cannot be read.
    """
    if isinstance(source, str) and "\n" in source:
        text, file = source, "<text>"
    else:
        text, file = Path(source).read_text(encoding="utf-8"), str(source)
    return assemble_text(
        text, file, defines=defines, include_paths=include_paths, max_errors=max_errors
    )
