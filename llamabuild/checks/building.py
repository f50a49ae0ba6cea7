"""What compiles: compiler, CMake, Ninja, git, Xcode's and Microsoft's tools; foreign headers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

from llamabuild.checks.findings import BUILD, Finding, Situation, absent, note, ok, problem, warning
from llamabuild.host import Limits
from llamabuild.toolchains import compilers, zig

_HEADERS: Final = ("ggml.h", "llama.h", "gguf.h", "ggml-backend.h")
_INCLUDES: Final = (
    "/usr/include",
    "/usr/local/include",
    "/opt/homebrew/include",
    "/opt/local/include",
)
_SEARCHED: Final = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "INCLUDE")
_OWN_FLAGS: Final = ("CFLAGS", "CXXFLAGS", "CPPFLAGS")
_LIMITS: Final = Limits(seconds=20)
_LICENCE: Final = "Run: sudo xcodebuild -license accept"
_CMAKE_4: Final = (4, 0)


def compiler(situation: Situation) -> Iterator[Finding]:
    """A C++ compiler that is new enough and works."""
    found = situation.toolchain.compilers
    good = [one for one in found if not compilers.too_old(one)]
    broken = [one for one in situation.toolchain.absent if one.what == "compiler"]
    entries = ("linux-no-cxx-compiler", "toolchain-cc1-broken", "compiler-broken-simple-test")
    for one in broken if good else ():
        yield warning("compiler", one.why, one.hint, *entries)
    brought = zig.KIT in _kits(situation) and not situation.toolchain.explicit_compiler
    for each in found:
        if old := compilers.too_old(each):
            old_entries = ("gcc8-std-filesystem", "intrinsic-undeclared")
            yield _lacking(old, compilers.NEWER, old_entries, bool(good), brought)
    if good:
        yield ok("compiler", ", ".join(f"{c.family} {c.version} ({c.cxx})" for c in good))
    elif not found:
        for one in broken:
            yield _lacking(one.why, one.hint, entries, False, brought)


def _lacking(why: str, hint: str, entries: tuple[str, ...], other: bool, brought: bool) -> Finding:
    """A compiler that cannot be used: nobody minds where there is another, or one is brought."""
    if other:
        return note("compiler", why, "", *entries)
    if brought:
        step = f"`llamabuild setup` brings one along. To have one of your own: {hint}"
        return note("compiler", why, step, *entries)
    return problem("compiler", why, hint, *entries, blocks=(BUILD,))


def _kits(situation: Situation) -> tuple[str, ...]:
    from llamabuild import kits

    system, _, arch = situation.host.system()
    return tuple(kits.kits(f"{system}-{arch}"))


def cmake(situation: Situation) -> Iterator[Finding]:
    """The CMake that is used, and what the user's own means for builds by hand."""
    used = next((one for one in situation.toolchain.tools if one.name == "cmake"), None)
    if used is None:
        step = "Run `pip install cmake` in the environment of llamabuild."
        yield problem("cmake", "there is none", step, "cmake-missing", blocks=(BUILD,))
        return
    own = situation.host.which("cmake")
    if own and os.path.realpath(own) != os.path.realpath(used.path):
        why = f"{own} is older than llama-cpp-python needs; {used.path} ({used.version}) is used"
        yield note("cmake", why, "", "cmake-too-old")
    elif _numbers(used.version) >= _CMAKE_4:
        why = f"{used.version} ({used.path}); sources from before 2024 need"
        yield ok("cmake", f"{why} -DCMAKE_POLICY_VERSION_MINIMUM=3.5 by hand")
    else:
        yield ok("cmake", f"{used.version} ({used.path})")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]{1,6}", version))


def ninja(situation: Situation) -> Iterator[Finding]:
    """The Ninja that is used."""
    used = next((one for one in situation.toolchain.tools if one.name == "ninja"), None)
    if used:
        yield ok("ninja", f"{used.version} ({used.path})")
    else:
        step = "Run `pip install ninja` in the environment of llamabuild."
        yield problem("ninja", "there is none", step, "ninja-missing", blocks=(BUILD,))


def git(situation: Situation) -> Iterator[Finding]:
    """Only builds by hand need git; llamabuild's sources are archives."""
    if path := situation.host.which("git"):
        yield ok("git", path)
    else:
        why = "there is none; llamabuild needs none, builds from a clone do"
        yield Finding(check="git", state="note", why=why, entries=("git-exe-missing",))


def headers(situation: Situation) -> Iterator[Finding]:
    """Headers of another llama.cpp or ggml where compilers look by themselves."""
    host, system = situation.host, situation.system
    entries = ("system-ggml-mismatch", "generic-source-error")
    named = [
        (name, folder)
        for name in _SEARCHED
        for folder in _listed(host.environ.get(name, ""), system)
    ]
    named += [
        (name, folder)
        for name in _OWN_FLAGS
        for folder in re.findall(r"-(?:I|isystem)\s*(\S+)", host.environ.get(name, ""))
    ]
    for variable, folder in named:
        if found := _foreign(situation, folder):
            why = f"{', '.join(found)} of another llama.cpp in {folder}, which {variable} names"
            step = f"Unset {variable} for builds by hand; llamabuild does not use it."
            yield warning("headers", why, step, *entries)
    for folder in _INCLUDES if system != "windows" else ():
        if found := _foreign(situation, folder):
            why = f"{', '.join(found)} of another llama.cpp in {folder}"
            step = "Builds by hand may take them for their own; remove that package then."
            yield note("headers", why, step, *entries)


def _listed(text: str, system: str) -> list[str]:
    return [one for one in text.split(";" if system == "windows" else ":") if one]


def _foreign(situation: Situation, folder: str) -> list[str]:
    return [name for name in _HEADERS if situation.host.exists(f"{folder}/{name}")]


def xcode(situation: Situation) -> Iterator[Finding]:
    """Apple's command line tools, and their licence."""
    if situation.system != "macos":
        yield absent("xcode", "only Macs have it")
        return
    asked = situation.host.run(["xcode-select", "-p"], limits=_LIMITS)
    if asked.code == 127 and not situation.toolchain.compilers:
        asked_why = "the command line tools are not installed"
    elif asked.code not in (0, 127):
        asked_why = (asked.err.strip().splitlines() or ["xcode-select names no folder"])[-1]
    else:
        asked_why = ""
    if asked_why:
        entries = ("xcode-clt-missing", "macos-sdk-headers-missing")
        step = "Run: xcode-select --install"
        yield problem("xcode", asked_why, step, *entries, blocks=(BUILD,))
        return
    said = situation.host.run(["xcrun", "clang", "--version"], limits=_LIMITS)
    if said.code == 69 or "license" in said.err:
        yield problem(
            "xcode",
            "nobody has agreed to its licence yet",
            _LICENCE,
            "xcode-license",
            blocks=(BUILD,),
        )


def msvc(situation: Situation) -> Iterator[Finding]:
    """Microsoft's compiler, on Windows."""
    if situation.system != "windows":
        yield absent("msvc", "only Windows has it")
        return
    found = [one for one in situation.toolchain.compilers if one.family == "msvc"]
    if found:
        yield ok("msvc", f"cl {found[0].version}")
    elif not situation.toolchain.compilers:
        one = next((each for each in situation.toolchain.absent if each.what == "compiler"), None)
        why = one.why if one else "there is none"
        yield note("msvc", why, one.hint if one else "", "win-no-msvc-nmake")
    else:
        yield note("msvc", "there is none; another compiler is used", "", "win-no-msvc-nmake")
