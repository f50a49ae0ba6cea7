from __future__ import annotations

import itertools
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild.backends import Evidence, cpu
from llamabuild.backends.cpu_features import extensions
from llamabuild.backends.cpu_sets import rows
from llamabuild.errors import UnsupportedHardware
from llamabuild.model import Feature, Flag

ARCHES = ("x86_64", "aarch64", "riscv64", "loongarch64", "ppc64le", "s390x")
AVX512 = ("avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl")
HASWELL = ("sse4_2", "avx", "f16c", "fma", "avx2", "bmi2")
ZEN4 = (*HASWELL, *AVX512, "avx512vbmi", "avx512_vnni", "avx512_bf16")
SPR = (*ZEN4, "avx_vnni", "amx_tile", "amx_int8", "amx_bf16")

# The instruction-set options that ggml declares for each architecture (ggml/CMakeLists.txt).
OPTIONS = {
    "x86_64": {
        *("GGML_SSE42", "GGML_AVX", "GGML_AVX_VNNI", "GGML_AVX2", "GGML_BMI2", "GGML_FMA"),
        *("GGML_F16C", "GGML_AVX512", "GGML_AVX512_VBMI", "GGML_AVX512_VNNI"),
        *("GGML_AVX512_BF16", "GGML_AMX_TILE", "GGML_AMX_INT8", "GGML_AMX_BF16"),
    },
    "aarch64": {"GGML_CPU_ARM_ARCH"},
    "riscv64": {
        *("GGML_RVV", "GGML_RV_ZFH", "GGML_RV_ZVFH", "GGML_RV_ZICBOP", "GGML_RV_ZIHINTPAUSE"),
        *("GGML_RV_ZVFBFWMA", "GGML_XTHEADVECTOR"),
    },
    "loongarch64": {"GGML_LSX", "GGML_LASX"},
    "ppc64le": {"GGML_CPU_POWERPC_CPUTYPE"},
    "s390x": {"GGML_VXE", "CMAKE_C_FLAGS", "CMAKE_CXX_FLAGS"},
}
ALWAYS = {"GGML_NATIVE", "GGML_CPU_ALL_VARIANTS"}

arch_and_features = st.sampled_from(ARCHES).flatmap(
    lambda arch: st.tuples(
        st.just(arch), st.frozensets(st.sampled_from(["?", *(r.name for r in extensions(arch))]))
    )
)
states = st.lists(
    st.builds(
        Feature,
        name=st.sampled_from([row.name for row in extensions()]),
        advertised=st.booleans(),
        enabled=st.booleans(),
        executed=st.booleans(),
    ),
    unique_by=lambda feature: feature.name,
)


def values(flags: tuple[Flag, ...]) -> dict[str, bool | str]:
    return {flag.name: flag.value for flag in flags}


# --- laws ----------------------------------------------------------------------------------------


@given(states)
def test_only_usable_features_are_chosen(found: list[Feature]) -> None:
    usable = {feature.name for feature in found if feature.usable}
    assert usable.issuperset(cpu.native_features(found))


@given(arch_and_features)
def test_closing_twice_changes_nothing(case: tuple[str, frozenset[str]]) -> None:
    once = cpu.closed(case[1])
    assert cpu.closed(once) == once
    assert case[1].issuperset(once)
    assert cpu.ordered(once) == once


@given(arch_and_features, st.data())
def test_dropping_a_feature_never_adds_one(
    case: tuple[str, frozenset[str]], draw: st.DataObject
) -> None:
    dropped = draw.draw(st.sampled_from([row.name for row in extensions(case[0])] or ["?"]))
    assert set(cpu.closed(case[1] - {dropped})) <= set(cpu.closed(case[1]))


@given(arch_and_features)
def test_every_option_comes_exactly_once_and_says_why(case: tuple[str, frozenset[str]]) -> None:
    flags = cpu.isa_flags(*case)
    assert Counter(flag.name for flag in flags) == Counter(OPTIONS[case[0]] | ALWAYS)
    assert all(flag.why for flag in flags)
    assert values(flags)["GGML_NATIVE"] is False
    for flag in flags:
        if flag.value is True:
            assert not flag.why.startswith("off:")


