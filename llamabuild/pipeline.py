"""The sentence: look, decide, fetch, build, prove, keep. And heal on the way.

What building and proving takes is imported where they begin: most runs find what they want, and
must not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llamabuild import cmake, heal, plan, provide, reproving, reuse, store
from llamabuild.backends import cpu, cpu_features
from llamabuild.elsewhere import Target
from llamabuild.errors import ProofFailed, UnsupportedHardware
from llamabuild.events import Emit, Healed, Noticed, Warned
from llamabuild.host import Host
from llamabuild.model import Artifact, Hardware, Pin, Plan, Recipe
from llamabuild.provide import Means
from llamabuild.remedies import ALL, Permitted
from llamabuild.request import Prove, Request, requested
from llamabuild.reuse import Policy, Want

if TYPE_CHECKING:
    from llamabuild.trees import Tree

_ALONE = Policy()


def provision(
    recipe: Recipe,
    pin: Pin,
    *,
    host: Host,
    cache: Path,
    emit: Emit,
    offline: bool = False,
    proof: Prove | None = None,
    target: Target | None = None,
    toolchain: str = "auto",
    compiler_cache: str = "auto",
    llama_cpp: str = "",
    policy: Policy = _ALONE,
    permitted: Permitted = ALL,
    agreed: Callable[[Plan], None] | None = None,
) -> Artifact:
    """A proved artifact for the recipe on this machine, or on the ``target``: one that is there, as
    the ``policy`` says, else a new one. ``toolchain`` is "auto" (what is missing is brought along),
    "machine" or a kit; ``compiler_cache`` is "auto" (one that is on PATH), "none" or "sccache"
    (brought along). ``llama_cpp`` is a folder, an archive, a tag or a commit to use instead of the
    pin's own. ``permitted`` are the remedies that may be tried. ``agreed`` is shown the plan
    before anything is looked for or made, and may refuse it.

    Raises the errors of every step; nothing is kept that was not proved.
    """
    provide.check(toolchain)
    reuse.check(policy.reuse)
    means = provide.Means(asked=toolchain, host=host, cache=cache, emit=emit, offline=offline)
    with store.guarded(cache):
        at_once = policy.stores and not target and not llama_cpp and not agreed
        if at_once and (kept := _without_tools(recipe, pin, policy, means)):
            return kept
        tree = _tree(llama_cpp, pin, means)
        pin = tree.pin if tree else pin
        request = requested(recipe, pin, target, means, proof)
        request = replace(request, tree=tree, permitted=permitted)
        request = replace(request, compiler_cache=provide.compiler_cache(compiler_cache, means))
        hardware = None if request.elsewhere else request.hardware
        want = _want(request.decide(heal.Course()), hardware, means)
        if agreed:
            agreed(want.plan)
        return _provision(request, want, policy, pin, offline=offline)


def check_level(recipe: Recipe, host: Host) -> None:
    """Raise UnsupportedHardware when what a recipe makes is for a level that this machine lacks: it
    can be built here, and not be used."""
    arch = host.system()[2]
    if cpu.level(recipe.cpu, arch) is None:
        return
    if beyond := cpu.lacking(recipe.cpu, arch, cpu_features.detect_features(host, arch)):
        raise UnsupportedHardware(
            f"this processor has no {', '.join(beyond)}: {recipe.cpu} is for others",
            f"`llamabuild build {recipe.name}` makes it for them; `llamabuild setup` makes what "
            "is for this machine.",
        )


def _without_tools(recipe: Recipe, pin: Pin, policy: Policy, means: Means) -> Artifact | None:
    """On a machine without a compiler: what a store has that does as well as a build, before a
    compiler is brought along."""
    from llamabuild import probe
    from llamabuild.toolchains import compilers

    if means.asked == "zig" or any(compilers.candidates(means.host)):
        return None
    hardware, toolchain = probe.probe(means.host, cache=means.cache, asked=means.asked)
    nominal = compilers.nominal(hardware.arch, cpu.all_compiler_options(hardware.arch))
    wanted = plan.plan(recipe, pin, hardware, replace(toolchain, compilers=(nominal,)))
    return _kept(_want(wanted, hardware, means), policy, None)


def _want(wanted: Plan, hardware: Hardware | None, means: Means) -> Want:
    return Want(
        plan=wanted,
        key=plan.key(wanted),
        hardware=hardware,
        host=means.host,
        cache=means.cache,
        emit=means.emit,
    )


def _tree(llama_cpp: str, pin: Pin, means: Means) -> Tree | None:
    """The llama.cpp that was named, if any was."""
    if not llama_cpp:
        return None
    from llamabuild import trees

    return trees.take(
        llama_cpp,
        pin,
        host=means.host,
        cache=means.cache,
        emit=means.emit,
        offline=means.offline,
    )


def _provision(
    request: Request, want: Want, policy: Policy, pin: Pin, *, offline: bool
) -> Artifact:
    first = Policy(reuse="never" if policy.reuse == "never" else "exact")
    if kept := _kept(want, first, request.prove):
        return kept
    with store.locked(want.cache, want.key, want.emit):
        if kept := _kept(want, policy, request.prove):
            return kept
        return _made(request, want, first, pin, offline=offline)


def _made(request: Request, want: Want, first: Policy, pin: Pin, *, offline: bool) -> Artifact:
    """Fetch, build, prove, keep. What a remedy leads to may be there already: ``first`` says."""
    from llamabuild import attempts, checks, fetch, trees

    host, cache, emit = want.host, want.cache, want.emit
    checks.before_build(
        checks.Situation(
            hardware=request.hardware, toolchain=request.toolchain, host=host, cache=cache, pin=pin
        ),
        want.plan.backends,
        emit,
    )
    _say(want.plan, host, emit)
    _say_how_long(want.plan, cache, emit)
    source = fetch.fetch(pin, cache=cache, host=host, emit=emit, offline=offline)
    trees.check(request.tree, want.plan, host=host, cache=cache, emit=emit, offline=offline)
    return attempts.make(
        request,
        want.key,
        source,
        kept=lambda decided: _kept(
            replace(want, plan=decided, key=plan.key(decided)), first, request.prove
        ),
        host=host,
        cache=cache,
        emit=emit,
    )


def _kept(want: Want, policy: Policy, proof: Prove | None) -> Artifact | None:
    """The best of what is there, proved on this host when it is to be used on it. What does not
    work here is passed over, and remembered."""
    for offer in reuse.offers(want, policy):
        try:
            if want.hardware:
                reproving.adopt(
                    offer, host=want.host, cache=want.cache, emit=want.emit, proof=proof
                )
            return offer
        except ProofFailed as failure:
            want.emit(Warned(message=f"{offer.key[:12]} is not used: {failure.message}"))
    return None


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
    from llamabuild import estimate

    kept = (one.manifest for one in store.artifacts(cache, emit))
    if takes := estimate.seconds(wanted, kept):
        emit(Noticed(message=f"Builds like this one have taken {estimate.minutes(takes)} here."))
