"""Whether a plan's linker marks what it links: asked before anything is compiled, for an old one
ignores the option with a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from llamabuild.audit import elf
from llamabuild.audit.notes import LEVELS
from llamabuild.audit.planned import marked
from llamabuild.errors import IntegrityError, ToolMissing
from llamabuild.host import Host, Limits
from llamabuild.model import Plan
from llamabuild.toolchains import isa_note

_LIMITS: Final = Limits(seconds=300)  # zig compiles its own libraries before their first use
_HINT: Final = "Install newer GNU binutils, or build with --toolchain zig."


def check(plan: Plan, folder: Path, host: Host) -> None:
    """Link a library of one function in the build folder, as the plan's are linked. Raises
    ToolMissing when it does not get the mark of the plan's level."""
    level = marked(plan)
    if level is None:
        return
    source, library = folder / "llamabuild-marked.c", folder / "llamabuild-marked.so"
    source.write_text("int llamabuild_marked(void) { return 0; }\n")
    words = [str(flag.value) for flag in plan.flags if flag.name == isa_note.FLAGS[0]]
    argv = (plan.compiler.cc, "-shared", "-fPIC", "-o", str(library), str(source))
    said = host.run((*argv, *" ".join(words).split()), limits=_LIMITS, cwd=folder)
    found = _level(library)
    if found != level.name:
        why = (said.err or said.out).strip().splitlines() if found == "no level" else ()
        raise ToolMissing(
            f"what {plan.compiler.family} {plan.compiler.version} links is marked as needing "
            f"{found}, not {level.name}{f': {why[-1]}' if why else ''}",
            _HINT,
        )


def _level(library: Path) -> str:
    try:
        return ("no level", *LEVELS)[elf.isa_level(library)]
    except IntegrityError:
        return "no level"
