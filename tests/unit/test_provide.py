"""What is brought along, and when: the rules, without fetching anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import provide
from llamabuild.errors import ConfigError, FetchError, ToolMissing
from llamabuild.events import Event, Warned
from llamabuild.host import Answers, RecordedHost, Said
from llamabuild.model import Device, Hardware, Kit, Recipe, Toolchain
from llamabuild.provide import Means
from tests.unit import values

GPU = Device(
    backend="cuda",
    name="NVIDIA H200",
    architecture="90",
    driver="580.65 (CUDA 13.0)",
    kind="discrete",
    lacks="the CUDA toolkit (nvcc and cuBLAS)",
)
AUTO = Recipe(name="auto", summary="", backends=("auto",), cpu="native")
CUDA = replace(AUTO, name="cuda", backends=("cuda",))
CPU = replace(AUTO, name="cpu", backends=("cpu",))
NOTHING = Toolchain(compilers=(), tools=(), absent=())
GCC = replace(NOTHING, compilers=(values.compiler(),))


class Shelf:
    """Takes note of the kits that are asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failure: Exception | None = None) -> None:
        self.asked: list[str] = []
        self.failure = failure
        monkeypatch.setattr(provide, "_fetch", self)

    def __call__(self, kit: Kit, means: Means) -> bool:
        del means
        self.asked.append(kit.name)
        if self.failure:
            raise self.failure
        return True


def means(asked: str = "auto", arch: str = "x86_64", told: list[Event] | None = None) -> Means:
    host = RecordedHost(Answers(os="linux", arch=arch, libc="glibc 2.36"))
    emit = told.append if told is not None else (lambda _: None)
    return Means(asked=asked, host=host, cache=Path("/c"), emit=emit)


def machine(*devices: Device) -> Hardware:
    return replace(values.hardware(), devices=devices)


def test_a_machine_that_has_all_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(monkeypatch)
    assert provide.equip(AUTO, machine(replace(GPU, lacks="")), GCC, means()) is None
    assert shelf.asked == []


@pytest.mark.parametrize(
    ("asked", "toolchain", "kits"),
    [
        ("auto", NOTHING, ["zig"]),
        ("auto", GCC, []),
        ("zig", GCC, ["zig"]),
        ("machine", NOTHING, []),
        ("zig", replace(NOTHING, explicit_compiler=True), []),
    ],
)
def test_a_compiler_where_there_is_none(
    asked: str, toolchain: Toolchain, kits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(monkeypatch)
    host = provide.equip(CPU, machine(), toolchain, means(asked))
    assert shelf.asked == kits
    assert (host is not None) == bool(kits)


def test_a_machine_that_no_kit_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    Shelf(monkeypatch)
    with pytest.raises(ToolMissing, match="none for linux on s390x"):
        provide.equip(CPU, machine(), NOTHING, means(arch="s390x"))


@pytest.mark.parametrize(
    ("recipe", "asked", "gpu", "kits"),
    [
        (AUTO, "auto", GPU, ["cuda-13.0"]),
        (CUDA, "auto", GPU, ["cuda-13.0"]),
        (CPU, "auto", GPU, []),
        (CUDA, "machine", GPU, []),
        (CUDA, "auto", replace(GPU, architecture="61"), []),
        (CUDA, "auto", replace(GPU, driver="550.54 (CUDA 12.4)"), []),
    ],
    ids=["auto", "named", "not wanted", "machine", "too old a GPU", "too old a driver"],
)
def test_a_toolkit_that_serves_the_gpu_and_its_driver(
    recipe: Recipe, asked: str, gpu: Device, kits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(monkeypatch)
    host = provide.equip(recipe, machine(gpu), GCC, means(asked))
    assert shelf.asked == kits
    if kits:
        assert host is not None
        assert host.environ["CUDA_HOME"].startswith("/c/kits/cuda-13.0-")
        assert host.environ["CUDA_HOME"].endswith("/toolkit")
        assert host.system() == ("linux", "", "x86_64")


def test_without_a_network_only_a_named_back_end_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    Shelf(monkeypatch, FetchError("there is no network", "Plug it in."))
    told: list[Event] = []
    assert provide.equip(AUTO, machine(GPU), GCC, means(told=told)) is None
    (warning,) = told
    assert isinstance(warning, Warned)
    assert warning.message == "cuda-13.0 cannot be had: there is no network"
    with pytest.raises(FetchError):
        provide.equip(CUDA, machine(GPU), GCC, means())


def test_a_toolchain_that_nobody_knows() -> None:
    with pytest.raises(ConfigError, match="no toolchain 'icc'"):
        provide.check("icc")


def test_who_only_looks_is_told_what_would_be_fetched(tmp_path: Path) -> None:
    told: list[Event] = []
    looking = replace(means(told=told), cache=tmp_path, only_look=True)
    assert provide.equip(CUDA, machine(GPU), NOTHING, looking) is None
    assert [str(one).partition("brings along ")[2][:9] for one in told] == [
        "zig (a C ",
        "cuda-13.0",
    ]
    assert not list(tmp_path.iterdir())


def test_a_compiler_cache_is_only_brought_along_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shelf = Shelf(monkeypatch)
    bare = replace(means(), cache=tmp_path)
    assert provide.compiler_cache("none", bare) is None
    assert provide.compiler_cache("auto", bare) is None
    assert shelf.asked == []
    found = provide.compiler_cache("sccache", bare)
    assert shelf.asked == ["sccache"]
    assert found
    assert found.path.startswith(str(tmp_path / "kits" / "sccache-"))


def test_a_compiler_cache_that_is_here_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shelf = Shelf(monkeypatch)
    names = ("ccache", "sccache")
    answers = Answers(
        os="linux",
        arch="x86_64",
        programs={name: f"/usr/bin/{name}" for name in names},
        said=tuple(Said(command=f"{name} --version", out=(f"{name} 4.8",)) for name in names),
    )
    host = RecordedHost(answers)
    here = replace(means(), host=host, cache=tmp_path)
    for asked, name in (("auto", "ccache"), ("sccache", "sccache")):
        found = provide.compiler_cache(asked, here)
        assert found
        assert found.path == f"/usr/bin/{name}"
    assert shelf.asked == []


def test_a_compiler_cache_that_there_is_not_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no compiler cache 'fastcache'"):
        provide.compiler_cache("fastcache", replace(means(), cache=tmp_path))
    with pytest.raises(ToolMissing, match="none to bring along"):
        provide.compiler_cache("sccache", replace(means(arch="mips"), cache=tmp_path))
