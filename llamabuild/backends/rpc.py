"""Machines that work together: a part of a model computes on other machines, over the network.

It is always possible and needs nothing, so it is never chosen automatically: a recipe asks for it.
Whoever reaches the port of a ``ggml-rpc-server`` may use it and crash it: it belongs into a network
whose every machine is trusted.
"""

from __future__ import annotations

import re
from typing import Any, Final

from llamabuild import data
from llamabuild.backends.interface import Evidence, Found, Traits, any_together, on_device
from llamabuild.host import Host
from llamabuild.model import Device, Flag, Hardware, Toolchain

TITLE: Final = "RPC (machines that work together)"
SWITCH: Final = "GGML_RPC"
_NAME: Final = "rpc"
TRAITS: Final = Traits(here=False, targets=("ggml-rpc-server",))
together = any_together
_TABLE: Final[dict[str, Any]] = data.load(data.package("backends/rpc.toml"))
_BUFFER: Final = re.compile(r"\bRPC[0-9]+\[[^\]\s]+\] model buffer size =")
"""ggml names a server's buffers ``RPC0[host:port]``; llama.cpp states one line for each."""


def detect(host: Host) -> Found:  # noqa: ARG001 - every machine can
    """One device that stands for all others: which machines there are is said when it runs."""
    return Found(devices=(Device(backend=_NAME, name="RPC", architecture="", kind="network"),))


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:  # noqa: ARG001
    """The same everywhere: machines of different kinds can work together."""
    return tuple(Flag(name=f["name"], value=f["value"], why=f["why"]) for f in _TABLE["flag"])


def judge(evidence: Evidence) -> str | None:
    """None when every layer ran on devices, a server among them, and weights went to that server:
    only then was something computed over RPC."""
    if why := on_device(evidence, "RPC"):
        return why
    if not _BUFFER.search(evidence.log):
        return "no weights went to an RPC server"
    return None
