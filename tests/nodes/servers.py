"""Servers on loopback for probes, and the two ways to ask a probe."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rpi_clusterhat.nodes.probes import (
        Probe,
        Verdict,
    )


LONG = 30.0
"""Seconds that no test takes unless it fails."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def blocking(probe: Probe) -> Verdict:
    return probe.ask()


def in_a_loop(probe: Probe) -> Verdict:
    return asyncio.run(probe.aask(), debug=True)


both = pytest.mark.parametrize("ask", [blocking, in_a_loop])


class Server:
    """Takes connections on loopback and hands each to ``handle``, in a thread of its own."""

    def __init__(self, handle: Callable[[socket.socket], object], host: str = "127.0.0.1") -> None:
        self._handle = handle
        self._listener = socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # the client is gone
            connection.settimeout(LONG)
            self._handle(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


def until_it_leaves(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def says(*pieces: bytes) -> Callable[[socket.socket], None]:
    """Reads the request, sends the pieces one by one, and closes."""

    def handle(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(4096)
        for piece in pieces:
            connection.sendall(piece)

    return handle


def trickles(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 ")
    for _ in range(int(LONG / 0.01)):
        connection.sendall(b"O")
        select.select([], [], [], 0.01)


def resets(connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.contextmanager
def closed_port() -> Generator[int, None, None]:
    """One that nobody listens on, and that nobody else gets meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextlib.contextmanager
def silent_port() -> Generator[int, None, None]:
    """One whose listener's queue is full: the system drops what else comes."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield address[1]
