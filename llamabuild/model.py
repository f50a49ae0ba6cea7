"""The nouns. Frozen dataclasses without behaviour; a value's existence is a fact.

A :class:`Build` was compiled, a :class:`Proof` was run and passed, an :class:`Artifact` is
published. Nothing here has a ``status``: failure raises an error from :mod:`llamabuild.errors`.
Sizes are bytes, times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# --- what the machine is -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One instruction-set extension of the CPU, in three states.

    ``advertised``: CPUID (or the kernel) lists it. ``enabled``: the operating system saves its
    registers and grants it. ``executed``: one of its instructions was run in a child process
    and did not trap; None when it could not be tried. ``why`` says what is wrong when one of
    them is not True.
    """

    name: str
    advertised: bool
    enabled: bool
    executed: bool | None
    why: str = ""

    @property
    def usable(self) -> bool:
        """True when a program that uses this extension is expected to run: an extension that
        could not be tried is believed, since the result is proved before it is kept."""
        return self.advertised and self.enabled and self.executed is not False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """The processor: names are for people, only ``features`` decide anything."""

    vendor: str
    name: str
    physical_cores: int
    logical_cores: int
    features: tuple[Feature, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One accelerator that would run a build. ``architecture`` is the back-end's own word: "90",
    "gfx1100"; ``vendor`` is one lower-case word ("nvidia"), by which two back-ends know that they
    see the same device; ``kind`` is "discrete", "integrated", "weak", "software", "library",
    "network" or empty; ``lacks`` is what making a build for it would still need on this machine,
    empty when nothing."""

    backend: str
    name: str
    architecture: str
    memory: int = 0
    driver: str = ""
    vendor: str = ""
    kind: str = ""
    lacks: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Something that cannot be used, why, and the one step that would change it. ``seen`` names
    what is there all the same (a GPU without its driver); empty when nothing is."""

    what: str
    why: str
    hint: str = ""
    seen: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Facts about the machine. ``cores`` is what this process may use (affinity, cgroup quota);
    ``memory`` likewise is the smaller of the machine's and the cgroup's."""

    os: str
    os_version: str
    arch: str
    libc: str
    cpu: Cpu
    cores: int
    memory: int
    memory_available: int
    disk_free: int
    container: str = ""
    virtual_machine: str = ""
    devices: tuple[Device, ...] = ()
    absent: tuple[Absence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program or development library that a build uses. ``path`` is told, never hashed;
    ``backend`` is the only back-end that needs it, or empty. ``requires`` are Python distributions
    that bring what the result needs of it at run time, and ``places`` are where that is, seen from
    the result's libraries."""

    name: str
    version: str
    path: str = field(compare=False, default="")
    digest: str = ""
    backend: str = ""
    requires: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a canary program found about a compiler: ``ok`` as it is, or ``mended_by`` options."""

    canary: str
    ok: bool
    mended_by: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """A C and C++ compiler pair. ``digest`` covers driver, cc1plus, assembler and linker;
    ``accepts`` holds the options of the ISA table that it can compile for; ``openmp`` is True
    when it links a program that uses OpenMP."""

    family: str
    version: str
    target: str
    cc: str = field(compare=False)
    cxx: str = field(compare=False)
    digest: str
    accepts: frozenset[str] = frozenset()
    openmp: bool = False
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """Everything on this machine that can turn source into libraries, best compiler first."""

    compilers: tuple[Compiler, ...] = ()
    tools: tuple[Tool, ...] = ()
    absent: tuple[Absence, ...] = ()
    explicit_compiler: bool = False


# --- what is wanted ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One CMake cache entry: name, typed value, and why (shown to people, never hashed)."""

    name: str
    value: bool | str
    why: str = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named intention. ``cpu`` is ``native``, ``portable``, ``fat`` or a level; ``backends`` is
    ``("auto",)`` or an explicit list, which is never replaced by something else; ``without``
    are CPU features not to use although they may be there."""

    name: str
    summary: str
    backends: tuple[str, ...] = ("auto",)
    cpu: str = "native"
    without: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A change to a pinned source: a unified diff, whose paths start at the archive's top folder
    (``a/vendor/…``), and its hash. ``why`` it is needed and ``until`` when are for people."""

    name: str
    sha256: str
    text: str
    why: str = field(compare=False)
    until: str = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A file to fetch: where it may be had, and the size and hash that it must have."""

    name: str
    version: str
    urls: tuple[str, ...]
    size: int
    sha256: str
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin(Archive):
    """A source archive.

    ``commit`` and ``build_number`` are those of the llama.cpp tree inside. ``patches`` are applied
    in their order whenever it is unpacked: a pin is one tree, whatever machine it is for.
    ``replaced`` is the digest of a llama.cpp tree that stands in place of the one inside; empty
    when the archive's own does.
    """

    commit: str
    build_number: int
    tree: str = "vendor/llama.cpp"
    patches: tuple[Patch, ...] = ()
    replaced: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """Tools that are brought along where a machine has none: wheels that are unpacked side by side.
    ``what`` they are, for people; ``unpacked`` is their size on the disk in bytes; ``layout`` grows
    when something else is made of the same wheels."""

    name: str
    version: str
    licence: str
    layout: int
    what: str
    unpacked: int
    wheels: tuple[Archive, ...]

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(wheel.size for wheel in self.wheels)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOption:
    """Extra compiler options for one source file of the tree, and why."""

    source: str
    options: tuple[str, ...]
    why: str = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """Something that was changed because the first choice does not work, and the evidence."""

    name: str
    why: str
    evidence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything decided, nothing done.

    ``cpu_features`` are the extensions that the code may use; ``fingerprint`` says in words what
    the result asks of a machine; ``left_out`` are libraries that are compiled but not kept
    because this compiler gets them wrong; ``remedies`` are already part of ``flags`` and
    ``source_options`` and stand here for the people who read the manifest. ``runner`` is the
    program that runs its code here, with arguments; empty when this machine does. ``cpu``,
    ``without`` and ``asked`` are the recipe's own words (``asked`` the names of its flags): what
    they do to the bytes is in ``flags``, and they tell what may not be taken instead.
    """

    recipe: str
    pin: Pin
    backends: tuple[str, ...]
    cpu_features: tuple[str, ...]
    flags: tuple[Flag, ...]
    source_options: tuple[SourceOption, ...] = ()
    targets: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    compiler: Compiler
    tools: tuple[Tool, ...]
    sysroot: str
    fingerprint: str
    remedies: tuple[Remedy, ...] = ()
    absent: tuple[Absence, ...] = ()
    requested: str = ""
    runner: tuple[str, ...] = ()
    cpu: str = "native"
    without: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    @property
    def system(self) -> str:
        """The operating system of the result, as :meth:`llamabuild.host.Host.system` spells it."""
        return self.fingerprint.partition("-")[0]

    def program(self, name: str) -> str:
        """The file name of a program."""
        return f"{name}.exe" if self.system == "windows" else name


# --- what was done -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An unpacked, verified source. ``root`` is the archive's own top folder."""

    pin: Pin
    root: Path

    @property
    def tree(self) -> Path:
        """The llama.cpp tree inside the archive."""
        return self.root / self.pin.tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A compiled, not yet trusted result: ``prefix`` holds ``bin/``, ``lib/`` and ``wheel/``."""

    plan: Plan
    prefix: Path
    wheel: Path
    log: Path
    seconds: float
    effective: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """A short measurement on the proof model: tokens per second, for comparison only."""

    model: str
    threads: int
    prompt: float
    generate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was run and held. ``error`` is the normalised mean squared error of the
    logits against the reference (0 where only tokens were compared)."""

    name: str
    detail: str
    error: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was run, what came out, against which reference, on which device, how fast. ``unrun``
    is what was built and not run: names of back-ends, or words for something else."""

    reference: str
    device: str
    checks: tuple[Check, ...]
    speed: tuple[Speed, ...]
    seconds: float
    unrun: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One attempt on the way to an artifact: what was tried and how it ended."""

    fingerprint: str
    outcome: str
    speed: tuple[Speed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """CPU code of which one is chosen at run time: its name ("haswell") and what it executes."""

    name: str
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requires:
    """What a result asks of the machine that it is to run on, measured from its bytes.

    ``libc`` is the kind of C library ("glibc", "musl", or empty where there is only one), and
    ``versions`` are the highest symbol versions by family (("GLIBC", "2.34")). ``features`` are CPU
    features that code outside the ``variants`` uses, and one of the variants at least has to fit
    (empty: there are none). ``libraries`` are sonames from outside, ``places`` the folders beside
    the system's in which they are looked for, seen from the result's ``lib/``. ``device_code`` are
    pairs of kind and architecture (("sass", "90a"), ("gfx", "gfx1100")) for the devices of
    ``backends``. ``drivers`` are the least versions of drivers by back-end (("cuda", "580.65.06")),
    and ``toolkits`` what compiled code that a driver compiles again (("cuda", "13.0.88")).
    ``unknown`` says in words what could not be measured; what the plan says stands in its place.
    """

    os: str
    arch: str
    libc: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    features: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    libraries: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    device_code: tuple[tuple[str, str], ...] = ()
    drivers: tuple[tuple[str, str], ...] = ()
    toolkits: tuple[tuple[str, str], ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of an artifact: its SHA-256, its size in bytes, and whether it is a program."""

    sha256: str
    size: int
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The record of an artifact. ``files`` are by their path relative to the artifact's folder."""

    version: int
    key: str
    llamabuild: str
    plan: Plan
    effective: Mapping[str, str]
    requires: Requires
    proof: Proof
    trials: tuple[Trial, ...]
    files: Mapping[str, File]
    seconds: float
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A published, proved result. ``key`` names what went in, ``id`` what came out: it is the
    SHA-256 of the manifest, which names every file by its own. ``healed`` are the remedies that led
    from what was asked for to this artifact; those that changed its own plan stand in the manifest
    too."""

    key: str
    id: str
    path: Path
    manifest: Manifest
    healed: tuple[Remedy, ...] = ()

    @property
    def wheel(self) -> Path:
        """The llama-cpp-python wheel of this artifact."""
        return next((self.path / "wheel").glob("*.whl"))
