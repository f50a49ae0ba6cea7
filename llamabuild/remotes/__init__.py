"""Stores on other machines: what a team shares.

::

    blobs/<xx>/<sha256>                 files by their contents
    manifests/<xx>/<id>.json            manifests by their hash
    signatures/<id>/<keyid>.json        what builders say of them
    index/                              what there is (:mod:`llamabuild.remotes.index`)
    untrusted/<name>/…                  the same again, for builds that nobody vouches for
"""

from __future__ import annotations

from llamabuild.remotes.index import Shared, everything, latest, rows
from llamabuild.remotes.opening import addresses, opened
from llamabuild.remotes.pull import believed, pull
from llamabuild.remotes.push import push

__all__ = [
    "Shared",
    "addresses",
    "believed",
    "everything",
    "latest",
    "opened",
    "pull",
    "push",
    "rows",
]
