"""Attempts: build, prove, keep, and after a failure the next remedy, until one passes."""

from __future__ import annotations

import datetime as dt
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import llamabuild
from llamabuild import (
    adoption,
    audit,
    build,
    heal,
    matching,
    plan,
    proving,
    store,
    wheels,
)
from llamabuild.diagnose.explaining import explained
from llamabuild.errors import BuildFailed, ProofFailed
from llamabuild.events import Emit, Healed, StepFailed, Warned
from llamabuild.host import Host
from llamabuild.model import (
    Artifact,
    Build,
    Manifest,
    Plan,
    Proof,
    Source,
    Trial,
)
from llamabuild.request import Prove, Request
from llamabuild.toolchains import launcher
from llamabuild.toolchains.launcher import Launcher

_LOGS_KEPT = 20


def make(
    request: Request,
    key: str,
    source: Source,
    *,
    kept: Callable[[Plan], Artifact | None],
    host: Host,
    cache: Path,
    emit: Emit,
) -> Artifact:
    """Attempts until one passes (and, while searching, until the best is known). ``kept`` is what
    is there already of what a remedy leads to.

    Raises the failure of the last attempt when no remedy is left.
    """
    course = heal.Course()
    best: Artifact | None = None
    trials = _spared(request.decide(course))
    while True:
        decided = request.decide(course)
        try:
            known = kept(decided) if course.remedies else None
            best = (
                store.lead(cache, known, requested=key, healed=course.remedies)
                if known
                else _attempt(
                    request, course, decided, trials, key, source, host=host, cache=cache, emit=emit
                )
            )
            trials = best.manifest.trials
            then = heal.after_success(course)
        except (BuildFailed, ProofFailed) as failure:
            trials += (_trial(decided, failure.message),)
            then = heal.after_failure(
                course, failure, decided, request.toolchain, request.permitted
            )
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
        needed = (*wheels.requirements(source), *(n for t in decided.tools for n in t.requires))
        proving.environment(work, needed, host=host, cache=cache)
        try:
            built = _built(request, course, decided, source, work, host, cache, emit)
            proof = _prove(request)(built, work, host, emit)
        except (BuildFailed, ProofFailed) as failure:
            raise _with_log(failure, work / "build.log", cache) from failure
        held = audit.look(built.prefix, host, instructions=proving.with_kernels)
        manifest = Manifest(
            version=store.MANIFEST_VERSION,
            key=plan.key(decided),
            llamabuild=llamabuild.__version__,
            plan=decided,
            effective=built.effective,
            requires=matching.measured(decided, held),
            proof=proof,
            trials=(*trials, _trial(decided, "passed", proof)),
            files=store.hashes(built.prefix),
            seconds=time.monotonic() - started,
            created=dt.datetime.now(tz=dt.timezone.utc).isoformat(timespec="seconds"),
        )
        if not request.elsewhere:  # before it can be found, or others would prove it again
            adoption.record(cache, store.id_of(manifest), host, adoption.Verdict(proof=proof))
        return store.publish(
            cache,
            built.prefix,
            manifest,
            group=matching.group(decided),
            requested=key,
            healed=course.remedies,
        )


def _built(
    request: Request,
    course: heal.Course,
    decided: Plan,
    source: Source,
    work: Path,
    host: Host,
    cache: Path,
    emit: Emit,
) -> Build:
    """Build; what fails says why. Where the next attempt only goes on, what was compiled stays."""

    def goes_on(error: Exception) -> bool:
        return heal.goes_on(course, error, request.permitted)

    with store.begun(cache, plan.key(decided), goes_on) as begun:
        try:
            return build.build(
                decided,
                source,
                into=work,
                begun=begun,
                host=host,
                emit=emit,
                launcher=_launcher(request, course, decided, host, work, emit),
                at_most=course.jobs,
            )
        except BuildFailed as failure:
            raise explained(failure, work / "build.log", host.system()[0]) from failure


def _prove(request: Request) -> Prove:
    return request.prove or (proving.prove_here if request.elsewhere else proving.prove_in)


def _launcher(
    request: Request, course: heal.Course, decided: Plan, host: Host, work: Path, emit: Emit
) -> Launcher:
    tool = request.compiler_cache if course.launcher else None
    chosen = launcher.tried(tool, decided.compiler, host=host, scratch=work)
    if chosen.doubt:
        emit(Warned(message=chosen.doubt))
    return chosen


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
        failure.hint, failure.log = hint, str(kept)
    return failure
