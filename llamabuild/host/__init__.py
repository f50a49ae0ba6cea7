"""The keyhole to the machine: everything else takes a :class:`Host` as an argument.

``psutil`` answers what it knows (cores, memory); cgroup limits it does not know, and they are read
in :mod:`llamabuild.host.cgroup`.
"""

from llamabuild.host.interface import Finished, Host, Limits, Memory, Service, signal_name
from llamabuild.host.local import LocalHost, python

__all__ = [
    "Finished",
    "Host",
    "Limits",
    "LocalHost",
    "Memory",
    "Service",
    "python",
    "signal_name",
]
