from __future__ import annotations

import os
import signal

import pytest

from tests.unit import fuzz

_HANG = 300


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="there is no SIGALRM to end a hang with")
def test_broken_answers_stop_no_probe_and_invent_no_device() -> None:
    """`make fuzz` tries 10,000; LLAMABUILD_FUZZ says how many."""
    count = int(os.environ.get("LLAMABUILD_FUZZ", "700"))
    signal.alarm(_HANG)
    try:
        fuzz.cases(count, seed=20)
    finally:
        signal.alarm(0)
