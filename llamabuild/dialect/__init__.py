"""The same decision in the words of the llama.cpp tree at hand. Pure.

Plans are decided in the names of the newest tree. Other trees call an option otherwise, do not have
it, or have some of their own whose default would decide something. CMake says nothing about any of
that: a name that a tree does not have is ignored. Here nothing is: what comes out is declared or
read by the tree, and what does not come out is told with what that means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from llamabuild.backends import cpu_features, cpu_sets
from llamabuild.dialect.names import before, called, explain_name, table
from llamabuild.errors import ConfigError, UnsupportedHardware
from llamabuild.model import Flag, SourceOption
from llamabuild.options import PREFIXES, Options, why_unknown

__all__ = ["Note", "Rendering", "called", "cpu_source", "explain_name", "render", "render_sources"]

_LANGUAGES: Final = ("CMAKE_C_FLAGS", "CMAKE_CXX_FLAGS")
_HARMLESS: Final = "off, and it does not exist here"
_PREFIX: Final = "the prefix is LLAMA_ here"
_ANOTHER: Final = "Build another version of llama-cpp-python, or leave it out of the recipe."


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What became of an option: ``said`` is "renamed", "left out", "merged" or "changed". Where
    several share one fate, ``name`` lists them."""

    name: str
    said: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """A plan's options for one tree. ``lost`` are the CPU features that the plan has and this
    tree cannot use."""

    flags: tuple[Flag, ...]
    notes: tuple[Note, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """One option: what is set for it, what the compiler is told itself, what to tell people."""

    flag: Flag | None = None
    words: tuple[str, ...] = ()
    note: Note | None = None
    lost: tuple[str, ...] = ()


def render(
    flags: Iterable[Flag],
    options: Options,
    arch: str,
    *,
    family: str = "gcc",
    tree: str = "this llama.cpp",
) -> Rendering:
    """The options ``flags`` as the tree with ``options`` knows them.

    ``family`` is the compiler's: "msvc" takes no ``-m`` options. ``tree`` names the tree in errors.
    Raises UnsupportedHardware when it does not have a back-end that is wanted, ConfigError for
    other options that are ON and unknown to it, and for one that is given two values.
    """
    wanted = tuple(flags)
    _refuse(wanted, options, arch, tree)
    said = [_say(flag, options, arch, family, tree) for flag in wanted]
    kept = _once([one.flag for one in said if one.flag])
    kept |= {flag.name: flag for flag in _only_old(wanted, options, arch) if flag.name not in kept}
    told = tuple(dict.fromkeys(word for one in said for word in one.words))
    return Rendering(
        flags=tuple(_tell(kept, told).values()),
        notes=_folded([*(one.note for one in said if one.note), *_fewer(wanted, options, arch)]),
        lost=tuple(dict.fromkeys(name for one in said for name in one.lost)),
    )


def render_sources(
    wanted: Iterable[SourceOption], exists: Callable[[str], bool]
) -> tuple[tuple[SourceOption, ...], tuple[Note, ...]]:
    """Options for single files, for where the tree has them. ``exists`` is asked with paths
    relative to the tree; what is nowhere needs no option."""
    kept, notes = [], []
    for option in wanted:
        places = (option.source, *table()["moved"].get(option.source, ()))
        if here := next(filter(exists, places), None):
            kept.append(replace(option, source=here))
        else:
            notes.append(Note(name=option.source, said="left out", why="it has no such file"))
    return tuple(kept), tuple(notes)


def cpu_source(files: Iterable[str]) -> str:
    """The file among ``files`` (relative to the tree) that has ggml's CPU code, or empty."""
    have = frozenset(files)
    return next((name for name in table()["sources"]["cpu"] if name in have), "")


def _refuse(flags: tuple[Flag, ...], options: Options, arch: str, tree: str) -> None:
    """What cannot be, the most telling reason first."""
    on = [flag.name for flag in flags if flag.value is True]
    lacking = [name for name in on if not called(name, options)]
    for name in lacking:
        if title := table()["switch"].get(name):
            raise UnsupportedHardware(f"{tree} has no {title}", _ANOTHER)
    for name in lacking:
        if why := table()["impossible"].get(name):
            raise ConfigError(f"{tree} cannot be built with {name}: {why}", _ANOTHER)
    mine = {row.name for row in cpu_sets.rows("variant", arch)}
    if "GGML_CPU_ALL_VARIANTS" in on and options.variants and not mine & options.variants:
        raise ConfigError(f"{tree} has no CPU variants for {arch}", 'Use cpu = "portable".')


def _say(flag: Flag, options: Options, arch: str, family: str, tree: str) -> _Said:
    """One option in the tree's words."""
    rows = table()
    here = called(flag.name, options)
    if here or not flag.name.startswith(PREFIXES):
        return _kept(flag, here or flag.name, options, arch, family)
    if flag.value is False or flag.value == "":
        why = rows["always"].get(flag.name, _HARMLESS)
        return _Said(note=Note(name=flag.name, said="left out", why=why))
    if words := _told(flag, options, arch):
        return _to_compiler(flag, words, arch, family)
    if why := rows["without"].get(flag.name):
        return _lost(flag, why, arch)
    raise ConfigError(
        f"{tree} does not have {flag.name} ({why_unknown(flag.name, options)})",
        "Correct the name, or leave it out: CMake would ignore it.",
    )


def _kept(flag: Flag, here: str, options: Options, arch: str, family: str) -> _Said:
    """An option that the tree has. It may mean less there than in the newest one."""
    extra = _told(flag, options, arch) if family != "msvc" else ()
    renamed = replace(flag, name=here)
    if extra:
        why = f"{here} means less here; the compiler is told {' '.join(extra)} itself"
        note = Note(name=flag.name, said="changed", why=why)
        return _Said(flag=renamed, words=extra, note=note)
    if here == flag.name:
        return _Said(flag=flag)
    why = _PREFIX if here == before(flag.name) else f"here {here}"
    return _Said(flag=renamed, note=Note(name=flag.name, said="renamed", why=why))


def _to_compiler(flag: Flag, words: tuple[str, ...], arch: str, family: str) -> _Said:
    """A choice that this tree has no option for is the compiler's own option."""
    if family == "msvc":
        return _lost(flag, "neither it nor MSVC has an option for it", arch)
    why = f"it has no such option; the compiler is told {' '.join(words)} itself"
    return _Said(words=words, note=Note(name=flag.name, said="changed", why=why))


def _fewer(flags: tuple[Flag, ...], options: Options, arch: str) -> Iterable[Note]:
    """CPU variants of the newest tree that this one does not make."""
    fat = any(flag.name == "GGML_CPU_ALL_VARIANTS" and flag.value is True for flag in flags)
    rows = cpu_sets.rows("variant", arch) if fat and options.variants else ()
    if absent := [row.name for row in rows if row.name not in options.variants]:
        why = f"it makes fewer variants, not {', '.join(absent)}"
        yield Note(name="GGML_CPU_ALL_VARIANTS", said="changed", why=why)


def _lost(flag: Flag, why: str, arch: str) -> _Said:
    features = (row.name for row in cpu_features.extensions(arch) if row.option == flag.name)
    return _Said(note=Note(name=flag.name, said="left out", why=why), lost=tuple(features))


def _told(flag: Flag, options: Options, arch: str) -> tuple[str, ...]:
    """The compiler options that an option stands for and that the tree itself never gives."""
    rows = table()
    if flag.name in rows["compiler"] and not called(flag.name, options) and flag.value:
        return (rows["compiler"][flag.name].format(flag.value),)
    one_by_one = arch in rows["told"]["architectures"] and options.machine
    useless = flag.name in rows["without"] and not called(flag.name, options)
    if flag.value is not True or not one_by_one or useless:
        return ()
    return tuple(
        word
        for row in cpu_features.extensions(arch)
        if row.option == flag.name
        for word in row.compiler
        if word not in options.machine
    )


def _only_old(flags: tuple[Flag, ...], options: Options, arch: str) -> Iterable[Flag]:
    """Options that the newest tree does not have: here their defaults would decide."""
    values = {flag.name: flag.value for flag in flags}
    for row in table()["only_old"]:
        beside = [values.get(name) for name in row.get("with", ())]
        if row.get("arch", arch) == arch and (not beside or True in beside):
            value = values.get(row["like"], False) if "like" in row else row["value"]
            for name in filter(options.knows, row["names"]):
                yield Flag(name=name, value=value, why=row["why"])


def _once(flags: Iterable[Flag]) -> dict[str, Flag]:
    """The flags by name. Raises ConfigError when two names of one option were given two values."""
    kept: dict[str, Flag] = {}
    for flag in flags:
        known = kept.setdefault(flag.name, flag)
        if known.value != flag.value:
            raise ConfigError(
                f"{flag.name} is wanted as {known.value!r} ({known.why}) "
                f"and as {flag.value!r} ({flag.why})",
                "Write the option in one way only, with the newest llama.cpp's name.",
            )
    return kept


def _tell(flags: Mapping[str, Flag], words: tuple[str, ...]) -> dict[str, Flag]:
    """The flags with ``words`` for both compilers, behind what the recipe tells them."""
    told = dict(flags)
    for name in _LANGUAGES if words else ():
        own = flags.get(name)
        value = " ".join(filter(None, (str(own.value) if own else "", *words)))
        why = "instruction sets that this llama.cpp has no option for"
        told[name] = Flag(name=name, value=value, why=f"{own.why}; {why}" if own else why)
    return told


def _folded(notes: Iterable[Note]) -> tuple[Note, ...]:
    """The notes, with those that say the same of several options in one."""
    groups: dict[tuple[str, str], list[str]] = {}
    for note in notes:
        groups.setdefault((note.said, note.why), []).append(note.name)
    return tuple(
        Note(name=", ".join(names), said=said, why=why) for (said, why), names in groups.items()
    )
