"""The scan of declared options, on a small tree with every form (``tests/e2e`` has the real)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import data
from llamabuild.errors import ConfigError
from llamabuild.model import Flag
from llamabuild.options import (
    Options,
    check,
    declared,
    decoded,
    encoded,
    scan,
    without_comments,
)

TOP = r"""
cmake_minimum_required(VERSION 3.14...3.28) # option(GGML_COMMENTED "no" ON)
#[[ a block
option(GGML_BLOCK "no" ON)
]]
#[==[ option(GGML_BLOCK2 "]]" ON) ]==]
option(LLAMA_BUILD_SERVER    "llama: build # the \"server\" (example)"   ${LLAMA_STANDALONE})
if (MSVC)
    option(GGML_AVX512 "ggml: enable AVX512" OFF)
    OPTION( GGML_AVX2
        "ggml: enable AVX2" ${INS_ENB})
endif()
option(BUILD_SHARED_LIBS "not ours" ON)
set(GGML_LOCAL "not cached")
set   (GGML_CUDA_FA_QUANTS "q4_0-q4_0;f16-f16" CACHE STRING
    "ggml: (quants)")
set(GGML_RPC_RDMA OFF CACHE BOOL "off" FORCE)
set(GGML_ENABLED "ON" CACHE INTERNAL "")
set(GGML_SOURCES a.c b.c)
set(OTHER x CACHE STRING "GGML_NOT_AN_OPTION")
option(GGML_CUDA "ggml: use CUDA" OFF)
message(STATUS "option(GGML_IN_STRING \"no\" ON)")
if (NOT DEFINED LLAMA_BUILD_NUMBER)
    set(LLAMA_BUILD_NUMBER ${BUILD_NUMBER})
endif()
set( LLAMA_BUILD_COMMIT ${BUILD_COMMIT}) # only set: what is given from outside is lost
list(APPEND ARCH_FLAGS -msse4.2 -march=${X}) # -mcommented
set(NAME ggml-mtmd)
function(ggml_add_cpu_backend_variant tag_name)
    ggml_add_cpu_backend_variant_impl(${tag_name})
