"""What a path is that somebody wants proved: a folder of libraries, a server, a wheel, a Python.

Nothing is written into it. Only a virtual environment's Python is started here, to ask for its
``llama_cpp``; everything else is told by names and by what a file exports.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llamabuild import wheels
from llamabuild.audit import elf
from llamabuild.errors import ConfigError, IntegrityError
from llamabuild.fetch import wheel as opened
from llamabuild.host import Host, Limits

_EXPORT = "llama_decode"
"""A function that every libllama has had since September 2023."""
_BELOW = (
    *(".", "lib", "lib64", "bin", "build/bin", "build/lib", "build/src"),
    *("bin/Release", "build/bin/Release", "llama_cpp/lib"),
)
"""Where builds, packages and installations keep their files, below the folder that is named."""
_LIBRARY = re.compile(r".+\.(?:so(?:\.[\w.]+)?|dylib|dll|pyd|node)")
_LIBLLAMA = re.compile(r"(?:lib)?llama\b.*")
_PYTHON = re.compile(r"python(?:3(?:\.\d+)?)?(?:\.exe)?")
_SERVER = re.compile(r"llama-server(?:\.exe)?")
_PROGRAM = re.compile(r"llama-[\w-]+(?:\.exe)?")
_RELATED = re.compile(r"(?:lib)?(?:llama|ggml|mtmd)[\w.-]*")
_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")
_OF_SYSTEM = {".dylib": "macos", ".dll": "windows"}
"""Libraries that are known by their names alone, where the system is theirs."""
_FIND = "import importlib.util as i; s = i.find_spec('llama_cpp'); print(s.origin if s else '')"
_LIMITS = Limits(seconds=30)
_HINT = (
    "Give a folder with libllama or llama-server (a build's, or one with bin/ and lib/), one of "
    "these files, a wheel, or a Python environment with llama_cpp."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is at a path. ``kind`` is "folder", "server", "library", "wheel" or "environment";
    ``files`` are the libraries and programs that belong to it; ``package`` is the folder of
    ``llama_cpp`` in the ``python``'s environment; ``label`` says what a package calls itself."""

    kind: str
    path: Path
    python: Path | None = None
    library: Path | None = None
    server: Path | None = None
    package: Path | None = None
    files: tuple[Path, ...] = ()
    label: str = ""


def find(path: Path, *, host: Host, work: Path, house: Path) -> Found:
    """What is at ``path``. A wheel is installed or unpacked below ``work``; ``house`` keeps what it
    requires. Raises ConfigError when nothing there can be proved, IntegrityError for a damaged
    file, FetchError and ToolMissing for a wheel that cannot be installed."""
    path = path.absolute()
    if path.is_dir():
        return _folder(path, host)
    if not path.is_file():
        raise ConfigError(f"there is no file or folder {path}", _HINT)
    if path.suffix == ".whl":
        return _wheel(path, host, work, house)
    if _PYTHON.fullmatch(path.name):
        return _environment(path, path, host)
    if _SERVER.fullmatch(path.name):
        return Found(kind="server", path=path, server=path, files=_related(path))
    if _exports(path, host):
        return Found(kind="library", path=path, library=path, files=_related(path))
    if _PROGRAM.fullmatch(path.name):
        raise ConfigError(
            f"{path.name} gives no numbers to compare: of the programs llama-server can be asked",
            f"Prove the llama-server or the libllama of the same build: `prove {path.parent}`",
        )
    raise ConfigError(f"{path.name}: {_why_not(path, host)}", _HINT)


def _why_not(path: Path, host: Host) -> str:
    system = _OF_SYSTEM.get(path.suffix)
    if system and system != host.system()[0]:
        return f"a library for {system}, this machine runs {host.system()[0]}"
    if not elf.is_elf(path) and not system:
        return "neither a library nor a program of this system, nor a wheel"
    return f"it does not export {_EXPORT}"


# --- folders -------------------------------------------------------------------------------------


def _folder(folder: Path, host: Host) -> Found:
    if folder.name == "llama_cpp" and (folder / "__init__.py").is_file():
        return _package(folder, host)
    for name in ("bin/python", "bin/python3", "Scripts/python.exe"):
        marked = (folder / "pyvenv.cfg").is_file() or any(folder.glob("lib/python3*/site-packages"))
        if marked and (folder / name).exists():
            return _environment(folder, folder / name, host)
    inside = [file for below in _BELOW for file in _files(folder / below)]
    server = next((one for one in inside if _SERVER.fullmatch(one.name)), None)
    library = library_in(folder, host)
    if not (library or server):
        raise ConfigError(f"there is no libllama and no llama-server in {folder}", _seen(inside))
    files = _related(library, server)
    return Found(kind="folder", path=folder, library=library, server=server, files=files)


