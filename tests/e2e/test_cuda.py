"""CUDA compiled for a GPU that need not be here: audited, proved on the CPU, and on the GPU where
there is one. It compiles for half an hour: ``make e2e-cuda`` asks for it. A toolkit of this machine
is used (``CUDA_HOME`` says where it is when it is not in a usual place), else one is brought along.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llamabuild import audit, proving, store, wheels
from llamabuild.audit.planned import device_codes
from llamabuild.backends import cuda
from llamabuild.errors import ProofFailed
from llamabuild.events import silent
from llamabuild.host import LocalHost
from llamabuild.model import Source
from tests.e2e.conftest import Run, as_built

HOST = LocalHost()
HERE = Path(__file__).resolve().parent
MACHINE = HERE.parent / "machines" / "h200.json"
RECIPE = HERE / "recipes" / "cuda-portable.toml"

pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(
        os.environ.get("LLAMABUILD_E2E") != "cuda",
        reason="compiles for half an hour; LLAMABUILD_E2E=cuda (make e2e-cuda) asks for it",
    ),
]


@pytest.fixture(scope="module")
def made(run: Run, source: Source) -> dict[str, Any]:
    answer = run("build", str(RECIPE), "--machine", str(MACHINE), "--json")
    found: dict[str, Any] = json.loads(answer.stdout)["artifact"]
    return found


def test_the_device_code_is_that_of_the_plan(made: dict[str, Any]) -> None:
    flags = {flag["name"]: flag["value"] for flag in made["manifest"]["plan"]["flags"]}
    planned = device_codes(flags["CMAKE_CUDA_ARCHITECTURES"])
    inventory = audit.look(Path(made["path"]), HOST, instructions=lambda name: "ggml" in name)
    (library,) = (one for one in inventory.binaries if one.name == "libggml-cuda.so")
    found = {(one.kind, one.architecture) for one in library.device_code}
    assert ("sass", "90") in found
    assert found == planned
    print(sorted(found))


def test_without_its_device_code_it_is_refused(
    made: dict[str, Any], cache: Path, tmp_path: Path
) -> None:
    """As a strip that goes too far, or a compile for another GPU, leaves it."""
    kept = store.find(cache, made["key"], silent)
    prefix = shutil.copytree(kept.path, tmp_path / "stripped")
    library = prefix / "lib" / "libggml-cuda.so"
    library.chmod(0o644)
    subprocess.run(["objcopy", "--remove-section=.nv_fatbin", str(library)], check=True)
    built = as_built(kept, prefix)
    with pytest.raises(ProofFailed, match="sass") as caught:
        proving.audited(built, HOST, silent)
    assert caught.value.kind == "audit"


def test_the_cpu_path_is_proved_and_the_rest_is_marked(made: dict[str, Any]) -> None:
    proof = made["manifest"]["proof"]
    on_cpu = [check for check in proof["checks"] if check["name"].endswith("on the CPU")]
    assert len(on_cpu) > 80
    if cuda.detect(HOST).devices:
        assert not proof["unrun"]
    else:
        assert proof["unrun"] == ["cuda"]


IMPORTED = """
import sys
from llama_cpp import llama_cpp
llama_cpp.llama_backend_init()
paths = {line.split(maxsplit=5)[-1].strip() for line in open("/proc/self/maps") if "/" in line}
print("\\n".join(path for path in paths if "libcublas" in path or "libcudart" in path))
"""


def test_the_wheel_finds_its_libraries_in_a_fresh_environment(
    made: dict[str, Any], cache: Path, tmp_path: Path
) -> None:
    """Without a toolkit and without a driver: NVIDIA's wheels are among its requirements."""
    tools = {tool["name"]: tool["path"] for tool in made["manifest"]["plan"]["tools"]}
    if not tools["nvcc"].startswith(str(cache)):
        pytest.skip(f"it was made with a toolkit of this machine: {tools['nvcc']}")
    (wheel,) = (Path(made["path"]) / "wheel").glob("*.whl")
    assert any(one.startswith("nvidia-cublas") for one in wheels.requirements_of(wheel))
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    argv = [str(python), "-I", "-c", IMPORTED]
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert len(told) >= 2
    assert all(path.startswith(str(tmp_path)) for path in told), told


def test_on_a_gpu_it_is_proved_there(made: dict[str, Any], run: Run) -> None:
    if not cuda.detect(HOST).devices:
        pytest.skip("there is no NVIDIA GPU here: the device code is audited, not run")
    answer = json.loads(run("prove", made["key"], "--json").stdout)
    on_device = [one for one in answer["proof"]["checks"] if one["name"].endswith("on the device")]
    assert on_device
    assert all(re.search(r"weights in .*CUDA0", one["detail"]) for one in on_device[:-1])
