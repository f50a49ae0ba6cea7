from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild.audit import Binary, Inventory, Missing, Packed, differences, kind
from llamabuild.audit.device_code import DeviceCode
from llamabuild.audit.elf import Elf
from llamabuild.audit.isa import Isa, Use
from llamabuild.backends.cpu_sets import variant_rows
from llamabuild.model import Flag, Plan
from tests.unit.values import plan

FEATURES = ("sse4_2", "avx", "f16c", "fma", "avx2")


def planned(*backends: str, **values: bool | str) -> Plan:
    flags = tuple(Flag(name=name, value=value, why="") for name, value in values.items())
    return replace(plan(), backends=(*backends, "cpu"), cpu_features=FEATURES, flags=flags)


def binary(name: str, *features: str, arch: str = "x86_64", **elf: tuple[str, ...]) -> Binary:
    uses = tuple(Use(feature=one, count=2, symbol="f") for one in features)
    facts = Elf(arch=arch, kind="shared", **elf)  # type: ignore[arg-type]
    return Binary(path=f"lib/{name}", sha256=name, elf=facts, isa=Isa(uses=uses))


CPU = binary("libggml-cpu.so", "sse4_1", "avx", "f16c", "fma", "avx2")


def said(of: Plan, *binaries: Binary, **other: tuple[object, ...]) -> tuple[str, ...]:
    found = Inventory(root=Path("/p"), binaries=binaries)
    return differences(of, replace(found, **other))  # type: ignore[arg-type]


def test_as_planned() -> None:
    assert said(planned(), CPU, binary("libllama.so")) == ()


def test_an_extension_that_was_not_planned() -> None:
    lines = said(planned(), CPU, binary("libllama.so", "avx512f"))
    assert lines == ("lib/libllama.so uses avx512f 2 times, first in f, which was not planned",)


def test_code_that_is_chosen_at_run_time_is_told_with_it() -> None:
    odd = binary("a.so", "avx512f", dispatched=("memcpy",))
    assert "chosen at run time there (memcpy)" in said(planned(), CPU, odd)[0]
    asks = replace(CPU, isa=replace(CPU.isa, asks=("probe",)))
    assert said(planned(), asks) == ()
    lines = said(replace(planned(), cpu_features=FEATURES[:4]), asks)
    assert lines[0].endswith(
        "which was not planned; the file asks the processor what it is (probe)"
    )


@pytest.mark.parametrize("lost", ["avx", "f16c", "fma", "avx2"])
def test_a_planned_extension_without_a_trace(lost: str) -> None:
    left = [use.feature for use in CPU.isa.uses if use.feature != lost]
    assert said(planned(), binary("libggml-cpu.so", *left)) == (
        f"lib/libggml-cpu.so was planned with {lost} and has no instruction of it",
    )


def test_code_that_could_not_be_read_has_no_traces_to_miss() -> None:
    assert said(planned(), replace(CPU, isa=Isa(unread="no objdump"))) == ()


def test_variants_of_a_fat_build_have_their_own_extensions() -> None:
    of = replace(planned(GGML_CPU_ALL_VARIANTS=True), cpu_features=())
    names = [row.name for row in variant_rows("x86_64", "linux")]
    every = {name: binary(f"libggml-cpu-{name}.so") for name in names}
    lines = said(of, *every.values())
    assert "lib/libggml-cpu-zen4.so was planned with avx512_bf16 and has no instruction of it" in (
        lines
    )
    assert not [line for line in lines if "there is no library" in line]
    every["ivybridge"] = binary("libggml-cpu-ivybridge.so", "sse4_1", "avx", "f16c", "fma")
    assert "lib/libggml-cpu-ivybridge.so uses fma" in " ".join(said(of, *every.values()))
    del every["haswell"]
    left = said(of, *every.values())
    assert "there is no library libggml-cpu-haswell.so" in left
    left_out = replace(of, left_out=("ggml-cpu-haswell", "ggml-cpu-zen4"))
    lines = said(left_out, *every.values())
    assert "there is no library libggml-cpu-haswell.so" not in lines
    assert "libggml-cpu-zen4.so was built, which was not planned" in lines


