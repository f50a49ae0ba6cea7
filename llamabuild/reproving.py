"""What is kept, proved once more: on a host that has not seen it, on demand, in an environment."""

from __future__ import annotations

from pathlib import Path

from llamabuild import adoption, store
from llamabuild.events import Emit, Noticed
from llamabuild.host import Host
from llamabuild.model import Artifact, Build, Proof
from llamabuild.request import Prove


def reprove(artifact: Artifact, *, host: Host, cache: Path, emit: Emit) -> Proof:
    """Prove a kept artifact on this host, and keep the verdict. Raises ProofFailed."""

    def prove() -> Proof:
        return _proved_again(artifact, host=host, cache=cache, emit=emit)

    return adoption.proved(cache, artifact.id, host=host, prove=prove)


def adopt(
    artifact: Artifact, *, host: Host, cache: Path, emit: Emit, proof: Prove | None = None
) -> None:
    """Return when a kept artifact is proved on this host: see :mod:`llamabuild.adoption`. ``proof``
    is as in :class:`~llamabuild.request.Request`."""

    def prove() -> Proof:
        return _proved_again(artifact, host=host, cache=cache, emit=emit, proof=proof)

    def here() -> bool:
        from llamabuild import proving

        return proving.visible(artifact.manifest.plan, host)

    adoption.adopt(cache, artifact, host=host, emit=emit, prove=prove, here=here)


def _proved_again(
    artifact: Artifact, *, host: Host, cache: Path, emit: Emit, proof: Prove | None = None
) -> Proof:
    from llamabuild import proving, wheels

    with store.guarded(cache), store.workdir(cache) as work:
        if proof:
            return proof(_again(artifact), work, host, emit)
        needed = wheels.requirements_of(artifact.wheel)
        proving.environment(work, needed, host=host, cache=cache)
        return proving.prove_here(_again(artifact), work, host, emit)


def install(artifact: Artifact, folder: Path, *, host: Host, cache: Path, emit: Emit) -> Proof:
    """Install the artifact's wheel into a virtual environment and prove it there."""
    from llamabuild import proving, wheels

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
