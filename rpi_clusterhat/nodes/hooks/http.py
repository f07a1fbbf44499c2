"""A hook that asks an HTTP server."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from rpi_clusterhat import validate
from rpi_clusterhat.errors import NodeAccessError, SettingError
from rpi_clusterhat.nodes.finished import Secret
from rpi_clusterhat.nodes.probes.dial import Dialer
from rpi_clusterhat.nodes.probes.http import host_field, is_token, parse_statuses, read_status
from rpi_clusterhat.nodes.probes.timed import DownError, describe, wait_for
from rpi_clusterhat.nodes.process import Tail
from rpi_clusterhat.waiting import Readable, Writable

from .hook import Hook, RefusedError, Template

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Container, Iterable, Mapping
    from typing import TypeVar

    from rpi_clusterhat.waiting import Steps

    _T = TypeVar("_T")

__all__ = ["HttpHook"]

_RESPONSE_MOST = 64 * 1024
_SHOWN_MOST = 300
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_OURS = ("host", "connection", "content-length", "transfer-encoding")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_FIELD_VALUE = re.compile(r"[!-~]([ \t!-~]*[!-~])?")


class HttpHook(Hook):
    """Sends a request without a body to an HTTP server, with fields of the node filled into the address.

    ``HttpHook("http://{host}:8080/halt?who={name}")`` is what halts a node that has neither a console nor
    ssh. What is filled into path and query is percent-encoded. Redirections are not followed, and of the
    response no more than 64 KiB are read.

    A status in ``expect`` means that it is done, or that it may be done; one in ``refuse`` that it may not,
    for the reason in the last line of the response. Each other status is an error.

    Args:
        url: The address, ``http`` or ``https``, with ``{name}``, ``{host}`` and ``{number}`` for the node's.
        method: GET, POST, PUT, PATCH or DELETE.
        headers: Further header fields. A value that is secret is a `Secret`.
        expect: The statuses that mean yes: text such as ``"200-299"``, or numbers.
        refuse: The statuses that mean no, likewise.
        timeout: How many seconds it may take in all.
        tls: What https is checked by; None for the certificates that the system trusts.

    Raises:
        SettingError: An argument is invalid.
    """

    __slots__ = ("_expect", "_fields", "_host", "_method", "_path", "_port", "_refuse", "_scheme", "_tls")

    def __init__(
        self,
        url: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str | Secret] | None = None,
        expect: str | Iterable[int] = "200-299",
        refuse: str | Iterable[int] = "409,423",
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(timeout)
        self._scheme, host, self._port, path = _read_url(url)
        self._host, self._path = Template("url", host), Template("url", path)
        if method not in _METHODS:
            raise validate.invalid("method", method, ", ".join(_METHODS))
        self._method = method
        self._fields = [_read_field(*item) for item in (headers or {}).items()]
        self._expect = parse_statuses(expect)
        self._refuse = parse_statuses(refuse, "refuse")
        self._tls = tls

    @property
    def target(self) -> str:
        """The server, as texts name it."""
        return f"{self._scheme}://{self._host.text}:{self._port}"  # not the rest: it may be secret

    def _answer(self, fields: Mapping[str, str | int], deadline: float) -> Steps[None]:
        path = self._path.filled(fields, lambda value: quote(value, safe=""))
        try:
            dialer = Dialer(self._host.filled(fields), self._port)
        except SettingError as error:
            raise SettingError(f"The address of {self!r} cannot be used: {error}") from None
        request = self._request(path, dialer.host)
        try:
            with (yield from dialer.connect(deadline)) as plain:
                connection = _Exchange(plain, deadline)
                if self._scheme == "https":
                    yield from connection.secure(self._tls, dialer.host.partition("%")[0])
                with connection:
                    yield from connection.send(request)
                    status, words = yield from connection.receive(self._expect)
        except DownError as error:
            raise NodeAccessError(f"{self.target} was not asked: {error}") from None
        except TimeoutError:
            raise
        except OSError as error:
            reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or describe(error)
            raise NodeAccessError(f"{self.target} was not asked: {reason}") from error
        if status in self._refuse and status not in self._expect:
            raise RefusedError(words or f"{self.target} says so (status {status})")
        if status not in self._expect:
            raise NodeAccessError(
                f"{self.target} answered with status {status}{': ' if words else ''}{words}"
            )

    def _request(self, path: str, host: str) -> bytes:
        lines = [
            f"{self._method} {path} HTTP/1.1",
            f"Host: {host_field(host, self._port, 443 if self._scheme == 'https' else 80)}",
            "User-Agent: rpi-clusterhat",
            "Accept: */*",
            "Connection: close",
            *(["Content-Length: 0"] if self._method != "GET" else []),
            *(
                f"{name}: {value.reveal() if isinstance(value, Secret) else value}"
                for name, value in self._fields
            ),
        ]
        return "\r\n".join([*lines, "", ""]).encode("ascii")


class _Exchange:
    """One request and its response, on a connection that may be encrypted."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._to_read: tuple[type[OSError], ...] = (BlockingIOError,)
        self._to_write: tuple[type[OSError], ...] = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def secure(self, context: ssl.SSLContext | None, name: str) -> Steps[None]:
        import ssl

        if context is None:
            context = ssl.create_default_context()
        self._to_read, self._to_write = (BlockingIOError, ssl.SSLWantReadError), (ssl.SSLWantWriteError,)
        tls = context.wrap_socket(self._connection, server_hostname=name, do_handshake_on_connect=False)
        self._connection = tls
        try:
            yield from self._when_ready(tls.do_handshake)
        except BaseException:
            tls.close()
            raise

    def _when_ready(self, call: Callable[[], _T]) -> Steps[_T]:
        while True:
            try:
                return call()
            except self._to_read:
                yield from wait_for(Readable, self._connection, self._deadline)
            except self._to_write:
                yield from wait_for(Writable, self._connection, self._deadline)

    def send(self, request: bytes) -> Steps[None]:
        rest = memoryview(request)
        while rest:
            yield from wait_for(Writable, self._connection, self._deadline)
            sent = yield from self._when_ready(partial(self._connection.send, rest))
            rest = rest[sent:]

    def receive(self, enough: Container[int]) -> Steps[tuple[int, str]]:
        """Returns the status, and the last line of the body, as far as it came in time.

        Where ``enough`` holds the status, the body is not read.
        """
        data = b""
        while (status := read_status(data)) is None:
            more = yield from self._more(len(data))
            if not more:
                raise DownError("it closed the connection without an answer, or sent too much")
            data += more
        if isinstance(status, bytes):
            raise DownError(f"it does not speak HTTP: {status[:40]!r}")
        if status in enough:
            return status, ""
        with suppress(OSError):  # the status alone will do
            while not _is_whole(data) and (more := (yield from self._more(len(data)))):
                data += more
        return status, _last_line(data)

    def _more(self, read: int) -> Steps[bytes]:
        most = _RESPONSE_MOST - read
        if most <= 0:
            return b""
        return (yield from self._when_ready(partial(self._connection.recv, most)))