@given(arch_and_features)
def test_the_ladder_only_goes_down(case: tuple[str, frozenset[str]]) -> None:
    rungs = [cpu.closed(case[1]), *(features for _, features in cpu.narrower(case[1]))]
    assert all(set(below) < set(above) for above, below in itertools.pairwise(rungs))
    assert set(rungs[-1]) <= set(cpu.portable_features(case[0]))


@given(arch_and_features)
def test_options_are_on_only_with_what_they_need(case: tuple[str, frozenset[str]]) -> None:
    on = {flag.name for flag in cpu.isa_flags(*case) if flag.value is True}
    by_name = {row.name: row for row in extensions(case[0])}
    for row in by_name.values():
        if row.option in on:
            assert row.name in case[1]
            assert {by_name[need].option for need in row.requires} <= on


# --- sets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "kept"),
    [
        (SPR, SPR),
        (set(SPR) - {"avx512dq"}, (*HASWELL, "avx_vnni")),
        (set(SPR) - {"avx512_vnni"}, (*HASWELL, *AVX512, "avx512vbmi", "avx512_bf16", "avx_vnni")),
        (set(SPR) - {"amx_int8"}, (*ZEN4, "avx_vnni")),
        (set(SPR) - {"avx"}, ("sse4_2", "bmi2")),
        (("avx2", "fma"), ()),
        (set(HASWELL) - {"fma"}, ("sse4_2", "avx", "f16c", "bmi2")),
        (set(HASWELL) - {"f16c"}, ("sse4_2", "avx", "fma", "bmi2")),
    ],
)
def test_what_depends_on_a_missing_feature_goes_too(
    features: set[str], kept: tuple[str, ...]
) -> None:
    assert set(cpu.closed(features)) == set(kept)


def test_portable_is_the_psabi_level_two() -> None:
    assert cpu.portable_features("x86_64") == ("sse4_2",)
    assert [row.name for row in rows("level", "x86_64") if row.name.startswith("x86-64")] == [
        "x86-64",
        "x86-64-v2",
        "x86-64-v3",
        "x86-64-v4",
    ]


@pytest.mark.parametrize(
    ("features", "label"),
    [
        (SPR, "avx512-vnni-bf16-amx"),
        (ZEN4, "avx512-vnni-bf16"),
        ((*HASWELL, *AVX512), "avx512"),
        ((*HASWELL, "avx_vnni"), "avx2-vnni"),
        (HASWELL, "avx2"),
        (("sse4_2", "avx", "f16c", "fma"), "avx-f16c-fma"),
        (("sse4_2",), "x86-64-v2"),
        ((), "x86-64"),
    ],
)
def test_labels(features: tuple[str, ...], label: str) -> None:
    assert cpu.level_name("x86_64", features) == label


def test_the_ladder_of_a_sapphire_rapids() -> None:
    assert [(name, len(left)) for name, left in cpu.narrower(SPR)] == [
        ("without-amx", 15),
        ("without-avx512-bf16", 14),
        ("without-avx512-vbmi", 13),
        ("without-avx512-vnni", 12),
        ("without-avx512", 7),
        ("without-avx-vnni", 6),
        ("without-avx2", 4),
        ("x86-64-v2", 1),
    ]


# --- flags ---------------------------------------------------------------------------------------


def test_reasons_on_x86() -> None:
    why = {"amx_tile": "SIGILL when executed", "amx_int8": "off: a build did not pass its proof"}
    reasons = {flag.name: flag.why for flag in cpu.isa_flags("x86_64", ZEN4, why=why)}
    assert reasons["GGML_AVX512"] == "this CPU runs AVX-512 (executed here)"
    assert reasons["GGML_AMX_TILE"] == "off: SIGILL when executed"
    assert reasons["GGML_AMX_INT8"] == "off: a build did not pass its proof"
    assert reasons["GGML_AMX_BF16"] == "off: it needs AMX INT8"
    assert "spelled out" in reasons["GGML_NATIVE"]


def test_one_missing_part_switches_avx512_off_and_is_named() -> None:
    why = {"avx512dq": "this CPU does not have it"}
    flags = cpu.isa_flags("x86_64", set(ZEN4) - {"avx512dq"}, why=why)
    assert values(flags)["GGML_AVX512"] is False
    assert values(flags)["GGML_AVX512_VNNI"] is False
    assert values(flags)["GGML_AVX2"] is True


