"""What users ask of a store, and what may come back when a bit of it is another one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llamabuild import adoption, digest, generations, remotes, reuse, store
from llamabuild.errors import (
    ConfigError,
    FetchError,
    IntegrityError,
    LlamabuildError,
    StoreError,
)
from llamabuild.events import silent
from llamabuild.model import Artifact
from llamabuild.reuse import Policy
from llamabuild.store import pinned, sweeping
from llamabuild.trust import roster
from tests.torture.flips.world import NOW, REQUESTED, World
from tests.unit.trust.making import pair

Answers = Mapping[str, Any]
_CLEAR = (ConfigError, FetchError, IntegrityError, StoreError)
_FALLS_BACK = "current generation"
"""The last one stands in for one that cannot be read."""


def judge(name: str, sound: Any, answer: Any) -> str:
    """One word: "same", "refused" (an error, or less than there was), or "wrong"."""
    if answer == sound:
        return "same"
    if answer is None or (name == _FALLS_BACK and answer == "the last"):
        return "refused"
    if isinstance(answer, tuple) and isinstance(sound, tuple):
        rest = iter(sound)
        return "refused" if all(one in rest for one in answer) else "wrong"
    return "wrong"


def _asked(questions: Mapping[str, Callable[[], Any]]) -> Answers:
    return {name: _answer(ask) for name, ask in questions.items()}


def _answer(ask: Callable[[], Any]) -> Any:
    """None for a clear error; anything else that is raised is an answer, and a wrong one."""
    try:
        return ask()
    except _CLEAR as error:
        return None if error.message and "\n" not in error.message else repr(error)
    except LlamabuildError as error:
        return repr(error)
    except Exception as error:  # noqa: BLE001 - a traceback for the user
        return f"traceback: {error!r}"


def local(world: World) -> Answers:
    """What is asked of a cache."""
    root, want = world.root, world.want
    keys = {one.key[:8]: one.key for one in world.artifacts} | {"healed": REQUESTED}
    offers = Policy(reuse="compatible")
    return _asked(
        {
            "layout": lambda: store.open_root(root),
            **{f"lookup {name}": _lookup(world, key) for name, key in keys.items()},
            "offers": lambda: tuple(_used(world, one) for one in reuse.offers(want, offers)),
            _FALLS_BACK: lambda: _current(world),
            "generations": lambda: generations.listed(root, want.host),
            "pinned": lambda: tuple(sorted(pinned.reasons(root))),
            "why pinned": lambda: tuple(filter(None, pinned.reasons(root).values())),
            **{f"verdict {one.id[:8]}": _verdict(world, one) for one in world.artifacts[::3]},
            "trusted": lambda: [(one.public, one.roles) for one in roster.listed(root)],
            "artifacts": lambda: tuple(sorted(one.id for one in store.artifacts(root, silent))),
            "sweep": lambda: _surveyed(root),
        }
    )


def _lookup(world: World, key: str) -> Callable[[], Any]:
    def ask() -> Any:
        found = store.lookup(world.root, key, silent)
        return found and _used(world, found)

    return ask


def _used(world: World, artifact: Artifact) -> tuple[Any, ...]:
    """An artifact, and each of its files that is not what was published."""
    originals = world.originals.get(artifact.id, {})
    there = {*originals, *artifact.manifest.files}
    wrong = [name for name in there if (artifact.path / name).read_bytes() != originals.get(name)]
    return (artifact.id, artifact.key, artifact.manifest, artifact.healed, *sorted(wrong))


def _verdict(world: World, artifact: Artifact) -> Callable[[], Any]:
    return lambda: adoption.verdict(world.root, artifact.id, world.want.host)


def _current(world: World) -> Any:
    now = generations.current(world.root, world.want.host)
    found = generations.artifact(world.root, now, silent)
    if now == generations.listed(world.root, world.want.host)[-1]:
        return "the last"
    return (now, _used(world, found))


def _surveyed(root: Path) -> tuple[str, ...]:
    return tuple(sorted(one.name for one in sweeping.survey(root, {}).items if one.blobs))


def handed_on(world: World) -> Answers:
    """What is asked of a cache, and what it pushes to a new shared store."""
    return {**local(world), **_asked({"pushed": lambda: _pushed(world)})}


def _pushed(world: World) -> Any:
    """Everything that other machines would get: files, manifests, and who signed them."""
    second, bob = world.base / "second", pair("bob")[0]
    found = (store.by_id(world.root, one.key, one.id, silent) for one in world.artifacts[:2])
    kept = [one for one in found if one]
    try:
        shared = remotes.opened(str(second), world.root, signer=bob)
        remotes.push(shared, kept, bob, silent, now=NOW)
        return tuple(
            f"{path.relative_to(second)} {digest.of_file(path)}"
            for folder in ("blobs", "manifests", "signatures")
            for path in sorted((second / folder).rglob("*"))
            if path.is_file()
        )
    finally:
        shutil.rmtree(second, ignore_errors=True)


def shared(world: World) -> Answers:
    """What is asked of a shared store, by a cache that knows nothing of it."""
    fresh = world.base / "fresh"
    for path in ("layout.json", "CACHEDIR.TAG", *(f"trust/{one}" for one in _keys(world))):
        (fresh / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.reader / path, fresh / path)
    try:
        return _reading(world, fresh)
    finally:
        shutil.rmtree(fresh)


def _keys(world: World) -> list[str]:
    return [path.name for path in (world.reader / "trust").glob("*.json")]


def known(world: World) -> Answers:
    """The same by one that has seen it before."""
    return _reading(world, world.reader)


def _reading(world: World, cache: Path) -> Answers:
    """The state, its rows, and both artifacts."""
    rows: list[Any] = []
    return _asked(
        {
            "rows": lambda: _rows(world, cache, rows),
            **{f"pull {number}": _pull(world, cache, rows, number) for number in range(2)},
        }
    )


def _rows(world: World, cache: Path, rows: list[Any]) -> Any:
    shared = remotes.opened(str(world.remote), cache)
    state = remotes.latest(shared, now=NOW)
    rows.extend(remotes.everything(shared, state) if state else ())
    return state, tuple(rows)


def _pull(world: World, cache: Path, rows: list[Any], number: int) -> Callable[[], Any]:
    def ask() -> Any:
        if number >= len(rows):
            return None
        got = remotes.pull(remotes.opened(str(world.remote), cache), rows[number], silent)
        return _used(world, got)

    return ask
