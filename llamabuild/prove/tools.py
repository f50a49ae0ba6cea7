"""Programs of a build: they must start with their own libraries; one quantises, one measures."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from gguf import GGUFReader

from llamabuild.audit import elf
from llamabuild.backends import BACKENDS
from llamabuild.errors import IntegrityError
from llamabuild.model import Build, Check, Speed
from llamabuild.prove import cases, inference, models, outcome, weights
from llamabuild.prove.inference import Runner
from llamabuild.prove.kinds import failed, last_line

_LOADED = re.compile(
    r"^\s*((?:libllama|libggml|libmtmd)\S*) => (.+?)(?: \(0x[0-9a-f]+\))?$", re.MULTILINE
)
"""A line of what the loader of glibc and musl says it would load."""


def expected(build: Build) -> tuple[Path, ...]:
    """The programs that were built, and those that should have been."""
    folder = build.prefix / "bin"
    names = {path.name for path in folder.glob("llama-*") if os.access(path, os.X_OK)}
    wanted = [name for name in build.plan.targets if name.startswith("llama-")]
    wanted += [name for one in build.plan.backends for name in BACKENDS[one].TRAITS.targets]
    names |= set(map(build.plan.program, wanted))
    return tuple(folder / name for name in sorted(names))


def starts(tool: Path, prefix: Path, runner: Runner) -> Check:
    """It answers ``--version``; a tool that knows no such option must explain its usage. The
    libraries of llama.cpp that it loads must be those of the build. Raises ProofFailed."""
    name = f"{tool.name} starts"
    report = inference.report_for(runner, name)
    argv, env = inference.program(runner, [str(tool), "--version"], report)
    finished = runner.host.run(argv, limits=runner.limits, env=env)
    text = f"{finished.out}\n{finished.err}"
    explained = finished.code == 1 and "usage:" in text.lower()
    failure = outcome.ended(finished, name, report)
    if failure and not explained:
        raise failure
    own_libraries(tool, prefix, runner, name)
    shown = next((line for line in text.splitlines() if line.startswith("version:")), "usage")
    return Check(name=name, detail=shown)


def own_libraries(tool: Path, prefix: Path, runner: Runner, name: str) -> None:
    """Raise ProofFailed("wrong-library") when the loader would take another libllama or libggml,
    which LD_LIBRARY_PATH can bring about. Only Linux' loaders can be asked."""
    if runner.host.system()[0] != "linux" or runner.command:
        return
    if brought := _preloaded(runner.host.environ.get("LD_PRELOAD", "")):
        why = f"LD_PRELOAD brings {', '.join(brought)}, which has functions of llama.cpp"
        raise failed("wrong-library", name, why)
    env = {**runner.host.environ, "LD_TRACE_LOADED_OBJECTS": "1"}
    finished = runner.host.run([str(tool)], limits=runner.limits, env=env)
    loaded = [path for _, path in _LOADED.findall(finished.out)]
    if others := outcome.strangers(loaded, str(prefix)):
        why = f"{', '.join(others)} would be loaded instead of the library in {prefix}"
        raise failed("wrong-library", name, why)


def _preloaded(names: str) -> list[str]:
    """Libraries of LD_PRELOAD that would take the place of some of a build's functions."""
    found = []
    for path in filter(os.path.isfile, re.split(r"[ :]+", names)):
        try:
            if elf.read(Path(path)).exports:
                found.append(path)
        except IntegrityError:
            continue  # the loader will not take it either
    return found


QUANTISED = {
    "Q8_0": 0.0038,
    "Q4_0": 0.0653,
    "Q4_K": 0.0548,
    "Q6_K": 0.0133,
    "IQ4_XS": 0.0648,
    "MXFP4": 0.1233,
}
"""What these types lose of evenly distributed weights: the error's root mean square in units of the
weights', as this llama.cpp's quantiser gives it on matrices of 256 columns. A scale that is off, a
rounding in the wrong direction or a lost bit makes it a multiple."""
_MODES = {"Q4_K": "Q4_K_M", "MXFP4": "MXFP4_MOE"}
_SLACK = 1.15


def quantises(tool: Path, kind: str, runner: Runner) -> Check:
    """``llama-quantize`` turns a model of F32 weights into one of ``kind``, and what the ``gguf``
    package decodes from the file is as near to the weights as the type allows. Raises ProofFailed.
    """
    name = f"{tool.name} to {kind}"
    spec = models.DECODERS[0]
    made = runner.scratch / f"quantised-{kind}.gguf"
    report = inference.report_for(runner, name)
    source = cases.model_file(spec, runner.scratch)
    argv = [str(tool), "--pure", str(source), str(made), _MODES.get(kind, kind), "1"]
    env = inference.environment(runner, report)
    finished = runner.host.run(argv, limits=runner.limits, env=env)
    if failure := outcome.ended(finished, name, report):
        raise failure
    worst = max(_losses(made, spec, kind, name))
    made.unlink()
    if not worst <= QUANTISED[kind] * _SLACK:  # also when it is no number
        why = f"weights lose {worst:.4f} of their size, and at most {QUANTISED[kind]} is right"
        raise failed("wrong-numbers", name, why)
    return Check(name=name, detail=f"weights lose {worst:.4f} of their size")


def _losses(made: Path, spec: models.Spec, kind: str, name: str) -> list[float]:
    """Of every matrix that has the type. Raises ProofFailed when there is none, or no file."""
    wanted = cases.decoded(spec)
    found = []
    try:
        for tensor in GGUFReader(made).tensors:
            if tensor.tensor_type.name == kind:
                got = weights.decoded(weights.Tensor(data=tensor.data, type=tensor.tensor_type))
                apart = np.sqrt(np.mean(np.square(got - wanted[tensor.name])))
                found.append(float(apart / np.sqrt(np.mean(np.square(wanted[tensor.name])))))
    except (OSError, ValueError, KeyError) as error:
        raise failed("wrong-numbers", name, f"its file cannot be read: {error}") from error
    if not found:
        raise failed("wrong-numbers", name, f"no matrix of its file is {kind}")
    return found


def measure(bench: Path, model: Path, runner: Runner, gpu_layers: int, *, name: str) -> Speed:
    """Tokens per second of ``llama-bench``: a prompt of 256 tokens, then 32 one by one; the mean
    of three runs. Raises ProofFailed."""
    check = f"{bench.name} on the {name}"
    runner = replace(runner, patient=False)
    report = inference.report_for(runner, check)
    only_cpu = [] if gpu_layers else ["-nkvo", "1", "-nopo", "1"]
    finished = runner.host.run(
        [
            *(str(bench), "-m", str(model), "-p", "256", "-n", "32", "-r", "3", "-o", "json"),
            *("-t", str(runner.threads), "-ngl", str(gpu_layers), *only_cpu),
        ],
        limits=runner.limits,
        env=inference.environment(runner, report),
    )
    if failure := outcome.ended(finished, check, report):
        raise failure
    try:
        rows = json.loads(finished.out)
        prompt = next(row["avg_ts"] for row in rows if row["n_prompt"])
        generate = next(row["avg_ts"] for row in rows if row["n_gen"])
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        why = f"its answer is not understood: {last_line(finished.out)}"
        raise failed("load", check, why) from error
    return Speed(
        model=f"{model.stem} {models.SPEED.type}",
        threads=runner.threads,
        prompt=float(prompt),
        generate=float(generate),
    )
