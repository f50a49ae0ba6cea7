from __future__ import annotations

from pathlib import Path

import pytest

from llamabuild import backends, recipes
from llamabuild.errors import ConfigError
from llamabuild.model import Flag

NAMES = tuple(backends.BACKENDS)
ROOT = Path(__file__).resolve().parents[2]


def test_every_shipped_recipe_loads() -> None:
    known = recipes.names()
    assert {"auto", "cpu-native", "cpu-portable", "cpu-fat", "cuda-native", "vulkan"} <= set(known)
    for name in known:
        assert recipes.load(name, NAMES).summary


def test_a_path_works(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'summary = "x"\n[flags]\nGGML_CUDA_FA_QUANTS = { value = "all", why = "quantised KV" }\n'
    )
    recipe = recipes.load(str(file), NAMES)
    assert recipe.name == "mine"
    assert recipe.flags == (Flag(name="GGML_CUDA_FA_QUANTS", value="all", why="quantised KV"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("backends = [", "mine.toml"),
        ('backend = ["cpu"]', "did you mean 'backends'"),
        ('backends = ["cdua"]', "did you mean 'cuda'"),
        ("backends = []", "must be a list"),
        ('cpu = "nativ"', "did you mean 'native'"),
        ("cpu = 3", "cpu cannot be 3"),
        ("summary = 1", "must be a text"),
        ("flags = 1", "must be a table"),
        ("[flags]\nGGML_RPC = true", "needs a value"),
        ('[flags]\nGGML_RPC = { value = true, why = "" }', "needs a value"),
        ('[flags]\nGGML_RPC = { value = 3, why = "x" }', "needs a value"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        recipes.load(str(file), NAMES)
    assert caught.value.hint


def test_an_unknown_recipe_names_a_close_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cpu-native'"):
        recipes.load("cpu-nativ", NAMES)


@pytest.mark.parametrize(
    "path",
    sorted([*ROOT.glob("benchmarks/recipes/*.toml"), *ROOT.glob("tests/e2e/recipes/*.toml")]),
)
def test_the_recipes_of_benchmarks_and_tests_can_be_read(path: Path) -> None:
    assert recipes.load(str(path), NAMES).summary
