"""Build tools and development libraries: cmake, ninja, ccache, OpenSSL headers.

cmake and ninja come from the machine when they are new enough, else from their PyPI wheels, which
are always installed beside this program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from llamabuild import digest
from llamabuild.errors import ToolMissing
from llamabuild.facts import keep
from llamabuild.host import Host, Limits
from llamabuild.model import Absence, Tool

CMAKE_MINIMUM = (3, 21)
"""``cmake_language(DEFER)`` needs 3.19, the llama-cpp-python project 3.21."""
NINJA_MINIMUM = (1, 10)
COMPILER_CACHES = ("ccache", "sccache")
"""They change no byte of a result."""
_LIMITS = Limits(seconds=30)
_OPENSSL_HEADERS = (
    "/usr/include/openssl/opensslv.h",
    "/usr/local/include/openssl/opensslv.h",
    "/opt/homebrew/include/openssl/opensslv.h",
)


def cmake(host: Host, cache: Path) -> Tool:
    """The machine's cmake if it is new enough, else the wheel's. Raises ToolMissing for neither."""
    return _first("cmake", _cmake_wheel, CMAKE_MINIMUM, host, cache)


def ninja(host: Host, cache: Path) -> Tool:
    """The machine's ninja if it is new enough, else the wheel's. Raises ToolMissing for neither."""
    return _first("ninja", _ninja_wheel, NINJA_MINIMUM, host, cache)


def _cmake_wheel() -> Path:
    import cmake as wheel  # takes a while: only when it is needed

    return Path(wheel.CMAKE_BIN_DIR)


def _ninja_wheel() -> Path:
    import ninja as wheel

    return Path(wheel.BIN_DIR)


def ccache(host: Host, cache: Path, names: tuple[str, ...] = COMPILER_CACHES) -> Tool | Absence:
    """Ccache or sccache, when one is there: it makes the second compile of the same file short."""
    for name in names:
        path = host.which(name)
        version = _version(path, host, cache) if path else None
        if path and version:
            return Tool(name=name, version=version, path=path)
    return Absence(what="ccache", why="not on PATH; builds work without it, only slower again")


def openssl(host: Host) -> Tool | Absence:
    """OpenSSL's headers and library: with them llama-server can download models by https."""
    for header in _OPENSSL_HEADERS:
        text = host.read_text(header)
        if text and (version := openssl_version(text)):
            return Tool(name="openssl", version=version, path=header, digest=digest.of_value(text))
    return Absence(
        what="openssl",
        why="no openssl/opensslv.h; llama-server is built without https downloads (`-hf`)",
        hint="Debian, Ubuntu: apt install libssl-dev; Fedora: dnf install openssl-devel",
    )


def openssl_version(header: str) -> str | None:
    """The version from ``opensslv.h``; None below 3.0, which llama.cpp refuses.

    >>> openssl_version('# define OPENSSL_VERSION_STR "3.0.19"')
    '3.0.19'
    """
    found = re.search(r'OPENSSL_VERSION_STR\s+"([0-9.]+)"', header)
    return found.group(1) if found and int(found.group(1).split(".")[0]) >= 3 else None


def version_of(text: str) -> str | None:
    """The first version number in a ``--version`` answer.

    >>> version_of("cmake version 3.25.1\\n"), version_of("1.11.1"), version_of("garbage")
    ('3.25.1', '1.11.1', None)
    """
    found = re.search(r"\b(\d+\.\d+(?:\.\d+)*)", text)
    return found.group(1) if found else None


def _first(
    name: str, wheel: Callable[[], Path], minimum: tuple[int, ...], host: Host, cache: Path
) -> Tool:
    seen = []
    for path in _places(name, wheel, host):
        version = _version(path, host, cache) if host.exists(path) else None
        if version and _numbers(version) >= minimum:
            return Tool(name=name, version=version, path=path)
        if version:
            seen.append(f"{path} is {version}")
    wanted = ".".join(map(str, minimum))
    raise ToolMissing(
        f"{name} {wanted} or newer is needed; found: {', '.join(seen) or 'none'}",
        f"Run `pip install --upgrade {name}` in the environment of llamabuild.",
    )


def _places(name: str, wheel: Callable[[], Path], host: Host) -> Iterator[str]:
    """Where a program may be: on PATH, else in its wheel."""
    if path := host.which(name):
        yield path
    yield from (str(wheel() / f"{name}{ending}") for ending in ("", ".exe"))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _version(path: str, host: Host, cache: Path) -> str | None:
    """The program's version, asked once for each state of its file."""
    stamp = host.stamp(path)
    kept = cache / "facts" / f"tool-{digest.of_value(stamp)[:24]}.json"
    try:
        return msgspec.json.decode(kept.read_bytes(), type=str)
    except (OSError, msgspec.DecodeError):
        version = version_of(host.run([path, "--version"], limits=_LIMITS).out)
    if version:
        keep(kept, msgspec.json.encode(version))
    return version