def test_windows_has_other_names_and_libraries_of_its_own() -> None:
    of = replace(planned(), fingerprint="windows-x86_64-test")
    cpu = replace(CPU, path="bin/ggml-cpu.dll")
    system = binary("llama.dll", needed=("KERNEL32.dll", "api-ms-win-crt-heap-l1-1-0.dll"))
    assert said(of, cpu, system) == ()
    assert any(
        "needs libc.so.6" in one for one in said(of, cpu, binary("x", needed=("libc.so.6",)))
    )
    linux = binary("libllama.so", needed=("KERNEL32.dll",))
    assert any("needs KERNEL32.dll" in one for one in said(planned(), CPU, linux))
    fat = replace(of, flags=(Flag(name="GGML_CPU_ALL_VARIANTS", value=True, why=""),))
    names = [row.name for row in variant_rows("x86_64", "windows", of.compiler.family)]
    every = [binary(f"ggml-cpu-{name}.dll") for name in names]
    assert not [line for line in said(fat, *every) if "no library" in line or "was built" in line]
    assert f"there is no library ggml-cpu-{names[-1]}.dll" in said(fat, *every[:-1])


def test_architecture_and_marks() -> None:
    foreign = binary("libllama.so", arch="aarch64")
    assert said(planned(), CPU, foreign) == ("lib/libllama.so is for aarch64, not for x86_64",)
    marked = binary("libllama.so", isa_needed=("x86-64", "x86-64-v2", "x86-64-v4"))
    line = said(planned(), CPU, marked)[0]
    assert line.startswith("lib/libllama.so is marked as needing x86-64-v4; not planned: avx512")


def test_libraries_of_a_level_are_marked_with_that_level_and_programs_are_not() -> None:
    level = replace(planned(), cpu="x86-64-v3")
    level = replace(level, fingerprint="linux-x86_64-x86-64-v3")

    def lines(*needs: str, name: str = "libllama.so", **facts: object) -> tuple[str, ...]:
        made = replace(CPU, elf=replace(CPU.elf, isa_needed=("x86-64", "x86-64-v3")))
        elf = replace(CPU.elf, isa_needed=needs, **facts)  # type: ignore[arg-type]
        return said(level, made, Binary(path=f"lib/{name}", sha256="x", elf=elf, isa=Isa()))

    wrong = "lib/libllama.so is marked as needing {}, which should be x86-64-v3"
    assert lines("x86-64-v3") == ()
    assert lines() == (wrong.format("no level"),)
    assert lines("x86-64", "x86-64-v2") == (wrong.format("x86-64-v2"),)
    assert lines("x86-64-v3", "x86-64-v4") == (wrong.format("x86-64-v4"),)
    assert lines("x86-64") == (wrong.format("x86-64"),)
    program = {"name": "llama-cli", "interpreter": "/lib64/ld-linux-x86-64.so.2"}
    assert lines(**program) == ()  # type: ignore[arg-type]
    (line,) = lines("x86-64-v4", **program)  # type: ignore[arg-type]
    assert line.startswith("lib/llama-cli is marked as needing x86-64-v4; not planned: avx512bw")
    assert lines(name="libllamabuild-cxx.so") == ()  # the compiler's own, made for any
    assert len(lines("x86-64-v4", name="libllamabuild-cxx.so")) == 1
    windows = replace(level, fingerprint="windows-x86_64-x86-64-v3")
    assert not [one for one in said(windows, binary("ggml-cpu.dll")) if "marked" in one]


def test_libraries_from_outside() -> None:
    needs = binary("libllama.so", needed=("libggml-cpu.so", "libc.so.6", "libcuda.so.1", "libx.so"))
    assert [line.split(" needs ")[1].split(",")[0] for line in said(planned(), CPU, needs)] == [
        "libcuda.so.1",
        "libx.so",
    ]
    missing = (Missing(path="a", needed="libcuda.so.1"), Missing(path="a", needed="libssl.so.3"))
    assert said(planned(), CPU, missing=missing) == (
        "a needs libssl.so.3, which the loader does not find",
    )


