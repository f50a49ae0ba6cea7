"""Ask oneAPI's ``sycl-ls`` what devices there are.

Nothing here raises, and no parser makes up a device: only whole lines in a form that some version
of ``sycl-ls`` prints count. It knows no memory sizes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from llamabuild.backends import sycl_build
from llamabuild.backends.sycl_build import LIMITS, TABLE, Kit
from llamabuild.host import Finished, Host

_LINE: Final = re.compile(
    r"\[(?:ext_oneapi_)?(?P<way>level_zero|opencl):gpu(?::[0-9]{1,3})?\]"
    r"(?:\[[a-z_]{1,40}:[0-9]{1,3}\])?"
    r" [^,\[\]]{1,80}, (?P<name>Intel\(R\) [^,]{1,80}?)"
    r" (?:OpenCL [0-9]\.[0-9] NEO|(?P<version>[0-9]{1,3}\.[0-9]{1,3}(?:\.[0-9]{1,3})?))"
    r" {1,4}\[(?P<driver>[0-9][0-9.+]{1,30})\]"
)
"""From 2025 on the kind of the device stands alone and its place in brackets of its own, and a
number before the driver's version says what hardware it is; before, it was Level Zero's version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU of Intel's. ``way`` is "level_zero" or "opencl"; ``ip`` is the version of the hardware
    ("12.55.8"), empty where sycl-ls does not tell."""

    name: str
    way: str
    driver: str
    ip: str = ""

    @property
    def kind(self) -> str:
        """Whether it is "discrete" or "integrated"; empty when the table knows neither."""
        family = ".".join(self.ip.split(".")[:2])
        for kind, families in TABLE["kind"]["ip"].items():
            if family in families:
                return str(kind)
        rows = TABLE["kind"]["name"]
        return next((str(kind) for kind, pattern in rows if re.search(pattern, self.name)), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The GPUs that SYCL would use, or why it could not be asked."""

    gpus: tuple[Gpu, ...] = ()
    error: str = ""


def survey(host: Host, kit: Kit) -> Survey:
    """Ask sycl-ls. Never raises."""
    done = sycl_build.run(host, kit, [kit.lister])
    if done.timed_out:
        return Survey(error=f"sycl-ls did not answer within {LIMITS.seconds:.0f} seconds")
    if done.code != 0:
        return Survey(error=f"sycl-ls does not work: {_last_words(done)}")
    return Survey(gpus=parse(done.out))


def parse(text: str) -> tuple[Gpu, ...]:
    """The GPUs that a SYCL program would use: it takes those that Level Zero shows, and only where
    that shows none those of OpenCL, which are the same ones again.

    >>> [gpu.name for gpu in parse(
    ... "[level_zero:gpu][level_zero:0] Intel(R) oneAPI Unified Runtime over Level-Zero, "
    ... "Intel(R) UHD Graphics 730 12.2.0 [1.3.29735+27]\\n"
    ... "[opencl:gpu][opencl:2] Intel(R) OpenCL Graphics, Intel(R) UHD Graphics 730 "
    ... "OpenCL 3.0 NEO  [24.39.31294]\\n")]
    ['Intel(R) UHD Graphics 730']
    """
    found = [
        Gpu(name=one["name"], way=one["way"], driver=one["driver"], ip=_ip(one["version"]))
        for one in (_LINE.fullmatch(line.strip()) for line in text.splitlines())
        if one
    ]
    best = [gpu for gpu in found if gpu.way == "level_zero"]
    return tuple(best or found)


def _ip(version: str | None) -> str:
    """The version when it is the hardware's: it has three numbers."""
    return version if version and version.count(".") == 2 else ""


def _last_words(done: Finished) -> str:
    lines = [line.strip() for line in done.err.splitlines() if line.strip()]
    return done.signal or (lines[-1][:200] if lines else f"exit code {done.code}")
