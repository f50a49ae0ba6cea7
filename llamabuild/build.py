"""Build: a plan and a source become compiled libraries, tools and a wheel. Not yet trusted.

One compile serves both products. A plan is only ever configured in a new folder: CMake's cache
remembers too much (a folder once configured with GGML_NATIVE=ON keeps its ISA options OFF for
ever). What was configured, and compiled in part, by a run that was interrupted is taken up again by
the next run with the same key, which is one with the same options and compiler; Ninja compiles what
it has no complete record of.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import llamabuild
from llamabuild import cmake, options, wheels
from llamabuild import plan as planning
from llamabuild.audit import compiled, marks
from llamabuild.backends import BACKENDS
from llamabuild.errors import BuildFailed, DiskFull
from llamabuild.events import Emit, Noticed, OutputLine, Progress, StepEnded, StepStarted
from llamabuild.host import Host
from llamabuild.model import Build, Plan, Source
from llamabuild.toolchains import isa_note, zig
from llamabuild.toolchains.launcher import NO_LAUNCHER, Launcher, within

DISK_NEEDED = 500_000_000
"""Bytes: the objects of a CPU build are 63 MB; the result, the environment of the proof and a
margin for other back-ends come on top."""
_NINJA = re.compile(r"^\[(\d+)/(\d+) ([\d.]+)\] ")
_TELLING = re.compile(
    r"error:|error |fatal|CMake Error|undefined reference|No space left|Killed|not found",
    re.IGNORECASE,
)


def jobs(cores: int, memory_available: int, backends: Sequence[str]) -> int:
    """How many compilers to run at once: cores, but never more than memory has room for when one
    of them compiles the hungriest unit of the back-ends and the others usual ones.

    >>> jobs(16, 8_000_000_000, ["cpu"]), jobs(16, 8_000_000_000, ["vulkan", "cpu"])
    (10, 8)
    >>> jobs(2, 500_000_000, ["cpu"])
    1
    """
    each = BACKENDS["cpu"].TRAITS.memory
    most = max(BACKENDS[name].TRAITS.memory for name in backends)
    return max(1, min(cores, 1 + (memory_available - most) // each))


def build(
    plan: Plan,
    source: Source,
    *,
    into: Path,
    begun: Path,
    host: Host,
    emit: Emit,
    launcher: Launcher = NO_LAUNCHER,
    at_most: int = 0,
) -> Build:
    """Configure, compile, collect. ``into`` is an empty folder; ``at_most`` bounds the jobs.
    ``begun`` is where it is compiled: a build of the same plan and source that was interrupted
    there goes on where it was.

    Raises ConfigError for options the tree does not have, ToolMissing for a linker that cannot mark
    the level that is wanted, BuildFailed with the log for the rest, DiskFull when there is no room.
    """
    started = time.monotonic()
    options.check(plan.flags, options.declared(source.tree))
    _room(into, host)
    log = into / "build.log"
    folder = begun / "build"
    launcher = within(launcher, folder, host)
    done, state = begun / "configured", f"{llamabuild.__version__} {launcher.path}"
    if done.exists() and done.read_text(encoding="utf-8") == state:
        emit(Noticed(message="An interrupted build of the same plan goes on where it was."))
    else:
        done.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        _configure(plan, source, folder, log, host, emit, launcher)
        done.write_text(state, encoding="utf-8")
    effective = _effective(folder, source.tree)
    _compile(plan, folder, log, host, emit, at_most, launcher)
    prefix = into / "prefix"
    _collect(plan, folder, prefix)
    _carry(plan, prefix)
    wheel = _wheel(plan, source, prefix, into, log, host, emit)
    shutil.copy(log, prefix / "build.log")
    return Build(
        plan=plan,
        prefix=prefix,
        wheel=wheel,
        log=log,
        seconds=time.monotonic() - started,
        effective=effective,
    )


def _room(into: Path, host: Host) -> None:
    free = host.disk_free(into)
    if free < DISK_NEEDED:
        raise DiskFull(
            f"{into} has {free >> 20} MiB free; a build needs about {DISK_NEEDED >> 20} MiB",
            "Free some space, or point LLAMABUILD_CACHE to a larger disk.",
        )


def _configure(
    plan: Plan,
    source: Source,
    folder: Path,
    log: Path,
    host: Host,
    emit: Emit,
    launcher: Launcher,
) -> None:
    """Configure, then read back what came of it and compare it with the plan."""
    started = time.monotonic()
    emit(StepStarted(name="configure", title="Configuring with CMake"))
    folder.mkdir(parents=True)
    (folder / "llamabuild.cmake").write_text(cmake.injected(plan.source_options, plan.left_out))
    for name, text in isa_note.files(plan.flags).items():
        (folder / name).write_text(text)
    marks.check(plan, folder, host)
    cmake.ask(folder)
    argv = cmake.configure(
        plan,
        cmake=_path(plan, "cmake"),
        ninja=_path(plan, "ninja"),
        ccache=launcher.path,
        tree=source.tree,
        folder=folder,
    )
    _step("configure", argv, plan, log, host, emit, launcher)
    if wrong := cmake.differences(plan.flags, cmake.cache(folder)):
        raise _unplanned("was configured", wrong, "configure", log)
    if wrong := compiled.differences(
        plan, compiled.units(folder), cmake.targets(folder), source.tree
    ):
        raise _unplanned("would be compiled", wrong, "configure", log)
    emit(StepEnded(name="configure", seconds=time.monotonic() - started))


def _unplanned(what: str, wrong: Sequence[str], step: str, log: Path) -> BuildFailed:
    """What came out is not what was asked for."""
    return BuildFailed(
        f"something else than planned {what}: {'; '.join(wrong)}",
        "Please report this with the log.",
        step=step,
        log=str(log),
    )


def _effective(folder: Path, tree: Path) -> dict[str, str]:
    """The machine options that the compiler is given for ggml's CPU code, for the manifest; those
    of a fat build are its variants' own."""
    wanted = str(tree / "ggml" / "src" / "ggml-cpu" / "ggml-cpu.c")
    words = cmake.commands(folder).get(wanted, ())
    machine = (word for word in words if word.startswith(("-m", "/arch")))
    return {"ggml-cpu": " ".join(machine)}


