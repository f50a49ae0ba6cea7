"""Where and how a build can be proved on this machine: in a clean environment with its wheel, on
the devices that are here; under an emulator; or not at all, which is said.
"""

from __future__ import annotations

import time
from pathlib import Path

from llamabuild import prove, wheels
from llamabuild.backends import BACKENDS, cpu_features
from llamabuild.events import Emit, StepEnded, StepStarted, Warned
from llamabuild.host import Host
from llamabuild.model import Build, Check, Plan, Proof
from llamabuild.prove import crash, emulated
from llamabuild.prove.inference import Runner


def environment(work: Path, needed: tuple[str, ...], *, host: Host, cache: Path) -> None:
    """Made before the long compile: what cannot be had should be said at once."""
    wheels.environment(work / "venv", needed, house=cache / "requirements", host=host)


def prove_in(built: Build, work: Path, host: Host, emit: Emit) -> Proof:
    """Install the wheel in the clean virtual environment ``work/venv`` and prove it there, on
    every device that it was planned for."""
    return _proved_in(built, work, host, emit, gpu=len(built.plan.backends) > 1)


def prove_here(built: Build, work: Path, host: Host, emit: Emit) -> Proof:
    """The same for what was planned for, or on, another machine: under the plan's runner where
    there is one; devices that this machine does not have are left out, and code that its processor
    cannot run is not run. The proof says so."""
    if built.plan.runner:
        return _emulated(built, work, host, emit)
    if lacking := _lacking(built.plan, host):
        return _unrun(lacking, emit)
    return _proved_in(built, work, host, emit, gpu=visible(built.plan, host))


def _emulated(built: Build, work: Path, host: Host, emit: Emit) -> Proof:
    started = time.monotonic()
    command = built.plan.runner
    emit(StepStarted(name="prove", title=f"Proving it under {Path(command[0]).name}"))
    scratch = work / "proof"
    scratch.mkdir()
    runner = Runner(
        host=host,
        scratch=scratch,
        threads=2,
        preload=crash.preload(built.plan.compiler, host=host, scratch=scratch),
        memory=0,  # an emulator reserves the whole address space
        command=command,
    )
    proof = emulated.prove(built, runner=runner, emit=emit)
    emit(StepEnded(name="prove", seconds=time.monotonic() - started, detail=proof.device))
    return proof


def _lacking(plan: Plan, host: Host) -> tuple[str, ...]:
    """CPU features that a plan uses and this machine does not have."""
    usable = {
        one.name for one in cpu_features.detect_features(host, host.system()[2]) if one.usable
    }
    return tuple(name for name in plan.cpu_features if name not in usable)


def _unrun(lacking: tuple[str, ...], emit: Emit) -> Proof:
    """What can be said of code that cannot be run here: that it is what was planned."""
    why = f"this processor has no {', '.join(lacking)}"
    emit(
        Warned(
            message=f"It was built, and cannot be proved here: {why}.",
            hint="It is proved on the machine that it is for, before it is first used there.",
        )
    )
    check = Check(name="audit", detail="what was built is what was planned")
    return Proof(
        reference="none",
        device=f"not run here: {why}",
        checks=(check,),
        speed=(),
        seconds=0.0,
    )


def visible(plan: Plan, host: Host) -> bool:
    """True when this machine has the devices that a plan is for."""
    names = [name for name in plan.backends[:-1] if BACKENDS[name].TRAITS.here]
    return bool(names) and all(BACKENDS[name].detect(host).devices for name in names)


def _proved_in(built: Build, work: Path, host: Host, emit: Emit, *, gpu: bool) -> Proof:
    python = wheels.interpreter_of(work / "venv", host)
    wheels.install(built.wheel, python, host)
    return proved_with(built, python, work, host, emit, gpu=gpu)


def proved_with(
    built: Build, python: Path, work: Path, host: Host, emit: Emit, *, gpu: bool
) -> Proof:
    """Prove a build whose wheel is installed for ``python``."""
    started = time.monotonic()
    emit(StepStarted(name="prove", title="Proving it against a known answer"))
    scratch = work / "proof"
    scratch.mkdir()
    proof = prove.prove(
        built,
        python=python,
        host=host,
        emit=emit,
        scratch=scratch,
        gpu=gpu,
        preload=crash.preload(built.plan.compiler, host=host, scratch=scratch),
    )
    emit(StepEnded(name="prove", seconds=time.monotonic() - started, detail=proof.device))
    return proof
