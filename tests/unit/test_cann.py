# ruff: noqa: E501 - answers stand as they are printed
"""CANN: which Ascend chips are there and served, and that none is ever made up.

The answers are what people show of ``npu-smi info``, word for word.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamabuild.backends import Evidence, cann, cann_probe
from llamabuild.host import Finished
from llamabuild.model import Absence, Device, Tool
from tests.unit import fuzz, values
from tests.unit.recorded import RecordedHost

# Issues of llama-box and of vLLM's Ascend plugin: Atlas 800 A2, driver 24.1.0.3.
A2 = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.0.3                 Version: 24.1.0.3                                             |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 98.1        41                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3389 / 65536         |
+===========================+===============+====================================================+
| 1     910B3               | OK            | 93.6        40                0    / 0             |
| 0                         | 0000:C2:00.0  | 0           0    / 0          53202/ 65536         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | 124528        | python3.8                | 17400                   |
+===========================+===============+====================================================+
"""
# Atlas 300I Duo, driver 24.1.0.1; the second chip of the card as the first.
DUO = """\
+--------------------------------------------------------------------------------------------------------+
| npu-smi 24.1.0.1                                 Version: 24.1.0.1                                     |
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Name                  | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device                | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
+===============================+=================+======================================================+
| 1       310P3                 | OK              | NA           47                0     / 0             |
| 0       0                     | 0000:01:00.0    | 0            1894 / 44215                            |
+-------------------------------+-----------------+------------------------------------------------------+
| 1       310P3                 | OK              | NA           47                0     / 0             |
| 1       1                     | 0000:01:00.0    | 0            1894 / 44215                            |
+===============================+=================+======================================================+
"""
# An issue of vLLM's Ascend plugin: Atlas A3, driver 24.1.rc3.3.
A3 = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.rc3.3               Version: 24.1.rc3.3                                           |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip  Phy-ID              | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910C1               | OK            | 198.7       43                0    / 0             |
| 0     0                   | 0000:9D:00.0  | 0           0    / 0          56844/ 65536         |
+------------------------------------------------------------------------------------------------+
| 0     910C1               | OK            | -           43                0    / 0             |
| 1     1                   | 0000:9F:00.0  | 0           0    / 0          56523/ 65536         |
+===========================+===============+====================================================+
"""
# The first Ascend 910, driver 24.1.0; Orange Pi AI Pro, driver 23.0.rc3; Atlas 300I with the first 310.
FIRST_910 = """\
| npu-smi 24.1.0                   Version: 24.1.0                                               |
| 0     910ProB             | OK            | 78.0        38                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           2387 / 13553      18   / 32768         |
| 1     910B                | OK            | 65.7        38                0    / 0             |
| 0                         | 0000:81:00.0  | 0           2382 / 15038      0    / 32768         |
"""
ORANGE_PI = """\
| npu-smi 23.0.rc3                                 Version: 23.0.rc3                                     |
| 0       310B4                 | Alarm           | 7.2          37                15    / 15            |
| 0       0                     | NA              | 0            1797 / 3513                             |
"""
FIRST_310 = """\
| npu-smi 23.0.0                                   Version: 23.0.0                                       |
| 1024    310                   | OK              | 12.8         76                9     / 969           |
| 0       0                     | 0000:04:00.0    | 0            640  / 7759                             |
"""
# Documentation that leaves lines out.
SHORT = """\
| npu-smi 24.1.rc1.3                 Version: 24.1.rc1.3                         |
| 0     910B1          | OK            | 67.0               42                    |
+----------------------+---------------+------------------------------------------+
"""
ROOT = "/usr/local/Ascend/ascend-toolkit/latest"
NODE = {"/dev/davinci_manager": "", "/dev/davinci0": ""}
SMI = {"/usr/local/bin/npu-smi": ""}
KIT = {
    f"{ROOT}/include/acl/acl.h": "// acl",
    f"{ROOT}/lib64/libascendcl.so": "",
    f"{ROOT}/lib64/libnnopbase.so": "",
    f"{ROOT}/lib64/libopapi.so": "",
    f"{ROOT}/lib64/libacl_op_compiler.so": "",
    f"{ROOT}/x86_64-linux/ascend_toolkit_install.info": (
        "package_name=Ascend-cann-toolkit\nversion=8.2.RC1\narch=x86_64\nos=linux\n"
    ),
}
ALL = NODE | SMI | KIT
SOURCED = {"ASCEND_TOOLKIT_HOME": ROOT, "ASCEND_OPP_PATH": f"{ROOT}/opp"}


def pci(device: str) -> dict[str, str]:
    folder = "/sys/bus/pci/devices/0000:c1:00.0"
    return {
        f"{folder}/class": "0x120000\n",
        f"{folder}/vendor": "0x19e5\n",
        f"{folder}/device": f"0x{device}\n",
    }


def machine(
    said: Finished | str = A2,
    *,
    files: dict[str, str] = ALL,
    environ: dict[str, str] = SOURCED,
    os: str = "linux",
) -> RecordedHost:
    return RecordedHost(files=files, answers={"npu-smi info": said}, environ=environ, os=os)


def absence(host: RecordedHost) -> Absence:
    """The first absence of a machine without a device."""
    found = cann.detect(host)
    assert (found.devices, found.tools) == ((), ())
    assert all(one.what == "cann" and one.why and one.hint for one in found.absent)
    return found.absent[0]


def test_npus_with_all_they_need() -> None:
    found = cann.detect(machine())
    one = Device(
        backend="cann",
        name="Huawei Ascend 910B3",
        architecture="910b3",
        memory=65536 << 20,
        driver="24.1.0.3",
        vendor="huawei",
        kind="discrete",
    )
    assert found.devices == (one, one)
    assert found.absent == ()
    assert [(tool.name, tool.version) for tool in found.tools] == [("cann", "8.2.RC1")]


@pytest.mark.parametrize(
    ("said", "names", "gigabytes"),
    [
        (A2, ["910b3"] * 2, 64),
        (DUO, ["310p3"] * 2, 43),
        (A3, ["910c1"] * 2, 64),
        (A2.replace("910B3  ", "910B2C "), ["910b2c"] * 2, 64),
        (A2.replace("910B3  ", "910B4-1"), ["910b4-1"] * 2, 64),
        (SHORT, [], 0),
        ("", [], 0),
    ],
)
def test_every_form_of_npu_smi_is_read(said: str, names: list[str], gigabytes: int) -> None:
    devices = cann.detect(machine(said)).devices
    assert [one.architecture for one in devices] == names
    assert {one.memory >> 30 for one in devices} <= {gigabytes}
    crlf = said.replace("\n", "\r\n")
    assert cann_probe.parse(crlf) == cann_probe.parse(said)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (FIRST_910, "910ProB is the first Ascend 910"),
        (ORANGE_PI, "310B4 is an Ascend 310B"),
        (FIRST_310, "310 is the first Ascend 310"),
        (A2.replace("910B3  ", "950PR  "), "950PR is an Ascend that llamabuild does not know"),
        (A2.replace("OK      ", "Critical"), "910B3 is not well: npu-smi says Critical"),
    ],
)
def test_chips_that_llama_cpp_cannot_use(said: str, why: str) -> None:
    assert why in absence(machine(said)).why


def test_a_chip_named_only_ascend910_is_told_by_its_pci_id() -> None:
    said = A3.replace("910C1    ", "Ascend910")
    assert "the first Ascend 910" in absence(machine(said, files=ALL | pci("d801"))).why
    devices = cann.detect(machine(said, files=ALL | pci("d803"))).devices
    assert [one.architecture for one in devices] == ["910c", "910c"]


def test_a_build_is_for_one_kind_of_chip() -> None:
    found = cann.detect(machine(A2 + DUO))
    assert {one.architecture for one in found.devices} == {"910b3"}
    assert [one.why for one in found.absent] == [
        "310P3 is of another kind than the 910B that is built for"
    ]
    assert found.tools


# --- what is missing -----------------------------------------------------------------------------


@pytest.mark.parametrize("os", ["macos", "windows", "freebsd"])
def test_where_cann_cannot_be(os: str) -> None:
    host = machine(os=os)
    assert "only for Linux" in absence(host).why
    assert host.started == []


def test_without_a_driver_nothing_is_started() -> None:
    assert absence(machine(files=SMI | KIT)).why == "no Ascend NPU is here"
    host = machine(files=SMI | KIT | pci("d802"))
    one = absence(host)
    assert one.seen == "an Ascend NPU (PCI 19e5:d802)"
    assert "is here without a driver" in one.why
    assert host.started == []


def test_a_network_card_of_the_same_maker_is_no_npu() -> None:
    assert absence(machine(files=pci("a222"))).seen == ""


def test_a_container_without_npu_smi() -> None:
    host = machine(files=NODE | KIT)
    assert "npu-smi is not here" in absence(host).why
    assert "/usr/local/dcmi" in absence(host).hint


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Finished(code=-9, out="", err="", timed_out=True), "did not answer within 5 seconds"),
        (
            Finished(
                code=0,
                out="dcmi model initialized failed, because the device is used. ret is -8020\n",
                err="",
            ),
            "ret is -8020",
        ),
        (
            Finished(
                code=127,
                out="",
                err="npu-smi: error while loading shared libraries: libdrvdsmi_host.so: cannot open\n",
            ),
            "libdrvdsmi_host.so",
        ),
        (Finished(code=-11, out="", err=""), "SIGSEGV"),
        (Finished(code=1, out=A2, err=""), "exit code 1"),
    ],
)
def test_answers_that_are_none(said: Finished, why: str) -> None:
    one = absence(machine(said))
    assert why in one.why
    assert "HwHiAiUser" in one.hint


def test_hidden_by_the_user() -> None:
    assert (
        "hides 910B3" in absence(machine(environ=SOURCED | {"ASCEND_RT_VISIBLE_DEVICES": ""})).why
    )
    assert cann.detect(machine(environ=SOURCED | {"ASCEND_RT_VISIBLE_DEVICES": "0"})).devices


@pytest.mark.parametrize(
    ("gone", "environ", "lacks", "hint"),
    [
        (KIT, SOURCED, "the CANN toolkit", "Install Huawei's CANN toolkit"),
        ({f"{ROOT}/lib64/libopapi.so": ""}, SOURCED, "CANN's libopapi.so", "operators"),
        ({}, {}, "CANN's environment", f"source {ROOT}/set_env.sh"),
    ],
)
def test_what_a_build_lacks_is_told_with_the_device(
    gone: dict[str, str], environ: dict[str, str], lacks: str, hint: str
) -> None:
    files = {name: text for name, text in ALL.items() if name not in gone}
    found = cann.detect(machine(files=files, environ=environ))
    assert {one.lacks for one in found.devices} == {lacks}
    assert found.tools == ()
    assert f"{lacks} is missing" in found.absent[0].why
    assert hint in found.absent[0].hint


def test_the_environment_says_where_cann_is() -> None:
    moved = {name.replace(ROOT, "/opt/cann"): text for name, text in KIT.items()}
    host = machine(files=ALL | moved, environ={"ASCEND_TOOLKIT_HOME": "/opt/cann/"})
    (tool,) = cann.detect(host).tools
    assert tool.path == "/opt/cann/include/acl/acl.h"
    moved = {name: text for name, text in moved.items() if "install.info" not in name}
    host = machine(files=NODE | SMI | moved, environ={"ASCEND_HOME_PATH": "/opt/cann"})
    assert cann.detect(host).tools[0].version == ""


def test_the_driver_tells_its_version_also_in_a_file() -> None:
    said = A2.replace("Version: 24.1.0.3", "Version: N/A     ")
    files = ALL | {
        "/usr/local/Ascend/driver/version.info": "Version=24.1.rc2\nascendhal_version=7\n"
    }
    assert cann.detect(machine(said, files=files)).devices[0].driver == "24.1.rc2"
    assert cann.detect(machine(said)).devices[0].driver == ""


# --- flags ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "soc", "graphs"),
    [
        ("910b3", "Ascend910B3", True),
        ("910b4-1", "Ascend910B4-1", True),
        ("910c", "Ascend910C", True),
        ("310p3", "Ascend310P3", False),
        ("310p", "Ascend310P", False),
    ],
)
def test_the_kind_of_chip_is_always_told(architecture: str, soc: str, graphs: bool) -> None:
    device = Device(backend="cann", name="x", architecture=architecture)
    tool = Tool(name="cann", version="8.5.0", path="/opt/cann/include/acl/acl.h")
    hardware = replace(values.hardware(), devices=(device,))
    found = cann.flags(hardware, replace(values.toolchain(), tools=(tool,)))
    assert all(flag.why for flag in found)
    assert {flag.name: flag.value for flag in found} == {
        "SOC_TYPE": soc,
        "USE_ACL_GRAPH": graphs,
        "CANN_INSTALL_DIR": "/opt/cann",
    }


def test_without_an_npu_a_plan_can_still_be_made() -> None:
    found = {flag.name: flag.value for flag in cann.flags(values.hardware(), values.toolchain())}
    assert found == {"SOC_TYPE": "Ascend910B3", "USE_ACL_GRAPH": True}


@pytest.mark.parametrize(
    ("devices", "offloaded", "good"),
    [
        (("CANN0: Ascend910B3", "CPU: x"), 3, True),
        (("CANN0: Ascend910B3", "CPU: x"), 0, False),
        (("CPU: CANN",), 3, False),
        ((), 0, False),
    ],
)
def test_only_a_run_on_the_npu_is_one(devices: tuple[str, ...], offloaded: int, good: bool) -> None:
    held = ("CANN0", "CPU")
    evidence = Evidence(devices=devices, offloaded=offloaded, layers=3, log="", buffers=held)
    assert (cann.judge(evidence) is None) == good
    assert cann.judge(replace(evidence, buffers=("CPU",)))


# --- garbage -------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([A2, DUO, A3, FIRST_910, ORANGE_PI]), st.integers(0, 2**32))
def test_a_broken_answer_makes_up_no_npu(text: str, seed: int) -> None:
    broken = "\n".join(fuzz._worse(tuple(text.split("\n")), random.Random(seed)))
    npus = cann_probe.parse(broken)
    assert len(npus) <= len(cann_probe.parse(text))
    assert all(npu.name in broken for npu in npus)
    found = cann.detect(machine(broken))
    assert found.devices or found.absent
    assert len(found.tools) == (1 if found.devices else 0)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_an_answer(text: str) -> None:
    assert cann_probe.parse(text) == ()
    assert not cann.detect(machine(text)).devices
