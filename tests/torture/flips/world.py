"""A store with artifacts of real plans, and a shared one that some of them were pushed to."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from llamabuild import adoption, generations, matching, plan, recordings, remotes, store
from llamabuild.adoption import Verdict
from llamabuild.events import silent
from llamabuild.host import RecordedHost
from llamabuild.model import Artifact, Plan, Remedy
from llamabuild.reuse import Want
from llamabuild.store import catalogue, pinned
from llamabuild.trust import roster
from tests.unit import planned, values
from tests.unit.trust.making import pair

MACHINES = Path(__file__).resolve().parents[2] / "machines"
HERE, ELSEWHERE = "zen4-vm-gcc12", "sapphire-rapids-vm-gcc12"
NOW = dt.datetime.now(tz=dt.timezone.utc)
REQUESTED = "ab" * 32
"""The key of a request that was healed."""
HEALED = (Remedy(name="no-amx", why="the compiler drops instructions"),)
COMMON = random.Random(7).randbytes(40_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """``root`` is a cache that pulled and made artifacts, ``remote`` a shared store, ``reader`` a
    cache that trusts who pushed there and has seen it; all are in ``base``. ``originals`` are the
    files of every artifact, by its id."""

    base: Path
    root: Path
    remote: Path
    reader: Path
    want: Want
    artifacts: tuple[Artifact, ...]
    originals: Mapping[str, Mapping[str, bytes]]


def make(base: Path, rng: random.Random) -> World:
    """Build all of it. The last state of the shared store is its second."""
    remote, root = base / "remote", store.open_root(base / "cache")
    mine = _plan(HERE, "cpu-native")
    other = replace(mine, compiler=replace(mine.compiler, version="13.1.0", digest="another"))
    plans = (mine, other, _plan(HERE, "cpu-portable"), _plan(ELSEWHERE, "cpu-native"))
    made = tuple(_publish(root, one, rng) for one in plans)
    roster.add(root, pair("anna")[1], ["builder"], now=NOW)
    for artifact in made[:2]:
        remotes.push(_shared(remote, root), [artifact], pair("anna")[0], silent, now=NOW)
    host = RecordedHost(recordings.read(MACHINES / f"{HERE}.json").machine)
    world = World(
        base=base,
        root=root,
        remote=remote,
        reader=store.open_root(base / "reader"),
        want=_want(root, mine, host),
        artifacts=made,
        originals={one.id: _contents(one) for one in made},
    )
    _use(world)
    return world


def _plan(machine: str, recipe: str) -> Plan:
    made = planned.made(machine, recipe)
    assert made
    return made


def _want(root: Path, mine: Plan, host: RecordedHost) -> Want:
    recording = recordings.read(MACHINES / f"{HERE}.json")
    hardware = recordings.replay(recording)[0]
    return Want(
        plan=mine, key=plan.key(mine), hardware=hardware, host=host, cache=root, emit=silent
    )


def _publish(root: Path, made: Plan, rng: random.Random) -> Artifact:
    key = plan.key(made)
    files = {
        "bin/llama-cli": rng.randbytes(rng.randrange(50_000, 200_000)),
        "lib/libllama.so": COMMON,
        "lib/libggml.so": rng.randbytes(rng.randrange(5_000, 50_000)),
        "wheel/llama_cpp_python.whl": rng.randbytes(3_000),
        "build.log": b"compiled " * 500 + key.encode(),
    }
    with store.workdir(root) as work:
        for name, data in files.items():
            (work / "prefix" / name).parent.mkdir(parents=True, exist_ok=True)
            (work / "prefix" / name).write_bytes(data)
        manifest = replace(
            values.manifest(key, store.hashes(work / "prefix")),
            plan=made,
            requires=matching.expected(made),
        )
        group = matching.group(made)
        return store.publish(root, work / "prefix", manifest, group=group, requested=key)


def _contents(artifact: Artifact) -> dict[str, bytes]:
    return {
        path.relative_to(artifact.path).as_posix(): path.read_bytes()
        for path in artifact.path.rglob("*")
        if path.is_file()
    }


def _shared(remote: Path, cache: Path) -> remotes.Shared:
    return remotes.opened(str(remote), cache, signer=pair("anna")[0])


def _use(world: World) -> None:
    """What setup, rollback, pin and a first lookup leave: all that is not named by its contents."""
    root, host, made = world.root, world.want.host, world.artifacts
    store.lead(root, made[2], requested=REQUESTED, healed=HEALED)
    for artifact in made[:2]:
        generations.advance(root, host, artifact)
    generations.roll_back(root, host, None, silent)
    pinned.add(root, made[1], "release 1.4")
    adoption.record(root, made[0].id, host, Verdict(proof=values.proof()))
    bad = Verdict(kind="illegal-instruction", check="tokens", why="vpdpbusd")
    adoption.record(root, made[3].id, host, bad)
    catalogue.rows(root, matching.group(world.want.plan))
    roster.add(world.reader, pair("anna")[1], ["builder"], now=NOW)
    current: set[str] = set()
    for cache in (world.reader, root):
        shared = remotes.opened(str(world.remote), cache)
        state = remotes.latest(shared, now=NOW)
        assert state
        assert remotes.everything(shared, state)
        current = set(state.shards.values())
    for artifact in made[:2]:  # signatures come with what is pulled
        row = catalogue.row(artifact.manifest, artifact.id, (pair("anna")[1].keyid,))
        remotes.pull(remotes.opened(str(world.remote), root), row, silent)
    for path in (world.remote / "index" / "shards").iterdir():  # only those that are read
        if path.stem not in current:
            path.unlink()
