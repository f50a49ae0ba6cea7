"""What a HIP build needs beside a GPU: ROCm's clang, HIP, hipBLAS, rocBLAS and its kernels.

All but the compiler's and hipconfig's answers are read from files. Never raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from llamabuild import digest, packages
from llamabuild.backends.hip_facts import (
    TABLE,
    history,
    numbers,
    override_of,
    served,
    siblings,
)
from llamabuild.host import Host, Limits
from llamabuild.model import Tool

_LIMITS: Final = Limits(seconds=5)
_PLACES: Final[dict[str, Any]] = TABLE["places"]
_PACKAGES: Final[dict[str, dict[str, str]]] = TABLE["packages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rocm:
    """A ROCm: ``missing`` is what it lacks for a build, in words, and ``hint`` how to get that.
    ``kernels`` are the architectures that its rocBLAS serves, None when that cannot be seen."""

    root: str
    version: str
    tools: tuple[Tool, ...] = ()
    missing: str = ""
    hint: str = ""
    kernels: frozenset[str] | None = None


def rocm(host: Host) -> Rocm | None:
    """The ROCm that a build would use, or None where there is none to build with."""
    for root in _roots(host):
        hip = _package(host, root, "hip")
        if hip and hip.version:
            return _judged(host, root, hip)
    return None


def sdk_hint(host: Host) -> str:
    """How to get all of ROCm that a build needs."""
    if host.system()[0] == "windows":
        return str(TABLE["hint"]["windows_sdk"])
    return packages.install(host, _PACKAGES["sdk"])


def without_kernels(gfx: str, found: Rocm) -> str:
    """Why rocBLAS cannot serve an architecture here, or an empty string. It would end the program
    at the first matrix product that ggml leaves to it."""
    if found.kernels is None:
        if served(gfx, found.version):
            return ""
        return f"rocBLAS of ROCm {found.version} is not known to have kernels for {gfx}"
    if gfx in found.kernels:
        return ""
    there = ", ".join(sorted(found.kernels, key=lambda one: (len(one), one)))
    return f"rocBLAS here has kernels for {there}, not for {gfx} ({history(gfx)})"


def detour(gfx: str, found: Rocm) -> str:
    """What may be done about missing kernels: another identity for the GPU is the user's choice."""
    known = found.kernels
    alike = (o for o in siblings(gfx) if (o in known if known else served(o, found.version)))
    vulkan = str(TABLE["hint"]["vulkan"])
    if other := next(alike, None):
        value = override_of(other)
        way = f"it may run as {other} with `export HSA_OVERRIDE_GFX_VERSION={value}`"
        return f"{vulkan} Or, at your own risk, {way}, also when the result runs (Linux only)."
    return vulkan


def clang_version(text: str) -> str:
    """The version of a clang from ``clang++ --version``.

    >>> clang_version("AMD clang version 17.0.0 (https://github.com/… roc-6.1.1 24154 f53cd7e)")
    '17.0.0'
    >>> clang_version("Ubuntu clang version 21.1.2 (2ubuntu6)"), clang_version("gcc 12.2.0")
    ('21.1.2', '')
    """
    found = re.search(r"(?m)^[A-Za-z ]*clang version ([0-9]{1,4}(?:\.[0-9]{1,6})+)", text)
    return found[1] if found else ""


def _judged(host: Host, root: str, hip: Tool) -> Rocm:
    """A root with what it holds; too old a HIP is the first thing to say."""
    release = (host.read_text(f"{root}/.info/version") or "").strip().partition("-")[0]
    version = release if re.fullmatch(r"[0-9]+(\.[0-9]+)+", release) else hip.version
    if numbers(hip.version) < numbers(TABLE["minimum"]):
        why = f"HIP {TABLE['minimum']} or newer (here is {hip.version})"
        return Rocm(root=root, version=version, missing=why, hint=sdk_hint(host))
    names = (
        ("hipblas", "rocblas")
        if host.system()[0] == "windows"
        else ("hipblas", "rocblas", "hip-lang")
    )
    pieces = {name: _package(host, root, name) for name in names}
    pieces["compiler"] = _compiler(host, root)
    lacking = [name for name, tool in pieces.items() if tool is None]
    home = f"{root}/bin/hipconfig"
    path = home if host.exists(home) else f"{root}/bin"
    own = Tool(name="rocm", version=version, path=path, digest=digest.of_value(version))
    if clang := pieces["compiler"]:
        pieces["device"] = _device_libraries(host, root, clang.path)
    kept = (tool for name, tool in pieces.items() if tool and name != "hip-lang")
    words = {"compiler": "its clang", "hip-lang": "HIP's CMake language package"}
    missing = ", ".join(words.get(name, f"{name}'s development files") for name in lacking)
    return Rocm(
        root=root,
        version=version,
        tools=() if missing else (own, hip, *kept),
        missing=missing,
        hint=_piece_hint(host, root, version, lacking) if missing else "",
        kernels=_kernels(host, root),
    )


