"""A TCP or TLS connection: bytes in and out, with back-pressure both ways."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KEEPALIVE", "Wire"]

HIGH = 65536
"""Bytes that wait to be read before the other side is made to wait."""

KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""Options, in seconds and times, by which it is noticed that the other side vanished behind a silent
connection: a client that did must not keep a node awake."""

_RESET = struct.pack("ii", 1, 0)


class Wire(asyncio.Protocol):
    """One side of a connection. One task reads, and one writes."""

    __slots__ = (
        "_drainer",
        "_held",
        "_parts",
        "_size",
        "_waiter",
        "ended",
        "loop",
        "lost",
        "on_bytes",
        "on_end",
        "on_made",
        "on_room",
        "paused",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_made: Callable[[Wire], object] | None = None
    ) -> None:
        self.loop = loop
        self.on_made = on_made
        self.ended = False
        """Nothing more will come."""
        self.lost = False
        """Nothing more can be sent either."""
        self.paused = False
        """So much waits to be sent that `drain` is due."""
        self.on_end: Callable[[], object] | None = None
        """Called once, when the other side has ended while nobody was reading."""
        self.on_bytes: Callable[[bytes], object] | None = None
        """Takes what comes in, instead of `receive`."""
        self.on_room: Callable[[], object] | None = None
        """Called when there is room again to send more."""
        self._parts: list[bytes] = []
        self._size = 0
        self._held = False
        self._waiter: asyncio.Future[None] | None = None
        self._drainer: asyncio.Future[None] | None = None

    # The event loop's side ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.on_made is not None:
            self.on_made(self)

    def data_received(self, data: bytes) -> None:
        if self.on_bytes is not None:
            self.on_bytes(data)
            return
        self._parts.append(data)
        self._size += len(data)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        elif self._size > HIGH and not self._held:
            self._held = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._end()
        # The transport stays open for what is still to be sent; TLS knows no such thing.
        return self.transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own name
        self.lost = True
        drainer = self._drainer
        if drainer is not None and not drainer.done():
            drainer.set_result(None)
        self._end()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.on_room is not None:
            self.on_room()
        drainer = self._drainer
        if drainer is not None and not drainer.done():
            drainer.set_result(None)

    def _end(self) -> None:
        ended, self.ended = self.ended, True
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        if self.on_end is not None and (self.lost or not ended):
            self.on_end()

    # Its user's side ------------------------------------------------------------------------------------

    async def receive(self) -> bytes:
        """What has come in, as soon as there is anything; empty at the end."""
        if not self._parts:
            if self.ended:
                return b""
            self._waiter = waiter = self.loop.create_future()
            await waiter
        return self.take()

    def take(self) -> bytes:
        """What has come in up to now."""
        parts = self._parts
        if not parts:
            return b""
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        self._size = 0
        if self._held:
            self._held = False
            if not self.lost:
                self.transport.resume_reading()
        return data

    @property
    def silent(self) -> bool:
        """Open, and nothing has come in."""
        return not (self.ended or self._parts)

    def write(self, data: bytes) -> None:
        if not self.lost:
            self.transport.write(data)

    async def drain(self) -> None:
        """Waits until there is room to send more. Raises `ConnectionResetError` when nobody is there."""
        if self.lost:
            raise ConnectionResetError
        if self.paused:
            self._drainer = drainer = self.loop.create_future()
            try:
                await drainer
            finally:
                self._drainer = None
            if self.lost:
                raise ConnectionResetError

    def close(self) -> None:
        """Sends what is left, then closes."""
        self.on_end = None
        self.transport.close()

    def abort(self) -> None:
        """Closes with a reset, so that the other side cannot take it for an end."""
        self.on_end = None
        self.reset()

    def reset(self) -> None:
        """The same; who waits for it is told as if the other side had done it."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()
