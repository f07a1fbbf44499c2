"""A probe that asks an HTTP server for a path and reads the status of its response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat import validate
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.waiting import Readable, Writable

from .tcp import TcpProbe
from .timed import DownError, wait_for

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from rpi_clusterhat.waiting import Steps

_RESPONSE_MAX = 64 * 1024


class HttpProbe(TcpProbe):
    """The node is up when its HTTP server answers ``GET path`` with an expected status.

    Only the status line is read: interim responses (1xx) are skipped, the rest of the response is not read,
    and redirections are not followed.

    Args:
        host: As for `TcpProbe`.
        port: From 1 to 65535.
        path: Path and query, percent-encoded.
        expect: The statuses that count: text such as ``"200,204,300-399"``, or numbers.
        host_header: The ``Host`` to send where the server serves by name; without it, ``host`` and ``port``.
        timeout: How many seconds it may take from the lookup to the status line, which must stand within
            the first 64 KiB.
        connect_timeout: How many of these the lookup and the connection may take: a node whose network comes
            up a moment after the question would answer only the system's next try, a second later.

    Raises:
        SettingError: An argument is invalid.
    """

    __slots__ = ("_expected", "_request", "connect_timeout", "path")

    def __init__(
        self,
        host: str,
        port: int = 80,
        path: str = "/",
        *,
        expect: str | Iterable[int] = "200-399",
        host_header: str | None = None,
        timeout: float = 1.0,
        connect_timeout: float = 0.3,
    ) -> None:
        super().__init__(host, port, timeout=timeout, open_for=0)
        self.connect_timeout = validate.seconds("connect_timeout", connect_timeout, above=True)
        if not is_token(path) or not path.startswith("/") or "#" in path:
            raise validate.invalid(
                "path",
                path,
                "a path that begins with /, in ASCII without spaces or #: percent-encode the rest",
            )
        if host_header is None:
            host_header = host_field(self.host, self.port)
        elif not is_token(host_header):
            raise validate.invalid("host_header", host_header, "a host's name in ASCII")
        self.path = path
        self._expected = parse_statuses(expect)
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {host_header}\r\nUser-Agent: rpi-clusterhat-probe\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n"
        ).encode()

    def _connect(self, deadline: float) -> Steps[socket.socket]:
        limit = SYSTEM.now() + self.connect_timeout
        try:
            return (yield from super()._connect(min(deadline, limit)))
        except TimeoutError:
            if limit >= deadline:
                raise
            raise DownError(f"no connection to {self.target} within {self.connect_timeout:.3g} s") from None

    def _talk(self, connection: socket.socket, deadline: float) -> Steps[str]:
        rest = memoryview(self._request)
        while rest:
            yield from wait_for(Writable, connection, deadline)
            rest = rest[connection.send(rest) :]
        data = b""
        while (status := read_status(data)) is None:
            if len(data) >= _RESPONSE_MAX:
                raise DownError(f"no status in the first {_RESPONSE_MAX // 1024} KiB from {self.target}")
            yield from wait_for(Readable, connection, deadline)
            more = connection.recv(_RESPONSE_MAX - len(data))
            if not more:
                raise DownError(f"{self.target} closed the connection without an answer")
            data += more
        if isinstance(status, bytes):
            raise DownError(f"not HTTP from {self.target}: {status[:40]!r}")
        if status not in self._expected:
            raise DownError(f"unexpected status {status} from {self.target}")
        return f"status {status} from {self.target}"


def host_field(host: str, port: int, default: int = 80) -> str:
    """Returns the ``Host`` of requests to this host and port, where ``default`` is the scheme's port."""
    name = host.partition("%")[0]  # the zone of an IPv6 address means nothing to the server
    name = f"[{name}]" if ":" in name else name.encode("idna").decode()
    return name if port == default else f"{name}:{port}"


def read_status(data: bytes) -> int | bytes | None:
    """Reads the final status from what has come so far.

    Args:
        data: The response from its first byte on.

    Returns:
        The status, None where more bytes are needed, or the line that is not HTTP.
    """
    *lines, rest = data.split(b"\n")
    in_fields = False  # of an interim response, whose end is an empty line
    for line in lines:
        text = line.removesuffix(b"\r")
        if in_fields:
            in_fields = bool(text)
            continue
        version, _, after = text.partition(b" ")
        code = after[:3]
        if len(version) != 8 or not version.startswith(b"HTTP/1.") or not version[7:].isdigit():
            return text
        if len(code) != 3 or not code.isdigit() or after[3:4] not in (b"", b" "):
            return text
        if code[:1] != b"1" or code == b"101":
            return int(code)
        in_fields = True
    if not in_fields and rest[:7] != b"HTTP/1."[: len(rest)]:
        return rest
    return None


def parse_statuses(expect: str | Iterable[int], name: str = "expect") -> frozenset[int]:
    """Reads the statuses that count, from 100 to 599.

    Args:
        expect: Text such as ``"200,204,300-399"``, or numbers.
        name: What has this value, for the error.

    Returns:
        The statuses, at least one.

    Raises:
        SettingError: It is something else.
    """
    found: set[int] = set()
    for part in _parts(expect):
        low, dash, high = (x.strip() for x in part.partition("-"))
        bounds = (low, high if dash else low)
        if not all(x.isascii() and x.isdigit() and len(x) == 3 and "100" <= x <= "599" for x in bounds):
            break
        span = range(int(bounds[0]), int(bounds[1]) + 1)
        if not span:
            break
        found.update(span)
    else:
        if found:
            return frozenset(found)
    raise validate.invalid(name, expect, "statuses from 100 to 599, such as 200,204,300-399")


def _parts(expect: Any) -> Iterable[str]:
    if isinstance(expect, str):
        return expect.split(",")
    try:
        return map(str, expect)
    except TypeError:  # one number, say
        return [""]


def is_token(text: Any) -> bool:
    """Whether something is text in ASCII that no space and no control character ends."""
    return isinstance(text, str) and bool(text) and all("!" <= c <= "~" for c in text)
