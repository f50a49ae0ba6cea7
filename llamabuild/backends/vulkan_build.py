"""What a Vulkan build needs beside a device: shader compiler, headers, SPIR-V headers."""

from __future__ import annotations

import re
from typing import Any, Final

from llamabuild import data, digest
from llamabuild.host import Host, Limits
from llamabuild.model import Absence, Tool

_LIMITS: Final = Limits(seconds=5)
_TABLE: Final[dict[str, Any]] = data.load(data.package("backends/vulkan.toml"))["build"]


def needs(host: Host) -> tuple[tuple[Tool, ...], tuple[Absence, ...]]:
    """What a build uses, and what of it is missing."""
    found = [_glslc(host), _headers(host), _spirv(host)]
    tools = tuple(one for one in found if isinstance(one, Tool))
    return tools, tuple(one for one in found if isinstance(one, Absence))


def glslc_version(text: str) -> str | None:
    """The shader compiler's version from ``glslc --version``.

    >>> glslc_version("shaderc 2023.2-1"), glslc_version("shaderc v2025.3"), glslc_version("")
    ('2023.2', '2025.3', None)
    """
    found = re.search(r"shaderc v?([0-9]{1,4}(?:\.[0-9]{1,4})+)", text)
    return found[1] if found else None


def header_version(text: str) -> str:
    """The Vulkan version of ``vulkan_core.h``.

    >>> header_version('''#define VK_HEADER_VERSION 239
    ... #define VK_HEADER_VERSION_COMPLETE VK_MAKE_API_VERSION(0, 1, 3, VK_HEADER_VERSION)''')
    '1.3.239'
    """
    patch = re.search(r"define VK_HEADER_VERSION ([0-9]+)", text)
    main = re.search(r"VK_HEADER_VERSION_COMPLETE VK_MAKE\w*\((?:0, )?([0-9]+), ([0-9]+),", text)
    return f"{main[1]}.{main[2]}.{patch[1]}" if main and patch else "unknown"


def _glslc(host: Host) -> Tool | Absence:
    sdk = host.environ.get("VULKAN_SDK")
    path = host.which(f"{sdk}/bin/glslc") if sdk else None
    path = path or host.which("glslc")
    said = host.run([path, "--version"], limits=_LIMITS).out if path else ""
    version = glslc_version(said)
    if path and version:
        return Tool(name="glslc", version=version, path=path, digest=digest.of_value(said))
    why = f"{path} does not work" if path else "no glslc on PATH to compile shaders with"
    return Absence(what="glslc", why=why, hint=_TABLE["glslc"]["hint"])


def _headers(host: Host) -> Tool | Absence:
    table = _TABLE["vulkan-headers"]
    path, text = _first_text(host, "include/vulkan/vulkan_core.h", table["files"])
    if not text:
        why = "there is no vulkan/vulkan_core.h"
        return Absence(what="vulkan-headers", why=why, hint=table["hint"])
    version = header_version(text)
    if table["word"] not in text:
        why = f"{path} ({version}) is too old: it does not know {table['word']}"
        return Absence(what="vulkan-headers", why=why, hint=table["old_hint"])
    value = digest.of_value(text)
    return Tool(name="vulkan-headers", version=version, path=path, digest=value)


def _spirv(host: Host) -> Tool | Absence:
    table = _TABLE["spirv-headers"]
    name = "share/cmake/SPIRV-Headers/SPIRV-HeadersConfig.cmake"
    path, text = _first_text(host, name, table["files"])
    if not text:
        why = "there is no CMake package SPIRV-Headers"
        return Absence(what="spirv-headers", why=why, hint=table["hint"])
    about = host.read_text(path.replace("Config.cmake", "ConfigVersion.cmake")) or ""
    version = re.search(r'set\(PACKAGE_VERSION "([0-9.]+)"', about)
    return Tool(name="spirv-headers", version=version[1] if version else "unknown", path=path)


def _first_text(host: Host, inside_sdk: str, usual: list[str]) -> tuple[str, str]:
    """Path and text of the first file that can be read: the Vulkan SDK's, else a usual one."""
    sdk = host.environ.get("VULKAN_SDK")
    for path in ([f"{sdk}/{inside_sdk}"] if sdk else []) + usual:
        if text := host.read_text(path):
            return path, text
    return "", ""