def _compile(
    plan: Plan,
    folder: Path,
    log: Path,
    host: Host,
    emit: Emit,
    at_most: int,
    launcher: Launcher,
) -> None:
    started = time.monotonic()
    count = jobs(host.cores()[2], host.memory().available, plan.backends)
    count = min(count, at_most) if at_most else count
    title = f"Compiling with {plan.compiler.family} {plan.compiler.version}, {count} at a time"
    emit(StepStarted(name="compile", title=title))
    argv = [_path(plan, "ninja"), "-C", str(folder), f"-j{count}", *plan.targets]
    _step("compile", argv, plan, log, host, emit, launcher)
    emit(StepEnded(name="compile", seconds=time.monotonic() - started))


def _step(
    name: str,
    argv: list[str],
    plan: Plan,
    log: Path,
    host: Host,
    emit: Emit,
    launcher: Launcher,
) -> None:
    """Run one tool with the log kept. Raises BuildFailed with the telling lines, or DiskFull."""
    lines: list[str] = []

    def on_line(line: str) -> None:
        if moved := progress(name, line):
            emit(moved)
        else:
            lines.append(line)
        emit(OutputLine(step=name, line=line))

    own = [name for one in plan.backends for name in BACKENDS[one].TRAITS.environment]
    env = cmake.environment(host.environ, plan.tools, own) | dict(launcher.environment)
    env["NINJA_STATUS"] = "[%f/%t %e] "
    code = host.stream(argv, on_line=on_line, log=log, env=env)
    if code == 0:
        return
    tail = telling(lines)
    if any("No space left on device" in line for line in lines):
        raise DiskFull(f"the disk is full: {log.parent}", "Free some space and run again.")
    raise BuildFailed(
        f"{name} failed: {first_error(lines) or f'exit code {code}'}",
        f"The full log is {log}",
        step=name,
        log=str(log),
        tail="\n".join(tail),
    )


def progress(step: str, line: str) -> Progress | None:
    """What a Ninja status line (finished/total elapsed) says; the time left is an estimate.

    >>> progress("compile", "[12/36 40.500] Building CXX object x.o")
    Progress(name='compile', done=12, total=36, unit='files', remaining=81.0)
    """
    found = _NINJA.match(line)
    if not found:
        return None
    done, total, elapsed = int(found[1]), int(found[2]), float(found[3])
    remaining = elapsed / done * (total - done) if done else None
    return Progress(name=step, done=done, total=total, unit="files", remaining=remaining)


def telling(lines: list[str]) -> list[str]:
    """The last lines, from the first error on if there is one: at most 20."""
    first = next((n for n, line in enumerate(lines) if _TELLING.search(line)), None)
    return lines[-20:] if first is None else lines[max(0, first - 1) : first + 19]


def first_error(lines: list[str]) -> str:
    """The first line that names an error, or an empty string."""
    return next((line.strip() for line in lines if _TELLING.search(line)), "")


_PLACES = {"EXECUTABLE": "bin", "SHARED_LIBRARY": "lib", "MODULE_LIBRARY": "bin"}
"""Where files go by kind of target. ggml looks for its modules beside the program."""


def _collect(plan: Plan, folder: Path, prefix: Path) -> None:
    """Tools and modules to ``bin/``, libraries to ``lib/``; Windows looks for all of them beside
    the program."""
    for place in ("bin", "lib"):
        (prefix / place).mkdir(parents=True)
    for target in cmake.targets(folder).values():
        for file in target.files:
            if file.suffix == ".pdb":  # what a debugger for Windows reads
                continue
            if target.kind in _PLACES and file.is_file() and _wanted(target, plan):
                place = "bin" if file.suffix == ".dll" else _PLACES[target.kind]
                shutil.copy2(file, prefix / place / file.name)


def _carry(plan: Plan, prefix: Path) -> None:
    """The C++ library of a compiler that brings its own."""
    if library := zig.runtime(plan.compiler.cxx):
        shutil.copy2(library, prefix / "lib" / library.name)


def _wanted(target: cmake.Target, plan: Plan) -> bool:
    """Tools that were asked for; every library that exists was needed by one of them."""
    wanted = target.kind != "EXECUTABLE" or target.name in plan.targets
    return wanted and target.name not in plan.left_out


def _wheel(
    plan: Plan, source: Source, prefix: Path, into: Path, log: Path, host: Host, emit: Emit
) -> Path:
    started = time.monotonic()
    emit(StepStarted(name="wheel", title="Packing the llama-cpp-python wheel"))
    label = f"lb{planning.key(plan)[:8]}"
    wheel = wheels.pack(
        plan,
        source,
        prefix=prefix,
        scratch=into / "wheel",
        log=log,
        host=host,
        label=label,
    )
    emit(StepEnded(name="wheel", seconds=time.monotonic() - started, detail=wheel.name))
    return wheel


def _path(plan: Plan, name: str) -> str:
    return next(tool.path for tool in plan.tools if tool.name == name)
