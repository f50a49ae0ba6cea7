"""What a distribution's own package manager calls things, so that a hint is a command to copy."""

from __future__ import annotations

from collections.abc import Mapping
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
}
"""Package managers, and how each is told to install something."""
_FAMILIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("debian", "ubuntu", "raspbian", "linuxmint", "pop", "kali"), "apt"),
    **dict.fromkeys(("fedora", "rhel", "centos", "rocky", "almalinux", "amzn", "ol"), "dnf"),
    **dict.fromkeys(("arch", "manjaro", "endeavouros", "cachyos"), "pacman"),
    **dict.fromkeys(("alpine", "postmarketos"), "apk"),
    **dict.fromkeys(("opensuse", "suse", "sles", "opensuse-tumbleweed", "opensuse-leap"), "zypper"),
}
"""``ID`` and ``ID_LIKE`` of ``/etc/os-release`` → package manager."""


def manager(host: Host) -> str:
    """The package manager of this machine, or an empty string when it is not one of ours."""
    system = host.system()[0]
    if system != "linux":
        return {"macos": "brew", "windows": "winget"}.get(system, "")
    told = dict(
        line.partition("=")[::2] for line in (host.read_text("/etc/os-release") or "").splitlines()
    )
    for word in f"{told.get('ID', '')} {told.get('ID_LIKE', '')}".replace('"', "").split():
        if word in _FAMILIES:
            return _FAMILIES[word]
    return ""


def install(host: Host, *packages: Mapping[str, str]) -> str:
    """The command that installs ``packages``, each given as manager → its names there.

    Where the manager is not known, or has not all of them, the first that has is named with it.
    ``else`` holds words for people whose package manager has no such thing.
    """
    mine = manager(host)
    if mine and all(mine in names for names in packages):
        return f"Run: {_command(mine, packages)}"
    if mine and (others := [names["else"] for names in packages if "else" in names]):
        return " ".join(dict.fromkeys(others))
    has_all = (name for name in COMMANDS if all(name in names for names in packages))
    examples = [f"{name}: {_command(name, packages)}" for name in has_all][:2]
    words = [names["else"] for names in packages if "else" in names]
    return "; ".join((*examples, *words))


def _command(name: str, packages: tuple[Mapping[str, str], ...]) -> str:
    words = dict.fromkeys(word for names in packages for word in names[name].split())
    return f"{COMMANDS[name]} {' '.join(words)}"
