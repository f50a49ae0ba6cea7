"""CUDA: which C++ compiler nvcc takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llamabuild.backends.cuda_host import host_compiler
from tests.unit import values
from tests.unit.test_cuda import planned


@pytest.mark.parametrize(
    ("toolkit", "family", "version", "fits"),
    [
        ("11.8", "gcc", "11.4.0", True),
        ("11.8", "gcc", "12.1.0", False),
        ("11.6", "gcc", "11.4.0", True),
        ("12.2", "gcc", "12.3.0", True),
        ("12.2", "gcc", "13.1.0", False),
        ("12.4.131", "clang", "17.0.6", True),
        ("12.4.131", "clang", "18.1.0", False),
        ("11.2", "clang", "9.0.1", True),
        ("14.0", "gcc", "16.1.0", True),
        ("14.0", "gcc", "17.1.0", False),
        ("13.0", "appleclang", "15.0.0", False),
        # _MSC_VER 1939 and 1940 (Visual Studio 2022 17.9 and 17.10), 1950 (2026).
        ("11.8", "msvc", "19.39.33520", True),
        ("11.8", "msvc", "19.40.33807", False),
        ("12.4", "msvc", "19.40.33807", True),
        ("13.1", "msvc", "19.50.35717", False),
        ("13.2", "msvc", "19.50.35717", True),
    ],
)
def test_which_toolkit_accepts_which_compiler(
    toolkit: str, family: str, version: str, fits: bool
) -> None:
    assert (host_compiler(toolkit, family, version) is None) == fits


def test_a_compiler_that_nvcc_refuses_is_replaced_by_one_that_it_takes() -> None:
    new = replace(values.compiler("gcc", "14.2.0"), cxx="/usr/bin/g++")
    old = replace(values.compiler("gcc", "12.2.0"), cxx="/usr/bin/g++-12")
    both = planned("86", nvcc="12.4.131", compilers=values.toolchain(new, old))
    assert both["CMAKE_CUDA_HOST_COMPILER"].value == "/usr/bin/g++-12"
    assert "accepts gcc up to 13" in both["CMAKE_CUDA_HOST_COMPILER"].why
    good = planned("86", nvcc="13.0.88", compilers=values.toolchain(new, old))
    assert not {"CMAKE_CUDA_HOST_COMPILER", "CMAKE_CUDA_FLAGS"} & set(good)


def test_where_there_is_no_other_the_package_to_install_is_named() -> None:
    new = replace(values.compiler("gcc", "14.2.0"), cxx="/usr/bin/g++")
    alone = planned("86", nvcc="12.4.131", compilers=values.toolchain(new))
    assert alone["CMAKE_CUDA_FLAGS"].value == "-allow-unsupported-compiler"
    assert "install g++-13" in alone["CMAKE_CUDA_FLAGS"].why
    visual = replace(values.compiler("msvc", "19.50.35717"), cxx="C:/VC/cl.exe")
    windows = planned("86", nvcc="12.4.131", compilers=values.toolchain(visual))
    assert "Visual Studio" in windows["CMAKE_CUDA_FLAGS"].why


def test_nvcc_is_told_what_everything_else_is_built_with() -> None:
    clang = replace(values.compiler("clang", "15.0.0"), cxx="/usr/bin/clang++")
    old = replace(values.compiler("gcc", "12.2.0"), cxx="/usr/bin/g++-12")
    chosen = planned("86", nvcc="13.0.88", compilers=values.toolchain(clang, old))
    assert chosen["CMAKE_CUDA_HOST_COMPILER"].value == "/usr/bin/clang++"
    visual = replace(values.compiler("msvc", "19.41.34120"), cxx="C:/VC/cl.exe")
    windows = planned("86", nvcc="13.0.88", compilers=values.toolchain(visual))
    assert "CMAKE_CUDA_HOST_COMPILER" not in windows
