"""Prove: a build must compute what an independent reference computes, and say where.

Everything is small and made on the spot. First every tool must start, with the build's own
libraries; then each case runs in a child process through the wheel's own Python package, on the CPU
and, where there is one, on the device; then ``llama-server`` answers over HTTP; last the speed is
measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from llamabuild import backends
from llamabuild.backends import Evidence
from llamabuild.events import Emit, Noticed, Progress
from llamabuild.host import Host
from llamabuild.model import Build, Check, Proof, Speed
from llamabuild.prove import cases, greedy, inference, models, reference, remote, served, tools
from llamabuild.prove.cases import Case
from llamabuild.prove.inference import Answer, Runner
from llamabuild.prove.kinds import failed
from llamabuild.prove.reference import Distance

THREADS_AT_MOST = 16
"""More do not make tiny models faster, and two already show what goes wrong with threads."""
_OVER_HTTP = ("Q8_0 decoder", "F16 encoder")
"""Cases that servers are asked with as well: each is a start of the program."""
_SLOW = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")
"""Weight types with tables: Mesa's software Vulkan took from 15 s to over 15 minutes for each."""
_SLOW_START = 20.0
"""Seconds: a first start on a device that takes longer has compiled device code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where models run: ``gpu_layers`` of them on a device, judged by ``backends``."""

    name: str
    gpu_layers: int
    backends: tuple[str, ...]
    software: bool = False

    @property
    def cases(self) -> tuple[Case, ...]:
        """What is run there."""
        every = cases.standard()
        return tuple(one for one in every if not (self.software and one.spec.type in _SLOW))

    @property
    def device(self) -> bool:
        """True for everything but the CPU."""
        return self.gpu_layers > 0


