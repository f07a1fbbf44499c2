"""Both neighbours of a proxy, byte by byte: a client, and a node that follows a script."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from tests.proxy.running import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType

    from tests.proxy.running import Proxy

    Script = Callable[["Peer"], object]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class NothingCameError(Exception):
    """The connection ended before a message began."""


class Message(NamedTuple):
    """A request or a response, as it came."""

    start: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    def values(self, name: str) -> list[bytes]:
        wanted = name.lower().encode()
        return [value for key, value in self.fields if key.lower() == wanted]

    def value(self, name: str) -> bytes:
        (value,) = self.values(name)
        return value

    @property
    def names(self) -> set[bytes]:
        return {key.lower() for key, _ in self.fields}

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Peer:
    """One end of a connection. Reads strictly: what is not as it must be fails an assertion."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def end(self) -> None:
        """Sends no more."""
        self.sock.shutdown(socket.SHUT_WR)

    def more(self) -> bytes:
        data = self.sock.recv(65536)
        self.buffer += data
        return data

    def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            assert self.more(), f"ended after {self.buffer!r}"
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            assert self.more(), f"ended after {self.buffer!r}"
        data, _, self.buffer = self.buffer.partition(mark)
        return data + mark

    def rest(self) -> bytes:
        """What comes until the other side ends. Raises `ConnectionResetError` where it does not end well."""
        while self.more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def gone(self) -> bytes:
        """What comes until the other side ends, well or not."""
        with suppress(ConnectionResetError):
            return self.rest()
        return self.buffer

    def head(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        if not self.buffer and not self.more():
            raise NothingCameError
        start, *lines = self.until(b"\r\n\r\n")[:-4].split(b"\r\n")
        return start, [_field(line) for line in lines]

    def message(self, *, method: str = "GET") -> Message:
        """The next message. method: of the request that it answers."""
        start, fields = self.head()
        found = Message(start, fields, b"", [])
        answer = start.startswith(b"HTTP/")
        assert len(found.values("content-length")) <= 1
        if answer and (method == "HEAD" or found.status < 200 or found.status in (204, 304)):
            return found
        if found.values("transfer-encoding"):
            assert found.value("transfer-encoding") == b"chunked"
            assert not found.values("content-length")
            body, trailers = self.chunks()
            return found._replace(body=body, trailers=trailers)
        if found.values("content-length"):
            return found._replace(body=self.exactly(int(found.value("content-length"))))
        return found._replace(body=self.rest()) if answer else found

    def chunks(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        parts: list[bytes] = []
        while part := self.chunk():
            parts.append(part)
        trailers: list[tuple[bytes, bytes]] = []
        while (line := self.until(b"\r\n")[:-2]) != b"":
            trailers.append(_field(line))
        return b"".join(parts), trailers

    def chunk(self) -> bytes:
        size = int(self.until(b"\r\n")[:-2], 16)
        if not size:
            return b""
        data = self.exactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b": ")
    assert colon
    return name, value


def client(proxy: Proxy, *, source: str = "127.0.0.1", receive_buffer: int | None = None) -> Peer:
    """A connection to the proxy, from this address."""
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.bind((source, 0))
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", proxy.port))
    return Peer(sock)


def ask(proxy: Proxy, request: bytes, *, method: str = "GET") -> Message:
    """The final answer to a request on a connection of its own."""
    with client(proxy) as peer:
        peer.send(request)
        while (found := peer.message(method=method)).status < 200:
            pass
        return found


def answer(data: bytes) -> Script:
    """A script that reads a request, answers it so, and closes the connection well."""

    def script(peer: Peer) -> None:
        peer.message()
        with suppress(ConnectionError):  # the proxy may have seen enough
            peer.send(data)

    return script


class Node:
    """Listens like a node. Answers each request plainly, or does what a script says once on a connection.
    ``requests`` has those that it answered."""

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.script: Script | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._failed: list[BaseException] = []
        self._changed = threading.Condition()
        self._scripts = 0
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @contextmanager
    def does(self, script: Script) -> Generator[None]:
        """Follows a script, to its end."""
        self.script = script
        try:
            yield
        finally:
            self.script = None
        with self._changed:
            assert self._changed.wait_for(lambda: not self._scripts, PATIENCE), "a script does not end"
        self.check()

    def check(self) -> None:
        """Raises what went wrong in a script."""
        if self._failed:
            raise self._failed.pop()

    def take(self) -> list[Message]:
        """The requests since the last time."""
        found, self.requests = self.requests, []
        return found

    def wait(self, count: int) -> list[Message]:
        """The next so many requests."""
        end = time.monotonic() + PATIENCE
        while len(self.requests) < count:
            assert time.monotonic() < end, f"only {self.requests}"
            time.sleep(0.01)
        return self.take()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            self._open.add(sock)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with closing(sock):
                peer = Peer(sock)
                while peer.buffer or peer.more():
                    if self.script is not None:
                        self._follow(self.script, peer)
                        return
                    self._plainly(peer)
        except (NothingCameError, ConnectionError):
            pass
        finally:
            self._open.discard(sock)

    def _follow(self, script: Script, peer: Peer) -> None:
        with self._changed:
            self._scripts += 1
        try:
            with peer:
                script(peer)
        except BaseException as error:  # noqa: BLE001 - raised again by `check`
            self._failed.append(error)
        finally:
            with self._changed:
                self._scripts -= 1
                self._changed.notify_all()

    def _plainly(self, peer: Peer) -> None:
        found = peer.message()
        self.requests.append(found)
        peer.send(OK if not found.start.startswith(b"HEAD ") else OK[:-2])

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        for sock in list(self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()
        self.check()
