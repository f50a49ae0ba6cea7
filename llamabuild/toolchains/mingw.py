"""MinGW-w64's GCC: Windows programs made on Linux, with the libraries that they take along."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llamabuild.host import Host, Limits
from llamabuild.model import Compiler, Flag

RUNTIME: Final = re.compile(r"lib(?:gcc_s_seh-1|stdc\+\+-6|gomp-1|winpthread-1)\.dll")
"""GCC's own libraries, which its licence lets anybody hand on (GCC Runtime Library Exception)."""
_NAMES: Final = ("libgcc_s_seh-1.dll", "libstdc++-6.dll", "libgomp-1.dll", "libwinpthread-1.dll")
_LIMITS: Final = Limits(seconds=30)
_UNALIGNED: Final = "-Wa,-muse-unaligned-vector-move"


def flags(compiler: Compiler, host: Host) -> tuple[Flag, ...]:
    """What keeps AVX code from crashing: Windows aligns the stack to 16 bytes, and GCC keeps
    registers of 32 and 64 bytes there as if they were aligned (GCC bug 54412). Debian's GCC has a
    patch, others do not; binutils from 2.38 on can mend it while assembling.
    """
    argv = [compiler.cc, _UNALIGNED, "-x", "c", "-c", os.devnull, "-o", os.devnull]
    if host.run(argv, limits=_LIMITS).code != 0:
        return ()
    why = "GCC keeps AVX registers on Windows' stack as if it were aligned to them (GCC bug 54412)"
    return tuple(
        Flag(name=f"CMAKE_{language}_FLAGS", value=_UNALIGNED, why=why) for language in ("C", "CXX")
    )


def runtime(compiler: Compiler, host: Host) -> Iterator[Path]:
    """The libraries that everything needs which the compiler links; one that it does not have is
    left out, and what needs it is found to lack it."""
    for name in _NAMES:
        asked = host.run([compiler.cxx, f"-print-file-name={name}"], limits=_LIMITS).out.strip()
        if host.exists(asked) and Path(asked).is_absolute():
            yield Path(asked)
