"""What the Python bindings declare, read from their text.

They are other people's code that nothing was proved of yet, and importing them loads libraries.
So their syntax tree is interpreted here: assignments, classes of ctypes' kinds and decorated
functions, which is all that they use. What is not understood in a declaration is an error, never
something to pass over.

How a symbol is loaded decides what it means when it is missing. ``ctypes_function`` of
llama-cpp-python asks the library for it while the module is imported, so that one missing symbol
makes ``import llama_cpp`` fail, whoever would have called it. A declaration within ``try`` or
``if hasattr(library, …)``, or with ``enabled=hasattr(…)``, does without.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any, Final

from llamabuild.abi import declarations as c
from llamabuild.abi import expressions
from llamabuild.abi.declarations import Declarations, Member, Record, Signature
from llamabuild.abi.expressions import STRUCTURE, UNION, UNKNOWN, Scope, Unreadable, unreadable

_DECORATOR: Final = "ctypes_function"
_ORDER: Final = ("name", "argtypes", "restype", "enabled")  # of the decorator's arguments
_LAYOUT: Final = frozenset({"_pack_", "_align_", "_layout_"})


def read(modules: Iterable[tuple[str, str]]) -> Declarations:
    """What modules declare, given as name ("llama_cpp") and text; one that is imported by another
    stands before it. Raises Unreadable, with module and line."""
    reader = _Reader()
    for name, text in modules:
        try:
            reader.module(name, text)
        except Unreadable as error:
            raise Unreadable(f"{name}.py, {error}") from error
        except (SyntaxError, ValueError, RecursionError) as error:
            raise Unreadable(f"{name}.py is no Python text: {error}") from error
    return reader.declarations()


class _Reader:
    """Walks through modules in the order in which Python would run them."""

    def __init__(self) -> None:
        self._modules: dict[str, Scope] = {"ctypes": dict(expressions.CTYPES)}
        self._scope: Scope = {}
        self._records: dict[str, Record] = {}
        self._functions: dict[str, Signature] = {}
        self._loaded: dict[str, dict[str, Any]] = {}
        self._constants: dict[str, int] = {}
        self._optional: set[str] = set()

    def module(self, name: str, text: str) -> None:
        """One module."""
        self._scope = self._modules[name] = {}
        self._body(ast.parse(text).body)
        self._constants |= {
            key: value for key, value in self._scope.items() if isinstance(value, int)
        }

    def declarations(self) -> Declarations:
        """All that was found. Without ``restype`` ctypes takes an int for the result."""
        for name, parts in self._loaded.items():
            if "argtypes" in parts:
                result = parts.get("restype", c.integer(4, signed=True))
                self._functions[name] = Signature(result=result, arguments=parts["argtypes"])
        return Declarations(
            records=self._records,
            functions=self._functions,
            constants=self._constants,
            optional=frozenset(self._optional),
        )

    def _body(self, body: Iterable[ast.stmt]) -> None:
        for node in body:
            self._statement(node)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                self._import(node)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._assign(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, value)
            case ast.ClassDef():
                self._class(node)
            case ast.FunctionDef():
                self._function(node)
            case ast.If():
                self._if(node)
            case ast.Try(body=body, handlers=handlers):
                self._guarded(body, optional=bool(handlers))
            case _:
                _declares_nothing(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Names of ctypes, and of modules that were read before; others are unknown."""
        if isinstance(node, ast.Import):
            for one in node.names:
                there = self._modules.get(one.name.rpartition(".")[2], UNKNOWN)
                self._scope[one.asname or one.name] = there
            return
        source = self._modules.get((node.module or "").rpartition(".")[2], {})
        for one in node.names:
            there = source.get(one.name, self._modules.get(one.name, UNKNOWN))
            self._scope[one.asname or one.name] = there

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        match target:
            case ast.Name(id=name):
                self._scope[name] = expressions.value(value, self._scope)
            case ast.Attribute(value=ast.Name(id=name), attr="_fields_"):
                known = self._scope.get(name)
                if not isinstance(known, c.Named):
                    raise unreadable(target)
                self._set_members(known.name, expressions.members_of(value, self._scope))
            case ast.Attribute(value=ast.Attribute(attr=function), attr="argtypes"):
                types = expressions.types_of(value, self._scope)
                self._loaded.setdefault(function, {})["argtypes"] = types
            case ast.Attribute(value=ast.Attribute(attr=function), attr="restype"):
                result = expressions.result_of(value, self._scope)
                self._loaded.setdefault(function, {})["restype"] = result
            case _:
                _declares_nothing(value)

    def _class(self, node: ast.ClassDef) -> None:
        """A structure or union; a class derived from one would share its members and is refused."""
        bases = [expressions.value(base, self._scope) for base in node.bases]
        if any(isinstance(base, c.Named) for base in bases):
            raise unreadable(node)
        if STRUCTURE not in bases and UNION not in bases:
            self._scope[node.name] = UNKNOWN
            return
        self._scope[node.name] = c.Named(name=node.name)
        self._records[node.name] = Record(members=None, union=UNION in bases)
        for inner in node.body:
            match inner:
                case ast.Assign(targets=[ast.Name(id="_fields_")], value=value):
                    self._set_members(node.name, expressions.members_of(value, self._scope))
                case ast.Assign(targets=[ast.Name(id=name)]) if name in _LAYOUT:
                    raise unreadable(inner)

    def _set_members(self, name: str, members: tuple[Member, ...]) -> None:
        self._records[name] = Record(members=members, union=self._records[name].union)

    def _function(self, node: ast.FunctionDef) -> None:
        """``@ctypes_function("name", [argument, …], result, enabled)``."""
        for call in node.decorator_list:
            if not (isinstance(call, ast.Call) and _last(call.func) == _DECORATOR):
                continue
            given = dict(zip(_ORDER, call.args, strict=False))
            given |= {one.arg: one.value for one in call.keywords if one.arg}
            if not set(_ORDER[:3]) <= given.keys() <= set(_ORDER):
                raise unreadable(call)
            match given["name"], given.get("enabled"):
                case ast.Constant(value=str(name)), (None | ast.Constant(value=True)):
                    pass
                case ast.Constant(value=str()), ast.Constant(value=False):
                    continue
                case ast.Constant(value=str(name)), ast.expr() as asked if _asks(asked):
                    self._optional.add(name)
                case _:
                    raise unreadable(call)
            self._functions[name] = Signature(
                result=expressions.result_of(given["restype"], self._scope),
                arguments=expressions.types_of(given["argtypes"], self._scope),
            )

    def _if(self, node: ast.If) -> None:
        """What only type checkers see is passed over; what a library is asked for is optional."""
        if _last(node.test) == "TYPE_CHECKING":
            self._body(node.orelse)
        elif _asks(node.test):
            self._guarded([*node.body, *node.orelse], optional=True)
        else:
            _declares_nothing(node)

    def _guarded(self, body: Iterable[ast.stmt], *, optional: bool) -> None:
        before = self._functions.keys() | self._loaded.keys()
        self._body(body)
        if optional:
            self._optional |= (self._functions.keys() | self._loaded.keys()) - before


def _asks(node: ast.expr) -> bool:
    """True for ``hasattr(library, "function")``."""
    return isinstance(node, ast.Call) and _last(node.func) == "hasattr"


def _last(node: ast.expr) -> str:
    """The last part of a dotted name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _declares_nothing(node: ast.AST) -> None:
    """Raise Unreadable when there is a declaration in what is passed over."""
    for one in ast.walk(node):
        if isinstance(one, ast.ClassDef) or (
            isinstance(one, ast.FunctionDef)
            and any(_last(getattr(mark, "func", mark)) == _DECORATOR for mark in one.decorator_list)
        ):
            raise unreadable(one)
