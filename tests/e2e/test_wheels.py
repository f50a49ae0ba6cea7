"""From this repository's lock file to wheels that pip and uv install: built, released, served on
loopback, installed for several Pythons against a hostile second index, proved in each, and run on
emulated processors. It compiles for the better part of an hour: ``make e2e-wheels``.

``LLAMABUILD_CELLS`` names some of the targets when not all are meant.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from llamabuild import proving, store
from llamabuild.backends import vulkan_probe
from llamabuild.events import silent
from llamabuild.host import LocalHost
from llamabuild.model import Build
from tests.e2e.conftest import Run

pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(
        os.environ.get("LLAMABUILD_E2E") != "wheels",
        reason="compiles several builds; LLAMABUILD_E2E=wheels (make e2e-wheels) asks for it",
    ),
]
HOST = LocalHost()
LOCK = Path(__file__).resolve().parents[2] / "llamabuild.lock"
CELLS = os.environ.get("LLAMABUILD_CELLS", "")
VERSIONS = ("3.9", "3.11", "3.13")
CPUS = {"Nehalem": "sse42", "Haswell": "haswell", "Skylake-Client": "haswell"}
"""Emulated processors and the variant of the fat wheel that fits them."""
PROMPT = "The capital of France is"
GENERATE = """
import json, re, sys
import llama_cpp
model = llama_cpp.Llama(sys.argv[1], n_ctx=64, n_threads=2, verbose=False)
tokens = model.tokenize(sys.argv[2].encode())
found = []
for token in model.generate(tokens, temp=0.0):
    found.append(token)
    if len(found) == 4:
        break
loaded = re.findall("libggml-cpu-([a-z0-9_]+)[.]so", open("/proc/self/maps").read())
print(json.dumps({"tokens": found, "loaded": sorted(set(loaded))}))
"""


@pytest.fixture(scope="module", autouse=True)
def lavapipe() -> Iterator[None]:
    """Select Mesa's Vulkan device on the CPU where it is the only one, so that the Vulkan wheel is
    proved on a device."""
    gpus = vulkan_probe.survey(HOST, vulkan_probe.loaders(HOST)).gpus
    with pytest.MonkeyPatch.context() as patch:
        if gpus and all(gpu.kind == "CPU" for gpu in gpus):
            patch.setenv("GGML_VK_VISIBLE_DEVICES", "0")
        yield


@pytest.fixture(scope="module")
def lock(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lock file, as far as it is meant; renewed where this machine has other tools."""
    folder = tmp_path_factory.mktemp("lock")
    path = folder / LOCK.name
    shutil.copy(LOCK, path)
    shutil.copytree(LOCK.parent / "tests" / "machines", folder / "tests" / "machines")
    names = [one["name"] for one in answer(run, "lock", "--lock", str(path))["lock"]["targets"]]
    meant = CELLS.split(",") if CELLS else names
    out = [word for name in names if name not in meant for word in ("--remove", name)]
    if out:
        run("lock", "--lock", str(path), *out)
    ended = run("lock", "--check", "--lock", str(path), check=False)
    if ended.returncode:
        assert ended.returncode == 12, ended.stderr
        print(f"renewed for this machine: {ended.stderr}")
        run("lock", "--upgrade", "--lock", str(path))
    return path


