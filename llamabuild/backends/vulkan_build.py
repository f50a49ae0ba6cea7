"""What a Vulkan build needs beside a device: shader compiler, headers, library, SPIR-V headers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from llamabuild import data, digest
from llamabuild.host import Host, Limits
from llamabuild.model import Tool

_LIMITS: Final = Limits(seconds=5)
_TABLE: Final[dict[str, Any]] = data.load(data.package("backends/vulkan.toml"))
_BUILD: Final[dict[str, Any]] = _TABLE["build"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that a build needs and that is not here: what, why, and the packages with it."""

    what: str
    why: str
    packages: Mapping[str, str]


def needs(host: Host) -> tuple[tuple[Tool, ...], tuple[Missing, ...]]:
    """What a build uses, and what of it is missing."""
    found = (_glslc(host), _headers(host), _library(host), _spirv(host))
    tools = tuple(one for one in found if isinstance(one, Tool))
    return tools, tuple(one for one in found if isinstance(one, Missing))


def glslc_version(text: str) -> str | None:
    """The shader compiler's version from ``glslc --version``. Arch and openSUSE leave out the
    word that everybody else begins with.

    >>> glslc_version("shaderc v2025.3 v2025.3\\n\\nTarget: SPIR-V 1.0")
    '2025.3'
    >>> glslc_version("2026.3\\n1:1.4.357.0\\n1:1.4.357.0\\n\\nTarget: SPIR-V 1.0")
    '2026.3'
    """
    found = re.match(r"(?:shaderc[ -])?v?([0-9]{4}(?:\.[0-9]{1,4})+)", text)
    return found[1] if found and "Target: SPIR-V" in text else None


def header_version(text: str) -> str:
    """The Vulkan version of ``vulkan_core.h``.

    >>> header_version('''#define VK_HEADER_VERSION 239
    ... #define VK_HEADER_VERSION_COMPLETE VK_MAKE_API_VERSION(0, 1, 3, VK_HEADER_VERSION)''')
    '1.3.239'
    """
    patch = re.search(r"define VK_HEADER_VERSION ([0-9]+)", text)
    main = re.search(r"VK_HEADER_VERSION_COMPLETE VK_MAKE\w*\((?:0, )?([0-9]+), ([0-9]+),", text)
    return f"{main[1]}.{main[2]}.{patch[1]}" if main and patch else "unknown"


def numbers(version: str) -> tuple[int, ...]:
    """A Vulkan version as numbers, which compare as versions do; none, if it is unknown."""
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _glslc(host: Host) -> Tool | Missing:
    sdk = host.environ.get("VULKAN_SDK")
    path = host.which(f"{sdk}/bin/glslc") if sdk else None
    path = path or host.which("glslc")
    said = host.run([path, "--version"], limits=_LIMITS).out if path else ""
    version = glslc_version(said)
    if path and version:
        return Tool(name="glslc", version=version, path=path, digest=digest.of_value(said))
    why = f"{path} does not work" if path else "no glslc on PATH to compile shaders with"
    return Missing(what="glslc", why=why, packages=_TABLE["packages"]["glslc"])


def _headers(host: Host) -> Tool | Missing:
    table = _BUILD["headers"]
    path = _first(host, table["sdk"], table["files"])
    text = (host.read_text(path) if path else "") or ""
    if not text:
        why = "there is no vulkan/vulkan_core.h"
        return Missing(what="Vulkan headers", why=why, packages=_TABLE["packages"]["headers"])
    version = header_version(text)
    if numbers(version) < numbers(table["oldest"]):
        why = f"{path} ({version}) is too old: {table['oldest']} is needed"
        newer = _TABLE["packages"]["newer-headers"]
        return Missing(what="newer Vulkan headers", why=why, packages=newer)
    value = digest.of_value(text)
    return Tool(name="vulkan-headers", version=version, path=path, digest=value)


def _library(host: Host) -> Missing | None:
    """The loader is linked by its name without a version. No tool: it leaves no bytes behind."""
    table = _BUILD["library"]
    if _first(host, table["sdk"], table.get(host.system()[0], ())):
        return None
    why = "there is no Vulkan library to link with (libvulkan.so, vulkan-1.lib)"
    return Missing(what="Vulkan library", why=why, packages=_TABLE["packages"]["headers"])


def _spirv(host: Host) -> Tool | Missing:
    table = _BUILD["spirv-headers"]
    path = _first(host, table["sdk"], table["files"])
    if not path:
        why = "there is no CMake package SPIRV-Headers"
        return Missing(what="SPIR-V headers", why=why, packages=_TABLE["packages"]["spirv-headers"])
    about = host.read_text(path.replace("Config.cmake", "ConfigVersion.cmake")) or ""
    version = re.search(r'set\(PACKAGE_VERSION "([0-9.]+)"', about)
    return Tool(name="spirv-headers", version=version[1] if version else "unknown", path=path)


def _first(host: Host, inside_sdk: Iterable[str], usual: Iterable[str]) -> str:
    """The first of the files that is there: the Vulkan SDK's, else a usual one, else empty."""
    sdk = host.environ.get("VULKAN_SDK")
    own = (f"{sdk}/{name}" for name in inside_sdk) if sdk else ()
    return next((path for path in (*own, *usual) if host.exists(path)), "")
