"""A plan, rendered for a tree and configured by the real CMake; then what came of it, read back.

Nothing is compiled. Three things must hold: CMake took every option with the value that was asked
for, none was one that the tree never looks at, and the compiler is given exactly the planned
machine options for every file of ggml's CPU code.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llamabuild import cmake, dialect, options
from llamabuild.backends import cpu
from llamabuild.dialect import pip as dialect_pip
from llamabuild.host import Host, Limits
from llamabuild.model import Flag, Plan, Source

_LIMITS = Limits(seconds=300)
_UNUSED = re.compile(r"were not used by the project:\n\n((?:    \S+\n)+)")
_GENERATED = re.compile(r"--generate-code=arch=compute_\w+,code=\[([^\]]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a configure run came to. ``wrong`` is empty when everything is as planned."""

    given: int
    ignored: tuple[str, ...]
    effective: str
    wrong: tuple[str, ...]
    folder: Path


def rendered(plan: Plan, tree: options.Options, arch: str, version: str) -> dialect.Rendering:
    """The plan's options for a tree."""
    name = f"llama.cpp of llama-cpp-python {version}"
    family = plan.compiler.family
    return dialect.render(plan.flags, tree, arch, family=family, tree=name)


def direct(
    plan: Plan, source: Source, arch: str, folder: Path, host: Host, extra: Sequence[str] = ()
) -> Outcome:
    """Configure the llama.cpp tree itself, as ``llamabuild build`` does."""
    known = options.declared(source.tree)
    said = rendered(plan, known, arch, source.pin.version)
    mended, _ = dialect.render_sources(
        plan.source_options, lambda file: (source.tree / file).is_file()
    )
    spoken = replace(plan, flags=said.flags, source_options=mended)
    paths = {tool.name: tool.path for tool in plan.tools}
    argv = cmake.configure(
        spoken,
        cmake=paths["cmake"],
        ninja=paths["ninja"],
        ccache="",
        tree=source.tree,
        folder=folder,
    )
    argv.remove("--no-warn-unused-cli")
    text = _run([*argv, *extra], spoken, folder, host)
    cache = cmake.cache(folder)
    unknown = (f.name for f in said.flags if f.name.startswith(options.PREFIXES))
    ignored = (*_unused(text), *(name for name in unknown if not known.knows(name)))
    wrong = [f"not set: {one}" for one in cmake.differences(said.flags, cache)]
    wrong += [f"ignored: {name}" for name in ignored]
    wrong += _not_mended(spoken, source, folder)
    return _outcome(plan, said, source, folder, len(said.flags), ignored, wrong)


