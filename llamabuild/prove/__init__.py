"""Prove: a build must compute what an independent reference computes, and say where.

Everything is small and made on the spot. First every tool must start; then each weight type runs
in a child process through the wheel's own Python package, on the CPU and, where there is one, on
the device; then ``llama-server`` answers over HTTP; last the speed is measured.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from llamabuild import backends
from llamabuild.backends import Evidence
from llamabuild.events import Emit, Progress
from llamabuild.host import Host
from llamabuild.model import Build, Check, Proof, Speed
from llamabuild.prove import inference, models, reference, server
from llamabuild.prove.inference import Runner
from llamabuild.prove.reference import Expected

THREADS_AT_MOST = 16
"""More do not make tiny models faster, and two already show what goes wrong with threads."""
SERVED = "Q4_K"
"""The weight type that the server is asked with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where models run: ``gpu_layers`` of them on a device, judged by ``backends``."""

    name: str
    gpu_layers: int
    backends: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model as a file, and the answer that it must give."""

    spec: models.Spec
    path: Path
    expected: Expected


Passed = tuple[Check, tuple[str, ...]]
"""A check, and the devices that it showed (none, where it is not about devices)."""


def prove(
    build: Build,
    *,
    python: Path,
    host: Host,
    emit: Emit,
    scratch: Path,
    gpu: bool = False,
    preload: Path | None = None,
) -> Proof:
    """Prove a build; ``python`` is the interpreter of the environment with its wheel.

    With ``gpu`` every model runs on the device as well; without, a device's back-end is proved
    as far as it loads and computes on the CPU. ``preload`` is the crash reporter's library.
    Raises ProofFailed for the first check that does not hold.
    """
    started = time.monotonic()
    scratch.mkdir(parents=True, exist_ok=True)
    runner = Runner(
        host=host,
        scratch=scratch,
        threads=max(2, min(THREADS_AT_MOST, host.cores()[2])),
        preload=preload,
        memory=0 if gpu else inference.MEMORY,
    )
    places = _places(build.plan.backends, gpu=gpu)
    checks: list[Check] = []
    devices: list[str] = []
    jobs = _jobs(build, python, runner, places)
    total = len(jobs) + len(places)
    for job in jobs:
        check, shown = job()
        checks.append(check)
        devices += shown
        emit(Progress(name="prove", done=len(checks), total=total, unit="checks"))
    speeds: list[Speed] = []
    for place in places:
        speeds.append(_speed(build, runner, place))
        emit(Progress(name="prove", done=len(checks) + len(speeds), total=total, unit="checks"))
    return Proof(
        reference=f"{reference.NAME}, {len(models.SPECS)} generated models",
        device=_device(devices, build.plan.backends, places),
        checks=tuple(checks),
        speed=tuple(speeds),
        seconds=time.monotonic() - started,
    )


def _places(names: Sequence[str], *, gpu: bool) -> tuple[Place, ...]:
    """The CPU, always (it is the last back-end), and the device when there is one to use."""
    cpu = Place(name="CPU", gpu_layers=0, backends=tuple(names[-1:]))
    here = tuple(name for name in names if backends.BACKENDS[name].TRAITS.here)
    if not gpu or len(here) == 1:
        return (cpu,)
    return cpu, Place(name="device", gpu_layers=inference.ALL_LAYERS, backends=here)


def _jobs(
    build: Build, python: Path, runner: Runner, places: Sequence[Place]
) -> list[Callable[[], Passed]]:
    """The checks, cheapest first, not yet run."""
    folder = build.prefix / "bin"
    files = (path for path in folder.glob("llama-*") if os.access(path, os.X_OK))
    names = {path.name for path in files}
    names |= {name for name in build.plan.targets if name.startswith("llama-")}
    jobs: list[Callable[[], Passed]] = [
        partial(_starts, folder / name, runner) for name in sorted(names)
    ]
    cases = [_case(spec, runner.scratch) for spec in models.SPECS]
    for place in places:
        jobs += [partial(_computes, python, case, runner, place) for case in cases]
    served = next(case for case in cases if case.spec.type == SERVED)
    jobs += [partial(_serves, folder / "llama-server", served, runner, place) for place in places]
    return jobs


