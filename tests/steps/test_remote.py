"""A server that lends its devices, and does not come up: real processes that end in every way."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamabuild.errors import ProofFailed
from llamabuild.host import LocalHost
from llamabuild.model import Build
from llamabuild.prove import cases, remote
from llamabuild.prove.inference import Runner
from tests.unit import values

HOST = LocalHost()
pytestmark = [
    pytest.mark.steps,
    pytest.mark.skipif(HOST.system()[0] == "windows", reason="the scripts are for POSIX"),
]


def test_only_what_computes_elsewhere_has_a_server() -> None:
    assert remote.servers(("cuda", "rpc", "blas", "cpu")) == ("rpc",)
    assert remote.servers(("cpu",)) == ()


def asked(folder: Path) -> None:
    build = Build(
        plan=values.plan(),
        prefix=folder,
        wheel=folder / "none.whl",
        log=folder / "build.log",
        seconds=0.0,
        effective={},
    )
    runner = Runner(host=HOST, scratch=folder, threads=2, seconds=1)
    list(remote.ask(build, "rpc", cases.standard()[:1], runner))


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("kill -SEGV $$", "segfault", "SIGSEGV"),
        ("echo 'cannot bind'; exit 1", "load", "cannot bind"),
        ("echo bye", "load", "bye"),
        ("sleep 60", "timeout", "did not listen"),
    ],
)
def test_a_server_that_does_not_listen(script: str, kind: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ggml-rpc-server"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with pytest.raises(ProofFailed, match=words) as caught:
        asked(tmp_path)
    assert (caught.value.kind, caught.value.check) == (kind, "ggml-rpc-server")


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProofFailed) as caught:
        asked(tmp_path)
    assert caught.value.kind == "load"
