"""Ask the Vulkan loader, else vulkaninfo, what devices there are.

Nothing here raises, and no parser makes up a device: only whole, plausible answers count.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final

import msgspec

from llamabuild import data
from llamabuild.backends.answers import last_object
from llamabuild.host import Finished, Host, Limits, python

_LIMITS: Final = Limits(seconds=5)
_TABLE: Final[dict[str, Any]] = data.load(data.package("backends/vulkan.toml"))
_VERSION: Final = r"[0-9]{1,3}\.[0-9]{1,4}(?:\.[0-9]{1,4})?"
HANGS: Final = f"Vulkan did not answer within {_LIMITS.seconds:.0f} seconds: a driver hangs"


class Gpu(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device as its driver describes it. ``kind`` is like "DISCRETE_GPU" or "CPU", ``vendor`` and
    ``device`` are Vulkan's ids, ``api`` is the Vulkan version, ``driver_id`` a ``VkDriverId``.
    ``memory`` is bytes as ggml counts them. ``storage16`` says whether shaders can keep 16-bit
    numbers in buffers, ``twin`` is the index of the first device that is the same GPU (-1: not
    known). vulkaninfo tells neither of them."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    kind: Annotated[str, msgspec.Meta(pattern="^[A-Z_]+$")]
    api: Annotated[str, msgspec.Meta(pattern=f"^{_VERSION}$")]
    vendor: Annotated[int, msgspec.Meta(ge=0)] = 0
    device: Annotated[int, msgspec.Meta(ge=0)] = 0
    driver: str = ""
    driver_id: int = 0
    memory: Annotated[int, msgspec.Meta(ge=0)] = 0
    storage16: bool = True
    twin: int = -1


class Survey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Vulkan answers: the loader's own version (empty when not told), and the devices."""

    api: str = ""
    gpus: tuple[Gpu, ...] = ()
    error: str = ""


def loaders(host: Host) -> list[str]:
    """The Vulkan loaders of this machine, in the order in which they are to be tried."""
    sdk = host.environ.get("VULKAN_SDK")
    folders = host.environ.get("LD_LIBRARY_PATH", "").split(":")
    paths = [f"{folder}/libvulkan.so.1" for folder in folders if folder]
    paths += [f"{sdk}/lib/libvulkan.{ending}" for ending in ("so.1", "dylib") if sdk]
    paths += _TABLE["loader"].get(host.system()[0], ())
    return [path for path in paths if host.exists(path)]


def survey(host: Host, names: list[str]) -> Survey:
    """Ask one of the loaders in a child; where that fails, vulkaninfo. Never raises."""
    child = data.package("backends/vulkan_child.py")
    argv = [python(), "-I", "-S", str(child)]
    done = host.run(argv, limits=_LIMITS, stdin=json.dumps(names))
    answer = parse_survey(done.out)
    if answer and not answer.error:
        return answer
    if done.timed_out:
        return Survey(error=HANGS)
    if program := host.which("vulkaninfo"):
        said = host.run([program, "--summary"], limits=_LIMITS)
        if gpus := parse_summary(said.out):
            return Survey(gpus=gpus)
    return Survey(error=_why_unanswered(done, answer))


def manifests(host: Host) -> list[str]:
    """Names of the manifests of Vulkan drivers: those the user chose, else the usual ones."""
    for variable in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        if named := host.environ.get(variable):
            paths = named.split(";" if host.system()[0] == "windows" else ":")
            return [path.rpartition("/")[2] for path in paths if path and host.exists(path)]
    every = (name for folder in _TABLE["driver"]["folders"] for name in host.entries(folder))
    return [name for name in every if name.endswith(".json")]


def parse_survey(text: str) -> Survey | None:
    """The child's JSON; None when it is not what the child prints."""
    return last_object(text, Survey)


def parse_summary(text: str) -> tuple[Gpu, ...]:
    """The devices of ``vulkaninfo --summary``, in its order. A block that is incomplete is kept
    out, and so is everything after it: the place in the list is what ggml selects devices by.

    >>> parse_summary('''Devices:
    ... ========
    ... GPU0:
    ...     apiVersion         = 1.3.230
    ...     vendorID           = 0x10005
    ...     deviceType         = PHYSICAL_DEVICE_TYPE_CPU
    ...     deviceName         = llvmpipe (LLVM 15.0.6, 256 bits)
    ...     driverInfo         = Mesa 22.3.6
    ... ''')[0].name
    'llvmpipe (LLVM 15.0.6, 256 bits)'
    """
    _, _, devices = text.partition("\nDevices:\n" if "\nDevices:\n" in text else "Devices:\n")
    found = []
    for block in re.split(r"(?m)^GPU[0-9]+:[ \t]*$", devices)[1:]:
        words = dict(re.findall(r"(?m)^[ \t]+([A-Za-z]+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", block))
        kind = re.fullmatch(r"PHYSICAL_DEVICE_TYPE_([A-Z_]+)", words.get("deviceType", ""))
        # Old ones write "4202730 (1.2.234)".
        api = re.search(rf"\b{_VERSION}\b", words.get("apiVersion", ""))
        if not (kind and api and words.get("deviceName")):
            break
        found.append(
            Gpu(
                name=words["deviceName"],
                kind=kind[1],
                api=api[0],
                vendor=_number(words.get("vendorID", "")),
                device=_number(words.get("deviceID", "")),
                driver=words.get("driverInfo", ""),
            )
        )
    return tuple(found)


def _number(text: str) -> int:
    return int(text, 16) if re.fullmatch(r"0x[0-9a-fA-F]{1,8}", text) else 0


def _why_unanswered(done: Finished, answer: Survey | None) -> str:
    if answer:
        return f"Vulkan does not work: {answer.error}"
    return f"Vulkan could not be asked: {done.signal or f'exit code {done.code}'}"
