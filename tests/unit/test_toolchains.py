from __future__ import annotations

from llamabuild.toolchains import compilers, tools


def test_an_old_openssl_does_not_count() -> None:
    assert tools.openssl_version('# define OPENSSL_VERSION_STR "1.1.1w"') is None
    assert tools.openssl_version("nothing") is None


def test_clang_is_told_from_gcc_though_it_claims_to_be_one() -> None:
    macros = (
        "#define __GNUC__ 4\n"
        "#define __clang_major__ 22\n"
        "#define __clang_minor__ 1\n"
        "#define __clang_patchlevel__ 0"
    )
    assert compilers.identity(macros) == ("clang", "22.1.0")
    assert compilers.identity(macros + "\n#define __apple_build_version__ 1") == (
        "appleclang",
        "22.1.0",
    )


def test_a_choice_of_the_user_is_seen() -> None:
    assert compilers.explicit({"CXX": "clang++"})
    assert not compilers.explicit({"CC": ""})
