"""The audit of what was built: machine code, code for GPUs, libraries needed, compile commands.

:func:`look` collects facts about any folder of libraries, :func:`differences` compares them with a
plan; :mod:`llamabuild.audit.compiled` does the same for the compile commands, before anything is
compiled.
"""

from __future__ import annotations

from llamabuild.audit.compiled import Unit
from llamabuild.audit.expected import differences, kind
from llamabuild.audit.inventory import Binary, Inventory, Missing, Packed, look

__all__ = ["Binary", "Inventory", "Missing", "Packed", "Unit", "differences", "kind", "look"]
