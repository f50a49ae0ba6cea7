"""A short look at a llama.cpp that is not ours, kept until its files change."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from llamabuild import adoption, digest, facts, store
from llamabuild.checks.findings import Situation
from llamabuild.errors import LlamabuildError
from llamabuild.events import silent
from llamabuild.host import Host, Limits

if TYPE_CHECKING:
    from llamabuild.binaries import Found
    from llamabuild.inspection import Made, Told
    from llamabuild.prove.findings import Examination

_FORMAT: Final = 1
_SECONDS: Final = 20.0
"""Of one child: a good one needs one or two."""
_VERSION: Final = re.compile(r"version: ([^\n]+)")
_CPU_CODE: Final = re.compile(r"libggml-cpu.*|ggml-cpu.*\.dll")


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a short look found.

    ``failures`` are kind, reason and hint of what does not hold, ``held`` how many answers do;
    ``features`` are the CPU features that its code uses and ``lacking`` those of them that this
    CPU has not (``features_known`` False: they were not to be read); ``idle`` says which devices
    of this machine it does not use. ``ours`` is True for what an artifact of the cache is made of,
    and ``refused`` says why no number could be asked for.
    """

    label: str = ""
    version: str = ""
    features: tuple[str, ...] = ()
    features_known: bool = False
    lacking: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    failures: tuple[tuple[str, str, str], ...] = ()
    held: int = 0
    idle: tuple[str, ...] = ()
    ours: bool = False
    refused: str = ""


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen, and the stamps of the files that it was seen in."""

    stamps: dict[str, str]
    seen: Seen


def at(path: Path, folder: Path, situation: Situation) -> Seen:
    """What is known of the llama.cpp at ``path``, whose files are in ``folder``; it is looked at,
    and run, where nothing is. Raises nothing for what it does."""
    host = situation.host
    devices = sorted(one.name for one in situation.hardware.devices)
    name = digest.of_value([_FORMAT, str(path), adoption.identity(host), devices])[:24]
    file = situation.cache / "facts" / f"glance-{name}.json"
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_Kept)
        if all(host.stamp(one) == stamp for one, stamp in kept.stamps.items()):
            return kept.seen
    except (OSError, msgspec.DecodeError):
        pass
    seen, files = _looked(path, situation)
    stamped = (path, folder, folder / "lib", *files)
    stamps = {str(one): stamp for one in stamped if (stamp := host.stamp(str(one)))}
    facts.keep(file, msgspec.json.encode(_Kept(stamps=stamps, seen=seen)))
    return seen


def _looked(path: Path, situation: Situation) -> tuple[Seen, tuple[Path, ...]]:
    """Look at its files and run it once."""
    from llamabuild import binaries, examination, inspection
    from llamabuild.prove import foreign

    host, hardware = situation.host, situation.hardware
    try:
        with store.guarded(situation.cache), store.workdir(situation.cache) as work:
            found = binaries.find(
                path, host=host, work=work, house=situation.cache / "requirements"
            )
            if _ours(found, situation):
                return Seen(ours=True, label=found.label), found.files
            made = inspection.look(found, hardware.cpu.features, host)
            compilers = situation.toolchain.compilers[:1]
            runner = examination.runner_for(hardware, compilers, work / "proof", host)
            runner = replace(runner, seconds=_SECONDS)
            result = foreign.glance(examination.subject_of(found), runner)
            seen = _seen(found, made, inspection.ask(found, host), result)
            unused = tuple(examination.idle(result, hardware.devices))
            return msgspec.structs.replace(seen, idle=unused), found.files
    except (LlamabuildError, OSError) as error:
        return _started(path, str(error), situation.host), ()


def _started(path: Path, refused: str, host: Host) -> Seen:
    """Of a program that gives no numbers, whether it starts at all."""
    if not path.name.startswith("llama-"):
        return Seen(refused=refused)
    ended = host.run([str(path), "--version"], limits=Limits(seconds=_SECONDS))
    said = f"{ended.out}\n{ended.err}".strip()
    version = _VERSION.search(said)
    if ended.signal or ended.code in (126, 127):
        last = said.splitlines()[-1] if said else "it does not start"
        kind = {"SIGILL": "illegal-instruction", "SIGSEGV": "segfault"}.get(ended.signal, "load")
        return Seen(
            failures=((kind, f"{ended.signal} at its start" if ended.signal else last, ""),)
        )
    return Seen(version=version[1].strip() if version else "", refused=refused)


def _seen(found: Found, made: Made, told: Told, result: Examination) -> Seen:
    code = [one for one in made.parts if one.features and _computes(one.path, told.loaded)]
    lacking = {name for one in code if not one.asks for name in one.lacking}
    return Seen(
        label=found.label,
        version=told.version,
        features=tuple(sorted({name for one in code for name in one.features})),
        features_known=bool(code),
        lacking=tuple(sorted(lacking)),
        missing=made.missing,
        failures=tuple((one.kind, one.why, one.hint) for one in result.failures),
        held=result.held,
    )


def _computes(path: str, loaded: Sequence[str]) -> bool:
    """True for a file whose code is run here: of several variants the one that was chosen."""
    return not loaded or os.path.basename(path) in loaded or not _CPU_CODE.fullmatch(path)


def _ours(found: Found, situation: Situation) -> bool:
    """True when its library is one of an artifact's, byte by byte."""
    library = found.library or found.server
    sha256 = situation.host.digest(str(library)) if library else None
    kept = store.artifacts(situation.cache, silent)
    return any(sha256 == file.sha256 for one in kept for file in one.manifest.files.values())
