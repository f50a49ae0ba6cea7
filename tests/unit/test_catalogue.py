"""Laws of the catalogue: what every entry has to keep, and what its patterns may not do."""

from __future__ import annotations

import lzma
import re
import string
from pathlib import Path

import pytest
import tomli

from llamabuild import checks, diagnose, remedies
from llamabuild.diagnose import catalogue, context
from llamabuild.diagnose.catalogue import STAGES, WRAPPER, Entry
from llamabuild.diagnose.patterns import Patterns, spaced
from tests.unit.recorded import RecordedHost

LOGS = Path(__file__).resolve().parent.parent / "data" / "logs"
ENTRIES = diagnose.entries()
EXAMPLES = [(entry, one) for entry in ENTRIES for one in entry.examples]
each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)


def first(text: str | bytes, *, plain: bool = False) -> str:
    found = diagnose.diagnose_text(text, plain=plain)
    if found.first:
        return found.first.entry.id
    return "none" if found.clean else "unknown"


def texts(entry: Entry) -> list[str]:
    return [entry.cause, *entry.fix, *entry.fix_linux, *entry.fix_macos, *entry.fix_windows]


def test_ids_are_unique() -> None:
    ids = [entry.id for entry in ENTRIES] + [one.id for one in catalogue.benign()]
    assert len(ids) == len(set(ids))


@each_entry
def test_an_entry_is_whole(entry: Entry) -> None:
    assert entry.stage in STAGES
    assert 0 < entry.rank < 100
    assert set(entry.platforms) <= {"linux", "windows", "macos", "android"}
    assert set(entry.context) <= set(context.ABOUT)
    assert set(entry.despite) <= {one.id for one in catalogue.benign()}
    assert all((entry.title, entry.cause, entry.patterns, entry.fix, entry.examples, entry.source))
    assert not entry.title.endswith(".")


@each_entry
def test_what_an_entry_names_is_there(entry: Entry) -> None:
    if entry.prevented.startswith("check: "):
        assert entry.prevented.removeprefix("check: ") in checks.CHECKS
    if entry.remedy:
        assert entry.remedy in remedies.known()
    for system in ("linux", "macos", "windows"):
        assert bool(context.installs(entry, RecordedHost(os=system))) == bool(entry.packages)


@each_entry
def test_gaps_of_its_texts_are_groups_of_its_patterns(entry: Entry) -> None:
    groups = {name for one in entry.patterns for name in re.compile(spaced(one)).groupindex}
    named = {
        field for text in texts(entry) for _, field, _, _ in string.Formatter().parse(text) if field
    }
    assert named <= groups


@each_entry
def test_a_pattern_cannot_run_away(entry: Entry) -> None:
    """RE2 takes time that grows with the text; these would take its square under ``re``."""
    for one in (*entry.patterns, *entry.needs, *entry.unless):
        assert not re.match(r"(?:\(\?\w+\))?(?:\s|\\s[*+]|\.[*+])", one), one


@pytest.mark.parametrize(("entry", "text"), EXAMPLES, ids=lambda one: getattr(one, "id", ""))
def test_an_example_is_found_as_its_entry(entry: Entry, text: str) -> None:
    assert first(text) == entry.id


def test_what_is_benign_is_no_failure() -> None:
    wrong = [
        (one.id, text)
        for one in catalogue.benign()
        for text in one.examples
        if first(text) != "none"
    ]
    assert not wrong


def test_without_re2_the_answers_are_the_same() -> None:
    wrong = [(entry.id, text) for entry, text in EXAMPLES if first(text, plain=True) != entry.id]
    assert not wrong


@pytest.mark.parametrize("folder", ["known", "made"])
def test_logs_of_failures_are_understood(folder: str) -> None:
    table = tomli.loads((LOGS / folder / "EXPECTED.toml").read_text(encoding="utf-8"))
    wrong = {}
    for name, row in table.items():
        got = first((LOGS / folder / f"{name}.txt").read_bytes())
        if got not in (row["expected"], *row.get("also", ())):
            wrong[name] = got
    assert len(wrong) <= 0.03 * len(table), wrong


def test_logs_of_success_are_no_failures() -> None:
    logs = sorted((LOGS / "good").glob("*.txt.xz"))
    assert len(logs) >= 50
    wrong = {
        log.name: got for log in logs if (got := first(lzma.decompress(log.read_bytes()))) != "none"
    }
    assert not wrong


def test_a_wrapper_never_hides_a_cause() -> None:
    cause = next(one for one in ENTRIES if one.id == "cuda-arch-too-new-for-nvcc")
    for wrapper in (one for one in ENTRIES if one.rank <= WRAPPER):
        text = f"{cause.examples[0]}\n{wrapper.examples[0]}\n"
        assert first(text) == cause.id


def test_patterns_that_re2_does_not_have_are_refused() -> None:
    pytest.importorskip("re2")
    with pytest.raises(ValueError, match="look"):
        Patterns(["a(?!look)"])
