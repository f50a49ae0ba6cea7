"""One builds, another takes it: the stand-in project, real compilers, caches and shared stores."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llamabuild import adoption, pipeline, recipes, remotes, store
from llamabuild.errors import ProofFailed
from llamabuild.events import Emit, Event, StepStarted, Warned, silent
from llamabuild.host import Host, LocalHost
from llamabuild.model import Artifact, Build, Pin, Proof
from llamabuild.remotes import Shared
from llamabuild.reuse import Policy
from llamabuild.trust import roster
from tests import standin
from tests.steps import kill, shelves
from tests.steps.test_trees import BINDINGS, HEADER
from tests.unit.trust.making import pair

pytestmark = pytest.mark.steps
NOW = dt.datetime.now(tz=dt.timezone.utc)


@dataclass
class Prover:
    """The stand-in's proof, and the folders that it was asked about; ``refuse`` names those whose
    contents are not to work here."""

    refuse: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)

    def __call__(self, built: Build, work: Path, host: Host, emit: Emit) -> Proof:
        self.asked.append(built.prefix.name)
        if built.prefix.name in self.refuse:
            raise ProofFailed("wrong sum", kind="wrong-numbers", check="sum of squares")
        return standin.proved(built, work, host, emit)


@dataclass
class Run:
    """One run of the pipeline: what came out, what was told, and how often was proved."""

    made: Artifact
    told: list[Event]
    prover: Prover

    @property
    def steps(self) -> list[str]:
        return [one.name for one in self.told if isinstance(one, StepStarted)]

    @property
    def warnings(self) -> str:
        return "\n".join(one.message for one in self.told if isinstance(one, Warned))


def provision(
    cache: Path,
    pin: Pin,
    *stores: Shared,
    word: str = "auto",
    recipe: str = "cpu-native",
    llama_cpp: str = "",
    prover: Prover | None = None,
) -> Run:
    prover = prover or Prover()
    told: list[Event] = []
    made = pipeline.provision(
        recipes.load(recipe, ("cpu",)),
        pin,
        host=LocalHost(),
        cache=cache,
        emit=told.append,
        proof=prover,
        llama_cpp=llama_cpp,
        policy=Policy(reuse=word, stores=lambda: stores),
    )
    return Run(made, told, prover)


@pytest.fixture(scope="module")
def pin(tmp_path_factory: pytest.TempPathFactory) -> Pin:
    folder = tmp_path_factory.mktemp("standin")
    extra = {"llama_cpp/llama_cpp.py": BINDINGS, "vendor/llama.cpp/include/llama.h": HEADER}
    return standin.archive(folder, folder / "facts", extra=extra)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, pin: Pin) -> tuple[Path, Artifact]:
    """A shared folder with a signed artifact, and the artifact; who built it."""
    home = tmp_path_factory.mktemp("built")
    cache = store.open_root(home / "a")
    run = provision(cache, pin)
    assert run.steps == ["configure", "compile", "wheel"]
    publish(home / "shared", cache, run.made)
    return home / "shared", run.made


@pytest.fixture
def folder(built: tuple[Path, Artifact], tmp_path: Path) -> Path:
    """The shared folder, for this test alone."""
    shutil.copytree(built[0], tmp_path / "shared")
    return tmp_path / "shared"


@pytest.fixture
def theirs(built: tuple[Path, Artifact]) -> Artifact:
    return built[1]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Another machine's cache, which trusts the builder."""
    root = store.open_root(tmp_path / "b")
    roster.add(root, pair("anna")[1], ["builder"], now=NOW)
    return root


def publish(folder: Path, cache: Path, *made: Artifact) -> None:
    signer = pair("anna")[0]
    shared = remotes.opened(str(folder), cache, signer=signer, new=True)
    remotes.push(shared, made, signer, silent, now=NOW)


def test_what_another_built_is_proved_here_and_not_compiled(
    folder: Path, theirs: Artifact, cache: Path, pin: Pin
) -> None:
    run = provision(cache, pin, remotes.opened(str(folder), cache))
    assert run.steps == ["pull"]
    assert run.made.id == theirs.id
    assert run.prover.asked == [theirs.id]
    assert "comes from elsewhere: it is proved here" in str(run.told)
    assert kill.inspect(cache) == 1
    assert not (cache / "sources").exists()
    shared = remotes.opened(str(folder), cache)
    again = provision(cache, pin, shared)
    assert (again.made, again.steps, again.prover.asked) == (run.made, [], [])
    assert shared.objects.requests == 0


