"""The scan of declared options on the real tree."""

from __future__ import annotations

import pytest

from llamabuild import data
from llamabuild.model import Source
from llamabuild.options import Options, check, declared
from tests import trees
from tests.unit.test_options import flag, refused

pytestmark = pytest.mark.llama


@pytest.fixture(scope="module")
def real(source: Source) -> Options:
    return declared(source.tree)


def test_real_tree_knows_what_cmake_knows(real: Options) -> None:
    assert len(real.declared) == 158
    assert real.aliases["LLAMA_CUBLAS"] == "GGML_CUDA"
    table = data.load(data.package("options.toml"))
    assert real.read == set(table["read"])
    assert real == trees.options(trees.NEWEST)
    check(map(flag, ["GGML_NATIVE", "GGML_AVX512_BF16", "LLAMA_BUILD_NUMBER", "MTMD_VIDEO"]), real)


def test_real_tree_refuses_what_is_gone(real: Options) -> None:
    table = data.load(data.package("options.toml"))
    names = ["GGML_CUBLAS", "GGML_AVX522", "LLAMA_BOGUS", "LLAMA_NATIVE", *table["retired"]]
    message = refused(names, real)
    for name in names:
        assert f"{name} (" in message
    for successor in table["retired"].values():
        if successor.startswith(("GGML_", "LLAMA_")):
            words = successor.replace(",", "").replace(" with", "").split()
            check(map(flag, words), real)
