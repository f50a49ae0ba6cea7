"""RPC: possible everywhere, never by accident, and what shows that it was used."""

from __future__ import annotations

import pytest

from llamabuild import recipes
from llamabuild.backends import Evidence, rpc
from llamabuild.model import Device
from llamabuild.prove import outcome
from tests.unit import values
from tests.unit.recorded import RecordedHost

# llama.cpp 0.5.0-dev with one ggml-rpc-server of the same build on this machine, as printed.
LOG = """\
llama_prepare_model_devices: using device RPC0 (127.0.0.1:50077) (unknown id) - 24105 MiB free
load_tensors: offloading output layer to GPU
load_tensors: offloading 1 repeating layers to GPU
load_tensors: offloaded 3/3 layers to GPU
load_tensors:   CPU_Mapped model buffer size =     0.04 MiB
load_tensors: RPC0[127.0.0.1:50077] model buffer size =     0.68 MiB
llama_kv_cache: RPC0[127.0.0.1:50077] KV buffer size =     0.25 MiB
"""
DEVICES = ("CPU: AMD EPYC", "RPC0: 127.0.0.1:50077")


@pytest.mark.parametrize("os", ["linux", "macos", "windows", "freebsd"])
def test_every_machine_can_and_nothing_is_started(os: str) -> None:
    host = RecordedHost(os=os)
    found = rpc.detect(host)
    assert found.devices == (Device(backend="rpc", name="RPC", architecture="", kind="network"),)
    assert (found.tools, found.absent, host.started) == ((), (), [])


def test_no_library_of_the_machine_gets_in() -> None:
    (flag,) = rpc.flags(values.hardware(), values.toolchain())
    assert (flag.name, flag.value) == ("GGML_RPC_RDMA", False)
    assert flag.why


@pytest.mark.parametrize(
    ("devices", "offloaded", "log", "why"),
    [
        (DEVICES, 3, LOG, None),
        (("CUDA0: NVIDIA H200", *DEVICES), 3, LOG, None),
        (DEVICES, 2, LOG, "2 of 3 layers"),
        (DEVICES[:1], 3, LOG, "ggml lists no RPC device"),
        ((), 0, "", "ggml lists no RPC device"),
        (DEVICES, 3, LOG.replace("RPC0[127.0.0.1:50077]", "CUDA0"), "no weights lie"),
        (DEVICES, 3, LOG.replace("model buffer", "compute buffer"), "no weights lie"),
    ],
)
def test_only_weights_on_a_server_show_that_it_was_used(
    devices: tuple[str, ...], offloaded: int, log: str, why: str | None
) -> None:
    held = outcome.buffers(log)
    evidence = Evidence(devices=devices, offloaded=offloaded, layers=3, log=log, buffers=held)
    said = rpc.judge(evidence)
    assert (said is None) if why is None else (said is not None and why in said.why)


def test_the_recipe_says_whom_the_server_trusts() -> None:
    recipe = recipes.load("rpc", ("rpc", "cpu"))
    assert recipe.backends == ("rpc",)
    assert "network that you trust" in recipe.summary
