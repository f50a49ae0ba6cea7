"""Checks on recorded machines and on doctored ones: where all is well, and where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from llamabuild import checks, pins, recordings
from llamabuild.backends import BACKENDS
from llamabuild.checks import CHECKS, Finding, Situation, installed, variables
from llamabuild.checks.glance import Seen
from llamabuild.checks.installed import Place
from llamabuild.diagnose import entries
from llamabuild.errors import ConfigError, DiskFull, LlamabuildError, StoreError, ToolMissing
from llamabuild.events import Event, Warned
from llamabuild.host import Answers, FileSystem, Interpreter, RecordedHost, Said, Ulimits
from llamabuild.model import Absence, Compiler, Device, Feature, Hardware, Tool, Toolchain, Verdict
from tests.unit import values

MACHINES = Path(__file__).resolve().parents[1] / "machines"
CATALOGUE = (
    *("compiler", "cmake", "ninja", "git", "cuda", "hip", "vulkan", "sycl", "metal", "musa"),
    *("cann", "opencl", "blas", "conda", "environment", "python", "memory", "disk", "paths"),
    *("network", "source", "cpu", "store", "headers", "installed", "container", "xcode", "msvc"),
    "driver",
)
"""What entries of the catalogue may name in ``prevented``."""
VENV = {
    "/v/pyvenv.cfg": ("home = /usr/bin", "version = 3.11.2"),
    "/v/bin/python3": (),
    "/usr/lib/python3.11/venv/__init__.py": (),
    "/usr/lib/python3.11/ensurepip/__init__.py": (),
}
CONDA = {"/c/bin/python3": (), "/c/lib/python3.11/venv/a": (), "/c/lib/python3.11/ensurepip/a": ()}
SYSTEM_CXX = "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.33"
GPU = Device(backend="cuda", name="A GPU", architecture="90", driver="580.1", kind="discrete")
KEPT_OUT = Absence(
    what="cuda", why="an NVIDIA GPU is here without a driver", hint="Get one.", seen="GPU"
)
IN_IT = Absence(
    what="cuda", why="this container was not given the GPU", hint="--gpus all", seen="GPU"
)
ZEN = Feature(name="avx512f", advertised=True, enabled=False, executed=None, why="the kernel")
WRONG = Verdict(canary="amx-tile-config", ok=False, mended_by=("-fno-dse",), why="byte 16 is 0")


def situation(
    machine: Answers | None = None,
    *,
    hardware: Hardware | None = None,
    toolchain: Toolchain | None = None,
    cache: Path = Path("/nowhere/cache"),
) -> Situation:
    answers = machine or linux()
    facts = hardware or values.hardware("avx2")
    return Situation(
        hardware=replace(facts, os=answers.os, disk_free=answers.disk_free),
        toolchain=toolchain or values.toolchain(),
        host=RecordedHost(answers),
        cache=cache,
        pin=pins.default_pin(),
    )


def linux(
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, tuple[str, ...]] | None = None,
    **more: object,
) -> Answers:
    plain = Answers(
        os="linux",
        arch="x86_64",
        cores=2,
        memory=8 << 30,
        memory_available=6 << 30,
        disk_free=50 << 30,
        environ=environ or {},
        files=files or {},
        exist=("/tmp",),
    )
    return replace(plain, **more)  # type: ignore[arg-type] - fields by name


def with_absent(
    *absent: Absence, devices: tuple[Device, ...] = (), container: str = ""
) -> Hardware:
    return replace(values.hardware(), absent=absent, devices=devices, container=container)


def tools(
    compiler: Compiler | None = None, *, names: tuple[str, ...] = ("cmake", "ninja")
) -> Toolchain:
    kept = tuple(Tool(name=name, version="3.28.0", path=f"/usr/bin/{name}") for name in names)
    found = (compiler,) if compiler else ()
    absent = () if compiler else (Absence(what="compiler", why="no C++ compiler", hint="apt"),)
    return Toolchain(compilers=found, tools=kept, absent=absent)


MAC = Answers(os="macos", arch="aarch64", exist=("/tmp",))
NO_TOOLS = replace(MAC, said=(Said(command="xcode-select -p", err=("unable to get",), code=2),))
LICENCE = replace(
    MAC,
    said=(
        Said(command="xcode-select -p", out=("/Applications/Xcode.app",)),
        Said(command="xcrun clang --version", err=("You have not agreed to the license",), code=69),
    ),
)
WINDOWS = Answers(os="windows", arch="x86_64", disk_free=50 << 30)
NVCC = Tool(name="nvcc", version="12.8", backend="cuda")
FULL = Path("C:/Users/somebody with a long name/AppData/Local/llamabuild/cache/of/everything")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A situation, the check, and the state and words that are expected of it."""

    check: str
    state: str
    said: str
    of: Situation = field(default_factory=situation)


