"""The service on a simulated node: HTTP/1.1 that tells what reached it, and misbehaves when asked to.

    python -m rpi_clusterhat_sim.service --port 0 --name p1

It is a peer for tests and benchmarks, not a web server. It is strict about what it takes, so that a gateway
before it cannot pass on what is broken; answers that are 400 and the like name the node, too. Any method
and path is answered with what was received, as JSON:

    {"node", "method", "target", "version", "headers": [[name, value], …], "trailers": [[name, value], …],
     "body": {"length", "sha256"}, "peer": [host, port], "requests": on this connection so far,
     "service": {"connections": open now, "requests": so far, "left": clients that did not wait}}

Text in it is the bytes as ISO 8859-1. The query asks for something else:

    delay=S          waits so many seconds before it answers
    slow-read=S      does not read the body for so many seconds
    ignore-expect=1  sends no 100 for Expect: 100-continue
    early=103        sends this interim answer, with a Link, as soon as it has the header
    status=N         answers with this status
    size=N           a body of N bytes: those of `pattern`
    chunks=N         N chunks, of ``size`` bytes each where that is given, ``interval=S`` seconds apart
    sse=N            a stream of N events, ``interval=S`` seconds apart
    trailers=1       chunked, with the body's SHA-256 in a trailer field
    no-length=1      a body that ends with the connection
    cut=N            resets the connection after N bytes of a longer body
    close=1          closes the connection after the answer
    hop=1            fields that a gateway must not pass on
    cookies=N        N Set-Cookie fields
    raw=NAME         an answer that is broken: see `RAW`

``Upgrade: websocket`` is an echo by RFC 6455, ``Upgrade: echo`` one of plain bytes.
"""

from __future__ import annotations

import asyncio
import codecs
import fcntl
import signal
import socket
import struct
import sys
import termios
from base64 import b64decode, b64encode
from contextlib import suppress
from hashlib import sha1, sha256
from http import HTTPStatus
from json import JSONEncoder
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["RAW", "Service", "main", "pattern"]

MAX_HEAD = 65536
MAX_CHUNK_LINE = 4096
MAX_FRAME = 1 << 24
BACKLOG = 4096
ACCEPT_AGAIN = 1.0
"""Seconds until connections are accepted again where that failed."""
LINGER = 1.0
"""Seconds for which a connection that is ending is read on."""

_BUFFER = 65536
_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # noqa: S105 - a character set
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BODILESS = (204, 304)
_encode = JSONEncoder(separators=(",", ":")).encode

_PATTERN = bytes(range(251)) * 256  # a prime period: no block of a power of two looks like its neighbour


