"""Format, lint, types and layers; all are run, and the first failure does not hide the rest."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(sys.executable).parent
CHECKS = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("lint-imports",),
)

if __name__ == "__main__":
    codes = [
        subprocess.run([str(BIN / c[0]), *c[1:]], cwd=ROOT, check=False).returncode for c in CHECKS
    ]
    sys.exit(max(codes))
