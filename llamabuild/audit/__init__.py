"""The audit of what was built: machine code, code for GPUs, libraries needed, compile commands.

:func:`look` collects facts about any folder of libraries, :func:`differences` compares them with a
plan; :mod:`llamabuild.audit.compiled` does the same for the compile commands, before anything is
compiled. :func:`isa_level` reads the mark of a single file.
"""

from __future__ import annotations

from llamabuild.audit.compiled import Unit
from llamabuild.audit.elf import isa_level
from llamabuild.audit.expected import differences, kind
from llamabuild.audit.inventory import Binary, Inventory, Missing, Packed, look

__all__ = [
    "Binary",
    "Inventory",
    "Missing",
    "Packed",
    "Unit",
    "differences",
    "isa_level",
    "kind",
    "look",
]
