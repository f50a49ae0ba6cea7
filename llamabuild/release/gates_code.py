"""Gates about the libraries of a wheel: what they are is read from their bytes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from llamabuild.audit import Binary, elf
from llamabuild.audit.planned import KERNELS, VARIANT, with_implied
from llamabuild.audit.versions import numbers
from llamabuild.backends import BACKENDS, cpu_sets
from llamabuild.matching.requires import outside, versions
from llamabuild.release import labels, tags
from llamabuild.release.labels import TABLE
from llamabuild.release.opened import Opened

_NOT_FOR_ONE: Final = ("spirv", "nvvm", "offload")
_ORIGIN: Final = re.compile(r"\$ORIGIN(?:/|$)|\$\{ORIGIN\}(?:/|$)")
_LINUX: Final = re.compile(r"manylinux_(\d+_\d+)_")
_CODE: Final = re.compile(TABLE["words"]["code"])


def there(one: Opened) -> Iterator[str]:
    """There are libraries, and all were looked at, but for what the wheel itself says of them."""
    if not any(KERNELS.fullmatch(file.name) for file in one.inventory.binaries):
        yield "there is no library of ggml for the CPU in it"
    for why in one.inventory.unread:
        if why not in one.about.requires.unknown:
            yield f"not looked at: {why}"


def once(one: Opened) -> Iterator[str]:
    """Each library is there once, by its bytes and by the name that loaders know."""
    files = one.inventory.binaries
    for what, keys in (
        ("the same bytes", [file.sha256 for file in files]),
        ("the same soname", [file.elf.soname for file in files if file.elf.soname]),
    ):
        for key, count in Counter(keys).items():
            if count > 1:
                same = [f.path for f in files if key in (f.sha256, f.elf.soname)]
                yield f"{' and '.join(same)} have {what}"


def drivers(one: Opened) -> Iterator[str]:
    """No library of a driver is inside: it has to fit the driver of each machine."""
    for file in one.inventory.binaries:
        names = {file.name, file.elf.soname, _unhashed(file.name)}
        if any(map(tags.is_drivers, filter(None, names))):
            yield f"{file.path} comes with a device's driver and may not be inside"


def _unhashed(name: str) -> str:
    """The name that a library had before it was put in.

    >>> _unhashed("libcuda-1a2b3c4d.so.1"), _unhashed("libggml-cpu.so")
    ('libcuda.so.1', 'libggml-cpu.so')
    """
    return re.sub(r"-[0-9a-f]{8,64}(?=\.)", "", name)


def paths(one: Opened) -> Iterator[str]:
    """Libraries are looked for beside the wheel's own only, never in a folder of the builder."""
    for file in one.inventory.binaries:
        for folder in (*file.elf.rpath, *file.elf.runpath):
            if not _ORIGIN.match(folder):
                yield f"{file.path} looks for libraries in {folder or 'the current folder'}"


def machine(one: Opened) -> Iterator[str]:
    """The tag is for the system and the processor that the libraries are for."""
    about = one.about.requires
    begins = tuple(TABLE["platforms"].get(about.os, ("?",)))
    ends = f"_{tags.spelled(about.os, about.arch)}"
    for platform in one.platforms:
        if not platform.startswith(begins) or not platform.endswith(ends):
            yield f"the tag {platform} is not for {about.os} on {about.arch}"
    for file in one.inventory.binaries:
        if file.elf.arch != about.arch:
            yield f"{file.path} is for {file.elf.arch}, not for {about.arch}"
        if (about.os == "linux") != elf.is_elf(one.folder / file.path):
            yield f"{file.path} is of another system than {about.os}"


def features(one: Opened) -> Iterator[str]:
    """Code uses no CPU feature that the wheel does not name. Where a file asks the processor
    itself, what it runs is its own choice."""
    about = one.about
    common = with_implied((*about.features, *about.requires.features))
    by_name = {row.name: with_implied(row.features) for row in about.requires.variants}
    for file in one.inventory.binaries:
        found = VARIANT.fullmatch(file.name)
        known = by_name.get(found[1], frozenset()) if found and by_name else common
        if not (file.isa.asks or file.elf.dispatched):
            for use in file.isa.uses:
                if use.feature not in known:
                    yield f"{file.path} uses {use.feature} in {use.symbol}, which it does not name"


