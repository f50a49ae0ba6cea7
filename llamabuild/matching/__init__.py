"""Which results that are there already do for a machine: what each requires, what the machine
provides, what is missing, and which is the fastest.

What a result *is* decides, not what it was made on: :func:`measured` reads it from the bytes,
:func:`expected` says the same of a plan before it is built. Which results answer a request at all
is another question (:mod:`llamabuild.matching.intention`): that of what the user wanted.
"""

from __future__ import annotations

from llamabuild.matching.intention import differs, group, losses
from llamabuild.matching.match import missing
from llamabuild.matching.provides import Provides, probe
from llamabuild.matching.rank import Candidate, rank, slower
from llamabuild.matching.requires import expected, measured
from llamabuild.matching.why import nearest, why_miss

__all__ = [
    "Candidate",
    "Provides",
    "differs",
    "expected",
    "group",
    "losses",
    "measured",
    "missing",
    "nearest",
    "probe",
    "rank",
    "slower",
    "why_miss",
]