def _of_gpus() -> list[Case]:
    """The same of every back-end: usable, not usable, not here."""
    cases = []
    for name in BACKENDS:
        if name == "cpu":
            continue
        gpu = replace(GPU, backend=name)
        gone = Absence(what=name, why="the driver is too old", hint="Update it.", seen="A GPU")
        cases += [
            Case(
                check=name,
                state="ok",
                said="A GPU 580.1",
                of=situation(hardware=with_absent(devices=(gpu,))),
            ),
            Case(
                check=name,
                state="warning",
                said="too old",
                of=situation(hardware=with_absent(gone)),
            ),
            Case(
                check=name,
                state="absent",
                said="nothing",
                of=situation(hardware=with_absent(Absence(what=name, why="nothing of it"))),
            ),
        ]
    return cases


CASES = [
    *_of_gpus(),
    Case(
        check="cuda",
        state="note",
        said="passed over",
        of=situation(
            hardware=with_absent(Absence(what="CUDA 13.0", why="it is passed over"), devices=(GPU,))
        ),
    ),
    Case(
        check="vulkan",
        state="note",
        said="is software",
        of=situation(
            hardware=with_absent(
                Absence(
                    what="vulkan",
                    why="llvmpipe is software",
                    hint="To use it all the same: X=0",
                    seen="llvmpipe",
                )
            )
        ),
    ),
    Case(
        check="vulkan",
        state="note",
        said="no loader",
        of=situation(
            hardware=with_absent(
                Absence(what="vulkan", why="no loader", hint="apt", seen="GPU"), devices=(GPU,)
            )
        ),
    ),
    Case(
        check="driver", state="ok", said="580.1", of=situation(hardware=with_absent(devices=(GPU,)))
    ),
    Case(
        check="driver",
        state="warning",
        said="without a driver",
        of=situation(hardware=with_absent(KEPT_OUT)),
    ),
    Case(check="driver", state="absent", said="no GPU"),
    Case(check="container", state="absent", said="none"),
    Case(
        check="container",
        state="ok",
        said="handed",
        of=situation(hardware=with_absent(devices=(GPU,), container="docker")),
    ),
    Case(
        check="container",
        state="warning",
        said="not given",
        of=situation(hardware=with_absent(IN_IT, container="docker")),
    ),
    Case(check="cpu", state="ok", said="can do"),
    Case(
        check="cpu",
        state="note",
        said="avx512f: the kernel",
        of=situation(
            hardware=replace(values.hardware(), cpu=replace(values.hardware().cpu, features=(ZEN,)))
        ),
    ),
    Case(
        check="cpu",
        state="note",
        said="`-fno-dse` mends it",
        of=situation(
            hardware=values.hardware("amx_int8", "amx_tile"),
            toolchain=values.toolchain(replace(values.compiler(), verdicts=(WRONG,))),
        ),
    ),
    Case(
        check="cpu",
        state="warning",
        said="translates",
        of=situation(hardware=replace(values.hardware(), virtual_machine="Rosetta 2")),
    ),
    Case(check="compiler", state="ok", said="gcc 12.2.0"),
    Case(check="compiler", state="note", said="no C++ compiler", of=situation(toolchain=tools())),
    Case(
        check="compiler",
        state="problem",
        said="no C++ compiler",
        of=situation(linux(arch="s390x"), toolchain=tools()),
    ),
    Case(
        check="compiler",
        state="problem",
        said="needs 9",
        of=situation(linux(arch="s390x"), toolchain=tools(values.compiler(version="8.5.0"))),
    ),
    Case(check="cmake", state="ok", said="3.28.0"),
    Case(
        check="cmake",
        state="problem",
        said="none",
        of=situation(toolchain=tools(values.compiler(), names=())),
    ),
    Case(
        check="cmake",
        state="note",
        said="older",
        of=situation(linux(programs={"cmake": "/opt/cmake"}), toolchain=tools(values.compiler())),
    ),
    Case(check="ninja", state="ok", said="1.11"),
    Case(
        check="ninja",
        state="problem",
        said="none",
        of=situation(toolchain=tools(values.compiler(), names=())),
    ),
    Case(
        check="git",
        state="ok",
        said="/usr/bin/git",
        of=situation(linux(programs={"git": "/usr/bin/git"})),
    ),
    Case(check="git", state="note", said="needs none"),
    Case(check="xcode", state="absent", said="Macs"),
    Case(check="xcode", state="ok", said="here", of=situation(MAC)),
    Case(check="xcode", state="problem", said="unable to get", of=situation(NO_TOOLS)),
    Case(check="xcode", state="problem", said="agreed", of=situation(LICENCE)),
    Case(check="msvc", state="absent", said="Windows"),
    Case(
        check="msvc",
        state="ok",
        said="cl 19.41",
        of=situation(WINDOWS, toolchain=tools(values.compiler("msvc", "19.41"))),
    ),
    Case(
        check="msvc", state="note", said="no C++ compiler", of=situation(WINDOWS, toolchain=tools())
    ),
    Case(check="environment", state="ok", said="none changes"),
    Case(
        check="environment", state="note", said="CFLAGS=-O3", of=situation(linux({"CFLAGS": "-O3"}))
    ),
    Case(
        check="environment",
        state="warning",
        said="LLAMA_CUBLAS",
        of=situation(linux({"CMAKE_ARGS": "-DLLAMA_CUBLAS=on"})),
    ),
    Case(
        check="environment",
        state="warning",
        said="empty text",
        of=situation(linux({"CMAKE_ARGS": "-DCMAKE_CUDA_ARCHITECTURES= -DX=1"})),
    ),
    Case(
        check="environment",
        state="warning",
        said="not go together",
        of=situation(linux({"CMAKE_ARGS": "-DGGML_NATIVE=ON -DGGML_BACKEND_DL=ON"})),
    ),
    Case(
        check="environment",
        state="warning",
        said="C++ compiler understands",
        of=situation(linux({"NVCC_APPEND_FLAGS": "-O2 -march=native"})),
    ),
    Case(
        check="environment",
        state="warning",
        said="hides every GPU",
        of=situation(linux({"CUDA_VISIBLE_DEVICES": ""})),
    ),
    Case(
        check="environment",
        state="note",
        said="chooses which",
        of=situation(linux({"CUDA_VISIBLE_DEVICES": "1"})),
    ),
    Case(
        check="environment",
        state="warning",
        said="does not exist",
        of=situation(linux({"CUDA_HOME": "/opt/gone"})),
    ),
    Case(
        check="environment",
        state="problem",
        said="stops at its import",
        of=situation(replace(WINDOWS, environ={"CUDA_PATH": "C:/gone"})),
    ),
    Case(
        check="environment",
        state="ok",
        said="none",
        of=situation(replace(WINDOWS, environ={"CUDA_PATH": "C:/CUDA"}, exist=("C:/CUDA",))),
    ),
    Case(
        check="environment",
        state="warning",
        said="every program",
        of=situation(linux({"LD_PRELOAD": "/x.so"})),
    ),
    Case(
        check="environment",
        state="warning",
        said="libllama.so",
        of=situation(linux({"LD_LIBRARY_PATH": "/a:/b"}, {"/b/libllama.so": ()})),
    ),
    Case(
        check="environment",
        state="note",
        said="current folder",
        of=situation(linux({"LD_LIBRARY_PATH": "/a:"})),
    ),
    Case(check="headers", state="ok", said="no other"),
    Case(
        check="headers",
        state="note",
        said="/usr/local/include",
        of=situation(linux(files={"/usr/local/include/ggml.h": ()})),
    ),
    Case(
        check="headers",
        state="warning",
        said="CPATH",
        of=situation(linux({"CPATH": "/a:/b"}, {"/b/llama.h": ()})),
    ),
    Case(
        check="headers",
        state="warning",
        said="CXXFLAGS",
        of=situation(linux({"CXXFLAGS": "-O2 -I/b"}, {"/b/ggml.h": ()})),
    ),
    Case(check="conda", state="absent", said="no environment"),
    Case(check="conda", state="ok", said="/c", of=situation(linux({"CONDA_PREFIX": "/c"}, CONDA))),
    Case(
        check="conda",
        state="warning",
        said="compiler_compat",
        of=situation(linux({"CONDA_PREFIX": "/c"}, {**CONDA, "/c/compiler_compat/ld": ()})),
    ),
    Case(
        check="conda",
        state="warning",
        said="6.0.29",
        of=situation(
            linux(
                {"CONDA_PREFIX": "/c"}, {**CONDA, "/c/lib/libstdc++.so.6.0.29": (), SYSTEM_CXX: ()}
            )
        ),
    ),
    Case(
        check="python",
        state="ok",
        said="3.11 (/v/bin/python3, by VIRTUAL_ENV)",
        of=situation(linux({"VIRTUAL_ENV": "/v"}, VENV)),
    ),
    Case(check="python", state="note", said="no Python", of=situation()),
    Case(
        check="python",
        state="problem",
        said="32-bit",
        of=situation(linux(interpreter=Interpreter(version="3.11.2", bits=32))),
    ),
    Case(
        check="python",
        state="problem",
        said="translated",
        of=situation(
            hardware=with_absent(Absence(what="python", why="it is translated", hint="arm64"))
        ),
    ),
    Case(
        check="python",
        state="warning",
        said="needs 3.8",
        of=situation(
            linux(
                {"VIRTUAL_ENV": "/v"},
                {**VENV, "/v/pyvenv.cfg": ("home = /usr/bin", "version = 3.7.1")},
            )
        ),
    ),
    Case(
        check="python",
        state="note",
        said="no security fixes",
        of=situation(
            linux(
                {"VIRTUAL_ENV": "/v"},
                {**VENV, "/v/pyvenv.cfg": ("home = /usr/bin", "version = 3.9.1")},
            )
        ),
    ),
    Case(
        check="python",
        state="warning",
        said="pip 9",
        of=situation(
            linux(
                {"VIRTUAL_ENV": "/v"},
                {**VENV, "/v/lib/python3.11/site-packages/pip-9.0.1.dist-info/METADATA": ()},
            )
        ),
    ),
    Case(
        check="python",
        state="warning",
        said="module venv",
        of=situation(
            linux(
                {"VIRTUAL_ENV": "/v"},
                {name: text for name, text in VENV.items() if "venv/__" not in name},
            )
        ),
    ),
    Case(
        check="python",
        state="note",
        said="ensurepip",
        of=situation(
            linux(
                {"VIRTUAL_ENV": "/v"},
                {name: text for name, text in VENV.items() if "ensurepip" not in name},
            )
        ),
    ),
    Case(
        check="python",
        state="note",
        said="refuses to install",
        of=situation(
            linux(
                files={
                    "/usr/bin/python3": (),
                    "/usr/lib/python3.11/EXTERNALLY-MANAGED": (),
                    "/usr/lib/python3.11/venv/a": (),
                    "/usr/lib/python3.11/ensurepip/a": (),
                },
                programs={"python3": "/usr/bin/python3"},
            )
        ),
    ),
    Case(check="memory", state="ok", said="6.0 GiB are free"),
    Case(
        check="memory",
        state="warning",
        said="200 MiB are free",
        of=situation(hardware=replace(values.hardware(), memory_available=200 << 20)),
    ),
    Case(
        check="memory",
        state="note",
        said="2 compilers at once for 32",
        of=situation(hardware=replace(values.hardware(), cores=32, memory_available=2 << 30)),
    ),
    Case(
        check="memory",
        state="warning",
        said="ulimit -v",
        of=situation(linux(ulimits=Ulimits(memory=4 << 30))),
    ),
    Case(
        check="memory",
        state="note",
        said="ulimit -l",
        of=situation(linux(ulimits=Ulimits(locked=65536))),
    ),
    Case(check="disk", state="ok", said="50.0 GiB"),
    Case(check="disk", state="problem", said="100 MiB", of=situation(linux(disk_free=100 << 20))),
    Case(check="disk", state="note", said="only 900 MiB", of=situation(linux(disk_free=900 << 20))),
    Case(
        check="disk",
        state="problem",
        said="17 more files",
        of=situation(linux(filesystem=FileSystem(inodes=17))),
    ),
    Case(
        check="store",
        state="problem",
        said="noexec",
        of=situation(linux(filesystem=FileSystem(programs=False))),
    ),
    Case(check="paths", state="ok", said="can bear"),
    Case(check="paths", state="note", said="blank", of=situation(cache=Path("/a b"))),
    Case(check="paths", state="note", said="ASCII", of=situation(cache=Path("/zürich"))),
    Case(check="paths", state="problem", said="pass the 259", of=situation(WINDOWS, cache=FULL)),
    Case(check="network", state="ok", said="between"),
    Case(
        check="network",
        state="note",
        said="http://…@proxy:3128",
        of=situation(linux({"HTTPS_PROXY": "http://me:secret@proxy:3128"})),
    ),
    Case(
        check="network",
        state="warning",
        said="no address",
        of=situation(linux({"https_proxy": "proxy"})),
    ),
    Case(
        check="network",
        state="problem",
        said="SSL_CERT_FILE",
        of=situation(linux({"SSL_CERT_FILE": "/gone.pem"})),
    ),
    Case(
        check="network",
        state="note",
        said="PIP_NO_INDEX",
        of=situation(linux({"PIP_NO_INDEX": "1"})),
    ),
    Case(
        check="network",
        state="note",
        said="https downloads",
        of=situation(
            toolchain=replace(
                values.toolchain(), absent=(Absence(what="openssl", why="no https downloads"),)
            )
        ),
    ),
    Case(check="source", state="note", said="77 MB"),
    Case(
        check="source",
        state="ok",
        said="in the cache",
        of=situation(
            linux(files={f"/nowhere/cache/sources/{pins.identity(pins.default_pin())[:16]}/x": ()})
        ),
    ),
    Case(
        check="source",
        state="ok",
        said="unpacked by",
        of=situation(
            linux(files={f"/nowhere/cache/downloads/{pins.default_pin().sha256[:16]}-x.tar.gz": ()})
        ),
    ),
    Case(check="store", state="ok", said="/nowhere/cache"),
    Case(
        check="store",
        state="problem",
        said="cannot be written",
        of=situation(linux(filesystem=FileSystem(writable=False))),
    ),
    Case(check="installed", state="absent", said="no llama_cpp"),
]


