"""Everything there is to say about a llama.cpp that was not made here: what it is, what it is made
of, what holds and what does not, where it ran, and how fast it is beside our own.

The files are executed, in children with limits of time and memory; nothing is written beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llamabuild import binaries, generations, inspection, probe, prove, store
from llamabuild.binaries import Found
from llamabuild.errors import ConfigError, ProofFailed
from llamabuild.events import Emit, Noticed, silent
from llamabuild.host import Host
from llamabuild.inspection import Made, Part, Told
from llamabuild.model import Compiler, Device, Hardware
from llamabuild.prove import crash, foreign, inference, pace
from llamabuild.prove.findings import Examination, Finding, Unasked
from llamabuild.prove.foreign import Subject
from llamabuild.prove.inference import Runner

_SECONDS = 60.0
"""Of one child: a good one needs a few."""
_NOT_DEVICES = ("CPU", "BLAS", "RPC", "AMX", "Accelerate")
_FAST = ("discrete", "integrated", "")
"""Kinds of devices on which models run fast; other back-ends than the CPU's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Tokens per second (a prompt, then one by one) of it and of our artifact ``key``; ``why`` says
    why there are none, or what is to be known about them."""

    key: str = ""
    threads: int = 0
    its: tuple[float, float] = (0.0, 0.0)
    ours: tuple[float, float] = (0.0, 0.0)
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What :func:`examine` found. ``doubts`` are worth knowing and no failures; ``devices`` are
    those that ggml lists, ``buffers`` those that held the weights."""

    path: Path
    kind: str
    label: str
    version: str
    parts: tuple[Part, ...]
    missing: tuple[str, ...]
    doubts: tuple[str, ...]
    held: int
    asked: int
    largest: float
    failures: tuple[Finding, ...]
    unknown: tuple[Finding, ...]
    unasked: tuple[Unasked, ...]
    devices: tuple[str, ...]
    buffers: tuple[str, ...]
    loaded: tuple[str, ...]
    beside: Beside

    @property
    def failure(self) -> ProofFailed | None:
        """The first failure as an error, or None when everything that was asked holds."""
        if not self.failures:
            return None
        first = self.failures[0]
        return ProofFailed(
            f"{len(self.failures)} of {self.asked} do not hold; {first.case}: {first.why}",
            first.hint,
            kind=first.kind,
            check=first.case,
            crash=first.crash,
        )


def examine(path: Path, *, host: Host, cache: Path, emit: Emit) -> Examined:
    """Examine what is at ``path``. Raises ConfigError, IntegrityError, FetchError and ToolMissing
    as :func:`binaries.find` does, but nothing for what the subject does when it is run."""
    with store.guarded(cache), store.workdir(cache) as work:
        found = binaries.find(path, host=host, work=work, house=cache / "requirements")
        emit(Noticed(message=f"{path}: its code is run here, in processes with limits."))
        hardware, toolchain = probe.probe(host, cache=cache)
        made = inspection.look(found, hardware.cpu.features, host)
        busy = pace.busy(host)
        runner = runner_for(hardware, toolchain.compilers[:1], work / "proof", host)
        runner = replace(runner, threads=1) if busy and not made.openmp else runner
        subject = subject_of(found)
        result = foreign.examine(subject, runner, emit)
        beside = _beside(subject, result, runner, cache, busy=busy)
        unused = tuple(idle(result, hardware.devices))
        return _examined(found, inspection.ask(found, host), made, result, beside, unused)


def subject_of(found: Found) -> Subject:
    """What was found, as the subject of a proof."""
    return Subject(
        name=found.label or found.path.name,
        python=found.python,
        library=found.library,
        server=found.server,
    )


def _examined(
    found: Found,
    told: Told,
    made: Made,
    result: Examination,
    beside: Beside,
    unused: tuple[str, ...],
) -> Examined:
    return Examined(
        path=found.path,
        kind=found.kind,
        label=found.label,
        version=told.version,
        parts=made.parts,
        missing=made.missing,
        doubts=(*made.doubts, *unused),
        held=result.held,
        asked=len(result.findings) - len(result.unknown),
        largest=max((one.error for one in result.findings), default=0.0),
        failures=result.failures,
        unknown=result.unknown,
        unasked=result.unasked,
        devices=result.evidence.devices if result.evidence else (),
        buffers=result.evidence.buffers if result.evidence else (),
        loaded=told.loaded,
        beside=beside,
    )


def runner_for(
    hardware: Hardware, compilers: Sequence[Compiler], scratch: Path, host: Host
) -> Runner:
    """What children are run with: with the crash reporter where a compiler can make it."""
    scratch.mkdir()
    made = (crash.preload(one, host=host, scratch=scratch) for one in compilers)
    return Runner(
        host=host,
        scratch=scratch,
        threads=max(2, min(prove.THREADS_AT_MOST, hardware.cores)),
        preload=next(made, None),
        memory=0 if _fast(hardware.devices) else inference.MEMORY,
        seconds=_SECONDS,
    )


# --- where it ran, and how fast ------------------------------------------------------------------


def idle(result: Examination, devices: Sequence[Device]) -> Iterator[str]:
    """Devices of this machine that it does not use."""
    seen = result.evidence
    if seen is None:
        return
    its = [one for one in seen.devices if not one.startswith(_NOT_DEVICES)]
    used = [one for one in seen.buffers if not one.startswith(_NOT_DEVICES)]
    here = _fast(devices)
    if its and not used:
        yield f"silent-cpu: it lists {', '.join(its)}, and computed on the CPU"
    elif here and not its:
        yield (
            f"silent-cpu: this machine has {', '.join(here)}; this build does not use it. "
            "`llamabuild setup` makes one that does."
        )


def _fast(devices: Sequence[Device]) -> tuple[str, ...]:
    """The names of the devices that are worth using."""
    worth = (one.name for one in devices if one.kind in _FAST and one.backend != "cpu")
    return tuple(dict.fromkeys(worth))


def _beside(
    subject: Subject, result: Examination, runner: Runner, cache: Path, *, busy: bool
) -> Beside:
    """How fast it is, taking turns with the artifact that is current: with one thread where
    others use the machine, since threads that wait for each other measure the others."""
    if not (subject.python or subject.library):
        return Beside(why="only libraries and Python packages are measured")
    if not result.held:
        return Beside(why="nothing that it computes holds")
    quick = replace(runner, threads=1) if busy else runner
    try:
        current = generations.current(cache, runner.host)
        artifact = generations.artifact(cache, current, silent)
        ours = Subject(name="ours", library=binaries.library_in(artifact.path, runner.host))
        rates = pace.rates((replace(subject, server=None), ours), quick)
    except (ConfigError, ProofFailed) as error:
        return Beside(why=f"not measured: {error.message}. {error.hint}".strip())
    return Beside(
        key=artifact.key,
        threads=quick.threads,
        its=rates[0],
        ours=rates[1],
        why="one thread each: this machine is busy with something else" if busy else "",
    )
