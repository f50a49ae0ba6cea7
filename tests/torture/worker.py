"""One process of many that use a store at once: publishes, reads, removes and sweeps at random, and
writes down what it was told. What the artifact of a number holds is known: a wrong read shows.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

from llamabuild import store
from llamabuild.errors import DiskFull, LlamabuildError, StoreError
from llamabuild.events import silent
from llamabuild.store import catalogue, sweeping
from llamabuild.store.limits import Limits
from tests.unit import values

GROUP = "torture"
NUMBERS = 40
"""How many artifacts come and go. Some files of each are its neighbour's too."""
LASTING = 1000
"""From here on numbers are of artifacts that are published once and must stay. Each has a file that
is also one of those that come and go: a sweep may be about to remove it."""


def key(number: int) -> str:
    return hashlib.sha256(b"key %d" % number).hexdigest()


def contents(number: int) -> dict[str, bytes]:
    """What the artifact of a number holds."""
    own = hashlib.sha256(b"own %d" % number).digest() * (700 if number < LASTING else 7)
    shared = hashlib.sha256(b"shared %d" % (number % NUMBERS // 2)).digest() * 900
    return {"bin/llama-cli": own, "lib/libllama.so": shared, "wheel/a.whl": own[::-1]}


class Worker:
    """Does things until it is ended from outside."""

    def __init__(self, root: Path, journal: Path, seed: int, *, lasting: bool) -> None:
        self.root = root
        self.rng = random.Random(seed)
        self.journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self.deeds: list[tuple[int, Callable[[int], None]]] = [
            (5, self.publish),
            (8, self.read),
            (2, self.sweep),
            (1, self.list),
            (4, self.remove),
            *([(3, self.publish_one_that_lasts)] if lasting else []),
        ]

    def say(self, *words: str) -> None:
        """One line, in one write."""
        os.write(self.journal, (" ".join(words) + "\n").encode())

    def work(self) -> None:
        """For ever."""
        weights, deeds = zip(*self.deeds, strict=True)
        while True:
            number = self.rng.randrange(NUMBERS)
            (deed,) = self.rng.choices(deeds, weights)
            try:
                deed(number)
            except DiskFull:
                self.say("full")
            except StoreError as error:
                self.say("refused", error.message.replace("\n", " ")[:100])
            except LlamabuildError as error:
                self.say("BROKEN", type(error).__name__, error.message[:200])
            except OSError as error:
                self.say("BROKEN", deed.__name__, repr(error)[:200])
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                self.say("BROKEN", deed.__name__, repr(error)[:200])

    def publish(self, number: int) -> None:
        """Make an artifact as a build does, and say so when it is published."""
        with store.guarded(self.root), store.workdir(self.root) as work:
            prefix = work / "prefix"
            for name, data in contents(number).items():
                (prefix / name).parent.mkdir(parents=True, exist_ok=True)
                (prefix / name).write_bytes(data)
            manifest = values.manifest(key(number), store.hashes(prefix))
            store.publish(self.root, prefix, manifest, group=GROUP, requested=manifest.key)
        self.say("published", str(number))

    def publish_one_that_lasts(self, number: int) -> None:
        """Make one that nobody removes."""
        self.publish(LASTING + number + NUMBERS * self.rng.randrange(100_000))

    def read(self, number: int) -> None:
        """Look one up and compare every byte."""
        with store.guarded(self.root):
            found = store.lookup(self.root, key(number), silent)
            if found is None:
                self.say("missed", str(number))
                return
            for name, data in contents(number).items():
                try:
                    there = (found.path / name).read_bytes()
                except FileNotFoundError:  # somebody has just removed it
                    self.say("gone", str(number))
                    return
                self.say("right" if there == data else "WRONG", str(number), name)

    def remove(self, number: int) -> None:
        """Remove one: from the moment that this is said, it may be gone."""
        with store.guarded(self.root):
            found = store.lookup(self.root, key(number), silent)
            if found:
                self.say("removing", str(number))
                store.remove(self.root, found)

    def sweep(self, number: int) -> None:
        """Sweep what nobody names, without any grace."""
        del number
        sweeping._GRACE = 0.0  # type: ignore[misc]
        with store.guarded(self.root):
            seen = sweeping.survey(self.root, {})
            going = sweeping.decide(seen, Limits(), free=1 << 40, now=2e9)
            sweeping.sweep(self.root, seen, [one for one in going if one.item.what == "file"])
        self.say("swept", str(len(going)))

    def list(self, number: int) -> None:
        """Read all rows."""
        del number
        with store.guarded(self.root):
            self.say("listed", str(len(catalogue.rows(self.root, GROUP))))
