"""Programs and libraries of which only the protocol or the C functions are known give the numbers
that the artifact's own Python package gives."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamabuild import wheels
from llamabuild.host import LocalHost
from llamabuild.prove import cases, inference, models, reference, serving
from llamabuild.prove.cases import Case
from llamabuild.prove.child import opaque
from llamabuild.prove.dialogue import Server
from llamabuild.prove.inference import Runner
from llamabuild.prove.serving import Served
from llamabuild.prove.weights import Floats

pytestmark = pytest.mark.llama
HOST = LocalHost()
SPECS = {spec.type: spec for spec in models.DECODERS if spec.type in ("F16", "Q4_K")}
LENGTH, BATCH = 80, 64

ABI = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("opaque", sys.argv[1])
opaque = importlib.util.module_from_spec(spec)
spec.loader.exec_module(opaque)
from llama_cpp import llama_cpp
differences = opaque.abi_differences(llama_cpp, llama_cpp._lib)
llama_cpp.llama_context_default_params.restype = llama_cpp.llama_model_params
print(json.dumps([differences, opaque.abi_differences(llama_cpp, llama_cpp._lib)]))
"""


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(host=HOST, scratch=tmp_path, threads=2, seconds=60)


@pytest.fixture(scope="module")
def prefix(artifact: dict[str, Any]) -> Path:
    return Path(artifact["artifact"]["path"])


@pytest.fixture(scope="module")
def python(artifact: dict[str, Any], cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the artifact's wheel."""
    wheel = Path(artifact["wheel"])
    folder = tmp_path_factory.mktemp("foreign") / "venv"
    needed = wheels.requirements_of(wheel)
    made = wheels.environment(folder, needed, house=cache / "requirements", host=HOST)
    wheels.install(wheel, made, HOST)
    return made


def case_of(kind: str, batch: int = BATCH) -> Case:
    tokens = tuple(models.prompt(SPECS[kind], LENGTH))
    return Case(name=f"{kind} forced", spec=SPECS[kind], sequences=(tokens,), batch=batch)


def through_bindings(case: Case, python: Path, runner: Runner) -> Floats:
    (answer,) = inference.run(python, [case], runner, place="CPU", gpu_layers=0)
    return answer.values


def script(text: str, python: Path) -> str:
    assert opaque.__file__
    argv = [str(python), "-I", "-B", "-c", text, opaque.__file__]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def server_of(prefix: Path, spec: models.Spec, runner: Runner) -> Server:
    program = prefix / "bin" / "llama-server"
    model = cases.model_file(spec, runner.scratch)
    return Server(program=program, model=model, runner=runner, check="server", gpu_layers=0)


def forced(prefix: Path, case: Case, runner: Runner) -> Served:
    return serving.answers(server_of(prefix, case.spec, runner), case.sequences, LENGTH - BATCH)


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_without_bindings_the_library_computes_the_same(
    kind: str, prefix: Path, python: Path, runner: Runner
) -> None:
    case = case_of(kind)
    library = next((prefix / "lib").glob("libllama.*"))
    (answer,) = inference.run(
        Path(sys.executable), [case], runner, place="CPU", gpu_layers=0, library=library
    )
    np.testing.assert_allclose(answer.values, through_bindings(case, python, runner), atol=1e-6)


def test_the_bindings_fit_their_library_and_a_wrong_struct_shows(python: Path) -> None:
    fitting, wrong = json.loads(script(ABI, python))
    assert fitting == []
    assert len(wrong) == 1
    assert wrong[0].startswith("llama_context_default_params: ")


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_a_server_states_the_same_numbers(
    kind: str, prefix: Path, python: Path, runner: Runner
) -> None:
    case = case_of(kind)
    served = forced(prefix, case, runner)
    rows = through_bindings(case, python, runner)[BATCH - 1 :]
    wanted = serving.log_softmax(rows.astype(np.float64))
    np.testing.assert_allclose(served.logprobs, wanted, atol=1e-3)
    # One batch for the first, single tokens for the others; a log that tells where the weights are.
    assert served.evaluated == (BATCH, *[1] * (LENGTH - BATCH))
    assert any(device.startswith("CPU") for device in served.evidence.devices)
    assert served.evidence.buffers


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_a_server_agrees_with_the_reference_and_not_with_another_prompt(
    kind: str, prefix: Path, runner: Runner
) -> None:
    case = case_of(kind)
    served = forced(prefix, case, runner)
    wanted = cases.expected(case)
    rows = wanted.values[BATCH - 1 :]
    assert serving.disagreement(served, rows, wanted.allowed) is None
    assert serving.distance(served, rows).mean < wanted.allowed.mean
    other = serving.disagreement(served, np.roll(rows, 1, axis=0), wanted.allowed)
    assert other is not None
    assert other[0] == "wrong-numbers"


def test_several_sequences_at_once(prefix: Path, runner: Runner) -> None:
    tokens = case_of("F16").sequences[0]
    case = replace(case_of("F16"), sequences=(tokens[:70], tokens[10:50], tokens[33:75]), batch=16)
    served = serving.answers(server_of(prefix, case.spec, runner), case.sequences, 6)
    wanted = cases.expected(case)
    ends = np.cumsum([len(one) for one in case.sequences])
    rows = np.concatenate([wanted.values[end - 7 : end] for end in ends])
    assert serving.disagreement(served, rows, wanted.allowed) is None
    assert served.evaluated == (64, *[1] * 6, 34, *[1] * 6, 36, *[1] * 6)


def test_states_of_an_encoder(prefix: Path, runner: Runner) -> None:
    spec = models.ENCODERS[0]
    tokens = tuple(models.prompt(spec, 60))
    sequences = (tokens[:40], tokens[40:])
    case = Case(name="states", spec=spec, sequences=sequences, batch=40)
    found = serving.embeddings(server_of(prefix, spec, runner), sequences)
    wanted = cases.expected(case)
    unit = wanted.values / np.linalg.norm(wanted.values, axis=1, keepdims=True)
    assert reference.distance(found.states, unit).worst < wanted.allowed.worst
    assert reference.distance(found.states[::-1], unit).worst > wanted.allowed.worst
