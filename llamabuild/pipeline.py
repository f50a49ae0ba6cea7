"""The sentence: look, decide, fetch, build, prove, keep. And heal on the way."""

from __future__ import annotations

from pathlib import Path

from llamabuild import attempts, cmake, fetch, heal, plan, probe, store, wheels
from llamabuild.attempts import Prove, Request, prove_in
from llamabuild.events import Emit, Healed, Noticed, Warned
from llamabuild.host import Host
from llamabuild.model import Artifact, Build, Pin, Plan, Proof, Recipe


def provision(
    recipe: Recipe,
    pin: Pin,
    *,
    host: Host,
    cache: Path,
    emit: Emit,
    offline: bool = False,
    proof: Prove = prove_in,
) -> Artifact:
    """A proved artifact for the recipe on this machine: the kept one, else a new one.

    Raises the errors of every step; nothing is kept that was not proved.
    """
    with store.guarded(cache):
        return _provision(
            recipe, pin, host=host, cache=cache, emit=emit, offline=offline, proof=proof
        )


def _provision(
    recipe: Recipe,
    pin: Pin,
    *,
    host: Host,
    cache: Path,
    emit: Emit,
    offline: bool,
    proof: Prove,
) -> Artifact:
    hardware, toolchain = probe.probe(host, cache=cache)
    request = Request(recipe=recipe, pin=pin, hardware=hardware, toolchain=toolchain, prove=proof)
    wanted = request.decide(heal.Course())
    key = plan.key(wanted)
    if kept := store.lookup(cache, key, emit):
        return kept
    with store.locked(cache, key, emit):
        if kept := store.lookup(cache, key, emit):
            return kept
        _say(wanted, host, emit)
        source = fetch.fetch(pin, cache=cache, host=host, emit=emit, offline=offline)
        return attempts.make(request, key, source, host=host, cache=cache, emit=emit)


def _say(wanted: Plan, host: Host, emit: Emit) -> None:
    if names := cmake.ignored(host.environ):
        emit(
            Warned(
                message=f"{', '.join(names)} in the environment would change the build unseen "
                "and is not used.",
                hint="Put what you need into a recipe's [flags].",
            )
        )
    for remedy in wanted.remedies:
        emit(Healed(remedy=remedy.name, why=remedy.why))
    for absence in (one for one in wanted.absent if one.seen):
        emit(Noticed(message=f"{absence.what} is not used: {absence.why}"))


def reprove(artifact: Artifact, *, host: Host, cache: Path, emit: Emit) -> Proof:
    """Prove a kept artifact again, as it stands. Raises ProofFailed."""
    with store.guarded(cache), store.workdir(cache) as work:
        needed = wheels.requirements_of(artifact.wheel)
        attempts.environment(work, needed, host=host, cache=cache)
        return prove_in(_again(artifact), work, host, emit)


def install(artifact: Artifact, folder: Path, *, host: Host, cache: Path, emit: Emit) -> Proof:
    """Install the artifact's wheel into a virtual environment and prove it there."""
    python = wheels.interpreter_of(folder, host)
    wheels.install(artifact.wheel, python, host)
    emit(Noticed(message=f"Installed {artifact.wheel.name} into {folder}"))
    with store.guarded(cache), store.workdir(cache) as work:
        return attempts.proved_with(_again(artifact), python, work, host, emit)


def _again(artifact: Artifact) -> Build:
    """What was published, as the build that it was."""
    return Build(
        plan=artifact.manifest.plan,
        prefix=artifact.path,
        wheel=artifact.wheel,
        log=artifact.path / "build.log",
        seconds=artifact.manifest.seconds,
        effective=artifact.manifest.effective,
    )