_LENGTH = re.compile(rb"\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r?\n", re.IGNORECASE)


def _is_whole(data: bytes) -> bool:
    """Whether no more is to come, as far as the response's header tells."""
    head, end, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\n")
    return bool(end and length) and len(body) >= int(length[1] if length else 0)


def _last_line(data: bytes) -> str:
    body = data.partition(b"\r\n\r\n")[2]
    if re.search(rb"\ntransfer-encoding:[^\n]*chunked", data[: -len(body) or None], re.IGNORECASE):
        body = b"".join(_chunks(body))
    tail = Tail(_RESPONSE_MOST)
    tail.add(body)
    return tail.last_line[:_SHOWN_MOST]


def _chunks(body: bytes) -> Iterable[bytes]:
    while size := re.match(rb"([0-9A-Fa-f]{1,6})[^\n]*\n", body):
        length = int(size[1], 16)
        yield body[size.end() : size.end() + length]
        body = body[size.end() + length :].removeprefix(b"\r\n")


def _read_url(url: Any) -> tuple[str, str, int, str]:
    """Returns scheme, host, port, and path with query, all with their fields still in braces."""
    if isinstance(url, str) and is_token(url) and "#" not in url:
        with suppress(ValueError):
            parts = urlsplit(url)
            host = parts.netloc.rpartition("@")[2]
            host = host.partition("]")[0][1:] if host.startswith("[") else host.partition(":")[0]
            if parts.scheme in ("http", "https") and host and "@" not in parts.netloc:
                query = f"?{parts.query}" if parts.query else ""
                port = parts.port or (443 if parts.scheme == "https" else 80)
                return parts.scheme, host, port, f"{parts.path or '/'}{query}"
    raise validate.invalid(
        "url",
        url,
        "an address such as http://{host}:8080/halt, in ASCII without spaces, user or #",
    )


def _read_field(name: Any, value: Any) -> tuple[str, str | Secret]:
    if not isinstance(name, str) or not _FIELD_NAME.fullmatch(name) or name.lower() in _OURS:
        raise validate.invalid("headers", name, f"a header field's name, and none of {', '.join(_OURS)}")
    text = value.reveal() if isinstance(value, Secret) else value
    if not isinstance(text, str) or not _FIELD_VALUE.fullmatch(text):
        shown = value if isinstance(value, Secret) else text
        raise validate.invalid("headers", shown, f"printable ASCII as the value of {name}")
    return name, value
