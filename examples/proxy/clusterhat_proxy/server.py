"""The side that clients see: listening, limits on connections, and the drain."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import TYPE_CHECKING

from .connection import LINGER, Connection, ServerSettings
from .exchange import own_answer
from .wire import KEEPALIVE, Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from .exchange import Exchange

__all__ = ["Server", "ServerSettings"]

_LOOK = 0.25
"""Seconds between two looks at who has run out of time."""
_LAST_WORDS = 0.25
"""Seconds in which those who waited when a drain ran out of time are told."""
_MOST_REFUSALS = 512
"""Connections beyond the limits that are told so at a time; the rest are only closed."""

_BACKLOG = 1024


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
        timer = wire.loop.call_later(LINGER, wire.abort)

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
                connection.expire(now)

    @property
    def busy(self) -> int:
        """Requests under way, tunnels not among them."""
        return sum(connection.busy and not connection.tunnel for connection in self.connections)

    async def drain(self, seconds: float, *, at_end: Callable[[], object] | None = None) -> bool:
        """Takes no more connections, and ends the open ones: idle ones now, others with their answer.

        Args:
            seconds: How long requests may take. Tunnels are cut after that.
            at_end: Is called when the time is up, to answer what can be answered before the rest is cut.

        Returns:
            Whether all requests were answered in time.
        """
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
