"""Single bits, flipped in what a store keeps: no changed byte may ever be used.

Each round flips one bit in one file, asks everything that users ask, compares the answers with
those of the sound store, and puts the file right again.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.flips import questions
from tests.torture.flips.folders import Folders, write
from tests.torture.flips.kinds import KINDS, Kind
from tests.torture.flips.questions import Answers
from tests.torture.flips.world import World, make


@dataclass(slots=True)
class Outcome:
    """What became of the flips, by kind of file; ``wrong`` tells of each that was not seen."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """True when no changed byte was used, and none stayed unseen where all are to be seen."""
        return not self.wrong

    def __str__(self) -> str:
        words = ("flips", "refused", "mended", "harmless", "wrong")
        lines = ["".join((f"{'flipped in':34}", *(f"{one:>10}" for one in words)))]
        for name, count in self.counts.items():
            numbers = [count.total(), *(count[one] for one in words[1:])]
            lines.append("".join((f"{name:34}", *(f"{one:>10}" for one in numbers))))
        return "\n".join((*lines, *self.wrong[:20]))


def run(folder: Path, flips: int, seed: int) -> Outcome:
    """Flip so many bits. Kinds of files take turns, so that small ones have their share."""
    rng = random.Random(seed)
    world = make(folder, random.Random(seed))
    folders = Folders(world.root, world.remote, world.reader)
    sound = {kind.name: _sound(kind, world, folders) for kind in KINDS}
    outcome = Outcome()
    for number in range(flips):
        kind = KINDS[number % len(KINDS)]
        word, said = _round(kind, world, sound[kind.name], rng)
        folders.restore()
        outcome.counts.setdefault(kind.name, Counter())[word] += 1
        if word == "wrong" or (word == "harmless" and not kind.harmless):
            outcome.wrong.append(f"flip {number}, {kind.name}: {said or 'not seen'}")
    return outcome


def _sound(kind: Kind, world: World, folders: Folders) -> Answers:
    """The answers when nothing is wrong."""
    kind.before(world, min(world.base.glob(kind.files)))
    answers = kind.ask(world)
    assert not [one for one in answers.values() if one is None], answers
    folders.restore()
    return answers


def _round(kind: Kind, world: World, sound: Answers, rng: random.Random) -> tuple[str, str]:
    """Flip, ask and judge; a word, and what was wrong."""
    path = rng.choice(sorted(world.base.glob(kind.files)))
    kind.before(world, path)
    place = rng.randrange(path.stat().st_size * 8)
    flipped = bytearray(path.read_bytes())
    flipped[place // 8] ^= 1 << place % 8
    write(path, bytes(flipped), apart=kind.apart)
    answers = kind.ask(world)
    verdict = {name: questions.judge(name, sound[name], answers[name]) for name in sound}
    if wrong := [name for name, one in verdict.items() if one == "wrong"]:
        said = ", ".join(f"{name} is {answers[name]!r:.300}" for name in wrong)
        return "wrong", f"bit {place} of {path.relative_to(world.base)}: {said}"
    if "refused" in verdict.values():
        return "refused", ""
    there = path.exists() and path.read_bytes() == flipped
    return ("harmless" if there else "mended"), f"bit {place} of {path.relative_to(world.base)}"
