"""Wheels: the llama-cpp-python package around libraries that are already compiled.

The project's own metadata, tags and RECORD are made by scikit-build-core, its build back-end; in
place of its CMakeLists.txt, which would compile everything a second time and pack each library
six times, it is given one that installs the finished files.
"""

from __future__ import annotations

import email
import json
import re
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from llamabuild import cmake, data
from llamabuild.errors import BuildFailed, FetchError, ToolMissing
from llamabuild.host import Finished, Host, Limits, python
from llamabuild.model import Plan, Source
from llamabuild.toolchains import cross, zig

_HERE = Path(__file__).resolve().parent
_LIMITS = Limits(seconds=600)
_QUIET = ("--disable-pip-version-check", "--no-input", "--quiet")
_LIBRARY = re.compile(r"^(lib)?(llama|mtmd|ggml(-.+)?|llamabuild-cxx)\.(so|dylib|dll)$")
_EPOCH = "1700000000"
"""A fixed time for the archive's entries: the same files give the same wheel."""


def pack(
    plan: Plan, source: Source, *, prefix: Path, scratch: Path, log: Path, host: Host, label: str
) -> Path:
    """Make ``prefix/wheel/llama_cpp_python-VERSION+LABEL-py3-none-PLATFORM.whl``.

    The label keeps pip and uv from taking a build of the same version out of their caches and
    lets ``pip freeze`` tell which build is installed. Raises BuildFailed.
    """
    project = scratch / "project"
    project.mkdir(parents=True)
    shutil.copytree(source.root / "llama_cpp", project / "llama_cpp")
    for name in ("pyproject.toml", "README.md", "LICENSE.md"):
        shutil.copy(source.root / name, project / name)
    _require(project / "pyproject.toml", [one for tool in plan.tools for one in tool.requires])
    _stamp(project / "llama_cpp" / "__init__.py", label)
    if any(flag.name == "GGML_BACKEND_DL" and flag.value is True for flag in plan.flags):
        _load_backends(project / "llama_cpp")
    libraries = scratch / "libraries"
    libraries.mkdir()
    for file in sorted((*(prefix / "lib").iterdir(), *(prefix / "bin").iterdir())):
        if _LIBRARY.match(file.name):
            shutil.copy2(file, libraries / file.name)
    out = prefix / "wheel"
    out.mkdir()
    return _run_backend(project, libraries, out, scratch, log, host, platform(plan, host))


def platform(plan: Plan, host: Host) -> dict[str, str]:
    """The variable that names the platform of a wheel for another architecture or C library than
    this machine's: Python's ``sysconfig`` reads it for this purpose, and so does scikit-build-core.
    What is linked with an older glibc and needs nothing else is for every Linux (PEP 600)."""
    system, _, here = host.system()
    if plan.system == "windows" != system:
        return {"_PYTHON_HOST_PLATFORM": "win-amd64"}
    arch = cross.of_target(plan.compiler.target)
    glibc = zig.libc(plan.compiler.target).partition(" ")[2].replace(".", "_")
    if glibc and plan.backends == ("cpu",):
        return {"_PYTHON_HOST_PLATFORM": f"manylinux_{glibc}-{arch}"}
    return {"_PYTHON_HOST_PLATFORM": f"{system}-{arch}"} if arch not in ("", here) else {}


def _run_backend(
    project: Path,
    libraries: Path,
    out: Path,
    scratch: Path,
    log: Path,
    host: Host,
    variables: Mapping[str, str],
) -> Path:
    settings = {
        "cmake.source-dir": str(_HERE / "cmake"),
        "cmake.define.LLAMABUILD_LIBRARIES": str(libraries),
        "build-dir": str(scratch / "build"),
        "install.strip": "false",
    }
    argv = [python(), str(_HERE / "child.py"), json.dumps(settings), str(out)]
    env = {**cmake.environment(host.environ), "SOURCE_DATE_EPOCH": _EPOCH, **variables}
    ended = host.run(argv, limits=_LIMITS, cwd=project, env=env)
    with log.open("a", encoding="utf-8") as transcript:
        transcript.write(f"$ {' '.join(argv)}\n{ended.out}{ended.err}")
    made = list(out.glob("*.whl"))
    if ended.code != 0 or len(made) != 1:
        said = (ended.err or ended.out).strip().splitlines()
        raise BuildFailed(
            f"the wheel could not be packed: {said[-1] if said else ended.code}",
            f"The full log is {log}",
            step="wheel",
            log=str(log),
            tail="\n".join(said[-20:]),
        )
    return made[0]


def _require(file: Path, more: Sequence[str]) -> None:
    """Add to what the package needs beside itself: distributions with libraries of a toolkit."""
    text = file.read_text(encoding="utf-8")
    added = "".join(f"\n    {json.dumps(one)}," for one in more)
    needing, count = re.subn(r"^dependencies = \[", rf"\g<0>{added}", text, flags=re.MULTILINE)
    if more and count != 1:
        raise BuildFailed("pyproject.toml does not state its dependencies", step="wheel")
    file.write_text(needing, encoding="utf-8")


