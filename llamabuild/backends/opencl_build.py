"""What an OpenCL build needs beside a device: headers, a library to link with, and Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llamabuild import digest
from llamabuild.backends.opencl_probe import TABLE
from llamabuild.host import Host
from llamabuild.model import Tool

HEADERS: Final = "opencl-headers"
LIBRARY: Final = "libopencl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that a build needs and that is not here, in words, and the packages with it."""

    what: str
    packages: Mapping[str, str]


def needs(host: Host) -> tuple[tuple[Tool, ...], tuple[Missing, ...]]:
    """What a build uses, and what of it is missing."""
    found = (_headers(host), _library(host), _python(host))
    tools = tuple(one for one in found if isinstance(one, Tool))
    return tools, tuple(one for one in found if isinstance(one, Missing))


def target(text: str) -> str:
    """The newest OpenCL that ``cl_version.h`` knows, as GGML_OPENCL_TARGET_VERSION wants it; empty
    when that is older than ggml needs.

    >>> target("#define CL_VERSION_3_0  1"), target("#define CL_VERSION_1_2 1")
    ('300', '')
    """
    return next((value for word, value in TABLE["build"]["versions"] if word in text), "")


def _headers(host: Host) -> Tool | Missing:
    root = _root(host)
    folders = [f"{root}/include"] if root else []
    path = _first(host, [f"{one}/CL/cl.h" for one in (*folders, *TABLE["build"]["headers"])])
    packages = TABLE["packages"]["headers"]
    if not path:
        return Missing(what="OpenCL's headers (CL/cl.h)", packages=packages)
    text = host.read_text(path) or ""
    versions = host.read_text(path.replace("cl.h", "cl_version.h")) or text
    newest = target(versions)
    if not newest:
        return Missing(what="headers of OpenCL 2.0 or newer", packages=packages)
    version = f"{newest[0]}.{newest[1]}"
    value = digest.of_value([versions, text])
    return Tool(name=HEADERS, version=version, path=path, digest=value)


def _library(host: Host) -> Tool | Missing:
    """The loader is linked by its name without a version; it leaves no bytes behind."""
    table, root = TABLE["build"]["library"], _root(host)
    own = [f"{root}/{name}" for name in table["root"]] if root else []
    path = _first(host, [*own, *table.get(host.system()[0], ())])
    if path:
        return Tool(name=LIBRARY, version="", path=path)
    return Missing(what="a libOpenCL to link with", packages=TABLE["packages"]["library"])


def _python(host: Host) -> Missing | None:
    """Find_package(Python3) looks on PATH for one to put the kernels into the library with."""
    if any(host.which(name) for name in ("python3", "python")):
        return None
    return Missing(what="Python 3 on PATH", packages=TABLE["packages"]["python"])


def _root(host: Host) -> str:
    return host.environ.get("OCL_ROOT", "").replace("\\", "/").rstrip("/")


def _first(host: Host, paths: list[str]) -> str:
    return next((path for path in paths if host.exists(path)), "")
