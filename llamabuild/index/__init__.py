"""A static index of wheels that pip and uv install from: one directory for each variant.

Any web server or bucket can hand it out; ``serve`` does a little more. What is there was checked
before it came, and what it needs of a machine is told, so that ``use`` can choose: pip and uv do
not see hardware, and of several variants in one place they take the one whose name sorts last.
"""

from __future__ import annotations

from llamabuild.index.inside import minimal
from llamabuild.index.publishing import Check, Published, publish

__all__ = ["Check", "Published", "minimal", "publish"]
