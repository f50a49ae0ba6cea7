"""Vulkan from nothing to a proved artifact, on lavapipe: Mesa's Vulkan device on the CPU.

Compiling the shaders takes minutes, so this is done when asked for: ``make e2e-vulkan``. The
variable that selects lavapipe is what the proof is tried with, too: without it the same libraries
compute on the CPU and must be refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamabuild import pins, proving, store, wheels
from llamabuild.backends import vulkan, vulkan_probe
from llamabuild.errors import ProofFailed
from llamabuild.events import silent
from llamabuild.fetch import patch
from llamabuild.host import LocalHost
from llamabuild.model import Build, Source
from tests.e2e.conftest import Run

pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(
        os.environ.get("LLAMABUILD_E2E") != "vulkan",
        reason="compiles for minutes; LLAMABUILD_E2E=vulkan (make e2e-vulkan) asks for it",
    ),
]
VISIBLE = "GGML_VK_VISIBLE_DEVICES"
HOST = LocalHost()


@pytest.fixture(scope="module")
def name() -> Iterator[str]:
    """The device's name, while the variable selects it; skips where it cannot be built for."""
    gpus = vulkan_probe.survey(HOST, vulkan_probe.loaders(HOST)).gpus
    place = next((n for n, gpu in enumerate(gpus) if gpu.name.startswith("llvmpipe")), None)
    if place is None:
        pytest.skip("Vulkan shows no lavapipe here (Debian: mesa-vulkan-drivers)")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(VISIBLE, str(place))
        found = vulkan.detect(HOST)
        if any(device.lacks for device in found.devices):
            pytest.skip(f"{found.absent[0].why}. {found.absent[0].hint}")
        (device,) = found.devices
        yield device.name


@pytest.fixture(scope="module")
def made(name: str, run: Run, source: Source) -> dict[str, Any]:
    """What ``setup vulkan`` gives, as JSON."""
    answer: dict[str, Any] = json.loads(run("setup", "vulkan", "--json").stdout)
    return answer


@pytest.fixture
def unselected(made: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on nothing selects the device, and there is no other."""
    monkeypatch.delenv(VISIBLE)
    if others := vulkan.detect(HOST).devices:
        pytest.skip(f"{others[0].name} is a Vulkan device, too")


def test_every_layer_ran_on_the_device(made: dict[str, Any], name: str) -> None:
    proof = made["artifact"]["manifest"]["proof"]
    assert f": {name}" in proof["device"]
    assert name.startswith("llvmpipe")
    details = [one["detail"] for one in proof["checks"] if one["name"].endswith("on the device")]
    counted = [re.search(r"(\d+) of (\d+) layers offloaded", detail) for detail in details]
    layers = [(int(found[1]), int(found[2])) for found in counted if found]
    assert len(layers) >= 3
    assert all(offloaded == of > 0 for offloaded, of in layers)


def test_the_library_is_there_and_the_plan_says_so(made: dict[str, Any]) -> None:
    assert made["artifact"]["manifest"]["plan"]["backends"] == ["vulkan", "cpu"]
    assert list((Path(made["artifact"]["path"]) / "lib").glob("*ggml-vulkan*"))


def test_the_manifest_holds_the_patch_that_made_it_compile(
    made: dict[str, Any], source: Source
) -> None:
    (kept,) = made["artifact"]["manifest"]["plan"]["pin"]["patches"]
    (own,) = pins.default_pin().patches
    assert (kept["name"], kept["text"]) == (own.name, own.text)
    for change in patch.parse(own.text):
        lines = (source.root / change.path).read_text().split("\n")
        text = "".join(f"{line}\n" for line in lines)
        assert all("".join(hunk.new) in text for hunk in change.hunks)


def test_without_the_variable_the_proof_refuses_it(
    made: dict[str, Any], cache: Path, tmp_path: Path, unselected: None
) -> None:
    """ggml leaves software devices alone then, and everything would run, on the CPU."""
    kept = store.find(cache, made["artifact"]["key"], silent)
    built = Build(
        plan=kept.manifest.plan,
        prefix=kept.path,
        wheel=kept.wheel,
        log=kept.path / "build.log",
        seconds=kept.manifest.seconds,
        effective=kept.manifest.effective,
    )
    proving.environment(tmp_path, wheels.requirements_of(kept.wheel), host=HOST, cache=cache)
    with pytest.raises(ProofFailed, match="ggml lists no Vulkan device") as caught:
        proving.prove_in(built, tmp_path, HOST, silent)
    assert caught.value.kind == "device-missing"


def test_without_the_variable_there_is_nothing_to_set_up_for(run: Run, unselected: None) -> None:
    refused = run("setup", "vulkan", check=False)
    assert refused.returncode == 3
    assert f"{VISIBLE}=0" in refused.stderr


def test_a_tool_runs_with_and_without_the_variable(
    made: dict[str, Any], run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    key = made["artifact"]["key"][:12]
    devices = ("run", "llama-bench", "--artifact", key, "--", "--list-devices")
    assert name in run(*devices).stdout
    monkeypatch.delenv(VISIBLE)
    assert name not in run(*devices).stdout
