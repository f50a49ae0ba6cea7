"""The same wheel once more under another name: without its label, and perhaps as a variant wheel.

Variants of one release have to have one version, for clients choose the version first.
"""

from __future__ import annotations

import base64
import csv
import email
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any, Final

import msgspec

from llamabuild.errors import IntegrityError
from llamabuild.index.names import named

_TIME: Final = (1980, 1, 1, 0, 0, 0)


def name(file: str, turn: int, label: str) -> str:
    """What the wheel is called: with a build number where it stands for an earlier one.

    >>> name("llama_cpp_python-0.3.36+cpu.v3.lb1-py3-none-any.whl", 1, "cpu.v3")
    'llama_cpp_python-0.3.36-py3-none-any-cpu.v3.whl'
    >>> name("llama_cpp_python-0.3.36+cpu.lb1-py3-none-any.whl", 2, "")
    'llama_cpp_python-0.3.36-2-py3-none-any.whl'
    """
    known = named(file)
    assert known is not None
    build = f"-{turn}" if turn > 1 else ""
    end = f"-{label}" if label else ""
    return f"llama_cpp_python-{known.release}{build}-{known.tags}{end}.whl"


def repack(wheel: Path, target: Path, document: dict[str, Any] | None) -> bytes:
    """Write ``target``: the wheel without the label in its version, with ``document`` as its
    ``variant.json``. Returns its METADATA. The same wheel gives the same bytes. Raises
    IntegrityError for a wheel whose name and contents do not agree."""
    known = named(wheel.name)
    assert known is not None
    old = f"llama_cpp_python-{known.release}+{known.label}.dist-info/"
    new = f"llama_cpp_python-{known.release}.dist-info/"
    rows: list[tuple[str, str, int | str]] = []
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "x") as out:
        if f"{old}METADATA" not in source.namelist():
            raise IntegrityError(f"{wheel.name} has no {old}METADATA", "Make it again.")
        metadata = _without_label(source.read(f"{old}METADATA"), known.release)
        for member in source.infolist():
            if member.is_dir() or member.filename == f"{old}RECORD":
                continue
            data = metadata if member.filename == f"{old}METADATA" else source.read(member)
            as_named = member.filename.replace(old, new, 1)
            _add(out, as_named, data, member.external_attr, rows)
        if document is not None:
            data = msgspec.json.format(msgspec.json.encode(document), indent=1)
            _add(out, f"{new}variant.json", data, 0o644 << 16, rows)
        rows.append((f"{new}RECORD", "", ""))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        _add(out, f"{new}RECORD", text.getvalue().encode(), 0o644 << 16, [])
    return metadata


def _add(
    out: zipfile.ZipFile,
    name: str,
    data: bytes,
    attributes: int,
    rows: list[tuple[str, str, int | str]],
) -> None:
    info = zipfile.ZipInfo(name, _TIME)
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, attributes
    out.writestr(info, data)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    rows.append((name, f"sha256={digest}", len(data)))


def _without_label(metadata: bytes, release: str) -> bytes:
    """METADATA that says the release only, in its first Version line."""
    said = email.message_from_bytes(metadata)["Version"]
    return metadata.replace(f"\nVersion: {said}".encode(), f"\nVersion: {release}".encode(), 1)
