"""What both sides are read into: the types, structures, functions and constants of a C interface.

Sizes are bytes on machines with 64-bit pointers, which all that llama.cpp is built for here have.
``long`` has another size on Windows than elsewhere and is a kind of its own for that reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

POINTER_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """``kind`` is "void", "bool", "int", "float" or "long". ``signed`` is None where C leaves it to
    the compiler: enums and ``char``."""

    kind: str
    size: int
    signed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """``to`` is None where nothing is said about what it points at: ``void *``."""

    to: Type | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A pointer to a function."""

    signature: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """``length`` values of one type in a row."""

    of: Type
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A structure or union, by its name in :attr:`Declarations.records`."""

    name: str


Type: TypeAlias = "Scalar | Pointer | Callback | Array | Named"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a function takes and gives; ``variadic`` ends with ``...``."""

    result: Type
    arguments: tuple[Type, ...]
    variadic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of a structure or union. A name that C does not give is empty."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A structure, or a union; ``members`` is None when it is opaque."""

    members: tuple[Member, ...] | None
    union: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Declarations:
    """One side. ``optional`` are functions that this side does without when they are missing."""

    records: Mapping[str, Record] = field(default_factory=dict)
    functions: Mapping[str, Signature] = field(default_factory=dict)
    constants: Mapping[str, int] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()


VOID = Scalar(kind="void", size=0)
BOOL = Scalar(kind="bool", size=1)
CHAR = Scalar(kind="int", size=1)
ENUM = Scalar(kind="int", size=4)
FLOAT = Scalar(kind="float", size=4)
DOUBLE = Scalar(kind="float", size=8)


def integer(size: int, *, signed: bool) -> Scalar:
    """An integer of so many bytes."""
    return Scalar(kind="int", size=size, signed=signed)


def long(*, signed: bool) -> Scalar:
    """``long``, whose size is the target's business."""
    return Scalar(kind="long", size=0, signed=signed)


def words(one: Type) -> str:
    """A type as people write it.

    >>> words(integer(4, signed=False)), words(Pointer(to=FLOAT)), words(Pointer())
    ('uint32', 'pointer to float', 'pointer')
    >>> words(Array(of=CHAR, length=8)), words(ENUM), words(DOUBLE)
    ('char[8]', 'enum', 'double')
    """
    match one:
        case Pointer(to=None):
            return "pointer"
        case Pointer(to=target):
            return f"pointer to {words(target)}" if target else "pointer"
        case Callback(signature=said):
            return f"callback {words(said.result)}({', '.join(map(words, said.arguments))})"
        case Array(of=of, length=length):
            return f"{words(of)}[{length}]"
        case Named(name=name):
            return f"struct {name}"
        case _:
            return _scalar(one)


def _scalar(one: Scalar) -> str:
    if one.kind == "int":
        if one.signed is None:
            return "char" if one.size == 1 else "enum"
        return f"{'' if one.signed else 'u'}int{8 * one.size}"
    if one.kind == "long":
        return "long" if one.signed else "unsigned long"
    if one.kind == "float":
        return {4: "float", 8: "double"}.get(one.size, "long double")
    return one.kind
