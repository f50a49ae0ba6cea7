"""What llama.cpp's headers declare: the compiler's preprocessor, then a parser for C.

pycparser is a parser of standard C in Python. Headers are read with it and not with patterns,
because a declaration that a pattern misses would look like one that is not there. It has no
preprocessor and knows no extension of a compiler, so that the compiler's own names are undefined
(``-undef``: then the headers take their branches for any compiler) and system headers are replaced
by small ones, in which integers have the sizes of machines with 64 bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from llamabuild import data
from llamabuild.abi.declarations import Declarations
from llamabuild.host import Host, Limits

_FOLDERS: Final = ("include", "ggml/include", "tools/mtmd", ".")
"""Where headers are in a tree; the last for those of before July 2024."""
_DEFINE: Final = re.compile(r"#define (\w+) +(\S.*)")
_UNDEFINE: Final = re.compile(r"#undef (\w+)")
_LINE: Final = re.compile(r'# \d+ "(?P<file>[^"]*)"')
_LIMITS: Final = Limits(seconds=60)
_LONGEST: Final = 300  # characters of what a compiler says


class Unreadable(Exception):
    """The headers cannot be preprocessed or parsed; the text says why."""


def find(tree: Path, name: str) -> Path | None:
    """A header of a llama.cpp tree, None when it has none of that name."""
    places = (tree / folder / name for folder in _FOLDERS)
    return next((place for place in places if place.is_file()), None)


def read(tree: Path, names: Iterable[str], *, cc: str, host: Host) -> Declarations:
    """What the headers of a tree declare. Starts the compiler once, as a preprocessor.

    Raises Unreadable.
    """
    return parse(preprocessed(tree, names, cc=cc, host=host))


def preprocessed(tree: Path, names: Iterable[str], *, cc: str, host: Host) -> str:
    """The text that the headers become, with ``#define`` lines in it. Raises Unreadable."""
    folders = [data.package("abi") / "include", *(tree / folder for folder in _FOLDERS)]
    argv = [cc, "-E", "-dD", "-undef", "-nostdinc", "-std=c11", "-D__attribute__(x)="]
    argv += [f"-I{folder}" for folder in folders if folder.is_dir()]
    text = "".join(f'#include "{name}"\n' for name in names)
    ended = host.run([*argv, "-x", "c", "-"], limits=_LIMITS, stdin=text, cwd=tree)
    if ended.code != 0 or ended.timed_out:
        lines = ended.err.strip().splitlines() or [f"exit code {ended.code}"]
        said = next((line for line in lines if "error" in line), lines[0])
        raise Unreadable(f"{cc} cannot preprocess them: {said[:_LONGEST]}")
    return ended.out


def parse(text: str) -> Declarations:
    """What preprocessed C declares. Raises Unreadable, with file and line."""
    from pycparser.c_parser import CParser, ParseError  # most runs need no parser of C

    from llamabuild.abi.arithmetic import Unsupported
    from llamabuild.abi.syntax import gather

    macros: dict[str, str] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if match := _DEFINE.match(line):
            macros[match[1]] = match[2]
        elif match := _UNDEFINE.match(line):
            macros.pop(match[1], None)
        lines.append("" if line.startswith("#") and not _LINE.match(line) else line)
    try:
        return gather(CParser().parse("\n".join(lines)), macros)
    except (ParseError, Unsupported, RecursionError) as error:
        raise Unreadable(f"they are not understood: {error}") from error
