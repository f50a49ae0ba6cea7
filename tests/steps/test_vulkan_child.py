"""The child that asks the Vulkan loader: here, and with loaders that lie, crash and hang."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from llamabuild.backends import vulkan, vulkan_probe
from llamabuild.backends.vulkan_probe import Survey
from llamabuild.host import Finished, Limits, LocalHost

pytestmark = pytest.mark.steps
HOST = LocalHost()
LOADERS = vulkan_probe.loaders(HOST)
LIMITS = Limits(seconds=60)
SOURCE = Path(__file__).parents[1] / "vulkan" / "loader.c"


class With(LocalHost):
    """This machine with other variables in the environment, also of its children."""

    def __init__(self, **environ: str) -> None:
        self._own = environ

    @property
    def environ(self) -> Mapping[str, str]:
        return {**super().environ, **self._own}

    def run(
        self,
        argv: Sequence[str],
        *,
        limits: Limits,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
    ) -> Finished:
        return super().run(argv, limits=limits, env=self.environ, cwd=cwd, stdin=stdin)


class Alone(LocalHost):
    """This machine without vulkaninfo."""

    def which(self, name: str) -> str | None:
        return None if name == "vulkaninfo" else super().which(name)


class Hasty(Alone):
    """The same, and out of patience after a second."""

    def run(
        self,
        argv: Sequence[str],
        *,
        limits: Limits,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
    ) -> Finished:
        return super().run(argv, limits=Limits(seconds=1), env=env, cwd=cwd, stdin=stdin)


def need_a_loader() -> None:
    if not LOADERS:
        pytest.skip("no Vulkan loader is installed")


# --- this machine --------------------------------------------------------------------------------


def test_the_child_and_vulkaninfo_see_the_same_devices() -> None:
    need_a_loader()
    program = shutil.which("vulkaninfo")
    if program is None:
        pytest.skip("vulkaninfo is not installed")
    listed = vulkan_probe.parse_summary(HOST.run([program, "--summary"], limits=LIMITS).out)
    asked = vulkan_probe.survey(HOST, LOADERS).gpus
    told = [(one.name, one.kind, one.vendor, one.device, one.api) for one in asked]
    assert told == [(one.name, one.kind, one.vendor, one.device, one.api) for one in listed]
    assert all(one.memory > 0 for one in asked)
    assert [one.driver for one in asked if one.driver] == [
        one.driver for one in listed if one.driver
    ]


def test_this_machine_is_detected_the_same_each_time() -> None:
    found = vulkan.detect(HOST)
    assert vulkan.detect(HOST) == found
    assert found.devices or found.absent


def test_software_counts_when_it_is_chosen() -> None:
    need_a_loader()
    gpus = vulkan_probe.survey(HOST, LOADERS).gpus
    soft = [index for index, one in enumerate(gpus) if one.kind == "CPU"]
    if not soft:
        pytest.skip("no software renderer is installed")
    found = vulkan.detect(With(GGML_VK_VISIBLE_DEVICES=str(soft[0])))
    assert [device.kind for device in found.devices] == ["software"]
    assert found.devices[0].memory > 0


def test_without_drivers_vulkan_says_so() -> None:
    need_a_loader()
    found = vulkan.detect(With(VK_DRIVER_FILES="/none.json", VK_ICD_FILENAMES="/none.json"))
    assert found.devices == ()
    assert found.absent[0].why.startswith("no Vulkan driver is installed")


def test_a_loader_that_cannot_be_loaded() -> None:
    survey = vulkan_probe.survey(Alone(), ["/none/libvulkan.so.1", "/etc/passwd"])
    assert survey.error.startswith("Vulkan does not work: /etc/passwd: ")
    assert vulkan_probe.survey(Alone(), []).error == (
        "Vulkan does not work: no Vulkan loader was named"
    )


# --- loaders that are made for it ----------------------------------------------------------------


def made(folder: Path, behaviour: str = "") -> list[str]:
    """A loader of our own, compiled with Vulkan's own header."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not (header := _header()):
        pytest.skip("a C compiler and vulkan/vulkan.h are needed to make a loader")
    library = str(folder / "libvulkan.so.1")
    flags = ["-shared", "-fPIC", "-O1", f"-I{header}", f"-DBEHAVIOUR={behaviour}"]
    done = HOST.run([compiler, *flags, str(SOURCE), "-o", library], limits=LIMITS)
    assert done.code == 0, done.err
    return [library]


def _header() -> str:
    folders = ("/usr/include", "/usr/local/include")
    return next((one for one in folders if Path(one, "vulkan/vulkan.h").exists()), "")


def test_every_field_is_where_the_header_says(tmp_path: Path) -> None:
    survey = vulkan_probe.survey(Alone(), made(tmp_path))
    assert survey.error == ""
    assert survey.api == "1.3.239"
    radv, amdvlk, intel, old, older = survey.gpus
    assert (radv.name, radv.kind, radv.vendor, radv.device) == (
        "Radeon (RADV)",
        "DISCRETE_GPU",
        0x1002,
        0x1000,
    )
    assert [one.api for one in survey.gpus] == ["1.4.305", "1.3.302", "1.2.0", "1.0.155", "1.0.2"]
    assert [one.driver_id for one in survey.gpus] == [3, 2, 6, 0, 0]
    assert [one.driver for one in survey.gpus] == ["Mesa 25.0.7"] * 3 + [""] * 2
    assert [one.twin for one in survey.gpus] == [0, 0, 2, 3, 4]
    assert [one.storage16 for one in survey.gpus] == [True, True, False, False, False]
    assert [one.memory >> 30 for one in survey.gpus] == [16, 16, 24, 24, 16]
    assert (intel.kind, old.kind, older.kind) == ("INTEGRATED_GPU", "INTEGRATED_GPU", "CPU")
    assert amdvlk.device == 0x1001
    assert [one.name for one in vulkan.usable(survey.gpus, None)] == ["Radeon (RADV)"]


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (
            "return VK_ERROR_INCOMPATIBLE_DRIVER;",
            "creating an instance failed: incompatible driver",
        ),
        ("return VK_ERROR_TOO_MANY_OBJECTS;", "creating an instance failed: VkResult -10"),
        ("*(volatile int *) 0 = 1;", "SIGSEGV"),
        ("abort();", "SIGABRT"),
        ("_exit(3);", "exit code 3"),
    ],
)
def test_a_loader_that_fails_is_told(tmp_path: Path, behaviour: str, expected: str) -> None:
    survey = vulkan_probe.survey(Alone(), made(tmp_path, behaviour))
    assert survey.gpus == ()
    assert survey.error.endswith(expected)


def test_a_loader_that_talks_is_understood(tmp_path: Path) -> None:
    loud = 'write(1, "MESA: {warning}\\n", 16);'
    assert len(vulkan_probe.survey(Alone(), made(tmp_path, loud)).gpus) == 5


def test_a_loader_that_hangs_is_ended(tmp_path: Path) -> None:
    survey = vulkan_probe.survey(Hasty(), made(tmp_path, "for (;;) pause();"))
    assert survey == Survey(error=vulkan_probe.HANGS)
