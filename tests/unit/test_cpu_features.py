from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild.backends import cpu_features as cf
from llamabuild.backends import cpu_flags, cpu_sets, proc_cpuinfo, sysctl
from llamabuild.backends.cpu_features import Facts
from llamabuild.host import Finished
from tests.unit.recorded import RecordedHost

MACHINES = Path(__file__).parents[1] / "machines" / "cpu"


# /proc/cpuinfo, shortened to one processor of each kind. From archspec's test data are zen5,
# arrow-lake, neoverse-n2, neoverse-v2, power10 and riscv64-v; pasted in public bug reports are
# ampere-altra (of archspec), snapdragon-x, snapdragon-8-elite-gen-5 and rk3588 (arm-socs-table),
# visionfive-2 (cpufetch), lichee-pi-4a (powertop), z13 (meson), z15 (gopsutil) and loongson-3a6000
# (fastfetch). Put together from such pastes are zen2 and haswell-vm: a VirtualBox guest, which has
# AVX2 without FMA, F16C and BMI2.
#
# What the labels of the machines must say when everything that is listed also runs.
LABELS = {
    ("sapphire-rapids-vm", "x86_64"): "avx512-vnni-bf16-amx",
    ("arrow-lake", "x86_64"): "avx2-vnni",
    ("zen5", "x86_64"): "avx512-vnni-bf16",
    ("zen4", "x86_64"): "avx512-vnni-bf16",
    ("zen2", "x86_64"): "avx2",
    ("haswell", "x86_64"): "avx2",
    ("haswell-vm", "x86_64"): "avx",
    ("masked-avx512-vm", "x86_64"): "avx2",
    ("sandy-bridge", "x86_64"): "avx",
    ("ampere-altra", "aarch64"): "armv8-a-dotprod-fp16",
    ("graviton3", "aarch64"): "armv8-a-dotprod-fp16-sve-i8mm",
    ("neoverse-n2", "aarch64"): "armv8-a-dotprod-fp16-sve-i8mm-sve2",
    ("neoverse-v2", "aarch64"): "armv8-a-dotprod-fp16-sve-i8mm-sve2",
    ("snapdragon-x", "aarch64"): "armv8-a-dotprod-fp16-i8mm",
    ("snapdragon-8-elite-gen-5", "aarch64"): "armv8-a-dotprod-fp16-sve-i8mm-sve2-sme",
    ("raspberry-pi-5", "aarch64"): "armv8-a-dotprod-fp16",
    ("rk3588", "aarch64"): "armv8-a-dotprod-fp16",
    ("riscv64-v", "riscv64"): "rv64gc-v-zfh-zvfh-zihintpause",
    ("visionfive-2", "riscv64"): "rv64gc",
    ("lichee-pi-4a", "riscv64"): "rv64gc",
    ("loongson-3a6000", "loongarch64"): "la64-lsx-lasx",
    ("power9", "ppc64le"): "power9",
    ("power10", "ppc64le"): "power10",
    ("z13", "s390x"): "z-baseline",
    ("z15", "s390x"): "z15",
    ("z16", "s390x"): "z16",
}
NAMES = {
    "sapphire-rapids-vm": ("GenuineIntel", "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"),
    "zen4": ("AuthenticAMD", "AMD Ryzen 9 7950X 16-Core Processor"),
    "zen5": ("AuthenticAMD", "AMD Ryzen 9 9950X 16-Core Processor"),
    "ampere-altra": ("Arm", "Neoverse N1"),
    "graviton3": ("Arm", "Neoverse V1"),
    "neoverse-v2": ("Arm", "Neoverse V2"),
    "snapdragon-x": ("Qualcomm", "Oryon"),
    "raspberry-pi-5": ("Arm", "Cortex-A76"),
    "rk3588": ("Arm", "Cortex-A55 + Cortex-A76"),
    "riscv64-v": ("spacemit", "x60"),
    "visionfive-2": ("sifive", "u74-mc"),
    "loongson-3a6000": ("Loongson", "Loongson-3A6000-HV"),
    "power9": ("IBM", "POWER9"),
    "power10": ("IBM", "POWER10"),
    "z13": ("IBM", "z13 (machine 2964)"),
    "z16": ("IBM", "z16 (machine 3931)"),
}
# What a build for the machine is told, beside everything that is off.
OPTIONS = {
    ("zen5", "x86_64"): "SSE42 AVX F16C FMA AVX2 BMI2 AVX_VNNI AVX512 AVX512_VBMI AVX512_VNNI "
    "AVX512_BF16",
    ("zen2", "x86_64"): "SSE42 AVX F16C FMA AVX2 BMI2",
    ("haswell-vm", "x86_64"): "SSE42 AVX",
    ("sapphire-rapids-vm", "x86_64"): "SSE42 AVX F16C FMA AVX2 BMI2 AVX_VNNI AVX512 AVX512_VBMI "
    "AVX512_VNNI AVX512_BF16 AMX_TILE AMX_INT8 AMX_BF16",
    ("raspberry-pi-5", "aarch64"): "armv8.2-a+dotprod+fp16",
    ("ampere-altra", "aarch64"): "armv8.2-a+dotprod+fp16",
    ("graviton3", "aarch64"): "armv8.6-a+dotprod+fp16+sve+i8mm",
    ("neoverse-v2", "aarch64"): "armv8.6-a+dotprod+fp16+sve+i8mm+sve2",
    ("snapdragon-x", "aarch64"): "armv8.6-a+dotprod+fp16+i8mm",
    ("snapdragon-8-elite-gen-5", "aarch64"): "armv9.2-a+dotprod+fp16+sve+i8mm+sve2+sme",
    ("riscv64-v", "riscv64"): "RVV RV_ZFH RV_ZVFH RV_ZIHINTPAUSE",
    ("visionfive-2", "riscv64"): "",
    ("lichee-pi-4a", "riscv64"): "",
    ("loongson-3a6000", "loongarch64"): "LSX LASX",
    ("power9", "ppc64le"): "power9",
    ("power10", "ppc64le"): "power10",
    ("z13", "s390x"): "",
    ("z15", "s390x"): "VXE -march=z15 -march=z15",
    ("z16", "s390x"): "VXE -march=z16 -march=z16",
}


