"""Ways to spoil the finished files of a build: libraries and programs under its prefix."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from llamabuild.errors import ConfigError

_SERVER = Path(__file__).with_name("false_server.py")
_RUNPATH = b"$ORIGIN:$ORIGIN/../lib"
_FOREIGN_RUNPATH = b"/opt/foreign:$ORIGIN/."


def removed(prefix: Path, argument: str) -> None:
    """A file is not there."""
    (prefix / argument).unlink()


def truncated(prefix: Path, argument: str) -> None:
    """The second half of a file is missing, as after a copy that broke off."""
    path = prefix / argument
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(prefix: Path, argument: str) -> None:
    """A file is there and has no bytes, as after a crash of the machine."""
    (prefix / argument).write_bytes(b"")


def not_executable(prefix: Path, argument: str) -> None:
    """A program has lost its permission."""
    (prefix / argument).chmod(0o644)


def runpath_outside(prefix: Path, argument: str) -> None:
    """A library looks for its neighbours in a folder of somebody else first."""
    _replaced(prefix / argument, _RUNPATH, _FOREIGN_RUNPATH)


def other_soname(prefix: Path, argument: str) -> None:
    """A library calls itself something else than its file's name."""
    path = prefix / argument
    own = b"\0" + path.name.encode() + b"\0"
    _replaced(path, own, own.replace(b"libggml", b"libggmx"))


def false_server(prefix: Path, argument: str) -> None:
    """llama-server is a program that only looks like it; ``argument`` says how it lies."""
    server = prefix / "bin" / "llama-server"
    server.rename(server.with_name("true-server"))
    text = _SERVER.read_text().replace('WAY = ""', f"WAY = {argument!r}")
    server.write_text(f"#!{sys.executable}\n{text}")
    server.chmod(0o755)


def _replaced(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    if data.count(old) != 1 or len(old) != len(new):
        raise ConfigError(f"{path.name} holds {old!r} {data.count(old)} times")
    path.write_bytes(data.replace(old, new))


def other_wheel(prefix: Path, argument: str) -> None:
    """The wheel's copy of a library is not the one that stands in ``lib/``. Done to the finished
    wheel, whose RECORD then is wrong as well: nobody reads it."""
    wheel = next((prefix / "wheel").glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        entries = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, data in entries:
            changed = info.filename.endswith(f"/{argument}")
            archive.writestr(info, data + b"\0" if changed else data)


FILES: Mapping[str, Callable[[Path, str], None]] = {
    "removed": removed,
    "truncated": truncated,
    "emptied": emptied,
    "not-executable": not_executable,
    "runpath-outside": runpath_outside,
    "other-soname": other_soname,
    "false-server": false_server,
}
"""Done before the wheel is packed around the libraries."""
FINISHED: Mapping[str, Callable[[Path, str], None]] = {"other-wheel": other_wheel}
"""Done when the wheel is packed and installed."""