def pattern(size: int) -> bytes:
    """The body that ``size=N`` answers with: byte i is i modulo 251."""
    return (_PATTERN * (size // len(_PATTERN) + 1))[:size]


_OK = b"HTTP/1.1 200 OK\r\n"
RAW: dict[str, bytes] = {
    "two-lengths": _OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "cl-te": _OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "bad-length": _OK + b"Content-Length: 5x\r\n\r\nhello",
    "negative-length": _OK + b"Content-Length: -5\r\n\r\nhello",
    "space-colon": _OK + b"Content-Length : 5\r\n\r\nhello",
    "no-colon": _OK + b"Content-Length 5\r\n\r\nhello",
    "fold": _OK + b"X-Fold: one\r\n two\r\nContent-Length: 5\r\n\r\nhello",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "bare-cr": _OK + b"X-Bare: one\rtwo\r\nContent-Length: 5\r\n\r\nhello",
    "nul": _OK + b"X-Nul: one\0two\r\nContent-Length: 5\r\n\r\nhello",
    "bad-status": b"HTTP/1.1 2x0 OK\r\nContent-Length: 5\r\n\r\nhello",
    "bad-version": b"HTTP/3.7 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "garbage": b"\x16\x03\x01 this is not HTTP\r\n\r\n",
    "huge-headers": _OK + b"X-Huge: " + b"a" * (1 << 20) + b"\r\nContent-Length: 5\r\n\r\nhello",
    "bad-chunk": _OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n",
    "chunk-overrun": _OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
    "unknown-coding": _OK + b"Transfer-Encoding: x-unknown\r\n\r\nhello",
    "te-in-1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "short": _OK + b"Content-Length: 10\r\n\r\nhello",
    "short-chunks": _OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "half-head": _OK + b"Content-Le",
    "extra": _OK + b"Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmugg",
    "unasked-switch": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    "empty": b"",
}
"""Answers as they are sent, by name; the connection is closed after each. ``empty`` closes without a byte;
``reset``, which is not in here, resets without one."""


class _RefusedError(Exception):
    """The request is answered with this status, and the connection ends."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Options(NamedTuple):
    """What the query asks for."""

    delay: float = 0.0
    slow_read: float = 0.0
    interval: float = 0.0
    ignore_expect: bool = False
    early: int | None = None
    status: int | None = None
    size: int | None = None
    chunks: int | None = None
    sse: int | None = None
    trailers: bool = False
    no_length: bool = False
    cut: int | None = None
    close: bool = False
    hop: bool = False
    cookies: int = 0
    raw: str | None = None


_PLAIN = _Options()


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e6:
        raise ValueError(text)
    return value


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= (value := int(text)) <= high:
            raise ValueError(text)
        return value

    return parse


def _flag(text: str) -> bool:
    return text not in ("", "0")


def _raw(text: str) -> str:
    if text not in RAW and text != "reset":
        raise ValueError(text)
    return text


_any_number = _number(0, 1 << 60)
_PARSERS: dict[str, Callable[[str], float | str | None]] = {
    "delay": _seconds,
    "slow-read": _seconds,
    "interval": _seconds,
    "ignore-expect": _flag,
    "early": _number(102, 199),
    "status": _number(200, 999),
    "size": _any_number,
    "chunks": _any_number,
    "sse": _any_number,
    "trailers": _flag,
    "no-length": _flag,
    "cut": _any_number,
    "close": _flag,
    "hop": _flag,
    "cookies": _number(0, 10_000),
    "raw": _raw,
}


def _options(query: str) -> _Options:
    given: dict[str, Any] = {}
    for item in query.split("&"):
        name, _, text = item.partition("=")
        parse = _PARSERS.get(name)
        if parse is not None:
            try:
                given[name.replace("-", "_")] = parse(text)
            except ValueError:
                raise _RefusedError(400, f"the service does not know {item}") from None
    return _PLAIN._replace(**given) if given else _PLAIN


# What is received ---------------------------------------------------------------------------------------


class _Request:
    """A request whose header was read, and what is known of its body."""

    __slots__ = (
        "chunked", "expects", "fields", "hash", "keep_alive", "length", "method", "options", "read", "target",
        "trailers", "upgrade", "version",
    )  # fmt: skip

    def __init__(self, head: bytes) -> None:
        line, *lines = _lines(head)
        parts = line.split(" ")
        if len(parts) != 3 or not parts[0] or parts[0].strip(_TOKEN) or not parts[1]:
            raise _RefusedError(400, f"the request line is {line!r}")
        self.method, self.target, self.version = parts
        if self.version not in ("HTTP/1.1", "HTTP/1.0"):
            raise _RefusedError(505, f"the version is {self.version!r}")
        self.fields = _fields(lines)
        self.trailers: list[tuple[str, str]] = []
        self.hash = sha256()
        self.length = self.read = 0
        self.chunked = self.expects = False
        self.upgrade = ""
        self._frame()
        _, mark, query = self.target.partition("?")
        self.options = _options(query) if mark else _PLAIN

    def _frame(self) -> None:
        lengths: list[str] = []
        codings: list[str] = []
        hosts = 0
        connection = expect = ""
        upgrades: list[str] = []
        for name, value in self.fields:
            match name.lower():
                case "host":
                    hosts += 1
                case "content-length":
                    lengths.append(value)
                case "transfer-encoding":
                    codings.append(value.lower())
                case "connection":
                    connection += f",{value.lower()}"
                case "expect":
                    expect = value.lower()
                case "upgrade":
                    upgrades += [token.strip().lower() for token in value.split(",")]
                case _:
                    pass
        modern = self.version == "HTTP/1.1"
        if hosts > 1 or (modern and not hosts):
            raise _RefusedError(400, f"there are {hosts} Host fields")
        if codings:
            if lengths or not modern:
                raise _RefusedError(400, "Transfer-Encoding beside Content-Length, or in HTTP/1.0")
            if codings != ["chunked"]:
                raise _RefusedError(501, f"the transfer coding is {', '.join(codings)!r}")
            self.chunked = True
        elif lengths:
            if (
                len(lengths) > 1
                or not (lengths[0].isascii() and lengths[0].isdigit())
                or len(lengths[0]) > 18
            ):
                raise _RefusedError(400, f"Content-Length is {', '.join(lengths)!r}")
            self.length = int(lengths[0])
        if expect and modern:
            if expect != "100-continue":
                raise _RefusedError(417, f"Expect is {expect!r}")
            self.expects = True
        tokens = [token.strip() for token in connection.split(",")] if connection else []
        self.keep_alive = "close" not in tokens if modern else "keep-alive" in tokens
        if upgrades and modern and "upgrade" in tokens and not (self.chunked or self.length):
            self.upgrade = next((token for token in upgrades if token in ("websocket", "echo")), "")

    def take(self, data: bytes | bytearray | memoryview) -> None:
        """Some bytes of the body."""
        self.hash.update(data)
        self.read += len(data)

    def field(self, name: str) -> str:
        """The value of the first field of this name, in lower case; empty where there is none."""
        return next((value for key, value in self.fields if key.lower() == name), "")


def _lines(head: bytes) -> list[str]:
    text = head.decode("latin-1")
    lines = text.split("\r\n")
    if text.count("\n") >= len(lines) or text.count("\r") >= len(lines) or "\0" in text:
        raise _RefusedError(400, "a bare CR, LF or NUL is in the header")
    return lines


def _fields(lines: Sequence[str]) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name.strip(_TOKEN):
            raise _RefusedError(400, f"no field: {line[:100]!r}")
        fields.append((name, value.strip(" \t")))
    return fields


class _WebSocket:
    """The echoing end of a WebSocket, on bytes alone (RFC 6455)."""

    def __init__(self) -> None:
        self.closed = False
        self._opcode = 0
        """Of the message that is under way; 0 between messages."""
        self._text = codecs.getincrementaldecoder("utf-8")()

    def answer(self, buffer: bytearray) -> bytes | None:
        """Takes a frame from the buffer and returns what to send for it; None where no whole one is there."""
        if len(buffer) < 2:
            return None
        final, opcode, length = buffer[0] & 0x80, buffer[0] & 0x0F, buffer[1] & 0x7F
        control = opcode >= 8
        wrong = (not final or length > 125) if control else (opcode == 0) != (self._opcode != 0)
        if wrong or opcode not in (0, 1, 2, 8, 9, 10) or buffer[0] & 0x70 or not buffer[1] & 0x80:
            return self._fail(1002)
        start = 2
        if length >= 126:
            start = 4 if length == 126 else 10
            if len(buffer) < start:
                return None
            length = int.from_bytes(buffer[2:start], "big")
        if length > MAX_FRAME:
            return self._fail(1009)
        end = start + 4 + length
        if len(buffer) < end:
            return None
        payload = _masked(bytes(buffer[start + 4 : end]), bytes(buffer[start : start + 4]))
        del buffer[:end]
        if control:
            return self._control(opcode, payload)
        self._opcode = self._opcode or opcode
        if self._opcode == 1:
            try:
                self._text.decode(payload, final=bool(final))
            except UnicodeDecodeError:
                return self._fail(1007)
        if final:
            self._opcode = 0
        return _frame(final | opcode, payload)

    def _control(self, opcode: int, payload: bytes) -> bytes:
        if opcode == 9:
            return _frame(0x8A, payload)
        if opcode == 10:
            return b""
        if payload:
            code = int.from_bytes(payload[:2], "big")
            if len(payload) == 1 or not (
                1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
            ):
                return self._fail(1002)
            try:
                payload[2:].decode()
            except UnicodeDecodeError:
                return self._fail(1007)
        self.closed = True
        return _frame(0x88, payload[:2])

    def _fail(self, code: int) -> bytes:
        self.closed = True
        return _frame(0x88, code.to_bytes(2, "big"))


def _masked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", first, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


# The service --------------------------------------------------------------------------------------------


class Service:
    """The service of one node. All of it belongs to one event loop and may be used from its thread only."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests = 0
        """Requests whose header was received."""
        self.left = 0
        """Of these, how many the client did not wait for: it closed or reset before the answer was there."""
        self.frozen = False
        self.connections: set[_Connection] = set()
        self._listening: socket.socket | None = None
        self._arriving: set[asyncio.Task[object]] = set()
        """Connections that were accepted and have no transport of their own yet."""
        self._gone = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Service of {self.name}, {len(self.connections)} connections>"

    async def start(
        self, host: str = "127.0.0.1", port: int = 0, *, sock: socket.socket | None = None
    ) -> tuple[str, int]:
        """Listens, on the given bound socket where there is one, and returns where. Raises `OSError`."""
        if sock is None:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
        else:
            sock.listen(BACKLOG)
        sock.setblocking(False)
        self._listening = sock
        self._listen()
        address = sock.getsockname()
        return address[0], address[1]

    def _listen(self) -> None:
        if self._listening is not None:
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        """As an `asyncio.Server` does, but for one thing: that one forgets whom it has accepted, so it cannot
        close connections that are not made yet."""
        loop = asyncio.get_running_loop()
        for _ in range(BACKLOG):
            if self._listening is None:
                return
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # out of files, most likely: who connects waits
                loop.remove_reader(self._listening)
                loop.call_later(ACCEPT_AGAIN, self._listen)
                return
            accepted.setblocking(False)
            arriving = loop.create_task(loop.connect_accepted_socket(lambda: _Connection(self), accepted))
            self._arriving.add(arriving)
            arriving.add_done_callback(self._arrived)

    def _arrived(self, arriving: asyncio.Task[object]) -> None:
        self._arriving.discard(arriving)
        self._check_gone()

    def lost(self, connection: _Connection) -> None:
        self.connections.discard(connection)
        self._check_gone()

    def _check_gone(self) -> None:
        if self._listening is None and not self._arriving and not self.connections:
            self._gone.set()

    @property
    def aborted(self) -> bool:
        return self._listening is None

    def freeze(self) -> None:
        """Hangs: who connects is let in, and nobody gets an answer any more. What the system has taken to be
        sent may still arrive."""
        self.frozen = True
        for connection in self.connections:
            connection.freeze()

    def abort(self) -> None:
        """Stops at once: no longer listens, and resets all connections. What was not sent yet is not sent."""
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        for connection in self.connections:
            connection.abort()
        self._check_gone()

    async def wait_aborted(self) -> None:
        """After `abort`, until the last of its connections is closed."""
        await self._gone.wait()


class _Connection(asyncio.Protocol):
    """One client: requests are read and answered one after the other.

    ``_step`` takes from the buffer what it can use and tells whether to go on. It is not called while an
    answer is under way, while the client does not take what is written to it, nor while it is to wait.
    """

    _transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._step: Callable[[], bool] = self._read_head
        self._request: _Request | None = None
        self._count = 0
        self._rest = 0
        """Bytes of the body or of the chunk that have not come yet."""
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._full = False
        """Whether the client does not take what is written to it."""
        self._waits = False
        """Whether the body is not to be read yet."""
        self._reads = True
        self._eof = False

    # What the transport calls -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._peer: tuple[str, int] = self._transport.get_extra_info("peername")[:2]
        self._service.connections.add(self)
        if self._service.aborted:
            self.abort()
        elif self._service.frozen:
            self.freeze()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def eof_received(self) -> bool:
        self._eof = True
        self._count_left()
        self._advance()
        return True

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self._eof:
            self._count_left()
        self._stop()
        self._service.lost(self)

    def _count_left(self) -> None:
        if self._request is not None:
            self._service.left += 1

    # What the service calls -------------------------------------------------------------------------------

    def freeze(self) -> None:
        self._stop()
        self._waits = True
        self._hold()

    def abort(self) -> None:
        self._request = None
        self._stop()
        self._step = self._discard
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _socket(self) -> socket.socket:
        sock: socket.socket = self._transport.get_extra_info("socket")
        return sock

    # Reading ----------------------------------------------------------------------------------------------

    @property
    def _held(self) -> bool:
        return self._task is not None or self._full or self._waits

    def _advance(self) -> None:
        try:
            while not self._held and self._step():
                pass
        except _RefusedError as refused:
            self._refuse(refused.status, str(refused))
        self._hold()
        if self._eof and not self._held:
            self._transport.close()

    def _hold(self) -> None:
        """Reads from the client or not: what it sends ahead is bounded."""
        reads = not self._held or not (self._waits or len(self._buffer) > _BUFFER)
        if reads is not self._reads:
            self._reads = reads
            if reads:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _read_head(self) -> bool:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # empty lines before a request are to be ignored
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n")
        if end > MAX_HEAD or (end < 0 and len(buffer) > MAX_HEAD):
            raise _RefusedError(431, f"the header is longer than {MAX_HEAD} bytes")
        if end < 0:
            if buffer.count(b"\n") != buffer.count(b"\r\n"):
                raise _RefusedError(400, "a line of the header ends with a bare LF")
            return False
        head = bytes(buffer[:end])
        del buffer[: end + 4]
        self._count += 1
        self._service.requests += 1
        request = self._request = _Request(head)
        if request.chunked or request.length or request.options is not _PLAIN:
            self._begin(request)
            return True
        return self._complete(request)

    def _begin(self, request: _Request) -> None:
        """What comes before the body is read."""
        options = request.options
        if options.early is not None and request.version == "HTTP/1.1":
            self._transport.write(
                b"HTTP/1.1 %d %s\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"
                % (options.early, _reason(options.early))
            )
        if request.expects and not options.ignore_expect and (request.chunked or request.length):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._rest = request.length
        self._step = self._read_chunk_line if request.chunked else self._read_body
        if options.slow_read:
            self._waits = True
            self._timer = self._loop.call_later(options.slow_read, self._read_on)

    def _read_on(self) -> None:
        self._timer = None
        self._waits = False
        self._advance()

    def _take(self) -> bool:
        """Takes what is there of the body or chunk; tells whether it is complete."""
        buffer, request = self._buffer, self._request
        assert request is not None
        if buffer and self._rest:
            part = buffer[: self._rest] if len(buffer) > self._rest else buffer
            request.take(part)
            self._rest -= len(part)
            del buffer[: len(part)]
        return not self._rest

    def _read_body(self) -> bool:
        return self._take() and self._complete(self._request)

    def _line(self, limit: int) -> bytes | None:
        end = self._buffer.find(b"\r\n", 0, limit)
        if end < 0:
            if len(self._buffer) >= limit or b"\n" in self._buffer:
                raise _RefusedError(400, "a line of the chunked body is too long or has no end")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _read_chunk_line(self) -> bool:
        line = self._line(MAX_CHUNK_LINE)
        if line is None:
            return False
        size = line.partition(b";")[0].rstrip(b" \t")
        if (
            not size
            or size.strip(b"0123456789abcdefABCDEF")
            or len(size) > 15
            or b"\n" in line
            or b"\r" in line
        ):
            raise _RefusedError(400, f"no chunk size: {line[:40]!r}")
        self._rest = int(size, 16)
        self._step = self._read_chunk if self._rest else self._read_trailers
        return True

    def _read_chunk(self) -> bool:
        if not self._take():
            return False
        self._step = self._read_chunk_end
        return True

    def _read_chunk_end(self) -> bool:
        if self._line(2) is None:
            return False
        self._step = self._read_chunk_line
        return True

    def _read_trailers(self) -> bool:
        request = self._request
        assert request is not None
        line = self._line(MAX_HEAD)
        if line is None:
            return False
        if line:
            request.trailers += _fields(_lines(line))
            if len(request.trailers) > 1000:
                raise _RefusedError(431, "there are more than 1000 trailer fields")
            return True
        return self._complete(request)

    def _discard(self) -> bool:
        self._buffer.clear()
        return False

    # Answering --------------------------------------------------------------------------------------------

    def _complete(self, request: _Request | None) -> bool:
        """The request is there as a whole."""
        assert request is not None
        self._step = self._read_head
        if request.options is not _PLAIN or request.upgrade or request.method == "CONNECT":
            self._task = self._loop.create_task(self._answer(request))
            self._task.add_done_callback(self._answered)
            return True
        body = self._echo(request)
        connection = b""
        if not request.keep_alive:
            connection = b"Connection: close\r\n"
        elif request.version == "HTTP/1.0":
            connection = b"Connection: keep-alive\r\n"
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b"
            % (len(body), connection, b"" if request.method == "HEAD" else body)
        )
        self._request = None
        if not request.keep_alive:
            self._end()
        return True

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.result()
            self._advance()

    async def _answer(self, request: _Request) -> None:
        options = request.options
        if options.delay:
            await asyncio.sleep(options.delay)
        if options.raw == "reset":
            self.abort()
        elif options.raw is not None:
            self._transport.write(RAW[options.raw])
            self._request = None
            self._end()
        elif request.upgrade and options.status is None:
            self._switch(request)
        else:
            await self._respond(request)

    async def _respond(self, request: _Request) -> None:
        options = request.options
        # A 2xx to CONNECT would be the start of a tunnel.
        status = options.status or (501 if request.method == "CONNECT" else 200)
        pieces, length, kind = self._body(request)
        modern = request.version == "HTTP/1.1"
        chunked = modern and not options.no_length and (length is None or options.trailers)
        if chunked or options.no_length:
            length = None
        bodiless = status in _BODILESS
        keep_alive = request.keep_alive and not options.close and (chunked or bodiless or length is not None)
        fields = [] if bodiless else [f"Content-Type: {kind}"]
        if length is not None and not bodiless:
            fields.append(f"Content-Length: {length}")
        if chunked and not bodiless:
            fields.append("Transfer-Encoding: chunked")
            fields += ["Trailer: X-Body-SHA256"] if options.trailers else []
        fields += [f"Set-Cookie: cookie{i}={i}; Path=/" for i in range(options.cookies)]
        tokens = [] if keep_alive and modern else ["keep-alive" if keep_alive else "close"]
        if options.hop:
            tokens += ["x-hop", "X-Other-Hop"]
            fields += _HOP
        fields += [f"Connection: {', '.join(tokens)}"] if tokens else []
        head = "".join(f"{field}\r\n" for field in fields)
        self._transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, _reason(status), head.encode("latin-1")))
        if not (bodiless or request.method == "HEAD"):
            await self._send(pieces, options, chunked=chunked)
        if options.cut is not None:
            await self._flush()
            self.abort()
            return
        self._request = None
        if not keep_alive:
            self._end()

    def _body(self, request: _Request) -> tuple[Iterator[bytes], int | None, str]:
        """The body in pieces, its length where that is known, and its media type."""
        options = request.options
        if options.sse is not None:
            return _events(self._service.name, options.sse), None, "text/event-stream"
        if options.chunks is not None:
            return _chunks(options.chunks, options.size), None, "application/octet-stream"
        size = options.size
        if options.cut is not None:
            size = max(size or 0, options.cut + 1024)
        if size is not None:
            return _pattern_pieces(size), size, "application/octet-stream"
        body = self._echo(request)
        return iter((body,)), len(body), "application/json"

    async def _send(self, pieces: Iterator[bytes], options: _Options, *, chunked: bool) -> None:
        digest = sha256() if options.trailers else None
        left = options.cut
        for number, piece in enumerate(pieces):
            if number and options.interval:
                await asyncio.sleep(options.interval)
            cut = left is not None and len(piece) >= left
            part = piece[:left] if cut else piece
            if chunked:
                part = b"%x\r\n%b%b" % (len(piece), part, b"" if cut else b"\r\n")
            self._transport.write(part)
            if cut:
                return
            if left is not None:
                left -= len(piece)
            if digest is not None:
                digest.update(piece)
            if self._full:
                self._drained = self._loop.create_future()
                await self._drained
        if chunked and left is None:
            trailer = f"X-Body-SHA256: {digest.hexdigest()}\r\n" if digest is not None else ""
            trailer += "X-Hop: in the trailer\r\n" if options.hop and digest is not None else ""
            self._transport.write(b"0\r\n%b\r\n" % trailer.encode())

    async def _flush(self) -> None:
        """Waits until the client's system has all that was written: a reset throws away the rest."""
        sock = self._socket()
        while self._transport.get_write_buffer_size() or _unsent(sock):  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.002)

    def _switch(self, request: _Request) -> None:
        fields = b""
        self._step = self._echo_bytes
        if request.upgrade == "websocket":
            key = request.field("sec-websocket-key")
            try:
                usable = len(b64decode(key, validate=True)) == 16
            except ValueError:
                usable = False
            if request.method != "GET" or not usable:
                self._refuse(400, "a WebSocket is asked for with GET and a key of 16 bytes")
                return
            if request.field("sec-websocket-version") != "13":
                self._refuse(426, "the version is 13", b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
                return
            accept = b64encode(sha1(key.encode() + _WEBSOCKET_GUID, usedforsecurity=False).digest())
            fields = b"Sec-WebSocket-Accept: %b\r\n" % accept
            self._websocket = _WebSocket()
            self._step = self._echo_frame
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n%b\r\n"
            % (request.upgrade.encode(), fields)
        )
        self._request = None

    def _echo_bytes(self) -> bool:
        if self._buffer:
            self._transport.write(bytes(self._buffer))
            self._buffer.clear()
        return False

    def _echo_frame(self) -> bool:
        answer = self._websocket.answer(self._buffer)
        if answer is None:
            return False
        if answer:
            self._transport.write(answer)
        if self._websocket.closed:
            self._end()
        return True

    def _echo(self, request: _Request) -> bytes:
        service = self._service
        return _encode(
            {
                "node": service.name,
                "method": request.method,
                "target": request.target,
                "version": request.version,
                "headers": request.fields,
                "trailers": request.trailers,
                "body": {"length": request.read, "sha256": request.hash.hexdigest()},
                "peer": self._peer,
                "requests": self._count,
                "service": {
                    "connections": len(service.connections),
                    "requests": service.requests,
                    "left": service.left,
                },
            }
        ).encode()

    def _refuse(self, status: int, why: str, fields: bytes = b"") -> None:
        body = _encode({"node": self._service.name, "error": why}).encode()
        self._transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b"
            b"Connection: close\r\n\r\n%b" % (status, _reason(status), len(body), fields, body)
        )
        self._request = None
        self._end()

    def _end(self) -> None:
        """Closes when all is sent. Reads on for a while: a close with bytes unread is a reset, which can
        overtake the answer."""
        self._step = self._discard
        with suppress(OSError):  # the client is gone, and the loop has not seen it yet
            self._transport.write_eof()
        self._timer = self._loop.call_later(LINGER, self._transport.close)


