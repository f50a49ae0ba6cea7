"""Every pinned llama.cpp, configured for real: what comes out of CMake must be what was planned.

For each version: this machine, a portable build, made-up x86 machines, an Arm machine by cross
compilation, CUDA and Vulkan; each as llamabuild configures it, and most as pip does through
llama-cpp-python's own project. Nothing is compiled. What is not installed is skipped and said.
CUDA needs a complete toolkit: the one that is found, or that of CUDA_HOME. Ends with exit code 1
at any difference.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from llamabuild import backends, fetch, options, pins, plan, probe, recipes, store  # noqa: E402
from llamabuild.backends import cpu, cuda_toolkits  # noqa: E402
from llamabuild.errors import ConfigError, UnsupportedHardware  # noqa: E402
from llamabuild.events import silent  # noqa: E402
from llamabuild.host import LocalHost  # noqa: E402
from llamabuild.model import (  # noqa: E402
    Compiler,
    Device,
    Feature,
    Hardware,
    Pin,
    Plan,
    Source,
    Toolchain,
)
from tests import trees  # noqa: E402
from tests.trees import configured  # noqa: E402

AVX2 = ("sse4_2", "avx", "f16c", "fma", "avx2", "bmi2")
AVX512 = (*AVX2, "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl")
MACHINES = {
    "AVX": AVX2[:2],
    "AVX2": AVX2,
    "AVX2, VNNI": (*AVX2, "avx_vnni"),
    "AVX-512": AVX512,
    "AVX-512, VNNI, BF16": (*AVX512, "avx512vbmi", "avx512_vnni", "avx512_bf16"),
    "AMX": (*AVX512, "avx512_vnni", "amx_tile", "amx_int8", "amx_bf16"),
}
ARM = {"Armv8": (), "Armv8.2": ("asimddp", "fp16"), "Armv8.6": ("asimddp", "fp16", "sve", "i8mm")}
CUDA_LISTS = (("86",), ("80", "90"), ("75", "89", "120"))
CROSS = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """This machine."""

    host: LocalHost
    hardware: Hardware
    toolchain: Toolchain


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A machine and a recipe. ``pip`` says that the other route is tried too; ``needs`` is a word
    in the name of the option without which a tree may refuse, and must."""

    what: str
    recipe: str
    hardware: Hardware
    toolchain: Toolchain
    extra: tuple[str, ...] = ()
    pip: bool = True
    needs: str = ""


def with_cpu(hardware: Hardware, features: tuple[str, ...], arch: str = "x86_64") -> Hardware:
    """The same machine with another CPU."""
    known = tuple(
        Feature(name=one, advertised=True, enabled=True, executed=True) for one in features
    )
    return replace(hardware, arch=arch, cpu=replace(hardware.cpu, features=known))


def cases(here: Here, version: str) -> Iterator[Case | str]:
    """What is tried on a version; a text is what is skipped, and why."""
    native = Case(
        what="this machine",
        recipe="cpu-native",
        hardware=here.hardware,
        toolchain=here.toolchain,
    )
    yield native
    yield replace(native, what="portable", recipe="cpu-portable")
    yield replace(native, what="fat", recipe="cpu-fat", pip=False, needs="CPU_ALL_VARIANTS")
    if here.hardware.arch == "x86_64":
        for what, features in MACHINES.items():
            yield replace(native, what=what, hardware=with_cpu(here.hardware, features))
    yield from arm(here, native)
    yield from cuda(here, native, version)
    yield from vulkan(here, native)


def arm(here: Here, native: Case) -> Iterator[Case | str]:
    cc, cxx = (here.host.which(f"aarch64-linux-gnu-{name}") for name in ("gcc", "g++"))
    if not cc or not cxx:
        yield "Arm: no aarch64-linux-gnu-g++ (Debian: apt install g++-aarch64-linux-gnu)"
        return
    compiler = Compiler(
        family="gcc",
        version="12.2.0",
        target="aarch64-linux-gnu",
        cc=cc,
        cxx=cxx,
        digest="cross",
        accepts=frozenset(cpu.all_compiler_options("aarch64")),
    )
    tools = tuple(tool for tool in native.toolchain.tools if tool.name != "openssl")
    crossed = Toolchain(compilers=(compiler,), tools=tools)
    for what, features in ARM.items():
        hardware = with_cpu(here.hardware, features, "aarch64")
        yield replace(
            native, what=what, hardware=hardware, toolchain=crossed, extra=CROSS, pip=False
        )


def cuda(here: Here, native: Case, version: str) -> Iterator[Case | str]:
    toolkit = cuda_toolkits.choose(here.host, ("8.0",), "").toolkit
    if not toolkit or toolkit.missing:
        why = toolkit.why if toolkit else "no nvcc"
        yield f"CUDA: {why}; CUDA_HOME can name another toolkit"
        return
    own = tuple(replace(tool, backend="cuda") for tool in toolkit.tools)
    toolchain = replace(native.toolchain, tools=(*native.toolchain.tools, *own))
    for numbers in CUDA_LISTS if version == trees.NEWEST else CUDA_LISTS[1:2]:
        devices = tuple(
            Device(backend="cuda", name=f"GPU {one}", architecture=one, driver="1 (CUDA 99.9)")
            for one in numbers
        )
        hardware = replace(here.hardware, devices=devices)
        what = f"CUDA {' '.join(numbers)}"
        yield replace(
            native, what=what, recipe="cuda-native", hardware=hardware, toolchain=toolchain
        )


