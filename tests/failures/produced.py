"""The failures, each produced as it comes about on a user's machine.

A function is one failure: it gets a scene and returns how the run ended. The decorator says what a
good end is: the exit code, words that name the cause, words that name what to do, and whether the
run mends itself, so that it ends with a proved build.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.failures.scene import HIDDEN, Ended, Scene, Unavailable, mounted, served, taken_port

Produce = Callable[[Scene], Ended]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failure and its good end. ``slow`` ones compile for minutes."""

    name: str
    produce: Produce
    code: int
    cause: str
    mend: str
    slow: bool = False

    def wrong(self, ended: Ended) -> str:
        """What is wrong with an end; empty for a good one."""
        said = f"{ended.err}\n{ended.out}"
        if ended.code != self.code:
            return f"exit code {ended.code}, not {self.code}"
        if not re.search(self.cause, said):
            return f"no word of the cause ({self.cause})"
        if not re.search(self.mend, said):
            return f"no word of what to do ({self.mend})"
        if "Traceback (most recent call last)" in ended.err:
            return "a traceback"
        return ""


FAILURES: list[Failure] = []


def failure(
    *, code: int, cause: str, mend: str, slow: bool = False
) -> Callable[[Produce], Produce]:
    """Add a function to the list."""

    def add(produce: Produce) -> Produce:
        name = produce.__name__.replace("_", " ")
        FAILURES.append(
            Failure(name=name, produce=produce, code=code, cause=cause, mend=mend, slow=slow)
        )
        return produce

    return add


# Tools that are missing, old or broken.


@failure(code=4, cause="no C\\+\\+ compiler", mend="Run: .*install|apt install g\\+\\+")
def no_compiler(scene: Scene) -> Ended:
    path = scene.without(HIDDEN)
    return scene.llamabuild("build", "--toolchain", "machine", PATH=path)


@failure(code=4, cause="/nowhere/g\\+\\+", mend="CXX|CC")
def a_compiler_that_is_not_there(scene: Scene) -> Ended:
    return scene.llamabuild("build", CC="/nowhere/gcc", CXX="/nowhere/g++")


@failure(code=4, cause="cc1plus|does not|cannot", mend="CC|CXX|[Ii]nstall")
def a_compiler_that_cannot_start(scene: Scene) -> Ended:
    """The driver is there and the compiler proper is not, as after half an installation."""
    asked = ["g++", "-print-prog-name=cc1plus"]
    real = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if os.geteuid() or not Path(real).is_file() or not shutil.which("unshare"):
        raise Unavailable("cc1plus cannot be taken away here (it takes root)")
    hide = f'mount --bind /dev/null {real} && exec "$@"'
    first = ("unshare", "--mount", "sh", "-c", hide, "sh")
    words = ("build", "--toolchain", "machine")
    return scene.llamabuild(*words, cache=scene.folder / "c", first=first)


@failure(code=0, cause="/artifacts/", mend="pip install")
def a_cmake_that_is_too_old(scene: Scene) -> Ended:
    old = scene.folder / "old"
    argv = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(old)]
    subprocess.run([*argv, "cmake==3.18.4.post1"], check=False, capture_output=True)
    program = old / "cmake" / "data" / "bin"
    if not (program / "cmake").is_file():
        raise Unavailable("an old cmake cannot be had here")
    return scene.llamabuild("setup", PATH=f"{program}{os.pathsep}{scene.environ['PATH']}")


@failure(code=0, cause="/artifacts/", mend="pip install")
def no_cmake_and_no_ninja(scene: Scene) -> Ended:
    pattern = re.compile(r"(cmake|ninja|ninja-build)")
    return scene.llamabuild("setup", PATH=scene.without(pattern))