def _stamp(module: Path, label: str) -> None:
    """Add the local version label to ``__version__``."""
    text = module.read_text(encoding="utf-8")
    stamped, count = re.subn(
        r'^(__version__ = "[^"+]+)"', rf'\1+{label}"', text, count=1, flags=re.MULTILINE
    )
    if count != 1:
        raise BuildFailed("llama_cpp/__init__.py does not state its version", step="wheel")
    module.write_text(stamped, encoding="utf-8")


def _load_backends(package: Path) -> None:
    """With run-time back-ends somebody has to load them: llama.cpp's programs do, the Python
    package does not and would find no CPU at all."""
    shutil.copy(_HERE / "load_backends.py", package / "_load_backends.py")
    module = package / "__init__.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(
        text
        + "\nfrom . import _load_backends  # added by llamabuild: CPU code chosen at run time\n",
        encoding="utf-8",
    )


def requirements(source: Source) -> tuple[str, ...]:
    """What the package needs beside itself, from its own metadata."""
    project = data.load(source.root / "pyproject.toml")["project"]
    return tuple(project.get("dependencies", ()))


def requirements_of(wheel: Path) -> tuple[str, ...]:
    """What a finished wheel needs beside itself in this Python, without its extras."""
    from packaging.requirements import Requirement

    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    found = map(Requirement, metadata.get_all("Requires-Dist", ()))
    return tuple(str(one) for one in found if not one.marker or one.marker.evaluate({"extra": ""}))


def environment(folder: Path, needed: tuple[str, ...], *, house: Path, host: Host) -> Path:
    """A clean virtual environment with ``needed`` in it; returns its Python. The packages are
    kept in ``house``, so that a later run needs no index.

    Raises ToolMissing when there is no venv, FetchError when a package cannot be had.
    """
    ended = host.run([python(), "-I", "-m", "venv", "--without-pip", str(folder)], limits=_LIMITS)
    if ended.code != 0:
        raise ToolMissing(
            f"Python cannot make a virtual environment: {_last(ended.err or ended.out)}",
            "Debian, Ubuntu: apt install python3-venv",
        )
    interpreter = interpreter_of(folder, host)
    local = ("--no-index", "--find-links", str(house))
    if needed and _pip(interpreter, (*local, *needed), host).code != 0:
        house.mkdir(parents=True, exist_ok=True)
        asked = [python(), "-m", "pip", "download", *_QUIET, "--dest", str(house), *needed]
        fetched = host.run(asked, limits=_LIMITS)
        if fetched.code != 0 or _pip(interpreter, (*local, *needed), host).code != 0:
            raise FetchError(
                f"pip cannot get {', '.join(needed)}: {_last(fetched.err)}",
                "The Python package cannot be proved without them; check the package index.",
            )
    return interpreter


def _pip(interpreter: Path, what: tuple[str, ...], host: Host) -> Finished:
    """Run pip for an environment: its own when it has one (ours need not support its Python)."""
    own = [str(interpreter), "-I", "-m", "pip"]
    if host.run([*own, "--version"], limits=_LIMITS).code != 0:
        own = [python(), "-m", "pip", "--python", str(interpreter)]
    return host.run([*own, "install", *_QUIET, *what], limits=_LIMITS)


def interpreter_of(folder: Path, host: Host) -> Path:
    """The Python of a virtual environment. Raises ToolMissing when the folder is none."""
    for name in ("bin/python", "Scripts/python.exe"):
        if host.exists(str(folder / name)):
            return folder / name
    raise ToolMissing(
        f"{folder} is not a virtual environment", f"Make one: python3 -m venv {folder}"
    )


def check_interpreter(interpreter: Path, host: Host) -> None:
    """Raise ToolMissing for a Python that cannot be run here."""
    ended = host.run([str(interpreter), "-I", "-c", ""], limits=_LIMITS)
    if ended.code != 0:
        raise ToolMissing(
            f"{interpreter} cannot be run here: {_last(ended.err or ended.out)}",
            "It is broken, or for another processor or system: make a new environment with a "
            f"Python of this machine, {python()} -m venv FOLDER.",
        )


def install(wheel: Path, interpreter: Path, host: Host, *, complete: bool = False) -> None:
    """Install the wheel from its file (so pip's wheel cache cannot give another build), then
    whatever it requires and the environment lacks, unless that is ``complete`` (made by
    :func:`environment`). Raises FetchError."""
    alone = ("--no-deps", "--force-reinstall", "--no-cache-dir", str(wheel))
    for what in (alone, *(() if complete else ((str(wheel),),))):
        ended = _pip(interpreter, what, host)
        if ended.code != 0:
            raise FetchError(
                f"pip could not install {wheel.name}: {_last(ended.err)}",
                "It needs numpy, jinja2, diskcache and typing-extensions from a package index.",
            )


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if "WARNING" not in line]
    return lines[-1] if lines else "no message"
