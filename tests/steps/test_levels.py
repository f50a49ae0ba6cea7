"""Libraries for a level, linked by real compilers as they are planned: what the audit reads in
them is what glibc's loader obeys, here and on an emulated lesser processor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import audit, build, cmake, pipeline, plan, recipes, store
from llamabuild.audit import marks
from llamabuild.backends import cpu
from llamabuild.backends.cpu_features import detect_features
from llamabuild.errors import ToolMissing
from llamabuild.events import Event, StepStarted, Warned, silent
from llamabuild.host import LocalHost
from llamabuild.model import Artifact, Compiler, Flag, Plan, Recipe, Source
from llamabuild.store.root import default_root
from llamabuild.toolchains import compilers, isa_note, tools, zig
from llamabuild.toolchains.launcher import NO_LAUNCHER
from tests import standin
from tests.unit import values

HOST = LocalHost()
QEMU = shutil.which("qemu-x86_64-static")
LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4")
REFUSED = "CPU ISA level is lower than required"
LIST = """\
cmake_minimum_required(VERSION 3.21)
project(top C CXX)
add_library(ggml-base SHARED base.c)
add_library(llama SHARED llama.cpp)
target_link_libraries(llama PRIVATE ggml-base)
add_library(loaded MODULE base.c)
add_executable(tool tool.cpp)
target_link_libraries(tool PRIVATE llama)
"""
FILES = {
    "CMakeLists.txt": LIST,
    "base.c": "int ggml_one(void) { return 1; }\n",
    "llama.cpp": """\
#include <stdexcept>
extern "C" int ggml_one(void);
extern "C" int llama_two(void) {
    try { throw std::runtime_error("x"); } catch (const std::exception &) { return 1 + ggml_one(); }
}
""",
    "tool.cpp": 'extern "C" int llama_two(void);\nint main() { return llama_two() != 2; }\n',
}

KERNELS = """\
#include <immintrin.h>
float all_of_v4(const float * a, int n) {
    __m512 sum = _mm512_mul_ps(_mm512_loadu_ps(a), _mm512_loadu_ps(a + n));
    __m256 few = _mm256_fmadd_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(a), _mm256_loadu_ps(a));
    __m256i whole = _mm256_add_epi32(_mm256_loadu_si256((const __m256i *) a), _mm256_set1_epi32(n));
    float halves = _mm_cvtss_f32(_mm_cvtph_ps(_mm_set1_epi16((short) n)));
    return halves + _mm512_cvtss_f32(sum) + _mm256_cvtss_f32(few) + _pdep_u32(n, 5)
        + _mm256_extract_epi32(whole, 3);
}
int sum_of_squares(int n) { int sum = 0; for (int i = 1; i <= n; i++) sum += i * i; return sum; }
"""


class WithoutAvx512(LocalHost):
    """This machine, as a hypervisor that hides AVX-512 shows it."""

    def read_text(self, path: str) -> str | None:
        text = super().read_text(path)
        if path != "/proc/cpuinfo" or text is None:
            return text
        return " ".join(word for word in text.split(" ") if not word.startswith("avx512"))


pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(HOST.system()[::2] != ("linux", "x86_64"), reason="ELF for x86-64"),
    pytest.mark.skipif("glibc" not in HOST.libc(), reason="only glibc reads the marks"),
]
needs_gcc = pytest.mark.skipif(not shutil.which("g++"), reason="no GCC is installed")
needs_qemu = pytest.mark.skipif(not QEMU, reason="no qemu-x86_64-static is installed")


def gnu(folder: Path) -> Compiler:
    pair = shutil.which("gcc"), shutil.which("g++")
    if not all(pair):
        pytest.skip("no GCC is installed")
    return described(str(pair[0]), str(pair[1]), folder)


def kit(folder: Path) -> Compiler:
    pair = zig.compiler(HOST, default_root(os.environ))
    if pair is None:
        pytest.skip("the kit zig is not in $LLAMABUILD_CACHE (llamabuild setup --toolchain zig)")
    return described(*pair, folder)


def described(cc: str, cxx: str, cache: Path) -> Compiler:
    options = cpu.all_compiler_options("x86_64")
    return compilers.describe(cc, cxx, options, host=HOST, cache=cache)


def planned(level: str, compiler: Compiler) -> Plan:
    recipe = Recipe(name="mine", summary="", backends=("cpu",), cpu=level)
    found = replace(values.toolchain(compiler), explicit_compiler=True)
    return plan.plan(recipe, values.pin(), values.hardware(), found)


def built(made: Plan, folder: Path) -> Path:
    """The folder of libraries that a small project becomes by a plan."""
    tree, begun = folder / "tree", folder / "build"
    for path in (tree, begun):
        path.mkdir(parents=True)
    for name, text in FILES.items():
        (tree / name).write_text(text)
    (begun / "llamabuild.cmake").write_text(cmake.injected((), ()))
    for name, text in isa_note.files(made.flags).items():
        (begun / name).write_text(text)
    program, ninja = (tool(HOST, folder).path for tool in (tools.cmake, tools.ninja))
    argv = cmake.configure(made, cmake=program, ninja=ninja, ccache="", tree=tree, folder=begun)
    cmake.ask(begun)
    for step in (argv, [ninja, "-C", str(begun)]):
        subprocess.run(step, check=True, capture_output=True)
    assert cmake.differences(of_the_linker(made), cmake.cache(begun)) == ()
    return begun


def of_the_linker(made: Plan) -> list[Flag]:
    return [flag for flag in made.flags if flag.name in isa_note.FLAGS]


def loaded(library: Path, *command: str) -> str:
    """What becomes of loading a library with the system's own Python, under a command."""
    text = f"import ctypes; ctypes.CDLL({str(library)!r}); print('loaded')"
    program = next(p for p in ("/usr/bin/python3", sys.executable) if os.path.exists(p))
    env = {"PATH": os.defpath, "LD_LIBRARY_PATH": str(library.parent)}
    ended = subprocess.run(
        [*command, program, "-c", text], capture_output=True, text=True, check=False, env=env
    )
    return (ended.stdout + ended.stderr).strip().splitlines()[-1]


