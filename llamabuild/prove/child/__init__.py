"""Inference in a process and a Python of its own, so that a crash is only a result.

This package stands alone: it runs with the Python in which the wheel under test is installed, and
needs nothing but ``llama_cpp``, or not even that where the job names a ``library``: then libllama
is used without bindings and with its default settings. The job comes on stdin as JSON: ``threads``,
``gpu_layers``, and ``cases``, each with ``name``, ``model``, ``sequences`` (token ids), ``batch``
(tokens of every sequence that go in the first batch), ``cache``, ``flash``, ``pooled`` and ``out``,
the file for raw float32 rows: logits of every position, or one state for each sequence. Where there
is ``timed``, the batch and the rest are timed instead, so many times, and nothing is written.

What it tells on stdout are lines of ``MARKER`` and a JSON object: first ``devices``, ``libraries``
(files mapped as libllama and libggml) and ``home`` (where they should be); then ``begin`` with a
name before each case and ``done`` after it; ``failed`` names the stage that did not work. What was
begun last is what a crash belongs to.
"""

MARKER = "llamabuild-proof "
START = """
import sys
sys.path.insert(0, sys.argv.pop())
from child.job import main
del sys.path[0]
sys.exit(main())
"""
"""What Python is told to run; its last argument is the folder in which this package is, which is
out of the way when ``llama_cpp`` is imported."""


class StageError(Exception):
    """An expected failure: ``stage`` is "load", "abi", "devices" or "decode"."""

    def __init__(self, stage: str, why: str) -> None:
        super().__init__(why)
        self.stage = stage
