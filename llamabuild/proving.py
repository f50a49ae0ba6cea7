"""Where and how a build can be proved on this machine: in a clean environment with its wheel, on
the devices that are here; under an emulator; or not at all, which is said.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from llamabuild import audit, prove, wheels
from llamabuild.audit.planned import needed
from llamabuild.backends import BACKENDS, cpu_features
from llamabuild.errors import IntegrityError
from llamabuild.events import Emit, Noticed, StepEnded, StepStarted, Warned
from llamabuild.host import Host
from llamabuild.model import Build, Check, Plan, Proof
from llamabuild.prove import crash, emulated
from llamabuild.prove.inference import Runner
from llamabuild.prove.kinds import failed
from llamabuild.toolchains import runner as runners


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
    system = host.system()[0]
    translated = built.plan.runner and built.plan.system == system
    if not translated and (lacking := _lacking(built.plan, host)):
        why = f"this processor has no {', '.join(lacking)}"
        return _unrun(built.plan, why, audited(built, host, emit), emit)
    if built.plan.runner:
        return _emulated(built, work, host, emit)
    if built.plan.system != system:
        why = f"no {built.plan.system} programs run here"
        return _unrun(built.plan, why, audited(built, host, emit), emit)
    return _proved_in(built, work, host, emit, gpu=visible(built.plan, host))


def audited(built: Build, host: Host, emit: Emit) -> Check:
    """Compare the files of a build with its plan. Raises ProofFailed with what differs."""
    try:
        inventory = audit.look(built.prefix, host, instructions=with_kernels)
    except IntegrityError as error:
        raise failed("load", "audit", error.message) from error
    for line in inventory.unread:
        emit(Noticed(message=f"Not looked at: {line}"))
    if wrong := audit.differences(built.plan, inventory):
        kind = audit.kind(built.plan, inventory)
        raise failed(kind, "audit", f"not as planned: {'; '.join(wrong)}")
    code = sorted(
        {f"{one.kind} {one.architecture}" for x in inventory.binaries for one in x.device_code}
    )
    features = sorted({name for one in inventory.binaries for name in one.isa.features})
    found = ", ".join([*features, *code]) or "nothing beyond the least processor"
    return Check(name="audit", detail=f"{len(inventory.binaries)} files as planned: {found}")


def with_kernels(name: str) -> bool:
    """True for libraries whose instructions are looked at: those of ggml, which are compiled for
    more than the least processor. To disassemble the others takes six times as long."""
    return "ggml" in name


def _emulated(built: Build, work: Path, host: Host, emit: Emit) -> Proof:
    started = time.monotonic()
    command = built.plan.runner
    emit(StepStarted(name="prove", title=f"Proving it under {runners.name(command)}"))
    check = audited(built, host, emit)
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
    proof = _with(check, emulated.prove(built, runner=runner, emit=emit), started)
    emit(StepEnded(name="prove", seconds=time.monotonic() - started, detail=proof.device))
    return proof


def _lacking(plan: Plan, host: Host) -> tuple[str, ...]:
    """CPU features that a plan needs and this machine does not have."""
    usable = {
        one.name for one in cpu_features.detect_features(host, host.system()[2]) if one.usable
    }
    return tuple(name for name in needed(plan) if name not in usable)


def _unrun(plan: Plan, why: str, check: Check, emit: Emit) -> Proof:
    """What can be said of code that cannot be run here: that it is what was planned."""
    emit(
        Warned(
            message=f"It was built, and cannot be proved here: {why}.",
            hint="It is proved on the machine that it is for, before it is first used there.",
        )
    )
    return Proof(
        reference="none",
        device=f"no device: {why}",
        checks=(check,),
        speed=(),
        seconds=0.0,
        unrun=plan.backends,
    )


def visible(plan: Plan, host: Host) -> bool:
    """True when this machine has the devices that a plan is for."""
    names = [name for name in plan.backends[:-1] if BACKENDS[name].TRAITS.here]
    return bool(names) and all(BACKENDS[name].detect(host).devices for name in names)


def _software(plan: Plan, host: Host) -> bool:
    """True when a plan's device computes on the CPU."""
    names = [name for name in plan.backends[:-1] if BACKENDS[name].TRAITS.here]
    found = (device for name in names for device in BACKENDS[name].detect(host).devices)
    return any(device.kind == "software" for device in found)


def _proved_in(built: Build, work: Path, host: Host, emit: Emit, *, gpu: bool) -> Proof:
    python = wheels.interpreter_of(work / "venv", host)
    wheels.install(built.wheel, python, host, complete=True)
    return proved_with(built, python, work, host, emit, gpu=gpu)


def proved_with(
    built: Build, python: Path, work: Path, host: Host, emit: Emit, *, gpu: bool
) -> Proof:
    """Prove a build whose wheel is installed for ``python``."""
    started = time.monotonic()
    emit(StepStarted(name="prove", title="Proving it against a known answer"))
    check = audited(built, host, emit)
    scratch = work / "proof"
    scratch.mkdir()
    computed = prove.prove(
        built,
        python=python,
        host=host,
        emit=emit,
        scratch=scratch,
        gpu=gpu,
        software=gpu and _software(built.plan, host),
        preload=crash.preload(built.plan.compiler, host=host, scratch=scratch),
    )
    proof = _with(check, computed, started)
    emit(StepEnded(name="prove", seconds=time.monotonic() - started, detail=proof.device))
    return proof


def _with(check: Check, proof: Proof, started: float) -> Proof:
    """A proof with a check before its own, and all of the time since it was started."""
    return replace(proof, checks=(check, *proof.checks), seconds=time.monotonic() - started)
