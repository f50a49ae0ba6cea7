"""`--llama-cpp` through the whole sentence, on the small project: refused, or built and kept."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import pipeline, recipes, store
from llamabuild.errors import AbiMismatch, ConfigError
from llamabuild.events import Event, Noticed, OutputLine, StepStarted, silent
from llamabuild.host import LocalHost
from llamabuild.model import Artifact, Pin
from tests import standin

pytestmark = pytest.mark.steps
HEADER = "struct params { int n_ctx; _Bool embeddings; };\nstruct params llama_defaults(void);\n"
BINDINGS = """\
import ctypes
class params(ctypes.Structure):
    _fields_ = [("n_ctx", ctypes.c_int), ("embeddings", ctypes.c_bool)]
@ctypes_function("llama_defaults", [], params)
def llama_defaults(): ...
"""


@pytest.fixture(scope="module")
def pin(tmp_path_factory: pytest.TempPathFactory) -> Pin:
    folder = tmp_path_factory.mktemp("standin")
    extra = {"llama_cpp/llama_cpp.py": BINDINGS, "vendor/llama.cpp/include/llama.h": HEADER}
    return standin.archive(folder, folder / "facts", extra=extra)


@pytest.fixture
def tree(pin: Pin, tmp_path: Path) -> Path:
    """The stand-in's llama.cpp, as a checkout of its own in which somebody has built before."""
    archive = Path(pin.urls[0].removeprefix("file://"))
    shutil.unpack_archive(archive, tmp_path / "unpacked", filter="data")
    folder = tmp_path / "llama.cpp"
    (tmp_path / "unpacked" / standin.ROOT / pin.tree).rename(folder)
    main = folder / "main.c"
    main.write_text(main.read_text() + "/* another one */\n")
    (folder / "build").mkdir()
    (folder / "build" / "CMakeCache.txt").write_text("left")
    return folder


class Made:
    """Provisions in one cache, with what was told."""

    def __init__(self, root: Path, pin: Pin) -> None:
        self.root, self.pin = root, pin
        self.told: list[Event] = []

    def __call__(self, where: Path | str) -> Artifact:
        self.told.clear()
        return pipeline.provision(
            recipes.load("cpu-native", ("cpu",)),
            self.pin,
            host=LocalHost(),
            cache=self.root,
            emit=self.told.append,
            proof=standin.proved,
            llama_cpp=str(where),
        )

    @property
    def steps(self) -> list[str]:
        return [event.name for event in self.told if isinstance(event, StepStarted)]

    @property
    def noticed(self) -> str:
        return "\n".join(event.message for event in self.told if isinstance(event, Noticed))


@pytest.fixture
def made(tmp_path: Path, pin: Pin) -> Made:
    return Made(store.open_root(tmp_path / "cache"), pin)


def test_one_that_fits_is_built_proved_and_kept(made: Made, tree: Path) -> None:
    kept = made(tree)
    assert made.steps == ["configure", "compile", "wheel"]
    assert f"llama.cpp {tree} has the interface that the bindings are for" in made.noticed
    source = kept.manifest.plan.pin
    assert len(source.replaced) == 64
    assert replace(source, replaced="", commit="0000000", build_number=1) == made.pin
    assert made(tree) == kept
    assert not made.steps
    own = made("")
    assert own.key != kept.key
    assert not own.manifest.plan.pin.replaced


def test_another_tree_is_another_artifact(made: Made, tree: Path) -> None:
    kept = made(tree)
    (tree / "build" / "CMakeCache.txt").write_text("built again")
    assert made(tree) == kept
    (tree / "main.c").write_text((tree / "main.c").read_text() + "/* changed */\n")
    assert made(tree).key != kept.key
    assert made.steps == ["configure", "compile", "wheel"]


def test_one_that_does_not_fit_is_refused_before_anything_is_compiled(
    made: Made, tree: Path
) -> None:
    (tree / "include/llama.h").write_text(HEADER.replace("_Bool embeddings", "_Bool logits_all"))
    with pytest.raises(AbiMismatch, match=r"field 2 is embeddings .* and logits_all"):
        made(tree)
    assert not made.steps
    assert not any(isinstance(event, OutputLine) for event in made.told)
    assert not store.artifacts(made.root, silent)


def test_an_option_that_the_tree_does_not_have_is_not_set(made: Made, tree: Path) -> None:
    lists = tree / "CMakeLists.txt"
    declared = 'set(LLAMA_LLGUIDANCE "" CACHE STRING "declared")'
    assert declared in lists.read_text()
    lists.write_text(lists.read_text().replace(declared, ""))
    flags = {flag.name for flag in made(tree).manifest.plan.flags}
    assert "LLAMA_LLGUIDANCE" not in flags
    assert "GGML_NATIVE" in flags


def test_what_is_no_llama_cpp_is_said_at_once(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no llama\.cpp that can be built"):
        made(tmp_path)
    assert not (made.root / "sources").exists()


@pytest.mark.parametrize("command", ["setup", "build", "plan"])
def test_the_command_line_takes_it(command: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "llamabuild", command, "--cache", str(tmp_path / "cache")]
    ended = subprocess.run(
        [*argv, "--llama-cpp", "master"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "'master' is no tag, commit, archive or folder" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_one_tree_at_a_time(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "llamabuild", "plan", "--cache", str(tmp_path / "cache")]
    both = ["--llama-cpp", "b6000", "--tree", str(tmp_path)]
    ended = subprocess.run([*argv, *both], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "do not go together" in ended.stderr
