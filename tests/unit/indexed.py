"""Small wheels with real statements about themselves, for tests of the index."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

from llamabuild.model import Requires
from llamabuild.wheels import about

BARE = Requires(
    os="linux", arch="x86_64", libc="glibc", versions=(("GLIBC", "2.17"),), backends=("cpu",)
)
V3 = ("avx2", "bmi2", "f16c", "fma")
_FOLDER = "llama_cpp_python-{version}.dist-info"


def statement(variant: str = "cpu", build: str = "lb00000001", **changes: Any) -> about.About:
    """What a wheel says of itself."""
    values: dict[str, Any] = {
        "release": "0.3.36",
        "variant": variant,
        "label": f"{variant}.{build}",
        "key": "ab" * 32,
        "artifact": "cd" * 32,
        "llamabuild": "1.0",
        "commit": "0c1e57098",
        "build_number": 9876,
        "backends": ("cpu",),
        "cpu": "portable",
        "features": (),
        "requires": BARE,
        "compiler": "gcc 12.2.0",
        "created": "2026-11-21T10:00:00+00:00",
        "proved_on": "a CPU",
        "checks": 12,
    }
    return about.About(**{**values, **changes})


def wheel(
    folder: Path,
    said: about.About | None = None,
    *,
    tags: str = "py3-none-any",
    text: str = "",
    extra: str = "",
    requires_python: str = ">=3.8",
    more: dict[str, bytes] | None = None,
) -> Path:
    """A wheel that can be installed anywhere: a module that names its version and variant."""
    said = said or statement()
    version = f"{said.release}+{said.label}"
    info = _FOLDER.format(version=version)
    metadata = f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {version}\n"
    metadata += f"Requires-Python: {requires_python}\n" if requires_python else ""
    members = {
        "llama_cpp/__init__.py": f"VERSION = {version!r}\nVARIANT = {said.variant!r}\n{text}",
        f"{info}/METADATA": metadata + extra,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n",
        f"{info}/{about.NAME}": about.encode(said).decode(),
    }
    made = {name: data.encode() for name, data in members.items()} | (more or {})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"llama_cpp_python-{version}-{tags}.whl"
    path.write_bytes(b"")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in made.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)
        rows = [f"{name},{hash_of(data)},{len(data)}" for name, data in made.items()]
        record = "\n".join([*rows, f"{info}/RECORD,,", ""])
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD", (2026, 1, 1, 0, 0, 0)), record)
    return path


def hash_of(data: bytes) -> str:
    """A hash as RECORD has it."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest}"
