"""Where a failure is produced: a cache with the source, a healthy build, and the real program."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HIDDEN = re.compile(
    r"(.*-)?(gcc|g\+\+|cc|c\+\+|clang|clang\+\+|cpp|cmake|ninja|nvcc|ccache)(-[\d.]+)?"
)


class Unavailable(Exception):
    """What a failure is made of cannot be had here; the words say what."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A ``cache`` with the source and a healthy build (its ``key``), and an empty ``folder``."""

    cache: Path
    key: str
    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    def llamabuild(
        self, *words: str, cache: Path | None = None, first: tuple[str, ...] = (), **more: str
    ) -> Ended:
        """Run the program; ``more`` is put into its environment, ``first`` before its words."""
        root = cache or self.cache
        argv = [*first, sys.executable, "-m", "llamabuild", *words]
        env = {**self.environ, "LLAMABUILD_CACHE": str(root), **more}
        ended = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def tool(self, name: str, *words: str, **more: str) -> Ended:
        """Run a tool of the healthy build as its users do."""
        return self.llamabuild("run", name, "--artifact", self.key, "--", *words, **more)

    def artifact(self) -> Path:
        """Where the healthy build is."""
        listed = self.llamabuild("store", "ls", "--json")
        rows = json.loads(listed.out)["items"]
        return next(Path(row["path"]) for row in rows if row["key"].startswith(self.key))

    def copy(self) -> Path:
        """Another cache with the same contents."""
        other = self.folder / "cache"
        shutil.copytree(self.cache, other, symlinks=True, copy_function=_linked)
        return other

    def without(self, pattern: re.Pattern[str]) -> str:
        """A PATH with every program of this one but those of a pattern."""
        folder = self.folder / "bin"
        folder.mkdir()
        for place in reversed(self.environ["PATH"].split(os.pathsep)):
            for program in Path(place).glob("*"):
                if not pattern.fullmatch(program.name):
                    link = folder / program.name
                    link.unlink(missing_ok=True)
                    link.symlink_to(program)
        return str(folder)

    def before(self, **scripts: str) -> str:
        """A PATH that begins with these shell scripts."""
        folder = self.folder / "first"
        folder.mkdir()
        for name, text in scripts.items():
            script = folder / name.replace("cxx", "c++")
            script.write_text(f"#!/bin/sh\n{text}\n")
            script.chmod(0o755)
        return f"{folder}{os.pathsep}{self.environ['PATH']}"


def _linked(source: str, target: str) -> None:
    """Blobs and sources are never written to; the rest is copied."""
    if {"blobs", "sources", "downloads", "artifacts"} & set(Path(source).parts):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def open_scene(cache: Path, folder: Path) -> Scene:
    """A scene on a cache, which gets the healthy build if it has none. Raises Unavailable."""
    kept = ("CC", "CXX", "GITHUB_ACTIONS", "LLAMABUILD_STORE", "CFLAGS", "CXXFLAGS")
    environ = {name: value for name, value in os.environ.items() if name not in kept}
    scene = Scene(cache=cache, key="", folder=folder, environ=environ)
    made = scene.llamabuild("setup", "--json")
    if made.code:
        raise Unavailable(f"no healthy build can be had here: {made.err[-500:]}")
    key = json.loads(made.out)["artifact"]["key"]
    return Scene(cache=cache, key=key[:12], folder=folder, environ=environ)


@contextlib.contextmanager
def of_its_own(scene: Scene) -> Iterator[Scene]:
    """The scene with a folder of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=scene.folder) as name:
        yield Scene(cache=scene.cache, key=scene.key, folder=Path(name), environ=scene.environ)


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory. Raises Unavailable where none may be mounted."""
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if (
        not shutil.which("mount")
        or subprocess.run(argv, capture_output=True, check=False).returncode
    ):
        raise Unavailable("nothing can be mounted here (it takes root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of a folder, on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield one.getsockname()[1]