def test_a_portable_build_does_not_speak_of_this_cpu() -> None:
    why = {"sse4_2": "this CPU does not have it"}
    flags = {flag.name: flag for flag in cpu.isa_flags("x86_64", ("sse4_2",), why=why)}
    assert flags["GGML_SSE42"].value is True
    assert flags["GGML_SSE42"].why == "part of x86-64-v2, which every supported machine has"
    assert flags["GGML_AVX2"].why == "off: the result must run on any machine of this kind"


@pytest.mark.parametrize(
    ("features", "march"),
    [
        ((), "armv8-a"),
        (("asimddp", "fp16"), "armv8.2-a+dotprod+fp16"),
        (("asimddp", "fp16", "sve", "i8mm"), "armv8.6-a+dotprod+fp16+sve+i8mm"),
        (("asimddp", "i8mm"), "armv8.6-a+dotprod+i8mm"),
        (("asimddp", "fp16", "sve", "sve2"), "armv8.6-a+dotprod+fp16+sve+noi8mm+sve2"),
        (
            ("asimddp", "fp16", "sve", "i8mm", "sve2", "sme"),
            "armv9.2-a+dotprod+fp16+sve+i8mm+sve2+sme",
        ),
        (("asimddp", "fp16", "i8mm", "sme"), "armv9.2-a+dotprod+fp16+nosve+i8mm+sme"),
    ],
)
def test_march_of_arm(features: tuple[str, ...], march: str) -> None:
    assert values(cpu.isa_flags("aarch64", features))["GGML_CPU_ARM_ARCH"] == march


@pytest.mark.parametrize("newest", [8, 9, 10, 11])
def test_power(newest: int) -> None:
    features = [f"power{number}" for number in range(9, newest + 1)]
    flags = values(cpu.isa_flags("ppc64le", features))
    assert flags["GGML_CPU_POWERPC_CPUTYPE"] == f"power{newest}"


def test_ibm_z_is_told_through_the_compiler() -> None:
    flags = values(cpu.isa_flags("s390x", ("z15", "z16")))
    assert flags["CMAKE_C_FLAGS"] == flags["CMAKE_CXX_FLAGS"] == "-march=z16"
    assert flags["GGML_VXE"] is True
    flags = values(cpu.isa_flags("s390x", ()))
    assert flags["CMAKE_C_FLAGS"] == ""
    assert flags["GGML_VXE"] is False


def test_other_architectures() -> None:
    riscv = values(cpu.isa_flags("riscv64", ()))
    assert not any(riscv.values())
    assert values(cpu.isa_flags("riscv64", ("v", "zfh", "zvfh")))["GGML_RV_ZVFH"] is True
    assert values(cpu.isa_flags("loongarch64", ("lsx",))) == {
        **dict.fromkeys(ALWAYS, False),
        "GGML_LSX": True,
        "GGML_LASX": False,
    }


# --- fat builds ----------------------------------------------------------------------------------

EVERYTHING = frozenset(cpu.all_compiler_options("x86_64"))


def test_a_good_compiler_keeps_all_variants() -> None:
    kept, dropped = cpu.variants("x86_64", EVERYTHING, frozenset())
    assert len(kept) == 14
    assert dropped == ()
    assert set(kept) >= {"x64", "haswell", "zen4", "sapphirerapids"}


def test_a_variant_that_is_compiled_wrong_is_dropped() -> None:
    kept, dropped = cpu.variants("x86_64", EVERYTHING, frozenset({"amx_tile", "amx_int8"}))
    assert dropped == (("sapphirerapids", "the compiler gets AMX tiles, AMX INT8 wrong"),)
    assert "zen4" in kept


def test_a_variant_that_the_compiler_does_not_know_is_dropped() -> None:
    _, dropped = cpu.variants("x86_64", EVERYTHING - {"-mavxvnni"}, frozenset())
    assert dropped == (("alderlake", "the compiler does not know -mavxvnni"),)


def test_apple_has_variants_of_its_own() -> None:
    accepts = frozenset(cpu.all_compiler_options("aarch64"))
    assert cpu.variants("aarch64", accepts, frozenset(), os="macos")[0] == (
        "apple_m1",
        "apple_m2_m3",
        "apple_m4",
    )
    assert cpu.variants("aarch64", accepts, frozenset())[0][0] == "armv8.0_1"
    assert cpu.variants("aarch64", accepts, frozenset(), os="android")[0] == (
        *("android_armv8.0_1", "android_armv8.2_1", "android_armv8.2_2", "android_armv8.6_1"),
        *("android_armv9.0_1", "android_armv9.2_1", "android_armv9.2_2"),
    )
    assert cpu.variants("aarch64", accepts, frozenset(), os="windows") == ((), ())


