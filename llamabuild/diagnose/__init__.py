"""Diagnose: what a log says went wrong, why, and what to do about it.

The knowledge is the catalogue (``catalogue/*.toml``). The code here only finds its patterns in
text that was coloured, wrapped, prefixed or cut on its way, and says which find counts.
"""

from __future__ import annotations

from llamabuild.diagnose.catalogue import Entry, entries
from llamabuild.diagnose.ranking import Cause, Diagnosis, diagnose, diagnose_text

__all__ = ["Cause", "Diagnosis", "Entry", "diagnose", "diagnose_text", "entries"]
