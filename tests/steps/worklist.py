"""Cells that are cheap and real: the stand-in's source, this machine's compiler, the real program
in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from llamabuild import plan, provide, recordings
from llamabuild.ci import cells
from llamabuild.ci.cells import Cell
from llamabuild.events import silent
from llamabuild.host import LocalHost
from llamabuild.lockfile import resolve
from llamabuild.model import Pin
from llamabuild.recordings import Recording
from tests import standin

REPOSITORY = Path(__file__).resolve().parents[2]
RECORDED = recordings.read(REPOSITORY / "tests" / "machines" / "zen4-vm-gcc12.json")
NATIVE = "zen4-vm-gcc12.json cpu-native"
BROKEN = {"vendor/llama.cpp/nothing.c": "int nothing(void) { return undeclared; }\n"}


def recorded(want: str) -> Recording | None:
    """The recorded machine that a target names."""
    return RECORDED if want == NATIVE else None


@dataclass(frozen=True)
class Works:
    """Pins of the stand-in: one that works, and one that does not compile; where facts are kept."""

    folder: Path
    pins: Mapping[str, Pin]

    def cell(self, name: str, want: str = NATIVE, pin: str = "standin", **changes: Any) -> Cell:
        """A cell of this machine, locked as it is."""
        decided = self.planned(want, pin)
        system, _, arch = LocalHost().system()
        made = Cell(
            names=(name,),
            want=want,
            toolchain="auto",
            pin=pin,
            sha256=self.pins[pin].sha256,
            commit=self.pins[pin].commit,
            key=plan.key(decided),
            os=system,
            arch=arch,
            variant="cpu",
            compiler=resolve.compiler_in_words(decided.compiler),
            sysroot=decided.sysroot,
            tools=tuple(resolve.tool_in_words(one) for one in decided.tools),
            needs=(system, arch),
            machine=recorded(want),
        )
        return replace(made, **changes)

    def planned(self, want: str, pin: str) -> Any:
        means = provide.Means(asked="auto", host=LocalHost(), cache=self.folder, emit=silent)
        return resolve.planned(want, recorded(want), self.pins[pin], means)

    def environment(self, **more: str) -> dict[str, str]:
        """In which the program takes the stand-in for the pinned source."""
        site = REPOSITORY / "tests" / "standin" / "site"
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LLAMABUILD", "GITHUB", "CI", "SCCACHE"))
        }
        paths = os.pathsep.join((str(site), str(REPOSITORY)))
        known = msgspec.json.encode(self.pins).decode()
        return {**kept, "PYTHONPATH": paths, "STANDIN_PINS": known, **more}

    def start(self, cache: Path, *words: str, **more: str) -> subprocess.Popen[str]:
        """Start the program."""
        return subprocess.Popen(
            [sys.executable, "-m", "llamabuild", *words, "--cache", str(cache)],
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def run(self, cache: Path, *words: str, code: int = 0, **more: str) -> tuple[Any, str]:
        """Run it to its end: its answer, which is JSON, and its story."""
        child = self.start(cache, *words, **more)
        out, err = child.communicate(timeout=300)
        assert child.returncode == code, (child.returncode, out, err)
        assert "Traceback" not in err
        (line,) = out.splitlines()
        answer = json.loads(line)
        assert answer["version"] == 1
        return answer, err


def works(folder: Path) -> Works:
    """Write the sources."""
    found = {}
    for name, extra in (("standin", None), ("broken", BROKEN)):
        (folder / name).mkdir()
        made = standin.archive(folder / name, folder / "facts", extra=extra)
        found[name] = replace(made, name=name)
    return Works(folder, found)


def written(folder: Path, cell: Cell) -> str:
    """A cell in a file; its path."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{cell.name}.json"
    path.write_bytes(cells.encode(cell))
    return str(path)
