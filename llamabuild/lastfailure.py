"""The last failure, kept so that `diagnose last` can speak of it."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from llamabuild.errors import ConfigError, LlamabuildError
from llamabuild.store import files

_NAME: Final = "last-failure.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LastFailure:
    """What a command ended with: its name, when (ISO 8601), class, message, next action and exit
    code of the error, and the log that was kept (empty: none was)."""

    command: str
    at: str
    kind: str
    message: str
    hint: str
    exit_code: int
    log: str = ""


def keep(cache: Path, command: str, error: LlamabuildError) -> None:
    """Remember a failure. What cannot be written is not: another failure is being told."""
    last = LastFailure(
        command=command,
        at=dt.datetime.now(tz=dt.timezone.utc).isoformat(timespec="seconds"),
        kind=type(error).__name__,
        message=error.message,
        hint=error.hint,
        exit_code=error.exit_code,
        log=getattr(error, "log", ""),
    )
    with contextlib.suppress(OSError, UnicodeError):
        (cache / "logs").mkdir(parents=True, exist_ok=True)
        files.write(cache / "logs" / _NAME, msgspec.json.encode(last))


def read(cache: Path) -> LastFailure:
    """The failure that was kept. Raises ConfigError where there is none that can be read."""
    path = cache / "logs" / _NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=LastFailure)
    except FileNotFoundError as error:
        raise ConfigError(
            "nothing has failed here yet", "Name a log: `llamabuild diagnose LOG`."
        ) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path}: {error}", "Remove the file.") from error
