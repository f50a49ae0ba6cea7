"""Canaries: what a compiler gets wrong, found by compiling and running small programs.

The programs and what follows from them are a table, ``canaries/table.toml``. A verdict needs no
CPU with the extension in question, only one that runs the compiler's programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from llamabuild import data, digest
from llamabuild.host import Finished, Host, Limits
from llamabuild.model import Compiler, Remedy, SourceOption, Verdict

_FOLDER = data.package("toolchains/canaries")
_TABLE = _FOLDER / "table.toml"
_COMPILE = Limits(seconds=60)
_RUN = Limits(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """One row of the table; its comment says what the fields mean."""

    name: str
    program: str
    features: frozenset[str]
    options: tuple[tuple[str, ...], ...]
    remedies: tuple[tuple[str, ...], ...]
    source: str
    trouble: str


@cache
def canaries() -> dict[str, Canary]:
    """All canaries by name. Raises ConfigError for a broken table."""
    rows = data.load(_TABLE)["canary"]
    return {row["name"]: _canary(row) for row in rows}


def _canary(row: dict[str, Any]) -> Canary:
    lists = {name: tuple(map(tuple, row[name])) for name in ("options", "remedies")}
    return Canary(**{**row, **lists, "features": frozenset(row["features"])})


def digest_of_all() -> str:
    """SHA-256 over the table and the programs: verdicts from others are out of date."""
    files = (_TABLE, *(_FOLDER / canary.program for canary in canaries().values()))
    return digest.of_value({file.name: digest.of_file(file) for file in files})


def judge(cc: str, cxx: str, *, host: Host, scratch: Path) -> tuple[Verdict, ...]:
    """What each canary says about a compiler pair; ``scratch`` takes the programs.

    A canary that the compiler cannot compile, or whose result this machine cannot run, says
    nothing and is left out.
    """
    verdicts = (
        _judge(canary, cxx if canary.program.endswith(".cpp") else cc, host, scratch)
        for canary in canaries().values()
    )
    return tuple(verdict for verdict in verdicts if verdict)


def _judge(canary: Canary, compiler: str, host: Host, scratch: Path) -> Verdict | None:
    for options in canary.options:
        ended = _try(canary, (compiler, *options), host, scratch)
        if ended and ended.code == 0:
            return Verdict(canary=canary.name, ok=True)
        if ended and _wrong(ended):
            why = ended.out.strip() or f"the canary was ended by {ended.signal}"
            mended_by = _mend(canary, (compiler, *options), host, scratch)
            return Verdict(canary=canary.name, ok=False, mended_by=mended_by, why=why)
    return None


def _mend(canary: Canary, command: tuple[str, ...], host: Host, scratch: Path) -> tuple[str, ...]:
    """The first remedy that makes the canary pass, or nothing."""
    for remedy in canary.remedies:
        ended = _try(canary, (*command, *remedy), host, scratch)
        if ended and ended.code == 0:
            return remedy
    return ()


def _try(canary: Canary, command: tuple[str, ...], host: Host, scratch: Path) -> Finished | None:
    """How the compiled program ended, or None when it did not compile. It is linked without the
    options, which are none of the linker's: zig would compile its libraries anew for them."""
    binary = scratch / canary.name
    object_file = str(binary.with_suffix(".o"))
    for argv in (
        [*command, "-c", str(_FOLDER / canary.program), "-o", object_file],
        [command[0], object_file, "-o", str(binary)],
    ):
        if host.run(argv, limits=_COMPILE).code != 0:
            return None
    return host.run([str(binary)], limits=_RUN)


def _wrong(ended: Finished) -> bool:
    """True for the canary's own "wrong" and for a crash; a program that cannot be started or
    that ends in another way tells nothing about the compiler."""
    return not ended.timed_out and (ended.code == 1 or ended.signal != "")


def concerning(compiler: Compiler, features: frozenset[str], *, fat: bool) -> tuple[Verdict, ...]:
    """The bad verdicts on a compiler that matter to code that uses ``features``; a fat build
    has variants for every feature, so all of them matter to it."""
    return tuple(
        verdict
        for verdict in compiler.verdicts
        if not verdict.ok and (fat or features & canaries()[verdict.canary].features)
    )


def source_options(verdict: Verdict) -> tuple[SourceOption, ...]:
    """The options that mend what a verdict found, for the file that suffers from it."""
    canary = canaries()[verdict.canary]
    return (SourceOption(source=canary.source, options=verdict.mended_by, why=canary.trouble),)


def remedy(verdict: Verdict) -> Remedy:
    """The record of :func:`source_options`."""
    canary = canaries()[verdict.canary]
    options = " ".join(verdict.mended_by)
    return Remedy(
        name=canary.name,
        why=f"{canary.source} is compiled with {options}: otherwise {canary.trouble}",
        evidence=verdict.why,
    )


def features(name: str) -> frozenset[str]:
    """The CPU features that must not be used while the canary ``name`` fails unmended."""
    return canaries()[name].features


def broken(compiler: Compiler) -> frozenset[str]:
    """The CPU features that the compiler gets wrong and that no option mends."""
    return frozenset().union(
        *(features(v.canary) for v in compiler.verdicts if not v.ok and not v.mended_by)
    )
