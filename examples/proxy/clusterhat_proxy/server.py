"""The side that clients see: listening, limits, and one request after the other on each connection."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from .exchange import NEVER, ClientLeftError, Exchange, ServerSettings, TimedOutError, own_answer
from .fields import Forwarding, is_within
from .messages import HeadError, read_head, request
from .wire import KEEPALIVE, Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

__all__ = ["Connection", "Exchange", "Server", "ServerSettings"]

_LOOK = 0.25
"""Seconds between two looks at who has run out of time."""
_LINGER = 2.0
"""Seconds in which a client that is refused may read why."""
_LAST_WORDS = 0.25
"""Seconds in which those who waited when a drain ran out of time are told."""
_MOST_REFUSALS = 512
"""Connections beyond the limits that are told so at a time; the rest are only closed."""

_BACKLOG = 1024

_log = logging.getLogger("clusterhat_proxy")


class Connection:
    """A client's connection, and the task that serves it."""

    __slots__ = (
        "busy",
        "deadlines",
        "forwarding",
        "left",
        "loop",
        "new",
        "peer",
        "server",
        "task",
        "timed_out",
        "tunnel",
        "wire",
    )

    def __init__(self, server: Server, wire: Wire, *, secure: bool) -> None:
        self.server = server
        self.wire = wire
        self.loop = wire.loop
        name = wire.transport.get_extra_info("peername")
        self.peer: str = name[0] if name else ""
        self.forwarding = Forwarding(
            self.peer, secure=secure, trusted=is_within(self.peer, server.settings.trust)
        )
        self.deadlines = [NEVER, NEVER, NEVER]
        """When to give up waiting for the client's bytes, for a node, for the client to read."""
        self.timed_out: str | None = None
        self.left = False
        self.new = True
        self.busy = False
        self.tunnel = False
        wire.on_end = self._ended
        self.task = self.loop.create_task(self._serve())

    def _ended(self) -> None:
        if self.busy and not self.left and self.timed_out is None:
            self.left = True
            self.task.cancel()

    def expire(self, now: float) -> None:
        for i, what in enumerate(("client", "server", "client")):
            if self.deadlines[i] <= now:
                self.deadlines = [NEVER, NEVER, NEVER]
                if not self.left and self.timed_out is None:
                    self.timed_out = what
                    self.task.cancel()
                return

    def _why_cancelled(self) -> Exception:
        self.task.uncancel()
        self.deadlines = [NEVER, NEVER, NEVER]
        if self.timed_out is not None:
            what, self.timed_out = self.timed_out, None
            return TimedOutError(what)
        return ClientLeftError()

    async def _serve(self) -> None:
        server = self.server
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
                parsed = request(head, self.server.settings.limits)
                if self.wire.lost:
                    raise ClientLeftError  # before it could be seen: no node need start
                self.busy = True
                exchange = Exchange(self, parsed, rest)
                await self.server.handler(exchange)
            except asyncio.CancelledError:
                if self.timed_out is None and not self.left:
                    raise
                raise self._why_cancelled() from None
        except HeadError as error:
            self.server.refused("bad request")
            self._refuse(exchange, error.status, str(error))
            return None
        except TimedOutError as error:
            self.server.refused("too slow")
            if error.what == "server":
                self._refuse(exchange, 504, "the node took too long")
                return None
            self._refuse(exchange, 408, "the request took too long")
            return None
        if exchange.keep_alive and exchange.done and exchange.begun:
            return exchange.unread()
        return None

    async def _read(self, rest: bytes) -> tuple[bytes, bytes] | None:
        settings = self.server.settings
        if not rest:
            seconds = settings.timeout_http_request if self.new else settings.timeout_http_keep_alive
            self.deadlines[0] = self.loop.time() + seconds
            self.new = False
            try:
                rest = await self.wire.receive()
            except asyncio.CancelledError:
                if self.timed_out is None:
                    raise
                self._why_cancelled()
                return None  # it had nothing to say
        self.deadlines[0] = self.loop.time() + settings.timeout_http_request
        if rest == b"\r":
            rest += await self.wire.receive()
        if rest.startswith(b"\r\n"):
            rest = rest[2:] or await self.wire.receive()
        if not rest:
            return None
        read = await read_head(self.wire, rest, settings.limits)
        self.deadlines[0] = NEVER
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
        self.deadlines[2] = self.loop.time() + self.server.settings.timeout_client
        await wire.drain()
        self.deadlines[2] = NEVER
        if wire.ended or not wire.transport.can_write_eof():
            return
        with suppress(OSError):  # the client is gone, and the loop has not seen it yet
            wire.transport.write_eof()
        end = self.loop.time() + _LINGER
        try:
            async with asyncio.timeout_at(end):
                while await wire.receive():
                    pass
        except TimeoutError:
            pass