def looked(case: Case) -> checks.Checked:
    return checks.run(case.of, [case.check])[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.check}-{case.state}-{case.said}")
def test_each_check_sees_what_it_should(case: Case) -> None:
    done = looked(case)
    assert done.state == case.state, done.findings
    assert any(case.said in one.why and one.state == case.state for one in done.findings)
    assert all(one.check == case.check for one in done.findings)


def test_every_check_has_a_case_where_it_is_fine_and_one_where_it_is_not() -> None:
    states: dict[str, set[str]] = {}
    for case in CASES:
        states.setdefault(case.check, set()).add(case.state)
    for name in set(CHECKS) - {"installed"}:  # what is installed is below
        assert states[name] & {"ok"}, name
        assert states[name] & {"problem", "warning", "note"}, name


def test_every_name_that_the_catalogue_uses_is_a_check() -> None:
    words = (
        one.prevented.removeprefix("check: ") for one in entries() if "check: " in one.prevented
    )
    assert {*words, *CATALOGUE} <= set(CHECKS)


def test_every_failure_that_a_finding_names_is_in_the_catalogue() -> None:
    rows = (row.get("entries", ()) for row in variables._rows())
    named = {name for row in rows for name in row}
    named |= {name for case in CASES for one in looked(case).findings for name in one.entries}
    assert named - {one.id for one in entries()} == set()