@pytest.mark.parametrize("state", ["down", "gone", "lying", "stranger"])
def test_a_store_that_is_of_no_use_costs_a_warning(
    state: str, folder: Path, theirs: Artifact, cache: Path, pin: Pin
) -> None:
    with _spoilt(state, folder, cache) as (shared, said):
        run = provision(cache, pin, shared)
    assert said in run.warnings
    assert [one for one in run.steps if one != "pull"] == ["configure", "compile", "wheel"]
    assert run.made.id != theirs.id
    assert run.made.key == theirs.key
    assert kill.inspect(cache) == 1


@contextlib.contextmanager
def _spoilt(state: str, folder: Path, cache: Path) -> Iterator[tuple[Shared, str]]:
    """A store that cannot be used, and what is said of it."""
    if state == "down":
        yield remotes.opened("http://127.0.0.1:9/x", cache), "It goes on without it"
    elif state == "gone":
        (blob, *_) = folder.glob("blobs/*/*")
        blob.unlink()
        yield remotes.opened(str(folder), cache), "lacks the file"
    elif state == "lying":

        def other(_: shelves.Lying, data: bytes) -> bytes:
            return data[:-1] + b"?" if data[:4] == b"\x7fELF" else data

        with shelves.served(folder, other) as (url, _):
            yield remotes.opened(url, cache), "is not what its name says. It is not used."
    else:
        roster.remove(cache, "anna")
        roster.add(cache, pair("bob")[1], ["builder"], now=NOW)
        yield remotes.opened(str(folder), cache), "not trusted"


def test_what_fails_its_proof_here_is_remembered_passed_over_and_built_anew(
    folder: Path, theirs: Artifact, cache: Path, pin: Pin
) -> None:
    refuse = Prover(refuse=frozenset([theirs.id]))
    run = provision(cache, pin, remotes.opened(str(folder), cache), prover=refuse)
    assert run.steps == ["pull", "configure", "compile", "wheel"]
    assert f"{theirs.key[:12]} is not used: wrong sum" in run.warnings
    assert refuse.asked[0] == theirs.id
    assert theirs.id not in refuse.asked[1:]  # once is enough
    assert run.made.id != theirs.id
    verdict = adoption.verdict(cache, theirs.id, LocalHost())
    assert verdict
    assert (verdict.kind, verdict.check) == ("wrong-numbers", "sum of squares")
    again = provision(cache, pin, remotes.opened(str(folder), cache))
    assert (again.made.id, again.steps, again.prover.asked) == (run.made.id, [], [])


def test_never_builds_although_there_is_one(
    folder: Path, theirs: Artifact, cache: Path, pin: Pin
) -> None:
    shared = remotes.opened(str(folder), cache)
    assert provision(cache, pin, shared, word="exact").steps == ["pull"]
    run = provision(cache, pin, shared, word="never")
    assert run.steps == ["configure", "compile", "wheel"]
    assert (run.made.key, len(run.prover.asked)) == (theirs.key, 1)
    assert kill.inspect(cache) in (1, 2)  # 1 where the second is the same to the byte


def test_a_portable_one_is_only_taken_where_that_is_wanted(
    cache: Path, pin: Pin, tmp_path: Path
) -> None:
    other = store.open_root(tmp_path / "a")
    portable = provision(other, pin, recipe="cpu-portable").made
    publish(tmp_path / "portable", other, portable)
    shared = remotes.opened(str(tmp_path / "portable"), cache)
    run = provision(cache, pin, shared, word="compatible")
    assert (run.made.id, run.steps, run.prover.asked) == (portable.id, ["pull"], [portable.id])
    run = provision(cache, pin, shared)
    if run.made.manifest.plan.cpu_features == portable.manifest.plan.cpu_features:
        pytest.skip("this CPU has nothing that the portable build lacks")
    assert "compile" in run.steps
    assert "would run here, slower than what is built now" in str(run.told)


def test_another_tree_and_the_pinned_one_are_two_things(
    folder: Path, theirs: Artifact, cache: Path, pin: Pin, tmp_path: Path
) -> None:
    """What is shared was made of the pinned source: whoever names a tree does not get it, and the
    other way round; the same tree again is a hit."""
    archive = Path(pin.urls[0].removeprefix("file://"))
    shutil.unpack_archive(archive, tmp_path / "unpacked", filter="data")
    tree = tmp_path / "unpacked" / standin.ROOT / pin.tree
    with (tree / "main.c").open("a") as stream:
        stream.write("/* mine */\n")
    shared = remotes.opened(str(folder), cache)
    mine = provision(cache, pin, shared, llama_cpp=str(tree), word="compatible")
    assert "compile" in mine.steps
    assert mine.made.key != theirs.key
    assert provision(cache, pin, shared, llama_cpp=str(tree)).steps == []
    pinned = provision(cache, pin, shared, word="compatible")
    assert (pinned.made.id, pinned.steps) == (theirs.id, ["pull"])
