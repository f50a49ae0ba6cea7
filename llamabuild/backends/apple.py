"""What every build on macOS needs from Apple: the command line tools, and which macOS it is for."""

from __future__ import annotations

import re
from typing import Final

from llamabuild import digest
from llamabuild.host import Finished, Host, Limits
from llamabuild.model import Flag, Hardware, Tool, Toolchain

SDK: Final = "macos-sdk"
_LIMITS: Final = Limits(seconds=5)
_SHOW: Final = ("xcrun", "--sdk", "macosx", "--show-sdk-version")
_ACCELERATE: Final = (13, 3)
"""The first macOS whose Accelerate has the CBLAS that ggml calls (ACCELERATE_NEW_LAPACK)."""
_RENAMED: Final = 16, 26
"""macOS 26 calls itself 16 to programs that were built before it."""


def sdk(host: Host) -> tuple[Tool | None, str, str]:
    """The macOS SDK; when there is none, what is missing in words and the next step.

    ``xcode-select`` is asked first: without the tools, ``xcrun`` would open a window. ``xcrun`` is
    told the SDK's name, since without one it may look in a folder that the SDK is not in.
    """
    asked = host.run(["xcode-select", "-p"], limits=_LIMITS)
    folder = asked.out.strip()
    if asked.code or asked.timed_out or not folder.startswith("/"):
        return None, "Xcode's command line tools", "Run: xcode-select --install"
    told = host.run(list(_SHOW), limits=_LIMITS)
    version = sdk_version(told)
    if not version:
        return None, "a working macOS SDK", _mend(folder, told)
    tool = Tool(name=SDK, version=version, path=folder, digest=digest.of_value(told.out.strip()))
    return tool, "", ""


def _mend(folder: str, told: Finished) -> str:
    if "license" in told.err.lower():
        return "Run: sudo xcodebuild -license accept"
    if "CommandLineTools" in folder:
        return "Run: sudo rm -rf /Library/Developer/CommandLineTools; then: xcode-select --install"
    return "Run: sudo xcode-select --reset; then: xcrun --sdk macosx --show-sdk-version"


def sdk_version(told: Finished) -> str:
    """The SDK's version from what ``xcrun --show-sdk-version`` told; empty when it told none.

    >>> sdk_version(Finished(code=0, out="15.2\\n", err=""))
    '15.2'
    """
    found = re.fullmatch(r"[0-9]{2}(\.[0-9]{1,2}){1,2}", told.out.strip())
    return found[0] if found and not told.code and not told.timed_out else ""


def has_accelerate(version: str) -> bool:
    """True for a version of macOS, or of its SDK, whose Accelerate has what ggml calls.

    >>> has_accelerate("13.2.1"), has_accelerate("13.3"), has_accelerate("26.1")
    (False, True, True)
    """
    return _numbers(version) >= _ACCELERATE


def deployment_target(os_version: str, sdk_version: str) -> str:
    """The oldest macOS that a build is for: this machine's major version (13.3 for 13, where
    Accelerate changed), so that a build serves all machines of that version, and never one that
    the SDK does not know.

    >>> deployment_target("15.3.1", "15.2"), deployment_target("13.6", "14.2")
    ('15.0', '13.3')
    >>> deployment_target("15.1", "14.5"), deployment_target("16.0", "26.0")
    ('14.5', '26.0')
    """
    system = _numbers(os_version)
    if system[0] == _RENAMED[0]:
        system = (_RENAMED[1], 0)
    wanted = (system[0], 0)
    if system >= _ACCELERATE > wanted:
        wanted = _ACCELERATE
    oldest = min(wanted, _numbers(sdk_version)) if sdk_version else wanted
    return ".".join(str(number) for number in oldest)


def platform_flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:
    """Which macOS and which processor a build on macOS is for. Without the first CMake takes the
    SDK's own version, which may be newer than this macOS; without the second, CMake's own
    architecture, which is not the machine's when CMake is an Intel program. Elsewhere none."""
    if hardware.os != "macos":
        return ()
    known = next((tool.version for tool in toolchain.tools if tool.name == SDK), "")
    return (
        Flag(
            name="CMAKE_OSX_DEPLOYMENT_TARGET",
            value=deployment_target(hardware.os_version, known),
            why="runs on every macOS from this one's major version on, whatever the SDK is",
        ),
        Flag(
            name="CMAKE_OSX_ARCHITECTURES",
            value="arm64" if hardware.arch == "aarch64" else hardware.arch,
            why="this machine's processor, whatever CMake itself was compiled for",
        ),
    )


def _numbers(version: str) -> tuple[int, int]:
    """Major and minor version; zeros for what is none."""
    found = re.match(r"([0-9]{1,3})(?:\.([0-9]{1,3}))?", version)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)
