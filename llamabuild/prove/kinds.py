"""The kinds of failure: told apart by signal, by words, by numbers; each with its next action."""

from __future__ import annotations

import re
from typing import Any, Final

from llamabuild import data
from llamabuild.errors import PROOF_KINDS, Crash, ProofFailed

_TABLE: Final[dict[str, Any]] = data.load(data.package("prove/kinds.toml"))
assert set(_TABLE) == set(PROOF_KINDS)
_WORDS: Final = tuple(
    (kind, re.compile(words, re.IGNORECASE))
    for kind, row in _TABLE.items()
    for words in row["words"]
)
_SIGNALS: Final = {
    "SIGILL": "illegal-instruction",
    "SIGSEGV": "segfault",
    "SIGBUS": "segfault",
    "SIGABRT": "abort",
}
_LAST_WORDS: Final = re.compile(r"GGML_ASSERT|GGML_ABORT|ggml_abort|what\(\):|Assertion")

_COMPLAINT: Final = re.compile(r"\b(?:error loading|error:|invalid|unknown|unsupported)\b")


def failed(kind: str, check: str, why: str, crash: Crash | None = None) -> ProofFailed:
    """A ProofFailed with the next action that goes with what the failure catalogue knows of the
    words, else with its kind."""
    hint = _TABLE[kind]["hint"]
    if _TABLE[kind]["words"]:
        from llamabuild.diagnose.explaining import way_out  # takes a while: only after a failure

        hint = way_out(why) or hint
    return ProofFailed(f"{check}: {why}", hint, kind=kind, check=check, crash=crash)


def said(text: str) -> tuple[str, str] | None:
    """The kind that a program's words show, and the words; None when they show none.

    >>> said("llama-cli: error while loading shared libraries: libggml.so: cannot open shared "
    ...      "object file: No such file or directory")[0]
    'library-missing'
    >>> said("all is well") is None
    True
    """
    for kind, words in _WORDS:
        if found := words.search(text):
            return kind, found[0]
    return None


def of_signal(signal: str, crash: Crash) -> str:
    """The kind of an end by a signal. An invalid tile configuration of AMX comes as SIGSEGV and is
    an illegal use of its instruction; other faults with that signal are about an address."""
    if crash.feature.startswith("amx"):
        return "illegal-instruction"
    return _SIGNALS.get(signal, "crash")


def last_words(text: str) -> str:
    """What a program said about its own end, or an empty string. Line by line: the children's lines
    are long, and an expression that begins with anything takes minutes for them."""
    lines = (line.strip() for line in text.splitlines() if _LAST_WORDS.search(line))
    return next(lines, "")


def complaint(log: str) -> str:
    """The first line of a log that says why something could not be loaded, or nothing.

    >>> complaint("3 tensors\\nllama_model_load: error loading model: invalid ggml type\\nfail")
    'llama_model_load: error loading model: invalid ggml type'
    """
    return next((line.strip() for line in log.splitlines() if _COMPLAINT.search(line)), "")


def last_line(text: str) -> str:
    """The last line that is not blank.

    >>> last_line("one\\n two \\n\\n")
    'two'
    """
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
