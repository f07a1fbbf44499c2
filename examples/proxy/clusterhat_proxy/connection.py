"""A client's connection: one request after the other, each within its time."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from .exchange import ClientLeftError, Exchange, TimedOutError, own_answer
from .fields import Forwarding, is_within
from .messages import HeadError, Limits, read_head, request

if TYPE_CHECKING:
    import ipaddress

    from .server import Server
    from .wire import Wire

__all__ = ["Connection", "ServerSettings"]

_NEVER = float("inf")

LINGER = 2.0
"""Seconds in which a client that is refused may read why."""

_log = logging.getLogger("clusterhat_proxy")


class ServerSettings(NamedTuple):
    """Bounds in numbers, bytes and seconds, by HAProxy's names."""

    max_connections: int = 16384
    max_connections_per_client: int = 10000
    max_body: int = 0
    min_body_rate: int = 500
    timeout_http_request: float = 10.0
    timeout_http_keep_alive: float = 60.0
    timeout_client: float = 60.0
    limits: Limits = Limits()
    trust: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()


class Connection:
    """A client's connection, and the task that serves it."""

    __slots__ = (
        "_client_by",
        "_left",
        "_loop",
        "_new",
        "_node_by",
        "_reader_by",
        "_server",
        "_timed_out",
        "busy",
        "forwarding",
        "peer",
        "settings",
        "task",
        "tunnel",
        "wire",
    )

    def __init__(self, server: Server, wire: Wire, *, secure: bool) -> None:
        self._server = server
        self.settings = server.settings
        self.wire = wire
        self._loop = wire.loop
        name = wire.transport.get_extra_info("peername")
        self.peer: str = name[0] if name else ""
        self.forwarding = Forwarding(
            self.peer, secure=secure, trusted=is_within(self.peer, self.settings.trust)
        )
        self._client_by = self._node_by = self._reader_by = _NEVER
        """When to give up waiting for the client's bytes, for a node, for the client to read."""
        self._timed_out: str | None = None
        self._left = False
        self._new = True
        self.busy = False
        """Whether a request is under way."""
        self.tunnel = False
        """Whether it is a tunnel by now."""
        wire.on_end = self._ended
        self.task = self._loop.create_task(self._serve())

    # What an exchange asks of it --------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Whether no more requests are to come."""
        return self._server.draining

    @property
    def cut_short(self) -> str | None:
        """Why its task is being cancelled: ``left``, or ``client`` or ``server`` for who took too long."""
        return "left" if self._left else self._timed_out

    def time(self) -> float:
        """The clock that its time-outs go by, in seconds."""
        return self._loop.time()

    async def receive(self, seconds: float) -> bytes:
        """The client's next bytes; empty at their end. Its task is cancelled after so long without any."""
        self._client_by = self._loop.time() + seconds
        try:
            return await self.wire.receive()
        finally:
            self._client_by = _NEVER

    def limit_node(self, seconds: float | None) -> None:
        """Cancels the task after so long; None lifts that."""
        self._node_by = _NEVER if seconds is None else self._loop.time() + seconds

    async def drain(self) -> None:
        """Waits until there is room to send more. Raises `ClientLeftError`."""
        self._reader_by = self._loop.time() + self.settings.timeout_client
        try:
            await self.wire.drain()
        except ConnectionResetError:
            raise ClientLeftError from None
        self._reader_by = _NEVER

    def become_tunnel(self) -> None:
        """Has it counted as a tunnel, which a drain does not wait for."""
        self.tunnel = True

    # The end of a wait ------------------------------------------------------------------------------------

    def _ended(self) -> None:
        if self.busy and not self._left and self._timed_out is None:
            self._left = True
            self.task.cancel()

    def expire(self, now: float) -> None:
        """Cancels the task where a wait has taken too long."""
        if self._client_by <= now:
            what = "client"
        elif self._node_by <= now:
            what = "server"
        elif self._reader_by <= now:
            what = "client"
        else:
            return
        self._wait_for_nothing()
        if not self._left and self._timed_out is None:
            self._timed_out = what
            self.task.cancel()

    def _wait_for_nothing(self) -> None:
        self._client_by = self._node_by = self._reader_by = _NEVER

    def _why_cancelled(self) -> Exception:
        self.task.uncancel()
        self._wait_for_nothing()
        if self._timed_out is not None:
            what, self._timed_out = self._timed_out, None
            return TimedOutError(what)
        return ClientLeftError()

    # Serving ----------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        server = self._server
        rest = b""
        try:
            while True:
                following = await self._one(rest)
                self.busy = False
                if following is None or server.draining:
                    break
                rest = following
            self.wire.on_end = None
            await self._linger()
            self.wire.close()
        except asyncio.CancelledError:
            if server.draining and not self.busy:
                self.wire.close()
            else:
                self.wire.abort()
        except ConnectionError:
            self.wire.abort()
        except Exception:  # noqa: BLE001 - a mistake in one request must not end the others
            _log.exception("a connection failed")
            self.wire.abort()
        finally:
            self.wire.on_end = None
            server.gone(self)

    async def _one(self, rest: bytes) -> bytes | None:
        """One request. Answers with what came after it; None where the connection is to be closed."""
        exchange: Exchange | None = None
        try:
            try:
                read = await self._read(rest)
                if read is None:
                    return None
                head, rest = read
                parsed = request(head, self.settings.limits)
                if self.wire.lost:
                    raise ClientLeftError  # before it could be seen: no node need start
                self.busy = True
                exchange = Exchange(self, parsed, rest)
                await self._server.handler(exchange)
            except asyncio.CancelledError:
                if self.cut_short is None:
                    raise
                raise self._why_cancelled() from None
        except HeadError as error:
            self._server.refused("bad request")
            self._refuse(exchange, error.status, str(error))
            return None
        except TimedOutError as error:
            self._server.refused("too slow")
            if error.what == "server":
                self._refuse(exchange, 504, "the node took too long")
                return None
            self._refuse(exchange, 408, "the request took too long")
            return None
        if exchange.keep_alive and exchange.done and exchange.begun:
            return exchange.unread()
        return None

    async def _read(self, rest: bytes) -> tuple[bytes, bytes] | None:
        settings = self.settings
        if not rest:
            seconds = settings.timeout_http_request if self._new else settings.timeout_http_keep_alive
            self._new = False
            try:
                rest = await self.receive(seconds)
            except asyncio.CancelledError:
                if self._timed_out is None:
                    raise
                self._why_cancelled()
                return None  # it had nothing to say
        self._client_by = self._loop.time() + settings.timeout_http_request
        if rest == b"\r":
            rest += await self.wire.receive()
        if rest.startswith(b"\r\n"):
            rest = rest[2:] or await self.wire.receive()
        if not rest:
            return None
        read = await read_head(self.wire, rest, settings.limits)
        self._client_by = _NEVER
        return read

    def _refuse(self, exchange: Exchange | None, status: int, text: str) -> None:
        if exchange is not None and exchange.begun:
            raise ConnectionAbortedError  # an end would look like a whole answer
        answer = own_answer(status, text)
        if exchange is not None and exchange.method == b"HEAD":
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        self.wire.write(answer)

    async def _linger(self) -> None:
        """Lets the client read the last answer, when closing at once would take it away from it."""
        wire = self.wire
        wire.transport.set_write_buffer_limits(1, 0)  # with TLS a limit of 0 is reached by nothing at all
        await self.drain()
        if wire.ended or not wire.transport.can_write_eof():
            return
        with suppress(OSError):  # the client is gone, and the loop has not seen it yet
            wire.transport.write_eof()
        end = self._loop.time() + LINGER
        try:
            async with asyncio.timeout_at(end):
                while await wire.receive():
                    pass
        except TimeoutError:
            pass
