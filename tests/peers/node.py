"""A node's service that tells what reached it, and misbehaves when it is asked to: see `tests.peers.query`.

It is strict about what it takes, so that a gateway before it cannot pass on what is broken; answers that are
400 and the like name the node, too. Any method and path is answered with what was received, as JSON:

    {"node", "method", "target", "version", "headers": [[name, value], …], "trailers": [[name, value], …],
     "body": {"length", "sha256"}, "peer": [host, port], "requests": on this connection so far,
     "service": {"requests": so far}}

``Upgrade: websocket`` echoes messages, ``Upgrade: echo`` bytes.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import re
import socket
import struct
import termios
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import h11

from . import bodies, query, websocket
from .broken import RAW

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_HEAD", "Peer"]

MAX_HEAD = 65536
_BODILESS = (204, 304)
_RESET = struct.pack("ii", 1, 0)
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


class Peer:
    """The service of one node."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.requests = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Conversation(self, reader, writer).run()


class _Refused(h11.RemoteProtocolError):
    def __init__(self, status: int, why: str, *fields: str) -> None:
        super().__init__(why, error_status_hint=status)
        self.fields = fields


class _Request:
    """A request's header, and what is known of its body."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.reading = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        if re.search(rb"\0|(?<!\r)\n|\r(?!\n)|\r\n[ \t]", head):
            raise _Refused(400, "a bare CR, LF or NUL or a folded line is in the header")
        self.reading.receive_data(head)
        event = self.reading.next_event()
        if not isinstance(event, h11.Request):
            raise _Refused(400, "no request")
        self.method, self.target = event.method.decode(), event.target.decode("latin-1")
        self.version = f"HTTP/{event.http_version.decode()}"
        if self.version not in ("HTTP/1.1", "HTTP/1.0"):
            raise _Refused(505, f"the version is {self.version!r}")
        self.fields = _text(event.headers.raw_items())
        self.trailers: list[tuple[str, str]] = []
        self.length = 0
        self.digest = sha256()
        self._check()
        try:
            self.wanted = query.parse(self.target)
        except ValueError as error:
            raise _Refused(400, str(error)) from None

    def _check(self) -> None:
        """What h11 lets pass."""
        modern = self.version == "HTTP/1.1"
        if len(self.values("host")) > 1:
            raise _Refused(400, "there is more than one Host")
        # h11 makes one of several that are equal.
        lengths = re.findall(rb"(?im)^content-length:[ \t]*(.*?)[ \t]*\r$", self.head)
        if lengths and (len(lengths) > 1 or not lengths[0].isdigit()):
            raise _Refused(400, "Content-Length is given twice, or no number")
        coded = bool(self.values("transfer-encoding"))
        if coded and (lengths or not modern):
            raise _Refused(400, "Transfer-Encoding beside Content-Length, or in HTTP/1.0")
        if modern and self.tokens("expect") not in ([], ["100-continue"]):
            raise _Refused(417, "Expect is unknown")
        tokens = self.tokens("connection")
        self.keep_alive = "close" not in tokens if modern else "keep-alive" in tokens
        self.has_body = coded or lengths not in ([], [b"0"])
        upgrades = self.tokens("upgrade") if modern and "upgrade" in tokens and not self.has_body else []
        self.upgrade = next((token for token in upgrades if token in ("websocket", "echo")), "")

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name]

    def tokens(self, name: str) -> list[str]:
        return [token.strip().lower() for value in self.values(name) for token in value.split(",")]


def _text(pairs: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]


class _Conversation:
    """One connection: requests are read and answered one after the other."""

    def __init__(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peer = peer
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()
        """What was read and not used yet."""
        self._count = 0

    async def run(self) -> None:
        try:
            while (head := await self._read_head()) is not None:
                request = _Request(head)
                await self._read_body(request)
                if not await self._answer(request):
                    return
                await self._writer.drain()
        except h11.RemoteProtocolError as error:
            fields = error.fields if isinstance(error, _Refused) else ()
            self._refuse(error.error_status_hint, str(error), fields)

    def _refuse(self, status: int, why: str, fields: tuple[str, ...] = ()) -> None:
        body = json.dumps({"node": self._peer.node, "error": why}).encode()
        about = ("Content-Type: application/json", f"Content-Length: {len(body)}")
        self._writer.write(_head(status, *about, *fields, "Connection: close") + body)

    # Reading ----------------------------------------------------------------------------------------------

    async def _more(self) -> bytes:
        return await self._reader.read(1 << 16)

    async def _read_head(self) -> bytes | None:
        """None where no request comes any more."""
        buffer = self._buffer
        while True:
            while buffer.startswith(b"\r\n"):  # empty lines before a request are to be ignored
                del buffer[:2]
            end = buffer.find(b"\r\n\r\n")
            if end > MAX_HEAD or (end < 0 and len(buffer) > MAX_HEAD):
                raise _Refused(431, f"the header is longer than {MAX_HEAD} bytes")
            if end < 0 and buffer.count(b"\n") != buffer.count(b"\r\n"):
                raise _Refused(400, "a line of the header ends with a bare LF")
            if end >= 0:
                break
            data = await self._more()
            if not data:
                return None
            buffer += data
        head = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        self._count += 1
        self._peer.requests += 1
        return head

    async def _read_body(self, request: _Request) -> None:
        wanted, reading = request.wanted, request.reading
        if wanted.early is not None and request.version == "HTTP/1.1":
            self._send_head(wanted.early, "Link: </style.css>; rel=preload; as=style")
        if request.has_body and reading.they_are_waiting_for_100_continue and not wanted.ignore_expect:
            self._send_head(100)
        if wanted.slow_read:
            transport = cast("asyncio.Transport", self._writer.transport)
            transport.pause_reading()
            await asyncio.sleep(wanted.slow_read)
            transport.resume_reading()
        ahead, self._buffer = bytes(self._buffer), bytearray()
        if ahead:
            reading.receive_data(ahead)
        while not isinstance(event := reading.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                reading.receive_data(await self._more())  # nothing is the end, which h11 takes amiss here
            elif isinstance(event, h11.Data):
                request.digest.update(event.data)
                request.length += len(event.data)
        request.trailers = _text(event.headers.raw_items())
        self._buffer += reading.trailing_data[0]

    # Answering --------------------------------------------------------------------------------------------

    def _send_head(self, status: int, *fields: str) -> None:
        self._writer.write(_head(status, *fields))

    async def _answer(self, request: _Request) -> bool:
        """Whether the connection goes on."""
        wanted = request.wanted
        if wanted.delay:
            await asyncio.sleep(wanted.delay)
        if wanted.raw is not None:
            self._writer.write(RAW.get(wanted.raw, b""))
            if wanted.raw == "reset":
                self._reset()
            return False
        if request.upgrade and wanted.status is None:
            await self._switch(request)
            return False
        return await self._respond(request)

    async def _respond(self, request: _Request) -> bool:
        wanted = request.wanted
        # A 2xx to CONNECT would be the start of a tunnel.
        status = wanted.status or (501 if request.method == "CONNECT" else 200)
        pieces, length, kind = self._body(request)
        modern = request.version == "HTTP/1.1"
        chunked = modern and not wanted.no_length and (length is None or wanted.trailers)
        if chunked or wanted.no_length:
            length = None
        bodiless = status in _BODILESS
        keep_alive = request.keep_alive and not wanted.close and (chunked or bodiless or length is not None)
        fields = [] if bodiless else [f"Content-Type: {kind}"]
        if length is not None and not bodiless:
            fields.append(f"Content-Length: {length}")
        if chunked and not bodiless:
            fields.append("Transfer-Encoding: chunked")
            fields += ["Trailer: X-Body-SHA256"] if wanted.trailers else []
        fields += [f"Set-Cookie: cookie{i}={i}; Path=/" for i in range(wanted.cookies)]
        tokens = [] if keep_alive and modern else ["keep-alive" if keep_alive else "close"]
        if wanted.hop:
            tokens += ["x-hop", "X-Other-Hop"]
            fields += _HOP
        fields += [f"Connection: {', '.join(tokens)}"] if tokens else []
        empty = bodiless or request.method == "HEAD"
        sent = iter(()) if empty else _framed(pieces, wanted, chunked=chunked)
        # The head goes with the first piece: two segments would cost whoever reads them more.
        self._writer.write(_head(status, *fields) + next(sent, (b"", False))[0])
        for part, waits in sent:
            await self._writer.drain()
            if waits and wanted.interval:
                await asyncio.sleep(wanted.interval)
            self._writer.write(part)
        if wanted.cut is not None:
            await self._flush()
            self._reset()
            return False
        return keep_alive

    def _body(self, request: _Request) -> tuple[Iterator[bytes], int | None, str]:
        """The body in pieces, its length where that is known, and its media type."""
        wanted = request.wanted
        if wanted.sse is not None:
            return bodies.events(self._peer.node, wanted.sse), None, "text/event-stream"
        if wanted.chunks is not None:
            return bodies.chunks(wanted.chunks, wanted.size), None, "application/octet-stream"
        size = wanted.size
        if wanted.cut is not None:
            size = max(size or 0, wanted.cut + 1024)
        if size is not None:
            return bodies.pattern_pieces(size), size, "application/octet-stream"
        body = json.dumps(self._told(request), separators=(",", ":")).encode()
        return iter((body,)), len(body), "application/json"

    def _told(self, request: _Request) -> dict[str, Any]:
        return {
            "node": self._peer.node,
            "method": request.method,
            "target": request.target,
            "version": request.version,
            "headers": request.fields,
            "trailers": request.trailers,
            "body": {"length": request.length, "sha256": request.digest.hexdigest()},
            "peer": self._writer.get_extra_info("peername")[:2],
            "requests": self._count,
            "service": {"requests": self._peer.requests},
        }

    async def _switch(self, request: _Request) -> None:
        ahead = bytes(self._buffer)
        if request.upgrade == "websocket":
            await websocket.echo(request.head, ahead, self._reader, self._writer)
            return
        self._send_head(101, "Connection: Upgrade", "Upgrade: echo")
        while True:
            self._writer.write(ahead)
            await self._writer.drain()
            ahead = await self._more()
            if not ahead:
                return

    def _socket(self) -> socket.socket:
        sock: socket.socket = self._writer.get_extra_info("socket")
        return sock

    async def _flush(self) -> None:
        """Waits until the client's system has all that was written: a reset throws away the rest."""
        sock = self._socket()
        while self._writer.transport.get_write_buffer_size() or _unsent(sock):  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.002)

    def _reset(self) -> None:
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()


def _head(status: int, *fields: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} {_reason(status)}", *fields, "", ""]).encode("latin-1")


def _framed(pieces: Iterator[bytes], wanted: query.Wanted, *, chunked: bool) -> Iterator[tuple[bytes, bool]]:
    """What to send of a body, and whether the next is to wait for its interval."""
    digest = sha256()
    left = wanted.cut
    for piece in pieces:
        cut = left is not None and len(piece) >= left
        part = piece[:left] if cut else piece
        if chunked:
            part = b"%x\r\n%b%b" % (len(piece), part, b"" if cut else b"\r\n")
        yield part, True
        if cut:
            return
        if left is not None:
            left -= len(piece)
        if wanted.trailers:
            digest.update(piece)
    if chunked and left is None:
        trailer = f"X-Body-SHA256: {digest.hexdigest()}\r\n" if wanted.trailers else ""
        trailer += "X-Hop: in the trailer\r\n" if wanted.hop and wanted.trailers else ""
        yield b"0\r\n%b\r\n" % trailer.encode(), False


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "As Asked"


def _unsent(sock: socket.socket) -> int:
    """Bytes that the peer's system has not acknowledged. Source: tcp(7), SIOCOUTQ."""
    queued: int = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    return queued