class Server:
    """Serves each request by ``handler``. Belongs to one event loop."""

    def __init__(
        self,
        handler: Callable[[Exchange], Awaitable[None]],
        settings: ServerSettings,
        refused: Callable[[str], object] = lambda _: None,
    ) -> None:
        """``refused`` is told why a connection or a request was refused before the handler saw it."""
        self.handler = handler
        self.settings = settings
        self.draining = False
        self.connections: set[Connection] = set()
        self.refused = refused
        self._clients: Counter[str] = Counter()
        self._listeners: list[asyncio.Server] = []
        self._refusals: set[Wire] = set()
        self._watch: asyncio.Task[None] | None = None

    async def listen(
        self,
        host: str | None = None,
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        context: ssl.SSLContext | None = None,
    ) -> list[tuple[str, int]]:
        """Listens there, or on a socket that is bound already; the addresses it has got."""
        loop = asyncio.get_running_loop()

        def protocol() -> Wire:
            return Wire(loop, lambda wire: self._made(wire, secure=context is not None))

        handshake = self.settings.timeout_http_request if context else None
        if sock is not None:
            listener = await loop.create_server(
                protocol, sock=sock, backlog=_BACKLOG, ssl=context, ssl_handshake_timeout=handshake
            )
        else:
            listener = await loop.create_server(
                protocol, host, port, backlog=_BACKLOG, ssl=context, ssl_handshake_timeout=handshake
            )
        self._listeners.append(listener)
        for one in listener.sockets:  # what they accept has it from them
            one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEPALIVE:
                one.setsockopt(socket.IPPROTO_TCP, option, value)
        if self._watch is None:
            self._watch = loop.create_task(self._look())
        return [(name[0], name[1]) for one in listener.sockets for name in [one.getsockname()]]

    def _made(self, wire: Wire, *, secure: bool) -> None:
        name = wire.transport.get_extra_info("peername")
        peer = name[0] if name else ""
        settings = self.settings
        if len(self.connections) >= settings.max_connections:
            self._turn_away(wire, "too many connections")
        elif self._clients[peer] >= settings.max_connections_per_client:
            self._turn_away(wire, "too many connections of one client")
        else:
            self._clients[peer] += 1
            self.connections.add(Connection(self, wire, secure=secure))

    def _turn_away(self, wire: Wire, why: str) -> None:
        self.refused(why)
        if len(self._refusals) >= _MOST_REFUSALS:
            wire.abort()
            return
        wire.write(own_answer(503, why, [(b"Retry-After", b"5")]))
        if not wire.transport.can_write_eof():
            wire.close()
            return
        wire.transport.write_eof()
        self._refusals.add(wire)
        timer = wire.loop.call_later(_LINGER, wire.abort)

        def over() -> None:
            timer.cancel()
            self._refusals.discard(wire)
            wire.close()

        wire.on_bytes = lambda _: None
        wire.on_end = over

    def gone(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._clients[connection.peer] -= 1
        if not self._clients[connection.peer]:
            del self._clients[connection.peer]

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK)
            now = loop.time()
            for connection in list(self.connections):
                deadlines = connection.deadlines
                if deadlines[0] <= now or deadlines[1] <= now or deadlines[2] <= now:
                    connection.expire(now)

    @property
    def busy(self) -> int:
        """Requests under way, tunnels not among them."""
        return sum(connection.busy and not connection.tunnel for connection in self.connections)

    async def drain(self, seconds: float, *, at_end: Callable[[], object] | None = None) -> bool:
        """Takes no more connections, and ends those that there are: idle ones now, others with their answer,
        tunnels at last. Whether all requests were answered in time. ``at_end`` is called when time is up, so
        that what can be answered then is, before the rest is cut."""
        self.draining = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            if not connection.busy:
                connection.task.cancel()
        answering = {c.task for c in self.connections if c.busy and not c.tunnel}
        if answering:
            _, answering = await asyncio.wait(answering, timeout=seconds)
        late = bool(answering)
        if late and at_end is not None:
            at_end()
            await asyncio.wait(answering, timeout=_LAST_WORDS)
        for connection in list(self.connections):
            connection.task.cancel()
        await asyncio.gather(*(connection.task for connection in self.connections), return_exceptions=True)
        if self._watch is not None:
            self._watch.cancel()
        return not late
