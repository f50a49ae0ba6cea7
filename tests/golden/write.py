"""Write the golden plans anew: `make golden`, then read the diff."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.golden import PLANS, plans

if __name__ == "__main__":
    for old in PLANS.glob("*.txt"):
        old.unlink()
    for name, text in plans():
        (PLANS / name).write_text(text)
