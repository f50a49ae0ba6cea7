from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from llamabuild import wheels
from llamabuild.errors import BuildFailed, ConfigError
from llamabuild.model import Source
from tests.unit import values


def test_what_a_wheel_needs_leaves_out_extras_and_other_systems(tmp_path: Path) -> None:
    path = tmp_path / "a-1-py3-none-any.whl"
    metadata = (
        "Metadata-Version: 2.1\nName: a\nVersion: 1\n"
        "Requires-Dist: numpy>=1.20.0\n"
        "Requires-Dist: uvicorn>=0.22; extra == 'server'\n"
        "Requires-Dist: tomli; python_version < '3.0'\n"
        "Requires-Dist: jinja2>=2.11.3; python_version > '3.0'\n"
    )
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("a-1.dist-info/METADATA", metadata)
    names = [one.partition(">")[0] for one in wheels.requirements_of(path)]
    assert names == ["numpy", "jinja2"]


def test_what_a_source_needs_is_its_own_list(tmp_path: Path) -> None:
    source = Source(pin=values.pin(), root=tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["numpy>=1.20.0"]\n')
    assert wheels.requirements(source) == ("numpy>=1.20.0",)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    assert wheels.requirements(source) == ()
    (tmp_path / "pyproject.toml").write_text("[project\n")
    with pytest.raises(ConfigError, match="pyproject"):
        wheels.requirements(source)


def test_the_version_gets_its_label_once(tmp_path: Path) -> None:
    module = tmp_path / "__init__.py"
    module.write_text('from .x import *\n\n__version__ = "0.3.36"\n')
    wheels._stamp(module, "lb12345678")
    assert '__version__ = "0.3.36+lb12345678"' in module.read_text()
    with pytest.raises(BuildFailed, match="version"):
        wheels._stamp(module, "lb12345678")


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("libllama.so", True),
        ("libggml-cpu-haswell.so", True),
        ("libmtmd.so", True),
        ("ggml-base.dll", True),
        ("libllama-common.so", False),
        ("libllama-server-impl.so", False),
        ("llama-server", False),
    ],
)
def test_only_what_the_package_loads_is_packed(name: str, packed: bool) -> None:
    assert bool(wheels._LIBRARY.match(name)) == packed
