"""A host with more in its environment: how tools that were brought along are shown to those who
look for tools of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from llamabuild.host.interface import Host


class _Equipped:
    """Everything is the host's own but the environment."""

    def __init__(self, host: Host, more: Mapping[str, str]) -> None:
        self._host, self._more = host, more

    @property
    def environ(self) -> Mapping[str, str]:
        """See :meth:`Host.environ`."""
        return {**self._host.environ, **self._more}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the host has
        return getattr(self._host, name)


def equipped(host: Host, **more: str) -> Host:
    """The host with these variables in its environment."""
    return cast("Host", _Equipped(host, more)) if more else host
