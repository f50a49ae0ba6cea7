"""The keyhole to the machine: everything else takes a :class:`Host` as an argument.

``psutil`` answers what it knows (cores, memory); cgroup limits it does not know, and they are read
in :mod:`llamabuild.host.cgroup`.
"""

from llamabuild.host.equipped import equipped
from llamabuild.host.interface import (
    FileSystem,
    Finished,
    Host,
    Interpreter,
    Limits,
    Memory,
    Service,
    Ulimits,
    signal_name,
)
from llamabuild.host.local import LocalHost, end_with, python
from llamabuild.host.recorded import NOT_RECORDED, Answers, RecordedHost, Said
from llamabuild.host.recording import RecordingHost

__all__ = [
    "NOT_RECORDED",
    "Answers",
    "FileSystem",
    "Finished",
    "Host",
    "Interpreter",
    "Limits",
    "LocalHost",
    "Memory",
    "RecordedHost",
    "RecordingHost",
    "Said",
    "Service",
    "Ulimits",
    "end_with",
    "equipped",
    "python",
    "signal_name",
]
