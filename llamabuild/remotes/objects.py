"""Where objects are kept for others: a folder, S3 and what speaks like it, Google Cloud Storage,
Azure, or a web server that only hands out files.

obstore does the talking, with one meaning for all of them ("create" fails everywhere when the name
is taken). What it does not do is bounded here: how much is read of something that lies about its
size, and how long something slow is waited for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from llamabuild.errors import ConfigError, FetchError, ToolMissing
from llamabuild.fetch.address import local_path, redact

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

_SCHEMES: Final = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "http", "https", "file")
_STALL: Final = timedelta(seconds=20)
"""Without a byte for so long, it is down."""
_CLIENT: Final[ClientConfig] = {
    "connect_timeout": timedelta(seconds=10),
    "read_timeout": _STALL,
    "timeout": timedelta(hours=2),
    "allow_http": True,  # what comes is compared with hashes and signatures
}
_RETRY: Final[RetryConfig] = {"max_retries": 2, "retry_timeout": timedelta(seconds=30)}
_SLOWEST: Final = 100_000
"""Bytes a second, after :data:`_PATIENCE`: below, compiling is faster."""
_PATIENCE: Final = 20.0
_BLOCK: Final = 1 << 20
_AT_ONCE: Final = 8
_SECRETS: Final = re.compile(r"(?<=//)[^/@\s]+(?=@)|(?<=\?)\S+")
"""User and password, and the query, in the addresses that errors repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object in a listing: its name, its bytes and its age in seconds."""

    name: str
    size: int
    age: float


class Objects:
    """Objects under names with slashes. Every method raises FetchError with the reason when the
    other side is down, refuses, or is too slow."""

    def __init__(
        self, address: str, store: ObjectStore, *, writable: bool, local: bool = False
    ) -> None:
        self.address = redact(address)
        self.writable = writable
        self._local = local
        self._store = store
        self.requests = 0

    def read(self, name: str, at_most: int) -> bytes | None:
        """A whole object; None when there is none. One larger than ``at_most`` bytes is refused
        before it is read."""
        with self._said(name):
            found = self._get(name)
            if found is None:
                return None
            if found.meta["size"] > at_most:
                raise FetchError(f"{self.address}: {name} has {found.meta['size']} bytes", _LYING)
            if self._local:  # a folder does not lie about sizes, and a stream takes its time
                return bytes(found.bytes())
            return b"".join(self._limited(found, name, at_most))

    def download(self, name: str, file: Path, size: int, moved: Callable[[int], None]) -> bool:
        """Bring an object of ``size`` bytes into ``file``, after what is in it already; False when
        there is none. ``moved`` is told how many bytes have come."""
        begun = file.stat().st_size if file.exists() else 0
        with self._said(name):
            found = self._resumed(name, begun, size) if 0 < begun < size else None
            resumed = found is not None
            found = found or self._get(name)
            if found is None:
                return False
            moved(begun if resumed else 0)
            with file.open("ab" if resumed else "wb") as stream:
                for block in self._limited(found, name, size - (begun if resumed else 0)):
                    stream.write(block)
                    moved(len(block))
        return True

    def _get(self, name: str, **options: Any) -> Any:  # noqa: ANN401 - obstore's GetResult
        import obstore

        self.requests += 1
        try:
            return obstore.get(self._store, name, **options)
        except FileNotFoundError:
            return None

    def _resumed(self, name: str, begun: int, size: int) -> Any:  # noqa: ANN401
        """The rest of an object; None from a server that has only whole ones."""
        from obstore.exceptions import BaseError

        with contextlib.suppress(BaseError):
            found = self._get(name, options={"range": {"offset": begun}})
            if found is not None and found.range == (begun, size):
                return found
        return None

    def _limited(self, found: Any, name: str, at_most: int) -> Iterator[bytes]:  # noqa: ANN401
        """The blocks of an object, as long as they come fast enough and are not too many."""
        started, taken = time.monotonic(), 0
        for block in found.stream(min_chunk_size=_BLOCK):
            taken += len(block)
            if taken > at_most:
                raise FetchError(f"{self.address}: {name} does not end where it should", _LYING)
            took = time.monotonic() - started
            if took > _PATIENCE and taken / took < _SLOWEST:
                rate = f"{taken / took / 1000:.0f} kB/s"
                raise FetchError(f"{self.address} is too slow: {rate}", "Compiling is faster.")
            yield bytes(block)

    def has(self, name: str) -> int | None:
        """How many bytes an object has; None when there is none."""
        import obstore

        self.requests += 1
        with self._said(name), contextlib.suppress(FileNotFoundError):
            return int(obstore.head(self._store, name)["size"])
        return None

    def put(self, name: str, data: bytes | Path) -> None:
        """Write an object, whole or not at all, in place of an older one."""
        import obstore

        self.requests += 1
        with self._said(name):
            obstore.put(self._store, name, data)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object that nobody has written yet; False when somebody has."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError

        self.requests += 1
        with self._said(name):
            try:
                obstore.put(self._store, name, data, mode="create")
            except (AlreadyExistsError, FileExistsError):
                return False
            except (BaseError, OSError) as error:
                if _NO_LINKS.search(str(error)):  # of a folder: how obstore creates there
                    raise FetchError(f"{self.address}: {_LINKLESS}", _ELSEWHERE) from None
                raise
        return True

    def listed(self, prefix: str) -> Iterator[Listed]:
        """All objects whose names begin with a folder's."""
        import obstore

        self.requests += 1
        with self._said(prefix):
            for part in obstore.list(self._store, prefix):
                for one in part:
                    age = time.time() - one["last_modified"].timestamp()
                    yield Listed(name=one["path"], size=one["size"], age=age)

    def remove(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""
        import obstore

        self.requests += 1
        with self._said(name), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, name)

    @contextlib.contextmanager
    def _said(self, name: str) -> Iterator[None]:
        """What obstore raises, in our words; addresses in it may carry tokens."""
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise
        except (BaseError, OSError, ValueError) as error:
            raise FetchError(f"{self.address}: {name}: {_said(error)}", _DOWN) from None