def vulkan(here: Here, native: Case) -> Iterator[Case | str]:
    needed = ("/usr/include/vulkan/vulkan.h", "/usr/include/spirv/unified1/spirv.hpp")
    if not here.host.which("glslc") or not all(map(here.host.exists, needed)):
        yield "Vulkan: glslc or headers missing (Debian: libvulkan-dev glslc spirv-headers)"
        return
    device = Device(backend="vulkan", name="GPU", architecture="")
    hardware = replace(here.hardware, devices=(device,))
    yield replace(native, what="Vulkan", recipe="vulkan", hardware=hardware, needs="VULKAN")


def planned(case: Case, pin: Pin) -> Plan:
    recipe = recipes.load(case.recipe, tuple(backends.BACKENDS))
    return plan.plan(recipe, pin, case.hardware, case.toolchain)


def line(*columns: object) -> None:
    widths = (8, 22, 7, 6, 8, 6)
    *first, last = columns
    print("  ".join(f"{one!s:{width}}" for one, width in zip(first, widths, strict=False)), last)


def attempt(
    case: Case, source: Source, route: str, run: Callable[[Plan, Path], configured.Outcome]
) -> bool:
    """One configure run, one line; True when everything is as planned."""
    version = source.pin.version
    made = planned(case, source.pin)
    with tempfile.TemporaryDirectory(prefix="llamabuild-versions-") as name:
        try:
            outcome = run(made, Path(name) / "build")
        except (ConfigError, UnsupportedHardware) as refused:
            right = bool(case.needs) and not has(source, case.needs)
            said = "refused" if right else "REFUSED"
            line(version, case.what, route, "-", "-", said, refused.message)
            return right
        except RuntimeError as error:
            line(version, case.what, route, "-", "-", "FAILED", error)
            return False
        wrong = [*outcome.wrong, *device_code(made, outcome)]
    equal = "NO" if wrong else "equal"
    line(version, case.what, route, outcome.given, len(outcome.ignored), equal, outcome.effective)
    for one in wrong:
        print(f"    {one}")
    return not wrong


def has(source: Source, word: str) -> bool:
    """True when a tree declares an option with ``word`` in its name."""
    return any(word in name for name in options.declared(source.tree).declared)


def device_code(made: Plan, outcome: configured.Outcome) -> list[str]:
    """Whether nvcc is asked for just the planned GPUs."""
    asked = next((f.value for f in made.flags if f.name == "CMAKE_CUDA_ARCHITECTURES"), None)
    if not isinstance(asked, str):
        return []
    wanted, got = configured.wanted_code(asked), configured.generated(outcome.folder)
    outside = f"CMAKE_CUDA_ARCHITECTURES={asked} asks for {sorted(wanted)}, nvcc for {sorted(got)}"
    return [] if wanted == got else [outside]


def version_holds(here: Here, pin: Pin, source: Source) -> bool:
    """All cases of one version. Its recorded options must be those of the tree, too."""
    ok = trees.options(pin.version) == options.declared(source.tree)
    if not ok:
        print(f"{pin.version}: tests/trees/{pin.version}.json is not what the tree declares")
    for case in cases(here, pin.version):
        if isinstance(case, str):
            print(f"{pin.version}: skipped: {case}")
            continue
        arch, extra = case.hardware.arch, case.extra
        ok &= attempt(
            case,
            source,
            "direct",
            lambda made, to, a=arch, e=extra: configured.direct(  # type: ignore[misc]
                made, source, a, to, here.host, e
            ),
        )
        if case.pip:
            ok &= attempt(
                case,
                source,
                "pip",
                lambda made, to, a=arch: configured.by_pip(made, source, a, to, here.host),  # type: ignore[misc]
            )
    return ok


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="versions of llama-cpp-python (else all)")
    arguments = parser.parse_args()
    host = LocalHost()
    if home := os.environ.get("CUDA_HOME"):
        os.environ["CUDACXX"] = f"{home}/bin/nvcc"
    cache = store.open_root(store.default_root(host.environ))
    hardware, toolchain = probe.probe(host, cache=cache)
    here = Here(host=host, hardware=replace(hardware, devices=()), toolchain=toolchain)
    known = sorted(pins.load_pins().values(), key=lambda pin: trees.versions().index(pin.version))
    chosen = [pin for pin in known if not arguments.only or pin.version in arguments.only]
    line("version", "what", "route", "given", "ignored", "equal", "machine options of the CPU code")
    results = [
        version_holds(here, pin, fetch.fetch(pin, cache=cache, host=host, emit=silent))
        for pin in chosen
    ]
    if not all(results):
        sys.exit("some plan is not what was configured")


if __name__ == "__main__":
    main()