def machine(name: str) -> str:
    return (MACHINES / f"{name}.txt").read_text()


def row(name: str) -> cf.Extension:
    return next(row for row in cf.extensions() if row.name == name)


def all_run(arch: str, words: frozenset[str]) -> Facts:
    return Facts(words=words, traps={row.name: "" for row in cf.extensions(arch)})


@pytest.mark.parametrize(("name", "arch"), LABELS)
def test_what_a_recorded_machine_can_use(name: str, arch: str) -> None:
    facts = all_run(arch, proc_cpuinfo.words(machine(name)))
    found = [cf.decide(row, facts) for row in cf.extensions(arch)]
    used = cpu_sets.native_features(found)
    assert cpu_sets.level_name(arch, used) == LABELS[name, arch]
    assert all(feature.usable != bool(feature.why) for feature in found)


@pytest.mark.parametrize(("name", "arch"), OPTIONS)
def test_what_a_build_for_a_recorded_machine_is_told(name: str, arch: str) -> None:
    assert told(arch, all_run(arch, proc_cpuinfo.words(machine(name)))) == OPTIONS[name, arch]


def told(arch: str, facts: Facts) -> str:
    """The options that are on and the texts, without their prefix."""
    used = cpu_sets.native_features([cf.decide(row, facts) for row in cf.extensions(arch)])
    flags = cpu_flags.isa_flags(arch, used)
    on = (flag.name if flag.value is True else flag.value for flag in flags if flag.value)
    return " ".join(str(one).removeprefix("GGML_") for one in on)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_recorded_machines(name: str) -> None:
    assert proc_cpuinfo.names(machine(name)) == NAMES[name]


def test_every_recorded_machine_is_tested() -> None:
    assert {path.stem for path in MACHINES.glob("*.txt")} == {name for name, _ in LABELS}


def test_vmx_flags_are_no_features() -> None:
    assert "ept" not in proc_cpuinfo.words(machine("sapphire-rapids-vm"))


def test_only_what_all_cores_have_counts() -> None:
    little = machine("raspberry-pi-5").replace(" asimddp\n", "\n", 1)
    assert "asimddp" in proc_cpuinfo.words(machine("raspberry-pi-5"))
    assert "asimddp" not in proc_cpuinfo.words(little)