@failure(code=7, cause="-mquantum", mend="fix: ")
def a_compiler_without_an_option(scene: Scene) -> Ended:
    recipe = scene.folder / "mine.toml"
    recipe.write_text(
        'summary = "mine"\nbackends = ["cpu"]\n[flags]\n'
        'CMAKE_CXX_FLAGS = { value = "-mquantum", why = "mine" }\n'
    )
    return scene.llamabuild("build", str(recipe), cache=scene.copy())


@failure(code=2, cause="GGML_QUANTUM", mend="GGML_|[Rr]emove|known")
def an_option_that_llama_cpp_does_not_have(scene: Scene) -> Ended:
    recipe = scene.folder / "mine.toml"
    recipe.write_text(
        'summary = "mine"\nbackends = ["cpu"]\n[flags]\n'
        'GGML_QUANTUM = { value = true, why = "mine" }\n'
    )
    return scene.llamabuild("build", str(recipe), cache=scene.copy())


# Accelerators.


@failure(code=3, cause="glslc", mend="install .*(glslc|shaderc)|Vulkan SDK")
def vulkan_without_glslc(scene: Scene) -> Ended:
    path = scene.without(re.compile("glslc"))
    return scene.llamabuild("build", "vulkan", PATH=path, GGML_VK_VISIBLE_DEVICES="0")


@failure(code=3, cause="(?i)nvidia", mend="next: .+")
def cuda_without_a_gpu(scene: Scene) -> Ended:
    return scene.llamabuild("build", "cuda-native")


_MACHINES = Path(__file__).resolve().parent.parent / "machines"


def _for(scene: Scene, machine: str, recipe: str) -> Ended:
    """A build for a recorded machine, with the toolkit of this one."""
    if recipe == "cuda-native" and not shutil.which("/usr/local/cuda/bin/nvcc"):
        raise Unavailable("nvcc is not here")
    words = ("build", recipe, "--machine", str(_MACHINES / f"{machine}.json"))
    return scene.llamabuild(*words, "--toolchain", "machine")


@failure(code=3, cause="no longer compiles for compute capability 6.1", mend="next: .+")
def a_gpu_too_old_for_the_toolkit(scene: Scene) -> Ended:
    return _for(scene, "gtx-1070", "cuda-native")


@failure(code=3, cause="has no cuBLAS", mend="install .*cublas")
def a_toolkit_without_cublas(scene: Scene) -> Ended:
    return _for(scene, "h200", "cuda-native")


@failure(code=3, cause="Driver/library version mismatch", mend="Restart")
def a_driver_that_was_updated_under_way(scene: Scene) -> Ended:
    return _for(scene, "nvidia-driver-mismatch", "cuda-native")


@failure(code=3, cause="no Vulkan loader", mend="install .*vulkan")
def vulkan_without_a_loader(scene: Scene) -> Ended:
    return _for(scene, "container-without-driver", "vulkan")


@failure(code=3, cause="(?i)rocm|AMD", mend="next: .+")
def hip_without_rocm(scene: Scene) -> Ended:
    return scene.llamabuild("build", "hip")


@failure(code=3, cause="(?i)oneapi|SYCL|icpx", mend="next: .+")
def sycl_without_oneapi(scene: Scene) -> Ended:
    return scene.llamabuild("build", "sycl")


@failure(code=3, cause="(?i)macOS|Apple", mend="next: .+")
def metal_on_linux(scene: Scene) -> Ended:
    return scene.llamabuild("build", "metal")


# Source, network, disk, cache.


@failure(code=6, cause="(?i)sha.?256|hash", mend="next: .+")
def a_source_with_a_wrong_hash(scene: Scene) -> Ended:
    with _index(scene, lambda data: data[:-1] + bytes([data[-1] ^ 1])) as address:
        return scene.llamabuild("build", cache=scene.folder / "c", **_only(address))


@failure(
    code=5, cause="llama.cpp|llama_cpp_python|source", mend="PIP_INDEX_URL|PIP_FIND_LINKS|save it"
)
def a_source_that_nobody_serves(scene: Scene) -> Ended:
    with taken_port() as port:
        pass
    address = f"http://127.0.0.1:{port}/simple"
    return scene.llamabuild("build", cache=scene.folder / "c", **_only(address))


