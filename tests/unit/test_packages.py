"""Hints are commands to copy: the right package manager, and never an empty text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamabuild import data, packages
from tests.unit.recorded import RecordedHost

# /etc/os-release as these systems ship it; addresses are left out, and so are fields nobody asks.
RELEASES = {
    "debian-12": """PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
""",
    "ubuntu-24.04": """PRETTY_NAME="Ubuntu 24.04.1 LTS"
NAME="Ubuntu"
VERSION_ID="24.04"
VERSION="24.04.1 LTS (Noble Numbat)"
VERSION_CODENAME=noble
ID=ubuntu
ID_LIKE=debian
UBUNTU_CODENAME=noble
LOGO=ubuntu-logo
""",
    "fedora-41": """NAME="Fedora Linux"
VERSION="41 (Workstation Edition)"
RELEASE_TYPE=stable
ID=fedora
VERSION_ID=41
VERSION_CODENAME=""
PLATFORM_ID="platform:f41"
PRETTY_NAME="Fedora Linux 41 (Workstation Edition)"
ANSI_COLOR="0;38;2;60;110;180"
VARIANT="Workstation Edition"
VARIANT_ID=workstation
""",
    "arch": """NAME="Arch Linux"
PRETTY_NAME="Arch Linux"
ID=arch
BUILD_ID=rolling
ANSI_COLOR="38;2;23;147;209"
LOGO=archlinux-logo
""",
    "alpine-3.20": """NAME="Alpine Linux"
ID=alpine
VERSION_ID=3.20.3
PRETTY_NAME="Alpine Linux v3.20"
""",
    "opensuse-tumbleweed": """NAME="openSUSE Tumbleweed"
# VERSION="20250527"
ID="opensuse-tumbleweed"
ID_LIKE="opensuse suse"
VERSION_ID="20250527"
PRETTY_NAME="openSUSE Tumbleweed"
ANSI_COLOR="0;32"
# CPE 2.3 format, boo#1217921
CPE_NAME="cpe:2.3:o:opensuse:tumbleweed:20250527:*:*:*:*:*:*:*"
LOGO="distributor-logo-Tumbleweed"
""",
    "rocky-9": """NAME="Rocky Linux"
VERSION="9.5 (Blue Onyx)"
ID="rocky"
ID_LIKE="rhel centos fedora"
VERSION_ID="9.5"
PLATFORM_ID="platform:el9"
PRETTY_NAME="Rocky Linux 9.5 (Blue Onyx)"
CPE_NAME="cpe:/o:rocky:rocky:9::baseos"
""",
    "amazon-2023": """NAME="Amazon Linux"
VERSION="2023"
ID="amzn"
ID_LIKE="fedora"
VERSION_ID="2023"
PLATFORM_ID="platform:al2023"
PRETTY_NAME="Amazon Linux 2023.5.20240916"
""",
    "nixos": """ANSI_COLOR="1;34"
DISTRIB_ID="nixos"
ID="nixos"
ID_LIKE=""
NAME="NixOS"
PRETTY_NAME="NixOS 24.11 (Vicuna)"
VERSION="24.11 (Vicuna)"
VERSION_CODENAME=vicuna
VERSION_ID="24.11"
""",
    # 64-bit Raspberry Pi OS calls itself Debian, the 32-bit one Raspbian.
    "raspberry-pi-os": """PRETTY_NAME="Raspbian GNU/Linux 12 (bookworm)"
NAME="Raspbian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=raspbian
ID_LIKE=debian
""",
    "openeuler": """NAME="openEuler"
