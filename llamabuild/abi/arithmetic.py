"""Constant expressions of C: values of enums, lengths of arrays, macros that are numbers."""

from __future__ import annotations

import contextlib
import operator
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from pycparser import c_ast
from pycparser.c_parser import CParser, ParseError


class Unsupported(Exception):
    """A part of a header that is not understood."""

    def __init__(self, node: c_ast.Node) -> None:
        super().__init__(f"{node.coord or 'a macro'}: {type(node).__name__} is not understood here")


_BINARY: Final[Mapping[str, Callable[[int, int], int]]] = MappingProxyType(
    {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "&": operator.and_,
        "|": operator.or_,
        "^": operator.xor,
    }
)
_SHIFTS: Final = MappingProxyType({"<<": operator.lshift, ">>": operator.rshift})
_MOST_SHIFTED: Final = 63
_SUFFIX: Final = re.compile(r"[uUlL]+$")
_NUMBER: Final = re.compile(r"[\s\w()+\-*|&^<>~/]+")
_ESCAPES: Final = MappingProxyType({"n": 10, "t": 9, "0": 0, "\\": 92, "'": 39})


def calculate(node: c_ast.Node, names: Mapping[str, int], size: Callable[[c_ast.Node], int]) -> int:
    """The value of a constant expression; ``size`` answers ``sizeof``. Raises Unsupported."""
    match node:
        case c_ast.Constant():
            return _constant(node)
        case c_ast.ID(name=name) if name in names:
            return names[name]
        case c_ast.Cast(expr=inner):
            return calculate(inner, names, size)
        case c_ast.UnaryOp(op="sizeof", expr=inner):
            return size(inner)
        case c_ast.UnaryOp(op="-" | "+" | "~" as sign, expr=inner):
            number = calculate(inner, names, size)
            return {"-": -number, "+": number, "~": ~number}[sign]
        case c_ast.BinaryOp(op=op):
            pair = calculate(node.left, names, size), calculate(node.right, names, size)
            return _joined(node, op, *pair)
        case _:
            raise Unsupported(node)


def macro(name: str, macros: Mapping[str, str], names: Mapping[str, int]) -> int | None:
    """The number that a macro stands for, through other macros; None when it is none."""
    return _expanded(name, macros, names, frozenset())


def _expanded(
    name: str, macros: Mapping[str, str], names: Mapping[str, int], outer: frozenset[str]
) -> int | None:
    text = macros[name].partition("//")[0].strip()
    if not _NUMBER.fullmatch(text):
        return None
    known = dict(names)
    for word in set(re.findall(r"[A-Za-z_]\w*", text)):
        if word in macros and word not in outer | {name}:
            value = _expanded(word, macros, names, outer | {name})
            if value is not None:
                known[word] = value
    try:
        tree = CParser().parse(f"int number = {text};")
        return calculate(tree.ext[0].init, known, _no_size)
    except (ParseError, Unsupported):
        return None


def _no_size(node: c_ast.Node) -> int:
    raise Unsupported(node)


def _constant(node: c_ast.Constant) -> int:
    if node.type == "char":
        inner = node.value[1:-1]
        if len(inner) == 1:
            return ord(inner)
        if inner[:1] == "\\" and inner[1:] in _ESCAPES:
            return _ESCAPES[inner[1:]]
    elif "int" in node.type:
        digits = _SUFFIX.sub("", node.value)
        octal = len(digits) > 1 and digits.isdigit() and digits[0] == "0"
        with contextlib.suppress(ValueError):  # 08, or more digits than Python reads
            return int(digits, 8 if octal else 0)
    raise Unsupported(node)


def _joined(node: c_ast.Node, op: str, left: int, right: int) -> int:
    """Two numbers in one. Division rounds towards zero in C."""
    if op in _BINARY:
        return _BINARY[op](left, right)
    if op in _SHIFTS and 0 <= right <= _MOST_SHIFTED:
        return int(_SHIFTS[op](left, right))
    if op == "/" and right:
        return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
    raise Unsupported(node)