def test_fp16_takes_two_words() -> None:
    facts = all_run("aarch64", frozenset({"fphp"}))
    assert not cf.decide(row("fp16"), facts).advertised
    facts = all_run("aarch64", frozenset({"fphp", "asimdhp"}))
    assert cf.decide(row("fp16"), facts).usable


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    proc_cpuinfo.words(text)
    proc_cpuinfo.names(text)


def test_x86_memory_encryption_is_no_scalable_matrix_extension() -> None:
    words = proc_cpuinfo.words(machine("zen2"))
    assert "sme" in words
    assert "sme" not in {row.name for row in cf.extensions("x86_64")}


def test_a_draft_of_the_vector_extension_is_not_the_vector_extension() -> None:
    assert "v" not in proc_cpuinfo.words(machine("lichee-pi-4a"))
    final = machine("lichee-pi-4a").replace("0.7.1", "1.0")
    assert "v" in proc_cpuinfo.words(final)


def test_an_unknown_machine_of_ibm_gets_what_every_compiler_makes() -> None:
    unknown = machine("z16").replace("3931", "9999")
    facts = all_run("s390x", proc_cpuinfo.words(unknown))
    assert told("s390x", facts) == ""
    assert proc_cpuinfo.names(unknown) == ("IBM", "(machine 9999)")


def test_a_z16_without_its_vector_extension_is_a_z_baseline() -> None:
    facts = all_run("s390x", proc_cpuinfo.words(machine("z16").replace(" vxe2", "")))
    assert told("s390x", facts) == ""


# --- macOS and Windows ---------------------------------------------------------------------------

# `sysctl hw.optional machdep.cpu`, from archspec's test data; ice-lake is put together from XNU's
# names and the CPUID words of a MacBook Pro of 2020.
SYSCTL = Path(__file__).parents[1] / "machines" / "sysctl"
MACS = {
    ("m1", "aarch64"): ("Apple M1 Pro", "armv8.2-a+dotprod+fp16"),
    ("m2", "aarch64"): ("Apple M2", "armv8.6-a+dotprod+fp16+i8mm"),
    ("m3", "aarch64"): ("Apple M3 Max", "armv8.6-a+dotprod+fp16+i8mm"),
    ("m4", "aarch64"): ("Apple M4 Max", "armv9.2-a+dotprod+fp16+nosve+i8mm+sme"),
    ("m5", "aarch64"): ("Apple M5", "armv9.2-a+dotprod+fp16+nosve+i8mm+sme"),
    ("skylake", "x86_64"): (
        "Intel(R) Core(TM) i7-6700K CPU @ 4.00GHz",
        "SSE42 AVX F16C FMA AVX2 BMI2",
    ),
    ("ice-lake", "x86_64"): (
        "Intel(R) Core(TM) i5-1038NG7 CPU @ 2.00GHz",
        "SSE42 AVX F16C FMA AVX2 BMI2 AVX512 AVX512_VBMI AVX512_VNNI",
    ),
}


class Mac(RecordedHost):
    """A Mac with one answer of sysctl, on which nothing can be executed."""

    def __init__(self, name: str, arch: str) -> None:
        text = (SYSCTL / f"{name}.txt").read_text()
        super().__init__(os="macos", answers={"sysctl hw.optional machdep.cpu": text})
        self.arch = arch

    def system(self) -> tuple[str, str, str]:
        return "macos", "15.0", self.arch


@pytest.mark.parametrize(("name", "arch"), MACS)
def test_a_mac_is_asked_through_sysctl(name: str, arch: str) -> None:
    host = Mac(name, arch)
    vendor = "Apple" if arch == "aarch64" else "GenuineIntel"
    assert cf.identify(host) == (vendor, MACS[name, arch][0])
    found = cf.detect_features(host, arch)
    facts = Facts(words=sysctl.words(sysctl.ask(host)))
    assert [feature.usable for feature in found] == [
        cf.decide(row, facts).usable for row in cf.extensions(arch)
    ]
    assert told(arch, facts) == MACS[name, arch][1]
    assert not any("cpuinfo" in command for command in host.started)


def test_every_recorded_answer_of_sysctl_is_tested() -> None:
    assert {path.stem for path in SYSCTL.glob("*.txt")} == {name for name, _ in MACS}


def test_what_macos_refuses_is_not_there() -> None:
    asked = sysctl.parse((SYSCTL / "ice-lake.txt").read_text())
    refused = asked | {"hw.optional.avx512f": "0"}
    assert told("x86_64", Facts(words=sysctl.words(asked))).endswith("AVX512_VNNI")
    assert told("x86_64", Facts(words=sysctl.words(refused))) == "SSE42 AVX F16C FMA AVX2 BMI2"


