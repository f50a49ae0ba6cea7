"""What files require that a real compiler has just made, held against this machine."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import audit, probe
from llamabuild.audit import versions
from llamabuild.backends import BACKENDS
from llamabuild.host import LocalHost
from llamabuild.matching import Provides, expected, measured, missing
from llamabuild.matching import probe as provided
from llamabuild.model import Hardware, Plan, Requires, Tool
from tests.unit.test_audit_device_code import OWN, PTX, SASS, entry, fatbin
from tests.unit.values import plan

HOST = LocalHost()
pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(HOST.system()[::2] != ("linux", "x86_64"), reason="ELF for x86-64"),
    pytest.mark.skipif(not HOST.libc().startswith("glibc"), reason="glibc's versions"),
    pytest.mark.skipif(not shutil.which("g++"), reason="no GCC is installed"),
    pytest.mark.skipif(not shutil.which("objdump"), reason="no binutils are installed"),
]
BASE = ("-O3", "-march=x86-64", "-mtune=generic", "-shared", "-fPIC")
CODE = """
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>
extern "C" void ggml_add(int * a, const int * b) { for (int i = 0; i < 64; i++) a[i] += b[i]; }
extern "C" double ggml_exp(double x) { return std::exp(x); }
std::string join(const std::vector<std::string> & some) {
    std::string all;
    for (auto & one : some) all += one;
    return all;
}
"""
THREADS = """
extern "C" int ggml_sum(int n) {
    int all = 0;
    #pragma omp parallel for reduction(+:all)
    for (int i = 0; i < n; i++) all += i;
    return all;
}
"""


def compiled(prefix: Path, name: str, *options: str, source: str = CODE) -> Path:
    """A shared library ``lib/<name>``."""
    (prefix / "lib").mkdir(exist_ok=True)
    file, path = prefix.parent / f"{name}.cpp", prefix / "lib" / name
    file.write_text(source)
    argv = ["g++", *BASE, str(file), "-o", str(path), f"-Wl,-soname,{name}", *options]
    subprocess.run(argv, check=True, capture_output=True)
    return path


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A folder with a library for the CPU that needs nothing; tests make others."""
    (tmp_path / "prefix").mkdir()
    compiled(tmp_path / "prefix", "libggml-cpu.so", source='extern "C" int cpu() { return 1; }')
    return tmp_path / "prefix"


@pytest.fixture(scope="module")
def hardware(tmp_path_factory: pytest.TempPathFactory) -> Hardware:
    bare = probe.hardware(HOST, cache=tmp_path_factory.mktemp("cache"))
    features = probe.cpu_features.detect_features(HOST, "x86_64")
    return probe.with_found(bare, {"cpu": BACKENDS["cpu"].detect(HOST)}, features)


@pytest.fixture(scope="module")
def here(hardware: Hardware) -> Provides:
    return provided(HOST, hardware)


def made(*features: str) -> Plan:
    return replace(plan("linux-x86_64-test"), cpu_features=features, sysroot=HOST.libc())


def required(prefix: Path, plan: Plan) -> Requires:
    return measured(plan, audit.look(prefix, HOST))


def newer(version: str) -> tuple[int, ...]:
    return versions.numbers(version)


def test_what_a_library_requires(prefix: Path, here: Provides) -> None:
    compiled(prefix, "libggml-cpu.so", "-mavx2")
    compiled(prefix, "libggml.so", "-fopenmp", source=THREADS)
    link = ("-L", str(prefix / "lib"), "-Wl,--no-as-needed", "-l:libggml.so")
    compiled(prefix, "libllama.so", *link, "-Wl,-rpath,$ORIGIN:/opt/toolkit/lib")
    found = required(prefix, made("sse4_2", "avx", "avx2"))
    assert found.features == ("avx", "avx2")
    assert "libggml.so" not in found.libraries
    assert {"libstdc++.so.6", "libc.so.6", "libgomp.so.1"} <= set(found.libraries)
    assert found.places == ("/opt/toolkit/lib",)
    needed = dict(found.versions)
    assert {"GLIBC", "GLIBCXX", "GOMP"} <= needed.keys()
    assert newer(needed["GLIBC"]) <= newer(HOST.libc().partition(" ")[2])
    assert found.unknown == ()
    assert [line for line in missing(found, here) if not line.startswith("avx")] == []


def test_a_machine_provides_what_its_own_compiler_asks_for(here: Provides) -> None:
    known = dict(here.versions)
    assert {"GLIBC", "GLIBCXX", "CXXABI", "GCC"} <= known.keys()
    assert newer(known["GLIBCXX"]) > newer("3.4.9")
    assert here.libraries is not None
    assert {"libc.so.6", "libstdc++.so.6"} <= here.libraries
    assert here.unknown == ()


def test_a_feature_that_is_not_here_is_missing(prefix: Path, here: Provides) -> None:
    compiled(prefix, "libggml-cpu.so", "-mavx2")
    found = required(prefix, made("sse4_2", "avx", "avx2"))
    less = replace(here, features=frozenset(("sse4_2", "ssse3", "sse4_1", "popcnt")))
    assert missing(found, less) == ("avx missing", "avx2 missing")


