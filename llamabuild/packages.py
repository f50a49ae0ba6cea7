"""What a distribution's own package manager calls things, so that a hint is a command to copy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from llamabuild.host import Host

COMMANDS: Final[Mapping[str, str]] = {
    "apt": "apt install",
    "dnf": "dnf install",
    "pacman": "pacman -S",
    "apk": "apk add",
    "zypper": "zypper install",
    "brew": "brew install",
    "winget": "winget install",
    "pkg": "pkg install",
}
"""Package managers, and how each is told to install something. ``pkg`` is Termux's."""
_AS_ROOT: Final = frozenset({"apt", "dnf", "pacman", "apk", "zypper"})
_FAMILIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("debian", "ubuntu", "raspbian", "linuxmint", "pop", "kali"), "apt"),
    **dict.fromkeys(("fedora", "rhel", "centos", "rocky", "almalinux", "amzn", "ol"), "dnf"),
    **dict.fromkeys(("openeuler", "anolis", "mageia", "openmandriva"), "dnf"),
    **dict.fromkeys(("arch", "manjaro", "endeavouros", "cachyos", "archarm"), "pacman"),
    **dict.fromkeys(("alpine", "postmarketos"), "apk"),
    **dict.fromkeys(("opensuse", "suse", "sles", "opensuse-tumbleweed", "opensuse-leap"), "zypper"),
}
"""``ID`` and ``ID_LIKE`` of ``/etc/os-release``, in lower case → package manager. Derived systems
(Mint, Zorin, Nobara, Garuda …) are found by their ``ID_LIKE``."""
_SURE: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("apt", "dnf", "zypper", "pkg"), ("-y",)),
    "pacman": ("--noconfirm",),
}
"""How a package manager is told not to ask."""
_NAME: Final = re.compile(r"-?[A-Za-z0-9][A-Za-z0-9.+_:-]*")
_BY_HAND: Final = "Install it by hand: no package manager is known to have it."


def manager(host: Host) -> str:
    """The package manager of this machine, or an empty string when it is not one of ours."""
    system = host.system()[0]
    if "TERMUX_VERSION" in host.environ:
        return "pkg"
    if system != "linux":
        return {"macos": "brew", "windows": "winget"}.get(system, "")
    text = host.read_text("/etc/os-release") or host.read_text("/usr/lib/os-release") or ""
    told = dict(line.strip().partition("=")[::2] for line in text.splitlines())
    words = f"{told.get('ID', '')} {told.get('ID_LIKE', '')}".lower()
    for word in words.replace('"', " ").replace("'", " ").split():
        if word in _FAMILIES:
            return _FAMILIES[word]
    return ""


def install(host: Host, *packages: Mapping[str, str]) -> str:
    """How to get ``packages``, each given as manager → its names there; never an empty text.

    What the manager of this machine has is one command to copy. For the rest, and where the
    manager is not known, the words under ``else`` say where to get it, or other managers' commands
    serve as examples.
    """
    mine = manager(host)
    here = [names for names in packages if mine in names]
    rest = [names for names in packages if mine not in names]
    parts = [] if mine else _examples(rest)
    parts += [names["else"] for names in rest if "else" in names]
    if rest and not parts:
        parts = _examples(rest) or [each for names in rest for each in _examples([names])]
    if here:  # last, so that nothing follows what is to be copied
        parts.append(f"Run: {_sudo(host, mine)}{_command(mine, here)}")
    return _sentences(dict.fromkeys(parts)) or _BY_HAND


def command(hint: str) -> tuple[str, ...]:
    """The command that a hint of :func:`install` ends with, so that it asks nothing; empty where it
    has none.

    >>> command("Run: sudo apt install g++")
    ('sudo', 'apt', 'install', '-y', 'g++')
    >>> command("Run: brew install openblas"), command("Update the driver.")
    (('brew', 'install', 'openblas'), ())
    """
    words = hint.rpartition("Run: ")[2].split() if "Run: " in hint else []
    bare = words[1:] if words[:1] == ["sudo"] else words
    known = COMMANDS.get(bare[0], "").split() if bare else []
    if not known or bare[: len(known)] != known or not all(map(_NAME.fullmatch, bare)):
        return ()
    sure = _SURE.get(bare[0], ())
    return (*words[: len(words) - len(bare)], *known, *sure, *bare[len(known) :])


def _sudo(host: Host, manager: str) -> str:
    """How to become root where the manager wants it: containers often have no sudo."""
    return "sudo " if manager in _AS_ROOT and host.which("sudo") else ""


def _examples(packages: Sequence[Mapping[str, str]]) -> list[str]:
    """The commands of up to two managers that have all of these packages."""
    has_all = (name for name in COMMANDS if all(name in names for names in packages))
    return [f"{name}: {_command(name, packages)}" for name in has_all][:2] if packages else []


def _command(name: str, packages: Sequence[Mapping[str, str]]) -> str:
    words = dict.fromkeys(word for names in packages for word in names[name].split())
    return f"{COMMANDS[name]} {' '.join(words)}"


def _sentences(parts: Mapping[str, None]) -> str:
    """Parts side by side: after a whole sentence a space, else a semicolon."""
    text = ""
    for part in parts:
        text += f"{'' if not text else ' ' if text.endswith('.') else '; '}{part}"
    return text