@given(st.text())
def test_any_answer_of_sysctl_is_read(text: str) -> None:
    sysctl.names(sysctl.parse(text))
    sysctl.words(sysctl.parse(text))


def test_a_mac_without_sysctl_asks_the_child() -> None:
    out = "has asimddp\nhas fp16\nhas i8mm\nend\n"
    child = Finished(code=0, out=out, err="")
    host = RecordedHost(os="macos", answers={"cpu_child.py": child, "-m cpuinfo": "{}"})
    found = cf.detect_features(host, "aarch64")
    assert [feature.name for feature in found if feature.usable] == ["asimddp", "fp16", "i8mm"]
    assert cf.identify(host) == ("unknown", "x86_64")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '"x"'])
def test_a_windows_cpu_keeps_its_architecture_when_nothing_names_it(text: str) -> None:
    host = RecordedHost(os="windows", answers={"-m cpuinfo": text})
    assert cf.identify(host) == ("unknown", "x86_64")


def test_a_snapdragon_x_under_windows() -> None:
    """IsProcessorFeaturePresent answers for 43, 67 and 66; SVE and SME are not there."""
    out = "".join(
        f"has {name}\n" if step == "has" else f"try {name}\nok {name}\n"
        for step in ("has", "try")
        for name in ("asimddp", "fp16", "i8mm")
    )
    facts = cf.understand(Finished(code=0, out=f"{out}end\n", err=""))
    assert told("aarch64", facts) == "armv8.6-a+dotprod+fp16+i8mm"


# --- three states --------------------------------------------------------------------------------

# CPUID of a Sapphire Rapids: everything in the table.
CPUID = {
    (1, 0): (0x806F8, 0, 0xFFFA3203, 0),
    (7, 0): (2, 0xF1BF07AB, 0x1B415F6E, 0xBF8E4412 | 1 << 22 | 1 << 24 | 1 << 25),
    (7, 1): (0x1C30, 0, 0, 0),
}
SPR = proc_cpuinfo.words(machine("sapphire-rapids-vm"))
FULL = Facts(
    words=SPR,
    cpuid=CPUID,
    xcr0=0x602E7,
    permission="",
    traps={row.name: "" for row in cf.extensions("x86_64")},
)


def changed(**fields: object) -> Facts:
    return Facts(**{**{name: getattr(FULL, name) for name in Facts.__slots__}, **fields})


def states(name: str, facts: Facts) -> tuple[bool, bool, bool | None, str]:
    feature = cf.decide(row(name), facts)
    return feature.advertised, feature.enabled, feature.executed, feature.why


def test_all_well() -> None:
    assert all(cf.decide(row, FULL).usable for row in cf.extensions("x86_64"))


def test_cpuid_alone_decides_without_a_kernel_list() -> None:
    assert all(cf.decide(row, changed(words=None)).usable for row in cf.extensions("x86_64"))


def test_the_cpu_lacks_it() -> None:
    haswell = proc_cpuinfo.words(machine("haswell"))
    facts = changed(words=haswell, cpuid={(7, 0): (0, 1 << 5, 0, 0)})
    assert states("avx512f", facts) == (False, False, False, "this CPU does not have it")


def test_a_hypervisor_may_hide_it() -> None:
    masked = proc_cpuinfo.words(machine("masked-avx512-vm"))
    *three, why = states("avx512f", changed(words=masked, cpuid={}))
    assert three == [False, False, False]
    assert "hypervisor" in why


def test_the_kernel_masks_what_cpuid_lists() -> None:
    masked = proc_cpuinfo.words(machine("masked-avx512-vm"))
    *three, why = states("avx512f", changed(words=masked))
    assert three == [True, False, False]
    assert "the kernel does not" in why


@pytest.mark.parametrize(
    ("name", "xcr0", "bits"),
    [("avx", 0x3, "2"), ("avx512f", 0x7, "5, 6, 7"), ("amx_tile", 0x2E7, "17, 18")],
)
def test_registers_that_are_not_saved(name: str, xcr0: int, bits: str) -> None:
    *three, why = states(name, changed(xcr0=xcr0))
    assert three == [True, False, False]
    assert why.endswith(f"(XCR0 lacks bits {bits})")


