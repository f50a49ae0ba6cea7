"""Variant wheels (PEP 825 and 850, drafts) in ``/variants/``, for clients that choose by hardware.

Only when it is asked for: the drafts may change, and so far uv alone selects them, as a preview.
Everybody else takes the wheel without a variant beside them: that which chooses its CPU code when
it starts. The wheels are those that stand in the index, once more under other names.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from llamabuild import digest
from llamabuild.errors import IntegrityError
from llamabuild.events import Emit, Noticed, Warned
from llamabuild.index import entries, folder, pages, properties, repacking, writing
from llamabuild.index.entries import Entry
from llamabuild.index.names import METADATA, PROJECT, RECORD, VARIANTS, named
from llamabuild.index.properties import NULL, Properties
from llamabuild.store import files


class Made(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wheel in ``/variants/``: that of SHA-256 ``source`` under another name. ``label`` is its
    variant, empty for the one without."""

    file: str
    source: str
    label: str
    properties: dict[str, dict[str, list[str]]]
    release: str
    sha256: str
    size: int
    metadata: str
    requires_python: str
    published: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    file: str
    label: str
    properties: Properties
    entry: Entry


def write(top: Path, *, schema: str = properties.SCHEMA, emit: Emit) -> tuple[str, ...]:
    """Make ``/variants/`` from what stands in an index; returns the names of its wheels. What is
    there already is kept. Raises StoreError, DiskFull."""
    at = folder.place(top, VARIANTS)
    with folder.guarded(top), files.alone(top / folder.WORK / "lock"):
        wanted = [*_agreeing(_wanted(top, emit), emit)]
        made = [_one(top, at, one, schema) for one in wanted]
        for release in sorted({one.release for one in made}):
            mine = {one.label: one.properties for one in made if one.release == release}
            labels = {label: said for label, said in mine.items() if label}
            document = properties.document(labels, schema)
            files.write(at / _document(release), json.dumps(document, indent=1).encode() + b"\n")
        _pages(at, made)
    if made and not any(not one.label for one in made):
        why = "no wheel chooses its CPU code when it starts: clients without variants find none"
        emit(Warned(message=why, hint="Publish a wheel of the recipe cpu-fat."))
    return tuple(one.file for one in made)


def _wanted(top: Path, emit: Emit) -> Iterator[_Wanted]:
    for variant, shelf in folder.shelves(top).items():
        for entry in entries.standing(shelf.entries.values()).values():
            said = properties.properties(entry.about.requires)
            if isinstance(said, str):
                emit(Noticed(message=f"{entry.file}: no variant wheel: {said}"))
                continue
            for label in (variant,) if said else (NULL, ""):
                file = repacking.name(entry.file, entry.turn, label)
                yield _Wanted(file=file, label=label, properties=said, entry=entry)


def _agreeing(wanted: Iterator[_Wanted], emit: Emit) -> Iterator[_Wanted]:
    """Without those whose name or label means something else already."""
    files, labels = set[str](), dict[tuple[str, str], Properties]()
    for one in wanted:
        means = labels.setdefault((one.entry.about.release, one.label), one.properties)
        if one.file in files or means != one.properties:
            why = f"{one.entry.file}: no variant wheel: {one.file} stands for another"
            emit(Warned(message=why, hint="Give the two builds variants of other names."))
            continue
        files.add(one.file)
        yield one


def _document(release: str) -> str:
    return f"llama_cpp_python-{release}-variants.json"


