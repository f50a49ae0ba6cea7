"""Declarations out of a syntax tree of C."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pycparser import c_ast

from llamabuild.abi import declarations as c
from llamabuild.abi.arithmetic import Unsupported, calculate, macro
from llamabuild.abi.declarations import Declarations, Member, Record, Signature, Type

_SIZES: Final = {"char": 1, "short": 2, "int": 4, "long long": 8}
_FLOATS: Final = {
    "float": c.FLOAT,
    "double": c.DOUBLE,
    "long double": c.Scalar(kind="float", size=16),
}


def gather(tree: c_ast.FileAST, macros: Mapping[str, str]) -> Declarations:
    """All that a translation unit declares. ``macros`` are names with their texts.

    Functions that are ``static`` are no symbols of a library and are left out. Raises Unsupported.
    """
    found = _Gathered(macros)
    for node in tree.ext:
        found.add(node)
    return found.declarations()


class _Gathered:
    """What was declared so far: C declares before it uses."""

    def __init__(self, macros: Mapping[str, str]) -> None:
        self._macros = macros
        self._types: dict[str, Type] = {}
        self._records: dict[str, Record] = {}
        self._functions: dict[str, Signature] = {}
        self._numbers: dict[str, int] = {}
        self._function_types: set[str] = set()

    def add(self, node: c_ast.Node) -> None:
        """One declaration at the top of the file."""
        if isinstance(node, c_ast.FuncDef):
            node = node.decl
        if isinstance(node, c_ast.Typedef):
            if isinstance(node.type, c_ast.FuncDecl):
                self._function_types.add(node.name)
            self._types[node.name] = self._type(node.type, node.name)
        elif isinstance(node, c_ast.Decl):
            if not isinstance(node.type, c_ast.FuncDecl):
                self._type(node.type)
            elif "static" not in node.storage:
                self._functions[node.name] = self._signature(node.type)

    def declarations(self) -> Declarations:
        """What was found, with the macros that are numbers."""
        numbers = dict(self._numbers)
        for name in self._macros:
            number = macro(name, self._macros, self._numbers)
            if number is not None:
                numbers[name] = number
        return Declarations(records=self._records, functions=self._functions, constants=numbers)

    def _type(self, node: c_ast.Node, name: str = "") -> Type:
        """A type; ``name`` is what a structure without a tag is called by."""
        match node:
            case c_ast.TypeDecl():
                return self._type(node.type, name)
            case c_ast.PtrDecl():
                return self._pointer(node.type, name)
            case c_ast.ArrayDecl():
                length = 0 if node.dim is None else calculate(node.dim, self._numbers, self._size)
                return c.Array(of=self._type(node.type, name), length=length)
            case c_ast.Struct() | c_ast.Union():
                return self._record(node, name)
            case c_ast.Enum():
                self._enum(node)
                return c.ENUM
            case c_ast.IdentifierType():
                return self._scalar(node)
            case c_ast.FuncDecl():  # of an argument or a typedef: means or makes a pointer
                return c.Callback(signature=self._signature(node))
            case _:
                raise Unsupported(node)

    def _pointer(self, to: c_ast.Node, name: str) -> Type:
        target = self._type(to, name)
        if isinstance(to, c_ast.FuncDecl) or self._is_function(to):
            return target
        return c.Pointer(to=None if target == c.VOID else target)

    def _is_function(self, node: c_ast.Node) -> bool:
        """True for the name of a function type; most typedefs are of pointers to functions."""
        kind = node.type if isinstance(node, c_ast.TypeDecl) else None
        return isinstance(kind, c_ast.IdentifierType) and kind.names[0] in self._function_types

    def _signature(self, node: c_ast.FuncDecl) -> Signature:
        given = [] if node.args is None else node.args.params
        variadic = bool(given) and isinstance(given[-1], c_ast.EllipsisParam)
        types = [self._argument(one) for one in given if not isinstance(one, c_ast.EllipsisParam)]
        if types == [c.VOID]:
            types = []
        return Signature(result=self._type(node.type), arguments=tuple(types), variadic=variadic)

    def _argument(self, node: c_ast.Node) -> Type:
        """An array that is an argument is a pointer."""
        if not isinstance(node, c_ast.Decl | c_ast.Typename):
            raise Unsupported(node)
        found = self._type(node.type)
        return c.Pointer(to=found.of) if isinstance(found, c.Array) else found

    def _record(self, node: c_ast.Struct | c_ast.Union, name: str) -> Type:
        name = node.name or name
        if not name:
            raise Unsupported(node)
        union = isinstance(node, c_ast.Union)
        if node.decls is None:
            self._records.setdefault(name, Record(members=None, union=union))
            return c.Named(name=name)
        self._records[name] = Record(members=None, union=union)
        members = []
        for place, one in enumerate(node.decls, 1):
            if not isinstance(one, c_ast.Decl) or one.bitsize is not None:
                raise Unsupported(one)
            inner = self._type(one.type, f"{name}.{one.name or place}")
            members.append(Member(name=one.name or "", type=inner))
        self._records[name] = Record(members=tuple(members), union=union)
        return c.Named(name=name)

    def _enum(self, node: c_ast.Enum) -> None:
        after = 0
        for one in node.values.enumerators if node.values else ():
            if one.value is not None:
                after = calculate(one.value, self._numbers, self._size)
            self._numbers[one.name] = after
            after += 1

    def _scalar(self, node: c_ast.IdentifierType) -> Type:
        """A type by its words: ``unsigned long long``, or a name of a typedef."""
        names = sorted(node.names)
        if len(names) == 1 and names[0] in self._types:
            return self._types[names[0]]
        text = " ".join(node.names)
        if text in ("void", "_Bool"):
            return c.VOID if text == "void" else c.BOOL
        if text in _FLOATS:
            return _FLOATS[text]
        signed = "unsigned" not in names
        kept = [one for one in names if one not in ("signed", "unsigned")]
        if "int" in kept and len(kept) > 1:
            kept.remove("int")
        kind = " ".join(kept) or "int"
        if kind == "long":
            return c.long(signed=signed)
        if kind == "char" and names == ["char"]:
            return c.CHAR
        if kind not in _SIZES:
            raise Unsupported(node)
        return c.integer(_SIZES[kind], signed=signed)

    def _size(self, node: c_ast.Node) -> int:
        """``sizeof`` of a type whose size does not depend on the target."""
        found = self._type(node.type if isinstance(node, c_ast.Typename) else node)
        if isinstance(found, c.Pointer | c.Callback):
            return c.POINTER_SIZE
        if isinstance(found, c.Scalar) and found.size:
            return found.size
        raise Unsupported(node)