def _piece_hint(host: Host, root: str, version: str, lacking: list[str]) -> str:
    if host.system()[0] == "windows":
        return str(TABLE["hint"]["windows_sdk"])
    if root == _PLACES["distribution"]:
        flavour = "distribution"
    else:
        flavour = "core" if numbers(version) >= (7, 13) else "amd"
    rows = (_PACKAGES["core" if flavour == "core" else f"{flavour}-{name}"] for name in lacking)
    return packages.install(host, *rows)


def _roots(host: Host) -> Iterator[str]:
    """Folders where a ROCm may be, in the order in which they are believed."""
    for name in _PLACES["variables"]:
        if value := host.environ.get(name, "").replace("\\", "/").rstrip("/"):
            yield value
    yield from _PLACES["roots"]
    for folder, prefix in _PLACES["versioned"]:
        names = (name for name in host.entries(folder) if name.startswith(prefix))
        yield from (f"{folder}/{name}" for name in sorted(names, key=_release, reverse=True))
    yield str(_PLACES["distribution"])


def _release(name: str) -> tuple[int, ...]:
    """The version in a folder's name.

    >>> sorted(["rocm-6.10.0", "rocm-6.4.1"], key=_release, reverse=True)
    ['rocm-6.10.0', 'rocm-6.4.1']
    """
    return numbers(name.rpartition("-")[2])


def _package(host: Host, root: str, name: str) -> Tool | None:
    """A CMake package under a root, as a tool; its version file stands beside its configuration."""
    for library in _PLACES["library"]:
        folder = f"{root}/{library}/cmake/{name}"
        if not host.exists(f"{folder}/{name}-config.cmake"):
            continue
        path = f"{folder}/{name}-config-version.cmake"
        text = host.read_text(path) or ""
        found = re.search(r'set\(PACKAGE_VERSION "([0-9]+(?:\.[0-9]+)*)', text)
        version = found[1] if found else ""
        return Tool(name=name, version=version, path=path, digest=digest.of_value(text))
    return None


def _compiler(host: Host, root: str) -> Tool | None:
    """The clang of this ROCm, if it works: CMake wants it itself, not hipcc."""
    for path in _clangs(host, root):
        if host.exists(path):
            said = host.run([path, "--version"], limits=_LIMITS)
            version = "" if said.timed_out or said.code else clang_version(said.out)
            if version:
                value = digest.of_value(said.out)
                return Tool(name="hip-clang", version=version, path=path, digest=value)
    return None


def _device_libraries(host: Host, root: str, clang: str) -> Tool | None:
    """The bitcode that every kernel is linked with, None when clang must find it by itself."""
    own = clang.rpartition("/bin/")[0]
    versions = [f"{own}/lib/clang/{name}" for name in host.entries(f"{own}/lib/clang")]
    places = (
        *(root, own, *(f"{root}/{library}" for library in _PLACES["library"])),
        *(f"{version}{below}" for version in versions for below in ("", "/lib")),
    )
    paths = (f"{place}/amdgcn/bitcode/ocml.bc" for place in places)
    path = next((path for path in paths if host.exists(path)), "")
    return Tool(name="rocm-device-libs", version="", path=path) if path else None


def _clangs(host: Host, root: str) -> Iterator[str]:
    """Where the clang of a ROCm may be. Distributions keep it among their other ones, and device
    libraries beside those that can compile HIP."""
    yield from (f"{root}/{place}" for place in _PLACES["clang"])
    names = (name for name in host.entries(f"{root}/lib") if name.startswith("llvm-"))
    for name in sorted(names, key=_release, reverse=True):
        own = f"{root}/lib/{name}/lib/clang"
        if any(host.exists(f"{own}/{one}/amdgcn/bitcode") for one in host.entries(own)):
            yield f"{root}/lib/{name}/bin/clang++"
    yield _told(host, root)


def _told(host: Host, root: str) -> str:
    """Where hipconfig says that the clang is, or an empty string."""
    own = f"{root}/bin/hipconfig"
    program = own if host.exists(own) else host.which("hipconfig")
    if not program:
        return ""
    folder = host.run([program, "--hipclangpath"], limits=_LIMITS).out.strip()
    return f"{folder}/clang++" if re.fullmatch(r"/[^\n\x00]{1,300}", folder) else ""


def _kernels(host: Host, root: str) -> frozenset[str] | None:
    """The architectures in the names of rocBLAS's kernel files: all in one folder, one folder for
    each, or (Debian) one below a version."""
    folders = [f"{root}/{library}/rocblas" for library in (*_PLACES["library"], "bin")]
    names: set[str] = set()
    for folder in folders:
        versions = [f"{folder}/{name}" for name in host.entries(folder) if name[:1].isdigit()]
        for place in (folder, *versions):
            names.update(host.entries(f"{place}/library"))
    found = (re.search(r"(?:^|[-_])(gfx[0-9a-f]{3,5})(?=$|[-._])", name) for name in names)
    return frozenset(match[1] for match in found if match) or None
