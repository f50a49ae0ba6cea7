"""The Pythons that a user would install llama-cpp-python into, told by their files alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from llamabuild.checks.findings import Finding, Situation, absent, note, ok, problem, warning
from llamabuild.host import Host

_OLDEST: Final = (3, 8)
"""What llama-cpp-python asks for (its ``requires-python``)."""
_NEWEST: Final = (3, 14)
"""The newest for which its requirements are known to have wheels."""
_ENDED: Final = (3, 10)
"""The first minor version that still gets security fixes at the end of 2026 (devguide.python.org,
Status of Python versions): 3.9 ended in October 2025."""
_OLD_PIP: Final = 21
_NAMES: Final = ("python3", "python")
_STDLIB: Final = re.compile(r"python(3\.[0-9]{1,2})t?")
_PIP: Final = re.compile(r"pip-([0-9]{1,3})\.[0-9.]+\.dist-info")
_CXX: Final = re.compile(r"libstdc\+\+\.so\.6\.0\.([0-9]{1,3})")
_SYSTEM_CXX: Final = (
    *("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """A Python by its folder: ``said`` is who names it ("VIRTUAL_ENV", "PATH"), ``version`` is like
    "3.11", ``library`` its standard library and ``sites`` where its packages are."""

    said: str
    root: str
    program: str
    version: str
    library: str
    sites: tuple[str, ...]


def active(host: Host) -> tuple[Python, ...]:
    """The Pythons of this environment, the one that counts first, each folder once."""
    found: dict[str, Python] = {}
    for said, root in _roots(host):
        if root not in found and (one := _python(said, root, host)):
            found[root] = one
    return tuple(found.values())


def _roots(host: Host) -> Iterator[tuple[str, str]]:
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if root := host.environ.get(name):
            yield name, root.rstrip("/\\")
    for name in _NAMES:
        if program := host.which(name):
            folder = os.path.dirname(program)
            in_root = host.system()[0] == "windows" and not folder.endswith("Scripts")
            yield "PATH", folder if in_root else os.path.dirname(folder)


def _python(said: str, root: str, host: Host) -> Python | None:
    """The Python in a folder: POSIX has lib/python3.X, Windows Lib."""
    versions = [m[1] for name in host.entries(f"{root}/lib") if (m := _STDLIB.fullmatch(name))]
    version = max(versions, key=lambda text: int(text.partition(".")[2]), default="")
    config = _config(root, host)
    if told := config.get("version_info") or config.get("version"):
        version = ".".join(told.split(".")[:2])
    program = next((p for p in _programs(root) if host.exists(p)), "")
    if not (program and version):
        return None
    library = f"{_home(root, config)}/lib/python{version}"
    own = (f"{root}/lib/python{version}", f"{root}/local/lib/python{version}")
    sites = (
        *(f"{one}/{kind}-packages" for one in own for kind in ("site", "dist")),
        *(f"{root}/lib/python3/dist-packages", f"{root}/Lib/site-packages"),
    )
    return Python(
        said=said, root=root, program=program, version=version, library=library, sites=sites
    )


def _config(root: str, host: Host) -> dict[str, str]:
    """The ``pyvenv.cfg`` of a virtual environment."""
    lines = (host.read_text(f"{root}/pyvenv.cfg") or "").splitlines()
    pairs = (line.partition("=") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _home(root: str, config: dict[str, str]) -> str:
    """Where the standard library of a Python is: beside its ``home`` in a virtual environment."""
    return os.path.dirname(config["home"]) if "home" in config else root


def _programs(root: str) -> tuple[str, ...]:
    return (
        *(f"{root}/bin/python3", f"{root}/bin/python"),
        *(f"{root}/Scripts/python.exe", f"{root}/python.exe"),
    )


# --- the checks ----------------------------------------------------------------------------------


def python(situation: Situation) -> Iterator[Finding]:
    """The Python that runs this, and the one that a wheel would be installed into."""
    yield from _running(situation)
    found = active(situation.host)
    if not found:
        yield note("python", "no Python is active or on PATH; llama-server needs none")
        return
    one = found[0]
    yield from _of_version(one)
    yield from _of_packages(one, situation.host)
    yield ok("python", f"{one.version} ({one.program}, by {one.said})")


def _running(situation: Situation) -> Iterator[Finding]:
    if situation.host.interpreter().bits == 32:
        why = "this Python is a 32-bit program: what it loads has 4 GiB of memory at most"
        step = "Install a 64-bit Python and run llamabuild with it."
        yield problem("python", why, step, "mmap-failed", "wheel-not-supported", blocks=("build",))
    for one in situation.hardware.absent:
        if one.what == "python":
            yield problem("python", one.why, one.hint, "mac-arch-mismatch", "clang-march-native")


def _of_version(one: Python) -> Iterator[Finding]:
    version = tuple(int(part) for part in one.version.split("."))
    if version < _OLDEST:
        why = f"{one.program} is {one.version}; llama-cpp-python needs 3.8"
        yield warning(
            "python", why, "Make an environment with a newer Python.", "wheel-not-supported"
        )
    elif version < _ENDED:
        yield note(
            "python", f"{one.program} is {one.version}, which gets no security fixes any more"
        )
    elif version > _NEWEST:
        why = (
            f"{one.program} is {one.version}: not all that llama-cpp-python needs has wheels for it"
        )
        yield note("python", why, "", "wheel-not-supported", "offline-build-deps")


def _of_packages(one: Python, host: Host) -> Iterator[Finding]:
    """Its pip, its venv, and whether its distribution keeps it for itself."""
    names = (name for site in one.sites for name in host.entries(site))
    pips = [int(found[1]) for name in names if (found := _PIP.fullmatch(name))]
    if pips and max(pips) < _OLD_PIP:
        why = f"pip {max(pips)} in {one.root} does not know today's wheels"
        step = f"Run: {one.program} -m pip install --upgrade pip"
        yield warning("python", why, step, "wheel-not-supported")
    library = host.entries(one.library)
    if library and "venv" not in library:
        step = f"Debian, Ubuntu: apt install python{one.version}-venv"
        yield warning("python", f"{one.library} has no module venv", step)
    elif library and "ensurepip" not in library:
        step = f"Debian, Ubuntu: apt install python{one.version}-venv"
        why = f"{one.library} has no module ensurepip: `python -m venv` stops there"
        yield note("python", why, step)
    if host.exists(f"{one.library}/EXTERNALLY-MANAGED") and one.said == "PATH":
        why = f"{one.program} is its distribution's own, and pip refuses to install into it"
        step = "Make an environment: python3 -m venv .venv && . .venv/bin/activate"
        yield note("python", why, step, "install-permission")


def conda(situation: Situation) -> Iterator[Finding]:
    """Conda's own linker, libraries and settings, which stand before the system's."""
    host = situation.host
    root = host.environ.get("CONDA_PREFIX", "").rstrip("/\\")
    on_path = next((one.root for one in active(host) if one.said == "PATH"), "")
    root = root or (on_path if host.exists(f"{on_path}/conda-meta") else "")
    if not root:
        yield absent("conda", "no environment of conda is active")
        return
    if host.exists(f"{root}/compiler_compat/ld") and not host.environ.get("CONDA_BUILD_SYSROOT"):
        yield warning(
            "conda",
            f"Python's own builds link with {root}/compiler_compat/ld, which does not find the "
            "system's libraries (libgomp, CUDA's); llamabuild does not use it",
            f"For builds by hand: mv {root}/compiler_compat/ld {root}/compiler_compat/ld.off",
            *("conda-ld-libgomp", "conda-ld-cudart"),
        )
    conda_cxx, its = _newest_cxx(root + "/lib", host), 0
    for folder in _SYSTEM_CXX:
        its = max(its, _newest_cxx(folder, host))
    if conda_cxx and its > conda_cxx:
        yield warning(
            "conda",
            f"{root}/lib has libstdc++ 6.0.{conda_cxx}, the system 6.0.{its}: what the system's "
            "compiler makes may not load in this Python",
            "Run: conda install -c conda-forge libstdcxx-ng",
            "glibcxx-too-old",
        )
    yield ok("conda", root)


def _newest_cxx(folder: str, host: Host) -> int:
    """The last number of the newest libstdc++ in a folder, 0 where there is none."""
    found = (_CXX.fullmatch(name) for name in host.entries(folder))
    return max((int(one[1]) for one in found if one), default=0)
