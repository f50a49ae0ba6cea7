"""The catalogue: each failure is found by its own examples, known logs are diagnosed right, and
logs of what went well are left alone."""

from __future__ import annotations

import io
import re
import string
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import diagnoses
from llamabuild import data, diagnose, remedies
from llamabuild.checks import CHECKS
from llamabuild.diagnose import context, patterns, ranking, scanning
from llamabuild.diagnose.catalogue import STAGES, WRAPPER, Entry, benign, entries
from llamabuild.diagnose.patterns import Patterns
from tests.unit.recorded import RecordedHost

LOGS = Path(__file__).resolve().parent.parent / "data" / "logs"
GROUP = re.compile(r"\(\?P<(\w+)>")


def texts(entry: Entry) -> tuple[str, ...]:
    return (entry.cause, *entry.fix, *entry.fix_linux, *entry.fix_macos, *entry.fix_windows)


@pytest.mark.parametrize("plain", [False, True], ids=["re2", "re"])
def test_every_example_is_found_as_its_own_entry(plain: bool) -> None:
    missed = []
    for entry in entries():
        assert entry.examples, entry.id
        for example in entry.examples:
            found = diagnose.diagnose_text(example, plain=plain).first
            if found is None or found.entry.id != entry.id:
                missed.append((entry.id, example[:80], found and found.entry.id))
    assert missed == []


def test_every_benign_example_is_benign() -> None:
    for one in benign():
        for example in one.examples:
            assert Patterns(one.patterns).present(example.encode()), (one.id, example)
            assert not diagnose.diagnose_text(example).causes or any(
                one.id in entry.despite for entry in entries()
            )


def test_ids_are_unique() -> None:
    ids = Counter([*(entry.id for entry in entries()), *(one.id for one in benign())])
    assert [name for name, count in ids.items() if count > 1] == []


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.id)
def test_entries_are_whole_and_name_only_what_there_is(entry: Entry) -> None:
    assert re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9.]+)*", entry.id)
    assert entry.stage in STAGES
    assert 0 < entry.rank < 100
    assert entry.fix
    assert entry.cause.endswith((".", ".)", "}"))
    assert entry.source.startswith("https://") or entry.source
    groups = {name for source in entry.patterns for name in GROUP.findall(source)}
    used = {name for one in texts(entry) for _, name, _, _ in string.Formatter().parse(one) if name}
    assert used <= groups
    if entry.prevented.startswith("check: "):
        assert entry.prevented.removeprefix("check: ") in CHECKS
    assert not entry.remedy or entry.remedy in remedies.known()
    assert set(entry.context) <= set(context.ABOUT)
    assert set(entry.packages) <= set(data.load(data.package("diagnose/packages.toml")))
    assert set(entry.despite) <= {one.id for one in benign()}


@pytest.mark.parametrize(("folder", "least"), [("known", 43), ("made", 140)])
def test_known_failures_come_first(folder: str, least: int) -> None:
    wrong, total = [], 0
    for name, log, wanted in diagnoses.logs([LOGS / folder]):
        got = diagnoses.first(diagnose.diagnose_text(log))
        total += 1
        if got not in wanted:
            wrong.append((name, wanted[0], got))
    assert total >= least
    assert len(wrong) <= 0.03 * total, wrong


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.id)
def test_no_pattern_runs_away(entry: Entry) -> None:
    """RE2 takes time that grows with the text; these would take its square under ``re``."""
    for one in (*entry.patterns, *entry.needs, *entry.unless):
        assert not re.match(r"(?:\(\?\w+\))?(?:\s|\\s[*+]|\.[*+])", one), one


@pytest.mark.parametrize("system", ["linux", "macos", "windows"])
def test_what_an_entry_lacks_can_be_installed(system: str) -> None:
    machine = RecordedHost(os=system)
    for entry in entries():
        assert bool(context.installs(entry, machine)) == bool(entry.packages), entry.id


