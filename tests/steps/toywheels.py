"""A small package with real libraries, as an artifact has it: made in a second, for all gates."""

from __future__ import annotations

import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

from llamabuild import store
from llamabuild.model import Artifact, Plan
from tests.unit.values import manifest, plan, proof

KEY = "3f9a1c2d" + "0" * 56
INIT = 'from . import _ctypes_extensions as x\n\n__version__ = "1.2.3+lb3f9a1c2d"\nx.llama()\n'
LOADER = """
import ctypes, pathlib

def load_shared_library(name, folder):
    try:
        return ctypes.CDLL(str(folder / f"lib{name}.so"))
    except Exception as e:
        raise RuntimeError(f"Failed to load shared library '{folder}': {e}")

def llama():
    return load_shared_library("llama", pathlib.Path(__file__).resolve().parent / "lib").llama()
"""
METADATA = """Metadata-Version: 2.1
Name: llama_cpp_python
Version: 1.2.3+lb3f9a1c2d
License: MIT
Requires-Python: >=3.8

Words.
"""
WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-linux_x86_64\n"
SOURCES = {
    "ggml-base": "#include <math.h>\ndouble ggml_init(double x) { return exp(x); }",
    "ggml-cpu": "double ggml_init(double);double ggml_cpu_init(double x) { return ggml_init(x); }",
    "llama": "double ggml_cpu_init(double);int llama(void) { return (int) ggml_cpu_init(0); }",
}
NEEDS = {"ggml-base": ("-lm",), "ggml-cpu": ("-lggml-base",), "llama": ("-lggml-cpu",)}


def library(folder: Path, name: str, *options: str, source: str = "") -> Path:
    """A shared library of the toy, which looks for others beside itself."""
    (folder / f"{name}.c").write_text(source or SOURCES[name])
    made = folder / f"lib{name}.so"
    argv = [
        "gcc",
        "-O1",
        "-march=x86-64",
        "-shared",
        "-fPIC",
        f"{folder}/{name}.c",
        "-o",
        str(made),
    ]
    argv += [f"-Wl,-soname,lib{name}.so", f"-L{folder}", "-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed"]
    subprocess.run([*argv, *NEEDS.get(name, ()), *options], check=True, capture_output=True)
    return made


def wanted(cpu: str = "portable") -> Plan:
    known = plan(recipe=f"cpu-{cpu}")
    return replace(
        known, cpu=cpu, cpu_features=("sse4_2",), fingerprint="linux-x86_64-glibc2.36-toy"
    )


def artifact(
    folder: Path,
    *options: str,
    asked: Plan | None = None,
    needed: str = "",
    unrun: tuple[str, ...] = (),
) -> Artifact:
    """An artifact whose wheel holds three libraries; ``options`` are those of the last two."""
    libraries = folder / "made"
    libraries.mkdir(parents=True)
    files = [
        library(libraries, name, *options[: 0 if name == "ggml-base" else None]) for name in SOURCES
    ]
    info = "llama_cpp_python-1.2.3+lb3f9a1c2d.dist-info"
    wheel = folder / "artifact" / "wheel" / f"{info[:-10]}-py3-none-linux_x86_64.whl"
    wheel.parent.mkdir(parents=True)
    extra = "License: MIT\n" + (f"Requires-Dist: {needed}\n" if needed else "")
    texts = {
        "llama_cpp/__init__.py": INIT,
        "llama_cpp/_ctypes_extensions.py": LOADER,
        f"{info}/METADATA": METADATA.replace("License: MIT\n", extra),
        f"{info}/WHEEL": WHEEL,
        f"{info}/licenses/LICENSE.md": "MIT License\n",
    }
    names = [*texts, *(f"llama_cpp/lib/{file.name}" for file in files), f"{info}/RECORD"]
    with zipfile.ZipFile(wheel, "w") as packed:
        for name, text in texts.items():
            packed.writestr(name, text)
        for file in files:
            packed.write(file, f"llama_cpp/lib/{file.name}")
        packed.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))
    path = folder / "artifact"
    said = replace(
        manifest(KEY, store.hashes(path)),
        plan=asked or wanted(),
        proof=replace(proof(*unrun), device="CPU: a toy"),
    )
    return Artifact(key=KEY, id="d" * 64, path=path, manifest=said)
