"""Bring along what a machine lacks for building: pinned kits of tools, unpacked into the cache.

Nothing outside the cache is changed, and nothing needs root. What the machine has itself is used
before anything is fetched.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llamabuild import kits, packages, probe
from llamabuild.backends import BACKENDS
from llamabuild.errors import ConfigError, DiskFull, FetchError, LlamabuildError, ToolMissing
from llamabuild.events import Emit, Noticed, OutputLine, StepEnded, StepStarted, Warned
from llamabuild.host import Host, equipped
from llamabuild.model import Hardware, Kit, Recipe, Tool, Toolchain
from llamabuild.toolchains import NO_COMPILER, compilers, cross, nvidia, sccache, tools, zig

_READY: Final[Mapping[str, Callable[[Kit, Path, Host], None]]] = {
    zig.KIT: zig.ready,
    sccache.KIT: sccache.ready,
    "cuda": nvidia.ready,
}
"""What has to be done to an unpacked kit, by the first word of its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """How kits are come by. ``asked`` is "auto" (what is missing is fetched), "machine" (nothing
    is) or the kit whose compiler is wanted. With ``only_look`` nothing is fetched and what would be
    is told."""

    asked: str
    host: Host
    cache: Path
    emit: Emit
    offline: bool = False
    only_look: bool = False


def check(asked: str) -> None:
    """Raise ConfigError for a toolchain that nobody knows."""
    if asked not in ("auto", "machine", zig.KIT):
        raise ConfigError(
            f"there is no toolchain {asked!r}", f"Toolchains: auto, machine, {zig.KIT}."
        )


def look(recipe: Recipe, means: Means) -> tuple[Hardware, Toolchain]:
    """This machine and its tools, with those that had to be brought along. Raises ToolMissing,
    FetchError, IntegrityError, DiskFull."""
    found = probe.probe(means.host, cache=means.cache, asked=means.asked)
    if better := equip(recipe, *found, means):
        return probe.probe(better, cache=means.cache, asked=means.asked)
    return found


def equip(recipe: Recipe, hardware: Hardware, toolchain: Toolchain, means: Means) -> Host | None:
    """Fetch what is missing to build a recipe with. Returns the host that the machine has to be
    looked at again through, or None when there is nothing new.

    Raises ToolMissing, FetchError, IntegrityError, DiskFull.
    """
    check(means.asked)
    new = _compiler(toolchain, means)
    found = _toolkits(recipe, hardware, means)
    return equipped(means.host, **found) if new or found else None


def compiler_for(system: str, arch: str, means: Means) -> None:
    """Fetch the compiler for another system's programs where one is brought along. Raises
    UnsupportedHardware where nothing for it can be built here; FetchError, IntegrityError and
    DiskFull."""
    cross.check_system(system, arch, means.host)
    kit = _known(means.host).get(f"{zig.KIT}-{system}")
    if kit and means.asked != "machine" and not compilers.explicit(means.host.environ):
        _fetch(kit, means)


def compiler_cache(asked: str, means: Means) -> Tool | None:
    """The compiler cache to build with: "auto" is one that is on PATH, "sccache" is brought along
    where it is not, "none" is none.

    Raises ConfigError for any other word and ToolMissing, FetchError, IntegrityError, DiskFull.
    """
    if asked == "none":
        return None
    if asked not in ("auto", sccache.KIT):
        raise ConfigError(
            f"there is no compiler cache {asked!r}", f"Known: auto, none, {sccache.KIT}."
        )
    names = tools.COMPILER_CACHES if asked == "auto" else (asked,)
    found = tools.ccache(means.host, means.cache, names)
    if isinstance(found, Tool) or asked == "auto":
        return found if isinstance(found, Tool) else None
    kit = _known(means.host).get(sccache.KIT)
    if kit is None:
        raise ToolMissing(
            "sccache is not on PATH, and there is none to bring along here", "Install sccache."
        )
    _fetch(kit, means)
    return Tool(name=sccache.KIT, version=kit.version, path=sccache.program(kit, means.cache))


