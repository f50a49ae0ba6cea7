"""What a back-end must answer.

A back-end is a module: it implements :class:`Backend` with plain functions, so the first lines of
the file show what is special about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from llamabuild.host import Host
from llamabuild.model import Absence, Device, Flag, Hardware, Requires, Tool, Toolchain

OWN, RELATED, COMPILED, NEVER = 3, 2, 1, 0
"""How a device runs code, the fastest first: made for it, made for a relative of it, compiled by
its driver when it is loaded (a slow first start, and kernels made for it are missing), not at all.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a back-end sees: devices that a build would run on, tools to build with, and what is
    missing. A device that works but cannot be built for here says in ``lacks`` what is needed,
    and an absence of the back-end's name says why and what to do. A device that no build would
    run on (no driver, too old a driver) is only an absence."""

    devices: tuple[Device, ...] = ()
    tools: tuple[Tool, ...] = ()
    absent: tuple[Absence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a proof run showed of where it ran: ggml's own device list (``name: description``), its
    ``backends`` ("CUDA", also without a device), layers offloaded of all layers, the buffers that
    hold weights ("CUDA0"), and the library's log."""

    devices: tuple[str, ...]
    offloaded: int
    layers: int
    log: str
    buffers: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What the rest has to know of a back-end without knowing which it is.

    Back-ends of one ``family`` define the same symbols, and one library holds one of them (empty:
    there is no other of its kind). ``here`` is True when it computes on this machine, so that a run
    here can prove it. ``targets`` are tools of its own to build. ``compilers`` are the C and C++
    compiler, of its own tools, that have to compile the whole tree; ``environment`` names variables
    by which its CMake file finds what is installed. ``server`` is the target that another machine
    runs to lend its devices; in a proof this machine is the other one. ``memory``
    is what the compiler of its hungriest translation unit takes, in bytes. ``kit`` chooses, of the
    names of kits that can be brought along, the one that devices lack (empty: none helps), and
    ``kit_variable`` is how that is shown to :meth:`Backend.detect`. ``toolkit`` is the word of its
    toolkit in the label of a wheel, and the tool whose version counts ("cu" and "nvcc": cu130);
    where there is none, the label has the back-end's own name.
    """

    family: str = ""
    compilers: tuple[str, str] = ("", "")
    environment: tuple[str, ...] = ()
    here: bool = True
    targets: tuple[str, ...] = ()
    server: str = ""
    memory: int = 800_000_000
    kit: Callable[[tuple[Device, ...], tuple[str, ...]], str] | None = None
    kit_variable: str = ""
    toolkit: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Why a run does not prove a back-end: "device-missing" when the library has the back-end and
    lists no device of it, "silent-cpu" when it computed on something else, because it does not
    have the back-end or did not use it; and the words for it."""

    kind: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What a result asks of a driver: the ``least`` version, and the ``toolkit`` whose code it has
    to compile again. Empty where nothing is asked."""

    least: str = ""
    toolkit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a device runs a result: ``pace`` is one of OWN, RELATED, COMPILED and NEVER, and
    ``missing`` says what it would take, a sentence each."""

    pace: int
    missing: tuple[str, ...] = ()


def listed(evidence: Evidence, prefix: str) -> Doubt | None:
    """None when ggml itself lists a device whose name begins so."""
    if any(name.startswith(prefix) for name in evidence.devices):
        return None
    names = ", ".join(evidence.devices) or "none at all"
    has = any(name.startswith(prefix) for name in evidence.backends)
    kind = "device-missing" if has or not evidence.devices else "silent-cpu"
    return Doubt(kind=kind, why=f"ggml lists no {prefix} device (listed: {names})")


def on_device(evidence: Evidence, prefix: str, buffers: str = "") -> Doubt | None:
    """None when every layer ran on a device that ggml itself lists under ``prefix`` and weights
    lie in its memory; its buffers begin with ``buffers`` where that is another word."""
    if doubt := listed(evidence, prefix):
        return doubt
    if evidence.layers <= 0 or evidence.offloaded != evidence.layers:
        why = f"{evidence.offloaded} of {evidence.layers} layers were given to the device"
        return Doubt(kind="silent-cpu", why=why)
    if not any(name.startswith(buffers or prefix) for name in evidence.buffers):
        held = ", ".join(evidence.buffers) or "unknown"
        return Doubt(
            kind="silent-cpu", why=f"no weights lie in the device's memory, but in: {held}"
        )
    return None


def any_together(devices: tuple[Device, ...]) -> str | None:  # noqa: ARG001
    """The answer of a back-end whose builds run on every device that it knows."""
    return None


def any_driver(libraries: tuple[str, ...], tools: tuple[Tool, ...]) -> Driver:  # noqa: ARG001
    """The answer of a back-end that asks nothing of its driver that a device does not show."""
    return Driver()


def any_fit(requires: Requires, device: Device) -> Fit:  # noqa: ARG001
    """The answer of a back-end whose code is for no architecture of its devices, or is compiled by
    every driver alike."""
    return Fit(pace=OWN)


class Backend(Protocol):
    """One way to compute. Nothing outside this package asks which one it is."""

    @property
    def TITLE(self) -> str:  # noqa: N802 - a module constant
        """The name that people know."""

    @property
    def SWITCH(self) -> str:  # noqa: N802 - a module constant
        """The CMake option that turns it on."""

    @property
    def TRAITS(self) -> Traits:  # noqa: N802 - a module constant
        """What is special about it."""

    def detect(self, host: Host) -> Found:
        """What is there. Never raises; an absence carries its reason and the next step."""

    def flags(self, hardware: Hardware, toolchain: Toolchain) -> tuple[Flag, ...]:
        """The options beside ``SWITCH`` when it is used; pure, and every flag says why."""

    def together(self, devices: tuple[Device, ...]) -> str | None:
        """None when one build can serve all these devices (of any number of machines), else why
        not: no toolkit is old and new enough for all of them, say."""

    def judge(self, evidence: Evidence) -> Doubt | None:
        """None when the run used this back-end, else why it did not."""

    def driver(self, libraries: tuple[str, ...], tools: tuple[Tool, ...]) -> Driver:
        """What a result that needs these libraries (sonames), made with these tools, asks of the
        driver where it runs; pure. Before it is built there are no libraries, only tools."""

    def fit(self, requires: Requires, device: Device) -> Fit:
        """How one of its devices runs a result; pure. What is not known is no reason to refuse."""
