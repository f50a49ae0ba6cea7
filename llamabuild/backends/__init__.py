"""The ordered table of back-ends: the preferred first, ``cpu`` last and always present."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llamabuild.backends import blas, cann, cpu, cuda, hip, metal, musa, opencl, rpc, sycl, vulkan
from llamabuild.backends.interface import Backend, Doubt, Driver, Evidence, Fit, Found

__all__ = ["BACKENDS", "Backend", "Doubt", "Driver", "Evidence", "Fit", "Found"]

BACKENDS: Final[Mapping[str, Backend]] = {
    "cuda": cuda,
    "hip": hip,
    "musa": musa,
    "metal": metal,
    "cann": cann,
    "sycl": sycl,
    "vulkan": vulkan,
    "opencl": opencl,
    "blas": blas,
    "rpc": rpc,
    "cpu": cpu,
}
