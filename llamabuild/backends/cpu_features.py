"""CPU features in three states: advertised, enabled, executed. Wishes are not enough to run.

What the kernel lists comes from ``/proc/cpuinfo``, read here: ``py-cpuinfo`` reads the same file,
but takes about a second, and through CPUID it knows neither AVX-VNNI nor AVX-512 BF16 nor AMX. It
is asked for vendor and name on Windows; macOS has ``sysctl``. CPUID and XCR0 are read, and every
extension is executed, by a child (:mod:`llamabuild.backends.cpu_child`) that may die.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from llamabuild import data
from llamabuild.backends import proc_cpuinfo, sysctl
from llamabuild.backends.cpu_table import TABLE, Extension, extensions, names
from llamabuild.host import NOT_RECORDED, Finished, Host, Limits, python
from llamabuild.model import Feature

__all__ = [
    "TABLE",
    "Extension",
    "Facts",
    "advertised",
    "decide",
    "detect_features",
    "disabled",
    "execute",
    "extensions",
    "identify",
    "names",
    "understand",
]

_CHILD = "backends/cpu_child.py"
_LIMITS = Limits(seconds=10)
_REGISTERS = ("eax", "ebx", "ecx", "edx")


_SAID = re.compile(
    r"(?:has|ok|try) \S+|trap \S+ .+|(?:permission|problem) .+|end|xcr0 [0-9a-f]{1,16}"
    r"|cpuid [0-9]{1,10} [0-9]{1,10}(?: [0-9a-f]{1,8}){4}"
)
"""The lines that the child writes; whatever else is in its output is not its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about a CPU. None: not known here.

    ``words`` are what the operating system lists, ``cpuid`` maps (leaf, subleaf) to EAX, EBX, ECX
    and EDX, ``permission`` is empty when granted, else the refusal, ``traps`` maps what was
    executed to an empty text or what went wrong, ``problem`` is why nothing could be executed.
    """

    words: frozenset[str] | None = None
    cpuid: Mapping[tuple[int, int], tuple[int, ...]] | None = None
    xcr0: int | None = None
    permission: str | None = None
    traps: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def identify(host: Host) -> tuple[str, str]:
    """Vendor and name of the CPU, for people; the architecture when nothing tells."""
    cpuinfo = host.read_text("/proc/cpuinfo")
    told = proc_cpuinfo.names(cpuinfo) if cpuinfo is not None else sysctl.names(sysctl.ask(host))
    vendor, name = told if cpuinfo is not None or told[1] else _py_cpuinfo(host)
    return vendor or "unknown", name or host.system()[2]


def _py_cpuinfo(host: Host) -> tuple[str, str]:
    asked = host.run([python(), "-m", "cpuinfo", "--json"], limits=Limits(seconds=30))
    try:
        told = json.loads(asked.out)
        return str(told.get("vendor_id_raw", "")), str(told.get("brand_raw", ""))
    except (ValueError, AttributeError):
        return "", ""


def advertised(row: Extension, facts: Facts) -> bool:
    """True when CPUID or the operating system lists the extension."""
    return _in_cpuid(row, facts) or _in_words(row, facts)


def _in_words(row: Extension, facts: Facts) -> bool:
    """By the words of ``/proc/cpuinfo``, or by the name that the child and macOS tell."""
    if facts.words is None:
        return False
    words = set(row.words or (row.name,))
    return words <= facts.words or (row.name not in words and row.name in facts.words)


def _in_cpuid(row: Extension, facts: Facts) -> bool:
    if facts.cpuid is None or row.cpuid is None:
        return False
    registers = facts.cpuid.get((row.cpuid.leaf, row.cpuid.subleaf), (0, 0, 0, 0))
    return bool(registers[_REGISTERS.index(row.cpuid.register)] >> row.cpuid.bit & 1)


def disabled(row: Extension, facts: Facts) -> str:
    """Why the operating system does not let programs use an advertised extension, or empty."""
    if facts.xcr0 is not None and (missing := row.xcr0 & ~facts.xcr0):
        bits = ", ".join(str(bit) for bit in range(64) if missing >> bit & 1)
        return f"the operating system does not save its registers (XCR0 lacks bits {bits})"
    if facts.words is not None and not _in_words(row, facts):
        return (
            "CPUID lists it but the kernel does not: masked by a boot option or mitigation, "
            "or unknown to this kernel"
        )
    if row.permission and facts.permission:
        return f"Linux does not permit it: {facts.permission}"
    return ""


def decide(row: Extension, facts: Facts) -> Feature:
    """One extension's three states from the facts, with the reason when one is not True."""
    if not advertised(row, facts):
        why = _why_not_listed(facts)
        return Feature(name=row.name, advertised=False, enabled=False, executed=False, why=why)
    if off := disabled(row, facts):
        return Feature(name=row.name, advertised=True, enabled=False, executed=False, why=off)
    trap = facts.traps.get(row.name)
    untried = f"it could not be tried: {facts.problem or 'the trial ended before it'}"
    return Feature(
        name=row.name,
        advertised=True,
        enabled=True,
        executed=None if trap is None else not trap,
        why=untried if trap is None else trap,
    )


