"""Write the golden plans and the page of machines anew: `make golden`, then read the diff."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.golden import PAGE, PLANS, document, plans

if __name__ == "__main__":
    PLANS.mkdir(exist_ok=True)
    for old in PLANS.glob("*.txt"):
        old.unlink()
    for name, text in plans():
        (PLANS / name).write_text(text)
    PAGE.write_text(document())
