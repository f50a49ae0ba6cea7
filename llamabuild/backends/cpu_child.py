"""Asks the processor itself, and may die of it: run alone, as ``python -I -S cpu_child.py``.

The job comes as JSON on stdin, the answers go line by line to stdout, each written at once, so
that a parent knows after any kind of death what was being executed:

    cpuid LEAF SUBLEAF EAX EBX ECX EDX   (hexadecimal)
    xcr0 BITS                            what the operating system saves (hexadecimal)
    permission granted | REASON          Linux' answer to the request for AMX
    has NAME                             the operating system says so (macOS, Windows)
    try NAME, then: ok NAME | trap NAME REASON
    problem REASON                       nothing can be executed here
    end

Each piece of code is a leaf function that leaves no state behind. Standard library only: nothing
of the package is imported, so the child starts in a few hundredths of a second.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

_SLOT = 64
"""Bytes between two functions: none crosses a cache line it need not, prefixed POWER10
instructions none at all."""
_READ, _WRITE, _EXECUTE = 1, 2, 4
_WINDOWS = sys.platform == "win32"

# cpuid(leaf, subleaf, uint32_t out[4]) and xgetbv(), for the two calling conventions of x86-64.
_CPUID = bytes.fromhex(
    ("5389c889d1" if _WINDOWS else "534989d089f889f1")  # push rbx; (mov r8, rdx;) mov eax, ecx …
    + "0fa241890041895804418948084189500c5bc3"  # cpuid; mov [r8], eax … [r8+12], edx; pop rbx; ret
)
_XGETBV = bytes.fromhex("31c90f01d048c1e2204809d0c3")  # xor ecx, ecx; xgetbv; rax = edx:eax; ret
_TAKE_ARGUMENT = bytes.fromhex("4889c8" if _WINDOWS else "4889f8")  # mov rax, rcx | rdi


def say(*words: object) -> None:
    """One line, out of the process before the next instruction runs."""
    os.write(1, (" ".join(str(word) for word in words) + "\n").encode())


def executable(code: bytes) -> int:
    """The address of executable memory that holds ``code``; it is never writable at that time.

    Raises OSError when the system allows none.
    """
    if _WINDOWS:
        return _windows_memory(code)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if sys.platform == "darwin":
        return _macos_memory(libc, code)
    try:
        # A file in memory: hardened kernels refuse to make anonymous memory executable.
        return _file_memory(libc, code)
    except (OSError, AttributeError):  # an old kernel; a Python built for an old C library
        return _anonymous_memory(libc, code)


def _file_memory(libc: ctypes.CDLL, code: bytes) -> int:
    file = os.memfd_create("code")
    os.write(file, code)
    return _mapped(libc.mmap(None, len(code), _READ | _EXECUTE, 2, file, 0))


def _anonymous_memory(libc: ctypes.CDLL, code: bytes) -> int:
    address = _mapped(libc.mmap(None, len(code), _READ | _WRITE, 0x22, -1, 0))
    ctypes.memmove(address, code, len(code))
    if libc.mprotect(address, len(code), _READ | _EXECUTE) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return address


def _macos_memory(libc: ctypes.CDLL, code: bytes) -> int:
    """Apple silicon wants MAP_JIT (0x800), a switch per thread, and its caches told."""
    everything = _READ | _WRITE | _EXECUTE
    address = _mapped(libc.mmap(None, len(code), everything, 0x1802, -1, 0))
    per_thread = hasattr(libc, "pthread_jit_write_protect_np") and os.uname().machine == "arm64"
    if per_thread:
        libc.pthread_jit_write_protect_np(0)
    ctypes.memmove(address, code, len(code))
    if per_thread:
        libc.pthread_jit_write_protect_np(1)
        libc.sys_icache_invalidate(ctypes.c_void_p(address), ctypes.c_size_t(len(code)))
    return address


def _windows_memory(code: bytes) -> int:
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
    kernel.VirtualAlloc.restype = ctypes.c_void_p
    address = kernel.VirtualAlloc(None, ctypes.c_size_t(len(code)), 0x3000, 0x04)
    if not address:
        raise OSError("VirtualAlloc failed")
    ctypes.memmove(address, code, len(code))
    start, size, before = ctypes.c_void_p(address), ctypes.c_size_t(len(code)), ctypes.c_ulong()
    if not kernel.VirtualProtect(start, size, 0x20, ctypes.byref(before)):
        raise OSError("VirtualProtect failed")
    kernel.FlushInstructionCache(ctypes.c_void_p(-1), start, size)
    return int(address)


def _mapped(address: int | None) -> int:
    if address is None or address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return address


def tile_configuration() -> bytes:
    """Palette 1; tiles 0, 1 and 2 have 16 rows of 64 bytes (Intel SDM, LDTILECFG)."""
    widths, rows = bytearray(32), bytearray(16)
    for tile in range(3):
        widths[2 * tile] = 64
        rows[tile] = 16
    return bytes([1]) + bytes(15) + bytes(widths) + bytes(rows)


def ask_permission() -> str:
    """Asks Linux for AMX, as ggml does: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    if libc.syscall(ctypes.c_long(158), ctypes.c_long(0x1023), ctypes.c_long(18)) == 0:
        return "granted"
    return os.strerror(ctypes.get_errno())