def carried(made: Plan, folder: Path) -> None:
    """zig's C++ library comes along, unmarked: it runs anywhere."""
    if library := zig.runtime(made.compiler.cxx):
        shutil.copy(library, folder)


@pytest.mark.parametrize("compiler", [gnu, kit])
@pytest.mark.parametrize("level", LEVELS)
def test_what_is_linked_carries_its_level_and_the_loader_obeys_it(
    level: str, compiler: Callable[[Path], Compiler], tmp_path: Path
) -> None:
    made = planned(level, compiler(tmp_path))
    folder = built(made, tmp_path)
    carried(made, folder)
    files = {name: folder / name for name in ("libggml-base.so", "libllama.so", "libloaded.so")}
    number = LEVELS.index(level) + 2
    assert {name: audit.isa_level(path) for name, path in files.items()} == dict.fromkeys(
        files, number
    )
    assert audit.isa_level(folder / "tool") < 2
    marked = [line for line in audit.differences(made, audit.look(folder, HOST)) if "mark" in line]
    assert marked == []
    features = detect_features(HOST, "x86_64")
    if not cpu.lacking(level, "x86_64", features):
        assert loaded(files["libllama.so"]) == "loaded"
        assert subprocess.run([folder / "tool"], check=False).returncode == 0
    if QEMU:
        wanted = "loaded" if number == 2 else REFUSED
        assert loaded(files["libggml-base.so"], QEMU, "-cpu", "Nehalem").endswith(wanted)


@needs_gcc
@needs_qemu
def test_without_the_mark_the_same_library_is_loaded_anywhere(tmp_path: Path) -> None:
    made = planned("x86-64-v3", gnu(tmp_path))
    made = replace(made, flags=tuple(f for f in made.flags if f.name not in isa_note.FLAGS))
    folder = built(made, tmp_path)
    assert loaded(folder / "libllama.so", str(QEMU), "-cpu", "Nehalem") == "loaded"
    lines = audit.differences(made, audit.look(folder, HOST))
    names = ("libggml-base.so", "libllama.so", "libloaded.so")
    assert [line for line in lines if "marked" in line] == [
        f"{name} is marked as needing no level, which should be x86-64-v3" for name in names
    ]