def install(error: LlamabuildError, means: Means) -> None:
    """Run the command that the hint of an error ends with. It may need root, so this is only done
    for who said so. Raises the error itself where it has none, ToolMissing when it fails."""
    argv = packages.command(error.hint)
    if not argv:
        raise error
    means.emit(StepStarted(name="install", title=f"Running {shlex.join(argv)}"))

    def tell(line: str) -> None:
        means.emit(OutputLine(step="install", line=line))

    started = time.monotonic()
    log = means.cache / "install.log"
    code = means.host.stream(argv, on_line=tell, log=log, env=means.host.environ)
    if code != 0:
        raise ToolMissing(
            f"{shlex.join(argv)} ended with exit code {code}", f"What it said is in {log}"
        )
    means.emit(StepEnded(name="install", seconds=time.monotonic() - started))


def _compiler(toolchain: Toolchain, means: Means) -> bool:
    """Fetch a compiler where there is none that can be used, or where one is asked for. True when
    there is one more now. Raises ToolMissing when no kit is for this machine."""
    usable = any(not compilers.too_old(one) for one in toolchain.compilers)
    wanted = means.asked == zig.KIT or (means.asked == "auto" and not usable)
    if not wanted or toolchain.explicit_compiler:
        return False
    kit = _known(means.host).get(zig.KIT)
    if kit is None:
        system, _, arch = means.host.system()
        why = f"{NO_COMPILER.why}, and llamabuild brings none for {system} on {arch}"
        raise ToolMissing(why, NO_COMPILER.hint)
    return not kits.complete(kits.folder(kit, means.cache)) and _fetch(kit, means)


def _toolkits(recipe: Recipe, hardware: Hardware, means: Means) -> dict[str, str]:
    """Fetch what devices lack to be built for; returns the variables by which it is found.

    Raises FetchError, IntegrityError and DiskFull where a recipe names the back-end; an automatic
    one goes on without it, and says so.
    """
    found = {}
    for variable, kit in _lacking(recipe, hardware, means):
        try:
            there = _fetch(kit, means)
        except (FetchError, DiskFull) as error:
            if recipe.backends != ("auto",):
                raise
            means.emit(
                Warned(message=f"{kit.name} cannot be had: {error.message}", hint=error.hint)
            )
            continue
        if there:
            found[variable] = str(nvidia.toolkit(kit, means.cache))
    return found


def _lacking(recipe: Recipe, hardware: Hardware, means: Means) -> Iterator[tuple[str, Kit]]:
    """The kits that would help, each with the variable that names it. A kit builds for machines of
    the architecture that it runs on."""
    here = hardware.arch == means.host.system()[2]
    known = _known(means.host) if here and means.asked != "machine" else {}
    for name, backend in BACKENDS.items():
        devices = tuple(one for one in hardware.devices if one.backend == name and one.lacks)
        wanted = recipe.backends == ("auto",) or name in recipe.backends
        choose = backend.TRAITS.kit if devices and wanted else None
        if choose and (kit := known.get(choose(devices, tuple(known)))):
            yield backend.TRAITS.kit_variable, kit


def _known(host: Host) -> dict[str, Kit]:
    system, _, arch = host.system()
    return kits.kits(f"{system}-{arch}")


def _fetch(kit: Kit, means: Means) -> bool:
    """True when the kit is there (now)."""
    if means.only_look and not kits.complete(kits.folder(kit, means.cache)):
        what = f"{kit.name} ({kit.what}; {kit.size >> 20} MiB)"
        means.emit(Noticed(message=f"`llamabuild setup` brings along {what} and builds with it."))
        return False
    from llamabuild.fetch import kit as fetching  # takes a while: only when something is missing

    fetching.fetch(
        kit,
        ready=_READY[kit.name.partition("-")[0]],
        cache=means.cache,
        host=means.host,
        emit=means.emit,
        offline=means.offline,
    )
    return True
