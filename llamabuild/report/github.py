"""GitHub Actions: a folded group for each step, annotations, and a table in the job's summary.

Workflow commands: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TextIO

from llamabuild.errors import BuildFailed, LlamabuildError
from llamabuild.events import (
    Event,
    Healed,
    Noticed,
    OutputLine,
    Progress,
    StepEnded,
    StepFailed,
    StepStarted,
    Warned,
)
from llamabuild.model import Artifact
from llamabuild.report import words
from llamabuild.report.plain import Plain
from llamabuild.report.words import assert_never, clean, ended

_HEAD: Final = (
    "| recipe | back-ends | made for | size | seconds | tokens/s (prompt / generate) "
    "| sha256 of the wheel |\n"
    "|---|---|---|---:|---:|---|---|\n"
)


class Github:
    """Workflow commands between plain lines; ``summary_file`` is ``$GITHUB_STEP_SUMMARY``."""

    def __init__(
        self,
        stream: TextIO,
        summary_file: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plain = Plain(stream, clock)
        self._stream = stream
        self._summary_file = summary_file
        self._grouped = False
        self._headed = False

    def __call__(self, event: Event) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        match event:
            case StepStarted():
                self._end_group()
                self._command("group", event.title)
                self._grouped = True
                self._plain(event)
            case StepEnded():
                self._end_group()
                self._plain(event)
            case StepFailed():
                self._end_group()
                self._command("warning", ended(self._plain.title(event.name), event))
            case Warned():
                self._command("warning", event.message, event.hint)
            case Healed():
                self._command("notice", event.why, title=f"Healed: {event.remedy}")
            case Progress():
                self._plain(event)
            case Noticed():
                self._say(event.message)
            case OutputLine():
                self._say(event.line)
            case _ as never:
                assert_never(never)

    def failed(self, error: LlamabuildError) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        self._end_group()
        tail = error.tail.splitlines() if isinstance(error, BuildFailed) else []
        if tail:
            self._command("group", "The last lines")
            for line in tail:
                self._say(line)
            self._command("endgroup", "")
        log = f"log: {error.log}" if isinstance(error, BuildFailed) and error.log else ""
        self._command("error", error.message, error.hint, log, title=type(error).__name__)

    def summary(self, artifact: Artifact) -> None:
        """Append the artifact's row to the summary of the job; without a file, nothing."""
        if not self._summary_file:
            return
        text = row(artifact) if self._headed else f"\n{_HEAD}{row(artifact)}"
        try:
            with open(self._summary_file, "a", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except OSError as error:
            self._command("warning", f"the summary could not be written: {error}")
        self._headed = True

    def close(self) -> None:
        """See :class:`llamabuild.report.Reporter`."""
        self._end_group()
        self._plain.close()

    def _end_group(self) -> None:
        if self._grouped:
            self._grouped = False
            self._command("endgroup", "")

    def _say(self, line: str) -> None:
        """Text that came from elsewhere, never taken for a command."""
        self._plain.say(harmless(line))

    def _command(self, name: str, *lines: str, title: str = "") -> None:
        shown = f" title={escaped_property(clean(title))}" if title else ""
        text = escaped("\n".join(clean(line) for line in lines if line))
        print(f"::{name}{shown}::{text}", file=self._stream, flush=True)


def escaped(text: str) -> str:
    """The data of a workflow command: one line, whatever is in it.

    >>> escaped("100 %\\r\\nnext")
    '100 %25%0D%0Anext'
    """
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escaped_property(text: str) -> str:
    """A property of a workflow command, which moreover must not hold its separators.

    >>> escaped_property("Healed: a, b")
    'Healed%3A a%2C b'
    """
    return escaped(text).replace(":", "%3A").replace(",", "%2C")


def harmless(line: str) -> str:
    """A line that the runner takes for text: commands start with ``::`` or hold ``##[``.

    >>> harmless("  ::add-mask::x"), harmless("a ##[error]b"), harmless("std::string")
    ('| ::add-mask::x', 'a ## [error]b', 'std::string')
    """
    line = clean(line).replace("##[", "## [")
    return f"| {line}" if line.startswith("::") else line


def row(artifact: Artifact) -> str:
    """The artifact's line in the summary's table."""
    manifest, plan = artifact.manifest, artifact.manifest.plan
    sums = [one.sha256 for name, one in manifest.files.items() if name.endswith(".whl")]
    cells = (
        plan.recipe,
        ", ".join(plan.backends),
        plan.fingerprint,
        words.size(words.occupied(artifact)),
        f"{manifest.seconds:.0f}",
        "<br>".join(f"{words.rates(one)} ({one.model})" for one in manifest.proof.speed),
        *(f"`{digest}`" for digest in sums[:1] or ["-"]),
    )
    return "| " + " | ".join(clean(cell).replace("|", "\\|") for cell in cells) + " |\n"