def test_what_is_wrong_says_what_to_do_next() -> None:
    for case in CASES:
        for one in looked(case).findings:
            assert one.next or one.state not in ("problem", "warning"), one
            assert "\n" not in one.why + one.next
            assert "secret" not in one.why


def recorded(name: str) -> Situation:
    recording = recordings.read(MACHINES / f"{name}.json")
    hardware, toolchain = recordings.replay(recording)
    return Situation(
        hardware=hardware,
        toolchain=toolchain,
        host=RecordedHost(recording.machine),
        cache=Path("/nowhere"),
        pin=pins.default_pin(),
    )


@pytest.mark.parametrize("path", sorted(MACHINES.glob("*.json")), ids=lambda path: path.stem)
def test_every_recorded_machine_is_checked_without_a_process(path: Path) -> None:
    done = checks.run(recorded(path.stem))
    assert [one.check.name for one in done] == list(CHECKS)
    assert all(one.findings for one in done)


@pytest.mark.parametrize(
    ("machine", "grave"),
    [
        ("zen4-rtx4090", {}),
        ("apple-m2-max", {}),
        ("strix-halo", {}),
        ("lavapipe-only", {}),
        ("gtx-1070-and-rtx-4090", {}),
        ("container-without-driver", {"cuda", "vulkan", "driver", "container"}),
        ("nvidia-driver-mismatch", {"cuda", "vulkan", "driver"}),
        ("rocm-without-permission", {"hip", "vulkan", "driver"}),
        ("rosetta-x86-python-on-m3", {"python", "cpu"}),
        ("rtx-5090-old-driver", {"cuda", "vulkan"}),
        ("windows-11-without-visual-studio", {"compiler"}),
    ],
)
def test_what_is_wrong_with_recorded_machines(machine: str, grave: set[str]) -> None:
    done = checks.run(recorded(machine))
    assert {one.check.name for one in done if one.state in ("problem", "warning")} == set(grave)


