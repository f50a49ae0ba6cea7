from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from elftools.elf.elffile import ELFFile

from llamabuild.backends import cpu, cpu_features
from llamabuild.backends.cpu_features import Extension, Facts
from llamabuild.host import Finished, Limits, LocalHost

pytestmark = pytest.mark.steps
HOST = LocalHost()
ARCH = HOST.system()[2]
LIMITS = Limits(seconds=60)
MINE = cpu_features.extensions(ARCH)
EMULATOR = Path(__file__).parents[1] / "amx" / "emulator.c"

ASSEMBLERS = {
    "x86_64": ("x86_64-linux-gnu-as", ()),
    "aarch64": ("aarch64-linux-gnu-as", ("-march=armv9-a+sme+i8mm+fp16+dotprod",)),
    "riscv64": ("riscv64-linux-gnu-as", ("-march=rv64gcv_zfh_zba_zicbop_zihintpause",)),
    "loongarch64": ("loongarch64-linux-gnu-as", ()),
    "ppc64le": ("powerpc64le-linux-gnu-as", ("-mpower10", "-mregnames")),
    "s390x": ("s390x-linux-gnu-as", ("-march=z16",)),
}


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def on_x86() -> None:
    if ARCH != "x86_64" or HOST.system()[0] != "linux":
        pytest.skip("this test is about x86-64 Linux")


class WithoutProc(LocalHost):
    """This machine as a system without /proc/cpuinfo would show it."""

    def read_text(self, path: str) -> str | None:
        return None if path == "/proc/cpuinfo" else super().read_text(path)


class Preloaded(LocalHost):
    """This machine with a library loaded into every child."""

    def __init__(self, library: Path) -> None:
        self.library = library

    def run(
        self,
        argv: Sequence[str],
        *,
        limits: Limits,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
    ) -> Finished:
        env = {**self.environ, "LD_PRELOAD": str(self.library)}
        return super().run(argv, limits=limits, env=env, cwd=cwd, stdin=stdin)


def made_up(name: str, code: str) -> Extension:
    return msgspec.structs.replace(MINE[0], name=name, code=code)


# --- the machine code is what the assembly says --------------------------------------------------


@pytest.mark.parametrize("arch", ASSEMBLERS)
def test_the_bytes_are_the_assembly(arch: str, tmp_path: Path) -> None:
    program, options = ASSEMBLERS[arch]
    assembler = need("as" if arch == ARCH else program)
    for extension in cpu_features.extensions(arch):
        source, target = tmp_path / "code.s", tmp_path / "code.o"
        syntax = ".intel_syntax noprefix\n" if arch == "x86_64" else ""
        source.write_text(f"{syntax}{extension.assembly}\n")
        made = HOST.run([assembler, *options, str(source), "-o", str(target)], limits=LIMITS)
        assert made.code == 0, made.err
        with target.open("rb") as stream:
            text = ELFFile(stream).get_section_by_name(".text").data()
        assert text[: len(bytes.fromhex(extension.code))].hex() == extension.code, extension.name
        assert not text[len(bytes.fromhex(extension.code)) :].strip(b"\0\x07"), (
            "only padding may follow"
        )


HARNESS = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
int main(int n, char **hex) {
    unsigned char *code = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < strlen(hex[1]) / 2; i++)
        sscanf(hex[1] + 2 * i, "%2hhx", &code[i]);
    mprotect(code, 4096, PROT_READ | PROT_EXEC);
    __builtin___clear_cache((char *) code, (char *) code + 4096);
    ((void (*)(void)) code)();
    return n - 2;
}
"""


def test_arm_code_runs_on_a_core_that_has_it_and_traps_on_one_that_has_not(tmp_path: Path) -> None:
    gcc, emulator = need("aarch64-linux-gnu-gcc"), need("qemu-aarch64-static")
    (tmp_path / "run.c").write_text(HARNESS)
    program = str(tmp_path / "run")
    built = HOST.run([gcc, "-O1", "-static", str(tmp_path / "run.c"), "-o", program], limits=LIMITS)
    assert built.code == 0, built.err
    for extension in cpu_features.extensions("aarch64"):
        rich, poor = (
            HOST.run([emulator, "-cpu", core, program, extension.code], limits=LIMITS)
            for core in ("max", "cortex-a53")
        )
        assert rich.code == 0, extension.name
        assert poor.signal == "SIGILL", extension.name


def test_march_switches_on_what_was_asked_and_nothing_else() -> None:
    """GCC's own macros are compared for every closed set; GCC 12 does not know SME yet."""
    gcc = need("aarch64-linux-gnu-gcc")
    macros = {
        "asimddp": "__ARM_FEATURE_DOTPROD",
        "fp16": "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC",
        "sve": "__ARM_FEATURE_SVE",
        "i8mm": "__ARM_FEATURE_MATMUL_INT8",
        "sve2": "__ARM_FEATURE_SVE2",
    }
    subsets = itertools.chain.from_iterable(
        itertools.combinations(macros, size) for size in range(len(macros) + 1)
    )
    for features in {cpu.closed(subset) for subset in subsets}:
        flags = {flag.name: flag.value for flag in cpu.isa_flags("aarch64", features)}
        march = f"-march={flags['GGML_CPU_ARM_ARCH']}"
        told = HOST.run([gcc, march, "-dM", "-E", "-x", "c", "/dev/null"], limits=LIMITS)
        assert told.code == 0, told.err
        defined = {line.split()[1] for line in told.out.splitlines()}
        assert {name for name, macro in macros.items() if macro in defined} == set(features), march