@needs_gcc
def test_an_object_that_is_marked_higher_leaks_and_is_told(tmp_path: Path) -> None:
    """As the start files of a distribution for a higher level would."""
    made = planned("x86-64-v3", gnu(tmp_path))
    higher = tmp_path / "higher.s"
    higher.write_text(isa_note._NOTE.format(level="x86-64-v4", bit=8))
    words = f"-Wl,-z,x86-64-v3 {higher}"
    flags = tuple(
        replace(flag, value=words) if flag.name in isa_note.FLAGS else flag for flag in made.flags
    )
    folder = built(replace(made, flags=flags), tmp_path)
    assert audit.isa_level(folder / "libllama.so") == 4
    lines = audit.differences(made, audit.look(folder, HOST))
    assert "libllama.so is marked as needing x86-64-v4, which should be x86-64-v3" in lines
    with pytest.raises(ToolMissing, match="needing x86-64-v4, not x86-64-v3"):
        marks.check(replace(made, flags=flags), folder, HOST)


@pytest.mark.parametrize("compiler", [gnu, kit])
def test_a_linker_that_marks_is_known_before_anything_is_compiled(
    compiler: Callable[[Path], Compiler], tmp_path: Path
) -> None:
    made = planned("x86-64-v4", compiler(tmp_path))
    for name, text in isa_note.files(made.flags).items():
        (tmp_path / name).write_text(text)
    marks.check(made, tmp_path, HOST)
    marks.check(replace(made, cpu="native"), tmp_path / "nowhere", HOST)  # nothing to ask
    with pytest.raises(ToolMissing, match="needing no level, not x86-64-v4"):
        marks.check(replace(made, flags=()), tmp_path, HOST)


@needs_gcc
@pytest.mark.skipif(not shutil.which("ld.gold"), reason="no ld.gold is installed")
def test_a_linker_that_does_not_is_refused_with_its_words(tmp_path: Path) -> None:
    program = tmp_path / "gcc-with-gold"
    program.write_text('#!/bin/sh\nexec gcc -fuse-ld=gold "$@"\n')
    program.chmod(0o755)
    made = planned("x86-64-v3", gnu(tmp_path))
    made = replace(made, compiler=replace(made.compiler, cc=str(program)))
    folder, log = tmp_path / "build", tmp_path / "log"
    with pytest.raises(ToolMissing, match=r"needing no level, not x86-64-v3: .+") as caught:
        build._configure(
            made, Source(pin=made.pin, root=tmp_path), folder, log, HOST, silent, NO_LAUNCHER
        )
    assert "--toolchain zig" in caught.value.hint
    assert not log.exists()  # CMake was not started


@needs_gcc
def test_a_level_that_this_machine_lacks_is_made_audited_and_never_run(tmp_path: Path) -> None:
    root = store.open_root(tmp_path / "cache")
    kernels = {"vendor/llama.cpp/ggml/src/ggml-cpu/ggml-cpu.c": KERNELS}
    pin = standin.archive(tmp_path, root, extra=kernels)
    told: list[Event] = []

    def provision() -> Artifact:
        wanted = recipes.load("cpu-v4", ("cpu",))
        return pipeline.provision(wanted, pin, host=WithoutAvx512(), cache=root, emit=told.append)

    made = provision()
    proof = made.manifest.proof
    assert ([check.name for check in proof.checks], proof.unrun) == (["audit"], ("cpu",))
    assert "avx512f" in proof.device
    assert any("cannot be proved here" in one.message for one in told if isinstance(one, Warned))
    assert {audit.isa_level(path) for path in (made.path / "lib").iterdir()} == {4}
    assert made.manifest.requires.features == cpu.level("x86-64-v4", "x86_64").features  # type: ignore[union-attr]
    assert not list((root / "verdicts").rglob("*.json"))  # nobody has seen it run
    told.clear()
    assert provision() == made
    assert not [one for one in told if isinstance(one, StepStarted)]