def _why_not_listed(facts: Facts) -> str:
    if facts.words is None and facts.cpuid is None:
        return f"it is not known whether this CPU has it: {facts.problem or 'nothing tells'}"
    if facts.words and "hypervisor" in facts.words:
        return "this CPU does not have it, or the hypervisor hides it"
    return "this CPU does not have it"


def detect_features(host: Host, arch: str) -> tuple[Feature, ...]:
    """Every extension of the table for ``arch``, tried. Takes under 0.1 s where nothing traps."""
    rows = extensions(arch)
    if not rows:
        return ()
    words = proc_cpuinfo.words(host.read_text("/proc/cpuinfo") or "")
    words = words or sysctl.words(sysctl.ask(host))
    facts = Facts(words=words) if words else _ask(host, rows, ())
    wanted = [row for row in rows if advertised(row, facts) and not disabled(row, facts)]
    facts = execute(host, rows, wanted, facts)
    return tuple(decide(row, facts) for row in rows)


def execute(
    host: Host,
    rows: Sequence[Extension],
    wanted: Sequence[Extension],
    facts: Facts,
    limits: Limits = _LIMITS,
) -> Facts:
    """Execute ``wanted`` in a child, the rest in another after each death; add what they tell."""
    told = _ask(host, rows, wanted, limits)
    facts = replace(
        told,
        words=told.words if facts.words is None else facts.words,
        traps={**facts.traps, **told.traps},
    )
    left = [row for row in wanted if row.name not in told.traps]
    died = any(told.traps.values())
    again = died and 0 < len(left) < len(wanted)
    return execute(host, rows, left, facts, limits) if again else facts


def _ask(
    host: Host, rows: Sequence[Extension], wanted: Sequence[Extension], limits: Limits = _LIMITS
) -> Facts:
    leaves = {(row.cpuid.leaf, row.cpuid.subleaf) for row in rows if row.cpuid}
    job = {
        "cpuid": sorted(leaves),
        "permission": any(row.permission for row in rows),
        "system": {row.name: {"sysctl": row.sysctl, "pf": row.pf} for row in rows if row.pf},
        "code": [
            {name: getattr(row, name) for name in ("name", "code", "argument", "permission")}
            for row in wanted
        ],
    }
    argv = [python(), "-I", "-S", str(data.package(_CHILD))]
    return understand(host.run(argv, limits=limits, stdin=json.dumps(job)))


def understand(child: Finished) -> Facts:
    """What the child told before it ended, and what ended it.

    >>> understand(Finished(code=-4, out="try avx\\nok avx\\ntry avx2\\n", err="")).traps
    {'avx': '', 'avx2': 'SIGILL when executed'}
    """
    told: dict[str, list[list[str]]] = {}
    for line in filter(_SAID.fullmatch, child.out.splitlines()):
        first, *rest = line.split()
        told.setdefault(first, []).append(rest)
    texts = {key: [" ".join(words) for words in lines] for key, lines in told.items()}
    refusal = next(iter(texts.get("permission", ())), None)
    problem = next(iter(texts.get("problem", ())), "")
    if not problem and "end" not in told and len(told.get("try", ())) == len(told.get("ok", ())):
        problem = _death(child)
    return Facts(
        words=frozenset(texts.get("has", ())) or None,
        cpuid={
            (int(leaf), int(subleaf)): tuple(int(register, 16) for register in registers)
            for leaf, subleaf, *registers in told.get("cpuid", ())
        }
        or None,
        xcr0=next((int(bits, 16) for bits in texts.get("xcr0", ())), None),
        permission="" if refusal == "granted" else refusal,
        traps=_traps(told, child),
        problem=problem,
    )


def _traps(told: Mapping[str, list[list[str]]], child: Finished) -> dict[str, str]:
    """What was begun died with the child, unless it was seen to end."""
    begun = {words[0]: f"{_death(child)} when executed" for words in told.get("try", ())}
    caught = {name: f"{' '.join(why)} when executed" for name, *why in told.get("trap", ())}
    return {**begun, **caught, **{words[0]: "" for words in told.get("ok", ())}}


def _death(child: Finished) -> str:
    if child.err == NOT_RECORDED:
        return NOT_RECORDED
    if child.timed_out:
        return "no end within the time limit"
    code = str(child.code) if 0 <= child.code < 256 else f"{child.code:#x}"
    said = child.err.strip().splitlines()
    return child.signal or ": ".join((f"exit code {code}", *said[-1:]))
