"""Cells without a process: what is offered and needed, what differs, what is answered, remembered
and shown."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild import plan, report, store
from llamabuild.ci import differences, offers, outcomes, run
from llamabuild.ci.cells import Cell
from llamabuild.ci.child import Contract
from llamabuild.ci.outcomes import Answer, Ended, Failure, Hits, Outcome
from llamabuild.ci.table import Story, Table
from llamabuild.errors import ConfigError, LockMismatch
from llamabuild.events import (
    Event,
    Healed,
    Noticed,
    OutputLine,
    Progress,
    StepEnded,
    StepFailed,
    StepStarted,
    Warned,
)
from llamabuild.lockfile import resolve
from llamabuild.report import jsonl
from tests.unit import values


def cell(name: str = "cpu", **changes: object) -> Cell:
    decided = values.plan()
    made = Cell(
        names=(name,),
        want="cpu-native",
        toolchain="auto",
        pin="p",
        sha256="0" * 64,
        commit="c",
        key=plan.key(decided),
        os="linux",
        arch="x86_64",
        variant="cpu",
        compiler=resolve.compiler_in_words(decided.compiler),
        sysroot=decided.sysroot,
        tools=tuple(resolve.tool_in_words(one) for one in decided.tools),
        needs=("linux", "x86_64"),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def outcome(name: str = "cpu", word: outcomes.Word = "built") -> Outcome:
    return Outcome(
        name=name, names=(name,), key="k" * 64, id="i", outcome=word, wheel="w.whl", seconds=1.5
    )


def failure(name: str = "bad") -> Failure:
    return Failure(name=name, names=(name,), code=7, message="no\x1b[31m", log="l", seconds=2)


# --- needs and offers ----------------------------------------------------------------------------


def test_every_need_has_to_be_met_by_one_worker() -> None:
    one, other = {"linux": 1, "slot": 1}, {"linux": 1, "cuda": 1}
    assert offers.unmet(("linux",), [one]) == ()
    assert offers.unmet(("linux", "cuda"), [one, {**one, "cuda": 1}]) == ()
    assert offers.unmet(("linux",), []) == ("linux", "slot")
    assert offers.unmet(("linux", "cuda"), [one, other]) == ("linux", "cuda")
    assert offers.unmet(("linux", "vulkan"), [one, other]) == ("vulkan",)
    assert offers.unmet(("linux",), [{"linux": 1, "slot": 0}]) == ("slot",)


def test_a_machine_offers_what_it_can_use() -> None:
    hardware = values.hardware()
    offered = offers.of_hardware(hardware)
    assert offered[:2] == (hardware.os, hardware.arch)
    assert offered[-1] == "slot"
    assert set(offered) <= {
        w for s in ("system", "arch", "level", "backend", "slot") for w in offers.words(s)
    }
    bare = replace(hardware, devices=tuple(replace(d, lacks="x") for d in hardware.devices))
    assert not set(offers.of_hardware(bare)) & set(offers.words("backend"))
    none = replace(bare, cpu=replace(bare.cpu, features=()))
    assert not set(offers.of_hardware(none)) & set(offers.words("level"))


# --- what differs --------------------------------------------------------------------------------


def test_the_same_plan_has_no_difference_and_a_cell_without_a_key_takes_any() -> None:
    differences.check(cell(), values.plan())
    differences.check(cell(key=""), values.plan())


def test_each_difference_is_named() -> None:
    theirs = cell(
        key="f" * 64, compiler="gcc 9 x y", sysroot="glibc 2.17", tools=("cmake 3.1",), os="macos"
    )
    with pytest.raises(LockMismatch) as caught:
        differences.check(theirs, values.plan())
    said = caught.value.differences
    assert [one.partition(":")[0] for one in said][:2] == ["compiler", "C library"]
    assert any("cmake 3.1 there" in one for one in said)
    assert any(one.startswith("system: linux here, macos there") for one in said)
    assert all(one in caught.value.message for one in said)


def test_a_key_that_differs_for_no_reason_that_is_known_is_refused_too() -> None:
    with pytest.raises(LockMismatch, match="are the same") as caught:
        differences.check(cell(key="f" * 64), values.plan())
    assert len(caught.value.differences) == 1


# --- answers -------------------------------------------------------------------------------------


def test_what_a_worker_prints_is_understood() -> None:
    hits = {"C/C++": Hits(hits=2, misses=1)}
    for made in (
        outcome(),
        outcome(word="adopted"),
        Outcome(**{**outcomes.fields(outcome()), "compiler_cache": hits}),
    ):
        line = report.to_json(outcomes.fields(made), "cell")
        assert json.loads(line)["version"] == 1
        assert outcomes.understood(line) == made
    error = report.error_json(ConfigError("wrong", "do this"))
    found = outcomes.understood(error)
    assert isinstance(found, Answer)
    assert (found.error["message"], found.error["exit_code"]) == ("wrong", 2)


@pytest.mark.parametrize(
    "line",
    [
        *("", "text", "{", "[]", "{}", '{"kind":"cell"}', '{"kind":"other"}', '{"kind":1}'),
        '{"kind":"cell","name":"n","names":[],"key":"k","id":"i","outcome":"stolen"}',
        '{"v":1,"event":"noticed","message":"so"}',
    ],
)
def test_nothing_else_is_taken_for_an_answer(line: str) -> None:
    assert outcomes.understood(line) is None


def test_outcomes_travel() -> None:
    for one in (outcome(), failure()):
        assert outcomes.decode(outcomes.encode(one)) == one


@pytest.mark.parametrize(
    "event",
    [
        StepStarted(name="compile", title="Compiling"),
        StepEnded(name="compile", seconds=1.5, detail="3 files"),
        StepFailed(name="compile", seconds=1.5, why="no"),
        Progress(name="compile", done=1, total=3, unit="files", remaining=None),
        Noticed(message="ä\u2028\n"),
        Warned(message="m", hint="h"),
        Healed(remedy="r", why="w"),
        OutputLine(step="s", line="{"),
    ],
)
def test_events_travel(event: Event) -> None:
    assert jsonl.parse(jsonl.line(event)) == event


@pytest.mark.parametrize(
    "line", ['{"v":2,"event":"noticed","message":"m"}', '{"v":1,"event":"noticed"}', '{"v":', "x"]
)
def test_what_is_no_event_is_none(line: str) -> None:
    assert jsonl.parse(line) is None


def test_the_address_of_a_store_is_not_among_the_words() -> None:
    contract = Contract(store="https://me:secret@host.invalid", unsigned=True, push=False)
    words = " ".join(contract.argv(Path("c.json"), Path("cache")))
    assert "secret" not in words
    assert "--unsigned" in words
    assert "--no-push" in words


# --- a run ---------------------------------------------------------------------------------------


class Watcher:
    def __init__(self) -> None:
        self.seen: list[Ended] = []

    def began(self, name: str) -> None: ...

    def told(self, name: str, event: Event) -> None: ...

    def ended(self, ended: Ended) -> None:
        self.seen.append(ended)

    def close(self) -> None: ...


class Executor:
    """Makes all but those that are named; ``stops`` after so many."""

    def __init__(self, *bad: str, stops: int = 99) -> None:
        self.bad, self.stops = bad, stops
        self.asked: list[str] = []

    def __call__(self, wanted: Sequence[Cell], watcher: run.Watcher) -> Iterator[Ended]:
        for number, one in enumerate(wanted):
            if number == self.stops:
                raise KeyboardInterrupt
            self.asked.append(one.name)
            yield failure(one.name) if one.name in self.bad else outcome(one.name)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return store.open_root(tmp_path / "cache")


CELLS = (cell("a"), cell("b", key="b" * 64), cell("c", key="c" * 64))


def ran(cache: Path, executor: Executor, **options: object) -> tuple[Ended, ...]:
    return run.run(CELLS, executor, cache=cache, watcher=Watcher(), **options)  # type: ignore[arg-type]


def test_what_failed_and_what_was_not_reached_is_what_is_left(cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        ran(cache, Executor("a", stops=2))
    left = Executor()
    ended = ran(cache, left, resume=True)
    assert left.asked == ["a", "c"]
    assert [one.name for one in ended] == ["a", "b", "c"]
    assert run.failure(ended) is None
    nothing, everything = Executor(), Executor()
    ran(cache, nothing, resume=True)
    ran(cache, everything)
    assert (nothing.asked, everything.asked) == ([], ["a", "b", "c"])


def test_what_is_remembered_is_sealed(cache: Path) -> None:
    ran(cache, Executor())
    (memory,) = (cache / "runs").glob("*.json")
    memory.write_bytes(memory.read_bytes().replace(b"built", b"there"))
    again = Executor()
    ran(cache, again, resume=True)
    assert again.asked == ["a", "b", "c"]


def test_other_cells_are_another_run(cache: Path) -> None:
    ran(cache, Executor())
    other = Executor()
    changed = (replace(CELLS[0], key="9" * 64), *CELLS[1:])
    run.run(changed, other, cache=cache, watcher=Watcher(), resume=True)
    assert other.asked == ["a", "b", "c"]


def test_some_only(cache: Path) -> None:
    some = Executor()
    ended = ran(cache, some, only=("c",))
    assert (some.asked, [one.name for one in ended]) == (["c"], ["c"])
    with pytest.raises(ConfigError, match="two cells have the name a"):
        run.run((*CELLS, CELLS[0]), some, cache=cache, watcher=Watcher())
    with pytest.raises(ConfigError, match="no cell d"):
        ran(cache, some, only=("c", "d"))


def test_the_end_of_a_run_in_words(cache: Path) -> None:
    ended = ran(cache, Executor("b"))
    error = run.failure(ended)
    assert error
    assert (error.exit_code, error.failed) == (14, ("b",))
    assert error.message.startswith("1 of 3 cells failed: b: ")
    assert run.page(ended).splitlines()[-1] == "2 built, 1 failed"
    said = json.loads(report.to_json(run.summary(ended), "run"))
    assert said["counts"] == {"built": 2, "adopted": 0, "there": 0, "failed": 1}


def test_the_names_of_logs_are_harmless_and_differ(cache: Path) -> None:
    odd = [cell("../../etc/x"), cell("a b"), cell("a_b"), cell("x" * 300)]
    found = {run.log_of(cache, one) for one in odd}
    assert len(found) == 4
    assert {one.parent for one in found} == {cache / "runs"}


# --- how it looks --------------------------------------------------------------------------------


def test_the_story_of_a_run() -> None:
    told: list[Event] = []
    story = Story([cell("cpu"), cell("bad")], told.append)
    story.began("cpu")
    story.told("cpu", StepStarted(name="compile", title="Compiling"))
    story.told("cpu", Progress(name="compile", done=1, total=2, unit="files"))
    story.told("cpu", Progress(name="fetch", done=1, total=2, unit="B"))
    story.ended(outcome("cpu"))
    story.ended(failure())
    assert told == [
        StepStarted(name="cpu", title="cpu (cpu-native)"),
        Noticed(message="cpu: Compiling"),
        Progress(name="cpu", done=1, total=2, unit="files"),
        StepEnded(name="cpu", seconds=1.5, detail="built kkkkkkkkkkkk"),
        StepFailed(name="bad", seconds=2, why="no\x1b[31m"),
        Noticed(message="bad: the log is l"),
    ]


def test_the_table_of_a_run() -> None:
    stream = io.StringIO()
    table = Table([cell("cpu"), cell("bad"), cell("late")], stream, clock=iter(range(99)).__next__)
    table.began("cpu")
    table.told("cpu", StepStarted(name="compile", title="Compiling: [b]all[/b]"))
    table.told("cpu", Progress(name="compile", done=1, total=4, unit="files"))
    first = table.drawn()
    assert [str(one) for one in first.columns[1]._cells] == ["building", "waiting", "waiting"]
    assert next(str(one) for one in first.columns[2]._cells) == "Compiling: 25 %"
    table.ended(outcome("cpu"))
    table.ended(failure())
    table.close()
    shown = stream.getvalue()
    assert "built" in shown
    assert "failed" in shown
    assert "waiting" in shown
    assert "\x1b[31m" not in shown
