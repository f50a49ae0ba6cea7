"""What a build costs when one option changes and the compiler cache is warm, against a cold one.

One run: ``setup cpu-native`` with nothing cached, then two recipes that differ in one option,
the second with a remote storage that cannot be reached. Prints seconds and ratios, asserts nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LLAMABUILD = [sys.executable, "-m", "llamabuild"]
UNREACHABLE = "redis://127.0.0.1:1"


def main() -> None:
    """Build three times and tell."""
    if not shutil.which("ccache"):
        sys.exit("ccache is not installed: Debian, Ubuntu: apt install ccache")
    with tempfile.TemporaryDirectory(prefix="llamabuild-rebuild-") as name:
        folder = Path(name)
        subprocess.run(
            [*LLAMABUILD, "plan", "--pin", "llama-cpp-python", "--cache", str(folder / "cache")],
            check=True,
            stdout=subprocess.DEVNULL,
        )  # the download is no part of a rebuild
        cold = took(folder, "cpu-native")
        print(f"cold: {cold:.0f} s")
        warm = took(folder, str(HERE / "recipes" / "without-llamafile.toml"))
        print(f"one option changed: {warm:.0f} s, {warm / cold:.1%} of the cold build")
        recipe = str(HERE / "recipes" / "without-repack.toml")
        apart = took(folder, recipe, CCACHE_REMOTE_STORAGE=UNREACHABLE)
        print(f"the same, remote storage unreachable: {apart:.0f} s, {apart / cold:.1%}")


def took(folder: Path, recipe: str, **variables: str) -> float:
    """Seconds of ``setup``; what it warns of is printed."""
    env = {**os.environ, "CCACHE_DIR": str(folder / "ccache"), **variables}
    env.pop("CCACHE_DISABLE", None)
    argv = [*LLAMABUILD, "setup", recipe, "--cache", str(folder / "cache"), "--progress", "plain"]
    started = time.monotonic()
    ended = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        sys.exit(ended.stderr)
    told = [line for line in ended.stderr.splitlines() if "warning" in line or "ccache" in line]
    print("\n".join(told))
    for line in ended.stderr.splitlines():
        if line.startswith("done:"):
            print("  ", line)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
