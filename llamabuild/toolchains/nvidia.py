"""CUDA toolkits as kits bring them: NVIDIA's wheels, put together the way CMake looks for them.

The wheels of CUDA 13 unpack to one folder, ``nvidia/cu13``. It has neither ``lib64`` nor the names
that a linker looks for (``libcublas.so``), and there is no stub of the driver's library.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Final

from llamabuild import kits
from llamabuild.errors import IntegrityError
from llamabuild.host import Host
from llamabuild.model import Kit

_PARTS: Final = ("bin", "include", "lib", "nvvm")
_NEEDED: Final = (
    *(
        "bin/nvcc",
        "bin/ptxas",
        "nvvm/bin/cicc",
        "include/cuda_runtime.h",
        "include/cccl/cub/cub.cuh",
    ),
    *("include/cublas_v2.h", "lib64/libcublas.so", "lib64/libcudart.so"),
)
_IN_SITE: Final = "../../nvidia/cu13/lib"
"""NVIDIA's own folder in ``site-packages``, seen from ``llama_cpp/lib`` there."""
_IN_CACHE: Final = "../../../.."
"""The cache, seen from the libraries of an artifact: ``artifacts/FINGERPRINT/KEY/lib``."""
_AT_RUN_TIME: Final = ("nvidia-cublas", "nvidia-cuda-runtime")
_LIBRARY: Final = re.compile(r"(lib\w+\.so)(?:\.\d+)+")


def ready(kit: Kit, folder: Path, host: Host) -> None:  # noqa: ARG001 - nothing is run
    """One toolkit in ``folder/toolkit``. Raises IntegrityError when the wheels do not make one."""
    toolkit = folder / "toolkit"
    for package in sorted((folder / "nvidia").iterdir()):
        for part in (package / name for name in _PARTS):
            if part.is_dir():
                _move(part, toolkit / part.name)
    _link(toolkit)
    (toolkit / "kit.json").write_text(json.dumps(_at_run_time(kit)))
    if missing := [name for name in _NEEDED if not (toolkit / name).exists()]:
        raise IntegrityError(
            f"the kit {kit.name} makes no toolkit: there is no {', '.join(missing)}",
            "Its wheels are not those that belong together. Please report this.",
        )


def _at_run_time(kit: Kit) -> dict[str, object]:
    """What a result needs of the toolkit where it runs: the same wheels, or newer ones of the same
    major version, which is that of the sonames; in the cache the kit itself."""
    needed = (one for one in kit.wheels if one.name in _AT_RUN_TIME)
    requires = [
        f"{one.name}>={one.version},<{int(one.version.partition('.')[0]) + 1}" for one in needed
    ]
    here = toolkit(kit, Path(_IN_CACHE)) / "lib"
    return {"requires": requires, "places": [_IN_SITE, here.as_posix()]}


def toolkit(kit: Kit, cache: Path) -> Path:
    """Where the toolkit of an unpacked kit is."""
    return kits.folder(kit, cache) / "toolkit"


def _move(source: Path, target: Path) -> None:
    """All of a folder's files into another one: packages share folders, not files."""
    for path in [one for one in source.rglob("*") if one.is_file()]:
        place = target / path.relative_to(source)
        if place.exists():
            continue  # an __init__.py
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)


def _link(toolkit: Path) -> None:
    """The names that CMake and linkers look for."""
    libraries = toolkit / "lib"
    if not libraries.is_dir():
        return
    (toolkit / "lib64").symlink_to("lib", target_is_directory=True)
    for name in sorted(os.listdir(libraries)):
        found = _LIBRARY.fullmatch(name)
        if found and not (libraries / found[1]).exists():
            (libraries / found[1]).symlink_to(name)
