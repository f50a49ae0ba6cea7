"""A store with many artifacts of real plans, made as fast as files can be written.

Manifests are whole (a real plan, 18 files, 33 KB); what the files hold is a line each, and nothing
waits for the disk. Names, bytes and places are those that the store itself gives.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from llamabuild import matching, plan, store
from llamabuild.model import File, Manifest, Plan, Requires
from llamabuild.store import blobs, manifests
from llamabuild.store.limits import DAY
from tests.unit import planned, values

SOURCES, KINDS, VARIANTS = 40, 10, 50
MACHINE = "zen4-vm-gcc12"
_OWN = tuple(f"lib/libpart{number}.so" for number in range(13))
_NAMES = (*_OWN, "bin/llama-cli", "wheel/a.whl", "lib/libcommon.so", "bin/llama-bench", "build.log")
_COMMON = 3
"""How many of an artifact's files are those of all artifacts of its source."""
_ENTRIES = 330
"""CMake's cache entries in a manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An artifact that was made: enough to look for it."""

    group: str
    id: str
    manifest: Manifest
    data: bytes


def wanted() -> Plan:
    """What the measurements ask for. Nothing in a store has its key."""
    mine = planned.plans()[MACHINE, "cpu-native"]
    return replace(mine, compiler=replace(mine.compiler, digest="wanted"))


def spread() -> Iterator[Plan]:
    """Plans for many sources, back-ends and machines: small groups, one of which is asked for."""
    by_group: dict[str, list[Plan]] = {}
    for one in planned.plans().values():
        by_group.setdefault(matching.group(one), []).append(one)
    mine = by_group.pop(matching.group(wanted()))
    kinds = [mine, *sorted(by_group.values(), key=len, reverse=True)[: KINDS - 1]]
    for source in range(SOURCES):
        for plans in kinds:
            for variant in range(VARIANTS):
                yield _another(plans[variant % len(plans)], source, variant)


def alike() -> Iterator[Plan]:
    """As many plans that are all of one group."""
    group = matching.group(wanted())
    plans = [one for one in planned.plans().values() if matching.group(one) == group]
    for number in range(SOURCES * KINDS * VARIANTS):
        yield _another(plans[number % len(plans)], 0, number)


def _another(made: Plan, source: int, variant: int) -> Plan:
    """The same by another compiler, of another source (the first is the pinned one)."""
    sha256 = hashlib.sha256(b"%d" % source).hexdigest() if source else made.pin.sha256
    pin = replace(made.pin, sha256=sha256)
    return replace(made, pin=pin, compiler=replace(made.compiler, digest=f"compiler {variant}"))


def fill(root: Path, plans: Iterator[Plan], *, whole: bool) -> list[Made]:
    """Write a store; every other artifact was last used 200 days ago. Without ``whole`` the files
    are the same in all artifacts, and no folders are made of them."""
    requires: dict[int, Requires] = {}
    made = []
    for number, one in enumerate(plans):
        known = requires.setdefault(id(one.flags), matching.expected(one))
        files = _files(number if whole else 0, one.pin.sha256)
        listed = {
            name: File(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
            for name, data in files.items()
        }
        key = plan.key(one)
        manifest = replace(
            values.manifest(key, listed),
            plan=one,
            requires=known,
            effective={
                f"GGML_ENTRY_{entry}:STRING": f"value {entry}" * 3 for entry in range(_ENTRIES)
            },
        )
        group, (id_, data) = matching.group(one), manifests.encode(manifest)
        entry = manifests.entry(root, group, key, id_)
        _write(entry.path, data)
        for name, text in files.items():
            _write(blobs.path_of(root, listed[name].sha256), text)
        if whole:
            _folder(root, root / "artifacts" / one.fingerprint / id_, entry.path, listed)
        if number % 2:
            then = time.time() - 200 * DAY
            os.utime(entry.path, (then, then))
        made.append(Made(group=group, id=id_, manifest=manifest, data=data))
    return made


def _files(number: int, source: str) -> dict[str, bytes]:
    own = len(_NAMES) - _COMMON
    return {
        name: f"{name} of {number if place < own else source}\n".encode()
        for place, name in enumerate(_NAMES)
    }


def _write(path: Path, data: bytes) -> None:
    """Write a file, if it is not there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        os.write(handle, data)
        os.close(handle)


def _folder(root: Path, folder: Path, manifest: Path, files: dict[str, File]) -> None:
    for name in ("bin", "lib", "wheel"):
        os.makedirs(folder / name)
    os.link(manifest, folder / manifests.NAME)
    for name, file in files.items():
        os.link(blobs.path_of(root, file.sha256), folder / name)


def size(root: Path) -> str:
    """What is there, in words."""
    found = [len(names) for _, _, names in os.walk(root / "blobs")]
    kept = len(list(manifests.everything(root)))
    groups = len(os.listdir(root / "manifests"))
    folders = sum(1 for _ in (root / "artifacts").glob("*/*"))
    return f"{kept} artifacts in {groups} groups, {sum(found)} blobs, {folders} folders"


__all__ = ["Made", "alike", "fill", "size", "spread", "store", "wanted"]
