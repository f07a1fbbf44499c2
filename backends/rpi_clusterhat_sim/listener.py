"""What listens at a node's address, and owns each connection that it lets in, whatever serves it."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    """What serves one connection, as `asyncio.start_server` takes it."""

__all__ = ["LINGER", "Listener"]

BACKLOG = 4096
ACCEPT_AGAIN = 1.0
"""Seconds until connections are accepted again where that failed."""
LINGER = 1.0
"""Seconds for which a connection that is ending is read on."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing resets. Source: socket(7)."""

_UNSPECIFIED = bytes(16)
"""An address of the family AF_UNSPEC: connecting to it breaks a connection off. Source: connect(2). Python's
own ``connect`` takes addresses of the socket's family only."""

_libc = ctypes.CDLL(None)


class Listener:
    """A node's open door. Belongs to one event loop and may be used from its thread only, but for `cut`.

    It listens on a bound socket until `abort`. Each connection is served by ``handler``, in a task of its
    own, and is closed when that returns. What the handler raises is told to the event loop's exception
    handler, but for a `ConnectionError`, which a client's leaving is.
    """

    def __init__(self, sock: socket.socket, handler: Handler | None) -> None:
        """Takes over the socket. Raises `OSError` where it cannot listen, and leaves it open then.

        Without a handler, connections are closed as soon as they are let in; it may be set later.
        """
        sock.listen(BACKLOG)
        sock.setblocking(False)
        self.handler = handler
        self.frozen = False
        self.aborted = False
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        """Held where a connection or the socket goes, so that `cut` meets no other file of this number."""
        self._is_cut = False
        self._connections: set[_Connection] = set()
        self._accepted: set[socket.socket] = set()
        """Of connections that have no transport yet."""
        self._arriving: set[asyncio.Task[Any]] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._gone = asyncio.Event()
        self._listen()

    def __repr__(self) -> str:
        state = " aborted" if self.aborted else " frozen" if self.frozen else ""
        return f"<Listener {len(self._connections)} connections{state}>"

    def freeze(self) -> None:
        """Hangs: clients can still connect, and get no answer any more.

        Bytes that the system has taken may still arrive. The handlers are cancelled, and cannot close their
        connections.
        """
        self.frozen = True
        for connection in self._connections:
            connection.freeze()
        self._cancel()

    def abort(self) -> None:
        """Stops at once: it no longer listens, resets all connections and cancels their handlers.

        Bytes that were not sent yet are not sent.
        """
        if self.aborted:
            return
        self._loop.remove_reader(self._sock)
        with self._lock:
            self.aborted = True
            self._sock.close()
        for connection in self._connections:
            connection.reset()
        self._cancel()
        self._check_gone()

    def cut(self) -> None:
        """Has the node lose its power: when this returns, nobody can connect or gets anything.

        `abort` follows by itself. This may be called from any thread.
        """
        with self._lock:
            if self.aborted or self._is_cut:
                return
            self._is_cut = True
            self._sock.shutdown(socket.SHUT_RDWR)  # resets those who wait to be let in
            for accepted in self._accepted:
                _break_off(accepted)
            for connection in self._connections:
                connection.cut()
        self._loop.call_soon_threadsafe(self.abort)

    def files(self) -> list[int]:
        """The numbers of all files that are open for clients."""
        sockets = [self._sock, *self._accepted, *(connection.socket for connection in self._connections)]
        return [sock.fileno() for sock in sockets]

    async def wait_aborted(self) -> None:
        """After `abort`, until the last connection is closed and the last handler has ended."""
        await self._gone.wait()

    def _cancel(self) -> None:
        for task in self._serving:
            task.cancel()

    def _listen(self) -> None:
        if not self.aborted:
            self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        """Accepts connections as an `asyncio.Server` does, and remembers them from the first moment.

        A server of asyncio does not, and so cannot close connections that are not made yet.
        """
        loop = self._loop
        for _ in range(BACKLOG):
            with self._lock:
                if self._is_cut:
                    return
                try:
                    accepted, _ = self._sock.accept()
                except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                    return
                except OSError:  # out of files, most likely: who connects waits
                    loop.remove_reader(self._sock)
                    loop.call_later(ACCEPT_AGAIN, self._listen)
                    return
                if self.handler is None and not self.frozen:
                    accepted.close()
                    continue
                accepted.setblocking(False)
                self._accepted.add(accepted)
            making = loop.connect_accepted_socket(partial(_Connection, self, accepted), accepted)
            arriving = loop.create_task(making)
            self._arriving.add(arriving)
            arriving.add_done_callback(self._arrived)

    # What connections call --------------------------------------------------------------------------------

    def opened(self, connection: _Connection, accepted: socket.socket) -> None:
        with self._lock:
            self._accepted.discard(accepted)
            self._connections.add(connection)
        if self.aborted or self._is_cut:
            connection.reset()
        elif self.frozen:
            connection.freeze()

    def closed(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.discard(connection)
        self._check_gone()

    def serve(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if not (self.aborted or self._is_cut or self.frozen):
            task = self._loop.create_task(connection.serve(reader, writer))
            self._serving.add(task)
            task.add_done_callback(self._served)

    def _arrived(self, arriving: asyncio.Task[Any]) -> None:
        self._arriving.discard(arriving)
        self._check_gone()

    def _served(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        self._check_gone()

    def _check_gone(self) -> None:
        if self.aborted and not (self._arriving or self._connections or self._serving):
            self._gone.set()


def _break_off(sock: socket.socket) -> None:
    """Resets a connection, and leaves its socket to be closed."""
    _libc.connect(sock.fileno(), _UNSPECIFIED, len(_UNSPECIFIED))


class _Connection(asyncio.StreamReaderProtocol):
    """One client."""

    def __init__(self, listener: Listener, accepted: socket.socket) -> None:
        self._listener = listener
        self._accepted = accepted
        self._input = asyncio.StreamReader()
        super().__init__(self._input, self._made)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        self._gate = _Gate(self._wire)
        self._listener.opened(self, self._accepted)
        super().connection_made(self._gate)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._input.set_exception(exc)
        super().connection_lost(None)  # asyncio would report an error of a closing that nobody waits for
        self._listener.closed(self)

    def _made(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._listener.serve(self, reader, writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = self._listener.handler
        assert handler is not None
        try:
            await handler(reader, writer)
            await self._finish(reader)
        except (ConnectionError, TimeoutError):
            pass
        except Exception as error:  # noqa: BLE001 - a program that crashes ends one connection
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a simulated node's service failed", "exception": error}
            )
        finally:
            self._gate.close()

    async def _finish(self, reader: asyncio.StreamReader) -> None:
        """Closes for writing, and reads on for a while.

        A close with bytes unread is a reset, which can overtake the answer.
        """
        if self._gate.is_closing():
            return
        self._gate.write_eof()
        async with asyncio.timeout(LINGER):
            while await reader.read(1 << 16):
                pass

    @property
    def socket(self) -> socket.socket:
        sock: socket.socket = self._wire.get_extra_info("socket")
        return sock

    def freeze(self) -> None:
        self._gate.shut = True
        self._wire.pause_reading()

    def cut(self) -> None:
        """Resets at once, from any thread, while nobody closes the socket; only that is left to be done."""
        self._gate.shut = True
        _break_off(self.socket)

    def reset(self) -> None:
        self._gate.shut = True
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._wire.abort()


class _Gate(asyncio.Transport):
    """A transport that does nothing once it is shut.

    The service of a node that hangs can so neither send nor close.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self.shut = False
        self._transport = transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self.shut or self._transport.is_closing()

    def close(self) -> None:
        if not self.shut:
            self._transport.close()

    def abort(self) -> None:
        if not self.shut:
            self._transport.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.shut:
            self._transport.write(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self.shut:
            try:
                self._transport.write_eof()
            except OSError:  # the client is gone, and the loop has not seen it yet
                self._transport.abort()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._transport.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def is_reading(self) -> bool:
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.shut:
            self._transport.resume_reading()
