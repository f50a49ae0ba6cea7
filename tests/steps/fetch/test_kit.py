"""Kits: several wheels, one folder, complete or absent."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import kits
from llamabuild.errors import DiskFull, FetchError, IntegrityError, ToolMissing
from llamabuild.events import silent
from llamabuild.fetch import kit as fetching
from llamabuild.host import Host
from llamabuild.model import Archive, Kit
from tests.steps.fetch import site as web
from tests.steps.fetch.running import Here

pytestmark = pytest.mark.steps
FILES = {"one": {"own/bin/tool": b"#!/bin/sh\n"}, "two": {"own/lib/x.so": b"y", "own/a": b""}}


def wheel(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o104755 if "/bin/" in name else 0o100644) << 16
            archive.writestr(info, content)
    return out.getvalue()


@pytest.fixture
def kit(site: web.Site) -> Kit:
    wheels = []
    for name, files in FILES.items():
        content = wheel(files)
        site.routes[f"/{name}.whl"] = web.serve(content)
        wheels.append(
            Archive(
                name=name,
                version="1.0",
                urls=(f"{site.url}/{name}.whl",),
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                licence="MIT",
            )
        )
    return Kit(
        name="own",
        version="1",
        licence="MIT",
        layout=1,
        what="a tool",
        unpacked=100,
        wheels=tuple(wheels),
    )


def had(kit: Kit, cache: Path, host: Host | None = None, *, offline: bool = False) -> Path:
    return fetching.fetch(
        kit, ready=ready, cache=cache, host=host or Here(), emit=silent, offline=offline
    )


def ready(kit: Kit, folder: Path, host: Host) -> None:
    del host
    (folder / "note").write_text(kit.name)


def left(cache: Path) -> list[str]:
    return [path.name for path in (cache / "kits").glob("*") if path.suffix != ".lock"]


def test_all_wheels_are_in_one_folder_and_fetched_once(
    kit: Kit, site: web.Site, tmp_path: Path
) -> None:
    folder = had(kit, tmp_path)
    assert folder == had(kit, tmp_path)
    assert len(site.log) == 2
    assert (folder / "own/bin/tool").stat().st_mode & 0o7777 == 0o755
    assert (folder / "own/lib/x.so").read_bytes() == b"y"
    assert (folder / "note").read_text() == "own"
    assert not list((tmp_path / "downloads").glob("*.whl"))


@pytest.mark.parametrize("content", [b"", None])
def test_what_somebody_cleared_up_is_fetched_again(
    content: bytes | None, kit: Kit, tmp_path: Path
) -> None:
    library = had(kit, tmp_path) / "own/lib/x.so"
    library.unlink()
    if content is not None:
        library.write_bytes(content)
    (library.parent / "more").touch()
    assert had(kit, tmp_path) == library.parents[2]
    assert library.read_bytes() == b"y"
    assert not (library.parent / "more").exists()


def test_offline_it_is_used_when_it_is_there(kit: Kit, tmp_path: Path) -> None:
    with pytest.raises(FetchError):
        had(kit, tmp_path, offline=True)
    had(kit, tmp_path)
    had(kit, tmp_path, offline=True)


def test_wrong_bytes_make_no_kit(kit: Kit, site: web.Site, tmp_path: Path) -> None:
    site.routes["/two.whl"] = web.serve(bytes(kit.wheels[1].size))
    with pytest.raises(IntegrityError, match=kit.wheels[1].sha256):
        had(kit, tmp_path)
    assert left(tmp_path) == []


def test_what_is_not_ready_is_not_there(kit: Kit, tmp_path: Path) -> None:
    def broken(kit: Kit, folder: Path, host: Host) -> None:
        raise ToolMissing("it does not work", "")

    with pytest.raises(ToolMissing):
        fetching.fetch(kit, ready=broken, cache=tmp_path, host=Here(), emit=silent)
    assert left(tmp_path) == []
    had(kit, tmp_path)


def test_names_that_leave_the_folder(kit: Kit, site: web.Site, tmp_path: Path) -> None:
    content = wheel({"../../outside": b"x"})
    site.routes["/one.whl"] = web.serve(content)
    bad = replace(kit.wheels[0], size=len(content), sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(IntegrityError):
        had(replace(kit, wheels=(bad, kit.wheels[1])), tmp_path / "cache")
    assert not list(tmp_path.rglob("outside"))
    assert left(tmp_path / "cache") == []


class Small(Here):
    """A machine with a small disk."""

    def disk_free(self, path: Path) -> int:
        del path
        return 1000


def test_no_room_is_said_before_anything_is_fetched(
    kit: Kit, site: web.Site, tmp_path: Path
) -> None:
    with pytest.raises(DiskFull):
        had(replace(kit, unpacked=900_000_000), tmp_path, Small())
    assert site.log == []


def test_what_an_interrupted_run_left_is_swept(kit: Kit, tmp_path: Path) -> None:
    half = kits.folder(kit, tmp_path).with_suffix(".part")
    (half / "own").mkdir(parents=True)
    (half / "own" / "old").write_text("half")
    folder = had(kit, tmp_path)
    assert not (folder / "own" / "old").exists()
    assert left(tmp_path) == [folder.name]