def by_pip(plan: Plan, source: Source, arch: str, folder: Path, host: Host) -> Outcome:
    """Configure llama-cpp-python's own project with what pip would be told. Only what that
    project forces may be otherwise than planned."""
    from scikit_build_core.builder.builder import get_cmake_args_from_settings
    from scikit_build_core.settings.skbuild_model import ScikitBuildSettings

    os, version = "linux", source.pin.version
    said = rendered(plan, options.declared(source.tree), arch, version)
    line, _ = dialect_pip.pip_arguments(said.flags, version, os, arch, compiler=plan.compiler)
    variables = dict(word.split("=", 1) for word in shlex.split(line) if re.match("[A-Z_]+=", word))
    given = get_cmake_args_from_settings(ScikitBuildSettings(), variables)
    paths = {tool.name: tool.path for tool in plan.tools}
    argv = [
        *(paths["cmake"], "-G", "Ninja", "-S", str(source.root), "-B", str(folder)),
        *("-DCMAKE_BUILD_TYPE=Release", f"-DSKBUILD_PLATLIB_DIR={folder / 'platlib'}"),
        *(f"-DCMAKE_MAKE_PROGRAM={paths['ninja']}", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"),
        *given,
    ]
    _run(argv, plan, folder, host, {name: variables[name] for name in ("CC", "CXX")})
    cache = cmake.cache(folder)
    forced = dialect_pip.forced(version, os, arch)
    free = _free(said.flags)
    wrong = [
        f"not set, and not forced either: {one}"
        for one in cmake.differences((f for f in free if f.name not in forced), cache)
    ]
    wrong += [
        f"not forced as told: {name} is {cache[name]}"
        for name, value in forced.items()
        if name in cache and (cache[name].upper() in ("ON", "TRUE")) is not value
    ]
    return _outcome(plan, said, source, folder, len(given), (), wrong)


def generated(folder: Path) -> frozenset[str]:
    """What nvcc is asked to make: like ``sm_90`` (machine code) and ``compute_90`` (PTX)."""
    words = (word for command in cmake.commands(folder).values() for word in command)
    found = (match[1] for word in words if (match := _GENERATED.fullmatch(word)))
    return frozenset(code for codes in found for code in codes.split(","))


def wanted_code(architectures: str) -> frozenset[str]:
    """The same from ``CMAKE_CUDA_ARCHITECTURES``.

    >>> sorted(wanted_code("86-real;90"))
    ['compute_90', 'sm_86', 'sm_90']
    """
    found = set()
    for one in architectures.split(";"):
        number, _, kind = one.partition("-")
        found |= {f"{prefix}_{number}" for prefix in _KINDS[kind]}
    return frozenset(found)


_KINDS = {"real": ("sm",), "virtual": ("compute",), "": ("sm", "compute")}


def _free(flags: Iterable[Flag]) -> list[Flag]:
    """The options that pip's line carries, with the value that they have there."""
    rows = dialect_pip.table()
    instead = {name: row["value"] for row in rows["instead"] for name in row["names"]}
    return [
        replace(flag, value=instead.get(flag.name, flag.value))
        for flag in flags
        if flag.name not in rows["silent"]["names"]
    ]


def _not_mended(plan: Plan, source: Source, folder: Path) -> list[str]:
    """Options for single files that did not arrive."""
    commands = cmake.commands(folder)
    return [
        f"{option.source} is not compiled with {word}"
        for option in plan.source_options
        for word in option.options
        if word not in commands.get(str(source.tree / option.source), ())
    ]


def _run(
    argv: Sequence[str], plan: Plan, folder: Path, host: Host, more: dict[str, str] | None = None
) -> str:
    """Run CMake; its messages. Raises RuntimeError with their end when it fails."""
    folder.mkdir(parents=True)
    (folder / "llamabuild.cmake").write_text(cmake.injected(plan.source_options, plan.left_out))
    cmake.ask(folder)
    env = cmake.environment(host.environ, plan.tools) | (more or {})
    ended = host.run(argv, limits=_LIMITS, env=env)
    if ended.code != 0:
        raise RuntimeError(f"cmake failed: {(ended.err or ended.out)[-1500:]}")
    return ended.out + ended.err


def _unused(text: str) -> tuple[str, ...]:
    """Options that the project never looked at, by CMake's own warning."""
    names = (name for block in _UNUSED.findall(text) for name in block.split())
    return tuple(name for name in names if name.startswith(options.PREFIXES))


def _outcome(
    plan: Plan,
    said: dialect.Rendering,
    source: Source,
    folder: Path,
    given: int,
    ignored: tuple[str, ...],
    wrong: list[str],
) -> Outcome:
    features = [name for name in plan.cpu_features if name not in said.lost]
    compiled = _cpu_code(folder, source.tree)
    different = set(compiled.values())
    if not compiled:
        wrong.append("no file of ggml's CPU code is compiled")
    for name, words in compiled.items():
        if trouble := cpu.disagreement(words, plan.flags, features):
            wrong.append(f"{name}: {trouble}")
    effective = " | ".join(sorted(" ".join(words) for words in different))
    return Outcome(
        given=given, ignored=ignored, effective=effective, wrong=tuple(wrong), folder=folder
    )


def _cpu_code(folder: Path, tree: Path) -> dict[str, tuple[str, ...]]:
    """The machine options of each source file of ggml's CPU code, by its name in the tree."""
    commands = {
        Path(name).relative_to(tree).as_posix(): words
        for name, words in cmake.commands(folder).items()
        if Path(name).is_relative_to(tree)
    }
    home = Path(dialect.cpu_source(commands)).parent.as_posix()
    inside = re.compile(r"(ggml-(cpu|amx)/.*|(llamafile/)?(ggml|sgemm)[\w-]*\.c(pp)?)")
    apart = home == "ggml/src/ggml-cpu"  # since then only the CPU code has these options
    return {
        name: tuple(dict.fromkeys(word for word in words if word.startswith("-m")))
        for name, words in commands.items()
        if (name.startswith((f"{home}/", "ggml/src/ggml-amx/")) if apart else _inside(inside, name))
    }


def _inside(pattern: re.Pattern[str], name: str) -> bool:
    return bool(pattern.fullmatch(name.removeprefix("ggml/src/")))
