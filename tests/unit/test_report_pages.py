"""Pages on stdout: whole names, bounded width, and what to do next."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llamabuild.model import (
    Absence,
    Artifact,
    Check,
    Device,
    Feature,
    File,
    Flag,
    Plan,
    Remedy,
    SourceOption,
    Speed,
    Verdict,
)
from llamabuild.report import machine, pages
from tests.golden import machines
from tests.unit import values

LONG = Flag(
    name="CMAKE_A_VERY_LONG_NAME_THAT_IS_NEVER_CUT_SHORT",
    value="q4_0-q4_0;q8_0-q8_0;f16-f16;bf16-bf16",
    why="[bold]not markup[/bold], " + "a reason that goes on " * 8,
)
ABSENT = Absence(what="cuda", why="no driver\nis loaded", hint="Install it", seen="a GPU")


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "__stdout__", None)


def plan() -> Plan:
    return replace(
        values.plan(),
        flags=(LONG, Flag(name="GGML_NATIVE", value=False, why="a | b")),
        source_options=(SourceOption(source="a/b.cpp", options=("-fno-dse",), why="wrong code"),),
        remedies=(Remedy(name="no-dse", why="GCC drops stores", evidence="canary"),),
        absent=(ABSENT,),
    )


FILES = {n: File(sha256="0" * 64, size=1024) for n in ("wheel/a.whl", "bin/llama-cli")}


def artifact(folder: Path) -> Artifact:
    manifest = values.manifest(
        "ab" * 32,
        {
            "wheel/a.whl": File(sha256="0" * 64, size=1024),
            "bin/llama-cli": File(sha256="1" * 64, size=1024),
        },
    )
    proof = replace(
        manifest.proof,
        device="CPU: EPYC",
        checks=(Check(name="F32", detail="d", error=1e-7), Check(name="Q4_0", detail="d")),
        speed=(Speed(model="m", threads=2, prompt=1766, generate=319),),
        seconds=12.0,
    )
    prefix = values.prefix(folder / "with space")
    return Artifact(
        id="i" * 64,
        key="ab" * 32,
        path=prefix,
        manifest=replace(manifest, plan=plan(), proof=proof),
    )


def test_the_plan_fits_and_cuts_no_name() -> None:
    page = pages.plan_page(plan(), "cd" * 32)
    assert max(map(len, page.splitlines())) <= 100
    assert LONG.name in page
    assert "[bold]not markup[/bold]" in page
    lines = page.splitlines()
    head = next(line for line in lines if line.startswith("flag "))
    left, right = head.index("value"), head.index("why")
    table = lines[lines.index(head) + 1 : lines.index("", lines.index(head))]
    assert "".join(line[left:right].strip() for line in table) == f"{LONG.value}OFF"
    for words in ("GGML_NATIVE", "OFF", "-fno-dse", "GCC drops stores (canary)", "cd" * 32):
        assert words in page
    assert "next: Install it" in page


@pytest.mark.parametrize("name", list(machines()))
def test_every_recorded_machine_can_be_shown(name: str) -> None:
    recorded = machines()[name]
    page = machine.probe_page(recorded.hardware, recorded.toolchain)
    assert max(map(len, page.splitlines())) <= 100
    for absence in recorded.hardware.absent:
        assert absence.what in page


def test_the_probe_says_what_is_odd() -> None:
    hardware = replace(
        values.hardware("avx2"),
        devices=(Device(backend="cuda", name="NVIDIA H200", architecture="90", memory=140 << 30),),
        absent=(ABSENT,),
        container="docker",
    )
    odd = Feature(
        name="amx_int8", advertised=True, enabled=False, executed=False, why="no arch_prctl"
    )
    common = Feature(name="sse9", advertised=False, enabled=False, executed=False, why="not there")
    features = (*hardware.cpu.features, odd, common)
    hardware = replace(hardware, cpu=replace(hardware.cpu, features=features))
    wrong = Verdict(canary="amx", ok=False, mended_by=("-fno-dse",), why="drops stores")
    toolchain = values.toolchain(replace(values.compiler(), verdicts=(wrong,)))
    page = machine.probe_page(hardware, toolchain)
    for words in (
        "NVIDIA H200 (cuda 90, 140.0 GiB)",
        "amx_int8: no arch_prctl",
        "amx: drops stores (mended by -fno-dse)",
        "no driver is loaded",
        "next: Install it",
        "docker",
    ):
        assert words in page
    assert "sse9" not in page


def test_markdown_is_a_table_whatever_the_reasons_hold() -> None:
    lines = pages.plan_markdown(plan()).splitlines()
    assert lines[0] == "| Option | Value | Why |"
    assert len(lines) == 4
    assert all(line.replace("\\|", "").count("|") == 4 for line in lines)
    assert lines[3] == "| `GGML_NATIVE` | `OFF` | a \\| b |"


def test_an_artifact_tells_where_and_what_next(tmp_path: Path) -> None:
    made = artifact(tmp_path)
    page = pages.artifact_page(made)
    assert "  llamabuild run llama-server -- -m MODEL.gguf" in page.splitlines()
    assert f"  pip install '{made.path}/wheel/a.whl'" in page.splitlines()
    assert "2 checks passed in 12.0 s on CPU: EPYC" in page
    assert "largest error 1.0e-07" in page
    assert "1766 / 319 tokens/s" in page
    assert "GCC drops stores" in page
    assert "no driver is loaded" in page
    flat = page.replace("\n", "").replace(" ", "")
    assert str(made.path).replace(" ", "") in flat


def test_the_proof_lists_its_checks(tmp_path: Path) -> None:
    page = pages.proof_page(artifact(tmp_path).manifest.proof)
    assert "F32" in page
    assert "1.0e-07" in page
    assert "Q4_0" in page


def test_the_store_in_lines(tmp_path: Path) -> None:
    assert "llamabuild setup" in pages.store_page([])
    page = pages.store_page([artifact(tmp_path)])
    assert "abababababab" in page
    assert page.splitlines()[-1] == "1 artifact, 2.0 KiB"
    assert max(map(len, page.splitlines())) <= 100
