"""Opens an address, local or not; the network only when one needs it and it is allowed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llamabuild.fetch.address import local_path
from llamabuild.fetch.transfer import Body, Page, Patience, Unavailable

if TYPE_CHECKING:
    from llamabuild.fetch.download import Web

_BLOCK: Final = 1 << 20


class Opener:
    """Pages and bodies by address. Raises Unavailable, Transient, WrongBytes."""

    def __init__(self, *, offline: bool, patience: Patience) -> None:
        self._offline, self._patience = offline, patience
        self._web: Web | None = None

    def close(self) -> None:
        """Close the connections, if any were opened."""
        if self._web is not None:
            self._web.close()

    def page(self, address: str) -> Page:
        """A page of a package index."""
        path = local_path(address)
        if path is None:
            return self._network().page(address)
        with _readable(path):
            text = path.read_text(encoding="utf-8", errors="replace")
        return Page(url=path.resolve().as_uri(), media_type="text/html", text=text)

    def body(self, address: str, start: int) -> contextlib.AbstractContextManager[Body]:
        """The bytes of a file from ``start`` on."""
        path = local_path(address)
        return self._network().body(address, start) if path is None else _local(path, start)

    def _network(self) -> Web:
        if self._offline:
            raise Unavailable("not asked: the network is off")
        if self._web is None:
            from llamabuild.fetch.download import Web  # requests is heavy and often not needed

            self._web = Web(self._patience)
        return self._web


@contextlib.contextmanager
def _local(path: Path, start: int) -> Iterator[Body]:
    with _readable(path):
        stream = path.open("rb")
    with stream:
        total = stream.seek(0, 2)
        stream.seek(min(start, total))
        yield Body(
            start=min(start, total), total=total, blocks=iter(lambda: stream.read(_BLOCK), b"")
        )


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
