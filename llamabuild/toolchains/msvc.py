"""Microsoft's C++ compiler: found through ``vswhere``, which every Visual Studio installs.

Its version is that of the toolset folder: toolset 14.41 holds cl 19.41 (``_MSC_VER`` 1941).
"""

from __future__ import annotations

import re
from typing import Final

from llamabuild.backends import cpu
from llamabuild.host import Host, Limits
from llamabuild.model import Absence, Compiler

_LIMITS: Final = Limits(seconds=20)
_VSWHERE: Final = "Microsoft Visual Studio/Installer/vswhere.exe"
_COMPONENT: Final = {
    "x86_64": "Microsoft.VisualStudio.Component.VC.Tools.x86.x64",
    "aarch64": "Microsoft.VisualStudio.Component.VC.Tools.ARM64",
}
_FOLDER: Final = {"x86_64": "Hostx64/x64", "aarch64": "Hostarm64/arm64"}
_HINT: Final = (
    "Run: winget install Microsoft.VisualStudio.2022.BuildTools --override "
    '"--passive --add Microsoft.VisualStudio.Workload.VCTools --includeRecommended"'
)


def detect(host: Host) -> Compiler | Absence:
    """The newest Visual C++ of this machine, or why there is none."""
    arch = host.system()[2]
    programs = host.environ.get("ProgramFiles(x86)", "C:/Program Files (x86)")
    vswhere = f"{programs}/{_VSWHERE}".replace("\\", "/")
    if arch not in _COMPONENT or not host.exists(vswhere):
        return _absence("there is no Visual Studio and no Build Tools")
    asked = host.run(
        [
            *(vswhere, "-latest", "-products", "*", "-requires", _COMPONENT[arch]),
            *("-property", "installationPath", "-utf8"),
        ],
        limits=_LIMITS,
    )
    root = asked.out.strip().splitlines()[-1:] if asked.code == 0 else []
    if not root:
        return _absence(f"Visual Studio is here without its C++ tools for {arch}")
    tools = f"{root[0].strip()}/VC".replace("\\", "/")
    default = f"{tools}/Auxiliary/Build/Microsoft.VCToolsVersion.default.txt"
    toolset = (host.read_text(default) or "").strip()
    cl = f"{tools}/Tools/MSVC/{toolset}/bin/{_FOLDER[arch]}/cl.exe"
    version = cl_version(toolset)
    if not version or not host.exists(cl):
        return _absence(f"{tools} has no working cl.exe")
    return Compiler(
        family="msvc",
        version=version,
        target=f"{arch}-pc-windows-msvc",
        cc=cl,
        cxx=cl,
        digest=host.digest(cl) or toolset,
        accepts=frozenset(cpu.expected_options("msvc", version, arch)),
        openmp=True,
    )


def cl_version(toolset: str) -> str:
    """The compiler's version from its toolset's; empty for what is none.

    >>> cl_version("14.41.34120"), cl_version("")
    ('19.41.34120', '')
    """
    found = re.fullmatch(r"14\.([0-9]{1,2}(?:\.[0-9]{1,6})?)", toolset)
    return f"19.{found[1]}" if found else ""


def _absence(why: str) -> Absence:
    return Absence(what="compiler", why=why, hint=_HINT)
