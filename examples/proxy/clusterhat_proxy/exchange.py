"""One request, and the answer to it, as a handler sees them."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import TYPE_CHECKING

from .bodies import BodyError, Chunked, Sized
from .fields import connection_options
from .messages import HeadError, chunk, last_chunk, lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .connection import Connection
    from .fields import Field, Forwarding
    from .messages import RequestHead
    from .wire import Wire

__all__ = ["ClientLeftError", "Exchange", "TimedOutError", "date", "own_answer"]

_KEPT = 65536
"""Bytes of a request's body that are kept, so that it can be sent again."""


class ClientLeftError(ConnectionError):
    """The client has gone before it had its answer."""


class TimedOutError(Exception):
    """``what`` took too long: ``client`` or ``server``."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def date() -> tuple[bytes, bytes]:
    """The field that says when an answer was made."""
    return b"Date", _date(int(time()))


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class Exchange:
    """One request, and the answer to it. Belongs to its connection's task."""

    __slots__ = (
        "_body",
        "_budget",
        "_chunked",
        "_connection",
        "_out",
        "begun",
        "bodyless",
        "done",
        "fields",
        "first",
        "has_body",
        "host",
        "keep_alive",
        "kept",
        "method",
        "received",
        "status",
        "target",
        "trailers",
        "version",
    )

    def __init__(self, connection: Connection, head: RequestHead, rest: bytes) -> None:
        self._connection = connection
        self.method = head.method
        self.version = head.version
        self.target = head.target
        self.host = head.host
        self.fields = head.fields
        self.first = first = head.first
        """The first value of each field, by its name in lower case."""
        self.has_body = b"content-length" in first or b"transfer-encoding" in first
        self.received = 0
        self.kept: list[bytes] | None = []
        """The body as far as it has come; None where that is too much to keep."""
        self.trailers: list[tuple[bytes, bytes]] = []
        self.begun = False
        self.bodyless = self.method == b"HEAD"
        self.status = 0
        said = connection_options(head.fields) if b"connection" in first else []
        self.keep_alive = b"close" not in said and (self.version >= b"1.1" or b"keep-alive" in said)
        settings = connection.settings
        self._budget = settings.timeout_client
        self._chunked = False
        self._out: list[bytes] = []
        length = first.get(b"content-length")
        most = settings.max_body
        if most and length is not None and int(length) > most:
            raise HeadError(413, f"the body is longer than {most} bytes")
        self.done = not self.has_body
        """All of the request has come."""
        self._body = (
            Chunked(settings.limits.header_size) if b"transfer-encoding" in first else Sized(int(length or 0))
        )
        self._body.receive(rest)

    @property
    def peer(self) -> str:
        return self._connection.peer

    @property
    def wire(self) -> Wire:
        return self._connection.wire

    @property
    def forwarding(self) -> Forwarding:
        return self._connection.forwarding

    def limit_server(self, seconds: float | None) -> None:
        """Ends the exchange with `TimedOutError` after so long; None lifts it."""
        self._connection.limit_node(seconds)

    # The request's body -----------------------------------------------------------------------------------

    async def receive(self) -> bytes:
        """The next part of the body; empty at its end."""
        connection = self._connection
        settings = connection.settings
        while not self.done:
            data = self._next()
            if data is None:
                # A client that trickles runs out of time as surely as one that sends nothing.
                began = connection.time()
                data = await connection.receive(self._budget)
                if not data:
                    raise ClientLeftError
                rate = settings.min_body_rate
                earned = len(data) / rate if rate else settings.timeout_client
                self._budget += began - connection.time() + earned
                self._budget = min(settings.timeout_client, self._budget)
                self._body.receive(data)
            elif data:
                if self.received > _KEPT:
                    self.kept = None
                return data
        return b""

    def _next(self) -> bytes | None:
        """The next part of what has come, empty at the body's end; None where there is nothing yet."""
        try:
            data = self._body.next()
        except BodyError as error:
            raise HeadError(400, str(error)) from error
        if data is None:
            return None
        if not data:
            self.trailers = self._body.trailers
            self.done = True
        self.received += len(data)
        most = self._connection.settings.max_body
        if most and self.received > most:
            raise HeadError(413, f"the body is longer than {most} bytes")
        if self.kept is not None and data:
            self.kept.append(data)
        return data

    @property
    def at_hand(self) -> bool:
        """Whether the whole body has come; takes it in as far as it has, if that is little."""
        while not self.done and self.kept is not None:
            if self._next() is None:
                data = self._connection.wire.take()
                if not data:
                    return False
                self._body.receive(data)
            elif self.received > _KEPT:
                return self.done  # what is kept is sent first
        return self.done

    # The answer -------------------------------------------------------------------------------------------

    def interim(self, status: int, reason: bytes, fields: Sequence[Field]) -> None:
        """A 1xx, which an HTTP/1.0 client would not understand."""
        if self.version >= b"1.1" and not self.begun:
            self.wire.write(lines(b"HTTP/1.1 %d %b" % (status, reason), fields))

    def begin(
        self,
        status: int,
        reason: bytes,
        fields: Sequence[Field],
        more: Sequence[tuple[bytes, bytes]] = (),
        *,
        length: int | None,
        none: bool = False,
    ) -> None:
        """Starts the answer with its head.

        Args:
            length: Bytes of the body; None if that is not known before its end.
            none: Whether there is neither a body nor a length.
        """
        self.begun = True
        self.status = status
        self.bodyless = self.bodyless or none or status in (204, 304)
        extra = list(more)
        if length is not None and status != 204:
            extra.append((b"Content-Length", b"%d" % length))
        elif length is None and not self.bodyless:
            if self.version >= b"1.1":
                self._chunked = True
                extra.append((b"Transfer-Encoding", b"chunked"))
            else:
                self.keep_alive = False
        if not self.done or self._connection.draining:
            self.keep_alive = False
        if not self.keep_alive:
            extra.append((b"Connection", b"close"))
        elif self.version < b"1.1":
            extra.append((b"Connection", b"keep-alive"))
        self._out.append(lines(b"HTTP/1.1 %d %b" % (status, reason), fields, extra))

    def send(self, data: bytes) -> None:
        """A part of the body; goes out with the next `flush` or `end`."""
        if data and not self.bodyless:
            self._out.append(chunk(data) if self._chunked else data)

    async def flush(self) -> None:
        out = self._out
        if out:
            self.wire.write(out[0] if len(out) == 1 else b"".join(out))
            self._out = []
        if self.wire.paused or self.wire.lost:
            await self._connection.drain()

    async def end(self, trailers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        if self._chunked:
            self._out.append(last_chunk(trailers))
        await self.flush()

    async def reply(
        self,
        status: int,
        more: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        kind: bytes = b"text/plain; charset=utf-8",
    ) -> None:
        """A whole answer of this program's own."""
        head = [date(), *more]
        if body:
            head.append((b"Content-Type", kind))
        self.begin(status, _REASONS.get(status, b""), (), head, length=len(body))
        self.send(body)
        await self.end()

    def unread(self) -> bytes:
        """What has come after the request."""
        return self._body.rest

    @property
    def cut_short(self) -> str | None:
        """Why it is being cancelled: ``left``, ``client`` or ``server``."""
        return self._connection.cut_short

    def become_tunnel(self) -> bytes:
        """From here on the connection is no HTTP any more. Answers with what has come after the request."""
        self._connection.become_tunnel()
        self.keep_alive = False
        self.begun = True
        return self.unread() + self.wire.take()


def own_answer(status: int, text: str, more: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """A short answer of this program's own, after which the connection ends."""
    body = text.encode() + b"\n"
    head = [
        date(),
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Connection", b"close"),
        *more,
    ]
    return lines(b"HTTP/1.1 %d %b" % (status, _REASONS.get(status, b"")), (), head) + body