def test_an_unknown_check_is_refused_with_all_names() -> None:
    with pytest.raises(ConfigError) as caught:
        checks.run(situation(), ["cudda"])
    assert "compiler" in caught.value.hint


# --- before a build ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        (linux(disk_free=100 << 20), DiskFull),
        (linux(filesystem=FileSystem(programs=False)), StoreError),
        (linux(filesystem=FileSystem(writable=False), exist=()), StoreError),
        (linux(interpreter=Interpreter(bits=32)), ToolMissing),
    ],
)
def test_what_blocks_a_build_is_an_error_of_its_own_class(
    answers: Answers, error: type[LlamabuildError]
) -> None:
    with pytest.raises(error) as caught:
        checks.before_build(situation(answers), ["cpu"], lambda _: None)
    assert caught.value.hint


def test_the_rest_is_a_warning_and_notes_are_silent() -> None:
    said: list[Event] = []
    machine = linux({"LD_PRELOAD": "/x.so", "CFLAGS": "-O3"})
    checks.before_build(situation(machine), ["cpu"], said.append)
    assert [type(one) for one in said] == [Warned]
    assert "LD_PRELOAD" in str(said[0])


def test_other_back_ends_are_none_of_a_builds_business() -> None:
    broken = situation(hardware=with_absent(KEPT_OUT))
    assert checks.for_build(broken, ["cpu"]) == ()
    assert {one.check for one in checks.for_build(broken, ["cuda", "cpu"])} == {"cuda", "driver"}