def level(one: Opened) -> Iterator[str]:
    """A build for a level of x86-64 is marked with it, so that the loader refuses it elsewhere;
    no library is marked with more than the wheel names."""
    about = one.about
    known = with_implied((*about.features, *about.requires.features))
    rows = cpu_sets.rows("level", about.requires.arch)
    for file in one.inventory.binaries:
        marked = isa_level(file)
        beyond = [row for row in rows if row.name == marked and set(row.features) - known]
        if beyond:
            yield f"{file.path} is marked as needing {marked}, which the wheel does not name"
        asked = about.cpu if about.cpu.startswith(TABLE["label"]["level"]) else ""
        if asked and KERNELS.fullmatch(file.name) and file.elf.sections and marked != asked:
            yield f"{file.path} is marked as needing {marked or 'no level'}, not {asked}"


def isa_level(file: Binary) -> str:
    """The highest level of x86-64 that a file is marked with; empty when it is not marked."""
    return max(file.elf.isa_needed, default="")


def code(one: Opened) -> Iterator[str]:
    """The label names exactly the devices that there is code for."""
    named = set(filter(_CODE.fullmatch, one.about.variant.split(".")))
    inside = set(labels.code_words(_codes(one)))
    sealed = any("offload" in kinds for kinds in _kinds(one))
    for word in sorted(named - inside):
        if not sealed:
            yield f"the label names {word}, for which there is no code"
    for word in sorted(inside - named):
        yield f"there is code for {word}, which the label does not name"


def _codes(one: Opened) -> set[tuple[str, str]]:
    pairs = ((c.kind, c.architecture) for f in one.inventory.binaries for c in f.device_code)
    return {pair for pair in pairs if pair[0] not in _NOT_FOR_ONE}


def _kinds(one: Opened) -> Iterator[tuple[str, ...]]:
    return (tuple(c.kind for c in file.device_code) for file in one.inventory.binaries)


def toolkit(one: Opened) -> Iterator[str]:
    """The toolkit of the label is the one whose libraries are needed."""
    words = one.about.variant.split(".")
    for name in one.about.backends:
        word, _ = BACKENDS[name].TRAITS.toolkit if name in BACKENDS else ("", "")
        named = next((one for one in words if word and re.fullmatch(rf"{word}\d+", one)), "")
        version = dict(one.about.requires.toolkits).get(name, "")
        if named and version and labels.toolkit_word(word, version) != named:
            yield f"the label says {named}, the toolkit was {version}"
        for library in outside(one.inventory.binaries, one.about.requires.os) if named else ():
            major = _major(library, TABLE["majors"].get(name, ()))
            if major and not named.startswith(f"{word}{major}"):
                yield f"the label says {named}, and {library} is needed"


def _major(library: str, patterns: list[str]) -> str:
    fits = any(fnmatchcase(library, pattern) for pattern in patterns)
    return library.partition(".so.")[2].partition(".")[0] if fits else ""


def glibc(one: Opened) -> Iterator[str]:
    """Nothing needs a newer glibc than the tag promises."""
    promised = [numbers(f[1].replace("_", ".")) for f in map(_LINUX.match, one.platforms) if f]
    for file in one.inventory.binaries:
        asked = dict(file.elf.versions).get("GLIBC", "")
        if promised and asked and numbers(asked) > min(promised):
            yield f"{file.path} needs glibc {asked}, the tag is {', '.join(one.platforms)}"


def requires(one: Opened) -> Iterator[str]:
    """What llamabuild.json says is required is what is measured again."""
    said, files = one.about.requires, one.inventory.binaries
    known = dict(said.versions)
    again = dict(versions(files))
    for family in sorted(again.keys() | known.keys() - {"macOS"}):
        if again.get(family) != known.get(family):
            yield f"it requires {family} {again.get(family)}, and says {known.get(family)}"
    found = set(outside(files, said.os))
    for name in sorted(found ^ set(said.libraries)):
        yield f"{name} is {'needed and not named' if name in found else 'named and not needed'}"
    if any(file.elf.sections for file in files) and _codes(one) != set(said.device_code):
        both = sorted(_codes(one) ^ set(said.device_code))
        yield f"code for devices differs from what it says: {', '.join(map(' '.join, both))}"