# --- this machine --------------------------------------------------------------------------------


def test_this_machine_is_decided_the_same_each_time() -> None:
    found = cpu_features.detect_features(HOST, ARCH)
    assert cpu_features.detect_features(HOST, ARCH) == found
    assert [feature.name for feature in found] == [row.name for row in MINE]
    assert all(feature.usable != bool(feature.why) for feature in found)


def test_an_unknown_architecture_has_no_features() -> None:
    assert cpu_features.detect_features(HOST, "z80") == ()


def test_cpuid_and_the_kernel_agree_here() -> None:
    on_x86()
    listed = cpu_features.detect_features(HOST, ARCH)
    asked = cpu_features.detect_features(WithoutProc(), ARCH)
    assert [f.name for f in listed if f.usable] == [f.name for f in asked if f.usable]
    assert any(feature.usable for feature in asked)


def test_a_cpu_is_named_with_and_without_proc() -> None:
    on_x86()
    assert cpu_features.identify(WithoutProc()) == cpu_features.identify(HOST)


def test_the_cpu_is_a_device() -> None:
    (device,) = cpu.detect(HOST).devices
    assert (device.backend, device.architecture) == ("cpu", ARCH)
    assert device.name


# --- death and its reasons -----------------------------------------------------------------------


def test_each_death_is_told_and_the_rest_goes_on() -> None:
    on_x86()
    wanted = [
        made_up("fine", "c3"),
        made_up("illegal", "0f0bc3"),  # ud2
        made_up("fine-again", "c3"),
        made_up("null", "48c7c000000000" + "8b00c3"),  # mov rax, 0; mov eax, [rax]
        made_up("last", "c3"),
    ]
    facts = cpu_features.execute(HOST, MINE, wanted, Facts())
    assert facts.traps == {
        "fine": "",
        "illegal": "SIGILL when executed",
        "fine-again": "",
        "null": "SIGSEGV when executed",
        "last": "",
    }
    assert facts.problem == ""
    assert facts.cpuid


def test_a_hang_ends() -> None:
    on_x86()
    wanted = [made_up("hang", "ebfe"), made_up("next", "c3")]  # jmp to itself
    facts = cpu_features.execute(HOST, MINE, wanted, Facts(), Limits(seconds=1))
    assert facts.traps == {"hang": "no end within the time limit when executed", "next": ""}


def test_what_this_cpu_lacks_traps() -> None:
    on_x86()
    lacking = [row for row in MINE if not _advertised_here(row) and row.name != "bmi2"]
    if not lacking:
        pytest.skip("this CPU has everything in the table")
    asked = [msgspec.structs.replace(row, permission=False) for row in lacking]
    facts = cpu_features.execute(HOST, MINE, asked, Facts())
    assert facts.traps == {row.name: "SIGILL when executed" for row in lacking}


def _advertised_here(row: Extension) -> bool:
    facts = cpu_features.execute(HOST, MINE, (), Facts())
    return cpu_features.advertised(row, facts)


def test_the_argument_is_a_tile_configuration() -> None:
    """Code that reads the 64 bytes and traps unless they are what LDTILECFG wants."""
    on_x86()
    # cmp byte [rax], 1; jne; cmp word [rax+16], 64; jne; cmp byte [rax+50], 16; jne; ret; ud2
    code = "803801750e668378104075078078321075" + "01c3" + "0f0b"
    asked = msgspec.structs.replace(made_up("tiles", code), argument=True)
    assert cpu_features.execute(HOST, MINE, [asked], Facts()).traps == {"tiles": ""}


def test_amx_is_executed_where_it_is(tmp_path: Path) -> None:
    """On this CPU, or else on the test suite's emulation of the instructions."""
    on_x86()
    wanted = [row for row in MINE if row.permission]
    facts = cpu_features.execute(HOST, MINE, wanted, Facts())
    if facts.permission:
        assert facts.traps == {}, "not even tried without permission"
        if not EMULATOR.exists():
            pytest.skip(f"no AMX here ({facts.permission}) and no emulator")
        library = tmp_path / "emulator.so"
        build = [need("gcc"), "-O1", "-march=native", "-fPIC", "-shared", str(EMULATOR)]
        built = HOST.run([*build, "-o", str(library), "-ldl"], limits=LIMITS)
        assert built.code == 0, built.err
        facts = cpu_features.execute(Preloaded(library), MINE, wanted, Facts())
    assert facts.permission == ""
    assert facts.traps == dict.fromkeys(("amx_tile", "amx_int8", "amx_bf16"), "")


def test_a_python_that_does_not_start_leaves_everything_untried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu_features, "python", lambda: "/nonexistent/python")
    found = cpu_features.detect_features(HOST, ARCH)
    assert {feature.executed for feature in found if feature.enabled} == {None}
    assert any("could not be tried: exit code 127" in feature.why for feature in found)
