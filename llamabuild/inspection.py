"""What a llama.cpp that was not made here is made of, by its files, and what it calls itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from llamabuild import audit
from llamabuild.binaries import Found
from llamabuild.errors import IntegrityError
from llamabuild.host import Host, Limits, python
from llamabuild.model import Feature

_LIMITS = Limits(seconds=20)
_VERSION = re.compile(r"version: ([^\n]+)")
_TELL = """
import ctypes, os, sys
library = ctypes.CDLL(sys.argv[1])
for name in ("ggml_version", "ggml_commit"):
    tell = getattr(library, name, None)
    if tell:
        tell.restype = ctypes.c_char_p
        print(name, tell().decode())
load = getattr(library, "ggml_backend_load_all_from_path", None)
if load and sys.argv[2:]:
    load.argtypes = [ctypes.c_char_p]
    load(os.fsencode(sys.argv[2]))
    for line in open("/proc/self/maps"):
        if "ggml-cpu" in line:
            print("loaded", os.path.basename(line.split(maxsplit=5)[-1].strip()))
"""
"""ggml's own version and commit, which it knows since the end of 2025; and of several files with
code for the CPU the one that it chooses."""
_CPU_CODE = re.compile(r"libggml-cpu.*")
_VARIANT = re.compile(r"libggml-cpu-.*")
_OPENMP = re.compile(r"lib(?:gomp|omp|iomp5)\b.*")
_SPINS = (
    "built without OpenMP: its threads wait for each other by spinning, which makes it many times "
    "slower on a machine that others use too"
)
"""Seen with two cores and two threads, while others computed: 5 tokens/s instead of 170."""
_STRANGE = re.compile(r"/(?:home|Users|root|tmp)/.*|(?!/|\$ORIGIN|@).*")
"""Where others may put a library: somebody's own folders, and whatever is the current one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A library or program: the CPU features that its code uses, those of them that this CPU
    lacks, whether the code asks the processor what it can, and its code for devices."""

    path: str
    features: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    asks: bool = False
    device_code: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The parts, what they need that is ``missing`` here, what is doubtful about them, and
    whether they use OpenMP's threads instead of ggml's own."""

    parts: tuple[Part, ...]
    missing: tuple[str, ...]
    doubts: tuple[str, ...]
    openmp: bool


def look(found: Found, features: Iterable[Feature], host: Host) -> Made:
    """The facts; ``features`` are those of this machine's CPU. A file that is damaged is a
    doubt."""
    told, damaged = _audited(found, host)
    files = _once(told)
    openmp = any(_OPENMP.fullmatch(name) for one in files for name in one.elf.needed)
    spins = [_SPINS] if not openmp and any(one.isa.features for one in files) else []
    unread = (line for inventory in told for line in inventory.unread)
    unusable = {one.name for one in features if not one.usable}
    return Made(
        parts=tuple(_part(one, unusable) for one in files),
        missing=tuple(_missing(told, {file.name for file in found.files})),
        doubts=tuple(dict.fromkeys((*damaged, *spins, *_paths(told), *unread))),
        openmp=openmp,
    )


def _once(told: Iterable[audit.Inventory]) -> list[audit.Binary]:
    """Every file by its first name: wheels have copies in the place of links."""
    first: dict[str, audit.Binary] = {}
    for inventory in told:
        for one in inventory.binaries:
            first.setdefault(one.sha256, one)
    return list(first.values())


def _audited(found: Found, host: Host) -> tuple[list[audit.Inventory], list[str]]:
    """What is in each file, and why some could not be read. Machine code is looked at where ggml
    computes: in its libraries for CPUs, or where they are linked into another, in that."""
    code = [file for file in found.files if _CPU_CODE.fullmatch(file.name)]
    code = code or [file for file in found.files if file == found.library]
    with ThreadPoolExecutor(max_workers=host.cores()[2]) as pool:
        looks = [pool.submit(_look, file, host, file in code) for file in found.files]
    told: list[audit.Inventory] = []
    damaged: list[str] = []
    for look in looks:
        try:
            told.append(look.result())
        except IntegrityError as error:
            damaged.append(error.message)
    return told, damaged


def _look(file: Path, host: Host, code: bool) -> audit.Inventory:
    return audit.look(file, host, instructions=lambda _: code)


def _part(one: audit.Binary, unusable: set[str]) -> Part:
    """What is told of a file."""
    counts = (f"{code.kind} {code.architecture}" for code in one.device_code)
    return Part(
        path=one.path,
        features=tuple(sorted(one.isa.features)),
        lacking=tuple(sorted(one.isa.features & unusable)),
        asks=bool(one.isa.asks),
        device_code=tuple(counts),
    )


def _missing(told: Iterable[audit.Inventory], together: set[str]) -> Iterator[str]:
    """What the loader would not find; libraries that stand together are loaded together."""
    for inventory in told:
        programs = {one.path for one in inventory.binaries if one.elf.interpreter}
        for one in inventory.missing:
            if one.path in programs or one.needed not in together:
                yield f"{one.path} needs {one.needed}"


def _paths(told: Iterable[audit.Inventory]) -> Iterator[str]:
    """Folders in which the loader looks and others can put files, each with who names it."""
    named: dict[str, list[str]] = {}
    for own, one in ((each.root, one) for each in told for one in each.binaries):
        for folder in (*one.elf.rpath, *one.elf.runpath):
            if _STRANGE.fullmatch(folder) and Path(folder) != own:
                named.setdefault(folder, []).append(one.path)
    for folder, files in named.items():
        where = folder if folder.startswith("/") else "the current directory"
        who = f"{files[0]} needs" if len(files) == 1 else f"{files[0]} and others need"
        yield f"the loader looks in {where} too for what {who} (RUNPATH)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What it says of itself: llama.cpp's ``version`` and commit, empty where it does not know
    them, and which of several files with code for CPUs it ``loaded``."""

    version: str = ""
    loaded: tuple[str, ...] = ()


def ask(found: Found, host: Host) -> Told:
    """Run it, to be told. A crash tells nothing."""
    version, loaded = heard("")
    if found.library:
        several = any(_VARIANT.fullmatch(file.name) for file in found.files)
        folder = [str(found.library.parent)] if several else []
        asked = [python(), "-I", "-B", "-c", _TELL, str(found.library), *folder]
        version, loaded = heard(host.run(asked, limits=_LIMITS).out)
    if found.server:
        said = host.run([str(found.server), "--version"], limits=_LIMITS)
        own = _VERSION.search(f"{said.out}\n{said.err}")
        version = own[1].strip() if own else version
    return Told(version=version, loaded=loaded)


def heard(out: str) -> tuple[str, tuple[str, ...]]:
    r"""The version in words, and the files.

    >>> heard("ggml_version 0.25.1\nggml_commit unknown\nloaded a.so\nloaded a.so\n")
    ('ggml version 0.25.1', ('a.so',))
    """
    pairs = [line.partition(" ")[::2] for line in out.splitlines()]
    version = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in pairs
        if name.startswith("ggml_") and value != "unknown"
    ]
    return ", ".join(version), tuple(
        dict.fromkeys(value for name, value in pairs if name == "loaded")
    )
