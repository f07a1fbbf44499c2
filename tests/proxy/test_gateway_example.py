"""examples/gateway.py does what it teaches."""

from __future__ import annotations

import asyncio
import runpy
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from rpi_clusterhat import PoolState
from tests.safety.pools import BOOT_TIME, House, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from rpi_clusterhat import AsyncNodePool

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "gateway.py"
SETTINGS: dict[str, Any] = {"idle_timeout": 10.0, "min_on_time": 0.0}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(str(tmp_path))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A node's service: sends each chunk back as soon as it has come; for /broken it ends too early."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 Fine\r\nX-Node: yes\r\nX-Hop: no\r\nConnection: close, x-hop\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        if head.startswith(b"POST"):
            while size := int(await reader.readuntil(b"\r\n"), 16):
                data = await reader.readexactly(size + 2)
                writer.write(b"%x\r\n%b" % (size, data))
        for part in head, b"":
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            if b" /broken " in head:
                break
        await writer.drain()
    finally:
        writer.close()


@asynccontextmanager
async def gateway(
    house: House, pool: AsyncNodePool, node: tuple[str, int]
) -> AsyncGenerator[tuple[str, int]]:
    """Where it listens."""
    made = runpy.run_path(str(EXAMPLE))["Gateway"](pool, dict.fromkeys(house.hat.names, node))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0]
    finally:
        await runner.cleanup()
        await made.session.close()


async def pass_until(house: House, pool: AsyncNodePool, state: PoolState) -> None:
    while pool.nodes["p1"].state is not state:
        await house.clock.pass_time(0.25)


def play(
    house: House, scene: Callable[[AsyncNodePool, tuple[str, int]], Awaitable[None]], **settings: Any
) -> None:
    """The scene gets the pool and where the gateway listens."""

    async def main() -> None:
        async with (
            await asyncio.start_server(serve, "127.0.0.1", 0) as service,
            house.pool(**{**SETTINGS, **settings}) as pool,
            gateway(house, pool, service.sockets[0].getsockname()) as address,
            asyncio.timeout(15),
        ):
            await scene(pool, address)
        await house.hat.close()

    run(main)


async def ask(address: tuple[str, int], request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


def test_a_cold_request_is_held_and_the_node_goes_off_when_it_is_idle(house: House) -> None:
    async def scene(pool: AsyncNodePool, address: tuple[str, int]) -> None:
        request = (
            b"GET /a%2Fb?c HTTP/1.1\r\nHost: h\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nX-Kept: 2\r\n\r\n"
        )
        asked = asyncio.create_task(ask(address, request))
        await pass_until(house, pool, PoolState.BOOTING)
        await house.clock.pass_time(BOOT_TIME / 2)
        assert not asked.done()
        await pass_until(house, pool, PoolState.READY)
        answer = await asked
        assert answer.startswith(b"HTTP/1.1 200 Fine\r\n")
        assert b"X-Node: yes" in answer
        assert b"X-Hop" not in answer
        assert b"GET /a%2Fb?c HTTP/1.1" in answer
        assert b"X-Kept: 2" in answer
        assert b"X-Mine" not in answer
        assert (await ask(address, request)).startswith(b"HTTP/1.1 200 ")
        assert [event.node for event in house.events if type(event).__name__ == "BootStarted"] == ["p1"]
        await pass_until(house, pool, PoolState.OFF)

    play(house, scene)


def test_bytes_go_both_ways_as_they_come(house: House) -> None:
    async def scene(pool: AsyncNodePool, address: tuple[str, int]) -> None:
        pool.wake("p1")
        await pass_until(house, pool, PoolState.READY)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        for i in range(3):
            writer.write(b"3\r\nno%d\r\n" % i)
            await reader.readuntil(b"no%d" % i)  # before the next is sent
            await house.clock.pass_time(9.0)  # bytes keep the node on
        assert pool.nodes["p1"].state is PoolState.READY
        writer.write(b"0\r\n\r\n")
        assert (await reader.read()).endswith(b"0\r\n\r\n")
        writer.close()

    play(house, scene)


def test_an_answer_that_breaks_off_does_not_look_whole(house: House) -> None:
    async def scene(pool: AsyncNodePool, address: tuple[str, int]) -> None:
        pool.wake("p1")
        await pass_until(house, pool, PoolState.READY)
        answer = await ask(address, b"GET /broken HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert not answer.endswith(b"0\r\n\r\n")

    play(house, scene)


def test_a_node_that_does_not_boot_is_told(house: House) -> None:
    async def scene(pool: AsyncNodePool, address: tuple[str, int]) -> None:
        asked = asyncio.create_task(ask(address, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
        while not asked.done():
            await house.clock.pass_time(0.25)
        assert (await asked).startswith(b"HTTP/1.1 504 ")
        assert b"\r\nRetry-After: " in await asked

    play(house, scene, boot_timeout=1.0)


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 120
