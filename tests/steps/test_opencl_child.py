"""The child that asks the OpenCL loader, with loaders that answer, refuse, crash and hang."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from llamabuild.backends import opencl_probe
from llamabuild.host import Limits, LocalHost

pytestmark = pytest.mark.steps
SOURCE = r"""
#include <stdint.h>
#include <string.h>
#include <unistd.h>
static int text(const char *value, size_t size, char *out, size_t *needed) {
    if (needed) *needed = strlen(value) + 1;
    if (out) memcpy(out, value, size);
    return 0;
}
static int number(uint64_t value, size_t size, void *out, size_t *needed) {
    if (needed) *needed = sizeof value;
    if (out) memcpy(out, &value, size);
    return 0;
}
int clGetPlatformIDs(unsigned room, void **found, unsigned *count) {
    if (MODE == 1) return -1001;
    if (MODE == 2) return -6;
    if (MODE == 3) *(volatile int *) 0 = 1;
    if (MODE == 4) sleep(60);
    if (count) *count = 2;
    for (unsigned n = 0; found && n < room; n++) found[n] = (void *) (uintptr_t) (n + 1);
    return 0;
}
int clGetPlatformInfo(void *id, unsigned what, size_t size, char *out, size_t *needed) {
    if (what == 0x0902) return text(id == (void *) 1 ? "Empty" : "Full", size, out, needed);
    return text(what == 0x0901 ? "OpenCL 3.0 " : "Somebody", size, out, needed);
}
int clGetDeviceIDs(void *id, uint64_t kind, unsigned room, void **found, unsigned *count) {
    if (id == (void *) 1) return -1;
    if (kind != 0xFFFFFFFF) return -31;
    if (count) *count = 1;
    if (found) found[0] = (void *) 7;
    return 0;
}
int clGetDeviceInfo(void *id, unsigned what, size_t size, char *out, size_t *needed) {
    if (id != (void *) 7) return -33;
    switch (what) {
    case 0x102B: return text("Intel(R) Gr\xe4phics", size, out, needed);
    case 0x102D: return text("1.2.3", size, out, needed);
    case 0x102F: return text("OpenCL 3.0 NEO ", size, out, needed);
    case 0x103D: return text("OpenCL C 1.2 ", size, out, needed);
    case 0x1030: return text("cl_khr_icd cl_khr_fp16  cl_khr_subgroups ", size, out, needed);
    case 0x1000: return number(4 | 1, size, out, needed);
    case 0x101F: return number(12168933376ull, size, out, needed);
    default: return -30;
    }
}
"""


def asked(folder: Path, mode: int) -> opencl_probe.Survey:
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc to make a loader with")
    library = folder / "libOpenCL.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", f"-DMODE={mode}", "-x", "c", "-", "-o", str(library)],
        input=SOURCE.encode(),
        check=True,
    )
    return opencl_probe.survey(LocalHost(), [str(folder / "none.so"), str(library)])


def test_platforms_and_devices_are_told_whole(tmp_path: Path) -> None:
    assert asked(tmp_path, 0).platforms == (
        opencl_probe.Platform(name="Empty", vendor="Somebody", version="OpenCL 3.0"),
        opencl_probe.Platform(
            name="Full",
            vendor="Somebody",
            version="OpenCL 3.0",
            devices=(
                opencl_probe.Unit(
                    name="Intel(R) Gr\ufffdphics",
                    version="OpenCL 3.0 NEO",
                    language="OpenCL C 1.2",
                    kind="GPU",
                    driver="1.2.3",
                    memory=12168933376,
                    extensions=("cl_khr_fp16", "cl_khr_subgroups"),
                ),
            ),
        ),
    )


def test_no_platform_is_an_answer(tmp_path: Path) -> None:
    assert asked(tmp_path, 1) == opencl_probe.Survey()


@pytest.mark.parametrize(
    ("mode", "why"), [(2, "clGetPlatformIDs failed: OpenCL error -6"), (3, "SIGSEGV")]
)
def test_what_goes_wrong_is_told(
    tmp_path: Path, mode: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(LocalHost, "which", lambda _self, name: None if name == "clinfo" else name)
    found = asked(tmp_path, mode)
    assert found.platforms == ()
    assert why in found.error


def test_a_driver_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opencl_probe, "_LIMITS", Limits(seconds=1))
    assert "a driver hangs" in asked(tmp_path, 4).error


def test_no_library_is_an_error() -> None:
    assert "none.so" in opencl_probe.survey(LocalHost(), ["/nowhere/none.so"]).error