def _case(spec: models.Spec, scratch: Path) -> Case:
    model = models.generate(spec)
    path = scratch / f"{spec.type}.gguf"
    models.write(model, path)
    return Case(spec=spec, path=path, expected=reference.expect(model))


def _starts(tool: Path, runner: Runner) -> Passed:
    """It answers ``--version``; a tool that knows no such option must explain its usage."""
    name = f"{tool.name} starts"
    report = inference.report_for(runner, name)
    env = inference.environment(runner, report)
    finished = runner.host.run([str(tool), "--version"], limits=runner.limits, env=env)
    text = f"{finished.out}\n{finished.err}"
    explained = finished.code == 1 and "usage:" in text
    failure = inference.ended(finished, name, report)
    if failure and not explained:
        raise failure
    shown = next((line for line in text.splitlines() if line.startswith("version:")), "usage")
    return Check(name=name, detail=shown), ()


def _computes(python: Path, case: Case, runner: Runner, place: Place) -> Passed:
    name = f"{case.spec.type} on the {place.name}"
    answer = inference.run(
        python, case.path, case.expected, runner, check=name, gpu_layers=place.gpu_layers
    )
    allowed = reference.tolerance(case.spec.type)
    check = inference.compare(answer, case.expected, allowed, check=name)
    _judge(answer.evidence, place, name)
    return check, answer.evidence.devices


def _judge(evidence: Evidence, place: Place, name: str) -> None:
    for backend in place.backends:
        if why := backends.BACKENDS[backend].judge(evidence):
            raise inference.failed("wrong-device", name, why)


def _serves(tool: Path, case: Case, runner: Runner, place: Place) -> Passed:
    name = f"{tool.name} on the {place.name}"
    passed = server.check(
        tool, case.path, case.expected, runner, name=name, gpu_layers=place.gpu_layers
    )
    return passed, ()


def _speed(build: Build, runner: Runner, place: Place) -> Speed:
    path = runner.scratch / "speed.gguf"
    if not path.exists():
        models.write(models.generate(models.SPEED), path)
    return measure(build.prefix / "bin" / "llama-bench", path, runner, place)


def measure(bench: Path, model: Path, runner: Runner, place: Place) -> Speed:
    """Tokens per second of ``llama-bench``: a prompt of 256 tokens, then 32 one by one; the mean
    of three runs. Raises ProofFailed."""
    name = f"{bench.name} on the {place.name}"
    report = inference.report_for(runner, name)
    only_cpu = [] if place.gpu_layers else ["-nkvo", "1", "-nopo", "1"]
    finished = runner.host.run(
        [
            *(str(bench), "-m", str(model), "-p", "256", "-n", "32", "-r", "3", "-o", "json"),
            *("-t", str(runner.threads), "-ngl", str(place.gpu_layers), *only_cpu),
        ],
        limits=runner.limits,
        env=inference.environment(runner, report, patient=False),
    )
    if failure := inference.ended(finished, name, report):
        raise failure
    try:
        rows = json.loads(finished.out)
        prompt = next(row["avg_ts"] for row in rows if row["n_prompt"])
        generate = next(row["avg_ts"] for row in rows if row["n_gen"])
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        why = f"its answer is not understood: {inference.last_line(finished.out)}"
        raise inference.failed("load", name, why) from error
    return Speed(
        model=f"{model.stem} {models.SPEED.type} on the {place.name}",
        threads=runner.threads,
        prompt=float(prompt),
        generate=float(generate),
    )


def _device(shown: Sequence[str], names: Sequence[str], places: Sequence[Place]) -> str:
    """The devices that were listed, and what was built but could not be run here."""
    run = {name for place in places for name in place.backends}
    missing = [name for name in names if name not in run]
    listed = ", ".join(dict.fromkeys(shown))
    return f"{listed} (not run: {', '.join(missing)})" if missing else listed
