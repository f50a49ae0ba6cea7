"""What one option is called in different llama.cpp trees. Pure; the table is ``names.toml``."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from llamabuild import data
from llamabuild.options import Options, retired, why_unknown


def called(name: str, options: Options) -> str:
    """What the tree calls an option of the newest one; empty when it has nothing like it.

    >>> have = Options(declared={"LLAMA_CUBLAS": "bool"}, aliases={}, read=frozenset())
    >>> called("GGML_CUDA", have), called("GGML_VULKAN", have)
    ('LLAMA_CUBLAS', '')
    """
    names = (name, *table()["older"].get(name, [before(name)]))
    return next((one for one in names if options.knows(one)), "")


def explain_name(name: str, options: Options) -> str:
    """What to write instead of a name that the tree does not have, in a few words; empty when it
    has it.

    >>> have = Options(declared={"LLAMA_CUBLAS": "bool"}, aliases={}, read=frozenset())
    >>> explain_name("GGML_CUBLAS", have), explain_name("GGML_CUDA_F16", have)
    ('here LLAMA_CUBLAS', 'removed, nothing took its place')
    >>> explain_name("GGML_HIPBLAS", have)
    'not here; newer ones have GGML_HIP'
    """
    if options.knows(name):
        return ""
    for newest in _newest(name):
        if here := called(newest, options):
            return f"here {here}"
    newer = next((one for one in _newest(name) if one in table()["older"] and one != name), "")
    return f"not here; newer ones have {newer}" if newer else why_unknown(name, options)


def before(name: str) -> str:
    """``LLAMA_X`` for ``GGML_X``: the prefix of all options up to llama-cpp-python 0.2.79."""
    return "LLAMA_" + name.removeprefix("GGML_") if name.startswith("GGML_") else name


def _newest(name: str) -> Iterator[str]:
    """The newest tree's names for the same thing, the likeliest first."""
    yield name
    yield from (new for new, old in table()["older"].items() if name in old)
    yield from filter(None, [retired().get(name, "")])
    yield "GGML_" + name.removeprefix("LLAMA_")


@functools.cache
def table() -> dict[str, Any]:
    """``names.toml``, which explains itself."""
    return data.load(data.package("dialect/names.toml"))
