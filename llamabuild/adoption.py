"""Adoption: an artifact that was proved elsewhere is proved on this host before it is first used.

A cache may be shared by machines, restored by a CI system or copied from a colleague, and the same
fingerprint does not make the same machine: drivers differ, hypervisors hide things. The verdict is
kept beside the artifacts, for each host and artifact, so that it is asked for once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from llamabuild import digest
from llamabuild.errors import ProofFailed
from llamabuild.events import Emit, Noticed
from llamabuild.host import Host
from llamabuild.model import Artifact, Proof
from llamabuild.store import sealed

_MACHINE: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_DRIVERS: Final = (
    "/proc/driver/nvidia/version",
    "/sys/module/nvidia/version",
    "/sys/module/amdgpu/version",
    "/sys/module/xe/version",
)
_CPU: Final = re.compile(r"^(?:model name|flags|Features|CPU part)\s*:.*$", re.MULTILINE)


class Verdict(msgspec.Struct, frozen=True):
    """What a proof on one host came to: ``kind`` and ``why`` are empty when it passed."""

    proof: Proof | None = None
    kind: str = ""
    check: str = ""
    why: str = ""

    @property
    def unrun(self) -> tuple[str, ...]:
        """What a good proof did not run: see :class:`~llamabuild.model.Proof`."""
        return self.proof.unrun if self.proof else ()


def identity(host: Host) -> str:
    """A name for this host that changes when its processor, C library or GPU driver does, and
    says nothing about it: a hash."""
    cpu = sorted(set(_CPU.findall(host.read_text("/proc/cpuinfo") or "")))
    return digest.of_value(
        {
            "machine": next((text for path in _MACHINE if (text := host.read_text(path))), ""),
            "system": host.system()[0] + host.system()[2],
            "libc": host.libc(),
            "cpu": cpu,
            "drivers": [host.read_text(path) or "" for path in _DRIVERS],
        }
    )[:24]


def record(cache: Path, id_: str, host: Host, verdict: Verdict) -> None:
    """Keep a verdict on an artifact, by its id, in place of an older one."""
    sealed.write(_path(cache, id_, host), verdict)


def verdict(cache: Path, id_: str, host: Host) -> Verdict | None:
    """What is known of an artifact on this host; None when nothing (readable) is."""
    return sealed.read(_path(cache, id_, host), Verdict)


def failed(cache: Path, host: Host) -> frozenset[str]:
    """The ids of all artifacts that did not work on this host."""
    known = _home(cache, host).glob("*.json")
    return frozenset(
        path.stem for path in known if (one := sealed.read(path, Verdict)) and one.kind
    )


def _home(cache: Path, host: Host) -> Path:
    return cache / "verdicts" / identity(host)


def _path(cache: Path, id_: str, host: Host) -> Path:
    return _home(cache, host) / f"{id_}.json"


def adopt(
    cache: Path,
    artifact: Artifact,
    *,
    host: Host,
    emit: Emit,
    prove: Callable[[], Proof],
    here: Callable[[], bool],
) -> None:
    """Return when the artifact is proved on this host, by ``prove`` if it was not yet, or if its
    devices were away then and are ``here`` now, all of them: a proof runs on all or on none.

    Raises ProofFailed when it is not, also when that is known from before.
    """
    known = verdict(cache, artifact.id, host)
    short = artifact.key[:12]
    if known is None:
        emit(Noticed(message=f"{short} comes from elsewhere: it is proved here before it is used."))
        proved(cache, artifact.id, host=host, prove=prove)
    elif known.kind:
        raise ProofFailed(
            f"{short} does not work on this machine: {known.why}",
            f"To try again: llamabuild prove {short}; to build anew: llamabuild store rm {short}",
            kind=known.kind,
            check=known.check,
        )
    elif (names := _away(artifact, known)) and here():
        emit(Noticed(message=f"{short} was not proved with {', '.join(names)}: it is here now."))
        proved(cache, artifact.id, host=host, prove=prove)


def _away(artifact: Artifact, known: Verdict) -> tuple[str, ...]:
    """The back-ends whose devices were away when it was proved; none where the processor was not
    the right one either, for it still is not."""
    *devices, cpu = artifact.manifest.plan.backends
    return () if cpu in known.unrun else tuple(name for name in devices if name in known.unrun)


def proved(cache: Path, id_: str, *, host: Host, prove: Callable[[], Proof]) -> Proof:
    """Prove on this host and keep the verdict, good or bad. Raises ProofFailed."""
    try:
        proof = prove()
    except ProofFailed as failure:
        bad = Verdict(kind=failure.kind, check=failure.check, why=failure.message)
        record(cache, id_, host, bad)
        raise
    record(cache, id_, host, Verdict(proof=proof))
    return proof
