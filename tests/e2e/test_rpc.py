"""Layers that another machine computes: this machine is both. It compiles for minutes, so it is
done when asked for: ``make e2e-rpc``."""

from __future__ import annotations

import json
import os

import pytest

from llamabuild.model import Source
from tests.e2e.conftest import Run

pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(
        os.environ.get("LLAMABUILD_E2E") != "rpc",
        reason="compiles for minutes; LLAMABUILD_E2E=rpc (make e2e-rpc) asks for it",
    ),
]


def test_every_layer_was_given_to_the_server(run: Run, source: Source) -> None:
    made = json.loads(run("setup", "rpc", "--json").stdout)["artifact"]["manifest"]
    assert made["plan"]["backends"] == ["rpc", "cpu"]
    proof = made["proof"]
    names = [check["name"] for check in proof["checks"]]
    assert "ggml-rpc-server starts" in names
    assert "Q8_0 decoder through ggml-rpc-server" in names
    assert "F16 encoder through ggml-rpc-server" in names
    assert "RPC0: 127.0.0.1:" in proof["device"]
    assert proof["unrun"] == []
