"""MinGW-w64's GCC: Windows programs made on Linux, with the libraries that they take along."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llamabuild.host import Host, Limits
from llamabuild.model import Compiler, Flag

RUNTIME: Final = re.compile(r"lib(?:gcc_s_seh-1|stdc\+\+-6|gomp-1|winpthread-1)\.dll")
"""GCC's own libraries, which its licence lets anybody hand on (GCC Runtime Library Exception)."""
_NAMES: Final = ("libgcc_s_seh-1.dll", "libstdc++-6.dll", "libgomp-1.dll", "libwinpthread-1.dll")
_LIMITS: Final = Limits(seconds=30)
_UNALIGNED: Final = ("-Wa,-muse-unaligned-vector-move",)
"""Windows aligns the stack to 16 bytes, and GCC keeps registers of 32 and 64 bytes there as if they
were aligned (GCC bug 54412). Debian's GCC has a patch, others do not; binutils from 2.38 on can
mend it while assembling."""
_THROTTLING: Final = (
    "-DTHREAD_POWER_THROTTLING_STATE=PROCESS_POWER_THROTTLING_STATE",
    "-DTHREAD_POWER_THROTTLING_CURRENT_VERSION=1",
    "-DTHREAD_POWER_THROTTLING_EXECUTION_SPEED=1",
)
"""What MinGW-w64 before 11 does not declare (Windows' processthreadsapi.h does): with it ggml asks
Windows 11 not to park its threads. The same three fields are declared for whole processes."""
_DECLARED: Final = "#include <windows.h>\nTHREAD_POWER_THROTTLING_STATE here;\n"


def flags(compiler: Compiler, host: Host) -> tuple[Flag, ...]:
    """What these compilers and their headers have to be told, if anything."""
    with tempfile.TemporaryDirectory(prefix="llamabuild-mingw-") as folder:
        source = Path(folder, "declared.c")
        source.write_text(_DECLARED)

        def compiles(*argv: str) -> bool:
            out = str(source.with_suffix(".o"))
            return host.run([compiler.cc, *argv, "-c", "-o", out], limits=_LIMITS).code == 0

        aligned = compiles(*_UNALIGNED, "-x", "c", os.devnull)
        declared = compiles(str(source))
    both = _UNALIGNED if aligned else ()
    why = "AVX registers on Windows' stack (GCC bug 54412); what older MinGW headers do not declare"
    options = {"C": (*both, *(() if declared else _THROTTLING)), "CXX": both}
    return tuple(
        Flag(name=f"CMAKE_{language}_FLAGS", value=" ".join(words), why=why)
        for language, words in options.items()
        if words
    )


def runtime(compiler: Compiler, host: Host) -> Iterator[Path]:
    """The libraries that everything needs which the compiler links; one that it does not have is
    left out, and what needs it is found to lack it."""
    for name in _NAMES:
        asked = host.run([compiler.cxx, f"-print-file-name={name}"], limits=_LIMITS).out.strip()
        if host.exists(asked) and Path(asked).is_absolute():
            yield Path(asked)