def _one(top: Path, at: Path, wanted: _Wanted, schema: str) -> Made:
    """A wheel in its place: the one that is there, or a new one."""
    path, record = at / wanted.file, at / (wanted.file + RECORD)
    with contextlib.suppress(OSError, msgspec.DecodeError):
        kept = msgspec.json.decode(record.read_bytes(), type=Made)
        if kept.source == wanted.entry.sha256 and path.stat().st_size == kept.size:
            return kept
    source = folder.place(top, wanted.entry.about.variant, wanted.entry.file)
    if digest.of_file(source) != wanted.entry.sha256:
        raise IntegrityError(f"{source} was changed", "`llamabuild index check` says more.")
    scratch = files.fresh(top / folder.WORK, "publish-")
    try:
        document = properties.document({wanted.label: wanted.properties}, schema)
        copy = scratch / wanted.file
        metadata = repacking.repack(source, copy, document if wanted.label else None)
        files.flush_one(copy)
        made = _made(wanted, copy, metadata)
        files.write(record, msgspec.json.encode(made))
        files.write(at / (wanted.file + METADATA), metadata)
        os.replace(copy, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return made


def _made(wanted: _Wanted, copy: Path, metadata: bytes) -> Made:
    known = named(wanted.entry.file)
    assert known is not None
    return Made(
        file=wanted.file,
        source=wanted.entry.sha256,
        label=wanted.label,
        properties={name: dict(one) for name, one in wanted.properties.items()},
        release=known.release,
        sha256=digest.of_file(copy),
        size=copy.stat().st_size,
        metadata=hashlib.sha256(metadata).hexdigest(),
        requires_python=wanted.entry.requires_python,
        published=wanted.entry.published,
    )


def _pages(at: Path, made: list[Made]) -> None:
    rows = [(one.file, one.sha256, one.metadata, one.requires_python) for one in made]
    for release in sorted({one.release for one in made}):
        name = _document(release)
        rows.append((name, digest.of_file(at / name), "", ""))
    anchors = (_anchor(*row) for row in sorted(rows))
    listed = [_file(one) for one in made]
    documents = [_listed(name, sha256, at) for name, sha256, metadata, _ in rows if not metadata]
    page: Mapping[str, Any] = {
        "meta": {"api-version": pages.API},
        "name": PROJECT,
        "versions": sorted({one.release for one in made}),
        "files": [*listed, *documents],
    }
    files.write(at / writing.JSON, msgspec.json.encode(page) + b"\n")
    files.write(at / writing.HTML, pages.html_page(f"Links for {PROJECT}", anchors))
    files.write(at.parent / writing.JSON, pages.projects_json())
    files.write(at.parent / writing.HTML, pages.projects_html())


def _anchor(name: str, sha256: str, metadata: str, requires_python: str) -> str:
    said = {
        "href": f"{quote(name, safe='')}#sha256={sha256}",
        "data-requires-python": requires_python,
        "data-core-metadata": metadata and f"sha256={metadata}",
        "data-dist-info-metadata": metadata and f"sha256={metadata}",
    }
    return pages.anchor(name, said)


def _file(one: Made) -> dict[str, Any]:
    metadata = {"sha256": one.metadata}
    more = {"requires-python": one.requires_python} if one.requires_python else {}
    return {
        "filename": one.file,
        "url": quote(one.file, safe=""),
        "hashes": {"sha256": one.sha256},
        "size": one.size,
        "upload-time": one.published,
        "core-metadata": metadata,
        "dist-info-metadata": metadata,
        **more,
    }


def _listed(name: str, sha256: str, at: Path) -> dict[str, Any]:
    size = (at / name).stat().st_size
    return {"filename": name, "url": name, "hashes": {"sha256": sha256}, "size": size}


def damage(top: Path) -> Iterator[str]:
    """What in ``/variants/`` is not as its page says."""
    at = folder.place(top, VARIANTS)
    data = writing.content(at / writing.JSON)
    if data is None:
        return
    try:
        said = {one["filename"]: one["hashes"]["sha256"] for one in json.loads(data)["files"]}
    except (ValueError, KeyError, TypeError):
        yield f"{at / writing.JSON} was changed"
        return
    for name, sha256 in said.items():
        path = at / str(name).rpartition("/")[2]
        if not path.is_file() or digest.of_file(path) != sha256:
            yield f"{path} is not what the page of the variants says"


def mend(top: Path, *, emit: Emit) -> None:
    """Make again what is damaged in ``/variants/``, if that is there."""
    at = folder.place(top, VARIANTS)
    if not at.is_dir():
        return
    with folder.guarded(top):
        for record in at.glob(f"*{RECORD}"):
            path = record.with_name(record.name.removesuffix(RECORD))
            with contextlib.suppress(OSError, msgspec.DecodeError):
                kept = msgspec.json.decode(record.read_bytes(), type=Made)
                if digest.of_file(path) == kept.sha256:
                    continue
            record.unlink()
    write(top, emit=emit)
