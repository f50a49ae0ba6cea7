from __future__ import annotations

import pytest

from llamabuild.host import Finished
from llamabuild.model import Absence, Compiler
from llamabuild.toolchains import msvc
from tests.unit.recorded import RecordedHost

VSWHERE = "C:/Program Files (x86)/Microsoft Visual Studio/Installer/vswhere.exe"
ROOT = "C:/Program Files/Microsoft Visual Studio/2022/Community"
DEFAULT = f"{ROOT}/VC/Auxiliary/Build/Microsoft.VCToolsVersion.default.txt"
CL = f"{ROOT}/VC/Tools/MSVC/14.41.34120/bin/Hostx64/x64/cl.exe"
ANSWER = "C:\\Program Files\\Microsoft Visual Studio\\2022\\Community\r\n"


def machine(
    files: dict[str, str], answer: Finished | str = "", environ: dict[str, str] | None = None
) -> RecordedHost:
    return RecordedHost(os="windows", files=files, answers={"vswhere.exe": answer}, environ=environ)


def test_the_newest_visual_c_is_found() -> None:
    found = msvc.detect(machine({VSWHERE: "", DEFAULT: "14.41.34120\r\n", CL: ""}, ANSWER))
    assert isinstance(found, Compiler)
    assert (found.family, found.version, found.cxx) == ("msvc", "19.41.34120", CL)


def test_the_program_folder_of_the_machine_counts() -> None:
    elsewhere = VSWHERE.replace("C:", "D:")
    environ = {"ProgramFiles(x86)": "D:\\Program Files (x86)"}
    found = msvc.detect(machine({elsewhere: "", DEFAULT: "14.41.34120", CL: ""}, ANSWER, environ))
    assert isinstance(found, Compiler)


@pytest.mark.parametrize(
    ("files", "answer", "why"),
    [
        ({}, "", "no Visual Studio"),
        ({VSWHERE: ""}, "", "without its C++ tools"),
        ({VSWHERE: ""}, Finished(code=87, out="Error", err=""), "without its C++ tools"),
        ({VSWHERE: ""}, ANSWER, "no working cl.exe"),
        ({VSWHERE: "", DEFAULT: "garbage"}, ANSWER, "no working cl.exe"),
        ({VSWHERE: "", DEFAULT: "14.41.34120"}, ANSWER, "no working cl.exe"),
    ],
)
def test_what_is_missing_is_said(files: dict[str, str], answer: Finished | str, why: str) -> None:
    found = msvc.detect(machine(files, answer))
    assert isinstance(found, Absence)
    assert why in found.why
    assert "winget install" in found.hint
