"""The stream of events."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from clusterhat_proxy import live
from clusterhat_proxy.admin import MOST_VIEWERS
from clusterhat_proxy.live import READ_INTERVAL
from rpi_clusterhat import AsyncCluster, PoolState
from tests.proxy.admin.side import LATE, Side, fails, play, read_head, strictly

if TYPE_CHECKING:
    from collections.abc import Callable

    from clusterhat_proxy.request_metrics import RequestMetrics
    from rpi_clusterhat.cluster import Status
    from tests.safety.pools import House


def test_a_change_is_shown_within_a_second(house: House) -> None:
    async def scene(side: Side) -> None:
        async with side.watch() as stream:
            assert stream.head.status == 200
            assert stream.head.fields["content-type"] == "text/event-stream"
            assert stream.head.fields["cache-control"] == "no-store"
            first = await stream.message()
            status = (await side.ask("/status")).json
            assert first.keys() == status.keys()
            assert first["nodes"] == status["nodes"]

            async def shown(holds: Callable[[dict[str, Any]], bool]) -> None:
                async with asyncio.timeout(1.0):
                    await stream.until(holds)

            side.pool.wake("p1")
            await shown(lambda status: status["nodes"]["p1"]["state"] == "on")
            side.pool.wake("p2")
            await shown(lambda status: status["nodes"]["p2"]["state"] == "queued")
            await house.clock.pass_time(0.5)
            await shown(lambda status: status["nodes"]["p2"]["powered"] is True)
            await side.pass_until("p1", PoolState.READY)
            await shown(lambda status: status["nodes"]["p1"]["state"] == "ready")
            side.requests.in_flight = 3
            await shown(lambda status: status["proxy"]["in_flight"] == 3)
            house.outside(p3=True)
            await shown(lambda status: status["nodes"]["p3"]["powered"] is True)
            side.proxy.draining = True
            await shown(lambda status: status["proxy"]["draining"] is True)

    play(house, scene)


def test_counts_are_sent_five_times_a_second_and_times_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "TICK", 0.5)

    async def scene(side: Side) -> None:
        async with side.watch() as stream:
            await stream.message()
            begun = time.monotonic()
            busy = asyncio.create_task(change(side.requests))
            for _ in range(4):
                await stream.message()
            assert time.monotonic() - begun >= 3 * live.LOOK_INTERVAL
            busy.cancel()
            await asyncio.gather(busy, return_exceptions=True)
            await stream.message()
            before, after = await stream.message(), await stream.message()
            assert after["proxy"]["uptime"] - before["proxy"]["uptime"] > 0.9 * live.TICK

    async def change(requests: RequestMetrics) -> None:
        while True:
            requests.in_flight += 1
            await asyncio.sleep(0.01)

    play(house, scene)


def test_viewers_share_one_reading(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK", 0.3)
    readings = 0
    real = AsyncCluster.status

    async def status(self: AsyncCluster) -> Status:
        nonlocal readings
        readings += 1
        return await real(self)

    async def scene(side: Side) -> None:
        monkeypatch.setattr(AsyncCluster, "status", status)
        begun = time.monotonic()
        async with side.watch() as one, side.watch() as two, side.watch() as three:
            seen = [await asyncio.gather(*(s.message() for s in (one, two, three))) for _ in range(3)]
            assert seen[-1][0] == seen[-1][1] == seen[-1][2]
        assert readings <= 2 + (time.monotonic() - begun) / READ_INTERVAL
        await side.until(lambda: not side.admin.server.connections)
        readings_then = readings
        await asyncio.sleep(2 * READ_INTERVAL)
        assert readings == readings_then, "nobody watches"
        async with side.watch() as stream:
            await stream.message()
        assert readings > readings_then

    play(house, scene)


def test_viewers_are_bounded(house: House) -> None:
    async def scene(side: Side) -> None:
        writers: list[asyncio.StreamWriter] = []
        for _ in range(MOST_VIEWERS):
            reader, writer = await side.send("/events")
            assert (await read_head(reader)).status == 200
            writers.append(writer)
        answer = await side.ask("/events")
        assert (answer.status, answer.fields["retry-after"]) == (503, "5")
        assert (await side.ask("/status")).status == 200
        writers.pop().close()
        await side.until(lambda: len(side.admin.server.connections) < MOST_VIEWERS)
        async with side.watch() as stream:
            assert stream.head.status == 200
            assert await stream.message()
        for writer in writers:
            writer.close()

    play(house, scene)


def test_silence_is_broken_by_comments(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(_: AsyncCluster) -> Status:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def scene(side: Side) -> None:
        monkeypatch.setattr(AsyncCluster, "status", hangs)
        monkeypatch.setattr(live, "HEARTBEAT", 0.05)
        async with side.watch() as stream:
            assert await stream.block() == [":"]
            assert await stream.block() == [":"]

    play(house, scene)


def test_trouble_with_the_cluster_is_told_and_the_rest_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(side: Side) -> None:
        real = AsyncCluster.status
        text = "the bus does not answer: look at the cable"
        fails(monkeypatch)
        async with side.watch() as stream:
            event, data = await stream.block()
            assert event == "event: trouble"
            assert strictly(data.removeprefix("data: ")) == {"trouble": text}
            monkeypatch.setattr(AsyncCluster, "status", real)
            assert "trouble" not in await stream.message()
            fails(monkeypatch)
            await stream.until(lambda status: status.get("trouble") == text)
            side.requests.in_flight = 2
            assert (await stream.until(lambda status: status["proxy"]["in_flight"] == 2))["trouble"] == text

    play(house, scene)


def test_draining_ends_the_streams(house: House) -> None:
    async def scene(side: Side) -> None:
        async with side.watch() as stream:
            await stream.message()
            begun = time.monotonic()
            drained = asyncio.create_task(side.admin.server.drain(LATE))
            while await stream.block():
                pass
            assert time.monotonic() - begun < 2 * live.TICK
        assert await drained
        assert not side.admin.server.connections

    play(house, scene)


def test_a_mistake_while_watching_ends_the_stream(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(_: AsyncCluster) -> Status:
        raise ZeroDivisionError

    async def scene(side: Side) -> None:
        monkeypatch.setattr(AsyncCluster, "status", breaks)
        monkeypatch.setattr(live, "HEARTBEAT", 0.05)
        async with side.watch() as stream:
            with pytest.raises((ConnectionError, ValueError)):
                await stream.block()

    play(house, scene)
