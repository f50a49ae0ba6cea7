"""Where bits are flipped, and who notices."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.torture.flips import questions
from tests.torture.flips.questions import Answers
from tests.torture.flips.world import World


def _nothing(world: World, path: Path) -> None:
    """As it is."""


def _no_folders(world: World, path: Path) -> None:
    """Nobody has used the artifacts yet."""
    shutil.rmtree(world.root / "artifacts")


def _behind(world: World, path: Path) -> None:
    """Somebody slower has written an older state over the newest: the history counts."""
    older = world.remote / "index" / "history" / "0000000001.json"
    (world.remote / "index" / "latest.json").write_bytes(older.read_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Files by a pattern, and what is asked when a bit in one of them is another. ``apart`` changes
    one name of a file that has several. ``harmless`` says why a flip may change no answer."""

    name: str
    files: str
    ask: Callable[[World], Answers] = questions.local
    before: Callable[[World, Path], None] = _nothing
    apart: bool = False
    harmless: str = ""


KINDS = (
    Kind(name="blob", files="cache/blobs/*/*"),
    Kind(name="blob, not in a folder yet", files="cache/blobs/*/*", before=_no_folders),
    Kind(
        name="file of a folder, a copy",
        files="cache/artifacts/*/*/*/*",
        ask=questions.handed_on,
        apart=True,
    ),
    Kind(name="manifest", files="cache/manifests/*/*.json"),
    Kind(
        name="manifest of a folder, a copy",
        files="cache/artifacts/*/*/manifest.json",
        ask=questions.handed_on,
        apart=True,
    ),
    Kind(name="rows of a group", files="cache/index/*"),
    Kind(name="lead", files="cache/requested/*.json"),
    Kind(name="generation", files="cache/generations/*/*.json"),
    Kind(name="current generation", files="cache/generations/*/current"),
    Kind(name="pin", files="cache/pinned/*.json"),
    Kind(name="verdict", files="cache/verdicts/*/*.json"),
    Kind(
        name="trusted key",
        files="cache/trust/*.json",
        harmless="since when it is trusted is only shown, and spaces are spaces",
    ),
    Kind(name="layout", files="cache/layout.json"),
    Kind(name="signature that came along", files="cache/signatures/*/*", ask=questions.handed_on),
    Kind(name="shared: snapshot", files="remote/index/latest.json", ask=questions.shared),
    Kind(
        name="shared: history",
        files="remote/index/history/0000000002.json",
        ask=questions.known,
        before=_behind,
    ),
    Kind(name="shared: shard, seen now", files="remote/index/shards/*", ask=questions.shared),
    Kind(name="shared: manifest", files="remote/manifests/*/*", ask=questions.shared),
    Kind(name="shared: signature", files="remote/signatures/*/*", ask=questions.shared),
    Kind(name="shared: blob", files="remote/blobs/*/*", ask=questions.shared),
    Kind(name="shard, kept here", files="reader/remotes/*/*", ask=questions.known),
    Kind(name="what was seen", files="reader/trust/seen/*.json", ask=questions.known),
)