def ask_x86(cpuid: int, xgetbv: int, wanted: list[list[int]]) -> None:
    """Tells the CPUID leaves ``wanted``, as far as this CPU has them, and XCR0."""
    signature = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)
    registers = (ctypes.c_uint32 * 4)()
    call = signature(cpuid)

    def read(leaf: int, subleaf: int) -> list[int]:
        call(leaf, subleaf, ctypes.addressof(registers))
        return list(registers)

    highest = read(0, 0)[0]
    for leaf, subleaf in wanted:
        if leaf <= highest and (subleaf == 0 or subleaf <= read(leaf, 0)[0]):
            say("cpuid", leaf, subleaf, *(f"{register:x}" for register in read(leaf, subleaf)))
    # macOS sets the bits of AVX-512 in XCR0 only when a thread first uses it: no answer there.
    if read(1, 0)[2] >> 27 & 1 and sys.platform != "darwin":
        say("xcr0", f"{ctypes.CFUNCTYPE(ctypes.c_uint64)(xgetbv)():x}")


def ask_system(names: dict[str, dict[str, Any]]) -> None:
    """Tells what macOS and Windows say about Arm extensions."""
    for name, key in names.items():
        if sys.platform == "darwin" and key["sysctl"]:
            value, size = ctypes.c_int(0), ctypes.c_size_t(4)
            path = b"hw.optional.arm." + key["sysctl"].encode()
            found = ctypes.CDLL(None).sysctlbyname(
                path, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
            )
            if found == 0 and value.value:
                say("has", name)
        elif _WINDOWS and key["pf"]:
            kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
            if kernel.IsProcessorFeaturePresent(key["pf"]):
                say("has", name)


def execute(name: str, address: int) -> None:
    """Runs one function. On Windows a trap is an OSError; elsewhere it ends this process."""
    configuration = ctypes.create_string_buffer(tile_configuration(), 64)
    say("try", name)
    try:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(ctypes.addressof(configuration))
    except OSError as error:
        say("trap", name, error)
    else:
        say("ok", name)


def no_core_dump() -> None:
    """Dying is this program's trade: no dump, no crash report."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: a crash collector goes without


def main(job: dict[str, Any]) -> None:
    """Answers one job: ``cpuid`` leaves, ``permission`` to ask for, ``system`` names, ``code``."""
    no_core_dump()
    permission = ask_permission() if job["permission"] and sys.platform == "linux" else ""
    if permission:
        say("permission", permission)
    ask_system(job["system"])
    functions = [_CPUID, _XGETBV]
    for item in job["code"]:
        code = bytes.fromhex(item["code"])
        functions.append(_TAKE_ARGUMENT + code if item["argument"] else code)
    try:
        start = executable(b"".join(code.ljust(_SLOT, b"\0") for code in functions))
    except OSError as error:
        say("problem", f"executable memory is refused: {error}")
        return
    if job["cpuid"]:
        ask_x86(start, start + _SLOT, job["cpuid"])
    for position, item in enumerate(job["code"], start=2):
        if not item["permission"] or permission in ("", "granted"):
            execute(item["name"], start + position * _SLOT)
    say("end")


if __name__ == "__main__":
    if ctypes.sizeof(ctypes.c_void_p) == 8:
        main(json.loads(sys.stdin.buffer.read()))
    else:
        say("problem", "this Python is a 32-bit program")
