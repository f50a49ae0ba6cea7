"""Every way it can fail: one class and one exit code each, worded once, with the next action."""

from __future__ import annotations

from dataclasses import dataclass


class LlamabuildError(Exception):
    """Base of all expected failures: ``message`` is one line, ``hint`` the next action."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(LlamabuildError):
    """A recipe, pin, option or argument is wrong."""

    exit_code = 2


class UnsupportedHardware(LlamabuildError):
    """What was asked for explicitly is not possible on this machine."""

    exit_code = 3


class ToolMissing(LlamabuildError):
    """A program that is needed is absent, too old or does not work."""

    exit_code = 4


class FetchError(LlamabuildError):
    """The source could not be had from any of its addresses."""

    exit_code = 5


class IntegrityError(LlamabuildError):
    """Bytes are not what they should be: wrong hash, unsafe archive, changed file."""

    exit_code = 6


class BuildFailed(LlamabuildError):
    """Configure or compile failed. ``log`` is the full transcript, ``tail`` its telling end.

    ``entry`` is the id in the failure catalogue of what the log shows, ``cause`` what that means,
    ``fix`` the ways out, the best first, and ``remedy`` the name of what the pipeline tries; all
    are empty where nothing is known.
    """

    exit_code = 7

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        step: str = "",
        log: str = "",
        tail: str = "",
        entry: str = "",
        cause: str = "",
        fix: tuple[str, ...] = (),
        remedy: str = "",
    ) -> None:
        super().__init__(message, hint)
        self.step = step
        self.log = log
        self.tail = tail
        self.entry = entry
        self.cause = cause
        self.fix = fix
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """A child died: the signal's name and, where found, instruction bytes and CPU feature.

    ``where`` is ``library+offset`` of the faulting instruction.
    """

    signal: str
    where: str = ""
    instruction: str = ""
    feature: str = ""


class ProofFailed(LlamabuildError):
    """The build ran wrongly. ``kind`` is one of :data:`PROOF_KINDS`."""

    exit_code = 8

    def __init__(
        self, message: str, hint: str = "", *, kind: str, check: str, crash: Crash | None = None
    ) -> None:
        super().__init__(message, hint)
        self.kind = kind
        self.check = check
        self.crash = crash


PROOF_KINDS = (
    *("illegal-instruction", "segfault", "abort", "crash", "nan", "wrong-numbers"),
    *("silent-cpu", "device-missing", "driver", "no-kernel-image", "jit"),
    *("library-missing", "wrong-library", "abi", "load", "memory", "timeout", "audit"),
)
"""``prove/kinds.toml`` has the next action for each, and how it is known."""
COMPUTED_WRONGLY = frozenset(
    {"illegal-instruction", "segfault", "abort", "crash", "nan", "wrong-numbers"}
)
"""Kinds for which the code that the compiler made may be at fault."""


class StoreError(LlamabuildError):
    """The store cannot be used: not ours, from a newer version, damaged, not writable."""

    exit_code = 9


class DiskFull(LlamabuildError):
    """There is not enough room for the work or the result."""

    exit_code = 10


class AbiMismatch(LlamabuildError):
    """The Python bindings are for another llama.cpp than the one under them. ``mismatches`` are
    all the differences, a sentence each."""

    exit_code = 11

    def __init__(self, message: str, hint: str = "", *, mismatches: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.mismatches = mismatches


class LockMismatch(LlamabuildError):
    """A lock file says something else than what is here: another key, source or artifact.
    ``differences`` are all of them, a sentence each."""

    exit_code = 12

    def __init__(self, message: str, hint: str = "", *, differences: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.differences = differences


class Refused(LlamabuildError):
    """A wheel does not pass the gates, or an index cannot take it. ``reasons`` are all of them."""

    exit_code = 13

    def __init__(self, message: str, hint: str = "", *, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.reasons = reasons


class CellsFailed(LlamabuildError):
    """Some cells of a matrix failed; all others were made. ``failed`` are their names."""

    exit_code = 14

    def __init__(self, message: str, hint: str = "", *, failed: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.failed = failed


class Unwell(LlamabuildError):
    """A check warns: llama.cpp works here, and not as well as it could."""

    exit_code = 15


class Ill(LlamabuildError):
    """A check found a problem: something that is here, or a build, cannot work."""

    exit_code = 16


UNEXPLAINED = 17
"""Exit code of `diagnose` for a failure that nothing in the catalogue explains."""
INTERRUPTED = 130
