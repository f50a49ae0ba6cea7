# ruff: noqa: ANN401 - the NVML module and its handles have no types
"""Ask NVIDIA's management library (NVML) what GPUs there are; print one JSON object.

Run as a child with a time limit, ``python -I cuda_child.py``: a driver in a bad state makes NVML
hang or crash, and that must not happen inside llamabuild. Nothing of llamabuild is imported.
"""

from __future__ import annotations

import json
from typing import Any


def main() -> None:
    """Print what :func:`survey` finds, or ``{"error": …}``."""
    try:
        import pynvml

        pynvml.nvmlInit()
        answer = survey(pynvml)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent has to be told
        answer = {"error": str(error) or type(error).__name__}
    print(json.dumps(answer))


def survey(nvml: Any) -> dict[str, Any]:
    """Driver version, the CUDA version it knows, and the GPUs; ``lost`` are those in trouble."""
    gpus, lost = [], []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            gpus.append(_gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(index)))
        except nvml.NVMLError as error:
            lost.append(f"GPU {index}: {error}")
    return {
        "driver": _text(nvml.nvmlSystemGetDriverVersion()),
        "cuda": _cuda(nvml),
        "gpus": gpus,
        "lost": lost,
    }


def _cuda(nvml: Any) -> str:
    """The CUDA version that the driver knows; empty where it does not say (drivers before 410)."""
    try:
        version = int(nvml.nvmlSystemGetCudaDriverVersion())
    except nvml.NVMLError:
        return ""
    return f"{version // 1000}.{version % 1000 // 10}"


def _gpu(nvml: Any, handle: Any) -> dict[str, Any]:
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    slices = _slices(nvml, handle)
    return {
        "name": _text(nvml.nvmlDeviceGetName(handle)),
        "capability": f"{major}.{minor}",
        # CUDA uses one MIG instance at a time: its memory counts, not the GPU's.
        "memory": _memory(nvml, slices[0] if slices else handle),
        "mig": slices is not None,
        "slices": len(slices or ()),
    }


def _memory(nvml: Any, handle: Any) -> int:
    """Bytes of device memory; 0 where it shares the machine's and NVML does not say."""
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:
        return 0


def _slices(nvml: Any, handle: Any) -> list[Any] | None:
    """Handles of the MIG instances, or None when the GPU is not divided."""
    try:
        if nvml.nvmlDeviceGetMigMode(handle)[0] != 1:
            return None
    except nvml.NVMLError:  # most GPUs cannot be divided at all
        return None
    found = []
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
        except nvml.NVMLError:  # an empty place
            continue
    return found


def _text(value: str | bytes) -> str:
    """Older bindings answer bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


if __name__ == "__main__":
    main()
