"""Make `.venv` with llamabuild and its development tools. Runs on any Python >= 3.10."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"


def make_environment() -> None:
    """`python -m venv`; on Debian and Ubuntu its pip is a package of its own."""
    argv = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    if subprocess.run(argv, check=False).returncode == 0:
        return
    package = f"python3.{sys.version_info.minor}-venv"
    install = ["apt-get", "install", "-y", package]
    if os.geteuid() != 0:
        sys.exit(f"Python cannot make virtual environments here. Run: sudo {' '.join(install)}")
    subprocess.run(["apt-get", "update", "-qq"], check=False)
    subprocess.run(install, check=True)
    subprocess.run(argv, check=True)


def main() -> None:
    """Make the environment, install, and leave a stamp that `make` compares times with."""
    if sys.version_info < (3, 10):  # noqa: UP036 - this file runs before pip could refuse
        sys.exit(f"Python 3.10 or newer is needed; {sys.executable} is {sys.version.split()[0]}")
    make_environment()
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--editable", f"{ROOT}[dev]"], check=True)
    (VENV / "ready").touch()


if __name__ == "__main__":
    main()
