"""Small, complete nouns for tests that are about something else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llamabuild.model import (
    Check,
    Compiler,
    Cpu,
    Feature,
    File,
    Hardware,
    Manifest,
    Pin,
    Plan,
    Proof,
    Requires,
    Speed,
    Tool,
    Toolchain,
)


def compiler(
    family: str = "gcc", version: str = "12.2.0", accepts: frozenset[str] = frozenset()
) -> Compiler:
    return Compiler(
        family=family,
        version=version,
        target="x86_64-linux-gnu",
        cc=f"/usr/bin/{family}",
        cxx=f"/usr/bin/{family}++",
        digest=f"{family}-{version}",
        accepts=accepts,
    )


def toolchain(*compilers: Compiler) -> Toolchain:
    tools = (Tool(name="cmake", version="3.28.0"), Tool(name="ninja", version="1.11.1"))
    return Toolchain(compilers=compilers or (compiler(),), tools=tools)


def hardware(*features: str, arch: str = "x86_64", why: dict[str, str] | None = None) -> Hardware:
    known = tuple(Feature(name=n, advertised=True, enabled=True, executed=True) for n in features)
    unusable = tuple(
        Feature(name=n, advertised=False, enabled=False, executed=False, why=w)
        for n, w in (why or {}).items()
    )
    return Hardware(
        os="linux",
        os_version="6.1",
        arch=arch,
        libc="glibc 2.36",
        cpu=Cpu(vendor="v", name="n", physical_cores=2, logical_cores=2, features=known + unusable),
        cores=2,
        memory=8 << 30,
        memory_available=6 << 30,
        disk_free=50 << 30,
    )


def pin() -> Pin:
    return Pin(
        name="llama-cpp-python",
        version="1.2.3",
        urls=("file:///nowhere",),
        size=1,
        sha256="0" * 64,
        licence="MIT",
        commit="abcdef0",
        build_number=0,
    )


def plan(fingerprint: str = "linux-x86_64-test", recipe: str = "cpu-native") -> Plan:
    return Plan(
        recipe=recipe,
        pin=pin(),
        backends=("cpu",),
        cpu_features=(),
        flags=(),
        targets=("llama",),
        compiler=compiler(),
        tools=(),
        sysroot="glibc 2.36",
        fingerprint=fingerprint,
    )


def proof(*unrun: str) -> Proof:
    return Proof(
        reference="r",
        device="CPU",
        checks=(Check(name="c", detail="d"),),
        speed=(Speed(model="m", threads=2, prompt=1.0, generate=1.0),),
        seconds=1.0,
        unrun=unrun,
    )


def requires(*features: str) -> Requires:
    return Requires(os="linux", arch="x86_64", versions=(("GLIBC", "2.34"),), features=features)


def manifest(key: str, files: Mapping[str, File], recipe: str = "cpu-native") -> Manifest:
    return Manifest(
        version=2,
        key=key,
        llamabuild="0",
        plan=plan(recipe=recipe),
        effective={},
        requires=requires(),
        proof=proof(),
        trials=(),
        files=files,
        seconds=1.0,
        created="2026-01-01T00:00:00+00:00",
    )


def prefix(folder: Path, text: str = "x") -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "wheel").mkdir()
    (folder / "bin" / "llama-cli").write_text(text)
    (folder / "wheel" / "a.whl").write_text(text)
    return folder