def test_amx_that_is_not_permitted() -> None:
    facts = changed(permission="Operation not supported")
    *three, why = states("amx_int8", facts)
    assert three == [True, False, False]
    assert why == "Linux does not permit it: Operation not supported"
    assert cf.decide(row("avx512f"), facts).usable


def test_a_trap_is_the_reason() -> None:
    facts = changed(traps={**FULL.traps, "amx_int8": "SIGILL when executed"})
    assert states("amx_int8", facts) == (True, True, False, "SIGILL when executed")


def test_what_could_not_be_tried_is_believed() -> None:
    facts = changed(traps={}, problem="executable memory is refused: Permission denied")
    *three, why = states("avx", facts)
    assert three == [True, True, None]
    assert "executable memory is refused" in why


def test_nothing_known_at_all() -> None:
    *three, why = states("avx", Facts(problem="exit code 127"))
    assert three == [False, False, False]
    assert "exit code 127" in why


def test_every_bit_of_cpuid_is_looked_at_alone() -> None:
    """One bit set advertises exactly one extension: no two rows share a place."""
    for extension in cf.extensions("x86_64"):
        place = extension.cpuid
        assert place is not None
        registers = [0, 0, 0, 0]
        registers[("eax", "ebx", "ecx", "edx").index(place.register)] = 1 << place.bit
        facts = Facts(cpuid={(place.leaf, place.subleaf): tuple(registers)})
        listed = [row.name for row in cf.extensions("x86_64") if cf.advertised(row, facts)]
        assert listed == [extension.name]


# --- what the child tells ------------------------------------------------------------------------


def test_the_child_s_lines_are_understood() -> None:
    out = "permission granted\ncpuid 7 0 2 f1 1b bf\nxcr0 602e7\ntry avx\nok avx\nend\n"
    facts = cf.understand(Finished(code=0, out=out, err=""))
    assert facts == Facts(
        cpuid={(7, 0): (2, 0xF1, 0x1B, 0xBF)}, xcr0=0x602E7, permission="", traps={"avx": ""}
    )


def test_a_refused_permission_keeps_its_reason() -> None:
    child = Finished(code=0, out="permission Operation not supported\nend\n", err="")
    assert cf.understand(child).permission == "Operation not supported"


def test_a_hang_is_no_success() -> None:
    child = Finished(code=-9, out="try avx\n", err="", timed_out=True)
    assert cf.understand(child).traps == {"avx": "no end within the time limit when executed"}


def test_windows_traps_and_system_words() -> None:
    out = "has asimddp\ntry sve\ntrap sve illegal instruction\nend\n"
    facts = cf.understand(Finished(code=0, out=out, err=""))
    assert facts.words == frozenset({"asimddp"})
    assert facts.traps == {"sve": "illegal instruction when executed"}
    assert facts.problem == ""


def test_a_child_that_could_not_start() -> None:
    facts = cf.understand(Finished(code=127, out="", err="No such file or directory\n"))
    assert facts.problem == "exit code 127: No such file or directory"


def test_a_death_between_two_features_is_a_problem() -> None:
    facts = cf.understand(Finished(code=-11, out="try avx\nok avx\n", err=""))
    assert facts.problem == "SIGSEGV"
    assert facts.traps == {"avx": ""}


# --- the table -----------------------------------------------------------------------------------


def test_names_are_unique_and_requirements_exist() -> None:
    names = cf.names()
    assert len(set(names)) == len(names)
    for extension in cf.extensions():
        same = {row.name for row in cf.extensions(extension.arch)}
        assert set(extension.requires) <= same - {extension.name}


def test_code_ends_with_a_return_and_leaves_no_upper_state() -> None:
    ends = {
        "x86_64": "c3",
        "aarch64": "c0035fd6",
        "riscv64": "8280",
        "ppc64le": "2000804e",
        "s390x": "07fe",
        "loongarch64": "2000004c",
    }
    for extension in cf.extensions():
        assert extension.code.endswith(ends[extension.arch])
        if "ymm" in extension.assembly or "zmm" in extension.assembly:
            assert extension.code.endswith("c5f877c3")  # vzeroupper; ret
        if "tilezero" in extension.assembly:
            assert extension.code.endswith("c4e27849c0c3")  # tilerelease; ret
        assert len(bytes.fromhex(extension.code)) <= 61  # a slot of the child, less the prologue