def _seen(inside: Sequence[Path]) -> str:
    """What was looked for and what is there instead."""
    near = sorted({one.name for one in inside if _RELATED.fullmatch(one.name)})
    there = f"; there is {', '.join(near[:6])}" if near else ""
    return f"Looked in it and in {', '.join(_BELOW[1:])}{there}. {_HINT}"


def _package(folder: Path, host: Host) -> Found:
    """An installed ``llama_cpp``: its environment's Python where the folder is in one."""
    for root in folder.parents[1:5]:
        for name in ("bin/python", "bin/python3", "Scripts/python.exe"):
            inside = any(part in ("site-packages", "dist-packages") for part in folder.parts)
            if inside and (root / name).exists():
                found = _environment(folder, root / name, host)
                if found.package and found.package.samefile(folder):
                    return found
    library = _first(_files(folder / "lib"), host)
    if library is None:
        raise ConfigError(f"there is no libllama in {folder / 'lib'}", _HINT)
    return Found(kind="folder", path=folder, library=library, files=_related(library))


def _environment(path: Path, python: Path, host: Host) -> Found:
    """A Python that has ``llama_cpp``, which is not imported to find out."""
    asked = host.run([str(python), "-I", "-B", "-c", _FIND], limits=_LIMITS)
    lines = asked.out.strip().splitlines()
    if asked.code or not lines:
        why = (asked.err.strip().splitlines() or ["llama_cpp is not installed there"])[-1]
        raise ConfigError(
            f"{python} cannot be asked for llama_cpp: {why}",
            f"Install it there: {python} -m pip install llama-cpp-python",
        )
    package = Path(lines[-1]).parent
    library = _first(_files(package / "lib"), host) or _first(_files(package), host)
    return Found(
        kind="environment",
        path=path,
        python=python,
        library=library,
        package=package,
        files=_related(library),
        label=_label(package.parent),
    )


def _label(site: Path) -> str:
    """The name and version of an installed llama-cpp-python, by its metadata's folder."""
    names = (one.name for one in site.glob("llama_cpp_python-*.dist-info"))
    return next((name.removesuffix(".dist-info").replace("-", " ", 1) for name in names), "")


# --- wheels --------------------------------------------------------------------------------------


def _wheel(wheel: Path, host: Host, work: Path, house: Path) -> Found:
    label = " ".join(wheel.name.split("-")[:2])
    inside = opened.names(wheel)
    if "llama_cpp/__init__.py" in inside and any(map(_METADATA.fullmatch, inside)):
        needed = wheels.requirements_of(wheel)
        python = wheels.environment(work / "subject", needed, house=house, host=host)
        wheels.install(wheel, python, host)
        return replace(_environment(wheel, python, host), kind="wheel", label=label)
    opened.unpack(wheel, work / "wheel")
    files = [file for file in _tree(work / "wheel") if _LIBRARY.fullmatch(file.name)]
    library = _first(files, host)
    if library is None:
        names = ", ".join(file.name for file in files[:6]) or "no library at all"
        raise ConfigError(f"no library in {wheel.name} exports {_EXPORT}: {names}", _HINT)
    return Found(kind="wheel", path=wheel, library=library, files=tuple(files), label=label)


# --- files ---------------------------------------------------------------------------------------


def _tree(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root, name) for name in sorted(names))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []


def library_in(folder: Path, host: Host) -> Path | None:
    """The libllama in a folder or where builds keep it below; None when there is none."""
    return _first((file for below in _BELOW for file in _files(folder / below)), host)


def _first(files: Iterable[Path], host: Host) -> Path | None:
    """The first libllama by name, else the first library that has its functions. A file that is
    cut off and is no libllama by its name does not matter."""
    libraries = [file for file in files if _LIBRARY.fullmatch(file.name)]
    named = [file for file in libraries if _LIBLLAMA.fullmatch(file.name)]
    rest = (file for file in libraries if file not in named)
    return next((file for file in (*named, *rest) if _exports(file, host, file in named)), None)


def _exports(file: Path, host: Host, strict: bool = True) -> bool:
    """True when it is a library with libllama's functions. Raises IntegrityError for a damaged
    file, unless it is not ``strict``."""
    if not elf.is_elf(file):
        named = _LIBLLAMA.fullmatch(file.name) is not None
        return named and _OF_SYSTEM.get(file.suffix) == host.system()[0]
    try:
        return _EXPORT in elf.read(file, (_EXPORT,)).exports
    except IntegrityError:
        if strict:
            raise
        return False


def _related(*named: Path | None) -> tuple[Path, ...]:
    """These files and the libraries of llama.cpp beside them (never all of /usr/lib), once each."""
    mains = [file for file in named if file]
    beside = (
        file
        for main in mains
        for file in _files(main.parent)
        if _RELATED.fullmatch(file.name) and _LIBRARY.fullmatch(file.name)
    )
    once: dict[Path, Path] = {}
    for file in (*mains, *beside):
        once.setdefault(file.resolve(), file)
    return tuple(once.values())
