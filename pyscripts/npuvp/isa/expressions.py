"""Expressions of the assembly language: integers, floats, symbols, operators, functions."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from npuvp.isa.errors import SourceError, listed

TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>0[xX][0-9a-fA-F_]+|0[bB][01_]+|
        (?:\d[\d_]*\.\d*|\.\d+)(?:[eE][+-]?\d+)?|\d[\d_]*[eE][+-]?\d+|\d[\d_]*)
     |(?P<name>[A-Za-z_$][\w$]*(?:\.[A-Za-z_]\w*)*)
     |(?P<op><<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>(),.])
    )""",
    re.VERBOSE,
)


class UndefinedSymbolError(SourceError):
    """A symbol that has no value (yet)."""


@dataclass(frozen=True)
class Value:
    """A number; `section` names the section whose address it is, empty for a plain number."""

    number: int | float
    section: str = ""


Resolve = Callable[[str, int], Value]


@dataclass(frozen=True)
class Token:
    """A token and its column (from 1) in the line."""

    kind: str
    text: str
    column: int


def tokenize(text: str, column: int = 1) -> list[Token]:
    """Tokens of an expression that begins at `column` of its line."""
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match or match.end() == at:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise SourceError(f"{text[at]!r} is not part of an expression", column + at, text[at])
        kind = str(match.lastgroup)
        tokens.append(Token(kind, match.group(kind), column + match.start(kind)))
        at = match.end()
    tokens.append(Token("end", "", column + len(text)))
    return tokens


def parse_number(token: Token) -> int | float:
    """The value of a number token; leading zeros are decimal, as in the public assembler."""
    text = token.text.replace("_", "")
    try:
        if text[:2].lower() == "0x":
            return int(text, 16)
        if text[:2].lower() == "0b":
            return int(text, 2)
        if re.fullmatch(r"\d+", text):
            return int(text)
        return float(text)
    except ValueError:
        raise SourceError(f"{token.text!r} is not a number", token.column, token.text) from None


def _bits(value: int | float, code: str) -> int:
    try:
        return int.from_bytes(struct.pack(code, value), "little")
    except OverflowError:
        return 0x7F800000 if value > 0 else 0xFF800000


def float32_bits(value: int | float) -> int:
    """The float32 bit pattern of a number, rounded to nearest even; any NaN is 0x7FC00000."""
    return 0x7FC00000 if value != value else _bits(value, "<f")


def bfloat16_bits(value: int | float) -> int:
    """The BF16 bit pattern of a number, rounded once from float64 to nearest even."""
    if value != value:
        return 0x7FC0
    if math.isinf(value) or value == 0:
        return float32_bits(value) >> 16
    # One rounding: float64 has 53 significant bits, of which BF16 keeps 8 (fewer when subnormal).
    fraction, exponent = math.frexp(abs(value))
    quantum = max(exponent - 8, -133)
    rounded = math.ldexp(round(math.ldexp(fraction, exponent - quantum)), quantum)
    limit = math.ldexp(1.0, 128)
    return float32_bits(math.copysign(math.inf if rounded >= limit else rounded, value)) >> 16


def _integer(name: str, value: int | float) -> int:
    if isinstance(value, float):
        raise ValueError(f"{name} needs whole numbers, not {value}")
    return value