def test_a_wrapper_never_hides_a_cause() -> None:
    cause = next(one for one in entries() if one.id == "cuda-arch-too-new-for-nvcc")
    for wrapper in (one for one in entries() if one.rank <= WRAPPER):
        found = diagnose.diagnose_text(f"{wrapper.examples[0]}\n{cause.examples[0]}\n")
        assert found.first
        assert found.first.entry.id == cause.id


def test_what_went_well_is_no_failure() -> None:
    total, found = 0, []
    for name, log, _ in diagnoses.logs([LOGS / "good"]):
        total += 1
        diagnosis = diagnose.diagnose_text(log)
        if not diagnosis.clean:
            found.append((name, diagnosis.first or diagnosis.error))
    assert total >= 60
    assert found == []


def test_without_google_re2_the_answers_are_the_same() -> None:
    for name, log, _ in diagnoses.logs([LOGS / "known"]):
        fast, slow = (diagnose.diagnose_text(log, plain=plain) for plain in (False, True))
        assert [one.entry.id for one in fast.causes] == [one.entry.id for one in slow.causes], name


def test_a_wider_pattern_finds_all_that_the_pattern_finds() -> None:
    for entry in entries():
        for source in entry.patterns:
            wide = Patterns([patterns.wide(source)])
            for example in entry.examples:
                if Patterns([source]).present(example.encode()):
                    assert wide.present(example.encode()), source


def test_leaving_patterns_out_keeps_the_numbers_of_the_others() -> None:
    some = Patterns(["a{2}", "b", "c{1,3}d"])
    assert some.present(b"aabcd") == [0, 1, 2]
    assert some.present(b"ab") == [1]
    assert some.without({1}).present(b"aabcd") == [0, 2]
    assert some.without({0, 1, 2}).present(b"aabcd") == []


def test_more_patterns_than_are_searched_together() -> None:
    many = Patterns([f"word{n}x" for n in range(1500)])
    assert many.present(b"word3x word777x word1499x") == [3, 777, 1499]


@pytest.mark.parametrize("wrong", ["(?=a)", "a(?<!b)", r"(a)\1", "(a"])
def test_what_the_dialect_does_not_have_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(wrong)):
        Patterns([wrong])


def test_of_one_pattern_only_so_many_places_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    present = Patterns.present

    def counted(self: Patterns, shown: bytes) -> list[int]:
        nonlocal looked
        looked += 1
        return present(self, shown)

    monkeypatch.setattr(Patterns, "present", counted)
    line = b"mlock: warning: permission denied\n"  # found each time, and never counts
    scanning.scan(io.BytesIO(line * 200_000))
    chunks = 200_000 * len(line) / (1 << 17)
    assert looked < chunks * 1000


def test_a_long_log_is_read_in_pieces() -> None:
    line = b"[1/9] /usr/bin/c++ -O3 -DNDEBUG -std=gnu++17 -o a.o -c /home/user/src/a.cpp\n"
    assert diagnose.diagnose_text(line * 200_000).clean


def test_causes_before_classes_before_wrappers() -> None:
    lines = (
        "a.c:1:2: error: expected ';'",
        "nvcc fatal   : Unsupported gpu architecture 'compute_120'",
        "ERROR: Failed building wheel for llama-cpp-python",
    )
    found = diagnose.diagnose_text("\n".join(lines))
    assert [one.entry.id for one in found.causes] == ["cuda-arch-too-new-for-nvcc"]
    assert [one.entry.id for one in found.wrappers] == ["wheel-build-failed-generic"]
    assert found.error is None


def test_what_a_log_does_not_name_stays_a_name() -> None:
    assert ranking.filled("GPU {arch}, nvcc {version}", {"arch": "sm_120", "version": ""}) == (
        "GPU sm_120, nvcc <version>"
    )


def test_ways_out_are_for_the_system_where_it_happens() -> None:
    entry = next(one for one in entries() if one.id == "win-no-msvc-nmake")
    assert entry.where("windows") == "windows"
    assert entry.where("linux") == "windows"
    assert entry.where("") == ""
    log = "-- Building for: NMake Makefiles"
    here, there = (diagnose.diagnose_text(log, system=one).first for one in ("linux", "windows"))
    assert here
    assert here == there
