"""The real llama.cpp as Windows programs, made on Linux and proved under Wine.

It compiles for minutes: ``make e2e-windows`` asks for it.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from llamabuild import audit, proving, store
from llamabuild.errors import ProofFailed
from llamabuild.events import silent
from llamabuild.host import LocalHost
from llamabuild.model import Source
from tests.e2e.conftest import Run, as_built

HOST = LocalHost()
HERE = Path(__file__).resolve().parent
MACHINE = HERE.parent / "machines" / "windows-11-with-visual-studio.json"
RECIPE = HERE / "recipes" / "cpu-without-avx-vnni.toml"

pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(
        os.environ.get("LLAMABUILD_E2E") != "windows",
        reason="compiles for minutes; LLAMABUILD_E2E=windows (make e2e-windows) asks for it",
    ),
    pytest.mark.skipif(not shutil.which("wine"), reason="wine is not installed"),
]


@pytest.fixture(scope="module")
def made(run: Run, source: Source) -> dict[str, Any]:
    answer = run("build", str(RECIPE), "--machine", str(MACHINE), "--json")
    found: dict[str, Any] = json.loads(answer.stdout)["artifact"]
    return found


def test_it_is_proved_under_wine(made: dict[str, Any]) -> None:
    proof, plan = made["manifest"]["proof"], made["manifest"]["plan"]
    assert {"avx2", "fma", "f16c", "bmi2"} <= set(plan["cpu_features"])
    assert proof["device"].endswith("under wine")
    assert len(proof["checks"]) > 40
    assert proof["unrun"] == ["the Python bindings"]
    print(len(proof["checks"]), "checks in", round(proof["seconds"]), "s")


def test_everything_is_a_windows_program_with_the_instructions_of_the_plan(
    made: dict[str, Any],
) -> None:
    inventory = audit.look(Path(made["path"]), HOST, instructions=lambda name: "ggml-cpu" in name)
    names = {one.name for one in inventory.binaries}
    assert {"llama-server.exe", "llama-cli.exe", "ggml-cpu.dll"} <= names
    (kernels,) = (one for one in inventory.binaries if one.name == "ggml-cpu.dll")
    assert {"avx2", "fma"} <= kernels.isa.features
    assert "KERNEL32.dll" in kernels.elf.needed


def test_the_wheel_has_what_its_libraries_need(made: dict[str, Any]) -> None:
    (wheel,) = (Path(made["path"]) / "wheel").iterdir()
    assert wheel.name.endswith("-py3-none-win_amd64.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {Path(name).name for name in archive.namelist() if name.endswith(".dll")}
    assert {"ggml.dll", "ggml-base.dll", "ggml-cpu.dll"} < packed
    assert {"llama.dll", "libllama.dll"} & packed
    inventory = audit.look(Path(made["path"]), HOST, instructions=lambda _: False)
    needed = {name for one in inventory.binaries if one.name in packed for name in one.elf.needed}
    own = {one.name for one in inventory.binaries}
    assert needed & own <= packed


def test_without_a_library_it_is_refused(made: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    kept = store.find(cache, made["key"], silent)
    prefix = shutil.copytree(kept.path, tmp_path / "bare")
    (prefix / "bin" / "ggml-base.dll").unlink()
    built = as_built(kept, prefix)
    with pytest.raises(ProofFailed, match=r"ggml-base\.dll") as caught:
        proving.audited(built, HOST, silent)
    assert caught.value.kind == "library-missing"
