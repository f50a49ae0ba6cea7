# ruff: noqa: ANN401 - functions and structures of a C library have no types
"""Ask the Vulkan loader what devices there are; print one JSON object.

Run as a child with a time limit, ``python -I -S vulkan_child.py``, the loaders to try as a JSON
list on stdin: a driver in a bad state hangs or crashes, and that must not happen inside llamabuild.
Nothing of llamabuild is imported. Layouts are those of ``vulkan_core.h``; no instance extension
is used but the one without which macOS hides its devices.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import sys
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char, c_char_p, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any

KINDS = ("OTHER", "INTEGRATED_GPU", "DISCRETE_GPU", "VIRTUAL_GPU", "CPU")
ERRORS = {
    -1: "out of memory",
    -3: "initialization failed",
    -6: "a layer is missing",
    -7: "an extension is missing",
    -9: "incompatible driver",
}
PORTABILITY = b"VK_KHR_portability_enumeration"
VULKAN_1_2 = 1 << 22 | 2 << 12
DEVICE_LOCAL, MOLTENVK = 1, 14
Identity = tuple[bytes, bytes, bool]
"""UUID, LUID (empty where there is none), and whether the driver is MoltenVK. Compared here and
not printed: a UUID is one machine's own."""


def structure(name: str, /, **fields: Any) -> Any:
    """A C structure, for ctypes."""
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


HEAD: Any = {"type": c_uint32, "next": c_void_p}
Properties = structure(  # its limits are passed over: "rest" is room enough for them
    "VkPhysicalDeviceProperties",
    api=c_uint32,
    driver=c_uint32,
    vendor=c_uint32,
    device=c_uint32,
    kind=c_uint32,
    name=c_char * 256,
    rest=c_uint64 * 128,
)
Properties2 = structure("VkPhysicalDeviceProperties2", **HEAD, properties=Properties)
Driver = structure(
    "VkPhysicalDeviceDriverProperties",
    **HEAD,
    id=c_uint32,
    name=c_char * 256,
    info=c_char * 256,
    conformance=c_uint32,
)
Ids = structure(
    "VkPhysicalDeviceIDProperties",
    **HEAD,
    device=c_uint8 * 16,
    driver=c_uint8 * 16,
    luid=c_uint8 * 8,
    node=c_uint32,
    luid_valid=c_uint32,
)
Features2 = structure("VkPhysicalDeviceFeatures2", **HEAD, features=c_uint32 * 55)
Features11 = structure(
    "VkPhysicalDeviceVulkan11Features", **HEAD, storage16=c_uint32, rest=c_uint32 * 11
)
Heap = structure("VkMemoryHeap", size=c_uint64, flags=c_uint32)
Memory = structure(
    "VkPhysicalDeviceMemoryProperties",
    type_count=c_uint32,
    types=c_uint32 * 64,
    heap_count=c_uint32,
    heaps=Heap * 16,
)
Application = structure(
    "VkApplicationInfo",
    **HEAD,
    name=c_char_p,
    version=c_uint32,
    engine=c_char_p,
    engine_version=c_uint32,
    api=c_uint32,
)
Creation = structure(
    "VkInstanceCreateInfo",
    **HEAD,
    flags=c_uint32,
    application=POINTER(Application),
    layer_count=c_uint32,
    layers=c_void_p,
    extension_count=c_uint32,
    extensions=POINTER(c_char_p),
)
Extension = structure("VkExtensionProperties", name=c_char * 256, version=c_uint32)


