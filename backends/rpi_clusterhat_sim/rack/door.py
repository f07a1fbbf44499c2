"""A port of a node in the rack's own network, offered at an address of this machine."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

__all__ = ["Door"]

_BACKLOG = 128
_MAX_CLIENTS = 256
_CHUNK = 1 << 16
_CONNECT = 5.0
"""Seconds for the node to take a connection."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing resets. Source: socket(7)."""


class Door:
    """Listens while it is open, and hands each connection on. Belongs to the running event loop.

    The socket is bound, and was made in the network in which clients are; connections to the node are made
    in the network of this process.
    """

    def __init__(self, sock: socket.socket, target: tuple[str, int]) -> None:
        sock.setblocking(False)
        self.target = target
        self.is_open = False
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._clients: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        if not self.is_open:
            self._sock.listen(_BACKLOG)
            self.is_open = True
            self._loop.add_reader(self._sock, self._accept)

    def shut(self) -> None:
        """Refuses who comes from now on. Connections that there are go on."""
        if self.is_open:
            self.is_open = False
            self._loop.remove_reader(self._sock)
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # it stays bound, and can listen again

    async def cut(self) -> None:
        """Has the node gone: when this returns, nobody can connect, and all connections are reset."""
        self.shut()
        clients = list(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    def _accept(self) -> None:
        while len(self._clients) < _MAX_CLIENTS:
            try:
                accepted, _ = self._sock.accept()
            except OSError:  # nobody any more; out of files, at worst: who connects waits
                return
            accepted.setblocking(False)
            client = self._loop.create_task(self._serve(accepted))
            self._clients.add(client)
            client.add_done_callback(self._gone)
        self._loop.remove_reader(self._sock)  # until one of them has gone

    def _gone(self, client: asyncio.Task[None]) -> None:
        self._clients.discard(client)
        if self.is_open:
            self._loop.add_reader(self._sock, self._accept)

    async def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as node:
            node.setblocking(False)
            try:
                async with asyncio.timeout(_CONNECT):
                    await self._loop.sock_connect(node, self.target)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._copy(client, node))
                    both.create_task(self._copy(node, client))
            except BaseException as error:
                for end in (client, node):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                if not isinstance(error, (OSError, ExceptionGroup)):
                    raise

    async def _copy(self, source: socket.socket, target: socket.socket) -> None:
        while data := await self._loop.sock_recv(source, _CHUNK):
            await self._loop.sock_sendall(target, data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
