"""Variant wheels: made from the wheels of an index, and chosen by uv."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import index
from llamabuild.events import Event, Noticed, Warned, silent
from llamabuild.index import checking, folder, properties, variants
from llamabuild.model import Requires, Variant
from llamabuild.wheels.about import About
from tests.steps import test_index_clients as clients
from tests.steps.test_index_clients import NOW, Running, environ, installed, needs_uv, python_of
from tests.unit import indexed

pytestmark = pytest.mark.steps


def needing(**more: object) -> Requires:
    return replace(indexed.BARE, **more)  # type: ignore[arg-type]


FAT = indexed.statement(
    "cpu.fat",
    cpu="fat",
    requires=needing(
        variants=(Variant(name="haswell", features=("avx2",)), Variant(name="x64", features=()))
    ),
)
V2 = indexed.statement("cpu.v2", requires=needing(features=("sse4_2",)))
AMX = indexed.statement("cpu.amx", requires=needing(features=("amx_int8",)))
CUDA = indexed.statement(
    "cu128.sm80",
    backends=("cuda", "cpu"),
    requires=needing(
        backends=("cuda", "cpu"),
        device_code=(("sass", "80"), ("ptx", "80")),
        toolkits=(("cuda", "12.8.93"),),
    ),
)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    made = [indexed.wheel(tmp_path / "house", one) for one in (FAT, V2, AMX, CUDA)]
    index.publish(tmp_path / "index", made, check=index.minimal, now=NOW, emit=silent)
    return tmp_path / "index"


def test_what_can_be_said_is_made_and_the_rest_is_named(top: Path) -> None:
    told: list[Event] = []
    made = variants.write(top, emit=told.append)
    end = "0.3.36-py3-none-any"
    assert set(made) == {
        f"llama_cpp_python-{end}{label}.whl" for label in ("", "-null", "-cpu.v2", "-cu128.sm80")
    }
    said = [one.message for one in told if isinstance(one, Noticed)]
    assert len(said) == 1
    assert "no variant wheel: no x86-64 level has amx_int8" in said[0]
    document = json.loads(folder.place(top, "variants", _DOCUMENT).read_bytes())
    assert document["$schema"] == properties.SCHEMA
    assert document["default-priorities"] == {"namespace": ["nvidia", "x86_64"]}
    assert document["variants"]["null"] == {}
    assert document["variants"]["cpu.v2"] == {"x86_64": {"level": ["v2"]}}
    cuda = document["variants"]["cu128.sm80"]["nvidia"]
    assert cuda["cuda_version_lower_bound"] == ["12.8"]
    assert {"80_real", "86_real", "90_real", "120_real"} <= set(cuda["sm_arch"])  # by PTX too
    assert not {"75_real", "70_real"} & set(cuda["sm_arch"])
    assert checking.check(top).unsound == ()


_DOCUMENT = "llama_cpp_python-0.3.36-variants.json"


def test_a_variant_wheel_is_whole(top: Path) -> None:
    """One label in it, RECORD right, no local version, and nothing else changed."""
    for name in variants.write(top, emit=silent):
        with zipfile.ZipFile(folder.place(top, "variants", name)) as archive:
            info = "llama_cpp_python-0.3.36.dist-info"
            rows = [*csv.reader(io.StringIO(archive.read(f"{info}/RECORD").decode()))]
            assert {row[0] for row in rows} == set(archive.namelist())
            for member, digest, size in rows[:-1]:
                data = archive.read(member)
                assert len(data) == int(size)
                assert indexed.hash_of(data) == digest
            metadata = archive.read(f"{info}/METADATA").decode()
            assert "\nVersion: 0.3.36\n" in metadata
            beside = folder.place(top, "variants", f"{name}.metadata")
            assert beside.read_text(encoding="utf-8") == metadata
            label = name.removesuffix(".whl").split("-")[5:]
            if label:
                said = json.loads(archive.read(f"{info}/variant.json"))
                assert list(said["variants"]) == label
            else:
                assert f"{info}/variant.json" not in archive.namelist()


def test_again_changes_no_wheel_and_a_new_one_has_a_name_of_its_own(
    top: Path, tmp_path: Path
) -> None:
    before = {name: _stamp(top, name) for name in variants.write(top, emit=silent)}
    assert {name: _stamp(top, name) for name in variants.write(top, emit=silent)} == before
    said = indexed.statement("cpu.v2", "lb2", requires=V2.requires)
    new = indexed.wheel(tmp_path / "house", said)
    index.publish(top, [new], check=index.minimal, now=NOW, replace=True, emit=silent)
    after = variants.write(top, emit=silent)
    assert set(after) - set(before) == {"llama_cpp_python-0.3.36-2-py3-none-any-cpu.v2.whl"}
    old = "llama_cpp_python-0.3.36-py3-none-any-cpu.v2.whl"
    assert old not in after
    assert _stamp(top, old) == before[old]


def _stamp(top: Path, name: str) -> tuple[int, bytes]:
    path = folder.place(top, "variants", name)
    return path.stat().st_mtime_ns, path.read_bytes()


def test_without_a_wheel_for_everybody_that_is_said(tmp_path: Path) -> None:
    wheel = indexed.wheel(tmp_path / "house", V2)
    index.publish(tmp_path / "index", [wheel], check=index.minimal, now=NOW, emit=silent)
    told: list[Event] = []
    variants.write(tmp_path / "index", emit=told.append)
    assert [one.message for one in told if isinstance(one, Warned)] == [
        "no wheel chooses its CPU code when it starts: clients without variants find none"
    ]


def test_two_for_one_name_are_not_both_made(top: Path, tmp_path: Path) -> None:
    again = indexed.statement("cpu.two", cpu="fat", requires=FAT.requires)
    wheel = indexed.wheel(tmp_path / "house", again)
    index.publish(top, [wheel], check=index.minimal, now=NOW, emit=silent)
    told: list[Event] = []
    made = variants.write(top, emit=told.append)
    assert len(made) == len(set(made)) == 4
    assert [one for one in told if isinstance(one, Warned)]


def test_damage_is_found(top: Path) -> None:
    name = variants.write(top, emit=silent)[0]
    path = folder.place(top, "variants", name)
    path.write_bytes(path.read_bytes()[:-1])
    assert any(name in one for one in checking.check(top).unsound)
    checking.repair(top)
    assert checking.check(top).unsound == ()
    path.unlink()
    variants.write(top, emit=silent)
    assert checking.check(top).unsound == ()
    page = folder.place(top, "variants", "index.json")
    page.write_bytes(page.read_bytes().replace(b'"sha256":"', b'"sha256":"0', 1))
    assert checking.check(top).unsound
    checking.repair(top)
    assert checking.check(top).unsound == ()


# --- uv ------------------------------------------------------------------------------------------


@pytest.fixture
def running(top: Path) -> Iterator[Running]:
    variants.write(top, emit=silent)
    with clients.served(top) as found:
        yield found


def chosen(running: Running, tmp_path: Path, **more: str) -> object:
    assert clients.UV
    python = python_of(tmp_path)
    argv = [clients.UV, "pip", "install", "--python", str(python), "llama-cpp-python"]
    argv += ["--index-url", f"{running.address}variants/"]
    ended = subprocess.run(
        argv, env=environ(tmp_path, **more), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return installed(python)["VARIANT"]


def _asks_for_variants() -> bool:
    """True when this uv has the preview."""
    if clients.UV is None:
        return False
    ended = subprocess.run(
        [clients.UV, "--preview-features", "wheel-variants", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode == 0 and "nknown preview feature" not in ended.stderr


PREVIEW = {"UV_PREVIEW_FEATURES": "wheel-variants"}
needs_preview = pytest.mark.skipif(
    not _asks_for_variants() or sys.platform != "linux",
    reason="this uv has no preview of wheel variants",
)


def gpu(driver: str, architecture: str) -> dict[str, str]:
    """A GPU that uv's provider is told of."""
    return {
        "NV_VARIANT_PROVIDER_FORCE_CUDA_DRIVER_VERSION": driver,
        "NV_VARIANT_PROVIDER_FORCE_SM_ARCH": architecture,
    }