def answer(run: Run, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return found


@pytest.fixture(scope="module")
def shelf(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A shared store, and a key to sign with."""
    home = tmp_path_factory.mktemp("team")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAMABUILD_SIGNING_KEY", str(home / "key.pem"))
        line = run("trust", "new", f"team-{secrets.token_hex(4)}").stdout.strip()
        run("trust", "add", *line.split())
        (home / "store").mkdir()
        yield home / "store"


@pytest.fixture(scope="module")
def made(run: Run, lock: Path, shelf: Path) -> dict[str, Any]:
    """Every cell, built here."""
    return answer(run, "matrix", "run", "--local", "--lock", str(lock), "--store", str(shelf))


@pytest.fixture(scope="module")
def index(run: Run, lock: Path, shelf: Path, made: dict[str, Any], tmp_path_factory: Any) -> Path:
    """The index of all wheels."""
    top: Path = tmp_path_factory.mktemp("index") / "wheels"
    said = answer(run, "index", "publish", str(top), "--lock", str(lock), "--store", str(shelf))
    print(*said["added"], sep="\n")
    assert len(said["added"]) == len(made["cells"])
    run("index", "check", str(top))
    return top


@pytest.fixture(scope="module")
def address(index: Path) -> Iterator[str]:
    """The index on loopback, as `index serve` serves it."""
    argv = [sys.executable, "-m", "llamabuild", "index", "serve", str(index)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()
        assert server.wait(30) == 0


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An index of somebody else, who offers higher versions: a wheel and a source archive."""
    top = tmp_path_factory.mktemp("hostile")
    project = top / "llama-cpp-python"
    project.mkdir()
    about = b"Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: 99.0\n"
    with zipfile.ZipFile(project / "llama_cpp_python-99.0-py3-none-any.whl", "w") as wheel:
        info = "llama_cpp_python-99.0.dist-info"
        wheel.writestr("llama_cpp/__init__.py", "raise SystemExit('hostile')\n")
        wheel.writestr(f"{info}/METADATA", about)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    with tarfile.open(project / "llama_cpp_python-99.1.tar.gz", "w:gz") as sdist:
        for name, data in {"PKG-INFO": about, "setup.py": b"raise SystemExit('hostile')"}.items():
            entry = tarfile.TarInfo(f"llama_cpp_python-99.1/{name}")
            entry.size = len(data)
            sdist.addfile(entry, BytesIO(data))
    links = "".join(f'<a href="{one.name}">{one.name}</a>' for one in project.iterdir())
    (project / "index.html").write_text(f"<!DOCTYPE html><body>{links}</body>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(top))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def variants(index: Path) -> dict[str, dict[str, Any]]:
    """What the index offers, by variant."""
    root = json.loads((index / "llamabuild-index.json").read_text())
    return {one["name"]: one["wheels"][-1] for one in root["variants"]}


def interpreter(version: str) -> str:
    """A Python of that version on this machine."""
    known = Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")
    found = next((str(path) for path in sorted(known)), None) or shutil.which(f"python{version}")
    if not found or subprocess.run([found, "-c", ""], check=False).returncode:
        pytest.skip(f"there is no Python {version} here")
    return found


def installed(installer: str, python: str, said: str, folder: Path, hostile: str) -> Path:
    """The Python of a fresh environment into which a wheel was installed as `index use` said, while
    the environment names the hostile index wherever the installer looks."""
    folder.mkdir()
    env = {**os.environ, "PIP_EXTRA_INDEX_URL": hostile, "UV_INDEX": hostile}
    env |= {"UV_EXTRA_INDEX_URL": hostile, "VIRTUAL_ENV": "", "UV_PYTHON_DOWNLOADS": "never"}
    if installer == "pip":
        subprocess.run([python, "-m", "venv", str(folder / ".venv")], check=True)
        words = shlex.split(said)
        assert words[:2] == ["pip", "install"]
        argv = [str(folder / ".venv" / "bin" / "python"), "-m", *words, "-q"]
    else:
        (wanted,) = re.findall(r'^#\s+"(llama-cpp-python==.*)"$', said, re.MULTILINE)
        head = f'[project]\nname = "app"\nversion = "0"\ndependencies = ["{wanted}"]\n'
        version = subprocess.run(
            [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        head += f'requires-python = "=={version}.*"\n'
        (folder / "pyproject.toml").write_text(f"{head}\n{said}\n")
        argv = ["uv", "sync", "--quiet", "--python", python]
    ended = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder / ".venv" / "bin" / "python"


def version_of(python: Path) -> str:
    code = "import importlib.metadata as m; print(m.version('llama-cpp-python'))"
    return subprocess.run(
        [str(python), "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.parametrize("installer", ["pip", "uv"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_wheel_is_installed_and_computes_right(
    version: str,
    installer: str,
    run: Run,
    cache: Path,
    address: str,
    hostile: str,
    variants: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    python = interpreter(version)
    for name, wheel in variants.items():
        artifact = store.lookup(cache, wheel["key"], silent)
        assert artifact is not None
        said = run("index", "use", address, "--variant", name, "--format", installer, check=False)
        if said.returncode == 3:  # its GPU is not here; it is installed all the same
            assert wheel["backends"] != ["cpu"], said.stderr
            print(f"{name}: {said.stderr.strip().splitlines()[-2]}")
            continue
        target = tmp_path / f"{name}-{installer}"
        environment = installed(installer, python, said.stdout, target, hostile)
        assert version_of(environment) == f"{wheel['release']}+{wheel['label']}"
        built = Build(
            plan=artifact.manifest.plan,
            prefix=artifact.path,
            wheel=artifact.wheel,
            log=artifact.path / "build.log",
            seconds=0.0,
            effective={},
        )
        work = tmp_path / f"proof-{name}"
        work.mkdir()
        proof = proving.proved_with(built, environment, work, HOST, silent, gpu=False)
        print(f"Python {version}, {installer}: {name}: {len(proof.checks)} checks")
        shutil.rmtree(target)


@pytest.fixture(scope="module")
def qemu() -> str:
    found = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if not found:
        pytest.skip("there is no qemu-x86_64 here (Debian: qemu-user-static)")
    return found


@pytest.fixture(scope="module")
def environments(
    run: Run, address: str, hostile: str, variants: Any, tmp_path_factory: Any
) -> dict[str, Path]:
    """Environments with the wheels for processors."""
    top: Path = tmp_path_factory.mktemp("environments")
    found = {}
    for name in (one for one in ("cpu", "cpu.v3", "cpu.v4") if one in variants):
        said = run("index", "use", address, "--variant", name).stdout
        found[name] = installed("pip", interpreter("3.11"), said, top / name, hostile)
    return found


def generated(command: list[str], model: Path) -> dict[str, Any]:
    argv = [*command, "-c", GENERATE, str(model), PROMPT]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("cpu", list(CPUS))
def test_the_fat_wheel_runs_the_variant_of_each_processor(
    cpu: str, qemu: str, environments: dict[str, Path], smollm: Path
) -> None:
    if "cpu" not in environments:
        pytest.skip("the fat wheel was not among LLAMABUILD_CELLS")
    python = str(environments["cpu"])
    here = generated([python], smollm)
    there = generated([qemu, "-cpu", cpu, python], smollm)
    print(f"here: {here['loaded']}, {cpu}: {there['loaded']}, tokens {there['tokens']}")
    assert there == {"tokens": here["tokens"], "loaded": [CPUS[cpu]]}


@pytest.mark.parametrize("name", ["cpu.v3", "cpu.v4"])
def test_a_lesser_processor_gets_an_import_error(
    name: str, qemu: str, environments: dict[str, Path]
) -> None:
    if name not in environments:
        pytest.skip(f"{name} was not among LLAMABUILD_CELLS")
    argv = [qemu, "-cpu", "Nehalem", str(environments[name]), "-c", "import llama_cpp"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    last = ended.stderr.strip().splitlines()[-1]
    print(last)
    assert ended.returncode == 1
    assert last.startswith("ImportError: ")
    assert name in last
    assert "processor" in last


def test_again_nothing_is_built(run: Run, lock: Path, shelf: Path, index: Path) -> None:
    again = answer(run, "matrix", "run", "--local", "--lock", str(lock), "--store", str(shelf))
    assert {one["outcome"] for one in again["cells"]} == {"there"}
    planned = answer(run, "matrix", "--lock", str(lock), "--store", str(shelf))
    assert planned["shards"] == []
    said = answer(run, "index", "publish", str(index), "--lock", str(lock), "--store", str(shelf))
    assert said["added"] == []
