"""A client that reads strictly, and a service in a thread for it to talk to."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from rpi_clusterhat_sim.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Self

__all__ = ["TIMEOUT", "Client", "Response", "Running"]

TIMEOUT = 5.0


class Running:
    """A service in a thread with its own event loop."""

    def __init__(
        self, handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> None:
        self._handler = handler
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._started.wait(TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        sock = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = sock.getsockname()
        self.listener = Listener(sock, self._handler)
        self._started.set()
        await self._ended.wait()
        self.listener.abort()
        await self.listener.wait_aborted()

    def call(self, function: Callable[[], object]) -> None:
        """In the service's thread, and waits for it."""
        done = threading.Event()

        def run() -> None:
            function()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(TIMEOUT)

    def close(self) -> None:
        self.call(self._ended.set)
        self._thread.join(TIMEOUT)


class Response(NamedTuple):
    status: int
    fields: list[tuple[str, str]]
    body: bytes
    trailers: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, target: str, method: str = "GET", *fields: str, body: bytes = b"") -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: node", *fields]
        lines += [f"Content-Length: {len(body)}"] if body else []
        self.send("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1") + body)

    def get(self, target: str, method: str = "GET", *fields: str, body: bytes = b"") -> Response:
        self.ask(target, method, *fields, body=body)
        return self.response(method)

    def _fields(self) -> list[tuple[str, str]]:
        fields: list[tuple[str, str]] = []
        while (line := self.file.readline()) != b"\r\n":
            assert line.endswith(b"\r\n"), line
            name, _, value = line.decode("latin-1")[:-2].partition(": ")
            fields.append((name, value))
        return fields

    def response(self, method: str = "GET") -> Response:
        line = self.file.readline()
        found = re.fullmatch(rb"HTTP/1\.1 (\d\d\d) [^\r\n]*\r\n", line)
        assert found, line
        status = int(found[1])
        fields = self._fields()
        given = {name.lower(): value for name, value in fields}
        if status < 200 or status in (204, 304) or method == "HEAD":
            return Response(status, fields, b"", [])
        if given.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.file.readline(), 16):
                body += self._exactly(size)
                assert self.file.read(2) == b"\r\n"
            return Response(status, fields, body, self._fields())
        if "content-length" in given:
            return Response(status, fields, self._exactly(int(given["content-length"])), [])
        return Response(status, fields, self.file.read(), [])

    def _exactly(self, size: int) -> bytes:
        data = self.file.read(size)
        assert len(data) == size
        return data

    def rest(self) -> bytes:
        """All until the other end closes."""
        return self.file.read()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.file.close()
        self.socket.close()
