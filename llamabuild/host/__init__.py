"""The keyhole to the machine: everything else takes a :class:`Host` as an argument.

``psutil`` answers what it knows (cores, memory); cgroup limits it does not know, and they are read
in :mod:`llamabuild.host.cgroup`.
"""

from llamabuild.host.equipped import equipped
from llamabuild.host.interface import Finished, Host, Limits, Memory, Service, signal_name
from llamabuild.host.local import LocalHost, end_with, python
from llamabuild.host.recorded import NOT_RECORDED, Answers, RecordedHost, Said
from llamabuild.host.recording import RecordingHost

__all__ = [
    "NOT_RECORDED",
    "Answers",
    "Finished",
    "Host",
    "Limits",
    "LocalHost",
    "Memory",
    "RecordedHost",
    "RecordingHost",
    "Said",
    "Service",
    "end_with",
    "equipped",
    "python",
    "signal_name",
]
