"""The workshop: one real build of the pinned source, and from it one broken build after another.

It goes the way that ``llamabuild setup`` goes (probe, plan, fetch, build, wheel, environment); only
the incremental step in the middle, Ninja in a build folder that exists, is its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from llamabuild import (
    backends,
    build,
    cmake,
    digest,
    fetch,
    pins,
    plan,
    probe,
    proving,
    recipes,
    wheels,
)
from llamabuild.errors import BuildFailed, ConfigError
from llamabuild.events import silent
from llamabuild.host import Limits, LocalHost
from llamabuild.model import Build, Plan, Source, SourceOption
from llamabuild.prove import crash
from llamabuild.toolchains import tools
from llamabuild.toolchains.launcher import Launcher
from tests.mutants import table
from tests.mutants.files import FILES, FINISHED
from tests.mutants.surroundings import SURROUNDINGS, Subject, Surroundings
from tests.mutants.table import Edit, Mutant

RECIPE = "cpu-native"
"""The CPU's own kernels: with a BLAS library many of them would not be run."""
_HOST = LocalHost()
_LIMITS = Limits(seconds=1800)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """A good build with everything that is needed to change it: ``pristine`` is the source as it
    was fetched, ``source`` the copy that was built in ``root``."""

    root: Path
    cache: Path
    pristine: Source
    source: Source
    built: Build
    python: Path
    preload: Path | None


def open_workshop(root: Path, cache: Path) -> Workshop:
    """Build the pinned source in ``root``, or take what an earlier call made there."""
    pin = pins.default_pin()
    hardware, toolchain = probe.probe(_HOST, cache=cache)
    recipe = recipes.load(RECIPE, tuple(backends.BACKENDS))
    decided = plan.plan(recipe, pin, hardware, toolchain)
    pristine = fetch.fetch(pin, cache=cache, host=_HOST, emit=silent)
    place = root / plan.key(decided)
    source = Source(pin=pin, root=place / "source")
    if not (place / "built").exists():
        _build(decided, pristine, source, place, cache)
    made = _made(decided, place)
    python = wheels.interpreter_of(place / "venv", _HOST)
    preload = crash.preload(decided.compiler, host=_HOST, scratch=place)
    shop = Workshop(
        root=place,
        cache=cache,
        pristine=pristine,
        source=source,
        built=made,
        python=python,
        preload=preload,
    )
    for file in {edit.file for mutant in table.load() for edit in mutant.edits}:
        restore(shop, file)
    return shop


