"""The catalogue: each failure is found by its own examples, known logs are diagnosed right, and
logs of what went well are left alone."""

from __future__ import annotations

import io
import random
import re
import string
import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import catalogue_fuzz, diagnoses
from llamabuild import data, diagnose, remedies
from llamabuild.checks import CHECKS
from llamabuild.diagnose import context, patterns, ranking, scanning
from llamabuild.diagnose.catalogue import STAGES, Entry, benign, entries
from llamabuild.diagnose.patterns import Patterns

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


def test_known_failures_come_first() -> None:
    wrong, total = [], 0
    for name, log, wanted in diagnoses.logs([LOGS / "known"]):
        got = diagnoses.first(diagnose.diagnose_text(log))
        total += 1
        if got not in wanted:
            wrong.append((name, wanted[0], got))
    assert total == 43
    assert len(wrong) <= 0.03 * total, wrong


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


def test_hostile_lines_take_no_pattern_long() -> None:
    chosen = random.Random(8).sample([source for _, source in catalogue_fuzz.sources()], 60)
    for source in chosen:
        seconds, line = catalogue_fuzz.slowest(source)
        assert seconds < 0.5, (source, line)  # ten times what the benchmark allows


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


def test_a_long_log_is_read_in_pieces_and_in_time() -> None:
    line = b"[1/9] /usr/bin/c++ -O3 -DNDEBUG -std=gnu++17 -o a.o -c /home/user/src/a.cpp\n"
    diagnose.diagnose_text("warm")
    begin = time.process_time()
    found = diagnose.diagnose_text(line * 200_000)
    assert found.clean
    assert time.process_time() - begin < 10  # 0.4 s where nothing else runs


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
