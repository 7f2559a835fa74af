"""Directives of the assembly language.

Sections
    .text                       instructions follow, of the current core
    .core N | N..M | all        text of core N (at first 0), of several, of every core without own
    .data SPACE                 contents follow of hbm, coreN.fp, or fp of the current core
    .section NAME               .text or .data by name
    .org A    .align N          moves the current address
    .entry LABEL                where the core starts (else at its first word)

Contents
    .word .half .byte E, ...    whole numbers;  .float .bf16 E, ...  numbers
    .float_bits .bf16_bits E    bit patterns (SRAM)
    .zero N    .space N         N zeros;  N units left undefined
    .incbin "FILE"              contents of a file (HBM)
    .image "FILE", A            contents that stay in the file, named by hash (HBM)
    .tensor NAME, SPACE, ADDRESS | auto, FORMAT, DIM, ..., in | out | inout
            [, pitch=E] [, scales=E] [, block=E]
                                a tensor for the host; NAME, NAME.size, NAME.pitch and NAME.scales
                                become symbols

Symbols
    .equ NAME, E    .set NAME, E    constant;  variable
    .default NAME, E            constant, unless already defined
    .reg NAME, REGISTER         name for a register

Expansion
    .macro NAME P, Q=1 ... .endm    body uses \\P, \\Q and \\@ (a number new in each call)
    .rept N[, I] ... .endr      body N times, \\I counts from 0
    .irp P, A, B ... .endr      body once for each of A, B
    .if E ... .elseif E ... .else ... .endif
    .include "FILE"

Messages
    .error "TEXT"    .warning "TEXT"    .assert E, "TEXT"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from npuvp.firmware import (
    ALL_CORES,
    DIRECTIONS,
    FORMAT_BITS,
    MX_FORMATS,
    SPACE,
    SRAM_SPACES,
    FirmwareError,
    Image,
    Tensor,
)
from npuvp.isa.errors import SourceError
from npuvp.isa.expressions import UndefinedSymbolError, Value, bfloat16_bits, evaluate, float32_bits
from npuvp.isa.operands import parse_register
from npuvp.isa.sections import DataSection, TextSection
from npuvp.isa.source import Line, Macro, Parameter, Piece, Statement, substitute

if TYPE_CHECKING:
    from npuvp.isa.assembler import Assembler

Handler = Callable[["Assembler", Statement], None]
DIRECTIVES: dict[str, Handler] = {}
CONDITIONALS: dict[str, Handler] = {}
MAX_REPEAT = 1_000_000
MAX_DATA = 1 << 28


def directive(*names: str) -> Callable[[Handler], Handler]:
    """Registers a handler."""

    def register(handler: Handler) -> Handler:
        DIRECTIVES.update(dict.fromkeys(names, handler))
        return handler

    return register


def operands(statement: Statement, low: int, high: int, form: str) -> list[Piece]:
    """The operands, whose number must be in low..high."""
    found = statement.operands()
    assert statement.name is not None
    if not low <= len(found) <= high:
        raise SourceError(
            f"{len(found)} operands; expected {form}", statement.name.column, statement.name.text
        )
    return found


def quoted(piece: Piece) -> str:
    """The contents of a quoted text."""
    match = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', piece.text)
    if not match:
        raise SourceError(f"expected a quoted text, not {piece.text!r}", piece.column, piece.text)
    return re.sub(r"\\(.)", r"\1", match.group(1))


# ------------------------------------------------------------------------------------ conditions


def _truth(assembler: Assembler, statement: Statement) -> bool:
    piece = operands(statement, 1, 1, f"{statement.name and statement.name.text} EXPRESSION")[0]
    return bool(assembler.number(piece))


def _open(assembler: Assembler, statement: Statement) -> None:
    active = all(active for active, _, _ in assembler.conditions)
    # Pushed before the condition is read, so that an error in it does not unbalance the .endif.
    assembler.conditions.append((False, True, statement))
    if active:
        truth = _truth(assembler, statement)
        assembler.conditions[-1] = (truth, truth, statement)


def _alternative(assembler: Assembler, statement: Statement) -> None:
    assert statement.name is not None
    if not assembler.conditions:
        raise SourceError(
            f"{statement.name.text} without .if", statement.name.column, statement.name.text
        )
    _, taken, opening = assembler.conditions.pop()
    outer = all(active for active, _, _ in assembler.conditions)
    assembler.conditions.append((False, True, opening))
    if taken or not outer:
        return
    truth = statement.name.text == ".else" or _truth(assembler, statement)
    assembler.conditions[-1] = (truth, truth, opening)


def _close(assembler: Assembler, statement: Statement) -> None:
    assert statement.name is not None
    if not assembler.conditions:
        raise SourceError(".endif without .if", statement.name.column, statement.name.text)
    assembler.conditions.pop()


CONDITIONALS.update(
    {".if": _open, ".elseif": _alternative, ".else": _alternative, ".endif": _close}
)


# ------------------------------------------------------------------------------------ sections


def parse_cores(assembler: Assembler, piece: Piece) -> tuple[int, ...]:
    """The cores of `.core`."""
    if piece.text == "all":
        return (ALL_CORES,)
    first, dots, last = piece.text.partition("..")
    low = assembler.integer(Piece(first, piece.column), 0, 65535)
    if not dots:
        return (low,)
    high = assembler.integer(Piece(last, piece.column + len(first) + 2), low, 65535)
    return tuple(range(low, high + 1))


def parse_space(assembler: Assembler, piece: Piece) -> str:
    """The space of `.data` and `.tensor`."""
    if SPACE.fullmatch(piece.text):
        return piece.text
    if piece.text in SRAM_SPACES:
        if len(assembler.core) == 1 and assembler.core[0] != ALL_CORES:
            return f"core{assembler.core[0]}.{piece.text}"
        raise SourceError(
            f"{piece.text} of which core? (coreN.{piece.text})", piece.column, piece.text
        )
    raise SourceError(
        f"{piece.text!r} is no space (allowed: hbm, "
        f"{', '.join(f'[coreN.]{name}' for name in SRAM_SPACES)})",
        piece.column,
        piece.text,
    )


@directive(".text")
def _text(assembler: Assembler, statement: Statement) -> None:
    operands(statement, 0, 0, ".text")
    assembler.section = assembler.text_section(assembler.core)


@directive(".core")
def _core(assembler: Assembler, statement: Statement) -> None:
    piece = operands(statement, 1, 1, ".core N, N..M or all")[0]
    assembler.core = parse_cores(assembler, piece)
    assembler.section = assembler.text_section(assembler.core)


@directive(".data", ".section")
def _data(assembler: Assembler, statement: Statement) -> None:
    piece = operands(statement, 1, 1, ".data SPACE")[0]
    if piece.text in ("text", ".text"):
        assembler.section = assembler.text_section(assembler.core)
    else:
        assembler.section = assembler.data_section(parse_space(assembler, piece))


@directive(".org")
def _org(assembler: Assembler, statement: Statement) -> None:
    piece = operands(statement, 1, 1, ".org ADDRESS")[0]
    _advance(assembler, assembler.integer(piece), piece)


@directive(".align")
def _align(assembler: Assembler, statement: Statement) -> None:
    piece = operands(statement, 1, 1, ".align N")[0]
    step = assembler.integer(piece, 1)
    _advance(assembler, -(-assembler.section.here // step) * step, piece)


@directive(".space")
def _space(assembler: Assembler, statement: Statement) -> None:
    piece = operands(statement, 1, 1, ".space N")[0]
    _advance(assembler, assembler.section.here + assembler.integer(piece, 0), piece)


def _advance(assembler: Assembler, to: int, piece: Piece) -> None:
    try:
        assembler.section.advance(to, assembler.line.location)
    except SourceError as error:
        raise SourceError(error.message, piece.column, piece.text) from None


@directive(".entry")
def _entry(assembler: Assembler, statement: Statement) -> None:
    piece = operands(statement, 1, 1, ".entry LABEL")[0]
    section = assembler.text_section(assembler.core)
    assembler.entries.append((section, piece, assembler.line))


# ------------------------------------------------------------------------------------ data


def _late(assembler: Assembler, piece: Piece, put: Callable[[int | float], None]) -> None:
    """Evaluates now, or once every symbol is known."""
    here, core, variables = assembler.here(), assembler.core, assembler.variables
    try:
        put(evaluate(piece.text, assembler.resolver(here, core, variables), piece.column).number)
    except UndefinedSymbolError:
        snapshot = dict(variables)

        def again() -> None:
            resolve = assembler.resolver(here, core, snapshot)
            put(evaluate(piece.text, resolve, piece.column).number)

        assembler.later(again, assembler.line)


def _words(assembler: Assembler, statement: Statement, size: int) -> None:
    name = statement.name.text if statement.name else ""
    section = assembler.section
    for piece in operands(statement, 1, 1 << 20, f"{name} VALUE, ..."):

        def check(number: int | float, piece: Piece = piece) -> int:
            low, high = -(1 << (8 * size - 1)), (1 << 8 * size) - 1
            if isinstance(number, float) or not low <= number <= high:
                raise SourceError(
                    f"{number} (allowed: whole numbers {low}..{high})", piece.column, piece.text
                )
            return number & high

        if isinstance(section, TextSection):
            if size != 4:
                raise SourceError(f"{name} in .text (.word can)", piece.column, piece.text)
            at = section.here
            section.emit(0, assembler.line.location)

            def put_text(
                number: int | float, at: int = at, check: Callable[..., int] = check
            ) -> None:
                section.words[at] = check(number)

            _late(assembler, piece, put_text)
            continue
        if section.space != "hbm" and not (size == 4 and section.space.endswith(".int")):
            allowed = "word" if section.space.endswith(".int") else "float, .bf16"
            raise SourceError(
                f"{name} in {section.space} (allowed: .{allowed})", piece.column, piece.text
            )
        _late(
            assembler,
            piece,
            _emitter(section, "raw8" if section.space == "hbm" else "raw32", size, check),
        )


def _emitter(
    section: DataSection, element_format: str, size: int, convert: Callable[[int | float], int]
) -> Callable[[int | float], None]:
    """Reserves room in the section now and fills it when called."""
    section.emit(element_format, bytes(size), size if section.space == "hbm" else 1)
    chunk = section.chunks[-1][2]
    at = len(chunk) - size

    def put(number: int | float) -> None:
        chunk[at : at + size] = convert(number).to_bytes(size, "little")

    return put


@directive(".word")
def _word(assembler: Assembler, statement: Statement) -> None:
    _words(assembler, statement, 4)


@directive(".half")
def _half(assembler: Assembler, statement: Statement) -> None:
    _words(assembler, statement, 2)


@directive(".byte")
def _byte(assembler: Assembler, statement: Statement) -> None:
    _words(assembler, statement, 1)


@directive(".float", ".bf16")
def _float(assembler: Assembler, statement: Statement) -> None:
    name = statement.name.text if statement.name else ""
    section = assembler.section
    narrow = name == ".bf16"
    for piece in operands(statement, 1, 1 << 20, f"{name} VALUE, ..."):
        if not isinstance(section, DataSection) or section.space.endswith(".int"):
            raise SourceError(
                f"{name} in {section.name} (allowed in hbm, vector, matrix and fp)",
                piece.column,
                piece.text,
            )
        sram_format = "bf16" if narrow else "fp32"
        _late(
            assembler,
            piece,
            _emitter(
                section,
                "raw8" if section.space == "hbm" else sram_format,
                2 if narrow else 4,
                bfloat16_bits if narrow else float32_bits,
            ),
        )


@directive(".float_bits", ".bf16_bits")
def _float_bits(assembler: Assembler, statement: Statement) -> None:
    name = statement.name.text if statement.name else ""
    section = assembler.section
    size = 4 if name == ".float_bits" else 2
    for piece in operands(statement, 1, 1 << 20, f"{name} VALUE, ..."):
        if not isinstance(section, DataSection) or section.space.endswith((".int", "hbm")):
            raise SourceError(
                f"{name} in {section.name} (allowed in vector, matrix and fp)",
                piece.column,
                piece.text,
            )
        bits = assembler.integer(piece, 0, (1 << 8 * size) - 1)
        section.emit("fp32" if size == 4 else "bf16", bits.to_bytes(size, "little"), 1)


@directive(".zero")
def _zero(assembler: Assembler, statement: Statement) -> None:
    piece = operands(statement, 1, 1, ".zero N")[0]
    count = assembler.integer(piece, 0, MAX_DATA)
    section = assembler.section
    if isinstance(section, TextSection):
        raise SourceError(".zero in .text (.org moves on)", piece.column, piece.text)
    if section.space == "hbm":
        section.emit("raw8", bytes(count), count)
    else:
        sram_format = "raw32" if section.space.endswith(".int") else "fp32"
        section.emit(sram_format, bytes(4 * count), count)


def find_file(assembler: Assembler, piece: Piece) -> Path:
    """A file named by a directive: beside the source file, then in the include paths."""
    name = quoted(piece)
    folders = [Path(assembler.line.location.file).parent, *assembler.include_paths]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise SourceError(
        f"no file {name!r} in {', '.join(str(folder) for folder in folders)}",
        piece.column,
        piece.text,
    )


@directive(".incbin")
def _incbin(assembler: Assembler, statement: Statement) -> None:
    piece = operands(statement, 1, 1, '.incbin "FILE"')[0]
    section = assembler.section
    if not isinstance(section, DataSection) or section.space != "hbm":
        raise SourceError(f".incbin in {section.name} (allowed in hbm)", piece.column, piece.text)
    data = find_file(assembler, piece).read_bytes()
    section.emit("raw8", data, len(data))


@directive(".image")
def _image(assembler: Assembler, statement: Statement) -> None:
    file, address = operands(statement, 2, 2, '.image "FILE", ADDRESS')
    path = find_file(assembler, file)
    assembler.images.append(Image.of(path, assembler.integer(address, 0)))


# ------------------------------------------------------------------------------------ symbols


@directive(".equ")
def _equ(assembler: Assembler, statement: Statement) -> None:
    from npuvp.isa.assembler import Deferred

    name, piece = operands(statement, 2, 2, ".equ NAME, EXPRESSION")
    assembler.check_name(name)
    try:
        value = evaluate(piece.text, assembler.resolve_now(), piece.column)
    except UndefinedSymbolError:
        assembler.define(name, Deferred(piece, assembler.line, assembler.here()))
        return
    assembler.define(name, value)


@directive(".default")
def _default(assembler: Assembler, statement: Statement) -> None:
    name, piece = operands(statement, 2, 2, ".default NAME, EXPRESSION")
    if name.text not in assembler.constants:
        assembler.define(name, Value(assembler.number(piece)))


@directive(".set")
def _set(assembler: Assembler, statement: Statement) -> None:
    name, piece = operands(statement, 2, 2, ".set NAME, EXPRESSION")
    if name.text not in assembler.variables:
        assembler.check_name(name)
    assembler.variables[name.text] = Value(assembler.number(piece))


@directive(".reg")
def _reg(assembler: Assembler, statement: Statement) -> None:
    name, piece = operands(statement, 2, 2, ".reg NAME, REGISTER")
    if name.text not in assembler.aliases:
        assembler.check_name(name)
    register = assembler.aliases.get(piece.text, piece.text)
    if parse_register(register) is None:
        raise SourceError(f"{piece.text!r} is no register", piece.column, piece.text)
    assembler.aliases[name.text] = register


# ------------------------------------------------------------------------------------ expansion


@directive(".macro")
def _macro(assembler: Assembler, statement: Statement) -> None:
    body = assembler.reader.block(statement)
    words = statement.rest.text.split(None, 1)
    column = statement.rest.column
    if not words:
        raise SourceError(".macro NAME PARAMETER, ...", column)
    name = Piece(words[0].rstrip(","), column + statement.rest.text.index(words[0]))
    assembler.check_name(name)
    if name.text in assembler.macros:
        raise SourceError(f"macro {name.text} is already defined", name.column, name.text)
    parameters: list[Parameter] = []
    for part in re.split(r"\s*,\s*", words[1].strip()) if len(words) > 1 else []:
        key, equals, default = (text.strip() for text in part.partition("="))
        if not re.fullmatch(r"[A-Za-z_]\w*", key) or key in [p.name for p in parameters]:
            raise SourceError(f"{part!r} is no new parameter's name", column, part)
        parameters.append(Parameter(key, default if equals else None))
    assembler.macros[name.text] = Macro(name.text, tuple(parameters), tuple(body))


@directive(".rept")
def _rept(assembler: Assembler, statement: Statement) -> None:
    body = assembler.reader.block(statement)
    pieces = operands(statement, 1, 2, ".rept COUNT[, COUNTER]")
    count = assembler.integer(pieces[0], 0, MAX_REPEAT)
    counter = pieces[1].text if len(pieces) > 1 else ""
    location = assembler.line.location

    def lines() -> Iterator[Line]:
        for index in range(count):
            values = {counter: str(index)} if counter else {}
            yield from substitute(body, values, location, f"repetition {index}")

    assembler.reader.push(lines())


@directive(".irp")
def _irp(assembler: Assembler, statement: Statement) -> None:
    body = assembler.reader.block(statement)
    name, *values = operands(statement, 1, 1 << 16, ".irp PARAMETER, VALUE, ...")
    location = assembler.line.location
    lines = []
    for value in values:
        lines += substitute(body, {name.text: value.text}, location, f"with {value.text}")
    assembler.reader.push(lines)


@directive(".endm", ".endr")
def _stray(assembler: Assembler, statement: Statement) -> None:
    assert statement.name is not None
    opening = ".macro" if statement.name.text == ".endm" else ".rept or .irp"
    raise SourceError(
        f"{statement.name.text} without {opening}", statement.name.column, statement.name.text
    )


@directive(".include")
def _include(assembler: Assembler, statement: Statement) -> None:
    piece = operands(statement, 1, 1, '.include "FILE"')[0]
    assembler.include(find_file(assembler, piece), piece.column)


# ------------------------------------------------------------------------------------ messages


@directive(".error")
def _error(assembler: Assembler, statement: Statement) -> None:
    piece = operands(statement, 1, 1, '.error "TEXT"')[0]
    raise SourceError(quoted(piece), statement.name.column if statement.name else 1, ".error")


@directive(".warning")
def _warning(assembler: Assembler, statement: Statement) -> None:
    piece = operands(statement, 1, 1, '.warning "TEXT"')[0]
    assembler.warn(quoted(piece), assembler.line.location)


@directive(".assert")
def _assert(assembler: Assembler, statement: Statement) -> None:
    condition, piece = operands(statement, 2, 2, '.assert EXPRESSION, "TEXT"')
    text = quoted(piece)

    def check(number: int | float) -> None:
        if not number:
            raise SourceError(
                f"{text} ({condition.text} does not hold)", condition.column, condition.text
            )

    _late(assembler, condition, check)


# ------------------------------------------------------------------------------------ tensors


_ALIASES = {"int32": "raw32", "uint32": "raw32"}
"""Other names of formats: a word of 32 bits takes -2^31..2^32 - 1 and is read as int32."""


@directive(".tensor")
def _tensor(assembler: Assembler, statement: Statement) -> None:
    form = ".tensor NAME, SPACE, ADDRESS, FORMAT, DIM, ..., in|out|inout[, pitch=E][, scales=E]"
    pieces = operands(statement, 6, 64, form)
    name, space_piece, address, element_format = pieces[:4]
    assembler.check_name(name)
    space = parse_space(assembler, space_piece)
    form_name = _ALIASES.get(element_format.text, element_format.text)
    if form_name not in FORMAT_BITS:
        raise SourceError(
            f"format {element_format.text!r} (allowed: {', '.join([*FORMAT_BITS, *_ALIASES])})",
            element_format.column,
            element_format.text,
        )
    at = next((i for i in range(5, len(pieces)) if pieces[i].text in DIRECTIONS), None)
    if at is None:
        raise SourceError(f"expected {form}", name.column, name.text)
    shape = tuple(assembler.integer(piece, 1) for piece in pieces[4:at])
    extra: dict[str, int] = {}
    for piece in pieces[at + 1 :]:
        key, equals, text = piece.text.partition("=")
        if not equals or key.strip() not in ("pitch", "scales", "block"):
            raise SourceError(
                f"{piece.text!r} (allowed: pitch=, scales=, block=)", piece.column, piece.text
            )
        column = piece.column + len(key) + 1
        extra[key.strip()] = assembler.integer(Piece(text, column), 0)
    automatic = address.text == "auto"
    base = _free(assembler, space) if automatic else assembler.integer(address, 0)
    try:
        tensor = Tensor(
            name.text,
            space,
            base,
            form_name,
            shape,
            pieces[at].text,
            pitch=extra.get("pitch", 0),
            block=extra.get("block", 32),
        )
        scales = extra.get("scales", base + tensor.size if tensor.scale_size else 0)
        tensor = Tensor(
            name.text,
            space,
            base,
            form_name,
            shape,
            pieces[at].text,
            pitch=tensor.pitch,
            block=tensor.block,
            scales=scales,
        )
    except FirmwareError as error:
        raise SourceError(str(error), name.column, name.text) from None
    assembler.tensors[name.text] = tensor
    assembler.define(name, Value(base, space))
    for suffix, value in (
        ("size", tensor.size),
        ("pitch", tensor.pitch or tensor.row_units),
        *((("scales", scales),) if tensor.format in MX_FORMATS else ()),
    ):
        assembler.define(Piece(f"{name.text}.{suffix}", name.column), Value(value))


def _free(assembler: Assembler, space: str) -> int:
    """The first free address behind everything placed in a space so far, 64-byte aligned in HBM."""
    end = assembler.datas[space].here if space in assembler.datas else 0
    for tensor in assembler.tensors.values():
        if tensor.space == space:
            end = max(end, tensor.address + tensor.size)
            if tensor.scale_size:
                end = max(end, tensor.scales + tensor.scale_size)
    for image in assembler.images:
        if space == "hbm":
            end = max(end, image.address + image.size)
    return -(-end // 64) * 64 if space == "hbm" else end
