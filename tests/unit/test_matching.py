"""Machines and results held against each other."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild import recipes
from llamabuild.backends import cpu, cpu_sets
from llamabuild.backends.cpu_features import extensions
from llamabuild.host import Answers, RecordedHost
from llamabuild.matching import Candidate, Provides, expected, missing, probe, rank, slower
from llamabuild.matching.rank import expected_speed, weight
from llamabuild.model import Device, Requires, Variant
from tests.golden import machines
from tests.unit import planned, values

X86 = tuple(row.name for row in extensions("x86_64"))
FAMILIES = ("GLIBC", "GLIBCXX", "GCC")
LIBRARIES = ("libgomp.so.1", "libssl.so.3", "libcudart.so.13")
HERE = Provides(
    os="linux",
    arch="x86_64",
    libc="glibc",
    versions=(("GLIBC", "2.36"), ("GLIBCXX", "3.4.30")),
    features=frozenset(("sse4_2", "avx")),
    libraries=frozenset(("libc.so.6", "libgomp.so.1")),
    devices=(Device(backend="cpu", name="a CPU", architecture="x86_64"),),
    manager="apt",
)
BARE = Requires(os="linux", arch="x86_64", libc="glibc", backends=("cpu",))


# --- the law: what is planned on a machine fits that machine -------------------------------------


@pytest.mark.parametrize("recipe", recipes.names())
def test_what_is_planned_on_a_machine_would_run_there(recipe: str) -> None:
    found = {pair: made for pair, made in planned.plans().items() if pair[1] == recipe}
    assert found
    for (machine, _), made in found.items():
        hardware = machines()[machine].hardware
        beyond = cpu.lacking(made.cpu, hardware.arch, hardware.cpu.features)  # of a level
        lines = tuple(f"{name} missing" for name in beyond)
        assert missing(expected(made), planned.provides(machine)) == lines, machine


def test_nothing_is_slower_than_itself() -> None:
    for (machine, _), made in planned.plans().items():
        mine = Candidate(features=made.cpu_features, requires=expected(made))
        assert not slower(mine, made, planned.provides(machine))


def test_an_amx_build_is_refused_where_there_is_none() -> None:
    amx = planned.plans()["sapphire-rapids-vm-gcc12", "cpu-native"]
    lines = missing(expected(amx), planned.provides("zen4-vm-gcc12"))
    assert lines == tuple(
        f"{name} missing" for name in ("avx_vnni", "amx_tile", "amx_int8", "amx_bf16")
    )
    zen = planned.plans()["zen4-vm-gcc12", "cpu-native"]
    assert missing(expected(zen), planned.provides("sapphire-rapids-vm-gcc12")) == ()
    candidate = Candidate(features=zen.cpu_features, requires=expected(zen))
    assert slower(candidate, amx, planned.provides("sapphire-rapids-vm-gcc12"))


@pytest.mark.parametrize(
    ("result", "machine", "said"),
    [
        ("rtx-3090", "zen4-rtx4090", ()),  # 8.6 on 8.9
        ("zen4-rtx4090", "rtx-3090", "code for compute capability 8.6 or PTX ≤ 8.6 missing: has"),
        ("h200", "rtx-5090-old-driver", "driver 580.65.06 needed, "),
        ("mi300x", "rx-7900-xtx-rocm", "code for gfx1100 missing: has gfx942"),
        ("mi300x", "zen4-rtx4090", "no device for AMD ROCm is here"),
        ("dgx-spark", "h200", "made for aarch64, this is x86_64"),
        ("windows-11-with-visual-studio", "wsl2-rtx-3060", "made for windows on x86_64, this is"),
        ("rtx-4070-new-glibc", "rtx-3090", "glibc 2.42 needed, 2.35 is here"),
        ("apple-m2-max", "apple-m1", "macOS 15.0 needed, 14.6.1 is here"),
        ("alpine-musl", "zen5", "made for musl, this is glibc"),
    ],
)
def test_results_of_one_machine_on_another(
    result: str, machine: str, said: str | tuple[()]
) -> None:
    lines = missing(expected(planned.plans()[result, "auto"]), planned.provides(machine))
    lines = tuple(line for line in lines if not line.startswith(("avx", "amx")))
    assert (lines == ()) == (said == ())
    if said:
        assert any(line.startswith(said) for line in lines), lines


def test_every_gpu_that_a_build_here_would_serve_has_to_be_served() -> None:
    here = planned.provides("rtx-3090-and-5090")
    kept = expected(planned.plans()["rtx-3090-and-5090", "auto"])
    assert missing(kept, here) == ()
    (line,) = missing(replace(kept, device_code=(("sass", "86"),)), here)
    assert line == "code for compute capability 12.0 or PTX ≤ 12.0 missing: has sass 86"


def test_a_gpu_that_no_build_here_would_serve_is_no_reason_to_refuse() -> None:
    """The toolkit of one machine no longer knows its older GPU; where no toolkit is there, every
    GPU counts."""
    new = expected(planned.plans()["gtx-1070-and-rtx-4090-cuda-13", "cuda-native"])
    here = planned.provides("gtx-1070-and-rtx-4090-cuda-13")
    assert missing(new, here) == ()
    none = replace(here, devices=tuple(replace(one, lacks="nvcc") for one in here.devices))
    (line,) = missing(new, none)
    assert "compute capability 6.1" in line


# --- one axis at a time --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"versions": (("GLIBC", "2.38"),)}, "glibc 2.38 needed, 2.36 is here"),
        ({"versions": (("GLIBCXX", "3.4.31"),)}, "GLIBCXX 3.4.31 needed, 3.4.30 is here"),
        ({"features": ("sse4_2", "avx2")}, "avx2 missing"),
        ({"libc": "musl"}, "made for musl, this is glibc"),
        ({"arch": "aarch64"}, "made for aarch64, this is x86_64"),
        ({"os": "windows"}, "made for windows on x86_64, this is linux on x86_64"),
        ({"libraries": ("libssl.so.3",)}, "libssl.so.3 missing (apt install libssl3)"),
        (
            {"libraries": ("libcublas.so.13",)},
            "libcublas.so.13 missing (the CUDA toolkit of that version brings it)",
        ),
        ({"libraries": ("libodd.so.1",)}, "libodd.so.1 missing"),
        ({"backends": ("vulkan", "cpu")}, "no device for Vulkan is here"),
        (
            {"variants": (Variant(name="haswell", features=("avx", "avx2", "fma")),)},
            "no CPU variant fits: haswell needs avx2, fma",
        ),
    ],
)
def test_what_is_missing_is_one_sentence(asked: dict[str, object], said: str) -> None:
    assert missing(replace(BARE, **asked), HERE) == (said,)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "asked",
    [
        {"versions": (("GLIBC", "2.4"), ("GLIBCXX", "3.4.9"))},
        {"versions": (("GOMP", "9.9"),)},
        {"libraries": ("libc.so.6", "libgomp.so.1")},
        {
            "variants": (
                Variant(name="haswell", features=("avx2",)),
                Variant(name="x64", features=()),
            )
        },
    ],
)
def test_what_is_here_or_not_known_is_not_missing(asked: dict[str, object]) -> None:
    assert missing(replace(BARE, **asked), HERE) == ()  # type: ignore[arg-type]


def test_a_machine_whose_loader_nobody_asked_refuses_no_library() -> None:
    asked = replace(BARE, libraries=("libodd.so.1",))
    assert missing(asked, replace(HERE, libraries=None)) == ()


def test_a_library_may_be_at_the_results_own_places() -> None:
    asked = replace(
        BARE, libraries=("libcudart.so.13",), places=("/usr/local/cuda/lib64", "../../nvidia/lib")
    )
    there = {"../../nvidia/lib/libcudart.so.13"}
    assert missing(asked, HERE, there.__contains__) == ()
    assert missing(asked, HERE, {"/lib/libcudart.so.13"}.__contains__) != ()


def test_windows_own_libraries_are_always_there() -> None:
    here = replace(HERE, os="windows", libc="", libraries=frozenset(("kernel32.dll",)))
    asked = replace(
        BARE, os="windows", libc="", libraries=("kernel32.dll", "api-ms-win-crt-heap-l1-1-0.dll")
    )
    assert missing(asked, here) == ()
    odd = replace(asked, libraries=("cublas64_13.dll",))
    assert missing(odd, here) == ("cublas64_13.dll missing",)


def test_sme_brings_no_sve() -> None:
    """Some CPUs have SME without SVE, whatever GCC's option for SME switches on."""
    hardware = values.hardware("asimddp", "i8mm", "sme", arch="aarch64")
    here = probe(RecordedHost(Answers(os="linux", arch="aarch64")), hardware)
    assert here.features == {"asimddp", "i8mm", "sme", "bf16"}


