"""Vendors' programs that hang, crash, lie or are not allowed, as real processes.

Everything about the machine is real but where the programs are: a folder of scripts stands first.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from llamabuild import backends
from llamabuild.host import LocalHost

pytestmark = pytest.mark.steps

PATIENCE = 30.0
"""Seconds for one back-end: each of its questions has a limit of five."""
PROGRAMS = (
    *("nvidia-smi", "nvcc", "rocminfo", "hipconfig", "amd-smi", "vulkaninfo", "glslc", "sycl-ls"),
    *("clinfo", "npu-smi", "mthreads-gmi", "mcc", "system_profiler", "sysctl", "xcode-select"),
)
SCRIPTS = {
    "hangs": "exec sleep 600",
    "hangs after an answer": "echo 'GPU 0: Everything'; exec sleep 600",
    "crashes": "kill -SEGV $$",
    "is not allowed": "echo 'permission denied' >&2; exit 1",
    "says nothing": "exit 0",
    "talks binary": "head -c 100000 /dev/urandom",
    "talks too much": "yes 'Name: gfx1100, 24576, 9.0' | head -c 20000000",
    "means well": "echo 'Treiber nicht gefunden: 1.234,56 MiB [N/A]'",
}
DOORS = (
    *("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/kfd", "/dev/davinci_manager"),
    *("/dev/dri", "/dev/dri/renderD128", "/dev/mtgpu.0"),
)
"""What says that it is worth asking: here it says so always."""


class Pretending(LocalHost):
    """This machine, with other programs on PATH and drivers that seem to be loaded."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def environ(self) -> Mapping[str, str]:
        return {"PATH": f"{self._folder}:/usr/bin:/bin", "HOME": str(self._folder)}

    def exists(self, path: str) -> bool:
        return path in DOORS or super().exists(path)

    def which(self, name: str) -> str | None:
        script = self._folder / name
        return str(script) if script.exists() else None


@pytest.mark.parametrize("script", list(SCRIPTS))
@pytest.mark.parametrize("name", [name for name in backends.BACKENDS if name != "cpu"])
def test_a_broken_program_stops_nothing_and_invents_nothing(
    name: str, script: str, tmp_path: Path
) -> None:
    true = {one.name for one in backends.BACKENDS[name].detect(LocalHost()).devices}
    for program in PROGRAMS:
        path = tmp_path / program
        path.write_text(f"#!/bin/sh\n{SCRIPTS[script]}\n")
        path.chmod(0o755)
    host = Pretending(tmp_path)
    started = time.monotonic()
    found = backends.BACKENDS[name].detect(host)
    assert time.monotonic() - started < PATIENCE, "it hangs"
    assert {one.name for one in found.devices} <= true
    reasons = [one for one in found.absent if one.what == name]
    assert found.devices or reasons
    assert all(one.why and one.hint for one in reasons)
