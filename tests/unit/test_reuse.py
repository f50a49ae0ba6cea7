"""What is taken instead of building, for recorded machines and artifacts of their plans."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import adoption, matching, plan, recordings, reuse, store
from llamabuild.adoption import Verdict
from llamabuild.errors import ConfigError
from llamabuild.events import Event
from llamabuild.host import RecordedHost
from llamabuild.model import Artifact, Flag, Plan
from llamabuild.reuse import Policy, Want
from tests.unit import planned, values

MACHINES = Path(__file__).resolve().parents[1] / "machines"
ZEN4, SAPPHIRE = "zen4-vm-gcc12", "sapphire-rapids-vm-gcc12"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return store.open_root(tmp_path / "cache")


def decided(machine: str, recipe: str) -> Plan:
    return planned.plans()[machine, recipe]


def keep(root: Path, made: Plan, created: str = "2026-01-01") -> Artifact:
    """An artifact of a plan, as if it had been built by it."""
    key = plan.key(made)
    with store.workdir(root) as work:
        prefix = values.prefix(work / "prefix", key + created)
        manifest = replace(
            values.manifest(key, store.hashes(prefix)),
            plan=made,
            requires=matching.expected(made),
            created=created,
        )
        group = matching.group(made)
        return store.publish(root, prefix, manifest, group=group, requested=key)


def want(root: Path, machine: str, made: Plan, told: list[Event] | None = None) -> Want:
    recording = recordings.read(MACHINES / f"{machine}.json")
    return Want(
        plan=made,
        key=plan.key(made),
        hardware=recordings.replay(recording)[0],
        host=RecordedHost(recording.machine),
        cache=root,
        emit=(told if told is not None else []).append,
    )


def offered(wanted: Want, word: str) -> list[str]:
    return [one.id for one in reuse.offers(wanted, Policy(reuse=word))]


def ids(*artifacts: Artifact) -> list[str]:
    return [one.id for one in artifacts]


def test_the_very_same_comes_first_whatever_the_policy(root: Path) -> None:
    mine = decided(ZEN4, "cpu-native")
    portable, exact = keep(root, decided(ZEN4, "cpu-portable")), keep(root, mine)
    wanted = want(root, ZEN4, mine)
    assert offered(wanted, "never") == []
    assert offered(wanted, "exact") == ids(exact)
    assert offered(wanted, "auto") == ids(exact)
    assert offered(wanted, "compatible") == ids(exact, portable)


def test_what_this_processor_lacks_is_refused_and_the_portable_one_chosen(root: Path) -> None:
    amx = keep(root, decided(SAPPHIRE, "cpu-native"))
    portable = keep(root, decided(SAPPHIRE, "cpu-portable"))
    told: list[Event] = []
    wanted = want(root, ZEN4, decided(ZEN4, "cpu-native"), told)
    assert offered(wanted, "compatible") == ids(portable)
    assert offered(wanted, "exact") == []
    provides = matching.probe(wanted.host, wanted.hardware) if wanted.hardware else None
    assert provides
    lacking = matching.missing(amx.manifest.requires, provides)
    assert "amx_int8 missing" in lacking


def test_auto_takes_nothing_that_is_slower_and_says_so(root: Path) -> None:
    portable = keep(root, decided(ZEN4, "cpu-portable"))
    told: list[Event] = []
    wanted = want(root, ZEN4, decided(ZEN4, "cpu-native"), told)
    assert offered(wanted, "auto") == []
    assert f"{portable.id[:12]} (cpu-portable) would run here, slower" in str(told)


def test_auto_takes_what_another_compiler_made_of_the_same(root: Path) -> None:
    mine = decided(ZEN4, "cpu-native")
    compiler = replace(mine.compiler, version="13.1.0", digest="another")
    other = keep(root, replace(mine, compiler=compiler))
    wanted = want(root, ZEN4, mine)
    assert plan.key(other.manifest.plan) != wanted.key
    assert offered(wanted, "auto") == ids(other)
    assert offered(wanted, "exact") == []


def test_the_faster_comes_first_and_among_equals_the_newer(root: Path) -> None:
    mine = decided(ZEN4, "cpu-native")
    compilers = [replace(mine.compiler, digest=str(number)) for number in range(2)]
    portable = keep(root, decided(ZEN4, "cpu-portable"), "2026-03-03")
    older = keep(root, replace(mine, compiler=compilers[0]), "2026-01-01")
    newer = keep(root, replace(mine, compiler=compilers[1]), "2026-02-02")
    wanted = want(root, ZEN4, mine)
    assert offered(wanted, "compatible") == ids(newer, older, portable)


def test_what_failed_here_before_is_not_offered_again(root: Path) -> None:
    portable = keep(root, decided(ZEN4, "cpu-portable"))
    wanted = want(root, ZEN4, decided(ZEN4, "cpu-native"))
    assert offered(wanted, "compatible") == ids(portable)
    bad = Verdict(kind="illegal-instruction", check="c", why="w")
    adoption.record(root, portable.id, wanted.host, bad)
    assert offered(wanted, "compatible") == []


def test_who_asks_for_a_portable_one_gets_no_native_one(root: Path) -> None:
    keep(root, decided(ZEN4, "cpu-native"))
    wanted = want(root, ZEN4, decided(ZEN4, "cpu-portable"))
    assert offered(wanted, "compatible") == []


@pytest.mark.parametrize(
    "change",
    [
        {"targets": ("llama",)},
        {"sysroot": "musl 1.2"},
        {"flags": (Flag(name="CMAKE_BUILD_TYPE", value="Debug", why="w"),)},
    ],
)
def test_what_is_another_thing_is_not_offered(root: Path, change: dict[str, object]) -> None:
    mine = decided(ZEN4, "cpu-native")
    keep(root, replace(mine, **change))  # type: ignore[arg-type]
    assert offered(want(root, ZEN4, mine), "compatible") == []


def test_for_another_machine_only_the_very_same_will_do(root: Path) -> None:
    keep(root, decided(ZEN4, "cpu-portable"))
    exact = keep(root, decided(ZEN4, "cpu-native"))
    wanted = replace(want(root, ZEN4, decided(ZEN4, "cpu-native")), hardware=None)
    assert offered(wanted, "compatible") == ids(exact)


def test_a_policy_that_is_none_is_said() -> None:
    with pytest.raises(ConfigError, match="there is no policy 'sometimes'"):
        reuse.check("sometimes")


def test_every_offer_is_complete(root: Path) -> None:
    """Whatever is kept of all machines: what is offered runs there by its own requirements."""
    made: Iterable[Artifact] = [
        keep(root, one) for (_, recipe), one in planned.plans().items() if recipe == "cpu-native"
    ]
    by_id = {one.id: one for one in made}
    for machine in (ZEN4, SAPPHIRE, "raspberry-pi-5", "haswell-vm-without-fma"):
        wanted = want(root, machine, decided(machine, "cpu-native"))
        assert wanted.hardware
        provides = matching.probe(wanted.host, wanted.hardware)
        got = offered(wanted, "compatible")
        assert got
        assert all(not matching.missing(by_id[one].manifest.requires, provides) for one in got)