@failure(code=5, cause="network is off", mend="PIP_FIND_LINKS|save it")
def offline_without_the_source(scene: Scene) -> Ended:
    return scene.llamabuild("build", "--offline", cache=scene.folder / "c")


@failure(code=10, cause="MiB free|disk is full", mend="Free some space|LLAMABUILD_CACHE")
def a_disk_that_is_full(scene: Scene) -> Ended:
    with mounted(scene.folder / "small", "size=20m") as small:
        return scene.llamabuild("build", cache=small / "cache")


@failure(code=9, cause="(?i)read-only|cannot be written", mend="LLAMABUILD_CACHE|writ")
def a_cache_that_is_read_only(scene: Scene) -> Ended:
    with mounted(scene.folder / "ro", "size=20m,ro") as here:
        return scene.llamabuild("build", cache=here / "cache")


@failure(code=9, cause="(?i)noexec|not allow|execut", mend="LLAMABUILD_CACHE|noexec")
def a_cache_where_nothing_may_be_executed(scene: Scene) -> Ended:
    with mounted(scene.folder / "noexec", "size=3000m,noexec") as here:
        return scene.llamabuild("build", cache=here / "cache")


@failure(code=9, cause="newer", mend="LLAMABUILD_CACHE|[Uu]pdate|newer")
def a_cache_of_a_newer_version(scene: Scene) -> Ended:
    other = scene.folder / "c"
    scene.llamabuild("store", "ls", cache=other)
    layout = other / "layout.json"
    layout.write_text(re.sub(r"\d+", "99", layout.read_text()))
    return scene.llamabuild("build", cache=other)


# Python.


@failure(code=4, cause="not a virtual environment", mend="venv")
def an_environment_that_is_none(scene: Scene) -> Ended:
    return scene.llamabuild("setup", "--into", str(scene.folder))


@failure(code=4, cause="cannot be run here", mend="-m venv")
def a_python_for_another_processor(scene: Scene) -> Ended:
    venv = scene.folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    real = Path(sys.executable).resolve().read_bytes()
    for name in python.parent.glob("python*"):
        name.unlink()
    python.write_bytes(real[:18] + (243).to_bytes(2, "little") + real[20:])  # EM_RISCV
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return scene.llamabuild("setup", "--into", str(venv))


# Bindings, libraries, drivers.


@failure(code=11, cause="(?i)struct|function|argument|field", mend="next: .+")
def bindings_for_another_llama_cpp(scene: Scene) -> Ended:
    wanted = "llama_cpp_python==0.3.2"
    argv = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    argv += ["--no-build-isolation", "-d", str(scene.folder), wanted]
    subprocess.run(argv, check=False, capture_output=True)
    found = next(scene.folder.glob("llama_cpp_python-*.tar.gz"), None)
    if found is None:
        raise Unavailable(f"{wanted} cannot be had here")
    shutil.unpack_archive(found, scene.folder, filter="data")
    tree = next(scene.folder.glob("llama_cpp_python-*/vendor/llama.cpp"))
    return scene.llamabuild("build", "--llama-cpp", str(tree), cache=scene.copy())


def _patched(scene: Scene, needed: str) -> Path:
    """A copy of the healthy build whose libraries need another one as well."""
    if not shutil.which("patchelf"):
        raise Unavailable("patchelf is not here")
    other = scene.folder / "build"
    shutil.copytree(scene.artifact(), other, symlinks=True)
    library = next((other / "lib").glob("libggml-base.so*"))
    subprocess.run(["patchelf", "--add-needed", needed, str(library)], check=True)
    return other


@failure(code=8, cause="libcuda\\.so\\.1", mend="driver")
def no_driver_of_nvidia(scene: Scene) -> Ended:
    return scene.llamabuild("prove", str(_patched(scene, "libcuda.so.1")))


