"""Keys, rosters and nouns for tests of trust. The keys are real, made once a run."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llamabuild.model import File, Flag, Manifest, Patch, Requires
from llamabuild.trust import ed25519
from llamabuild.trust.keys import PublicKey, Signer
from llamabuild.trust.roster import Trusted
from llamabuild.trust.snapshot import Snapshot, following
from tests.unit import values

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.timezone.utc)
DAY = dt.timedelta(days=1)
ARTIFACT = "a1" * 32


@functools.cache
def pair(name: str) -> tuple[Signer, PublicKey]:
    """A signing key and its public key."""
    pem, raw = ed25519.generate()
    public = PublicKey(name=name, raw=raw)
    key, _ = ed25519.load(pem)
    return Signer(public=public, key=key), public


def signer(name: str) -> Signer:
    return pair(name)[0]


def trusted(name: str, *roles: str) -> Trusted:
    return Trusted(public=pair(name)[1], roles=roles or ("builder",), added="2026-01-01")


def manifest() -> Manifest:
    patch = Patch(name="fix.patch", sha256="e" * 64, text="", why="w", until="u")
    plan = values.plan()
    pin = replace(
        plan.pin,
        urls=(
            "file:///home/anna/a.tar.gz",
            "https://anna:secret@mirror.example.org/a.tar.gz",
            "https://example.org/a.tar.gz",
        ),
        patches=(patch,),
    )
    flags = (
        Flag(name="GGML_AVX2", value=True, why="w"),
        Flag(name="CMAKE_PREFIX_PATH", value="/home/anna/cuda", why="w"),
        Flag(name="CMAKE_CXX_FLAGS", value=r"-IC:\Users\anna\x", why="w"),
        Flag(name="OTHER", value="~anna", why="w"),
    )
    return Manifest(
        version=2,
        key="5" * 64,
        llamabuild="1.2",
        plan=replace(plan, pin=pin, flags=flags, requested="cuda, cpu"),
        effective={"CMAKE_HOME_DIRECTORY": "/home/anna/src"},
        requires=Requires(os="linux", arch="x86_64"),
        proof=values.proof("vulkan"),
        trials=(),
        files={
            "bin/llama-cli": File(sha256="b" * 64, size=3, executable=True),
            "wheel/a.whl": File(sha256="c" * 64, size=4),
        },
        seconds=90.0,
        created="2026-01-01T00:02:00+00:00",
    )


def snapshot(**changes: Any) -> Snapshot:
    first = following(None, count=3, shards={"00": "d" * 64}, now=NOW)
    return replace(first, **{"store": "57" * 16, **changes})


def flips(data: bytes) -> Iterator[bytes]:
    """Every text that differs in one bit."""
    for place in range(len(data) * 8):
        other = bytearray(data)
        other[place // 8] ^= 1 << place % 8
        yield bytes(other)


def edited(envelope: bytes, **fields: Any) -> bytes:
    """An envelope in which some fields were replaced."""
    return json.dumps({**json.loads(envelope), **fields}).encode()


def payload(envelope: bytes) -> Any:
    return json.loads(base64.b64decode(json.loads(envelope)["payload"]))


def packed(value: Any) -> str:
    """A payload as it stands in an envelope."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.b64encode(data).decode()
