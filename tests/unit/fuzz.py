"""Recorded machines with broken answers: what a probe must survive and not be fooled by."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec

from llamabuild import backends, plan, recipes, recordings
from llamabuild.errors import LlamabuildError
from llamabuild.host import Answers, Said
from llamabuild.model import Hardware, Toolchain
from tests.golden import machines
from tests.unit import values

Lines = tuple[str, ...]
_JUNK = (
    *("", "N/A", "[N/A]", "[Unknown Error]", "ERR!", "-1", "99999999999999999999", "1.234,56"),
    *("NaN", "null", "{", "}", '"', "\x00", "\x1b[31m", "é", "٣٫٥", "=", ":", ",", "0x", "\ud800"),
    "Failed to initialize NVML: Driver/library version mismatch",
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
    "Segmentation fault (core dumped)",
    "bash: permission denied",
)


def _truncated(lines: Lines, rng: random.Random) -> Lines:
    text = "\n".join(lines)
    return tuple(text[: rng.randrange(len(text) + 1)].split("\n"))


def _without_a_line(lines: Lines, rng: random.Random) -> Lines:
    gone = rng.randrange(len(lines))
    return lines[:gone] + lines[gone + 1 :]


def _other_line(lines: Lines, rng: random.Random) -> Lines:
    place = rng.randrange(len(lines))
    return (*lines[:place], rng.choice(_JUNK), *lines[place + 1 :])


def _other_characters(lines: Lines, rng: random.Random) -> Lines:
    text = list("\n".join(lines))
    for _ in range(rng.randint(1, 5)):
        if text:
            text[rng.randrange(len(text))] = rng.choice([*_JUNK, chr(rng.randrange(32, 0x250))])
    return tuple("".join(text).split("\n"))


def _other_word(lines: Lines, rng: random.Random) -> Lines:
    place = rng.randrange(len(lines))
    words = lines[place].split(" ")
    words[rng.randrange(len(words))] = rng.choice(_JUNK)
    return (*lines[:place], " ".join(words), *lines[place + 1 :])


def _swollen(lines: Lines, rng: random.Random) -> Lines:
    place = rng.randrange(len(lines))
    return (*lines[:place], rng.choice([*_JUNK, "a", " ", "9", "("]) * 20_000, *lines[place:])


def _nothing(lines: Lines, rng: random.Random) -> Lines:
    return ()


_MUTATIONS: tuple[Callable[[Lines, random.Random], Lines], ...] = (
    *(_truncated, _without_a_line, _other_line, _other_characters, _other_word, _swollen, _nothing),
)


def _worse(lines: Lines, rng: random.Random) -> Lines:
    for _ in range(rng.randint(1, 3)):
        lines = rng.choice(_MUTATIONS)(lines, rng) if lines else lines
    return lines


def _worse_answer(said: Said, rng: random.Random) -> Said:
    kind = rng.randrange(6)
    if kind == 0:
        return replace(said, timed_out=True, code=-9, out=_truncated(said.out, rng))
    if kind == 1:
        return replace(said, code=rng.choice([1, 2, 127, 139, -6, -11, 255]))
    if kind == 2:
        return replace(said, out=(), err=said.out, code=1)
    return replace(said, out=_worse(said.out, rng))


def broken(answers: Answers, rng: random.Random) -> Answers:
    """The answers with one of them, sometimes two, gone wrong."""
    for _ in range(rng.randint(1, 2)):
        files, said = dict(answers.files), list(answers.said)
        place = rng.randrange(len(files) + len(said)) if files or said else 0
        if place < len(said):
            said[place] = _worse_answer(said[place], rng)
        elif files:
            name = rng.choice(sorted(files))
            files[name] = _worse(tuple(files[name]), rng)
        answers = replace(answers, files=files, said=tuple(said))
    return answers


def cases(count: int, seed: int) -> None:
    """Probe and plan ``count`` broken machines. Raises AssertionError for an invented device;
    whatever else escapes is a bug as it stands."""
    rng = random.Random(seed)
    known = machines()
    names = sorted(known)
    for number in range(count):
        name = names[number % len(names)]
        recording = known[name].recording
        answers = broken(recording.machine, rng)
        case = f"{name}, seed {seed}, case {number}"
        check(msgspec.structs.replace(recording, machine=answers), known[name].hardware, case)


def check(recording: recordings.Recording, true: Hardware, case: str) -> None:
    """A probe of a broken machine sees no device that the whole machine has not got, and a plan
    can be made or refused in our words."""
    hardware, toolchain = recordings.replay(recording)
    seen = Counter(one.backend for one in hardware.devices)
    there = Counter(one.backend for one in true.devices)
    assert seen <= there, f"{case}: {seen - there} invented"
    for one in hardware.devices:
        assert one.backend == "cpu" or one.name.strip(), case
    for backend in backends.BACKENDS:
        if backend not in seen:
            assert any(one.what == backend and one.why for one in hardware.absent), case
    _plan(hardware, toolchain, case)


def _plan(hardware: Hardware, toolchain: Toolchain, case: str) -> None:
    wanted = recipes.load("auto", tuple(backends.BACKENDS))
    try:
        made = plan.plan(wanted, values.pin(), hardware, toolchain)
    except LlamabuildError as error:
        if not (error.message and error.hint):
            raise AssertionError(f"{case}: refused without a reason or a next step") from error
        return
    usable: Mapping[str, bool] = {one.name: one.usable for one in hardware.cpu.features}
    assert all(usable[name] for name in made.cpu_features), case
