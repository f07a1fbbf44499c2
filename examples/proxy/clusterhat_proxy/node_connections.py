"""Connections to the nodes, kept open between requests."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from .wire import KEEPALIVE, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NodeConnections"]

_KEPT_FOR = 4.0
"""Seconds for which a connection without a request is kept: below the five after which Node.js closes."""

_KEPT_PER_NODE = 64

_FRESH = 1.0
"""Seconds after its last use in which a connection may take a request that cannot be sent again."""


class NodeConnections:
    """Belongs to one event loop."""

    def __init__(self, addresses: Mapping[str, tuple[str, int]], timeout: float) -> None:
        """Knows the nodes' addresses, and has no connections yet.

        Args:
            addresses: Host and port of each node, by name. No request goes anywhere else.
            timeout: How many seconds a connection may take.
        """
        self.addresses = addresses
        self.answered: set[str] = set()
        """The nodes that have answered a request since they got their power."""
        self._timeout = timeout
        self._idle: dict[str, deque[tuple[Wire, float]]] = {name: deque() for name in addresses}
        self._used: dict[str, set[Wire]] = {name: set() for name in addresses}
        self._cleaner: asyncio.TimerHandle | None = None

    def take(self, name: str, *, repeatable: bool) -> Wire | None:
        """An open connection; for a request that cannot be sent again only one that was used just now."""
        idle = self._idle[name]
        while idle:
            wire, since = idle.pop()
            if wire.silent and (repeatable or wire.loop.time() - since < _FRESH):
                wire.on_end = None
                self._used[name].add(wire)
                return wire
            wire.close()
        return None

    async def connect(self, name: str) -> Wire:
        """A new connection. Raises `OSError`."""
        # A task of its own: asyncio loses the socket of one that is cancelled in the moment it is there.
        connecting = asyncio.create_task(self._connect(name))
        try:
            wire = await asyncio.shield(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(_close)
            raise
        self._used[name].add(wire)
        return wire

    async def _connect(self, name: str) -> Wire:
        host, port = self.addresses[name]
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeout):
            _, wire = await loop.create_connection(partial(Wire, loop), host, port, happy_eyeballs_delay=0.25)
        sock: socket.socket = wire.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        return wire

    def drop(self, name: str, wire: Wire, *, gently: bool) -> None:
        """A connection that cannot be used again; gently where nothing on it was broken off."""
        self._used[name].discard(wire)
        if gently:
            wire.close()
        else:
            wire.abort()

    def give_back(self, name: str, wire: Wire) -> None:
        """A connection whose last response is complete."""
        self._used[name].discard(wire)
        idle = self._idle[name]
        if not wire.silent or len(idle) >= _KEPT_PER_NODE:
            wire.close()
            return
        wire.on_end = partial(self._ended, name, wire)
        idle.append((wire, wire.loop.time()))
        if self._cleaner is None:
            self._cleaner = wire.loop.call_later(_KEPT_FOR, self._clean, wire.loop)

    def _ended(self, name: str, wire: Wire) -> None:
        idle = self._idle[name]
        for item in idle:
            if item[0] is wire:
                idle.remove(item)
                break
        wire.close()

    def _clean(self, loop: asyncio.AbstractEventLoop) -> None:
        self._cleaner = None
        before = loop.time() - _KEPT_FOR
        for idle in self._idle.values():
            while idle and idle[0][1] <= before:
                idle.popleft()[0].close()
        oldest = min((idle[0][1] for idle in self._idle.values() if idle), default=None)
        if oldest is not None:
            self._cleaner = loop.call_at(oldest + _KEPT_FOR, self._clean, loop)

    def forget(self, name: str) -> None:
        """Closes what is kept open to a node."""
        idle = self._idle[name]
        while idle:
            idle.pop()[0].abort()

    def cut(self, name: str) -> None:
        """The node has no power any more: nothing will come of what is open to it, and it cannot say so."""
        self.answered.discard(name)
        self.forget(name)
        for wire in list(self._used[name]):
            wire.reset()

    def close(self) -> None:
        if self._cleaner is not None:
            self._cleaner.cancel()
        for name in self._idle:
            self.forget(name)


def _close(connecting: asyncio.Task[Wire]) -> None:
    """Nobody waits for it any more."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()