def test_folders_that_libraries_are_looked_for_in() -> None:
    good = ("$ORIGIN", "${ORIGIN}/../lib", "/usr/local/cuda-13.0/lib64")
    assert said(planned(), CPU, binary("libllama.so", runpath=good)) == ()
    bad = said(planned(), CPU, binary("libllama.so", runpath=("", "/tmp/x"), rpath=("lib",)))
    assert len(bad) == 3
    assert "current one" in bad[1]


def cuda(*codes: tuple[str, str]) -> Binary:
    code = tuple(DeviceCode(kind=k, architecture=a, count=1) for k, a in codes)
    return replace(binary("libggml-cuda.so"), device_code=code)


@pytest.mark.parametrize(
    ("words", "codes"),
    [
        ("90-real;90-virtual", [("sass", "90"), ("ptx", "90")]),
        ("90a-real", [("sass", "90a")]),
        ("86", [("sass", "86"), ("ptx", "86")]),
        ("120-real", [("sass", "120a")]),
        ("native", [("sass", "75")]),
    ],
)
def test_cuda_code_as_asked(words: str, codes: list[tuple[str, str]]) -> None:
    of = planned("cuda", CMAKE_CUDA_ARCHITECTURES=words)
    assert said(of, CPU, cuda(*codes)) == ()


def test_cuda_code_that_is_not_as_asked() -> None:
    of = planned("cuda", CMAKE_CUDA_ARCHITECTURES="90-real;90-virtual")
    assert said(of, CPU, cuda(("sass", "90"), ("sass", "80"))) == (
        "no ptx for 90 was built, which was planned",
        "sass for 80 was built, which was not planned",
    )
    assert said(planned(), CPU, cuda(("sass", "80"))) == (
        "sass for 80 was built, which was not planned",
    )


def test_hip_code() -> None:
    of = planned("hip", CMAKE_HIP_ARCHITECTURES="gfx1100;gfx90a", GPU_TARGETS="gfx1100;gfx90a")
    sealed = replace(cuda(("offload", "compressed")), path="lib/libggml-hip.so")
    assert said(of, CPU, sealed) == ()
    one = replace(cuda(("gfx", "gfx1100")), path="lib/libggml-hip.so")
    assert said(of, CPU, one) == ("no gfx for gfx90a was built, which was planned",)


def test_libraries_of_back_ends() -> None:
    of = planned("vulkan")
    assert said(of, CPU) == ("there is no library libggml-vulkan",)
    empty = binary("libggml-vulkan.so")
    assert said(of, CPU, empty) == ("lib/libggml-vulkan.so has no SPIR-V modules",)
    code = (DeviceCode(kind="spirv", architecture="1.5", count=900),)
    assert said(of, CPU, replace(empty, device_code=code)) == ()


def test_what_a_difference_would_be_for_who_runs_it() -> None:
    whole = Inventory(root=Path("/p"), binaries=(CPU, binary("libggml-vulkan.so")))
    assert kind(planned("vulkan"), whole) == "audit"
    assert kind(planned("vulkan"), replace(whole, binaries=(CPU,))) == "silent-cpu"
    needy = binary("libggml.so", needed=("libggml-cpu.so", "libstrange.so"))
    assert kind(planned(), replace(whole, binaries=(CPU, needy))) == "library-missing"
    lost = (Missing(path="lib/libggml.so", needed="libstrange.so"),)
    assert kind(planned(), replace(whole, binaries=(CPU,), missing=lost)) == "library-missing"


def test_nothing_there_and_nothing_that_could_be_read() -> None:
    assert said(planned()) == ("there is no library and no program",)
    assert said(planned(), unread=("a.dylib: a Mach-O file",)) == ()


def test_the_wheel_holds_what_was_built() -> None:
    good = Packed(wheel="w.whl", name="libggml-cpu.so", sha256="libggml-cpu.so")
    assert said(planned(), CPU, packed=(good,)) == ()
    other = (replace(good, sha256="other"), replace(good, name="libx.so"))
    assert said(planned(), CPU, packed=other) == (
        "libggml-cpu.so in w.whl is not the one that was built",
        "w.whl holds libx.so, which the build does not have",
    )