_NO_LINKS: Final = re.compile(rf"\(os error ({errno.EPERM}|{errno.ENOSYS}|{errno.ENOTSUP})\)")
_LINKLESS: Final = "its file system has no hard links, by which one of several is the first"
_ELSEWHERE: Final = "Push to a folder on another one, or to a bucket. Pulling needs no links."
_LYING: Final = "It is not a store of llamabuild's, or somebody damaged it."
_DOWN: Final = "Check the address and what it asks for (credentials, permissions)."


def connect(address: str, *, new: bool = False) -> Objects:
    """What is behind an address: a folder, ``s3://bucket/prefix``, ``gs://…``, ``az://…``, or a web
    server, which can only be read. Credentials come from the variables and files that the service's
    own tools read. Nothing is opened yet; a ``new`` folder is made.

    Raises ConfigError for an address that is none, FetchError for a folder that is not there: who
    only reads does not make one where a disk is not mounted. Raises ToolMissing without obstore.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import LocalStore, from_url
    except ImportError as error:
        raise ToolMissing(
            "stores on other machines need the package obstore",
            "pip install 'llamabuild[team]'",
        ) from error
    if (folder := local_path(address)) is not None:
        if new:
            _make(folder)
        elif not os.path.isdir(folder):
            raise FetchError(f"there is no folder {folder}", _NO_FOLDER)
        return Objects(address, LocalStore(folder.absolute()), writable=True, local=True)
    scheme = address.partition(":")[0].lower()
    if scheme not in _SCHEMES:
        raise ConfigError(f"{redact(address)} is no address of a store", _FORMS)
    try:
        found = from_url(address, client_options=_CLIENT, retry_config=_RETRY)
    except (BaseError, ValueError) as error:
        raise ConfigError(f"{redact(address)}: {_said(error)}", _FORMS) from None
    return Objects(address, found, writable=not scheme.startswith("http"))


def _said(error: Exception) -> str:
    """The first line of an error, without secrets."""
    lines = _SECRETS.sub("***", str(error)).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be a store: {error.strerror}", _FORMS) from error


_NO_FOLDER: Final = "Mount it, or check its name; `llamabuild store push` makes a new one."
_FORMS: Final = "Use a folder, s3://bucket/prefix, gs://…, az://…, or https://… to read only."


_T = TypeVar("_T")


def together(work: Callable[[_T], None], items: Iterable[_T]) -> None:
    """Do the same with each item, several at a time: requests wait for the other side. Raises what
    the first of them raises that fails, and begins no more then."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        try:
            for done in as_completed([pool.submit(work, item) for item in items]):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