# --- what is installed ---------------------------------------------------------------------------

PLACE = Place(path=Path("/p"), folder=Path("/f"), what="llama_cpp in /v", remedy="setup --into /v")
GOOD = Seen(label="llama_cpp_python 0.3.36", features=("avx2", "fma"), features_known=True, held=2)


def states(seen: Seen, *features: str) -> list[tuple[str, str]]:
    known = situation(hardware=values.hardware(*features))
    return [(one.state, one.why) for one in installed.told(PLACE, seen, known)]


def test_one_that_computes_well_is_fine_and_what_was_not_asked_is_said() -> None:
    ((state, why),) = states(GOOD, "avx2", "fma")
    assert state == "ok"
    assert "2 known answers hold" in why
    assert "doctor --deep" in why


@pytest.mark.parametrize(
    ("seen", "state", "said"),
    [
        ({"failures": (("illegal-instruction", "SIGILL in x", ""),)}, "problem", "SIGILL"),
        ({"failures": (("wrong-numbers", "off by 3", ""),)}, "problem", "off by 3"),
        ({"missing": ("libllama.so needs libgomp.so.1",)}, "warning", "libgomp.so.1"),
        ({"lacking": ("avx512f",)}, "warning", "lacks avx512f"),
        ({"idle": ("silent-cpu: this machine has a GPU",)}, "warning", "this machine has a GPU"),
        ({"features": ("sse4_2",)}, "warning", "does not use avx2, fma"),
        ({"label": "llama_cpp_python 0.2.20"}, "note", "much older than"),
        ({"label": "", "version": "4567 (abcdef0)"}, "note", "build 4567"),
        ({"ours": True}, "ok", "llamabuild's own"),
        ({"refused": "it gives no numbers"}, "note", "no numbers"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_one_is_told(seen: dict[str, object], state: str, said: str) -> None:
    import msgspec

    found = states(msgspec.structs.replace(GOOD, **seen), "avx2", "fma")
    assert any(one == state and said in why for one, why in found), found


def test_places_are_found_by_files_alone_and_the_cache_is_no_place() -> None:
    inside = "/v/lib/python3.11/site-packages/llama_cpp/__init__.py"
    machine = linux(
        {"VIRTUAL_ENV": "/v"},
        {**VENV, inside: ()},
        programs={
            "llama-server": "/opt/bin/llama-server",
            "llama-cli": "/nowhere/cache/bin/llama-cli",
        },
    )
    assert [str(one.folder) for one in installed.places(situation(machine))] == [
        "/v/lib/python3.11/site-packages/llama_cpp",
        "/opt/bin",
    ]


def test_the_gravest_of_several_counts() -> None:
    both = [Finding(check="a", state=state, why="") for state in ("ok", "warning", "note")]
    assert checks.gravest(both) == "warning"
    assert checks.gravest([]) == "ok"
