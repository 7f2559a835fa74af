"""Expressions over the state of a core, for conditions and for `print`."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from npuvp.errors import InputError

__all__ = ["evaluate", "parse_expression"]

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_UNARY: dict[type[ast.AST], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
_MEMORIES = ("fp", "int")


def parse_expression(text: str, names: Mapping[str, Any] | set[str]) -> ast.expr:
    """The tree of an expression such as ``gp4 > 3 and fp[12] != 0``.

    Args:
        text: Numbers, the names given, ``fp[WORD]`` and ``int[WORD]``; Python's operators.
        names: What it may name: registers, CSRs, ``pc``, ``cycle``, marks, labels.

    Raises:
        InputError: It is malformed or names something else; the message says what.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise InputError(f"expression {text!r}: {error.msg}") from None
    _check(tree, text, names)
    return tree


def _check(node: ast.expr, text: str, names: Mapping[str, Any] | set[str]) -> None:
    match node:
        case ast.Constant(value=int() | float()):
            return
        case ast.Name(id=name):
            if name not in names:
                raise InputError(
                    f"expression {text!r}: no {name!r} here (allowed: numbers, gp0..gp15, f0..f7, "
                    "a0..a15, CSRs by name, pc, cycle, instructions, layer, block, step, call, op, "
                    "phase, labels and constants of the source, fp[WORD], int[WORD])"
                )
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(left, text, names)
            _check(right, text, names)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            _check(operand, text, names)
        case ast.BoolOp(values=values):
            for value in values:
                _check(value, text, names)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(
            type(op) in _BINARY for op in ops
        ):
            for value in (left, *others):
                _check(value, text, names)
        case ast.Subscript(value=ast.Name(id=memory), slice=index) if memory in _MEMORIES:
            _check(index, text, names)
        case _:
            raise InputError(
                f"expression {text!r}: {ast.unparse(node)!r} cannot stand here (allowed: numbers, "
                "registers, fp[WORD], int[WORD], + - * / // % & | ^ << >> == != < <= > >= and or not)"
            )


def evaluate(
    node: ast.expr, names: Mapping[str, Any], read: Callable[[str, int], int | float]
) -> Any:
    """The value of a parsed expression; `read(memory, word)` reads FP and INT SRAM.

    Raises:
        InputError: A division by zero, a negative shift, or what `read` raises.
    """
    try:
        return _value(node, names, read)
    except (ZeroDivisionError, ValueError, TypeError) as error:
        raise InputError(f"expression {ast.unparse(node)!r}: {error}") from None


def _value(
    node: ast.expr, names: Mapping[str, Any], read: Callable[[str, int], int | float]
) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return names[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, names, read), _value(right, names, read))
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_value(operand, names, read))
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(value, names, read) for value in values)
        case ast.BoolOp(values=values):
            return any(_value(value, names, read) for value in values)
        case ast.Compare(left=left, ops=ops, comparators=others):
            below = _value(left, names, read)
            for relation, other in zip(ops, others, strict=True):
                above = _value(other, names, read)
                if not _BINARY[type(relation)](below, above):
                    return False
                below = above
            return True
        case ast.Subscript(value=ast.Name(id=memory), slice=index):
            return read(memory, _value(index, names, read))
    raise AssertionError(ast.dump(node))