VERSION="22.03 (LTS-SP2)"
ID="openEuler"
VERSION_ID="22.03"
PRETTY_NAME="openEuler 22.03 (LTS-SP2)"
ANSI_COLOR="0;31"
""",
    "mint-22": 'NAME="Linux Mint"\nVERSION_ID="22"\nID=linuxmint\nID_LIKE="ubuntu debian"\n',
    "garuda": "NAME='Garuda Linux'\nID='garuda'\nID_LIKE='arch'\n",
    "gentoo": "NAME=Gentoo\nID=gentoo\n",
}
MANAGERS = {
    "debian-12": "apt",
    "ubuntu-24.04": "apt",
    "fedora-41": "dnf",
    "arch": "pacman",
    "alpine-3.20": "apk",
    "opensuse-tumbleweed": "zypper",
    "rocky-9": "dnf",
    "amazon-2023": "dnf",
    "nixos": "",
    "raspberry-pi-os": "apt",
    "openeuler": "dnf",
    "mint-22": "apt",
    "garuda": "pacman",
    "gentoo": "",
}
GLSLC = {"apt": "glslc", "dnf": "glslc", "pacman": "shaderc", "brew": "shaderc", "else": "The SDK."}
SPIRV = {"apt": "spirv-headers", "dnf": "spirv-headers-devel", "brew": "spirv-headers"}
SDK = {"winget": "KhronosGroup.VulkanSDK", "else": "Install the SDK."}


def linux(release: str | None, *, sudo: bool = False, **environ: str) -> RecordedHost:
    files = {} if release is None else {"/etc/os-release": release}
    programs = {"sudo": "/usr/bin/sudo"} if sudo else {}
    return RecordedHost(files=files, programs=programs, environ=environ)


@pytest.mark.parametrize("name", RELEASES)
def test_distributions_are_known_by_their_family(name: str) -> None:
    assert packages.manager(linux(RELEASES[name])) == MANAGERS[name]


def test_wsl_is_linux_and_the_fallback_place_of_os_release_is_read() -> None:
    wsl = {"/proc/version": "Linux version 5.15.90.1-microsoft-standard-WSL2"}
    host = RecordedHost(files=wsl | {"/usr/lib/os-release": RELEASES["ubuntu-24.04"]})
    assert packages.manager(host) == "apt"


@pytest.mark.parametrize(
    ("os", "manager"), [("macos", "brew"), ("windows", "winget"), ("freebsd", ""), ("msys", "")]
)
def test_other_systems(os: str, manager: str) -> None:
    assert packages.manager(RecordedHost(os=os)) == manager


def test_termux_has_no_os_release() -> None:
    host = linux(None, TERMUX_VERSION="0.118.1")
    assert packages.manager(host) == "pkg"
    assert packages.install(host, {"pkg": "shaderc"}) == "Run: pkg install shaderc"


def test_one_command_brings_all() -> None:
    host = linux(RELEASES["debian-12"])
    assert packages.install(host, GLSLC, SPIRV) == "Run: apt install glslc spirv-headers"
    assert packages.install(host, GLSLC, GLSLC) == "Run: apt install glslc"


def test_sudo_is_asked_for_where_it_is_and_is_needed() -> None:
    debian = linux(RELEASES["debian-12"], sudo=True)
    assert packages.install(debian, GLSLC) == "Run: sudo apt install glslc"
    mac = RecordedHost(os="macos", programs={"sudo": "/usr/bin/sudo"})
    assert packages.install(mac, GLSLC) == "Run: brew install shaderc"


def test_what_the_manager_lacks_is_told_in_words_and_the_command_ends_the_text() -> None:
    host = linux(RELEASES["debian-12"])
    assert packages.install(host, GLSLC, SDK) == "Install the SDK. Run: apt install glslc"
    assert packages.install(host, SDK) == "Install the SDK."
    only_dnf = {"dnf": "x-devel"}
    assert packages.install(host, only_dnf) == "dnf: dnf install x-devel"
    assert packages.install(host, only_dnf, GLSLC) == (
        "dnf: dnf install x-devel; Run: apt install glslc"
    )


def test_an_unknown_manager_sees_examples_and_words() -> None:
    said = packages.install(linux(RELEASES["nixos"]), GLSLC, SPIRV)
    assert said == (
        "apt: apt install glslc spirv-headers; dnf: dnf install glslc spirv-headers-devel; The SDK."
    )
    apart = packages.install(linux(None), {"apt": "a"}, {"dnf": "b"})
    assert apart == "apt: apt install a; dnf: dnf install b"


NAMES = st.dictionaries(
    st.sampled_from([*packages.COMMANDS, "else"]), st.sampled_from(["a", "b c"]), max_size=4
)


@given(
    st.one_of(st.sampled_from(list(RELEASES.values())), st.text(max_size=80)),
    st.sampled_from(["linux", "macos", "windows", "plan9"]),
    st.lists(NAMES, max_size=4),
)
def test_there_is_always_something_to_do(
    release: str, os: str, tables: list[dict[str, str]]
) -> None:
    host = RecordedHost(files={"/etc/os-release": release}, os=os)
    said = packages.install(host, *tables)
    assert said.strip()
    mine = packages.manager(host)
    for names in tables:
        for word in names.get(mine, "").split():
            assert word in said.partition("Run: ")[2].split()


def test_every_table_of_the_back_ends_names_managers_that_exist() -> None:
    checked = 0
    for path in data.package("backends").glob("*.toml"):
        for name, names in data.load(path).get("packages", {}).items():
            assert set(names) <= {*packages.COMMANDS, "else"}, (path.name, name)
            assert names
            assert all(names.values()), (path.name, name)
            checked += 1
    assert checked