def main() -> None:
    """Print what :func:`survey` finds, or ``{"error": …}``."""
    try:
        answer = survey(load(json.load(sys.stdin)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent has to be told
        answer = {"error": str(error) or type(error).__name__}
    print(json.dumps(answer))


def load(names: list[str]) -> Any:
    """The first of the loaders that can be loaded. Raises OSError when none can."""
    why = "no Vulkan loader was named"
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            why = str(error)
    raise OSError(why)


def survey(vulkan: Any) -> dict[str, Any]:
    """The loader's version and the devices. Raises OSError saying what Vulkan refuses."""
    version = c_uint32(1 << 22)
    if hasattr(vulkan, "vkEnumerateInstanceVersion"):  # since 1.1
        check(vulkan.vkEnumerateInstanceVersion(byref(version)), "asking for the version")
    instance = create(vulkan, version.value)
    count = c_uint32()
    check(vulkan.vkEnumeratePhysicalDevices(instance, byref(count), None), "listing the devices")
    handles = (c_void_p * count.value)()
    check(vulkan.vkEnumeratePhysicalDevices(instance, byref(count), handles), "listing the devices")
    gpus: list[dict[str, Any]] = []
    known: list[Identity] = []
    for index, handle in enumerate(handles[: count.value]):
        about, identity = describe(vulkan, c_void_p(handle), version.value)
        gpus.append({**about, "twin": twin(identity, known, index)})
        known.append(identity)
    return {"api": dotted(version.value), "gpus": gpus}


def create(vulkan: Any, version: int) -> c_void_p:
    """An instance of the highest version that the loader knows, as ggml makes it."""
    application = Application(name=b"llamabuild", engine=b"", api=version)
    creation = Creation(type=1, application=ctypes.pointer(application))
    if sys.platform == "darwin" and PORTABILITY in extensions(vulkan):
        names = (c_char_p * 1)(PORTABILITY)
        creation.flags, creation.extension_count, creation.extensions = 1, 1, names
    instance = c_void_p()
    check(vulkan.vkCreateInstance(byref(creation), None, byref(instance)), "creating an instance")
    return instance


def extensions(vulkan: Any) -> Iterator[bytes]:
    """The names of the instance's extensions."""
    ask = vulkan.vkEnumerateInstanceExtensionProperties
    count = c_uint32()
    check(ask(None, byref(count), None), "listing the extensions")
    found = (Extension * count.value)()
    check(ask(None, byref(count), found), "listing the extensions")
    return (one.name for one in found)


def describe(vulkan: Any, device: c_void_p, version: int) -> tuple[dict[str, Any], Identity]:
    """One device, and by what it is told from others. What came with Vulkan 1.2 is asked only of
    those that know it."""
    properties, memory = Properties(), Memory()
    vulkan.vkGetPhysicalDeviceProperties(device, byref(properties))
    vulkan.vkGetPhysicalDeviceMemoryProperties(device, byref(memory))
    driver, ids, features = Driver(type=1000196000), Ids(type=1000071004), Features11(type=49)
    if min(version, properties.api) >= VULKAN_1_2:
        fill(
            vulkan.vkGetPhysicalDeviceProperties2, device, Properties2(type=1000059001), ids, driver
        )
        fill(vulkan.vkGetPhysicalDeviceFeatures2, device, Features2(type=1000059000), features)
    kind = KINDS[properties.kind] if properties.kind < len(KINDS) else KINDS[0]
    about = {
        "name": properties.name.decode(errors="replace"),
        "kind": kind,
        "vendor": properties.vendor,
        "device": properties.device,
        "api": dotted(properties.api),
        "driver": driver.info.decode(errors="replace"),
        "driver_id": driver.id,
        "memory": total(memory, shared=kind == "INTEGRATED_GPU"),
        "storage16": bool(features.storage16),
    }
    luid = bytes(ids.luid) if ids.luid_valid else b""
    return about, (bytes(ids.device), luid, driver.id == MOLTENVK)


def total(memory: Any, *, shared: bool) -> int:
    """Bytes as ggml counts them: all heaps of an integrated GPU, else those of the device."""
    heaps = memory.heaps[: memory.heap_count]
    return sum(heap.size for heap in heaps if shared or heap.flags & DEVICE_LOCAL)


def twin(identity: Identity, known: list[Identity], index: int) -> int:
    """The first device that is the same GPU through another driver; a device's own index when
    there is none. MoltenVK gives two GPUs of one card the same UUID: those are no twins."""
    uuid, luid, molten = identity
    for other, (its_uuid, its_luid, its_molten) in enumerate(known):
        same = (any(uuid) and uuid == its_uuid) or (luid and luid == its_luid)
        if same and not (molten and its_molten):
            return other
    return index


def fill(ask: Any, device: c_void_p, *chain: Any) -> None:
    """Have the structures filled in, each pointing to the one after it."""
    for one, other in itertools.pairwise(chain):
        one.next = ctypes.addressof(other)
    ask(device, byref(chain[0]))


def dotted(version: int) -> str:
    """A packed Vulkan version in digits.

    >>> dotted(4206834)
    '1.3.242'
    """
    return f"{version >> 22 & 0x7F}.{version >> 12 & 0x3FF}.{version & 0xFFF}"


def check(result: int, doing: str) -> None:
    """Raise OSError when Vulkan refuses. Incomplete lists (5) are lists."""
    if result not in (0, 5):
        raise OSError(f"{doing} failed: {ERRORS.get(result, f'VkResult {result}')}")


if __name__ == "__main__":
    main()
