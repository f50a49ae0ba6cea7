"""Fetches of one cache, with what they told, and the promises that hold after each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from llamabuild.errors import FetchError, IntegrityError
from llamabuild.events import Event, Noticed, Warned
from llamabuild.fetch import fetch
from llamabuild.fetch.transfer import Patience
from llamabuild.host import LocalHost
from llamabuild.model import Pin, Source
from tests.steps.fetch import site

FILE = "mine-1.0.tar.gz"
FILES = 301
QUICK = Patience(attempts=3, wait=0.01, connect=2, read=0.3)
OPTION = b'option(GGML_X "x" ON)\n'

Making: TypeAlias = Callable[[bytes], site.Route]


class Here(LocalHost):
    """This machine with an environment of the test's choice."""

    def __init__(self, **variables: str) -> None:
        mine = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_"))}
        self._environ = {**mine, "PIP_CONFIG_FILE": os.devnull, **variables}

    @property
    def environ(self) -> Mapping[str, str]:
        return self._environ


class Run:
    """Fetches of one cache, with what they told. ``cmake`` is what is expected in a tree's file."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.events: list[Event] = []
        self.cmake = OPTION

    def __call__(self, pin: Pin, *urls: str, offline: bool = False, **environ: str) -> Source:
        pin = replace(pin, urls=urls or pin.urls)
        source = fetch(
            pin,
            cache=self.cache,
            host=Here(**environ),
            emit=self.events.append,
            offline=offline,
            patience=QUICK,
        )
        assert (source.tree / "CMakeLists.txt").read_bytes() == self.cmake
        assert sum(1 for path in source.root.rglob("*") if path.is_file()) == FILES
        assert not list(self.cache.rglob("*.part"))
        return source

    def refused(self, pin: Pin, *urls: str, offline: bool = False, **environ: str) -> str:
        with pytest.raises((FetchError, IntegrityError)) as caught:
            self(pin, *urls, offline=offline, **environ)
        error = caught.value
        assert error.hint
        assert "\n" not in error.message
        assert not list((self.cache / "sources").glob("[0-9a-f]*[0-9a-f]"))
        return f"{type(error).__name__}: {error.message}"

    def part(self, pin: Pin) -> Path:
        return self.cache / "downloads" / f"{pin.sha256[:16]}-{FILE}.part"

    def told(self) -> str:
        return "\n".join(e.message for e in self.events if isinstance(e, Noticed | Warned))
