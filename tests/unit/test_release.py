"""What released wheels are called, how they are put together, and what their guard says."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from llamabuild.backends import BACKENDS
from llamabuild.errors import IntegrityError
from llamabuild.model import Flag, Plan, Requires, Tool, Variant
from llamabuild.release import archive, guard, labels, preflight, sbom, tags
from llamabuild.wheels.about import About
from tests.unit.values import plan

KEY = "3f9a1c2d" + "0" * 56
NVCC = Tool(name="nvcc", version="13.0.88", backend="cuda")
ROCM = Tool(name="rocm", version="7.2.0", backend="hip")


def made(cpu: str = "portable", *backends: str, tools: tuple[Tool, ...] = (), **more: str) -> Plan:
    flags = tuple(Flag(name=name, value=value, why="") for name, value in more.items())
    kept = replace(plan(), cpu=cpu, backends=(*backends, "cpu"), tools=tools, flags=flags)
    return replace(kept, cpu_features=("sse4_2", "avx", "f16c", "fma", "avx2", "bmi2"))


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (made("fat"), "cpu"),
        (made("portable"), "cpu.portable"),
        (made("x86-64-v3"), "cpu.v3"),
        (made("native"), "cpu.native.avx2"),
        (made("fat", "vulkan"), "vulkan"),
        (made("native", "vulkan"), "vulkan.cpu.native.avx2"),
        (
            made("fat", "cuda", tools=(NVCC,), CMAKE_CUDA_ARCHITECTURES="86-real;89;100-virtual"),
            "cu130.ptx100.sm86.sm89",
        ),
        (
            made("fat", "hip", tools=(ROCM,), CMAKE_HIP_ARCHITECTURES="gfx1100;gfx90a"),
            "rocm72.gfx90a.gfx1100",
        ),
        (made("x86-64-v4", "cuda", "rpc", tools=(NVCC,)), "cu130.rpc.cpu.v4"),
    ],
)
def test_variants(wanted: Plan, named: str) -> None:
    assert labels.variant(wanted) == named


def test_native_amx_and_arm() -> None:
    amx = replace(made("native"), cpu_features=("avx512_vnni", "avx512_bf16", "amx_int8"))
    assert labels.variant(amx) == "cpu.native.vnni.bf16.amx"
    arm = replace(made("native").compiler, target="aarch64-linux-gnu")
    mine = replace(made("native"), compiler=arm, cpu_features=("asimddp", "fp16"))
    assert labels.variant(mine) == "cpu.native.armv8.a.dotprod.fp16"


@given(
    st.sampled_from(["fat", "portable", "native", "x86-64-v2", "x86-64-v3", "x86-64-v4"]),
    st.lists(st.sampled_from(sorted(BACKENDS)), unique=True),
    st.text("0123456789abcdef", min_size=8, max_size=64),
)
def test_labels_are_their_own_normal_form(cpu: str, backends: list[str], key: str) -> None:
    named = labels.label(made(cpu, *(one for one in backends if one != "cpu")), key)
    version = f"0.3.36+{named}"
    assert str(Version(version)) == version
    assert named.endswith(f".lb{key[:8]}")


def test_a_wheel_with_the_toolkit_inside_is_called_otherwise() -> None:
    kit = replace(NVCC, name="cuda-wheels", requires=("nvidia-cublas>=13,<14",))
    both = made("fat", "cuda", tools=(NVCC, kit))
    assert labels.variant(both) == "cu130"
    assert labels.variant(both, whole=True) == "cu130.whole"
    assert labels.variant(made("fat"), whole=True) == "cpu"


# --- archives ------------------------------------------------------------------------------------


def tree(folder: Path) -> Path:
    for name in ("llama_cpp/a.py", "llama_cpp/lib/libx.so", "z-1.dist-info/METADATA"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        archive.pack(tree(tmp_path / name), tmp_path / f"{name}.whl")
    (tmp_path / "two" / "llama_cpp" / "a.py").touch()  # another time
    archive.pack(tmp_path / "two", tmp_path / "two.whl")
    assert (tmp_path / "one.whl").read_bytes() == (tmp_path / "two.whl").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.whl") as packed:
        names = packed.namelist()
        assert names[-1] == "z-1.dist-info/RECORD"
        assert names[:-1] == ["llama_cpp/a.py", "llama_cpp/lib/libx.so", "z-1.dist-info/METADATA"]
        known = archive.recorded(packed.read(names[-1]).decode())
    assert known["llama_cpp/a.py"] == (
        "sha256=" + archive.fingerprint(tmp_path / "one/llama_cpp/a.py")[0],
        "14",
    )


@pytest.mark.parametrize("name", ["../evil", "/etc/x", "a\\b", "a//b", "C:x", "./a", "a\nb"])
def test_unsafe_names_are_refused(tmp_path: Path, name: str) -> None:
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr(zipfile.ZipInfo(name), "x")
    with pytest.raises(IntegrityError, match="no safe name"):
        archive.unpack(wheel, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_and_a_file_twice_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("llama_cpp/lib/libx.so")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as packed:
        packed.writestr(link, "/etc/passwd")
    with pytest.raises(IntegrityError, match="symbolic link"):
        archive.unpack(tmp_path / "a.whl", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "b.whl", "w") as packed:
        packed.writestr("A/x", "1")
        packed.writestr("a/x", "2")
    with pytest.raises(IntegrityError, match="twice"):
        archive.unpack(tmp_path / "b.whl", tmp_path / "out")


@pytest.mark.parametrize("text", ["a,sha256=x,1\na,sha256=y,1\n", "a,b\n", '"'])
def test_a_record_that_is_none(text: str) -> None:
    with pytest.raises(IntegrityError, match="RECORD"):
        archive.recorded(text)


# --- platform tags -------------------------------------------------------------------------------


def test_what_may_be_outside() -> None:
    plain = tags.expected_outside(("cuda", "cpu"), ())
    assert "libcuda.so.1" in plain
    assert not any(name.startswith("libcudart") for name in plain)
    assert "libcudart.so.*" in tags.expected_outside(("cuda", "cpu"), ("cuda",))
    assert "librocblas.so.*" in tags.expected_outside(("hip", "cpu"), ())
    assert not tags.is_drivers("libgomp.so.1")
    assert all(map(tags.is_drivers, ("nvcuda.dll", "NVCUDA.DLL")))


# --- the guard -----------------------------------------------------------------------------------


def about(requires: Requires, **more: Any) -> About:
    known: dict[str, Any] = {
        "release": "0.3.36",
        "variant": "cpu.v4",
        "label": "cpu.v4.lb3f9a1c2d",
        "key": KEY,
        "artifact": "a" * 64,
        "llamabuild": "1",
        "commit": "c" * 40,
        "build_number": 0,
        "backends": ("cpu",),
        "cpu": "x86-64-v4",
        "features": requires.features,
        "requires": requires,
        "compiler": "gcc 12",
        "created": "2026-01-01T00:00:00+00:00",
        "proved_on": "CPU: x",
        "checks": 1,
    }
    return About(**{**known, **more})


V4 = Requires(
    os="linux",
    arch="x86_64",
    features=("avx2", "avx512f", "sse4_1", "made_up"),
    libraries=("libc.so.6", "libcudart.so.13"),
)


def test_the_guard_knows_words_of_the_kernel_and_no_others() -> None:
    known = guard.facts(about(V4))
    assert known["features"] == {"avx2": ["avx2"], "avx512f": ["avx512f"], "sse4_1": ["sse4_1"]}
    assert preflight.missing(known, {"avx2", "sse4_1"}) == ["avx512f"]
    assert preflight.missing(known, {"avx2", "sse4_1", "avx512f"}) == []
    assert preflight.missing(known, None) == []


def test_variants_are_chosen_at_run_time_so_nothing_is_asked_for() -> None:
    fat = replace(V4, variants=(Variant(name="haswell", features=("avx2",)),))
    assert guard.facts(about(fat))["features"] == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("processor : 0\nflags\t\t: fpu avx2\nflags : other\n", {"fpu", "avx2"}),
        ("processor : 0\nFeatures : fp asimd\n", None),  # another architecture's: an emulator
        ("flags :\n", None),
        ("", None),
    ],
)
def test_what_a_machine_lists(tmp_path: Path, text: str, words: set[str] | None) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert preflight.cpuinfo("flags", str(tmp_path / "cpuinfo")) == words
    assert preflight.cpuinfo("flags", str(tmp_path / "nothing")) is None


def test_the_guard_refuses_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    known = guard.facts(about(V4))
    monkeypatch.setattr(preflight, "cpuinfo", lambda line: {"avx2", "sse4_1"})
    with pytest.raises(ImportError, match=r"cpu\.v4\.lb3f9a1c2d\) needs avx512f, which this proc"):
        preflight.check(known)
    monkeypatch.setenv("LLAMABUILD_GUARD", "off")
    preflight.check(known)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("Failed to load '/x': libggml-cpu.so: CPU ISA level is lower than required", "newer proc"),
        ("'/x': libcudart.so.13: cannot open shared object file: No such file", "NVIDIA's CUDA"),
        ("'/x': libodd.so.2: cannot open shared object file: No such file", "libodd.so.2 is not h"),
        ("/lib/libc.so.6: version `GLIBC_2.38' not found (required by /x)", "needs GLIBC 2.38 or"),
        ("something else", "cannot be loaded: something else"),
    ],
)
def test_what_a_loader_says_in_words(said: str, means: str) -> None:
    assert means in preflight.explained(guard.facts(about(V4)), said)


def test_the_guards_source_is_python_for_old_versions_too() -> None:
    import ast

    source = guard.module(about(V4))
    ast.parse(source, feature_version=(3, 8))
    assert guard.module(about(V4)) == source
    assert '"wheel": "llama-cpp-python 0.3.36+cpu.v4.lb3f9a1c2d"' in source


@pytest.mark.parametrize(
    "before", ["", "from __future__ import annotations\n", "x = 1\n# end delvewheel patch\n"]
)
def test_the_guard_is_imported_before_anything_is_loaded(tmp_path: Path, before: str) -> None:
    (tmp_path / "__init__.py").write_text(f"{before}from .llama_cpp import *\n")
    guard.install(tmp_path, about(V4))
    text = (tmp_path / "__init__.py").read_text()
    assert text == f"{before}{guard.IMPORT}from .llama_cpp import *\n"


# --- the bill of materials -----------------------------------------------------------------------


def test_pieces_are_known_by_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "libmtmd.so").write_bytes(b"\x7fELF ... bad codelengths ... json_abi_v3_12_0")
    (tmp_path / "libempty.so").touch()
    (tmp_path / "notes.txt").write_bytes(b"ma_atomic_global_lock")
    names = [row["name"] for row in sbom.vendored(tmp_path)]
    assert names == ["stb_image", "JSON for Modern C++"]


def test_every_piece_has_its_licence() -> None:
    texts = sbom.licences(labels.TABLE["component"])
    assert "llama.cpp.txt" in texts
    assert all(len(path.read_text(encoding="utf-8")) > 500 for path in texts.values())


def test_the_bill_is_the_same_each_time_and_whole() -> None:
    import json

    kit = Tool(name="cuda-wheels", version="", requires=("nvidia-cublas>=13,<14",))
    wanted = replace(made(), tools=(kit,))
    rows = labels.TABLE["component"][:2]
    said = sbom.bill(about(V4), wanted, rows, ())
    assert said == sbom.bill(about(V4), wanted, rows, ())
    told = json.loads(said)
    refs = {
        told["metadata"]["component"]["bom-ref"],
        *(one["bom-ref"] for one in told["components"]),
    }
    assert {one["ref"] for one in told["dependencies"]} == refs
    assert [one["name"] for one in told["components"]][-1] == "nvidia-cublas"
    assert told["specVersion"] == "1.6"
