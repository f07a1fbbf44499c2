"""What the tests in this folder share."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from clusterhat_proxy.admin import Admin
from clusterhat_proxy.metrics import Metrics
from clusterhat_proxy.options import Address, Options
from clusterhat_proxy.server import Server, ServerSettings
from rpi_clusterhat import AsyncCluster, BackendError, PoolState
from tests.safety.pools import House, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import pytest

    from clusterhat_proxy.exchange import Exchange
    from rpi_clusterhat.cluster import Status


TOKEN = "a-token-of-some-length"
NAME = "status.example"
FORM = "Content-Type: application/x-www-form-urlencoded"
BEARER = f"Authorization: Bearer {TOKEN}"
HTML = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
GETS = ["/", "/healthz", "/readyz", "/metrics", "/status", "/events"]
ADDRESSES = {"p1": ("p1.local", 80), "p2": ("10.0.0.2", 8000), "p3": ("fd00::3", 80), "p4": ("p4.local", 80)}
LATE = 10.0
"""Seconds after which a test gives up on what comes at once on any machine."""


class Answer(NamedTuple):
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = strictly(self.body)
        return found


def strictly(text: bytes | str) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


async def nothing(exchange: Exchange) -> None:
    raise AssertionError("nothing goes through the proxy here")


class Side:
    """An admin side that listens, and what is behind it."""

    port: int

    def __init__(self, house: House, *, token: str | None = TOKEN, **settings: Any) -> None:
        self.house = house
        self.pool = house.pool(**settings)
        self.proxy = Server(nothing, ServerSettings())
        metrics = Metrics(self.pool)
        metrics.watch(self.proxy)
        self.requests = metrics.requests
        idle = {key: value for key, value in settings.items() if key == "idle_timeout"}
        options = Options(admin=Address(NAME, 0), admin_token=token, **idle)
        self.admin = Admin(self.pool, metrics, self.proxy, options, ADDRESSES)

    async def send(
        self, target: str, *lines: str, method: str = "GET", body: str = "", host: str = "localhost"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *lines]
        if body:
            head.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join([*head, "", body]).encode())
        return reader, writer

    async def ask(self, target: str, *lines: str, **how: Any) -> Answer:
        reader, writer = await self.send(target, *lines, **how)
        async with asyncio.timeout(LATE):
            answer = await read_head(reader)
            body = await reader.read()
        writer.close()
        return answer._replace(body=body)

    async def post(self, target: str, *lines: str, body: str = "", **how: Any) -> Answer:
        return await self.ask(target, *lines, method="POST", body=body, **how)

    async def wake(self, name: str) -> None:
        self.pool.wake(name)
        await self.pass_until(name, PoolState.READY)

    async def pass_until(self, name: str, state: PoolState) -> None:
        while self.pool.nodes[name].state is not state:
            await self.house.clock.pass_time(0.25)

    @asynccontextmanager
    async def watch(self) -> AsyncGenerator[Stream]:
        reader, writer = await self.send("/events")
        try:
            async with asyncio.timeout(LATE):
                yield Stream(await read_head(reader), reader)
        finally:
            writer.close()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LATE):
            while not holds():  # noqa: ASYNC110  # it is the server's own: nobody tells
                await asyncio.sleep(0.01)


async def read_head(reader: asyncio.StreamReader) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines if line)
    return Answer(int(first.split()[1]), {name.lower(): value for name, value in fields.items()}, b"")


class Stream:
    """An event stream as a viewer reads it."""

    def __init__(self, head: Answer, reader: asyncio.StreamReader) -> None:
        self.head = head
        self._reader = reader
        self._text = b""

    async def block(self) -> list[str]:
        """The lines up to the next empty one. None come after the stream's end."""
        while b"\n\n" not in self._text:
            size = int(await self._reader.readline(), 16)
            if not size:
                return []
            self._text += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        text, _, self._text = self._text.partition(b"\n\n")
        return text.decode().split("\n")

    async def message(self) -> dict[str, Any]:
        """The next message without a name."""
        while True:
            lines = await self.block()
            assert lines, "the stream has ended"
            if lines[0].startswith("data: "):
                assert len(lines) == 1
                found: dict[str, Any] = strictly(lines[0].removeprefix("data: "))
                return found

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while not holds(message := await self.message()):
            pass
        return message


def play(house: House, scene: Callable[[Side], Awaitable[None]], **how: Any) -> None:
    """Runs a scene with an admin side."""

    async def main() -> None:
        side = Side(house, **how)
        await side.pool.open()
        try:
            ((_, side.port),) = await side.admin.server.listen("127.0.0.1")
            await scene(side)
        finally:
            await side.admin.server.drain(0)
            await side.pool.close()
            await house.hat.close()

    run(main)


def fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def status(_: AsyncCluster) -> Status:
        raise BackendError("the bus does not answer:\n look at the cable")

    monkeypatch.setattr(AsyncCluster, "status", status)
