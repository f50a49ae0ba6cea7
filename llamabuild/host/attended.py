"""A program that has the terminal, and one who listens to what it says on stderr."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Final

_KEPT: Final = 1 << 18
"""Bytes of a program's last words that are kept."""
_SET_DEATH_SIGNAL: Final = 1
"""``PR_SET_PDEATHSIG`` (Linux, ``prctl(2)``)."""


def attend(argv: Sequence[str]) -> tuple[int, bytes]:
    """Run a program with this one's stdin and stdout, and with its stderr passed on as it comes.
    Returns its exit code (128 and the signal's number when one ended it) and the end of what it
    said there.

    Signals that ask this program to end are for the other one, and it ends with this one where the
    system can do that (Linux). Raises OSError when it cannot be started.
    """
    child = subprocess.Popen(
        list(argv),
        stderr=subprocess.PIPE,
        preexec_fn=_dying_with_parent(),  # noqa: PLW1509 - no other thread runs yet
    )
    said = bytearray()
    assert child.stderr is not None
    listener = threading.Thread(target=_pass_on, args=(child.stderr, said), daemon=True)
    with _forwarded(child):
        listener.start()
        code = child.wait()
        listener.join(1.0)  # its own children may keep the pipe open
    return (128 - code if code < 0 else code), bytes(said)


def _pass_on(stream: IO[bytes], said: bytearray) -> None:
    out = sys.stderr.buffer
    while block := stream.read1(1 << 16):  # type: ignore[attr-defined]  # a BufferedReader
        said += block
        del said[:-_KEPT]
        with contextlib.suppress(OSError):
            out.write(block)
            out.flush()


@contextlib.contextmanager
def _forwarded(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ctrl-C reaches the child from the terminal; what is sent to this process is handed on."""

    def hand_on(number: int, frame: object) -> None:
        del frame
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)

    before: dict[int, Any] = {}
    try:
        for name, handler in (
            ("SIGINT", signal.SIG_IGN),
            ("SIGTERM", hand_on),
            ("SIGHUP", hand_on),
        ):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number and signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _dying_with_parent() -> Callable[[], None] | None:
    """What the child does first, so that it is not left alone when this process is killed."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    parent = os.getpid()

    def first() -> None:
        library.prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != parent:  # it was killed in between
            os._exit(1)

    return first
