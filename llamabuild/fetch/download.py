"""The only module that opens the network. Proxies, certificates and logins are those of the
environment, as requests reads them (``HTTPS_PROXY``, ``REQUESTS_CA_BUNDLE``, ``~/.netrc``)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

import requests

from llamabuild.fetch.index import ACCEPT
from llamabuild.fetch.transfer import Body, Page, Patience, Transient, Unavailable, WrongBytes

_BLOCK: Final = 1 << 15  # bytes; at most this much is lost when a line breaks
_PAGE_LIMIT: Final = 32 << 20  # bytes; the longest real index pages have a few MB


class Web:
    """Pages and bodies over HTTP, in one session. Raises Transient, Unavailable, WrongBytes."""

    def __init__(self, patience: Patience) -> None:
        self._session = requests.Session()
        self._timeout = (patience.connect, patience.read)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def page(self, url: str) -> Page:
        """One page of a package index."""
        with self._get(url, {"Accept": ACCEPT}) as answer:
            text = bytearray()
            for block in _blocks(answer):
                text += block
                if len(text) > _PAGE_LIMIT:
                    raise Unavailable("its page is too long for an index page")
            media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            return Page(url=answer.url, media_type=media_type, text=text.decode(errors="replace"))

    @contextlib.contextmanager
    def body(self, url: str, start: int) -> Iterator[Body]:
        """The bytes of a file from ``start`` on; a server may begin at 0 nevertheless."""
        headers = {"Accept-Encoding": "identity"}  # the hash is that of the file as it is
        if start:
            headers["Range"] = f"bytes={start}-"
        with self._get(url, headers) as answer:
            # Some servers call the compression of a .tar.gz a transport encoding. It is none.
            answer.raw.headers.pop("Content-Encoding", None)
            total = answer.headers.get("Content-Length", "")
            if answer.status_code != HTTPStatus.PARTIAL_CONTENT:
                size = int(total) if total.isdigit() else None
                yield Body(start=0, total=size, blocks=_blocks(answer))
                return
            first, size = content_range(answer.headers.get("Content-Range", ""))
            yield Body(start=first, total=size, blocks=_blocks(answer))

    @contextlib.contextmanager
    def _get(self, url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        try:
            answer = self._session.get(url, headers=headers, timeout=self._timeout, stream=True)
        except requests.RequestException as error:
            raise _refusal(error) from error
        with answer:
            status = answer.status_code
            said = f"HTTP {status} {answer.reason or ''}".strip()
            if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise WrongBytes(f"{said}: the file ends before the range that was asked for")
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise Transient(said)
            if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                raise Unavailable(said)
            yield answer


def content_range(header: str) -> tuple[int, int | None]:
    """Start and whole size from a Content-Range header. Raises WrongBytes if it is not one.

    >>> content_range("bytes 10-19/20"), content_range("bytes 10-19/*")
    ((10, 20), (10, None))
    """
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", header.strip())
    if match is None:
        raise WrongBytes(f"it answers a range with {header!r}")
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _blocks(answer: requests.Response) -> Iterator[bytes]:
    try:
        yield from answer.iter_content(_BLOCK)
    except requests.RequestException as error:
        raise _refusal(error) from error


def _refusal(error: requests.RequestException) -> Transient | Unavailable:
    """What an exception means for us. Its own text is not used: it may hold a login or a token."""
    cause = _cause(error)
    if isinstance(error, requests.exceptions.SSLError):
        return Unavailable(
            f"its certificate was not accepted{cause}; "
            "REQUESTS_CA_BUNDLE names the file with your certificates"
        )
    if isinstance(error, requests.ConnectTimeout):
        return Transient("no connection in time")
    if isinstance(error, requests.Timeout):
        return Transient("silence for too long")
    if isinstance(error, requests.exceptions.ProxyError):
        return Transient(f"the proxy does not answer{cause}")
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return Transient(f"the connection broke{cause}")
    return Unavailable(f"not possible: {type(error).__name__}")


def _cause(error: BaseException) -> str:
    """The operating system's word for the innermost cause, in parentheses, if it said one."""
    word = ""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            word = f" ({cause.strerror})"
        cause = cause.__cause__ or cause.__context__
    return word