@pytest.mark.parametrize(
    ("arch", "names"),
    [
        ("ppc64le", "power0 power7_1 power7_2 power8_1 power8_2 power9 power10 power11"),
        ("s390x", "z15 z16"),
        ("riscv64", "riscv64_0 riscv64_v"),
    ],
)
def test_variants_of_other_architectures(arch: str, names: str) -> None:
    accepts = frozenset(cpu.all_compiler_options(arch))
    assert cpu.variants(arch, accepts, frozenset()) == (tuple(names.split()), ())


def test_a_compiler_without_power11_makes_the_other_variants() -> None:
    accepts = frozenset(cpu.expected_options("gcc", "14.2.0", "ppc64le"))
    kept, dropped = cpu.variants("ppc64le", accepts, frozenset())
    assert kept[-1] == "power10"
    assert dropped == (("power11", "the compiler does not know -mcpu=power11"),)


def test_an_unknown_vsx_drops_its_variants() -> None:
    accepts = frozenset(cpu.all_compiler_options("ppc64le")) - {"-mvsx"}
    assert cpu.variants("ppc64le", accepts, frozenset())[0] == ("power0", "power7_1", "power8_1")


# --- Visual C++ ----------------------------------------------------------------------------------


def test_visual_cpp_is_asked_only_for_what_it_has() -> None:
    flags = values(cpu.isa_flags("x86_64", SPR, family="msvc"))
    lacking = {"FMA", "F16C", "AMX_TILE", "AMX_INT8", "AMX_BF16"}
    assert set(flags) == (OPTIONS["x86_64"] | ALWAYS) - {f"GGML_{name}" for name in lacking}
    assert flags["GGML_AVX512_BF16"] is False
    on = {"SSE42", "AVX", "AVX2", "BMI2", "AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX_VNNI"}
    assert {name for name, value in flags.items() if value} == {f"GGML_{name}" for name in on}


@given(st.frozensets(st.sampled_from(SPR)))
def test_visual_cpp_never_uses_what_the_cpu_has_not(features: frozenset[str]) -> None:
    used = set(cpu.closed(features, "msvc"))
    assert features >= used
    assert not used & {"avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"}
    assert len(used & {"avx2", "fma", "f16c"}) in (0, 3)  # /arch:AVX2 switches all of them on
    flags = values(cpu.isa_flags("x86_64", features, family="msvc"))
    assert (flags["GGML_AVX2"] is True) == ("avx2" in used)


def test_visual_cpp_says_why_not() -> None:
    why = {flag.name: flag.why for flag in cpu.isa_flags("x86_64", SPR, family="msvc")}
    assert "Visual C++" in why["GGML_AVX512_BF16"]
    vm = [*HASWELL[:2], "avx2"]
    why = {flag.name: flag.why for flag in cpu.isa_flags("x86_64", vm, family="msvc")}
    assert why["GGML_AVX2"] == "off: it needs F16C, FMA"


def test_visual_cpp_expects_what_it_can() -> None:
    expected = cpu.expected_options("msvc", "19.41", "x86_64")
    assert "-mavx512vnni" in expected
    assert not {"-mamx-int8", "-mavx512bf16"} & set(expected)


def test_visual_cpp_on_arm_builds_for_this_machine_only() -> None:
    flags = values(cpu.isa_flags("aarch64", ("asimddp", "fp16"), family="msvc"))
    assert flags["GGML_NATIVE"] is True
    assert flags["GGML_CPU_ARM_ARCH"] == ""
    with pytest.raises(UnsupportedHardware, match="Visual"):
        cpu.isa_flags("aarch64", (), family="msvc")


