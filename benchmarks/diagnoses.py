"""How well `diagnose` does: a table of logs, what was expected, and what came first.

    python benchmarks/diagnoses.py [FOLDER ...]

A folder holds ``*.txt`` (or ``*.txt.xz``) and ``EXPECTED.toml``: a table per log with ``expected``,
the id of an entry, and perhaps ``also``, other ids that are as good. "none" stands for a log of a
build that went well, "unknown" for a failure that no entry explains. Without a folder: the logs of
the tests.
"""

from __future__ import annotations

import lzma
import sys
from collections.abc import Iterator
from pathlib import Path

import tomli

from llamabuild import diagnose

_LOGS = Path(__file__).resolve().parent.parent / "tests" / "data" / "logs"


def main(folders: list[str]) -> int:
    """Print the table and the sum. Exit code 1 when under 97 % came first or a log of a build that
    went well was called a failure."""
    right = total = false = good = 0
    for name, text, wanted in logs([Path(one) for one in folders] or sorted(_LOGS.iterdir())):
        found = diagnose.diagnose_text(text)
        got = first(found)
        if wanted[0] == "none":
            good += 1
            false += got != "none"
        else:
            total += 1
            right += got in wanted
        mark = "  " if got in wanted else "✗ "
        print(f"{mark}{name:50} {wanted[0]:34} {got}")
    print(f"\n{right} of {total} failures right first", end="")
    print(f" ({right / total:.1%})" if total else "")
    print(f"{false} false diagnoses in {good} logs of builds that went well")
    return int(bool(false) or right < 0.97 * total)


def logs(folders: list[Path]) -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    """Name, text, and the ids that are right, the best first."""
    for folder in folders:
        table = tomli.loads((folder / "EXPECTED.toml").read_text(encoding="utf-8"))
        for file in sorted(folder.glob("*.txt*")):
            name = file.name.partition(".txt")[0]
            data = file.read_bytes()
            text = lzma.decompress(data) if file.suffix == ".xz" else data
            row = table[name]
            yield name, text, (row["expected"], *row.get("also", ()))


def first(found: diagnose.Diagnosis) -> str:
    """What came first: an id, "unknown", or "none"."""
    if found.first:
        return found.first.entry.id
    return "none" if found.clean else "unknown"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