@needs_uv
def test_uv_without_the_preview_takes_the_plain_wheel(running: Running, tmp_path: Path) -> None:
    assert chosen(running, tmp_path) == "cpu.fat"


@needs_preview
@pytest.mark.parametrize(
    ("machine", "variant"),
    [
        (gpu("12.8", "9.0"), "cu128.sm80"),
        (gpu("12.8", "8.0"), "cu128.sm80"),
        (gpu("13.0", "12.0"), "cu128.sm80"),  # by PTX
        (gpu("12.4", "9.0"), "cpu.v2"),  # the driver is too old
        (gpu("12.8", "7.5"), "cpu.v2"),  # no code for it
    ],
)
def test_uv_with_the_preview_chooses_by_hardware(
    running: Running, tmp_path: Path, machine: dict[str, str], variant: str
) -> None:
    assert chosen(running, tmp_path, **PREVIEW, **machine) == variant


def test_pip_takes_the_plain_wheel(running: Running, tmp_path: Path) -> None:
    python = python_of(tmp_path)
    asked = ("--index-url", f"{running.address}variants/", "llama-cpp-python")
    clients.pip(python, "install", *asked, env=environ(tmp_path))
    assert installed(python)["VARIANT"] == "cpu.fat"


@pytest.mark.parametrize(
    ("requires", "said"),
    [
        (needing(arch="aarch64"), "no provider knows aarch64"),
        (needing(backends=("vulkan", "cpu")), "no provider knows vulkan"),
        (needing(features=("avx512f", "avx512_bf16")), "no x86-64 level has avx512_bf16"),
        (needing(features=("avx512f",)), {"x86_64": {"level": ["v4"]}}),
        (needing(features=("avx",)), {"x86_64": {"level": ["v3"]}}),
        (needing(), {"x86_64": {"level": ["v1"]}}),
    ],
)
def test_properties(requires: Requires, said: object) -> None:
    assert properties.properties(requires) == said


def test_statements_are_what_they_were(top: Path) -> None:
    """The statement in a variant wheel is that of the wheel that it was made of."""
    names = {one.label: one for one in (FAT, V2, CUDA)}
    for name in variants.write(top, emit=silent):
        with zipfile.ZipFile(folder.place(top, "variants", name)) as archive:
            said = json.loads(archive.read("llama_cpp_python-0.3.36.dist-info/llamabuild.json"))
        known: About = names[said["label"]]
        assert said["key"] == known.key