def test_visual_cpp_makes_fewer_variants() -> None:
    accepts = frozenset(cpu.expected_options("msvc", "19.41", "x86_64"))
    kept, dropped = cpu.variants("x86_64", accepts, frozenset(), os="windows", family="msvc")
    assert dropped == ()
    assert kept == (
        *("x64", "sse42", "sandybridge", "haswell", "skylakex", "cannonlake", "cascadelake"),
        *("icelake", "alderlake"),
    )
    names = {flag.name for flag in cpu.fat_flags("x86_64", kept, family="msvc")}
    assert not names & {"GGML_FMA", "GGML_F16C", "GGML_AMX_TILE"}


@pytest.mark.parametrize(
    ("features", "word"),
    [
        (ZEN4, "/arch:AVX512"),
        (HASWELL, "/arch:AVX2"),
        (("sse4_2", "avx"), "/arch:AVX"),
        (("sse4_2",), "/arch:SSE4.2"),
        ((), ""),
    ],
)
def test_what_visual_cpp_is_really_given(features: tuple[str, ...], word: str) -> None:
    flags = cpu.isa_flags("x86_64", features, family="msvc")
    machine = [word] if word else []
    assert cpu.disagreement(machine, flags, features) is None
    assert cpu.disagreement(["/arch:IA32"], flags, features)


# --- what the compiler is really given -----------------------------------------------------------


def test_gcc_is_given_the_options_of_the_features() -> None:
    flags = cpu.isa_flags("x86_64", HASWELL)
    machine = [*cpu.compiler_options(HASWELL), "-mtune=generic"]
    assert cpu.disagreement(machine, flags, HASWELL) is None
    assert "planned" in (cpu.disagreement(machine[1:], flags, HASWELL) or "")
    assert "by itself" in (cpu.disagreement(["-march=native"], flags, HASWELL) or "")


def test_a_mac_is_given_its_march_and_its_oldest_system() -> None:
    m2 = ("asimddp", "fp16", "i8mm")
    flags = cpu.isa_flags("aarch64", m2)
    machine = ["-mmacosx-version-min=15.0", "-march=armv8.6-a+dotprod+fp16+i8mm"]
    assert cpu.disagreement(machine, flags, m2) is None
    assert cpu.disagreement(machine[:1], flags, m2)


def test_power_is_given_its_processor() -> None:
    flags = cpu.isa_flags("ppc64le", ("power9",))
    assert cpu.disagreement(["-mcpu=power9"], flags, ("power9",)) is None
    assert cpu.disagreement(["-mcpu=power8"], flags, ("power9",))


def test_a_fat_build_is_not_looked_at() -> None:
    assert cpu.disagreement(["-mavx"], cpu.fat_flags("x86_64", ("one",)), ()) is None


@pytest.mark.parametrize("arch", ["x86_64", "aarch64", "riscv64", "ppc64le", "s390x"])
def test_a_fat_build_leaves_every_option_to_its_variants(arch: str) -> None:
    flags = cpu.fat_flags(arch, ("one", "two"))
    found = values(flags)
    assert Counter(flag.name for flag in flags) == Counter(
        OPTIONS[arch] | ALWAYS | {"GGML_BACKEND_DL"}
    )
    assert [name for name, value in found.items() if value] == [
        "GGML_BACKEND_DL",
        "GGML_CPU_ALL_VARIANTS",
    ]


def test_no_fat_build_without_variants() -> None:
    for arch in ("loongarch64", "aarch64"):  # ggml has none there, or not on this system
        with pytest.raises(UnsupportedHardware, match=arch):
            cpu.fat_flags(arch, ())


def test_variants_name_only_known_words() -> None:
    for arch in ARCHES:
        known = {row.upstream for row in extensions(arch)}
        for row in rows("variant", arch):
            assert set(row.has) <= known
            features = [one.name for one in extensions(arch) if one.upstream in row.has]
            assert arch != "x86_64" or cpu.closed(features) == tuple(features)


def test_compiler_options_look_like_options() -> None:
    for arch in ARCHES:
        assert all(re.fullmatch(r"-m[\w.=+-]+", o) for o in cpu.all_compiler_options(arch))


# --- the back-end --------------------------------------------------------------------------------


def test_a_run_is_judged_by_its_devices() -> None:
    good = Evidence(devices=("CPU: AMD EPYC",), offloaded=0, layers=2, log="")
    bad = Evidence(devices=("Vulkan0: llvmpipe",), offloaded=0, layers=2, log="")
    assert cpu.judge(good) is None
    doubt = cpu.judge(bad)
    assert doubt is not None
    assert "Vulkan0" in doubt.why
