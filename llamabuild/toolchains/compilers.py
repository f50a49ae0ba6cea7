"""C and C++ compilers of this machine: found, identified, digested and tried.

Asking a compiler takes processes; the answers are kept in ``<cache>/facts`` and are good as long
as every file that the compiler is made of keeps its size and time.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from llamabuild import digest
from llamabuild.facts import keep
from llamabuild.host import Host, Limits
from llamabuild.model import Compiler
from llamabuild.toolchains import canary, zig

FACTS_VERSION = 2
_LIMITS = Limits(seconds=60)
OLDEST = {"gcc": 9, "clang": 10, "msvc": 19}
"""The first major versions that compile llama.cpp: C++17 with ``std::filesystem``."""
NEWER = (
    "Install a newer one: Debian, Ubuntu: apt install g++-12; RHEL 8: dnf install gcc-toolset-13, "
    "then run with CXX=/opt/rh/gcc-toolset-13/root/bin/g++"
)
_NAMES = (("gcc", "g++"), ("clang", "clang++"), ("cc", "c++"))
_VERSIONED = tuple(range(24, 8, -1))
_PROGRAMS = ("cc1", "cc1plus", "collect2", "as", "ld")
_LIBRARIES = ("libc.so.6", "libc.so", "libstdc++.so", "libgomp.so", "crt1.o", "libgcc.a")


class _Facts(msgspec.Struct, frozen=True):
    """What was learned about a compiler, and the stamps of the files it was learned from."""

    version: int
    stamps: dict[str, str]
    compiler: Compiler


def explicit(environ: Mapping[str, str]) -> bool:
    """True when the user chose the compiler with ``CC`` or ``CXX``; it is then never replaced."""
    return bool(environ.get("CC") or environ.get("CXX"))


def too_old(compiler: Compiler) -> str | None:
    """None when a compiler is new enough for llama.cpp, else what is wrong with it."""
    oldest = OLDEST.get(compiler.family, 0)
    if int(compiler.version.partition(".")[0]) >= oldest:
        return None
    return f"{compiler.cxx} is {compiler.family} {compiler.version}; llama.cpp needs {oldest}"


def chosen(environ: Mapping[str, str]) -> tuple[str, str]:
    """The compilers that ``CC`` and ``CXX`` name; one of them is enough.

    >>> chosen({"CXX": "g++-12"})
    ('gcc-12', 'g++-12')
    """
    cc = environ.get("CC") or _partner(environ["CXX"], "++", "")
    return cc, environ.get("CXX") or _partner(cc, "", "++")


def candidates(host: Host) -> Iterator[tuple[str, str]]:
    """Pairs of (C, C++) compiler paths, the preferred first, each real program once."""
    if explicit(host.environ):
        pairs = [chosen(host.environ)]
    else:
        pairs = list(_NAMES)
        pairs += [(f"gcc-{n}", f"g++-{n}") for n in _VERSIONED]
        pairs += [(f"clang-{n}", f"clang++-{n}") for n in _VERSIONED]
    seen = set()
    for names in pairs:
        cc, cxx = host.which(names[0]), host.which(names[1])
        if cc and cxx and (real := os.path.realpath(cxx)) not in seen:
            seen.add(real)
            yield cc, cxx


def nominal(arch: str, options: Iterable[str]) -> Compiler:
    """A compiler that takes all ``options``, for deciding what a machine without one would want.
    Nothing is compiled with it."""
    return Compiler(
        family="gcc",
        version="99",
        target=f"{arch}-linux-gnu",
        cc="",
        cxx="",
        digest="nominal",
        accepts=frozenset(options),
        openmp=True,
    )


def _partner(name: str, ending: str, wanted: str) -> str:
    """The C compiler's name from the C++ compiler's, or the other way round.

    >>> _partner("g++-12", "++", ""), _partner("clang", "", "++"), _partner("gcc-12", "", "++")
    ('gcc-12', 'clang++', 'g++-12')
    """
    folder, base = os.path.split(name)
    stem, dash, version = base.partition("-")
    stem = stem.removesuffix(ending) if ending else stem
    stem = {("gcc", "++"): "g", ("g", ""): "gcc", ("c", ""): "cc", ("cc", "++"): "c"}.get(
        (stem, wanted), stem
    )
    return os.path.join(folder, stem + wanted + dash + version)


def describe(cc: str, cxx: str, options: tuple[str, ...], *, host: Host, cache: Path) -> Compiler:
    """Everything known about a compiler pair; ``options`` are the ISA options it is asked for.

    Raises ValueError with the reason when it is no working GCC or Clang.
    """
    asked = {
        "version": FACTS_VERSION,
        "compiler": [host.stamp(cc), host.stamp(cxx)],
        "options": list(options),
        "canaries": canary.digest_of_all(),
    }
    kept = cache / "facts" / f"compiler-{digest.of_value(asked)[:24]}.json"
    if known := _recall(kept, host):
        return replace(known, cc=cc, cxx=cxx)  # the same program may have had another name
    facts = _learn(cc, cxx, options, host)
    keep(kept, msgspec.json.encode(facts))
    return facts.compiler


def _recall(path: Path, host: Host) -> Compiler | None:
    try:
        facts = msgspec.json.decode(path.read_bytes(), type=_Facts)
    except (OSError, msgspec.DecodeError):
        return None
    fresh = all(host.stamp(name) == stamp for name, stamp in facts.stamps.items())
    return facts.compiler if fresh and facts.version == FACTS_VERSION else None


def _learn(cc: str, cxx: str, options: tuple[str, ...], host: Host) -> _Facts:
    family, version, target = _identify(cxx, host)
    parts = _parts(cc, cxx, host)
    contents = {os.path.basename(path): host.digest(path) for path in sorted(parts)}
    with tempfile.TemporaryDirectory(prefix="llamabuild-cc-") as folder:
        verdicts = canary.judge(cc, cxx, host=host, scratch=Path(folder))
        openmp = _openmp(cxx, host, Path(folder))
    compiler = Compiler(
        family=family,
        version=version,
        target=target,
        cc=cc,
        cxx=cxx,
        digest=digest.of_value(contents),
        accepts=_accepted(cxx, options, host),
        openmp=openmp,
        verdicts=verdicts,
    )
    stamps = {path: host.stamp(path) or "" for path in parts}
    return _Facts(version=FACTS_VERSION, stamps=stamps, compiler=compiler)


def _identify(cxx: str, host: Host) -> tuple[str, str, str]:
    """Family, version and target triple, from the compiler's own macros."""
    macros = host.run([cxx, "-dM", "-E", "-x", "c++", os.devnull], limits=_LIMITS)
    if macros.code != 0:
        said = (macros.err or macros.out).strip().splitlines()
        why = next((line for line in said if "error" in line), said[-1] if said else "")
        raise ValueError(f"{cxx} does not work: {why or f'exit {macros.code}'}")
    family, version = identity(macros.out)
    target = host.run([cxx, "-dumpmachine"], limits=_LIMITS).out.strip()
    return family, version, target


