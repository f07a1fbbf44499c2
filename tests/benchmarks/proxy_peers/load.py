"""Clients on keep-alive connections, in a process of their own.

    load.py PORT run CONNECTIONS REQUESTS          each connection asks again as soon as it was answered
    load.py PORT run CONNECTIONS REQUESTS RATE     so many requests per second in all
    load.py PORT hold CONNECTIONS TARGET answered  connections that were answered once, kept open
    load.py PORT hold CONNECTIONS TARGET asked     connections whose answer is still to come, kept open

``run`` prints one line of JSON: ``seconds``, and ``latencies``, seconds too, sorted. ``hold`` prints a line
when all are there, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections import deque
from time import perf_counter

HEAD = (
    "GET %s HTTP/1.1\r\n"
    "Host: cluster.local\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=2f1c9e0b7a; theme=dark\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "\r\n"
)


class Client(asyncio.Protocol):
    """One connection. One request at a time."""

    transport: asyncio.WriteTransport

    def __init__(self, load: Load) -> None:
        self._load = load
        self._data = bytearray()
        self._whole = 0
        """Bytes of the answer that is coming, once its head is there."""
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def ask(self, due: float | None = None) -> None:
        self.began = perf_counter() if due is None else due
        self.transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._whole:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._data[:end]).lower()
            if not head.startswith(b"http/1.1 200"):
                self._load.fail(head.decode())
                return
            length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            self._whole = end + 4 + int(length)
        if len(self._data) == self._whole:
            self._data.clear()
            self._whole = 0
            self._load.answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.fail(f"a connection was closed: {exc}")


class Load:
    """Belongs to the running event loop."""

    def __init__(self, target: str) -> None:
        self.request = (HEAD % target).encode()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.clients: list[Client] = []
        self.latencies: list[float] = []
        self._left = self._whole = 0
        self._paced = False
        self._idle: deque[Client] = deque()
        self._due: deque[float] = deque()
        """When requests should have been sent for which no connection was free."""

    async def connect(self, port: int, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, client = await loop.create_connection(lambda: Client(self), "127.0.0.1", port)
            self.clients.append(client)

    def fail(self, why: str) -> None:
        if not self.over.done():
            self.over.set_exception(ConnectionError(why))

    async def run(self, requests: int, rate: float | None) -> None:
        self._left = self._whole = requests
        if rate is None:
            for client in self.clients[:requests]:
                self._next(client)
        else:
            self._paced = True
            self._idle.extend(self.clients)
            loop = asyncio.get_running_loop()
            start = loop.time()
            for number in range(requests):
                await asyncio.sleep(start + number / rate - loop.time())
                if self._idle:
                    self._idle.popleft().ask()
                else:
                    self._due.append(perf_counter())
        await self.over

    def _next(self, client: Client) -> None:
        self._left -= 1
        client.ask()

    def answered(self, client: Client) -> None:
        self.latencies.append(perf_counter() - client.began)
        if len(self.latencies) == self._whole and not self.over.done():
            self.over.set_result(None)
        elif not self._paced:
            if self._left:
                self._next(client)
        elif self._due:
            client.ask(self._due.popleft())
        else:
            self._idle.append(client)


async def main(port: int, what: str, count: int, *more: str) -> None:
    load = Load(more[0] if what == "hold" else "/some/page?with=a&query=1")
    await load.connect(port, count)
    if what == "run":
        start = perf_counter()
        await load.run(int(more[0]), float(more[1]) if len(more) > 1 else None)
        print(json.dumps({"seconds": perf_counter() - start, "latencies": sorted(load.latencies)}))
        return
    if more[1] == "answered":
        await load.run(count, None)
    else:
        for client in load.clients:
            client.ask()
    print("held", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))
