"""The main job on the real source: compile, prove, use."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llamabuild import cmake, flags, options, pins, plan, probe, recipes
from llamabuild.backends import BACKENDS, cpu
from llamabuild.errors import ConfigError, ToolMissing, UnsupportedHardware
from llamabuild.host import LocalHost
from llamabuild.model import Source
from llamabuild.prove import weights
from tests.e2e.conftest import Run
from tests.golden import machines

pytestmark = pytest.mark.llama
KINDS = tuple(weights.TYPES)


def test_setup_proves_every_weight_type_every_tool_and_the_server(
    artifact: dict[str, Any],
) -> None:
    manifest = artifact["artifact"]["manifest"]
    checks = {check["name"]: check for check in manifest["proof"]["checks"]}
    for kind in KINDS:
        for family in ("products", "rows", "decoder"):
            assert f"{kind} {family} on the CPU" in checks
    for tool in flags.TOOLS:
        assert f"{tool} starts" in checks
    assert "17 tokens over HTTP" in checks["llama-server on the CPU"]["detail"]
    assert all(
        speed["prompt"] > 0 and speed["generate"] > 0 for speed in manifest["proof"]["speed"]
    )


def test_the_code_uses_what_this_cpu_runs(artifact: dict[str, Any], cache: Path) -> None:
    made = artifact["artifact"]["manifest"]["plan"]
    hardware, toolchain = probe.probe(LocalHost(), cache=cache)
    accepted = toolchain.compilers[0].accepts
    usable = [
        name
        for name in cpu.native_features(hardware.cpu.features)
        if set(cpu.compiler_options((name,))) <= accepted
    ]
    dropped = [remedy for remedy in made["remedies"] if remedy["name"].startswith("without-")]
    assert dropped or made["cpu_features"] == list(cpu.closed(usable))


def test_a_second_setup_starts_no_compiler(run: Run, artifact: dict[str, Any]) -> None:
    again = run("setup", "--json", "--progress", "json")
    assert json.loads(again.stdout) == artifact
    assert "step_started" not in again.stderr


def test_the_wheel_holds_the_same_libraries_once(artifact: dict[str, Any]) -> None:
    path = Path(artifact["artifact"]["path"])
    with zipfile.ZipFile(next((path / "wheel").glob("*.whl"))) as wheel:
        names = [name for name in wheel.namelist() if ".so" in name]
        assert all(name.startswith("llama_cpp/lib/") for name in names)
        assert len(names) == len({Path(name).name.split(".so")[0] for name in names})
        for name in names:
            assert wheel.read(name) == (path / "lib" / Path(name).name).read_bytes()
    assert {"libllama.so", "libggml-cpu.so", "libmtmd.so"} <= {Path(name).name for name in names}


def test_a_tool_runs(run: Run, artifact: dict[str, Any]) -> None:
    ended = run("run", "llama-cli", "--", "--version")
    assert pins.default_pin().commit[:9] in ended.stdout + ended.stderr
    unknown = run("run", "llama-clu", check=False)
    assert unknown.returncode == 2
    assert "llama-cli" in unknown.stderr


def test_a_proof_can_be_repeated(run: Run, artifact: dict[str, Any]) -> None:
    answer = json.loads(run("prove", artifact["artifact"]["key"][:12], "--json").stdout)
    assert len(answer["proof"]["checks"]) == len(
        artifact["artifact"]["manifest"]["proof"]["checks"]
    )


def test_setup_into_an_environment_gives_a_package_that_chats(
    run: Run, artifact: dict[str, Any], tmp_path: Path, smollm: Path
) -> None:
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    run("setup", "--into", str(folder))
    script = (
        "import sys, llama_cpp; llama = llama_cpp.Llama(sys.argv[1], verbose=False, n_ctx=256);"
        "print(llama_cpp.__version__);"
        "answer = llama('The capital of France is', max_tokens=8, temperature=0);"
        "print(answer['choices'][0]['text'])"
    )
    argv = [str(folder / "bin" / "python"), "-c", script, str(smollm)]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert f"+lb{artifact['artifact']['key'][:8]}" in said
    assert "Paris" in said


def test_into_something_that_is_no_environment_is_said_before_anything_is_built(
    run: Run, tmp_path: Path, source: Source
) -> None:
    ended = run("setup", "--into", str(tmp_path), check=False)
    assert ended.returncode == 4
    assert "not a virtual environment" in ended.stderr


def test_every_flag_of_every_recorded_machine_exists_in_the_tree(source: Source) -> None:
    declared = options.declared(source.tree)
    planned = 0
    for machine in machines().values():
        for name in recipes.names():
            recipe = recipes.load(name, tuple(BACKENDS))
            made = None
            # Refusals are the business of the golden tests.
            with contextlib.suppress(UnsupportedHardware, ToolMissing, ConfigError):
                made = plan.plan(recipe, source.pin, machine.hardware, machine.toolchain)
            if made:
                options.check(made.flags, declared)
                planned += 1
    assert planned > 40


def test_a_variant_that_is_left_out_is_not_compiled(
    source: Source, cache: Path, tmp_path: Path
) -> None:
    hardware, toolchain = probe.probe(LocalHost(), cache=cache)
    if hardware.arch != "x86_64":
        pytest.skip("the variant is one of x86-64")
    recipe = recipes.load("cpu-fat", tuple(BACKENDS))
    made = plan.plan(recipe, source.pin, hardware, toolchain)
    made = replace(made, left_out=("ggml-cpu-haswell",))
    paths = {tool.name: tool.path for tool in made.tools}
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "llamabuild.cmake").write_text(cmake.injected(made.source_options, made.left_out))
    argv = cmake.configure(
        made,
        cmake=paths["cmake"],
        ninja=paths["ninja"],
        ccache="",
        tree=source.tree,
        folder=folder,
    )
    env = cmake.environment(LocalHost().environ, made.tools)
    subprocess.run(argv, env=env, check=True, capture_output=True)
    steps = subprocess.run(
        [paths["ninja"], "-C", str(folder), "-n", "-v", "llama-server"],
        env=env,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "ggml-cpu-alderlake" in steps
    assert "ggml-cpu-haswell" not in steps
