"""What a result requires, from facts about files as an audit finds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild.audit import Binary, Inventory
from llamabuild.audit.device_code import DeviceCode
from llamabuild.audit.elf import Elf
from llamabuild.audit.isa import Isa, Use
from llamabuild.audit.planned import planned, variants, with_implied
from llamabuild.matching import expected, measured
from llamabuild.model import Flag, Plan, Requires, Tool, Variant
from tests.unit.planned import plans
from tests.unit.values import plan

AVX2 = ("sse4_2", "avx", "f16c", "fma", "avx2", "bmi2")
AVX512 = (*AVX2, "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl")


def made(*features: str, system: str = "linux", **values: bool | str) -> Plan:
    flags = tuple(Flag(name=name, value=value, why="") for name, value in values.items())
    fingerprint = f"{system}-x86_64-test"
    return replace(plan(fingerprint), cpu_features=features, flags=flags)


def binary(name: str, *features: str, **facts: object) -> Binary:
    """A library whose code was looked at."""
    uses = tuple(Use(feature=one, count=2, symbol="f") for one in features)
    isa = Isa(uses=uses, instructions=9, asks=facts.pop("asks", ()))  # type: ignore[arg-type]
    code = facts.pop("device_code", ())
    elf = Elf(arch="x86_64", kind="shared", **facts)  # type: ignore[arg-type]
    return Binary(path=f"lib/{name}", sha256=name, elf=elf, isa=isa, device_code=code)  # type: ignore[arg-type]


def of(plan: Plan, *files: Binary, unread: tuple[str, ...] = ()) -> Requires:
    """What files require, with a library for the CPU among them."""
    cpu = () if any("ggml-cpu" in one.name for one in files) else (binary("libggml-cpu.so"),)
    return measured(plan, Inventory(root=Path("/p"), binaries=(*files, *cpu), unread=unread))


def unlooked(file: Binary) -> Binary:
    return replace(file, isa=Isa())


# --- versions and libraries ----------------------------------------------------------------------


def test_the_highest_version_of_all_files_counts() -> None:
    found = of(
        made(),
        binary("a.so", versions=(("GLIBC", "2.9"), ("GLIBCXX", "3.4.30"))),
        binary("b.so", versions=(("GLIBC", "2.34"), ("GLIBCXX", "3.4.9"))),
    )
    assert found.versions == (("GLIBC", "2.34"), ("GLIBCXX", "3.4.30"))
    assert (found.os, found.arch, found.libc) == ("linux", "x86_64", "glibc")


def test_versions_of_a_library_that_comes_along_do_not_count() -> None:
    needs = binary("a.so", versions=(("GLIBC", "2.34"), ("GLIBCXX", "3.4.30"), ("CXXABI", "1.3")))
    own = binary("libstdc++.so.6.0.30", soname="libstdc++.so.6")
    assert of(made(), needs, own).versions == (("GLIBC", "2.34"),)


def test_libraries_are_those_from_outside() -> None:
    found = of(
        made(),
        binary("liba.so", needed=("libb.so", "libc.so.6", "ld-linux-x86-64.so.2")),
        binary("b.so", soname="libb.so", needed=("libgomp.so.1",)),
    )
    assert found.libraries == ("libc.so.6", "libgomp.so.1")


def test_windows_does_not_tell_letters_apart() -> None:
    found = of(
        made(system="windows"),
        binary("ggml.dll", needed=("GGML-base.dll", "KERNEL32.dll")),
        binary("ggml-base.dll", needed=("kernel32.dll",)),
    )
    assert found.libraries == ("kernel32.dll",)


def test_places_are_what_the_loader_looks_at_and_what_the_tools_say() -> None:
    tools = (Tool(name="cuda-wheels", version="", places=("../../nvidia/cu13/lib", "../kit/lib")),)
    paths = (
        "/usr/local/cuda/lib64",
        "$ORIGIN",
        "$ORIGIN/../lib",
        "${ORIGIN}/../../nvidia/cu13/lib",
    )
    found = of(replace(made(), tools=tools), binary("a.so", runpath=paths), binary("b.so"))
    assert found.places == ("/usr/local/cuda/lib64", "../../nvidia/cu13/lib", "../kit/lib")


# --- instructions --------------------------------------------------------------------------------


def test_features_are_those_of_the_code_not_of_the_plan() -> None:
    found = of(made(*AVX2), binary("libggml-cpu.so", "avx", "avx2"), binary("libllama.so"))
    assert found.features == ("avx", "avx2")
    assert found.unknown == ()


def test_what_the_disassembly_cannot_tell_apart_is_as_planned() -> None:
    found = of(made(*AVX512), binary("libggml-cpu.so", "avx512f"))
    assert found.features == AVX512[len(AVX2) :]
    assert of(made("avx512f"), binary("libggml-cpu.so", "avx512f")).features == ("avx512f",)


def test_what_comes_along_is_not_asked_for_again() -> None:
    assert of(made("sse4_2"), binary("libggml-cpu.so", "sse4_2", "ssse3")).features == ("sse4_2",)
    assert of(made("sse4_2"), binary("libggml-cpu.so", "ssse3")).features == ("ssse3",)


def test_where_nobody_looked_the_plan_stands_and_it_is_said() -> None:
    found = of(made(*AVX2), unlooked(binary("libggml-cpu.so")), unlooked(binary("libllama.so")))
    assert found.features == AVX2
    assert found.unknown == (
        "the instructions of lib/libggml-cpu.so: the plan's CPU features stand for them",
    )
    also = of(made(), binary("libggml-cpu.so"), unread=("lib/x.dll: no objdump",))
    assert also.unknown == ("lib/x.dll: no objdump",)


@pytest.mark.parametrize("how", [{"asks": ("probe",)}, {"dispatched": ("memcpy",)}])
def test_code_that_is_chosen_at_run_time_is_for_other_processors_too(
    how: dict[str, tuple[str, ...]],
) -> None:
    odd = binary("libggml-cpu.so", "avx", "avx512f", **how)
    found = of(made("sse4_2", "avx"), odd)
    assert found.features == ("avx",)
    assert found.unknown == (
        "whether lib/libggml-cpu.so runs avx512f only where it is: it chooses at run time",
    )
    without = of(made("sse4_2", "avx"), binary("libggml-cpu.so", "avx", "avx512f"))
    assert without.features == ("avx", "avx512f")


def test_a_mark_of_the_linker_counts_whatever_the_code_is() -> None:
    marked = binary("libllama.so", isa_needed=("x86-64", "x86-64-v3"))
    assert of(made(), marked).features == AVX2


def test_variants_have_features_of_their_own() -> None:
    plan = made(GGML_CPU_ALL_VARIANTS=True)
    found = of(
        plan,
        binary("libggml-base.so"),
        binary("libggml-cpu-x64.so"),
        binary("libggml-cpu-haswell.so", "avx", "avx2", asks=("score",)),
        unlooked(binary("libggml-cpu-sandybridge.so")),
    )
    assert found.features == ()
    assert found.variants == (
        Variant(name="x64", features=()),
        Variant(name="haswell", features=("avx", "avx2")),
        Variant(name="sandybridge", features=("sse4_2", "avx")),
    )


# --- code for devices ----------------------------------------------------------------------------


def cuda(*codes: tuple[str, str], needed: tuple[str, ...] = ("libcudart.so.13",)) -> Requires:
    code = tuple(DeviceCode(kind=kind, architecture=name, count=1) for kind, name in codes)
    tools = (Tool(name="nvcc", version="13.0.88", backend="cuda"),)
    plan = replace(made(), backends=("cuda", "cpu"), tools=tools)
    return of(plan, binary("libggml-cuda.so", needed=needed, device_code=code))


def test_code_and_driver() -> None:
    found = cuda(("sass", "90a"), ("ptx", "90"), ("nvvm", "90"))
    assert found.backends == ("cuda", "cpu")
    assert found.device_code == (("ptx", "90"), ("sass", "90a"))
    assert found.drivers == (("cuda", "580.65.06"),)
    assert found.toolkits == (("cuda", "13.0.88"),)
    older = cuda(("sass", "90"), needed=("libcublas.so.12",))
    assert older.drivers == (("cuda", "525.60.13"),)


def test_code_that_cannot_be_opened_is_as_planned() -> None:
    sealed = DeviceCode(kind="offload", architecture="compressed", count=1)
    plan = replace(made(CMAKE_HIP_ARCHITECTURES="gfx1100;gfx1030"), backends=("hip", "cpu"))
    found = of(plan, binary("libggml-hip.so", device_code=(sealed,)))
    assert found.device_code == (("gfx", "gfx1030"), ("gfx", "gfx1100"))
    assert found.unknown == ("which code for devices it has: the plan's stands for it",)


def test_code_in_a_windows_library_is_as_planned() -> None:
    """objdump tells no sections there."""
    plan = made(system="windows", CMAKE_CUDA_ARCHITECTURES="89-real")
    found = of(replace(plan, backends=("cuda", "cpu")), binary("ggml-cuda.dll"))
    assert found.device_code == (("sass", "89"),)
    assert found.unknown


def test_files_that_nobody_can_read_require_what_was_planned() -> None:
    """A Mac's, or Windows' where there is no objdump."""
    mac = plans()["apple-m2-max", "auto"]
    line = "lib/libggml-cpu.dylib: a Mach-O file: its contents were not looked at"
    found = measured(mac, Inventory(root=Path("/p"), unread=(line,)))
    assert found.features == mac.cpu_features != ()
    assert found.versions == (("macOS", "15.0"),)
    assert found.unknown[0] == line
    assert len(found.unknown) == 2


def test_vulkans_modules_are_for_every_device() -> None:
    code = (DeviceCode(kind="spirv", architecture="1.5", count=3),)
    plan = replace(made(), backends=("vulkan", "cpu"))
    assert of(plan, binary("libggml-vulkan.so", device_code=code)).device_code == ()


# --- before it is built --------------------------------------------------------------------------


def test_a_plan_expects_no_less_than_the_files_it_describes_require() -> None:
    """For every recorded machine and recipe: files that hold exactly what was planned."""
    for (machine, recipe), one in plans().items():
        wanted = expected(one)
        if wanted.arch != "x86_64" or one.system != "linux":
            continue
        files = [
            binary(file, *planned(one, file, "x86_64"))
            for file in ("libggml-cpu.so", *(file for _, file in variants(one)))
        ]
        found = of(one, *files)
        some = with_implied(wanted.features)
        assert set(found.features) <= some, (machine, recipe)
        assert found.variants == wanted.variants, (machine, recipe)
        assert found.drivers == wanted.drivers, (machine, recipe)


def test_expected_on_a_machine_with_a_gpu() -> None:
    wanted = expected(plans()["h200", "auto"])
    assert wanted.device_code == (("ptx", "90"), ("sass", "90"))
    assert wanted.drivers == (("cuda", "580.65.06"),)
    assert wanted.versions == (("GLIBC", "2.39"),)
    assert "amx_int8" in wanted.features
    assert wanted.unknown == ("which libraries it needs is known when it is built",)


def test_what_is_left_to_cmake_is_not_known() -> None:
    plan = replace(made(CMAKE_CUDA_ARCHITECTURES="native"), backends=("cuda", "cpu"))
    assert expected(plan).device_code == ()
    assert any("left to CMake" in line for line in expected(plan).unknown)


def test_a_fat_plan_expects_its_variants() -> None:
    wanted = expected(plans()["zen4-vm-gcc12", "cpu-fat"])
    names = [one.name for one in wanted.variants]
    assert names[:3] == ["x64", "sse42", "sandybridge"]
    assert wanted.features == ()
    assert wanted.variants[2].features == ("sse4_2", "avx")
