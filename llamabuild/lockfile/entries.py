"""What stands in a team's ``llamabuild.lock``. Frozen; no file is touched here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """One thing that is built for the team.

    ``want`` are the words that it was asked for with ("cuda sm_86+sm_89"), ``needs`` what a worker
    has to offer beside its system and architecture ("cuda": a device to prove it on), ``machine``
    the file of a recorded machine, seen from the lock file, where it is for one. The rest was
    decided when it was locked: ``key`` and ``variant`` are empty for what cannot be planned on the
    machine that locked it. ``compiler``, ``sysroot`` and ``tools`` are what the key was made with,
    in words, so that a difference has a name. ``artifact`` is the id of the build that was locked,
    ``wheel`` the SHA-256 of the wheel that is released from it; both are empty until there is one.
    """

    name: str
    want: str
    toolchain: str = "auto"
    needs: tuple[str, ...] = ()
    machine: str = ""
    os: str = ""
    arch: str = ""
    variant: str = ""
    fingerprint: str = ""
    key: str = ""
    compiler: str = ""
    sysroot: str = ""
    tools: tuple[str, ...] = ()
    artifact: str = ""
    wheel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """The whole file: the source (a pin's name, the version of the bindings, the SHA-256 of the
    archive, and llama.cpp's commit and build number) and the targets, in the order in which they
    were asked for."""

    pin: str
    version: str
    sha256: str
    commit: str
    build_number: int
    targets: tuple[Locked, ...] = ()