def identity(macros: str) -> tuple[str, str]:
    """Compiler family and version from predefined macros.

    >>> identity('#define __GNUC__ 12\\n#define __GNUC_MINOR__ 2\\n#define __GNUC_PATCHLEVEL__ 0')
    ('gcc', '12.2.0')

    Raises ValueError when it is neither GCC nor Clang.
    """
    words = (line.split(maxsplit=2) for line in macros.splitlines())
    known = {word[1]: word[2] if len(word) > 2 else "" for word in words if len(word) > 1}
    for family, prefix, last in (("clang", "__clang_", "patchlevel__"), ("gcc", "__GNUC_", "")):
        names = (
            (f"{prefix}major__", f"{prefix}minor__", f"{prefix}{last}")
            if family == "clang"
            else ("__GNUC__", "__GNUC_MINOR__", "__GNUC_PATCHLEVEL__")
        )
        if names[0] in known:
            apple = "apple" if "__apple_build_version__" in known else ""
            return apple + family, ".".join(known.get(name, "0") for name in names)
    raise ValueError("it is neither GCC nor Clang")


def _parts(cc: str, cxx: str, host: Host) -> tuple[str, ...]:
    """The files that decide what the compiler produces: drivers, passes, libc and libstdc++. A
    kit's is complete, and its programs name all that is in it."""
    if zig.of_kit(cxx):
        return tuple(sorted((cc, cxx)))
    parts = {os.path.realpath(cc), os.path.realpath(cxx)}
    for option, names in (("-print-prog-name", _PROGRAMS), ("-print-file-name", _LIBRARIES)):
        for name in names:
            answer = host.run([cxx, f"{option}={name}"], limits=_LIMITS).out.strip()
            path = answer if os.path.isabs(answer) else host.which(answer) if answer else None
            if path and host.exists(path):
                parts.add(os.path.realpath(path))
    return tuple(sorted(parts))


def _openmp(cxx: str, host: Host, scratch: Path) -> bool:
    program = scratch / "openmp.cpp"
    program.write_text("#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n")
    argv = [cxx, "-fopenmp", str(program), "-o", str(scratch / "openmp")]
    return host.run(argv, limits=_LIMITS).code == 0


def _accepted(cxx: str, options: tuple[str, ...], host: Host) -> frozenset[str]:
    """The options among ``options`` that the compiler knows: all in one go, else one by one (at
    once where several set the same thing, since only the last of those is looked at)."""

    def knows(*wanted: str) -> bool:
        argv = [cxx, *wanted, "-x", "c++", "-E", os.devnull]
        return host.run(argv, limits=_LIMITS).code == 0

    names = [option.partition("=")[0] for option in options]
    if len(set(names)) == len(names) and knows(*options):
        return frozenset(options)
    return frozenset(option for option in options if knows(option))