def _ceildiv(a: int | float, b: int | float) -> int:
    if b == 0:
        raise ValueError("ceildiv by zero")
    return -(-_integer("ceildiv", a) // _integer("ceildiv", b))


def _log2(a: int | float) -> int:
    a = _integer("log2", a)
    if a <= 0 or a & (a - 1):
        raise ValueError(f"log2({a}): not a power of two (clog2 rounds up)")
    return a.bit_length() - 1


def _clog2(a: int | float) -> int:
    a = _integer("clog2", a)
    if a <= 0:
        raise ValueError(f"clog2({a}): needs a positive number")
    return (a - 1).bit_length()


def _align(a: int | float, b: int | float) -> int:
    return _ceildiv(a, b) * _integer("align", b)


FUNCTIONS: dict[str, tuple[int, Callable[..., int | float]]] = {
    # name: (number of arguments, -1 for any), function
    "min": (-1, min),
    "max": (-1, max),
    "abs": (1, abs),
    "ceildiv": (2, _ceildiv),
    "align": (2, _align),
    "log2": (1, _log2),
    "clog2": (1, _clog2),
    "is_pow2": (1, lambda a: int(_integer("is_pow2", a) > 0 and not a & (a - 1))),
    "hi": (1, lambda a: (_integer("hi", a) >> 12) & 0xFFFFF),
    "lo": (1, lambda a: _integer("lo", a) & 0xFFF),
    "f32": (1, float32_bits),
    "bf16": (1, bfloat16_bits),
    "sqrt": (1, math.sqrt),
    "select": (3, lambda condition, a, b: a if condition else b),
}

BINARY = [
    ["||"],
    ["&&"],
    ["|"],
    ["^"],
    ["&"],
    ["==", "!="],
    ["<", "<=", ">", ">="],
    ["<<", ">>"],
    ["+", "-"],
    ["*", "/", "%"],
]
LEVELS = {operator: level for level, operators in enumerate(BINARY) for operator in operators}
MAX_NESTING = 50


def _divide(a: int | float, b: int | float) -> int | float:
    if b == 0:
        raise ValueError("division by zero")
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    return a / b


def _shift(a: int | float, b: int | float, left: bool) -> int:
    number, distance = _integer("a shift", a), _integer("a shift", b)
    if not 0 <= distance < 1024:
        raise ValueError(f"shift by {distance} (0..1023)")
    return number << distance if left else number >> distance


OPERATORS: dict[str, Callable[[int | float, int | float], int | float]] = {
    "||": lambda a, b: int(bool(a) or bool(b)),
    "&&": lambda a, b: int(bool(a) and bool(b)),
    "|": lambda a, b: _integer("|", a) | _integer("|", b),
    "^": lambda a, b: _integer("^", a) ^ _integer("^", b),
    "&": lambda a, b: _integer("&", a) & _integer("&", b),
    "==": lambda a, b: int(a == b),
    "!=": lambda a, b: int(a != b),
    "<": lambda a, b: int(a < b),
    "<=": lambda a, b: int(a <= b),
    ">": lambda a, b: int(a > b),
    ">=": lambda a, b: int(a >= b),
    "<<": lambda a, b: _shift(a, b, True),
    ">>": lambda a, b: _shift(a, b, False),
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divide,
    "%": lambda a, b: a - b * (_divide(a, b) // 1),
}


class _Parser:
    def __init__(self, tokens: list[Token], resolve: Resolve) -> None:
        self.tokens, self.resolve_symbol = tokens, resolve
        self.at = self.depth = self.skipping = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def resolve(self, name: str, column: int) -> Value:
        return Value(1) if self.skipping else self.resolve_symbol(name, column)

    def take(self, *texts: str) -> Token | None:
        token = self.token
        if token.kind == "op" and token.text in texts:
            self.at += 1
            return token
        return None

    def expect(self, text: str) -> None:
        if not self.take(text):
            found = repr(self.token.text) if self.token.text else "the end"
            raise SourceError(
                f"expected {text!r}, found {found}", self.token.column, self.token.text
            )

    def binary(self, level: int = 0) -> Value:
        left = self.unary()
        while self.token.kind == "op" and LEVELS.get(self.token.text, -1) >= level:
            token = self.token
            self.at += 1
            # && and || leave their right side alone once the left decides, so that
            # `defined(X) && X > 1` works.
            decided = (token.text == "&&" and not left.number) or (
                token.text == "||" and bool(left.number)
            )
            self.skipping += decided
            right = self.binary(LEVELS[token.text] + 1)
            self.skipping -= decided
            left = self.apply(token, left, right)
        return left

    def apply(self, token: Token, left: Value, right: Value) -> Value:
        if self.skipping:
            return Value(1)
        try:
            number = OPERATORS[token.text](left.number, right.number)
        except (ValueError, OverflowError) as error:
            raise SourceError(str(error), token.column, token.text) from None
        section = ""
        if token.text in "+-" and not right.section:
            section = left.section
        elif token.text == "+" and not left.section:
            section = right.section
        return Value(number, section)

    def unary(self) -> Value:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise SourceError("expression nested too deeply", self.token.column, self.token.text)
        try:
            if token := self.take("-", "+", "~", "!"):
                number = self.unary().number
                if token.text == "-":
                    return Value(-number)
                if token.text == "!":
                    return Value(int(not number))
                if token.text == "~":
                    if isinstance(number, float):
                        raise SourceError("~ needs a whole number", token.column, token.text)
                    return Value(~number)
                return Value(number)
            return self.primary()
        finally:
            self.depth -= 1

    def primary(self) -> Value:
        token = self.token
        if self.take("("):
            value = self.binary()
            self.expect(")")
            return value
        if self.take("."):
            return self.resolve(".", token.column)
        if token.kind == "number":
            self.at += 1
            return Value(parse_number(token))
        if token.kind == "name":
            self.at += 1
            if self.take("("):
                return self.call(token)
            if token.text in ("inf", "nan"):
                return Value(float(token.text))
            return self.resolve(token.text, token.column)
        found = repr(token.text) if token.text else "nothing"
        raise SourceError(f"expected a value, found {found}", token.column, token.text)

    def call(self, name: Token) -> Value:
        if name.text == "defined":
            argument = self.token
            self.at += argument.kind == "name"
            self.expect(")")
            try:
                self.resolve(argument.text, argument.column)
            except UndefinedSymbolError:
                return Value(0)
            return Value(1)
        if name.text not in FUNCTIONS:
            raise SourceError(
                f"no function {name.text!r} (there are {listed([*FUNCTIONS, 'defined'], 30)})",
                name.column,
                name.text,
            )
        arguments = [self.binary()]
        while self.take(","):
            arguments.append(self.binary())
        self.expect(")")
        if self.skipping:
            return Value(1)
        count, function = FUNCTIONS[name.text]
        if count not in (-1, len(arguments)):
            raise SourceError(
                f"{name.text} takes {count} arguments, not {len(arguments)}", name.column, name.text
            )
        try:
            return Value(function(*(argument.number for argument in arguments)))
        except (ValueError, TypeError, OverflowError) as error:
            raise SourceError(str(error), name.column, name.text) from None


def evaluate(text: str, resolve: Resolve, column: int = 1) -> Value:
    """The value of an expression.

    Args:
        text: the expression.
        resolve: value of a symbol, given its name and column; raises UndefinedSymbolError.
        column: column of the text in its line, for messages.

    Raises:
        SourceError: with the column and token at fault.
    """
    tokens = tokenize(text, column)
    if tokens[0].kind == "end":
        raise SourceError("expected a value, found nothing", column)
    if len(tokens) == 2 and tokens[0].kind == "number":
        return Value(parse_number(tokens[0]))
    parser = _Parser(tokens, resolve)
    value = parser.binary()
    if parser.token.kind != "end":
        raise SourceError(
            f"unexpected {parser.token.text!r}", parser.token.column, parser.token.text
        )
    return value
