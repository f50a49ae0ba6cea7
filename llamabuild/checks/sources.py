"""Where things come from and go to: the network, the pinned source, and the store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from llamabuild import pins
from llamabuild.checks.findings import BUILD, Finding, Situation, note, ok, problem, warning
from llamabuild.checks.variables import shown, told
from llamabuild.errors import LlamabuildError
from llamabuild.store import open_root

_PROXIES: Final = ("https_proxy", "http_proxy", "all_proxy")
_PROXY: Final = re.compile(r"(?:https?|socks[45][ah]?)://[^\s/]+/?")
_PIP: Final = ("PIP_NO_INDEX", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE")


def network(situation: Situation) -> Iterator[Finding]:
    """How things are fetched: proxies, certificates, pip's settings. Nothing is opened."""
    yield from told("network", situation)
    environ = situation.host.environ
    for name in _PROXIES:
        for spelled in (name, name.upper()):
            value = environ.get(spelled, "")
            if value and _PROXY.fullmatch(value):
                yield note("network", f"fetching goes through the proxy {shown(value)} ({spelled})")
            elif value:
                why = f"{spelled} is {shown(value)}, which is no address of a proxy"
                step = f"Write it like http://proxy:3128, or: unset {spelled}"
                yield warning("network", why, step, "offline-build-deps")
    for name in _PIP:
        if chosen := environ.get(name):
            why = f"{name}={shown(chosen)} decides where pip looks for what a proof needs"
            yield note("network", why, "", "offline-build-deps")
    for one in situation.toolchain.absent:
        if one.what == "openssl":
            yield note("network", one.why, one.hint, "https-not-built", "curl-missing")


def source(situation: Situation) -> Iterator[Finding]:
    """Whether the pinned source is here or has to be fetched."""
    pin, host, cache = situation.pin, situation.host, situation.cache
    name = f"{pin.name} {pin.version}"
    if host.exists(str(cache / "sources" / pins.identity(pin)[:16])):
        yield ok("source", f"{name} is in the cache")
        return
    local = [url for url in pin.urls if url.startswith("file:") and host.exists(url[7:])]
    fetched = host.entries(str(cache / "downloads"))
    if local or any(one.startswith(f"{pin.sha256[:16]}-") for one in fetched):
        yield ok("source", f"the archive of {name} is here and is unpacked by the first build")
        return
    size = f"{pin.size / 1e6:.0f} MB"
    yield note("source", f"{name} is not here yet: the first build fetches {size}")


def store(situation: Situation) -> Iterator[Finding]:
    """Whether what is made can be kept."""
    cache = situation.cache
    try:
        if situation.host.exists(str(cache)):
            open_root(cache)
    except LlamabuildError as error:
        yield problem("store", error.message, error.hint, blocks=(BUILD,))
        return
    state = situation.host.filesystem(cache)
    if not state.programs:
        why = f"{cache} is mounted noexec: nothing that is built there can be started"
        step = "Point LLAMABUILD_CACHE to a folder without noexec, or: mount -o remount,exec"
        yield problem("store", why, step, "compiler-broken-simple-test", blocks=(BUILD,))
    elif not state.writable:
        why = f"{cache} cannot be written: nothing new can be made there"
        step = "Make it writable, or point LLAMABUILD_CACHE to a folder of yours."
        yield problem("store", why, step, "install-permission", blocks=(BUILD,))
    else:
        yield ok("store", str(cache))
