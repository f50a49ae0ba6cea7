"""The bindings held against the header: what differs, in sentences. Pure.

Only what the bindings declare is compared; what a header has beside that does no harm. Members are
compared in order, by name, kind and size: a member of another name is another one, even if it has
the same size. Some things differ and still fit:

- ctypes has one pointer type for all that it does not look into: ``c_void_p`` fits every pointer
  and callback, ``c_char_p`` every pointer to bytes;
- a pointer to something that the header leaves opaque fits every pointer;
- C leaves it to the compiler whether ``char`` and enums have a sign;
- a structure or union that the header has no name for may have any;
- a constant that counts the others (``…_COUNT``, ``…_MAX_VALUE``) or a file format's versions may
  have grown: new ones stand behind the old, and only the library reads and writes such files.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Final, TypeAlias

from llamabuild.abi import declarations as c
from llamabuild.abi.declarations import Declarations, Member, Record, Signature, Type, words

_GROW: Final = ("_COUNT", "_MAX_VALUE", "_VERSION")


_Seen: TypeAlias = "frozenset[tuple[str, str]]"
_NONE: Final[_Seen] = frozenset()


def mismatches(
    bindings: Declarations, header: Declarations, carried: Declarations | None = None
) -> tuple[str, ...]:
    """One sentence for each structure, function and constant that does not fit, in that order.

    ``carried`` is the header that the bindings were written for, and come with. What they get wrong
    about it is so in every build of them (``llama_opt_params`` lacks a field since 2025): where the
    other header says the very same, that is not held against it.
    """
    known = dict(_Both(bindings, carried).differences()) if carried else {}
    return tuple(
        said
        for name, said in _Both(bindings, header).differences()
        if not (carried and known.get(name) == said and _alike(name, header, carried))
    )


def _alike(name: str, header: Declarations, carried: Declarations) -> bool:
    """Whether two headers declare something in the same way."""
    return (
        header.records.get(name) == carried.records.get(name)
        and header.functions.get(name) == carried.functions.get(name)
        and header.constants.get(name) == carried.constants.get(name)
    )


class _Both:
    """The two sides, for questions that need the structures of both."""

    def __init__(self, bindings: Declarations, header: Declarations) -> None:
        self._ours, self._theirs = bindings, header

    def differences(self) -> Iterator[tuple[str, str]]:
        """Names with what is wrong about them."""
        yield from self._records()
        yield from self._functions()
        yield from self._constants()

    def _records(self) -> Iterator[tuple[str, str]]:
        """Structures that both sides name and whose members the bindings know."""
        for name, ours in self._ours.records.items():
            theirs = self._theirs.records.get(name)
            if theirs and (said := self._record(ours, theirs)):
                yield name, f"{name}{said}"

    def _record(self, ours: Record, theirs: Record) -> str | None:
        if ours.members is None:
            return None
        if theirs.members is None:
            return " has members in the bindings and is opaque in the header"
        if ours.union != theirs.union:
            mine, other = (("struct", "union")[one.union] for one in (ours, theirs))
            return f" is a {mine} in the bindings and a {other} in the header"
        return self._first_difference(ours.members, theirs.members)

    def _functions(self) -> Iterator[tuple[str, str]]:
        """Functions that the bindings load."""
        for name, ours in self._ours.functions.items():
            theirs = self._theirs.functions.get(name)
            if theirs is not None:
                if said := self._signatures(ours, theirs):
                    yield name, f"{name} {said}"
            elif name not in self._ours.optional:
                yield name, f"{name} is declared by the bindings and not in the header"

    def _constants(self) -> Iterator[tuple[str, str]]:
        """Numbers that both sides name."""
        for name, ours in self._ours.constants.items():
            theirs = self._theirs.constants.get(name, ours)
            if theirs != ours and not (name.endswith(_GROW) and theirs > ours):
                yield name, f"{name} is {ours} in the bindings and {theirs} in the header"

    def _first_difference(self, ours: tuple[Member, ...], theirs: tuple[Member, ...]) -> str | None:
        for place, (mine, other) in enumerate(zip_longest(ours, theirs), 1):
            if mine is None:
                return f": field {place} is {_member(other)} in the header, the bindings end before"
            if other is None:
                return f": field {place} is {_member(mine)} in the bindings, the header ends before"
            if (mine.name != other.name and other.name) or not self._fit(mine.type, other.type):
                return (
                    f": field {place} is {_member(mine)} in the bindings "
                    f"and {_member(other)} in the header"
                )
        return None

    def _signatures(self, ours: Signature, theirs: Signature, seen: _Seen = _NONE) -> str | None:
        mine, other = len(ours.arguments), len(theirs.arguments)
        if mine != other and not (theirs.variadic and mine > other):
            return f"takes {_arguments(mine)} in the bindings and {other} in the header"
        for place, pair in enumerate(zip(ours.arguments, theirs.arguments, strict=False), 1):
            if not self._fit(*pair, seen):
                return f"takes {_pair(*pair)} as argument {place}"
        if not self._fit(ours.result, theirs.result, seen):
            return f"gives {_pair(ours.result, theirs.result)}"
        return None

    def _fit(self, ours: Type, theirs: Type, seen: _Seen = _NONE) -> bool:
        """Whether two types are the same to a machine. ``seen`` are structures under comparison,
        which may lead to themselves."""
        match ours, theirs:
            case c.Scalar(), c.Scalar():
                signs = {ours.signed, theirs.signed}
                alike = (ours.kind, ours.size) == (theirs.kind, theirs.size)
                return alike and (len(signs) == 1 or None in signs)
            case c.Array(), c.Array():
                return ours.length == theirs.length and self._fit(ours.of, theirs.of, seen)
            case c.Named(), c.Named():
                return self._same_record(ours.name, theirs.name, seen)
            case c.Callback(), c.Callback():
                return not self._signatures(ours.signature, theirs.signature, seen)
            case c.Pointer(to=mine), c.Pointer(to=other):
                return mine is None or other is None or self._point_alike(mine, other, seen)
            case (c.Pointer(to=None), c.Callback()) | (c.Callback(), c.Pointer(to=None)):
                return True
            case _:
                return False

    def _point_alike(self, ours: Type, theirs: Type, seen: _Seen) -> bool:
        """Whether two pointers may point at the same thing."""
        if isinstance(theirs, c.Named):
            if self._theirs.records[theirs.name].members is None:
                return True
            if isinstance(ours, c.Named) and ours.name == theirs.name:
                return True  # held against each other on their own
        if isinstance(ours, c.Scalar) and isinstance(theirs, c.Scalar):
            byte = ours == c.CHAR and theirs.size == 1
            return byte or self._fit(ours, theirs, seen)
        return self._fit(ours, theirs, seen)

    def _same_record(self, ours: str, theirs: str, seen: _Seen) -> bool:
        """Structures of one name are held against each other on their own, others here."""
        if ours == theirs or (ours, theirs) in seen:
            return True
        mine, other = self._ours.records[ours], self._theirs.records[theirs]
        if mine.members is None or other.members is None:
            return mine.members is other.members
        seen |= {(ours, theirs)}
        return (
            mine.union == other.union
            and len(mine.members) == len(other.members)
            and all(
                one.name == two.name and self._fit(one.type, two.type, seen)
                for one, two in zip(mine.members, other.members, strict=True)
            )
        )


def _member(one: Member) -> str:
    return f"{one.name or 'one without a name'} ({words(one.type)})"


def _pair(ours: Type, theirs: Type) -> str:
    return f"{words(ours)} in the bindings and {words(theirs)} in the header"


def _arguments(count: int) -> str:
    return f"{count} argument{'' if count == 1 else 's'}"
