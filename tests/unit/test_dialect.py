"""The same plan for every recorded tree: nothing is ignored, nothing is dropped in silence."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import backends, data, plan, recipes
from llamabuild.backends import cpu, cpu_features
from llamabuild.dialect import Rendering, called, cpu_source, explain_name, render, render_sources
from llamabuild.errors import ConfigError, LlamabuildError, UnsupportedHardware
from llamabuild.model import Device, Flag, Hardware, Plan, SourceOption, Tool, Toolchain
from llamabuild.options import PREFIXES, check, scan
from tests import trees
from tests.unit import values

TABLE = data.load(data.package("dialect/names.toml"))
OLD = [version for version in trees.versions() if version != trees.NEWEST]
NEWEST = trees.options(trees.NEWEST)
ARCHITECTURES = ("x86_64", "aarch64", "riscv64", "ppc64le", "s390x", "loongarch64")


def flag(name: str, value: bool | str = True) -> Flag:
    return Flag(name=name, value=value, why="test")


def said(version: str, *flags: Flag, arch: str = "x86_64", family: str = "gcc") -> Rendering:
    return render(flags, trees.options(version), arch, family=family, tree=version)


def named(rendering: Rendering) -> dict[str, bool | str]:
    return {one.name: one.value for one in rendering.flags}


def machine(arch: str, features: tuple[str, ...], devices: tuple[str, ...] = ()) -> Plan:
    """A plan for a made-up machine."""
    known = {"cuda": ("90", "580 (CUDA 13.0)"), "vulkan": ("", "")}
    hardware: Hardware = replace(
        values.hardware(*features, arch=arch),
        devices=tuple(
            Device(backend=one, name=one, architecture=known[one][0], driver=known[one][1])
            for one in devices
        ),
    )
    compiler = values.compiler(accepts=frozenset(cpu.all_compiler_options(arch)))
    toolchain: Toolchain = values.toolchain(compiler)
    if "cuda" in devices:
        nvcc = Tool(name="nvcc", version="13.0.88", backend="cuda")
        toolchain = replace(toolchain, tools=(*toolchain.tools, nvcc))
    recipe = recipes.load("auto" if devices else "cpu-native", tuple(backends.BACKENDS))
    return plan.plan(recipe, values.pin(), hardware, toolchain)


def plans() -> st.SearchStrategy[tuple[str, Plan]]:
    def of(arch: str) -> st.SearchStrategy[tuple[str, Plan]]:
        names = [row.name for row in cpu_features.extensions(arch)]
        some = st.sets(st.sampled_from(names)).map(tuple) if names else st.just(())
        devices = st.sampled_from([(), ("cuda",), ("vulkan",), ("cuda", "vulkan")])
        return st.builds(machine, st.just(arch), some, devices).map(lambda made: (arch, made))

    return st.sampled_from(ARCHITECTURES).flatmap(of)


@given(plans())
def test_the_newest_tree_is_spoken_to_as_planned(made: tuple[str, Plan]) -> None:
    arch, planned = made
    rendering = render(planned.flags, NEWEST, arch)
    assert rendering == Rendering(flags=planned.flags)


@given(plans(), st.sampled_from(trees.versions()))
def test_every_name_exists_in_the_tree_it_is_for(made: tuple[str, Plan], version: str) -> None:
    arch, planned = made
    tree = trees.options(version)
    if "vulkan" in planned.backends and not called("GGML_VULKAN", tree):
        with pytest.raises(UnsupportedHardware, match=f"{re.escape(version)} has no Vulkan"):
            render(planned.flags, tree, arch, tree=version)
        return
    rendering = render(planned.flags, tree, arch, tree=version)
    check(rendering.flags, tree)
    names = [one.name for one in rendering.flags]
    assert len(names) == len(set(names))
    assert all(one.why for one in rendering.flags)
    # Every option of the plan comes out, by some name, or is spoken of.
    told = {name for note in rendering.notes for name in note.name.split(", ")}
    for one in planned.flags:
        assert called(one.name, tree) in names or one.name in names or one.name in told


@given(plans(), st.sampled_from(OLD))
def test_every_feature_reaches_the_compiler_or_is_given_up(
    made: tuple[str, Plan], version: str
) -> None:
    """On x86, where each extension has one compiler option: said by the tree or by us."""
    arch, planned = made
    tree = trees.options(version)
    if arch != "x86_64" or ("vulkan" in planned.backends and not called("GGML_VULKAN", tree)):
        return
    rendering = render(planned.flags, tree, arch)
    ours = str(named(rendering).get("CMAKE_C_FLAGS", "")).split()
    assert ours == str(named(rendering).get("CMAKE_CXX_FLAGS", "")).split()
    on = {name for name, value in named(rendering).items() if value is True}
    theirs = {
        word
        for row in cpu_features.extensions(arch)
        if called(row.option, tree) in on
        for word in row.compiler
        if word in tree.machine
    }
    kept = [name for name in planned.cpu_features if name not in rendering.lost]
    assert theirs | set(ours) == set(cpu.compiler_options(kept))
    assert not theirs & set(ours)


@pytest.mark.parametrize("version", OLD)
def test_every_option_of_the_newest_tree_has_an_answer(version: str) -> None:
    tree = trees.options(version)
    for name in sorted((*NEWEST.declared, *NEWEST.read)):
        check(said(version, flag(name, False)).flags, tree)
        ours = TABLE["without"].keys() | TABLE["compiler"].keys() | {"GGML_SSE42", "GGML_BMI2"}
        ours |= {"GGML_AVX_VNNI"}
        if called(name, tree) or name in ours or not name.startswith(PREFIXES):
            check(said(version, flag(name)).flags, tree)
        else:
            with pytest.raises(LlamabuildError, match=re.escape(version)) as caught:
                said(version, flag(name))
            assert "\n" not in caught.value.message
            assert caught.value.hint


@pytest.mark.parametrize("version", OLD)
def test_every_option_that_only_old_trees_have_is_decided(version: str) -> None:
    tree = trees.options(version)
    everywhere = {name for row in TABLE["only_old"] for name in row["names"]}
    renamed = {called(name, tree) for name in NEWEST.declared}
    left = set(tree.declared) - set(NEWEST.declared) - renamed - everywhere
    assert left <= set(TABLE["alone"]["names"])


def test_the_table_is_sound() -> None:
    known = {*NEWEST.declared, *NEWEST.read}
    for kind in ("older", "switch", "without", "always", "impossible", "compiler"):
        assert set(TABLE[kind]) <= known, kind
    for name, older in TABLE["older"].items():
        assert name not in older
        assert not set(older) & set(NEWEST.declared)
    for row in TABLE["only_old"]:
        assert not set(row["names"]) & known
        assert set(row.get("with", ())) <= known
        assert ("value" in row) != ("like" in row)
        assert any(trees.options(version).knows(n) for version in OLD for n in row["names"])
    for name in TABLE["alone"]["names"]:
        assert any(trees.options(version).knows(name) for version in OLD)
    for module in backends.BACKENDS.values():
        assert module.SWITCH in {*TABLE["switch"], "GGML_CPU"}


@pytest.mark.parametrize(
    ("version", "name", "here"),
    [
        ("0.2.20", "GGML_CUDA", "LLAMA_CUBLAS"),
        ("0.2.79", "GGML_CUDA", "LLAMA_CUDA"),
        ("0.2.90", "GGML_CUDA", "GGML_CUDA"),
        ("0.2.79", "GGML_HIP", "LLAMA_HIPBLAS"),
        ("0.2.90", "GGML_HIP", "GGML_HIPBLAS"),
        ("0.3.2", "GGML_HIP", "GGML_HIP"),
        ("0.3.9", "GGML_CPU_REPACK", "GGML_CPU_AARCH64"),
        ("0.2.90", "GGML_CUDA_GRAPHS", "GGML_CUDA_USE_GRAPHS"),
        ("0.3.28", "GGML_SYCL_SUPPORT_LEVEL_ZERO_API", "GGML_SYCL_SUPPORT_LEVEL_ZERO"),
        ("0.2.20", "GGML_NATIVE", "LLAMA_NATIVE"),
        ("0.2.79", "GGML_METAL", "LLAMA_METAL"),
        ("0.3.16", "GPU_TARGETS", "AMDGPU_TARGETS"),
        ("0.3.36", "GPU_TARGETS", "GPU_TARGETS"),
        ("0.2.20", "GGML_VULKAN", ""),
        ("0.3.16", "LLAMA_OPENSSL", ""),  # LLAMA_CURL is something else
        ("0.2.20", "GGML_BUILD_TESTS", ""),
    ],
)
def test_what_it_is_called(version: str, name: str, here: str) -> None:
    assert called(name, trees.options(version)) == here


@pytest.mark.parametrize(
    ("version", "name", "words"),
    [
        ("0.3.36", "LLAMA_CUBLAS", "here GGML_CUDA"),
        ("0.3.36", "GGML_CUBLAS", "here GGML_CUDA"),
        ("0.3.36", "LLAMA_AVX2", "here GGML_AVX2"),
        ("0.3.36", "LLAMA_HIPBLAS", "here GGML_HIP"),
        ("0.3.36", "GGML_CUDA_F16", "removed, nothing took its place"),
        ("0.3.36", "GGML_OPENBLAS", "now GGML_BLAS with GGML_BLAS_VENDOR"),
        ("0.2.20", "GGML_CUDA", "here LLAMA_CUBLAS"),
        ("0.2.20", "LLAMA_CUDA", "here LLAMA_CUBLAS"),
        ("0.2.20", "GGML_HIP", "here LLAMA_HIPBLAS"),
        ("0.2.20", "LLAMA_CUBLAS", ""),
        ("0.2.90", "LLAMA_AVX512", "here GGML_AVX512"),
        ("0.3.36", "GGML_AVX522", "did you mean GGML_AVX512"),
    ],
)
def test_what_to_write_instead(version: str, name: str, words: str) -> None:
    assert explain_name(name, trees.options(version)).startswith(words)
    assert bool(words) or not explain_name(name, trees.options(version))


def test_a_backend_that_the_tree_does_not_have_is_an_error() -> None:
    with pytest.raises(UnsupportedHardware, match=r"0\.2\.20 has no SYCL") as caught:
        said("0.2.20", flag("GGML_CPU"), flag("GGML_SYCL"))
    assert caught.value.hint
    assert said("0.2.20", flag("GGML_SYCL", False)).notes[0].said == "left out"


@pytest.mark.parametrize(
    ("version", "arch"), [("0.2.20", "x86_64"), ("0.3.2", "x86_64"), ("0.3.9", "aarch64")]
)
def test_a_fat_build_needs_a_tree_with_variants(version: str, arch: str) -> None:
    flags = (flag("GGML_BACKEND_DL"), flag("GGML_CPU_ALL_VARIANTS"))
    with pytest.raises(ConfigError, match=re.escape(version)):
        said(version, *flags, arch=arch)


def test_fewer_variants_are_told() -> None:
    flags = (flag("GGML_BACKEND_DL"), flag("GGML_CPU_ALL_VARIANTS"))
    (note,) = said("0.3.9", *flags).notes
    assert note.said == "changed"
    assert "zen4" in note.why
    assert "haswell" not in note.why


def test_arm_without_an_option_is_the_compilers() -> None:
    march = flag("GGML_CPU_ARM_ARCH", "armv8.2-a+dotprod")
    rendering = said("0.3.2", march, arch="aarch64")
    assert named(rendering)["CMAKE_C_FLAGS"] == "-march=armv8.2-a+dotprod"
    assert named(rendering)["GGML_SVE"] is False  # it would come later and win
    newer = named(said("0.3.9", march, arch="aarch64"))
    assert newer[march.name] == march.value
    assert not {"CMAKE_C_FLAGS", "GGML_SVE"} & set(newer)


def test_what_a_recipe_tells_the_compiler_stays_in_front() -> None:
    rendering = said("0.2.20", flag("CMAKE_C_FLAGS", "-g1"), flag("GGML_SSE42"))
    assert named(rendering)["CMAKE_C_FLAGS"] == "-g1 -msse4.2"
    assert named(rendering)["CMAKE_CXX_FLAGS"] == "-msse4.2"


def test_an_option_that_means_less_is_completed() -> None:
    rendering = said("0.2.90", flag("GGML_AVX512"), flag("GGML_AVX512_VNNI"))
    assert named(rendering)["GGML_AVX512"] is True
    assert named(rendering)["CMAKE_C_FLAGS"] == "-mavx512cd -mavx512dq -mavx512vl"
    assert "CMAKE_C_FLAGS" not in named(said("0.2.90", flag("GGML_AVX512", False)))


def test_features_without_kernels_are_lost() -> None:
    rendering = said("0.2.79", flag("GGML_AMX_INT8"), flag("GGML_AVX512_BF16"))
    assert rendering.lost == ("amx_int8",)
    assert rendering.notes[0].why == "it has no AMX kernels"


def test_msvc_takes_no_such_options() -> None:
    rendering = said("0.3.2", flag("GGML_AVX512"), flag("GGML_AVX_VNNI"), family="msvc")
    assert "CMAKE_C_FLAGS" not in named(rendering)
    assert rendering.lost == ("avx_vnni",)


def test_amx_as_a_backend_of_its_own_follows_the_kernels() -> None:
    for value in (True, False):
        assert named(said("0.3.2", flag("GGML_AMX_INT8", value)))["GGML_AMX"] is value


def test_options_of_a_backend_are_set_beside_it_only() -> None:
    assert named(said("0.2.20", flag("GGML_CUDA")))["LLAMA_CUDA_DMMV_X"] == "32"
    assert "LLAMA_CUDA_DMMV_X" not in named(said("0.2.20", flag("GGML_CUDA", False)))


def test_a_trees_own_name_is_taken_as_it_is() -> None:
    rendering = said("0.2.20", flag("LLAMA_CUBLAS"), flag("GGML_CUDA"))
    assert named(rendering)["LLAMA_CUBLAS"] is True


def test_one_option_by_two_names_with_two_values_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"LLAMA_CUBLAS is wanted as False .* and as True"):
        said("0.2.20", flag("GGML_CUDA", False), flag("LLAMA_CUBLAS"))


def test_a_newer_tree() -> None:
    """What it no longer has: harmless when off, an error with what is close when on."""
    newer = scan(['option(GGML_CUDA "" OFF)\noption(GGML_AVX10_512 "" OFF)'])
    rendering = render((flag("GGML_CUDA"), flag("GGML_LTO", False)), newer, "x86_64")
    assert named(rendering) == {"GGML_CUDA": True}
    with pytest.raises(ConfigError, match=r"does not have GGML_AVX10_51 .*GGML_AVX10_512\?"):
        render((flag("GGML_AVX10_51"),), newer, "x86_64")
    with pytest.raises(UnsupportedHardware, match="has no Vulkan"):
        render((flag("GGML_VULKAN"),), newer, "x86_64")


def test_foreign_names_pass() -> None:
    flags = (flag("CMAKE_BUILD_TYPE", "Release"), flag("BUILD_SHARED_LIBS"), flag("SOC_TYPE", "x"))
    assert not any(one.name.startswith(PREFIXES) for one in flags)
    kept = [one for one in said("0.2.20", *flags).flags if one in flags]
    assert kept == list(flags)


def test_options_for_files_go_where_the_file_is() -> None:
    option = SourceOption(source="ggml/src/ggml-cpu/amx/mmq.cpp", options=("-fno-dse",), why="w")
    assert render_sources((option,), lambda _: True) == ((option,), ())
    kept, notes = render_sources((option,), lambda path: "ggml-amx/" in path)
    assert kept[0].source == "ggml/src/ggml-amx/mmq.cpp"
    assert not notes
    kept, notes = render_sources((option,), lambda _: False)
    assert not kept
    assert notes[0].name == option.source


def test_where_the_cpu_code_is() -> None:
    assert cpu_source(["ggml.c", "ggml/src/ggml.c"]) == "ggml/src/ggml.c"
    assert cpu_source(["llama.cpp"]) == ""
