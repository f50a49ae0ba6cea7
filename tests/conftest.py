"""Unit tests start no process and open no network: what they need comes in through arguments."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import pytest

# Machines that run tests are shared and slow at times: examples are bounded, their time is not.
hypothesis.settings.register_profile(
    "shared",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("shared")

_QUIET = ("unit", "contract", "golden")


@pytest.fixture(autouse=True)
def _guard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the quiet folders a started process or an opened connection fails the test."""
    if not set(_QUIET) & set(Path(request.node.path).parts):
        return

    def refuse(*args: Any, **_: Any) -> NoReturn:
        raise AssertionError(f"a unit test reached outside: {args}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