# --- more is never less --------------------------------------------------------------------------


def version() -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    numbers = st.integers(0, 40).map(lambda n: f"2.{n}")
    return st.dictionaries(st.sampled_from(FAMILIES), numbers).map(lambda one: tuple(one.items()))


FEATURES = st.frozensets(st.sampled_from(X86))
NAMES = st.frozensets(st.sampled_from(LIBRARIES))
VARIANTS = st.lists(
    st.builds(Variant, name=st.sampled_from("abc"), features=FEATURES.map(tuple)), max_size=3
).map(tuple)
REQUIRES = st.builds(
    Requires,
    os=st.just("linux"),
    arch=st.just("x86_64"),
    versions=version(),
    features=FEATURES.map(tuple),
    variants=VARIANTS,
    libraries=NAMES.map(tuple),
    places=st.just(("p",)),
)
PROVIDES = st.builds(
    Provides,
    os=st.just("linux"),
    arch=st.just("x86_64"),
    versions=version(),
    features=FEATURES,
    libraries=NAMES,
)


def highest(*some: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    pairs = sorted((int(two.partition(".")[2]), one, two) for rows in some for one, two in rows)
    return tuple({one: two for _, one, two in pairs}.items())


@given(REQUIRES, PROVIDES, PROVIDES, NAMES)
def test_who_provides_more_refuses_nothing_more(
    asked: Requires, here: Provides, other: Provides, files: frozenset[str]
) -> None:
    known = dict(here.versions)
    raised = tuple(row for row in highest(here.versions, other.versions) if row[0] in known)
    more = replace(
        here,
        versions=raised,
        features=here.features | other.features,
        libraries=(here.libraries or frozenset()) | (other.libraries or frozenset()),
    )
    there = {f"p/{name}" for name in files}
    some = set(missing(asked, more, there.__contains__))
    before = missing(asked, here, there.__contains__)
    assert len(some) <= len(before)
    if not before:
        assert not some
    assert set(missing(asked, here, there.__contains__)) <= set(missing(asked, here))


@given(REQUIRES, REQUIRES, PROVIDES)
def test_what_requires_more_is_not_accepted_sooner(
    asked: Requires, other: Requires, here: Provides
) -> None:
    more = replace(
        asked,
        versions=highest(asked.versions, other.versions),
        features=tuple({*asked.features, *other.features}),
        libraries=tuple({*asked.libraries, *other.libraries}),
        variants=asked.variants or other.variants,
    )
    if missing(asked, here):
        assert missing(more, here)


# --- which is the fastest ------------------------------------------------------------------------

MINE = planned.plans()["zen4-vm-gcc12", "cpu-native"]
ZEN4 = planned.provides("zen4-vm-gcc12")


def candidate(machine: str, recipe: str, created: str = "", id: str = "") -> Candidate:  # noqa: A002
    made = planned.plans()[machine, recipe]
    return Candidate(features=made.cpu_features, requires=expected(made), created=created, id=id)


def test_a_build_with_variants_is_as_fast_as_the_best_that_runs() -> None:
    fat = candidate("zen4-vm-gcc12", "cpu-fat")
    assert expected_speed(fat, ZEN4)[1] == weight("x86_64", zen4_words())
    assert not slower(fat, MINE, ZEN4)
    less = replace(ZEN4, features=frozenset(("sse4_2", "avx")))
    assert expected_speed(fat, less)[1] == weight("x86_64", ("SSE42", "AVX"))
    assert slower(fat, planned.plans()["sapphire-rapids-vm-gcc12", "cpu-native"], ZEN4)


def zen4_words() -> tuple[str, ...]:
    return next(row.has for row in cpu_sets.rows("variant", "x86_64") if row.name == "zen4")


def test_a_portable_build_is_slower_than_one_for_this_processor() -> None:
    assert slower(candidate("zen4-vm-gcc12", "cpu-portable"), MINE, ZEN4)


def test_code_without_traces_of_a_feature_is_not_slower_for_it() -> None:
    """What was compiled for counts, as in ggml; what is measured decides whether it runs."""
    bare = replace(expected(MINE), features=("sse4_2",))
    assert not slower(Candidate(features=MINE.cpu_features, requires=bare), MINE, ZEN4)


def test_own_code_comes_before_that_of_a_relative_and_before_ptx() -> None:
    here = planned.provides("zen4-rtx4090")
    made = planned.plans()["zen4-rtx4090", "cuda-native"]

    def with_code(*codes: tuple[str, str]) -> Candidate:
        return Candidate(
            features=made.cpu_features, requires=replace(expected(made), device_code=codes)
        )

    own, kin, ptx = (
        with_code(("sass", "89"), ("sass", "75")),
        with_code(("sass", "86"), ("ptx", "89")),
        with_code(("ptx", "89"), ("sass", "90")),
    )
    for _ in range(5):
        some = [own, kin, ptx]
        random.shuffle(some)
        assert rank(some, here) == (own, kin, ptx)
    assert [slower(one, made, here) for one in (own, kin, ptx)] == [False, True, True]


def test_the_gpu_that_is_served_worst_decides() -> None:
    devices = tuple(
        Device(backend="cuda", name="x", architecture=arch, driver="580.65.06 (CUDA 13.0)")
        for arch in ("86", "89")
    )
    here = replace(planned.provides("zen4-rtx4090"), devices=devices)
    made = planned.plans()["zen4-rtx4090", "cuda-native"]
    kin, split = (
        Candidate(features=made.cpu_features, requires=replace(expected(made), device_code=codes))
        for codes in ((("sass", "80"),), (("sass", "89"), ("ptx", "80")))
    )
    assert expected_speed(kin, here)[0] == (2, 2)
    assert expected_speed(split, here)[0] == (1, 3)
    assert rank([split, kin], here) == (kin, split)


def test_a_gpu_that_is_served_badly_weighs_more_than_the_cpu() -> None:
    here = replace(
        planned.provides("rtx-3090-and-5090"),
        devices=tuple(
            Device(backend="cuda", name="x", architecture=arch, driver="580.65.06 (CUDA 13.0)")
            for arch in ("86", "120")
        ),
    )
    made = planned.plans()["rtx-3090-and-5090", "cuda-native"]
    good = replace(expected(made), device_code=(("sass", "86"), ("sass", "120a")))
    bad = replace(expected(made), device_code=(("sass", "86"), ("ptx", "86")))
    plain = replace(made, cpu_features=())
    best = Candidate(features=plain.cpu_features, requires=good)
    other = Candidate(features=made.cpu_features, requires=bad)
    assert rank([other, best], here) == (best, other)


POOL = [
    candidate(machine, recipe, created, f"{name}-{machine}-{recipe}")
    for machine, recipe in (
        ("zen4-vm-gcc12", "cpu-native"),
        ("zen4-vm-gcc12", "cpu-fat"),
        ("zen4-vm-gcc12", "cpu-portable"),
        ("sandy-bridge", "cpu-native"),
        ("alder-lake", "cpu-native"),
    )
    for created, name in (("2026-01-01", "a"), ("2026-02-01", "b"), ("2026-02-01", "c"))
]


@settings(max_examples=200)
@given(st.permutations(range(len(POOL))), st.integers(1, len(POOL)))
def test_the_order_is_total_and_depends_on_no_order(places: list[int], count: int) -> None:
    ordered = rank(POOL, ZEN4)
    some = [POOL[place] for place in places]
    assert rank(some, ZEN4) == ordered
    assert rank(some[:count], ZEN4) == tuple(one for one in ordered if one in some[:count])


def test_among_equals_the_newest_is_first() -> None:
    old, new = (
        candidate("zen4-vm-gcc12", "cpu-native", created, id)
        for created, id in (("2025", "b"), ("2026", "a"))  # noqa: A001
    )
    assert rank([old, new], ZEN4) == (new, old)


def test_weights_are_those_of_ggml() -> None:
    """ggml_backend_cpu_x86_score for sapphirerapids: everything but AVX-VNNI."""
    row = next(r for r in cpu_sets.rows("variant", "x86_64") if r.name == "sapphirerapids")
    assert weight("x86_64", row.has) == 1 + (1 << 12) - 1 - (1 << 6)
    arm = next(r for r in cpu_sets.rows("variant", "aarch64") if r.name == "armv9.2_2")
    assert weight("aarch64", arm.has) == 1 + 2 + 4 + 8 + 16 + 32 + 64
