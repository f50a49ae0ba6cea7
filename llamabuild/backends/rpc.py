"""Machines that work together: a part of a model computes on other machines, over the network.

It is always possible and needs nothing, so it is never chosen automatically: a recipe asks for it.
Whoever reaches the port of a ``ggml-rpc-server`` may use it and crash it: it belongs into a network
whose every machine is trusted.
"""

from __future__ import annotations

from typing import Any, Final

from llamabuild import data
from llamabuild.backends.interface import (
    Doubt,
    Evidence,
    Found,
    Traits,
    any_driver,
    any_fit,
    any_together,
    on_device,
)
from llamabuild.host import Host
from llamabuild.model import Device, Flag, Hardware, Toolchain

TITLE: Final = "RPC (machines that work together)"
SWITCH: Final = "GGML_RPC"
_NAME: Final = "rpc"
TRAITS: Final = Traits(here=False, targets=("ggml-rpc-server",), server="ggml-rpc-server")
together = any_together
driver = any_driver
fit = any_fit
_TABLE: Final[dict[str, Any]] = data.load(data.package("backends/rpc.toml"))


def detect(host: Host) -> Found:  # noqa: ARG001 - every machine can
    """One device that stands for all others: which machines there are is said when it runs."""
    return Found(devices=(Device(backend=_NAME, name="RPC", architecture="", kind="network"),))


def flags(hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:  # noqa: ARG001
    """The same everywhere: machines of different kinds can work together."""
    return tuple(Flag(name=f["name"], value=f["value"], why=f["why"]) for f in _TABLE["flag"])


def judge(evidence: Evidence) -> Doubt | None:
    """None when every layer ran on devices, a server among them, and weights went to that server:
    only then was something computed over RPC."""
    return on_device(evidence, "RPC")
