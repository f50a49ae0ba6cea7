"""What choosing the CPU code at run time costs: a fat build against the native one of this machine.

Tokens a second of SmolLM2-135M-Instruct Q4_1 in alternating rounds, within one run; no asserts.
``python benchmarks/fat.py`` builds both in a cache (``--cache``; else a new one), or takes two
prefixes: ``python benchmarks/fat.py NATIVE FAT``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import bench

from llamabuild.host import LocalHost

ROUNDS = 7
RECIPES = {"native": "cpu-native", "fat": "cpu-fat"}


def built(cache: Path) -> dict[str, Path]:
    command = [*bench.LLAMABUILD, "build", "--cache", str(cache), "--progress", "plain"]
    return {name: Path(bench.run([*command, one]).strip()) for name, one in RECIPES.items()}


def compare(prefixes: dict[str, Path], folder: Path) -> None:
    gguf = bench.model(folder)
    threads = LocalHost().cores()[2]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in prefixes}
    for _ in range(ROUNDS):
        for name, prefix in prefixes.items():
            found[name].append(bench.measure(prefix, gguf, threads))
    print(f"\n{gguf.name}, {threads} threads, {ROUNDS} alternating rounds, tokens/s (median)")
    print(f"{'build':10}{'prompt 256':>12}{'generate 32':>13}")
    middle = {
        name: [statistics.median(one[n] for one in pairs) for n in (0, 1)]
        for name, pairs in found.items()
    }
    for name, (prompt, generate) in middle.items():
        print(f"{name:10}{prompt:12.1f}{generate:13.1f}")
    ratios = [middle["fat"][n] / middle["native"][n] for n in (0, 1)]
    print(f"fat / native: prompt {ratios[0]:.3f}, generate {ratios[1]:.3f}   (aim: at least 0.95)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prefixes", nargs="*", type=Path, metavar="NATIVE FAT")
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    if len(arguments.prefixes) not in (0, 2):
        parser.error("give both prefixes, or none")
    with tempfile.TemporaryDirectory(prefix="llamabuild-fat-") as name:
        folder = Path(name)
        given = dict(zip(RECIPES, arguments.prefixes, strict=False))
        compare(given or built(arguments.cache or folder / "cache"), folder)


if __name__ == "__main__":
    main()
