"""Do the Python bindings of one llama.cpp fit another one? Asked before anything is compiled.

The bindings restate structures, functions and constants of llama.cpp's headers by hand. Where a
structure has changed since, libraries and bindings still load together, and wrong numbers run
through a right library. Both sides are read here and compared by name.

``llama_cpp/llama_cpp_ext.py`` is left out: its functions are C++ of a header that promises nothing,
and nothing imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from llamabuild.abi import bindings as python
from llamabuild.abi import compare, expressions, headers
from llamabuild.abi.declarations import Declarations
from llamabuild.errors import AbiMismatch
from llamabuild.host import Host

_MODULES: Final = {"llama_cpp": ("llama.h",), "mtmd_cpp": ("mtmd.h", "mtmd-helper.h")}
"""The modules with declarations, in the order of their imports, and the headers they restate."""
_NEEDED: Final = "llama_cpp"
_SAID: Final = 3
"""How many differences a message names; all of them stand in the error."""


def mismatches(
    bindings: Path, tree: Path, *, cc: str, host: Host, carried: Path | None = None
) -> tuple[str, ...]:
    """How the bindings in a folder ``llama_cpp`` do not fit a llama.cpp tree, in sentences; none
    when they fit. ``carried`` is the tree that the bindings came with: what they get wrong about
    it is not held against another tree that says the same.

    Starts the C compiler ``cc`` as a preprocessor. Raises AbiMismatch when bindings or headers
    cannot be read: then nothing is known, and that is no reason to go on.
    """
    modules = _modules(bindings)
    try:
        ours = python.read(modules.items())
    except expressions.Unreadable as error:
        raise AbiMismatch(
            f"the bindings in {bindings} cannot be compared with a header: {error}",
            "Only the llama.cpp that they came with can be built under them.",
        ) from error
    names = tuple(header for name in modules for header in _MODULES[name])
    theirs = _header(tree, names, cc, host)
    own = _header(carried, names, cc, host) if carried else None
    return compare.mismatches(ours, theirs, own)


def check(
    bindings: Path, tree: Path, *, cc: str, host: Host, carried: Path | None = None, what: str = ""
) -> None:
    """Raise AbiMismatch when the bindings do not fit; see :func:`mismatches`. ``what`` is what to
    call the tree."""
    found = mismatches(bindings, tree, cc=cc, host=host, carried=carried)
    if found:
        more = f"; and {len(found) - _SAID} more" if len(found) > _SAID else ""
        raise AbiMismatch(
            f"the Python bindings do not fit {what or tree}: {'; '.join(found[:_SAID])}{more}",
            "Take a llama.cpp nearer to the one that the bindings were written for "
            "(`llamabuild pins` names it), or wait for bindings that know this one.",
            mismatches=found,
        )


def _modules(folder: Path) -> dict[str, str]:
    found = {}
    for name in _MODULES:
        path = folder / f"{name}.py"
        try:
            found[name] = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if name == _NEEDED:
                raise AbiMismatch(
                    f"{folder} has no {name}.py: these are no bindings that are known",
                    "Give a llama-cpp-python source.",
                ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise AbiMismatch(
                f"{path} cannot be read: {error}", "Fetch the source again."
            ) from error
    return found


def _header(tree: Path, names: tuple[str, ...], cc: str, host: Host) -> Declarations:
    if missing := [name for name in names if not headers.find(tree, name)]:
        raise AbiMismatch(
            f"{tree} has no {' and no '.join(missing)}, which the bindings restate",
            "Give a whole llama.cpp tree that is not much older or newer than the bindings.",
        )
    try:
        return headers.read(tree, names, cc=cc, host=host)
    except headers.Unreadable as error:
        raise AbiMismatch(
            f"the headers of {tree} cannot be compared with the bindings: {error}",
            "Is it a llama.cpp tree, and unchanged?",
        ) from error
