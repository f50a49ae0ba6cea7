"""Installed as a wheel or from a checkout, recipes, pins and data files are there."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from llamabuild import data, recipes

pytestmark = pytest.mark.steps
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder)]
    ended = subprocess.run([*argv, str(REPOSITORY)], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        pytest.skip(f"no wheel can be built here: {ended.stderr.strip().splitlines()[-1]}")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def test_every_data_file_of_the_checkout_is_in_the_wheel(unpacked: Path) -> None:
    package = REPOSITORY / "llamabuild"
    wanted = {
        path.relative_to(package)
        for path in package.rglob("*")
        if path.is_file() and path.suffix in {".py", ".toml", ".c", ".cpp", ".h", ".txt", ".typed"}
    }
    found = {
        path.relative_to(unpacked / "llamabuild") for path in (unpacked / "llamabuild").rglob("*.*")
    }
    assert wanted <= found


def test_the_installed_package_finds_recipes_and_pins(unpacked: Path) -> None:
    script = (
        "from llamabuild import data, pins, recipes;"
        "print(data.folder('recipes'), *recipes.names(), pins.default_pin().name)"
    )
    argv = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(unpacked)!r}); {script}"]
    said = subprocess.run(
        argv, capture_output=True, text=True, check=True, cwd=unpacked
    ).stdout.split()
    assert said[0] == str(unpacked / "llamabuild" / "_recipes")
    assert tuple(said[1:-1]) == recipes.names()
    assert said[-1] == "llama-cpp-python"


def test_the_checkout_finds_them_beside_the_package() -> None:
    assert data.folder("recipes") == REPOSITORY / "recipes"
    assert (data.folder("vendor") / "pins.toml").is_file()