def prove(
    build: Build,
    *,
    python: Path,
    host: Host,
    emit: Emit,
    scratch: Path,
    gpu: bool = False,
    software: bool = False,
    preload: Path | None = None,
) -> Proof:
    """Prove a build; ``python`` is the interpreter of the environment with its wheel.

    With ``gpu`` every model runs on the device as well; without, a device's back-end is proved
    as far as it loads and computes on the CPU. A device that is ``software`` compiles and runs the
    kernels of some weight types for minutes: those are left out there, and named in the proof.
    ``preload`` is the crash reporter's library.
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
    places = _places(build.plan.backends, gpu=gpu, software=software)
    checks: list[Check] = []
    total = _count(build, places)
    evidence: list[Evidence] = []
    for check, shown in _checks(build, python, runner, places, emit):
        checks.append(check)
        evidence += [shown] if shown else []
        emit(Progress(name="prove", done=len(checks), total=total, unit="checks"))
    speeds = tuple(_speed(build, runner, place) for place in places)
    emit(Progress(name="prove", done=total, total=total, unit="checks"))
    return Proof(
        reference=f"{reference.NAME}, {len(cases.standard())} cases",
        device=", ".join(dict.fromkeys(one for shown in evidence for one in shown.devices)),
        checks=tuple(checks),
        speed=speeds,
        seconds=time.monotonic() - started,
        unrun=_unrun(build.plan.backends, places),
    )


def _places(names: Sequence[str], *, gpu: bool, software: bool) -> tuple[Place, ...]:
    """The CPU, always (it is the last back-end), and the device when there is one to use."""
    cpu = Place(name="CPU", gpu_layers=0, backends=tuple(names[-1:]))
    here = tuple(name for name in names if backends.BACKENDS[name].TRAITS.here)
    if not gpu or len(here) == 1:
        return (cpu,)
    layers = inference.ALL_LAYERS
    return cpu, Place(name="device", gpu_layers=layers, backends=here, software=software)


Passed = tuple[Check, Evidence | None]
"""A check, and what it showed of where it ran."""


def _checks(
    build: Build, python: Path, runner: Runner, places: Sequence[Place], emit: Emit
) -> Iterator[Passed]:
    """Every check but the speed, cheapest first."""
    for tool in tools.expected(build):
        yield tools.starts(tool, build.prefix, runner), None
    for kind in tools.QUANTISED:
        yield (
            tools.quantises(
                build.prefix / "bin" / build.plan.program("llama-quantize"), kind, runner
            ),
            None,
        )
    wanted = cases.standard()
    on_cpu: dict[str, Answer] = {}
    with ThreadPoolExecutor(max_workers=1) as beside:
        beside.map(cases.expected, wanted)  # answers are known when the children's come
        for place in places:
            patient = _warmed(python, wanted[0], runner, emit) if place.device else runner
            if place.software:
                patient = replace(patient, seconds=inference.FIRST_SECONDS)
            for answer in inference.run(
                python, place.cases, patient, place=place.name, gpu_layers=place.gpu_layers
            ):
                check = _held(answer, place, on_cpu.setdefault(answer.case.name, answer))
                yield check, answer.evidence
    tool = build.prefix / "bin" / build.plan.program("llama-server")
    for place in places:
        for case in _over_http():
            name = f"{case.name} over HTTP on the {place.name}"
            yield served.ask(tool, case, runner, name=name, gpu_layers=place.gpu_layers)
    path = cases.model_file(models.SERVED, runner.scratch)
    text = reference.text(models.SERVED, cases.decoded(models.SERVED))
    for place in places:
        name = f"llama-server on the {place.name}"
        yield (
            greedy.check(tool, path, text, runner, name=name, gpu_layers=place.gpu_layers),
            None,
        )
    for backend in remote.servers(build.plan.backends):
        yield from remote.ask(build, backend, _over_http(), runner)


def _over_http() -> tuple[Case, ...]:
    return tuple(one for one in cases.standard() if one.name in _OVER_HTTP)


def _count(build: Build, places: Sequence[Place]) -> int:
    """How many checks there will be, the speeds included."""
    ran = sum(len(place.cases) + len(_OVER_HTTP) + 2 for place in places)
    away = len(remote.servers(build.plan.backends)) * len(_OVER_HTTP)
    return len(tools.expected(build)) + len(tools.QUANTISED) + ran + away


def _warmed(python: Path, case: Case, runner: Runner, emit: Emit) -> Runner:
    """The first start on a device, with time for its driver to compile device code, which the
    other runs then find done."""
    started = time.monotonic()
    patient = replace(runner, seconds=inference.FIRST_SECONDS)
    for _ in inference.run(
        python, [case], patient, place="device", gpu_layers=inference.ALL_LAYERS
    ):
        pass
    seconds = time.monotonic() - started
    if seconds > _SLOW_START:
        emit(
            Noticed(
                message=f"The first start on the device took {seconds:.0f} s: its driver compiled."
            )
        )
    return runner


def _held(answer: Answer, place: Place, on_cpu: Answer) -> Check:
    """The check that an answer passes. Raises ProofFailed for a wrong place or wrong numbers."""
    name = f"{answer.case.name} on the {place.name}"
    for backend in place.backends:
        if doubt := backends.BACKENDS[backend].judge(answer.evidence):
            raise failed(doubt.kind, name, doubt.why)
    wanted = cases.expected(answer.case, device=place.device)
    if wrong := reference.disagreement(answer.values, wanted):
        raise failed(wrong[0], name, wrong[1])
    found = reference.distance(answer.values, wanted.values)
    return Check(name=name, detail=_detail(answer, found, wanted.allowed, on_cpu), error=found.mean)


def _detail(answer: Answer, found: Distance, allowed: Distance, on_cpu: Answer) -> str:
    """How far it was off and may be; where the weights were; what differed from the CPU."""
    parts = [
        f"{len(answer.values)} rows; mean squared error {found.mean:.1e} of {allowed.mean:.1e}",
        f"worst {found.worst:.1e} of {allowed.worst:.1e}",
        f"weights in {', '.join(answer.evidence.buffers) or 'unknown'}",
    ]
    if on_cpu is not answer:
        apart = reference.distance(answer.values, on_cpu.values.astype("f8"))
        parts.append(f"{apart.mean:.1e} from the CPU's")
        parts.append(f"{answer.evidence.offloaded} of {answer.evidence.layers} layers offloaded")
        parts.append(f"{max(answer.memory, default=0) >> 20} MiB on the device")
    return "; ".join(parts)


def _speed(build: Build, runner: Runner, place: Place) -> Speed:
    path = cases.model_file(models.SPEED, runner.scratch)
    bench = build.prefix / "bin" / build.plan.program("llama-bench")
    speed = tools.measure(bench, path, runner, place.gpu_layers, name=place.name)
    return replace(speed, model=f"generated {models.SPEED.type} on the {place.name}")


def _unrun(names: tuple[str, ...], places: Sequence[Place]) -> tuple[str, ...]:
    """What was built but could not be run here."""
    run = {name for place in places for name in place.backends} | set(remote.servers(names))
    kinds = _SLOW if any(place.software for place in places) else ()
    return (
        *(name for name in names if name not in run),
        *(f"{kind} on the software device" for kind in kinds),
    )
