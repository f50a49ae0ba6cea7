"""The audit of files that a real compiler has just made."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamabuild.audit import Inventory, device_code, differences, elf, look
from llamabuild.errors import IntegrityError
from llamabuild.host import LocalHost
from llamabuild.model import Plan
from tests.unit.values import plan

HOST = LocalHost()
CROSS = "aarch64-linux-gnu-gcc"
CUDA = """
__global__ void twice(float * a) { a[threadIdx.x] *= 2; }
void go(float * a) { twice<<<1, 32>>>(a); }
"""

pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(HOST.system()[::2] != ("linux", "x86_64"), reason="ELF for x86-64"),
    pytest.mark.skipif(not shutil.which("gcc"), reason="no GCC is installed"),
    pytest.mark.skipif(not shutil.which("objdump"), reason="no binutils are installed"),
]

SUM = """
__attribute__((visibility("default"))) void ggml_add(int * a, const int * b) {
    for (int i = 0; i < 64; i++) a[i] += b[i];
}
"""
BASE = ("-O3", "-march=x86-64", "-mtune=generic")


def compiled(folder: Path, name: str, *options: str, source: str = SUM, cc: str = "gcc") -> Path:
    """A shared library ``lib/<name>`` below a folder."""
    (folder / "lib").mkdir(exist_ok=True)
    file, path = folder / f"{name}.c", folder / "lib" / name
    file.write_text(source)
    argv = [cc, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(path), str(file), *options]
    subprocess.run(argv, check=True, capture_output=True)
    file.unlink()
    return path


def planned(*features: str) -> Plan:
    return replace(plan(), cpu_features=features)


def features(inventory: Inventory) -> dict[str, frozenset[str]]:
    return {one.name: one.isa.features for one in inventory.binaries}


def test_extensions_are_those_that_were_compiled_for(tmp_path: Path) -> None:
    compiled(tmp_path, "liba.so", *BASE)
    compiled(tmp_path, "libb.so", *BASE, "-mavx2")
    compiled(tmp_path, "libc.so", *BASE, "-mavx512f", "-mprefer-vector-width=512")
    found = features(look(tmp_path, HOST))
    assert found["liba.so"] == set()
    assert found["libb.so"] == {"avx", "avx2"}
    assert found["libc.so"] >= {"avx512f"}
    uses = look(tmp_path / "lib/libb.so", HOST).binaries[0].isa.uses
    assert {use.symbol for use in uses} == {"ggml_add"}


def test_a_library_that_uses_more_than_planned_is_told(tmp_path: Path) -> None:
    compiled(tmp_path, "libggml-cpu.so", *BASE, "-mavx2", "-Wl,-rpath,$ORIGIN")
    inventory = look(tmp_path, HOST)
    assert differences(planned("sse4_2", "avx", "avx2"), inventory) == ()
    lines = differences(planned("sse4_2"), inventory)
    assert [line for line in lines if "uses avx2" in line and "first in ggml_add" in line]
    lines = differences(planned("sse4_2", "avx", "avx2", "avx512f"), inventory)
    assert lines == ("lib/libggml-cpu.so was planned with avx512f and has no instruction of it",)


def test_facts_of_a_library(tmp_path: Path) -> None:
    compiled(tmp_path, "libbase.so", *BASE, "-Wl,--build-id=0xabcd")
    source = SUM + '#include <stdio.h>\nvoid say(void) { puts("x"); }\n'
    link = ("-L", str(tmp_path / "lib"), "-Wl,--no-as-needed", "-l:libbase.so")
    mark = ("-Wl,-z,x86-64-v3",)
    compiled(
        tmp_path, "libuser.so", *BASE, *link, *mark, "-Wl,-rpath,/x:$ORIGIN", "-s", source=source
    )
    base, user = look(tmp_path, HOST).binaries
    assert (base.elf.soname, base.elf.build_id, base.elf.stripped) == ("libbase.so", "abcd", False)
    assert base.elf.exports == ("ggml_add",)
    assert user.elf.needed[0] == "libbase.so"
    assert user.elf.runpath == ("/x", "$ORIGIN")
    assert user.elf.stripped
    assert "x86-64-v3" in user.elf.isa_needed
    assert dict(user.elf.versions).keys() == {"GLIBC"}
    assert base.elf.comments
    assert base.elf.comments[0].startswith("GCC: ")


def test_what_a_program_needs_and_the_loader_does_not_find(tmp_path: Path) -> None:
    compiled(tmp_path, "libneeded.so", *BASE)
    (tmp_path / "bin").mkdir()
    main = "void ggml_add(int *, const int *); int main(void) { ggml_add(0, 0); }"
    (tmp_path / "m.c").write_text(main)
    argv = ["gcc", str(tmp_path / "m.c"), f"-L{tmp_path}/lib", "-lneeded", "-o"]
    there = [str(tmp_path / "bin/good"), "-Wl,-rpath,$ORIGIN/../lib"]
    subprocess.run([*argv, *there], check=True)
    subprocess.run([*argv, str(tmp_path / "bin/lost")], check=True)
    missing = look(tmp_path, HOST).missing
    assert [(one.path, one.needed) for one in missing] == [("bin/lost", "libneeded.so")]
    assert (
        subprocess.run([tmp_path / "bin/lost"], capture_output=True, check=False).returncode == 127
    )
    assert subprocess.run([tmp_path / "bin/good"], capture_output=True, check=False).returncode < 0
    (tmp_path / "lib/libneeded.so").unlink()
    missing = look(tmp_path, HOST).missing
    assert [one.path for one in missing] == ["bin/good", "bin/lost"]
    line = "bin/good needs libneeded.so, which the loader does not find"
    assert line in differences(planned(), look(tmp_path, HOST))


def test_code_that_is_chosen_at_run_time_is_noted(tmp_path: Path) -> None:
    clones = SUM.replace("visibility", 'target_clones("avx2","default"), visibility')
    compiled(tmp_path, "libggml-cpu.so", *BASE, source=clones)
    one = look(tmp_path, HOST).binaries[0]
    assert one.elf.dispatched == ("ggml_add",)
    assert "avx2" in one.isa.features
    assert "chosen at run time there (ggml_add" in " ".join(
        differences(planned(), look(tmp_path, HOST))
    )
    compiled(tmp_path, "libggml-cpu.so", *BASE, "-s", source=clones)
    assert look(tmp_path, HOST).binaries[0].elf.dispatched


@pytest.mark.skipif(not shutil.which(CROSS), reason="no compiler for aarch64 is installed")
def test_libraries_for_another_processor(tmp_path: Path) -> None:
    source = """
    #include <arm_neon.h>
    int32x4_t dot(int32x4_t a, int8x16_t b, int8x16_t c) { return vdotq_s32(a, b, c); }
    int32x4_t mat(int32x4_t a, int8x16_t b, int8x16_t c) { return vmmlaq_s32(a, b, c); }
    float16x8_t half(float16x8_t a, float16x8_t b) { return vaddq_f16(a, b); }
    float plain(__fp16 a) { return a; }
    """
    options = ("-O2", "-march=armv8.2-a+dotprod+i8mm+fp16")
    compiled(tmp_path, "libarm.so", *options, source=source, cc=CROSS)
    inventory = look(tmp_path, HOST)
    one = inventory.binaries[0]
    assert one.elf.arch == "aarch64"
    found = {use.feature: use.symbol for use in one.isa.uses}
    assert found == {"asimddp": "dot", "i8mm": "mat", "fp16": "half"}
    assert any("the loader of aarch64" in line for line in inventory.unread)
    assert "lib/libarm.so is for aarch64, not for x86_64" in differences(planned(), inventory)


@pytest.mark.skipif(not shutil.which("nvcc"), reason="no CUDA toolkit is installed")
def test_cuda_code_of_a_real_compiler(tmp_path: Path) -> None:
    (tmp_path / "k.cu").write_text(CUDA)
    pairs = ("compute_90,code=sm_90", "compute_90a,code=sm_90a", "compute_90,code=compute_90")
    argv = ["nvcc", "-c", "k.cu", "-o", "k.o", *(f"-gencode=arch={pair}" for pair in pairs)]
    made = subprocess.run(argv, cwd=tmp_path, check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"nvcc does not work here: {made.stderr.strip()[-200:]}")
    facts = elf.read(tmp_path / "k.o")
    found = device_code.read(tmp_path / "k.o", facts.sections)
    assert [(one.kind, one.architecture, one.count) for one in found] == [
        ("ptx", "90", 1),
        ("sass", "90", 1),
        ("sass", "90a", 1),
    ]


def test_the_wheel_holds_the_same_libraries(tmp_path: Path) -> None:
    path = compiled(tmp_path, "libggml-cpu.so", *BASE)
    (tmp_path / "wheel").mkdir()
    wheel = tmp_path / "wheel/x-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(path, "llama_cpp/lib/libggml-cpu.so")
    assert differences(planned(), look(tmp_path, HOST)) == ()
    compiled(tmp_path, "libggml-cpu.so", *BASE, "-O0")
    assert differences(planned(), look(tmp_path, HOST)) == (
        f"libggml-cpu.so in {wheel.name} is not the one that was built",
    )
    wheel.write_bytes(wheel.read_bytes()[:50])
    with pytest.raises(IntegrityError, match="not a sound wheel"):
        look(tmp_path, HOST)


def test_a_library_that_is_cut_off(tmp_path: Path) -> None:
    path = compiled(tmp_path, "libggml.so", *BASE)
    whole = path.read_bytes()
    for length in (10, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(IntegrityError, match=r"libggml\.so: not a sound ELF file"):
            look(tmp_path, HOST)


def test_what_is_not_elf_is_said(tmp_path: Path) -> None:
    (tmp_path / "libllama.dylib").write_bytes(b"\xcf\xfa\xed\xfe" + bytes(60))
    (tmp_path / "libx.so").write_bytes(b"INPUT(libm.so.6)")
    (tmp_path / "readme.txt").write_text("x")
    inventory = look(tmp_path, HOST)
    assert inventory.binaries == ()
    assert len(inventory.unread) == 2
    assert differences(planned(), inventory) == ()
    with pytest.raises(IntegrityError, match="does not exist"):
        look(tmp_path / "none", HOST)


class Bare(LocalHost):
    """A machine without programs."""

    def which(self, name: str) -> None:
        del name


def test_a_windows_library_is_read_where_something_reads_it(tmp_path: Path) -> None:
    (tmp_path / "llama.dll").write_bytes(b"MZ" + bytes(60))
    (line,) = look(tmp_path, Bare()).unread
    assert "no objdump" in line
    with pytest.raises(IntegrityError, match="not a sound Windows program"):
        look(tmp_path, HOST)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compiled(tmp_path_factory.mktemp("x"), "libx.so", *BASE).read_bytes()


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_real_library_with_any_damage(library: bytes, data: st.DataObject) -> None:
    headers = int.from_bytes(library[40:48], "little")
    places = st.one_of(
        st.integers(0, 63), st.integers(headers, len(library) - 1), st.integers(0, len(library) - 1)
    )
    damaged = bytearray(library)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=12)):
        damaged[place] = value
    started = time.monotonic()
    with contextlib.suppress(IntegrityError):
        facts = elf.parse(bytes(damaged), "x.so")
        device_code.find(bytes(damaged), facts.sections)
    assert time.monotonic() - started < 2
