"""The sentence: look, decide, fetch, build, prove, keep. And heal on the way."""

from __future__ import annotations

import datetime as dt
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import llamabuild
from llamabuild import build, cmake, fetch, heal, plan, probe, prove, store, wheels
from llamabuild.errors import BuildFailed, ProofFailed
from llamabuild.events import Emit, Healed, Noticed, StepEnded, StepFailed, StepStarted, Warned
from llamabuild.host import Host
from llamabuild.model import (
    Artifact,
    Build,
    Hardware,
    Manifest,
    Pin,
    Plan,
    Proof,
    Recipe,
    Source,
    Toolchain,
    Trial,
)
from llamabuild.prove import crash
from llamabuild.toolchains import tools

_LOGS_KEPT = 20


def prove_in(built: Build, work: Path, host: Host, emit: Emit) -> Proof:
    """Install the wheel in the clean virtual environment ``work/venv`` and prove it there."""
    python = wheels.interpreter_of(work / "venv", host)
    wheels.install(built.wheel, python, host)
    return _proved_with(built, python, work, host, emit)


def _proved_with(built: Build, python: Path, work: Path, host: Host, emit: Emit) -> Proof:
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
        gpu=len(built.plan.backends) > 1,
        preload=crash.preload(built.plan.compiler, host=host, scratch=scratch),
    )
    emit(StepEnded(name="prove", seconds=time.monotonic() - started, detail=proof.device))
    return proof


Prove = Callable[[Build, Path, Host, Emit], Proof]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is wanted, and the machine it is wanted on."""

    recipe: Recipe
    pin: Pin
    hardware: Hardware
    toolchain: Toolchain
    prove: Prove = field(default=prove_in)

    def decide(self, course: heal.Course) -> Plan:
        """The plan on a course of healing."""
        return plan.plan(
            self.recipe,
            self.pin,
            self.hardware,
            self.toolchain,
            without=course.without,
            compiler=course.compiler,
            healed=course.remedies,
        )


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
        return make(request, key, source, host=host, cache=cache, emit=emit)


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
    for absence in wanted.absent:
        emit(Noticed(message=f"{absence.what} is not used: {absence.why}"))


def make(
    request: Request, key: str, source: Source, *, host: Host, cache: Path, emit: Emit
) -> Artifact:
    """Attempts until one passes (and, while searching, until the best is known).

    Raises the failure of the last attempt when no remedy is left.
    """
    course = heal.Course()
    best: Artifact | None = None
    trials = _spared(request.decide(course))
    while True:
        decided = request.decide(course)
        try:
            best = store.adopt(cache, plan.key(decided), emit, requested=key) or _attempt(
                request, course, decided, trials, key, source, host=host, cache=cache, emit=emit
            )
            trials = best.manifest.trials
            then = heal.after_success(course)
        except (BuildFailed, ProofFailed) as failure:
            trials += (_trial(decided, failure.message),)
            then = heal.after_failure(course, failure, decided, request.toolchain)
            if then is None and best is None:
                raise
            emit(StepFailed(name="attempt", seconds=0, why=failure.message))
        if then is None:
            assert best is not None
            return best
        course = then
        emit(Healed(remedy=course.remedies[-1].name, why=course.remedies[-1].why))


def _spared(decided: Plan) -> tuple[Trial, ...]:
    """Attempts that were not made because a canary had already shown how they end."""
    return tuple(
        Trial(
            fingerprint=decided.fingerprint,
            outcome=f"without the remedy {remedy.name}: not built, {remedy.evidence}",
        )
        for remedy in decided.remedies
        if remedy.evidence
    )


def _trial(decided: Plan, outcome: str, proof: Proof | None = None) -> Trial:
    speed = proof.speed if proof else ()
    return Trial(fingerprint=decided.fingerprint, outcome=outcome, speed=speed)


def _attempt(
    request: Request,
    course: heal.Course,
    decided: Plan,
    trials: tuple[Trial, ...],
    key: str,
    source: Source,
    *,
    host: Host,
    cache: Path,
    emit: Emit,
) -> Artifact:
    """Build, prove, keep: once."""
    started = time.monotonic()
    with store.guarded(cache), store.workdir(cache) as work:
        _environment(work, wheels.requirements(source), host=host, cache=cache)
        try:
            built = build.build(
                decided,
                source,
                into=work,
                host=host,
                emit=emit,
                launcher=_launcher(course, host, cache),
                at_most=course.jobs,
            )
            proof = request.prove(built, work, host, emit)
        except (BuildFailed, ProofFailed) as failure:
            raise _with_log(failure, work / "build.log", cache) from failure
        manifest = Manifest(
            version=store.MANIFEST_VERSION,
            key=plan.key(decided),
            llamabuild=llamabuild.__version__,
            plan=decided,
            effective=built.effective,
            proof=proof,
            trials=(*trials, _trial(decided, "passed", proof)),
            files=store.hashes(built.prefix),
            seconds=time.monotonic() - started,
            created=dt.datetime.now(tz=dt.timezone.utc).isoformat(timespec="seconds"),
        )
        return store.publish(cache, built.prefix, manifest, requested=key)


def _environment(work: Path, needed: tuple[str, ...], *, host: Host, cache: Path) -> None:
    """Made before the long compile: what cannot be had should be said at once."""
    wheels.environment(work / "venv", needed, house=cache / "requirements", host=host)


def _launcher(course: heal.Course, host: Host, cache: Path) -> str:
    found = tools.ccache(host, cache) if course.launcher else None
    return getattr(found, "path", "")


def _with_log(
    failure: BuildFailed | ProofFailed, log: Path, cache: Path
) -> BuildFailed | ProofFailed:
    """Keep the log of a failed attempt where the user can read it, the last few only."""
    if not log.is_file():
        return failure
    logs = cache / "logs"
    logs.mkdir(exist_ok=True)
    kept = logs / f"{log.parent.name}.log"
    shutil.copy(log, kept)
    for old in sorted(logs.glob("*.log"), key=lambda path: path.stat().st_mtime)[:-_LOGS_KEPT]:
        old.unlink(missing_ok=True)
    if isinstance(failure, BuildFailed):
        hint = failure.hint.replace(str(log), str(kept))
        return BuildFailed(
            failure.message, hint, step=failure.step, log=str(kept), tail=failure.tail
        )
    return failure


def reprove(artifact: Artifact, *, host: Host, cache: Path, emit: Emit) -> Proof:
    """Prove a kept artifact again, as it stands. Raises ProofFailed."""
    with store.guarded(cache), store.workdir(cache) as work:
        _environment(work, (), host=host, cache=cache)
        return prove_in(_again(artifact), work, host, emit)


def install(artifact: Artifact, folder: Path, *, host: Host, cache: Path, emit: Emit) -> Proof:
    """Install the artifact's wheel into a virtual environment and prove it there."""
    python = wheels.interpreter_of(folder, host)
    wheels.install(artifact.wheel, python, host)
    emit(Noticed(message=f"Installed {artifact.wheel.name} into {folder}"))
    with store.guarded(cache), store.workdir(cache) as work:
        return _proved_with(_again(artifact), python, work, host, emit)


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
