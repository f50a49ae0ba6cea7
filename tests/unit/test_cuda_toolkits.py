"""CUDA: several toolkits, and which one is taken."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild.backends import cuda, cuda_toolkits
from llamabuild.backends.cuda_toolkits import Place
from llamabuild.host import Finished
from tests.unit.recorded import RecordedHost
from tests.unit.test_cuda import DRIVER, NVCC, PASCAL, child

LOCAL = tuple(f"/usr/local/cuda-{version}" for version in ("11.8", "12.4", "12.8", "13.0"))
ADA = {"name": "NVIDIA GeForce RTX 4090", "capability": "8.9", "memory": 25757220864}
BLACKWELL = {"name": "NVIDIA GeForce RTX 5090", "capability": "12.0", "memory": 34190917632}
# version.json of CUDA 11.8, as NVIDIA's packages install it.
VERSION_11_8 = '{"cuda": {"name": "CUDA SDK", "version": "11.8.20220929"}}'
NVCC_11_8 = '"cuda_nvcc": {"name": "CUDA NVCC", "version": "11.8.89"}}'


class Versioned(RecordedHost):
    """Each toolkit answers with its own version; all are whole but those named ``poor``."""

    def __init__(
        self,
        *roots: str,
        answer: str = "",
        environ: Mapping[str, str] | None = None,
        path: str = "",
        poor: tuple[str, ...] = (),
        broken: tuple[str, ...] = (),
        os: str = "linux",
    ) -> None:
        ending = ".exe" if os == "windows" else ""
        answers: dict[str, Finished | str] = {"cuda_child.py": answer}
        files = dict.fromkeys(DRIVER | {"C:/Windows/System32/nvml.dll": ""}, "")
        for root in roots:
            nvcc = f"{root}/bin/nvcc{ending}"
            version = root.rpartition("-")[2].removeprefix("v").rpartition("/v")[2]
            files[nvcc] = ""
            if root not in poor:
                files[f"{root}/include/cublas_api.h"] = "#define CUBLAS_VER_MAJOR 12\n"
            said = f"release {version}, V{version}.1" if root not in broken else ""
            answers[f"{nvcc} --version"] = said
        programs = {"nvcc": path} if path else {}
        super().__init__(files=files, programs=programs, answers=answers, environ=environ, os=os)

    def chosen(self) -> str:
        found = cuda.detect(self)
        return found.tools[0].path if found.tools else ""


@pytest.mark.parametrize(
    ("capabilities", "known", "chosen"),
    [
        (("8.9",), "13.0", "13.0"),
        (("6.1", "8.9"), "13.0", "12.8"),
        (("8.9",), "12.8", "12.8"),
        (("8.9",), "12.2", "11.8"),  # the newest whose PTX the driver reads
        (("12.0",), "12.8", "12.8"),
        (("12.0", "6.1"), "13.0", "12.8"),
        (("8.0",), "11.8", "11.8"),
        (("8.9",), "", "13.0"),
    ],
)
def test_the_toolkit_that_serves_best_is_chosen(
    capabilities: tuple[str, ...], known: str, chosen: str
) -> None:
    host = RecordedHost(files={f"{root}/bin/nvcc": "" for root in LOCAL})
    best, *_ = cuda_toolkits.ranked(cuda_toolkits.places(host), capabilities, known)
    assert best.version == chosen
    assert host.started == []


def test_only_the_chosen_one_is_run() -> None:
    host = Versioned(*LOCAL, answer=child(ADA))
    assert host.chosen() == "/usr/local/cuda-13.0/bin/nvcc"
    commands = [command for command in host.started if "nvcc" in command]
    assert commands == [
        "/usr/local/cuda-13.0/bin/nvcc --version",
        "/usr/local/cuda-13.0/bin/nvcc --dryrun -v x.cu",
    ]


@pytest.mark.parametrize(
    ("environ", "chosen"),
    [
        ({"CUDA_HOME": LOCAL[0]}, LOCAL[0]),
        ({"CUDA_PATH": LOCAL[0]}, LOCAL[0]),
        ({"CUDACXX": f"{LOCAL[1]}/bin/nvcc", "CUDA_HOME": LOCAL[0]}, LOCAL[1]),
        ({"CUDA_HOME": "/nowhere"}, LOCAL[3]),
        ({"CUDA_HOME": ""}, LOCAL[3]),
        ({}, LOCAL[3]),
    ],
)
def test_the_users_own_choice_wins(environ: dict[str, str], chosen: str) -> None:
    host = Versioned(*LOCAL, answer=child(ADA), environ=environ)
    assert host.chosen() == f"{chosen}/bin/nvcc"
    assert not any(one.what == "cuda" for one in cuda.detect(host).absent)


def test_a_choice_that_serves_no_gpu_is_passed_over_and_that_is_said() -> None:
    environ = {"CUDA_HOME": LOCAL[3]}
    host = Versioned(*LOCAL, answer=child(PASCAL), environ=environ)
    assert host.chosen() == f"{LOCAL[2]}/bin/nvcc"
    (said,) = cuda.detect(host).absent
    assert said.what == "CUDA 13.0"
    assert said.why.startswith("/usr/local/cuda-13.0 is passed over: CUDA 13.0 no longer compiles")
    assert said.hint == "To take it all the same: export CUDACXX=/usr/local/cuda-13.0/bin/nvcc"


def test_a_newer_toolkit_that_is_passed_over_says_why() -> None:
    host = Versioned(*LOCAL, answer=child(ADA, driver="550.54.14", cuda="12.4"))
    assert host.chosen() == f"{LOCAL[1]}/bin/nvcc"
    reasons = {one.what: one.why for one in cuda.detect(host).absent}
    assert "could not compile its PTX" in reasons["CUDA 12.8"]
    assert "runs nothing that CUDA 13.0 makes" in reasons["CUDA 13.0"]
    assert "CUDA 11.8" not in reasons


def test_what_is_first_on_path_and_not_taken_says_why() -> None:
    host = Versioned(*LOCAL, answer=child(BLACKWELL), path=f"{LOCAL[1]}/bin/nvcc")
    assert host.chosen() == f"{LOCAL[3]}/bin/nvcc"
    (said,) = cuda.detect(host).absent
    assert said.what == "CUDA 12.4"
    assert "no machine code for compute capability 12.0" in said.why


@pytest.mark.parametrize("kind", ["poor", "broken"])
def test_one_that_is_not_whole_makes_room_for_the_next(kind: str) -> None:
    incomplete = {"poor": (LOCAL[3],), "broken": ()} | {kind: (LOCAL[3],)}
    host = Versioned(*LOCAL, answer=child(ADA), **incomplete)  # type: ignore[arg-type]
    if kind == "broken":
        host = Versioned(*LOCAL, answer=child(ADA), broken=(LOCAL[3],))
    assert host.chosen() == f"{LOCAL[2]}/bin/nvcc"
    (said,) = cuda.detect(host).absent
    assert "no cuBLAS headers" in said.why or "does not work" in said.why
    assert said.hint == "Mend it or remove it."


def test_where_none_is_whole_the_best_says_what_it_lacks() -> None:
    host = Versioned(*LOCAL, answer=child(ADA), poor=LOCAL)
    (said,) = cuda.detect(host).absent
    assert said.what == "cuda"
    assert "the CUDA 13.0.1 toolkit here has no cuBLAS headers" in said.why
    assert "libcublas-dev-13-0" in said.hint


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (f"{VERSION_11_8[:-1]}, {NVCC_11_8}", "11.8.89"),
        (VERSION_11_8, "11.8.20220929"),
        ("{", ""),
        ("[]", ""),
        ('{"cuda": 3}', ""),
        ('{"cuda": {"version": "x; rm"}}', ""),
        ('{"cuda": {"version": 12}, "cuda_nvcc": {"version": "12.8"}}', "12.8"),
    ],
)
def test_a_file_tells_the_version(text: str, version: str) -> None:
    files = {"/opt/cuda/bin/nvcc": "", "/opt/cuda/version.json": text}
    host = RecordedHost(files=files)
    assert [one.version for one in cuda_toolkits.places(host)] == [version]
    assert bool(host.started) == (not version)


def test_nvcc_itself_is_asked_where_nothing_else_tells() -> None:
    programs = {"nvcc": "/usr/bin/nvcc"}
    host = RecordedHost(programs=programs, answers={"/usr/bin/nvcc --version": NVCC})
    assert cuda_toolkits.places(host) == (
        Place(nvcc="/usr/bin/nvcc", version="13.0.88", asked="PATH"),
    )


def test_one_toolkit_by_two_names_is_one() -> None:
    class Linked(RecordedHost):
        def stamp(self, path: str) -> str | None:
            return "the same file"

    host = Linked(files=dict.fromkeys((f"{LOCAL[3]}/bin/nvcc", "/usr/local/cuda/bin/nvcc"), ""))
    assert len(cuda_toolkits.places(host)) == 1


def test_toolkits_on_windows() -> None:
    folder = "C:/Program Files/NVIDIA GPU Computing Toolkit/CUDA"
    environ = {"CUDA_PATH": f"{folder}/v13.0".replace("/", "\\")}
    roots = (f"{folder}/v12.8", f"{folder}/v13.0")
    host = Versioned(*roots, answer=child(PASCAL, ADA), environ=environ, os="windows")
    assert [one.version for one in cuda_toolkits.places(host)] == ["13.0", "12.8"]
    assert host.chosen() == f"{folder}/v12.8/bin/nvcc.exe"
    (said,) = cuda.detect(host).absent
    assert said.what == "CUDA 13.0"


@pytest.mark.parametrize(
    ("os_release", "gpu", "known", "hint"),
    [
        ("ID=debian\nVERSION_ID=12\n", ADA, "12.4", "apt install nvidia-cuda-toolkit"),
        ("ID=debian\nVERSION_ID=12\n", BLACKWELL, "13.0", "apt install cuda-toolkit-13-0"),
        ('ID=ubuntu\nVERSION_ID="22.04"\n', ADA, "12.8", "apt install cuda-toolkit-12-8"),
        ('ID=ubuntu\nVERSION_ID="24.04"\n', PASCAL, "13.0", "apt install nvidia-cuda-toolkit"),
        ('ID=ubuntu\nVERSION_ID="24.04"\n', ADA, "11.4", "apt install cuda-toolkit-11-8"),
        ("ID=fedora\nVERSION_ID=42\n", PASCAL, "13.0", "dnf install cuda-toolkit-12-9"),
        ("ID=arch\n", PASCAL, "13.0", "Install CUDA 12.9"),
        ("ID=arch\n", ADA, "", "pacman -S cuda"),
    ],
)
def test_the_toolkit_to_install_serves_the_gpu_and_its_driver(
    os_release: str, gpu: dict[str, object], known: str, hint: str
) -> None:
    host = RecordedHost(
        files=DRIVER | {"/etc/os-release": os_release},
        answers={"cuda_child.py": child(gpu, driver="1.2", cuda=known)},
    )
    found = cuda.detect(host)
    (said,) = found.absent
    assert hint in said.hint


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_version_file_is_survived(text: str) -> None:
    files = {"/opt/cuda/bin/nvcc": "", "/opt/cuda/version.json": text}
    host = RecordedHost(files=files, answers={"cuda_child.py": child(ADA)})
    cuda_toolkits.choose(host, ["8.9"], "13.0")
    json.dumps([one.version for one in cuda_toolkits.places(host)])