def test_what_a_plan_expects_is_no_less(prefix: Path) -> None:
    compiled(prefix, "libggml-cpu.so", "-mavx2", "-mfma")
    wanted = made("sse4_2", "avx", "fma", "avx2")
    found, before = required(prefix, wanted), expected(wanted)
    assert set(found.features) <= set(before.features)
    assert newer(dict(found.versions)["GLIBC"]) <= newer(dict(before.versions)["GLIBC"])


def test_a_library_that_is_nowhere_is_missing(prefix: Path, here: Provides, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "lib").mkdir(parents=True)
    compiled(tmp_path / "elsewhere", "libodd.so.7", source='extern "C" int odd() { return 1; }')
    link = ("-L", str(tmp_path / "elsewhere/lib"), "-Wl,--no-as-needed", "-l:libodd.so.7")
    compiled(prefix, "libggml-base.so", *link, "-Wl,-rpath,$ORIGIN/../../elsewhere/lib")
    found = required(prefix, made())
    assert missing(found, here) == ("libodd.so.7 missing",)

    def exists(path: str) -> bool:
        return (prefix / "lib" / path).exists()

    assert missing(found, here, exists) == ()


def test_a_library_in_ld_library_path_is_found(hardware: Hardware, tmp_path: Path) -> None:
    from llamabuild.host import equipped

    compiled(tmp_path, "libodd.so.7", source='extern "C" int odd() { return 1; }')
    there = provided(equipped(HOST, LD_LIBRARY_PATH=f":{tmp_path / 'lib'}"), hardware)
    assert there.libraries is not None
    assert "libodd.so.7" in there.libraries
    assert "libc.so.6" in there.libraries


def test_a_library_of_the_system_that_is_too_old(prefix: Path, here: Provides) -> None:
    compiled(prefix, "libggml.so", "-fopenmp", source=THREADS)
    found = required(prefix, made())
    needed = dict(found.versions)["GOMP"]
    old = replace(
        here, versions=(*(row for row in here.versions if row[0] != "GOMP"), ("GOMP", "1"))
    )
    assert missing(found, old) == (f"GOMP {needed} needed, 1 is here",)


def test_variants_and_a_level_that_the_linker_marks(prefix: Path, here: Provides) -> None:
    compiled(prefix, "libggml-cpu-x64.so")
    compiled(prefix, "libggml-cpu-haswell.so", "-mavx2", "-mfma")
    compiled(prefix, "libggml-base.so", "-Wl,-z,x86-64-v2")
    found = required(prefix, made())
    assert found.features == ("sse4_2",)
    variants = {one.name: one.features for one in found.variants}
    assert variants["x64"] == ()
    assert {"avx", "avx2"} <= set(variants["haswell"])
    old = replace(here, features=frozenset(("sse4_2",)))
    assert missing(found, old) == ()
    assert missing(found, replace(here, features=frozenset())) == ("sse4_2 missing",)


def test_functions_that_are_chosen_when_loaded_are_for_other_processors(prefix: Path) -> None:
    clones = 'extern "C" __attribute__((target_clones("avx2", "default")))'
    source = CODE.replace('extern "C"', clones, 1)
    compiled(prefix, "libggml-cpu.so", source=source)
    found = required(prefix, made("sse4_2"))
    assert found.features == ()
    (line,) = found.unknown
    assert line.startswith("whether lib/libggml-cpu.so runs ")
    assert "avx2" in line
    assert required(prefix, made("sse4_2", "avx", "avx2")).features == ("avx", "avx2")


def test_code_for_gpus_in_a_real_file(prefix: Path, tmp_path: Path) -> None:
    file = tmp_path / "code.bin"
    file.write_bytes(fatbin(entry(SASS, 90, OWN), entry(PTX, 80)))
    source = f'__asm__(".section .nv_fatbin,\\"a\\"\\n.incbin \\"{file}\\"\\n.previous");'
    compiled(prefix, "libggml-cuda.so", source=source)
    tools = (Tool(name="nvcc", version="12.8.93", backend="cuda"),)
    found = required(prefix, replace(made(), backends=("cuda", "cpu"), tools=tools))
    assert found.device_code == (("ptx", "80"), ("sass", "90a"))
    assert found.drivers == (("cuda", "525.60.13"),)
    assert found.toolkits == (("cuda", "12.8.93"),)


def test_a_file_that_is_no_library_defines_nothing(tmp_path: Path) -> None:
    for data in (b"", b"\x7fELF", b"\x7fELF\2\1\1" + bytes(300), b"text\n"):
        (tmp_path / "x").write_bytes(data)
        assert versions.defined(tmp_path / "x") == ()
    assert versions.defined(tmp_path / "none") == ()
    damaged = bytearray(compiled(tmp_path, "liba.so").read_bytes())
    for place in range(0, len(damaged), 97):
        broken = damaged[:]
        broken[place] ^= 0xFF
        (tmp_path / "x").write_bytes(broken[: place * 2 or 64])
        versions.defined(tmp_path / "x")