@failure(code=8, cause="libquantum\\.so\\.7", mend="[Ii]nstall")
def a_library_that_is_missing(scene: Scene) -> Ended:
    return scene.llamabuild("prove", str(_patched(scene, "libquantum.so.7")))


@failure(code=1, cause="GLIBCXX_[\\d.]+", mend="libstdc\\+\\+|LD_LIBRARY_PATH")
def a_libstdcxx_that_is_too_old(scene: Scene) -> Ended:
    old = _old_libstdcxx(scene.folder)
    return scene.tool("llama-bench", "--help", LD_LIBRARY_PATH=str(old))


def _old_libstdcxx(folder: Path) -> Path:
    """GCC 6's libstdc++, as far as a loader looks at it: the real library without its newer
    versions' names."""
    real = subprocess.run(
        ["g++", "-print-file-name=libstdc++.so.6"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if not Path(real).is_file():
        raise Unavailable("there is no libstdc++.so.6")
    data = Path(real).resolve().read_bytes()
    for name in set(re.findall(rb"GLIBCXX_3\.4\.(?:2[3-9]|3\d)\0", data)):
        data = data.replace(name, b"GLIBCXX_0" + name[9:])
    place = folder / "old"
    place.mkdir()
    (place / "libstdc++.so.6").write_bytes(data)
    return place


# Models and running.


def _model(scene: Scene, architecture: str = "llama") -> Path:
    """The header of a model."""
    import gguf
    import numpy as np

    path = scene.folder / "model.gguf"
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_context_length(64)
    writer.add_tensor("token_embd.weight", np.zeros((64, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@failure(code=1, cause="quantum9", mend="(?i)newer|update|upgrade")
def a_model_of_an_unknown_architecture(scene: Scene) -> Ended:
    return scene.tool("llama-server", "-m", str(_model(scene, "quantum9")))


@failure(code=1, cause="(?i)not a GGUF|magic", mend="(?i)download|git lfs")
def a_model_that_is_a_pointer_of_git_lfs(scene: Scene) -> Ended:
    model = scene.folder / "model.gguf"
    model.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    return scene.tool("llama-server", "-m", str(model))


@failure(code=1, cause="(?i)no such file|not found|does not exist", mend="(?i)path|name")
def a_model_that_is_not_there(scene: Scene) -> Ended:
    return scene.tool("llama-server", "-m", str(scene.folder / "none.gguf"))


@failure(code=1, cause="(?i)truncated|incomplete|corrupt|cut", mend="(?i)download")
def a_model_that_is_cut_off(scene: Scene) -> Ended:
    model = _model(scene)
    model.write_bytes(model.read_bytes()[:-2000])
    return scene.tool("llama-server", "-m", str(model))


@failure(code=1, cause="(?i)port .*(use|taken)|another program", mend="--port")
def a_port_that_is_in_use(scene: Scene) -> Ended:
    with taken_port() as port:
        return scene.tool("llama-server", "--port", str(port), "-m", str(_model(scene)))


@failure(code=1, cause="--quantum", mend="--help|option|argument")
def an_argument_that_nobody_knows(scene: Scene) -> Ended:
    return scene.tool("llama-server", "--quantum", "9")


@failure(code=2, cause="llama-quantum", mend="llama-server")
def a_tool_that_is_not_there(scene: Scene) -> Ended:
    return scene.tool("llama-quantum")


# Remedies: the run ends proved.


@failure(code=0, cause="healed: without-ccache", mend="", slow=True)
def a_compiler_cache_that_breaks(scene: Scene) -> Ended:
    """ccache loses the folder for its temporary files after some calls."""
    real = shutil.which("ccache")
    if not real:
        raise Unavailable("ccache is not here")
    count = scene.folder / "count"
    text = (
        f'echo x >> "{count}"\n'
        f'[ $(wc -l < "{count}") -gt 40 ] && export CCACHE_TEMPDIR=/proc/nowhere\n'
        f'exec {real} "$@"'
    )
    path = scene.before(ccache=text)
    return scene.llamabuild("setup", cache=_fresh(scene), PATH=path)


@failure(code=0, cause="healed: once-more", mend="", slow=True)
def a_compiler_that_crashes_once(scene: Scene) -> Ended:
    """It gets too small a stack, once. (A compiler cache would try again by itself.)"""
    real, mark = shutil.which("g++"), scene.folder / "crashed"
    text = (
        f'case "$*" in *llama-vocab.cpp*) [ -e "{mark}" ] || '
        f'{{ touch "{mark}"; ulimit -s 100; }};; esac\nexec {real} "$@"'
    )
    path = scene.before(**{"cxx": text, "g++": text})
    plain = ("setup", "--compiler-cache", "none")
    return scene.llamabuild(*plain, cache=_fresh(scene), PATH=path)


@failure(code=0, cause="healed: fewer-jobs", mend="", slow=True)
def a_compiler_that_runs_out_of_memory(scene: Scene) -> Ended:
    group = Path("/sys/fs/cgroup/memory") / f"llamabuild-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(2000 << 20))
    except OSError as error:
        raise Unavailable(f"no memory cgroup can be made here ({error})") from error
    hog = _hog(group, 1400 << 20)
    first = f"echo $$ > {group}/cgroup.procs; echo 1000 > /proc/self/oom_score_adj"
    join = ("sh", "-c", f'{first}; exec "$@"', "sh")  # the neighbour is not to be the one
    try:
        return scene.llamabuild(
            "setup", "--compiler-cache", "none", cache=_fresh(scene), first=join
        )
    finally:
        hog.kill()
        hog.wait()
        with contextlib.suppress(OSError):
            group.rmdir()


def _hog(group: Path, size: int) -> subprocess.Popen[bytes]:
    """A neighbour in the same group, which has most of its memory until a compiler was killed."""
    text = (
        "import os, time, pathlib, sys\n"
        f"g = pathlib.Path('{group}')\n"
        "(g / 'cgroup.procs').write_text(str(os.getpid()))\n"
        "time.sleep(45)\n"  # how many jobs there is memory for has been decided by then
        f"held = b'x' * {size}\n"
        "while 'oom_kill 0' in (g / 'memory.oom_control').read_text(): time.sleep(0.2)\n"
        "del held\n"
        "time.sleep(10000)\n"
    )
    return subprocess.Popen([sys.executable, "-c", text])


def _fresh(scene: Scene) -> Path:
    """A cache with the source and nothing that was built."""
    fresh = scene.folder / "fresh"
    scene.llamabuild("store", "ls", cache=fresh)
    for name in ("downloads", "sources"):
        old, new = scene.cache / name, fresh / name
        if old.is_dir():
            shutil.copytree(old, new, symlinks=True, dirs_exist_ok=True, copy_function=os.link)
    return fresh


def _only(address: str) -> dict[str, str]:
    """An environment in which this index is the only place for packages."""
    own = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
    return {**own, "PIP_INDEX_URL": address}


@contextlib.contextmanager
def _index(scene: Scene, spoil: Callable[[bytes], bytes]) -> Iterator[str]:
    """An index whose source distribution is spoilt."""
    kept = next((scene.cache / "downloads").glob("*llama_cpp_python-*.tar.gz"), None)
    if kept is None:
        raise Unavailable("the cache has no source distribution")
    name = kept.name.partition("-")[2]
    with tempfile.TemporaryDirectory(dir=scene.folder) as root:
        folder = Path(root) / "simple" / "llama-cpp-python"
        folder.mkdir(parents=True)
        (folder / name).write_bytes(spoil(kept.read_bytes()))
        (folder / "index.html").write_text(f'<a href="{name}">{name}</a>')
        with served(Path(root)) as address:
            yield f"{address}/simple/"
