"""Record what the pinned trees declare: `python tests/trees/write.py`, then read the diff. Fetches
the archives that the cache (LLAMABUILD_CACHE) does not have."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from llamabuild import fetch, options, pins
from llamabuild.events import silent
from llamabuild.host import LocalHost
from llamabuild.store import default_root, open_root
from tests import trees

if __name__ == "__main__":
    host = LocalHost()
    cache = open_root(default_root(os.environ))
    for pin in pins.load_pins().values():
        tree = fetch.fetch(pin, cache=cache, host=host, emit=silent).tree
        trees.path(pin.version).write_bytes(options.encoded(options.declared(tree)))
