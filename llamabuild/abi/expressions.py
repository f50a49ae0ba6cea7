"""Expressions of ctypes in Python's syntax tree, and what they mean. Nothing is run."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from llamabuild.abi import declarations as c
from llamabuild.abi.declarations import Member, Signature, Type

Scope: TypeAlias = "dict[str, Any]"
"""Names and what they stand for: a type, a number, a module (a dict), a kind, or UNKNOWN."""


class Unreadable(Exception):
    """A declaration is of a form that is not understood; the text says where."""


UNKNOWN: Final = object()
"""What an expression gives that is no declaration: a path, a loaded library."""
STRUCTURE: Final = object()
UNION: Final = object()
_POINTER: Final = object()
_CALLBACK: Final = object()
_TYPES: Final = (c.Scalar, c.Pointer, c.Callback, c.Array, c.Named)
_POINTER_TO_CHAR: Final = c.Pointer(to=c.CHAR)

CTYPES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "c_bool": c.BOOL,
        "c_char": c.CHAR,
        "c_byte": c.integer(1, signed=True),
        "c_ubyte": c.integer(1, signed=False),
        "c_short": c.integer(2, signed=True),
        "c_ushort": c.integer(2, signed=False),
        "c_int": c.integer(4, signed=True),
        "c_uint": c.integer(4, signed=False),
        "c_long": c.long(signed=True),
        "c_ulong": c.long(signed=False),
        "c_longlong": c.integer(8, signed=True),
        "c_ulonglong": c.integer(8, signed=False),
        **{f"c_int{8 * size}": c.integer(size, signed=True) for size in (1, 2, 4, 8)},
        **{f"c_uint{8 * size}": c.integer(size, signed=False) for size in (1, 2, 4, 8)},
        "c_size_t": c.integer(8, signed=False),
        "c_ssize_t": c.integer(8, signed=True),
        "c_float": c.FLOAT,
        "c_double": c.DOUBLE,
        "c_void_p": c.Pointer(),
        "c_char_p": _POINTER_TO_CHAR,
        "POINTER": _POINTER,
        "CFUNCTYPE": _CALLBACK,
        "Structure": STRUCTURE,
        "Union": UNION,
    }
)
_OPERATORS: Final[Mapping[type[ast.operator], Callable[[int, int], int]]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.BitOr: operator.or_,
        ast.BitAnd: operator.and_,
        ast.FloorDiv: operator.floordiv,
    }
)
_MOST_SHIFTED: Final = 128


def value(node: ast.expr, scope: Scope) -> Any:  # noqa: ANN401 - see Scope
    """What an expression stands for, UNKNOWN where it is no declaration. Raises Unreadable."""
    match node:
        case ast.Constant(value=bool() | str() | bytes() | float()):
            return UNKNOWN
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            return scope.get(name, UNKNOWN)
        case ast.Attribute(value=base, attr=name):
            module = value(base, scope)
            return module.get(name, UNKNOWN) if isinstance(module, dict) else UNKNOWN
        case ast.Call():
            return _made(node, scope)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = value(operand, scope)
            return -number if isinstance(number, int) else UNKNOWN
        case ast.BinOp():
            return _joined(node, scope)
        case _:
            return UNKNOWN
    return UNKNOWN


def type_of(node: ast.expr, scope: Scope) -> Type:
    """The type that an expression stands for. Raises Unreadable when it is none."""
    found = value(node, scope)
    if not isinstance(found, _TYPES):
        raise unreadable(node)
    return found


def result_of(node: ast.expr, scope: Scope) -> Type:
    """A type, or None for void. Raises Unreadable."""
    if isinstance(node, ast.Constant) and node.value is None:
        return c.VOID
    return type_of(node, scope)


def types_of(node: ast.expr, scope: Scope) -> tuple[Type, ...]:
    """The types in a list. Raises Unreadable."""
    if not isinstance(node, ast.List | ast.Tuple):
        raise unreadable(node)
    return tuple(type_of(one, scope) for one in node.elts)


def members_of(node: ast.expr, scope: Scope) -> tuple[Member, ...]:
    """``[("name", type), …]``. Raises Unreadable, also for bit fields, which have three parts."""
    if not isinstance(node, ast.List | ast.Tuple):
        raise unreadable(node)
    found = []
    for one in node.elts:
        match one:
            case ast.Tuple(elts=[ast.Constant(value=str(name)), kind]):
                found.append(Member(name=name, type=type_of(kind, scope)))
            case _:
                raise unreadable(one)
    return tuple(found)


def unreadable(node: ast.stmt | ast.expr) -> Unreadable:
    """The error for a part of the text, with its line."""
    text = " ".join(ast.unparse(node).split())
    return Unreadable(f"line {node.lineno}: {text[:80]!r} is not understood")


def _made(node: ast.Call, scope: Scope) -> Any:  # noqa: ANN401 - see Scope
    maker = value(node.func, scope)
    if maker is _POINTER and len(node.args) == 1:
        target = result_of(node.args[0], scope)
        return c.Pointer(to=None if target == c.VOID else target)
    if maker is _CALLBACK and node.args:
        arguments = tuple(type_of(one, scope) for one in node.args[1:])
        result = result_of(node.args[0], scope)
        return c.Callback(signature=Signature(result=result, arguments=arguments))
    return UNKNOWN


def _joined(node: ast.BinOp, scope: Scope) -> Any:  # noqa: ANN401 - see Scope
    """Two numbers, or a type and how often it stands in a row."""
    left, right = value(node.left, scope), value(node.right, scope)
    if isinstance(left, int) and isinstance(right, int):
        if isinstance(node.op, ast.LShift) and 0 <= right < _MOST_SHIFTED:
            return left << right
        made = _OPERATORS.get(type(node.op))
        return made(left, right) if made and right else UNKNOWN
    for of, length in ((left, right), (right, left)):
        if isinstance(node.op, ast.Mult) and isinstance(of, _TYPES):
            if not isinstance(length, int):
                raise unreadable(node)
            return c.Array(of=of, length=length)
    return UNKNOWN
