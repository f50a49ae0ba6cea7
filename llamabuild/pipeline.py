"""The sentence: look, decide, fetch, build, prove, keep. And heal on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llamabuild import (
    adoption,
    attempts,
    cmake,
    elsewhere,
    estimate,
    fetch,
    heal,
    plan,
    provide,
    proving,
    store,
    trees,
    wheels,
)
from llamabuild.attempts import Prove, Request
from llamabuild.elsewhere import Target
from llamabuild.events import Emit, Healed, Noticed, Warned
from llamabuild.host import Host
from llamabuild.model import Artifact, Build, Pin, Plan, Proof, Recipe
from llamabuild.provide import Means
from llamabuild.proving import prove_in


def provision(
    recipe: Recipe,
    pin: Pin,
    *,
    host: Host,
    cache: Path,
    emit: Emit,
    offline: bool = False,
    proof: Prove = prove_in,
    target: Target | None = None,
    toolchain: str = "auto",
    compiler_cache: str = "auto",
    llama_cpp: str = "",
) -> Artifact:
    """A proved artifact for the recipe on this machine, or on the ``target``: the kept one, else a
    new one. ``toolchain`` is "auto" (what is missing is brought along), "machine" or a kit;
    ``compiler_cache`` is "auto" (one that is on PATH), "none" or "sccache" (brought along).
    ``llama_cpp`` is a folder, an archive, a tag or a commit to use instead of the pin's own.

    Raises the errors of every step; nothing is kept that was not proved.
    """
    provide.check(toolchain)
    means = provide.Means(asked=toolchain, host=host, cache=cache, emit=emit, offline=offline)
    with store.guarded(cache):
        tree = None
        if llama_cpp:
            tree = trees.take(llama_cpp, pin, host=host, cache=cache, emit=emit, offline=offline)
            pin = tree.pin
        request = replace(_request(recipe, pin, target, means, proof), tree=tree)
        request = replace(request, compiler_cache=provide.compiler_cache(compiler_cache, means))
        return _provision(request, pin, host=host, cache=cache, emit=emit, offline=offline)


def _request(
    recipe: Recipe, pin: Pin, target: Target | None, means: Means, proof: Prove
) -> Request:
    """What is wanted, with the machine that it is wanted on."""
    if target is None:
        hardware, toolchain = provide.look(recipe, means)
        return Request(recipe=recipe, pin=pin, hardware=hardware, toolchain=toolchain, prove=proof)
    found = _look_elsewhere(recipe, target, means)
    if found.doubt:
        means.emit(found.doubt)
    return Request(
        recipe=replace(recipe, flags=(*found.flags, *recipe.flags)),
        pin=pin,
        hardware=found.hardware,
        toolchain=found.toolchain,
        prove=proving.prove_here if proof is prove_in else proof,
        elsewhere=True,
        runner=found.runner,
    )


def _look_elsewhere(recipe: Recipe, target: Target, means: Means) -> elsewhere.Found:
    """Another machine and the tools of this one, with those that had to be brought along."""
    machine = target.machine.machine
    provide.compiler_for(machine.os, machine.arch, means)
    found = elsewhere.look(target, host=means.host, cache=means.cache)
    if better := provide.equip(recipe, found.hardware, found.toolchain, means):
        return elsewhere.look(target, host=better, cache=means.cache)
    return found


def _provision(
    request: Request, pin: Pin, *, host: Host, cache: Path, emit: Emit, offline: bool
) -> Artifact:
    wanted = request.decide(heal.Course())
    key = plan.key(wanted)
    if kept := store.lookup(cache, key, emit):
        return _kept(request, kept, host=host, cache=cache, emit=emit)
    with store.locked(cache, key, emit):
        if kept := store.lookup(cache, key, emit):
            return _kept(request, kept, host=host, cache=cache, emit=emit)
        _say(wanted, host, emit)
        _say_how_long(wanted, cache, emit)
        source = fetch.fetch(pin, cache=cache, host=host, emit=emit, offline=offline)
        trees.check(request.tree, wanted, host=host, cache=cache, emit=emit, offline=offline)
        return attempts.make(request, key, source, host=host, cache=cache, emit=emit)


def _kept(request: Request, kept: Artifact, *, host: Host, cache: Path, emit: Emit) -> Artifact:
    """What is kept, proved on this host when it is to be used on it."""
    if not request.elsewhere:
        adopt(kept, host=host, cache=cache, emit=emit)
    return kept


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


def _say_how_long(wanted: Plan, cache: Path, emit: Emit) -> None:
    kept = (one.manifest for one in store.artifacts(cache))
    if takes := estimate.seconds(wanted, kept):
        emit(Noticed(message=f"Builds like this one have taken {estimate.minutes(takes)} here."))


def reprove(artifact: Artifact, *, host: Host, cache: Path, emit: Emit) -> Proof:
    """Prove a kept artifact on this host, and keep the verdict. Raises ProofFailed."""

    def prove() -> Proof:
        return _proved_again(artifact, host=host, cache=cache, emit=emit)

    return adoption.proved(cache, artifact.key, host=host, prove=prove)


def adopt(artifact: Artifact, *, host: Host, cache: Path, emit: Emit) -> None:
    """Return when a kept artifact is proved on this host: see :mod:`llamabuild.adoption`."""

    def prove() -> Proof:
        return _proved_again(artifact, host=host, cache=cache, emit=emit)

    def here() -> bool:
        return proving.visible(artifact.manifest.plan, host)

    adoption.adopt(cache, artifact, host=host, emit=emit, prove=prove, here=here)


def _proved_again(artifact: Artifact, *, host: Host, cache: Path, emit: Emit) -> Proof:
    with store.guarded(cache), store.workdir(cache) as work:
        needed = wheels.requirements_of(artifact.wheel)
        proving.environment(work, needed, host=host, cache=cache)
        return proving.prove_here(_again(artifact), work, host, emit)


def install(artifact: Artifact, folder: Path, *, host: Host, cache: Path, emit: Emit) -> Proof:
    """Install the artifact's wheel into a virtual environment and prove it there."""
    python = wheels.interpreter_of(folder, host)
    wheels.install(artifact.wheel, python, host)
    emit(Noticed(message=f"Installed {artifact.wheel.name} into {folder}"))
    with store.guarded(cache), store.workdir(cache) as work:
        built = _again(artifact)
        gpu = proving.visible(built.plan, host)
        return proving.proved_with(built, python, work, host, emit, gpu=gpu)


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