endfunction()
ggml_add_cpu_backend_variant(armv8.2_1 DOTPROD)
llama_option_depr(FATAL_ERROR LLAMA_CUBLAS   GGML_CUDA)
llama_option_depr(WARNING     LLAMA_CURL)
"""


@pytest.fixture
def small(tmp_path: Path) -> Options:
    (tmp_path / "ggml" / "cmake").mkdir(parents=True)
    (tmp_path / "CMakeLists.txt").write_text(TOP)
    (tmp_path / "ggml" / "cmake" / "more.cmake").write_text('option(GGML_MORE "more" ON)')
    (tmp_path / "README.md").write_text('option(GGML_README "no" ON)')
    return declared(tmp_path)


def flag(name: str) -> Flag:
    return Flag(name=name, value=True, why="test")


def refused(names: list[str], have: Options) -> str:
    with pytest.raises(ConfigError) as caught:
        check(map(flag, names), have)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_every_form_of_declaration(small: Options) -> None:
    assert small.declared == {
        "LLAMA_BUILD_SERVER": "bool",
        "GGML_AVX512": "bool",
        "GGML_AVX2": "bool",
        "GGML_CUDA_FA_QUANTS": "string",
        "GGML_RPC_RDMA": "bool",
        "GGML_CUDA": "bool",
        "GGML_MORE": "bool",
    }
    assert small.aliases == {"LLAMA_CUBLAS": "GGML_CUDA", "LLAMA_CURL": ""}
    assert small.read == {"LLAMA_BUILD_NUMBER"}
    assert small.machine == {"-msse4.2", "-march="}
    assert small.variants == {"armv8.2_1"}


def test_a_scan_is_remembered(tmp_path: Path) -> None:
    tree, cache = tmp_path / "tree", tmp_path / "cache"
    tree.mkdir()
    lists = tree / "CMakeLists.txt"
    lists.write_text('option(GGML_A "" ON)')
    os.utime(lists, (1, 1))
    first = declared(tree, cache=cache, sha256="a")
    (kept,) = (cache / "facts").iterdir()
    (tree / "more.cmake").write_text('option(GGML_B "" ON)')  # an archive never changes
    assert declared(tree, cache=cache, sha256="a") == first
    assert set(declared(tree, cache=cache, sha256="b").declared) == {"GGML_A", "GGML_B"}
    os.utime(lists, (2, 2))  # somebody works on it after all
    assert set(declared(tree, cache=cache, sha256="a").declared) == {"GGML_A", "GGML_B"}
    for damage in (b"", b"{}", b"[1]", kept.read_bytes()[:40]):
        os.utime(lists, (1, 1))
        kept.write_bytes(damage)
        assert set(declared(tree, cache=cache, sha256="a").declared) == {"GGML_A", "GGML_B"}


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text('option(GGML_A "" ON)')
    (tmp_path / "facts").write_text("a file")
    assert declared(tmp_path, cache=tmp_path, sha256="a").knows("GGML_A")


def test_a_folder_that_is_no_tree(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="declares no"):
        declared(tmp_path)


def test_known_and_foreign_names_pass(small: Options) -> None:
    names = ["GGML_CUDA", "LLAMA_BUILD_NUMBER", "CMAKE_BUILD_TYPE", "BUILD_SHARED_LIBS", "LLAVA_X"]
    check(map(flag, names), small)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("GGML_CUBLAS", "GGML_CUBLAS (now GGML_CUDA)"),
        ("LLAMA_CUBLAS", "now GGML_CUDA"),
        ("LLAMA_AVX2", "now GGML_AVX2"),
        ("LLAMA_CURL", "now LLAMA_OPENSSL"),
        ("GGML_HIPBLAS", "now GGML_HIP"),
        ("GGML_CUDA_F16", "removed"),
        ("GGML_AVX522", "did you mean GGML_AVX512"),
        ("LLAMA_BOGUS", "LLAMA_BOGUS (unknown)"),
        ("LLAMA_BUILD_COMMIT", "LLAMA_BUILD_COMMIT"),  # allow-listed, but this tree never reads it
        ("GGML_COMMENTED", "GGML_COMMENTED"),
        ("GGML_BLOCK", "GGML_BLOCK"),
        ("GGML_IN_STRING", "GGML_IN_STRING"),
        ("GGML_ENABLED", "GGML_ENABLED"),
    ],
)
def test_unknown_names_are_refused(small: Options, name: str, words: str) -> None:
    assert words in refused([name], small)


def test_all_wrong_names_are_listed_once(small: Options) -> None:
    message = refused(["LLAMA_BOGUS", "GGML_CUDA", "GGML_BOGUS", "LLAMA_BOGUS"], small)
    assert message.count("LLAMA_BOGUS") == 1
    assert "GGML_BOGUS" in message
    assert "GGML_CUDA (" not in message


def test_table_is_sound() -> None:
    table = data.load(data.package("options.toml"))
    assert set(table) == {"read", "retired"}
    assert not set(table["read"]) & set(table["retired"])
    assert table["read"] == sorted(table["read"])
    for name, successor in table["retired"].items():
        assert name.startswith(("GGML_", "LLAMA_"))
        assert name not in successor.replace(",", "").split()


@given(st.text('ab#"\\[]=()\n ', max_size=60))
def test_stripping_comments_ends_and_only_removes(text: str) -> None:
    left = without_comments(text)
    assert len(left) <= len(text)
    if "#" not in text:
        assert left == text


@given(st.sets(st.from_regex(r"(GGML|LLAMA)_[A-Z0-9_]{1,12}", fullmatch=True), min_size=1))
def test_what_is_declared_is_found_and_passes(names: set[str]) -> None:
    have = scan([f'option({name} "a # b" ON) # option(GGML_no "x")\n' for name in names])
    assert set(have.declared) == names
    assert decoded(encoded(have)) == have
    check(map(flag, names), have)