def _build(decided: Plan, pristine: Source, source: Source, place: Path, cache: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.copytree(pristine.root, source.root, symlinks=True)
    proving.environment(place, wheels.requirements(source), host=_HOST, cache=cache)
    launcher = Launcher(path=getattr(tools.ccache(_HOST, cache), "path", ""))
    made = build.build(
        decided, source, into=place, begun=place, host=_HOST, emit=silent, launcher=launcher
    )
    wheels.install(made.wheel, wheels.interpreter_of(place / "venv", _HOST), _HOST)
    (place / "built").touch()


def _made(decided: Plan, place: Path) -> Build:
    prefix = place / "prefix"
    wheel = next((prefix / "wheel").glob("*.whl"))
    log = place / "build.log"
    return Build(plan=decided, prefix=prefix, wheel=wheel, log=log, seconds=0.0, effective={})


def subject(shop: Workshop, name: str, host: Surroundings) -> Subject:
    """The good build in a folder of its own, as if it had just been installed there."""
    folder = shop.root / "subjects" / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(shop.built.prefix, folder / "prefix")
    venv = shop.root / "venv"
    shutil.copytree(venv, folder / "venv", symlinks=True)
    python = folder / "venv" / shop.python.relative_to(venv)
    made = replace(_made(shop.built.plan, folder), log=shop.built.log)
    return Subject(build=made, python=python, host=host, folder=folder, cache=shop.cache)


def mutate(shop: Workshop, mutant: Mutant) -> Subject:
    """What a mutant comes to, ready to be proved.

    Raises ConfigError for one that changes nothing, BuildFailed for one that does not compile.
    """
    host = Surroundings(seconds=mutant.seconds)
    broken = subject(shop, mutant.name, host)
    prefix = broken.build.prefix
    if mutant.edits:
        _recompile(shop, mutant, prefix)
    if mutant.files in FILES:
        FILES[mutant.files](prefix, mutant.argument)
    if mutant.edits or mutant.files in FILES:
        broken = _repack(shop, broken)
    if mutant.files in FINISHED:
        FINISHED[mutant.files](prefix, mutant.argument)
    if mutant.surroundings:
        broken = SURROUNDINGS[mutant.surroundings](broken, mutant.argument)
    return broken


def _recompile(shop: Workshop, mutant: Mutant, prefix: Path) -> None:
    """Change the source, compile, take the libraries that came out different, change it back."""
    files = list(dict.fromkeys(edit.file for edit in mutant.edits))
    try:
        for edit in mutant.edits:
            _edit(shop, edit)
        _configure(shop, files[0], mutant.options)
        _ninja(shop)
        changed = _changed(shop)
    finally:
        for file in files:
            restore(shop, file)
        _configure(shop, files[0], ())
    if not changed:
        raise ConfigError(f"{mutant.name} changes no machine code")
    for path in changed:
        shutil.copy2(path, prefix / "lib" / path.name)


def _edit(shop: Workshop, edit: Edit) -> None:
    path = shop.source.tree / edit.file
    path.write_text(table.applied(path.read_text(), edit))


def restore(shop: Workshop, file: str) -> None:
    """Give a file of the tree its own text back; an unchanged one keeps its time."""
    path, good = shop.source.tree / file, (shop.pristine.tree / file).read_bytes()
    if path.read_bytes() != good:
        path.write_bytes(good)


def _configure(shop: Workshop, file: str, options: Iterable[str]) -> None:
    """Compiler options for one file, in the way that a plan gives them; Ninja runs CMake again
    when the injected text has changed."""
    wanted = shop.built.plan.source_options
    if words := tuple(options):
        wanted += (SourceOption(source=file, options=words, why="a mutant"),)
    injected = shop.root / "build" / "llamabuild.cmake"
    text = cmake.injected(wanted, shop.built.plan.left_out)
    if injected.read_text() != text:
        injected.write_text(text)


def _libraries(shop: Workshop) -> dict[str, Path]:
    """The library targets that were built, by name."""
    found = cmake.targets(shop.root / "build").values()
    made = {one.name: one.files[0] for one in found if one.kind == "SHARED_LIBRARY"}
    return {name: path for name, path in made.items() if path.exists()}


def _ninja(shop: Workshop) -> None:
    decided = shop.built.plan
    ninja = next(tool.path for tool in decided.tools if tool.name == "ninja")
    argv = [ninja, "-C", str(shop.root / "build"), *_libraries(shop)]
    env = cmake.environment(_HOST.environ, decided.tools)
    ended = _HOST.run(argv, limits=_LIMITS, env=env)
    if ended.code != 0:
        tail = "\n".join(build.telling(ended.out.splitlines()))
        raise BuildFailed("a mutant does not compile", tail, step="compile", tail=tail)


def _changed(shop: Workshop) -> tuple[Path, ...]:
    good = shop.built.prefix / "lib"
    built = _libraries(shop).values()
    return tuple(p for p in built if digest.of_file(p) != digest.of_file(good / p.name))


def _repack(shop: Workshop, broken: Subject) -> Subject:
    """A new wheel around the libraries of the prefix, installed in its environment."""
    prefix = broken.build.prefix
    shutil.rmtree(prefix / "wheel")
    wheel = wheels.pack(
        broken.build.plan,
        shop.source,
        prefix=prefix,
        scratch=broken.folder / "wheel",
        log=broken.folder / "wheel.log",
        host=_HOST,
        label="mutant",
    )
    wheels.install(wheel, broken.python, _HOST)
    return replace(broken, build=replace(broken.build, wheel=wheel))