_HOP = [
    "X-Hop: for the next hop only",
    "X-Other-Hop: for the next hop only",
    "X-End: for the client",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    'Proxy-Authenticate: Basic realm="hop"',
    "Proxy-Authentication-Info: hop",
    "TE: trailers",
    "Upgrade: echo",
]


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"As Asked"


def _events(name: str, count: int) -> Iterator[bytes]:
    for number in range(1, count + 1):
        yield f"id: {number}\ndata: {_encode({'node': name, 'event': number})}\n\n".encode()


def _chunks(count: int, size: int | None) -> Iterator[bytes]:
    for number in range(1, count + 1):
        yield f"chunk {number} of {count}\n".encode() if size is None else pattern(size)


def _pattern_pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // len(_PATTERN)):
        yield _PATTERN
    if rest := size % len(_PATTERN):
        yield _PATTERN[:rest]


def _unsent(sock: socket.socket) -> int:
    """Bytes that the peer's system has not acknowledged. Source: tcp(7), SIOCOUTQ."""
    queued: int = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    return queued


# Alone --------------------------------------------------------------------------------------------------


async def _serve(name: str, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    service = Service(name)
    host, port = await service.start(host, port)
    print(f"listening on {f'[{host}]' if ':' in host else host}:{port}", flush=True)
    await ended.wait()
    service.abort()
    await service.wait_aborted()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT."""
    from argparse import ArgumentParser

    parser = ArgumentParser(prog="rpi_clusterhat_sim.service", description="The service of a simulated node.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for one that is free")
    parser.add_argument("--name", default="p1", help="how it calls itself")
    given = parser.parse_args(arguments)
    try:
        asyncio.run(_serve(given.name, given.host, given.port))
    except (OSError, OverflowError) as error:
        print(f"cannot listen on {given.host}:{given.port}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
