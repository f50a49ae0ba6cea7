"""Says in words why the libraries of this wheel cannot run here, before they are tried.

It stands in the wheel as ``llama_cpp/_llamabuild.py``, with its facts filled in, and uses the
standard library only (Python 3.8 and newer). A processor that lacks what the code was compiled for
would end the program with "Illegal instruction", which nobody could catch.
``LLAMABUILD_GUARD=off`` tries it all the same.
"""

from __future__ import annotations

import fnmatch
import os
import pathlib
import re
import sys
from importlib import import_module
from typing import Any

FACTS: dict[str, Any] = {}
_MISSING = re.compile(r"([^\s:']+\.(?:so|dll|dylib)[.\d]*): cannot open shared object file")
_VERSION = re.compile(r"version [`']([A-Za-z]+)_([\d.]+)' not found")


def check(facts: dict[str, Any]) -> None:
    """Raise ImportError when the processor or the system lacks something.

    Nothing is asked of libraries of somebody else's (``LLAMA_CPP_LIB_PATH``).
    """
    if os.environ.get("LLAMABUILD_GUARD") == "off" or os.environ.get("LLAMA_CPP_LIB_PATH"):
        return
    lacking = missing(facts, cpuinfo(facts.get("line", "")))
    if lacking:
        said = (
            "this wheel ({}) needs {}, which this processor lacks. {} (LLAMABUILD_GUARD=off tries.)"
        )
        raise ImportError(said.format(facts["wheel"], ", ".join(lacking), facts["instead"]))
    load(facts)


def cpuinfo(line: str, path: str = "/proc/cpuinfo") -> set[str] | None:
    """The words of the first processor, None where the file does not list any: it is another
    architecture's, or there is no such file. All processors of a machine list the same; a kernel
    takes its time to write down two hundred of them."""
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            for text in stream:
                name, _, words = text.partition(":")
                if line and name.strip() == line:
                    return set(words.split()) or None
    except OSError:
        pass
    return None


def missing(facts: dict[str, Any], words: set[str] | None) -> list[str]:
    """The features that the code needs and the processor does not list; none where nobody knows."""
    if words is None:
        return []
    return [name for name, needed in facts["features"].items() if not words.issuperset(needed)]


def load(facts: dict[str, Any]) -> None:
    """Load the first library as the package itself is about to, and say in words why not."""
    folder = pathlib.Path(os.path.abspath(os.path.dirname(__file__))) / "lib"
    try:
        loader = import_module("._ctypes_extensions", __package__).load_shared_library
    except (ImportError, AttributeError):  # an older package, or it lacks something and will say so
        return
    try:
        loader("llama", folder)
    except (OSError, RuntimeError) as error:
        raise ImportError(explained(facts, str(error))) from error


def explained(facts: dict[str, Any], said: str) -> str:
    """What a loader said, for people."""
    head: str = "this wheel ({}) cannot be loaded: ".format(facts["wheel"])
    if "CPU ISA level" in said:
        return head + "its code is for a newer processor than this one. {}".format(facts["instead"])
    library = _MISSING.search(said)
    if library:
        hints = (hint for one, hint in facts["missing"] if fnmatch.fnmatch(library[1], one))
        return head + "{} is not here; {}".format(library[1], next(hints, "install it"))
    version = _VERSION.search(said)
    if version:
        return head + "it needs {} {} or newer, and this system is older. {}".format(
            version[1], version[2], facts["instead"]
        )
    return head + said


if FACTS and sys.platform == FACTS["platform"]:
    check(FACTS)
