"""The fake clock that users test with."""

from __future__ import annotations

import asyncio

import pytest

from rpi_clusterhat.testing import FakeClock


def test_who_sleeps_moves_the_clock() -> None:
    clock = FakeClock(10.0)
    clock.sleep(1.5)
    clock.sleep(0.0)
    clock.sleep(-1.0)
    clock.advance(0.5)
    assert (clock.now(), clock.sleeps) == (12.0, [1.5])
    assert repr(clock) == "<FakeClock 12>"


def test_tasks_wake_in_the_order_they_are_due() -> None:
    clock = FakeClock(0.0)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.asleep(nap)
            woken.append((name, clock.now()))

    async def work() -> None:
        await asyncio.gather(sleeper("a", 3.0, 3.0), sleeper("b", 1.0, 1.0, 1.0), sleeper("c", 4.5))

    asyncio.run(work())
    assert [name for name, _ in woken] == ["b", "b", "a", "b", "c", "a"]
    assert [when for _, when in woken] == [1.0, 2.0, 3.0, 3.0, 4.5, 6.0]


def test_no_time_to_wait_is_no_sleep() -> None:
    clock = FakeClock(0.0)

    async def work() -> None:
        await clock.asleep(0.0)
        await clock.asleep(-1.0)

    asyncio.run(work())
    assert (clock.now(), clock.sleeps) == (0.0, [])


def test_a_sleep_that_is_cancelled_holds_up_nobody() -> None:
    clock = FakeClock(0.0)

    async def work() -> None:
        short = asyncio.create_task(clock.asleep(5.0))
        long = asyncio.create_task(clock.asleep(9.0))
        await asyncio.sleep(0)
        short.cancel()
        await long
        assert clock.now() == 9.0
        with pytest.raises(asyncio.CancelledError):
            await short

    asyncio.run(work())


def test_a_test_may_move_the_clock_past_a_sleep() -> None:
    clock = FakeClock(0.0)

    async def work() -> None:
        task = asyncio.create_task(clock.asleep(5.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        clock.advance(60.0)
        await task
        assert clock.now() in (60.0, 65.0)

    asyncio.run(work())


def test_a_clock_moved_by_hand_stands_still_for_sleepers() -> None:
    clock = FakeClock(0.0, by_hand=True)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.asleep(nap)
            woken.append((name, clock.now()))

    async def work() -> None:
        tasks = [
            asyncio.create_task(sleeper("a", 3.0, 3.0)),
            asyncio.create_task(sleeper("b", 1.0, 3.0, 0.0)),
        ]
        for _ in range(100):
            await asyncio.sleep(0)
        assert (clock.now(), woken) == (0.0, [])
        await clock.pass_time(2.5)
        assert (clock.now(), woken) == (2.5, [("b", 1.0)])
        await clock.pass_time(0.5)
        assert woken[1:] == [("a", 3.0)]  # one who is due in this very moment wakes
        await clock.pass_time(10.0)
        assert woken[2:] == [("b", 4.0), ("b", 4.0), ("a", 6.0)]
        assert clock.now() == 13.0
        await asyncio.gather(*tasks)

    asyncio.run(work())
    assert clock.sleeps == [3.0, 1.0, 3.0, 3.0]


def test_sleepers_that_are_begun_while_time_passes_take_part_in_it() -> None:
    clock = FakeClock(0.0, by_hand=True)
    ticks: list[float] = []

    async def ticker() -> None:
        while True:
            await clock.asleep(0.5)
            ticks.append(clock.now())

    async def work() -> None:
        task = asyncio.create_task(ticker())
        await clock.pass_time(2.0)
        assert ticks == [0.5, 1.0, 1.5, 2.0]
        await clock.pass_time(0.0)
        assert len(ticks) == 4
        task.cancel()
        await clock.pass_time(5.0)
        assert (len(ticks), clock.now()) == (4, 7.0)

    asyncio.run(work())


def test_a_clock_moved_by_hand_wakes_those_whose_time_was_jumped_over() -> None:
    clock = FakeClock(0.0, by_hand=True)

    async def work() -> None:
        tasks = [asyncio.create_task(clock.asleep(seconds)) for seconds in (1.0, 5.0, 100.0)]
        await asyncio.sleep(0)
        clock.advance(60.0)
        await asyncio.gather(*tasks[:2])
        assert not tasks[2].done()
        tasks[2].cancel()
        clock.sleep(100.0)  # who sleeps in a thread moves it, as ever
        with pytest.raises(asyncio.CancelledError):
            await tasks[2]
        assert clock.now() == 160.0

    asyncio.run(work())


def test_another_thread_may_move_the_clock() -> None:
    clock = FakeClock(0.0, by_hand=True)

    async def work() -> None:
        task = asyncio.create_task(clock.asleep(5.0))
        await asyncio.sleep(0)
        await asyncio.to_thread(clock.advance, 5.0)
        async with asyncio.timeout(10.0):
            await task

    asyncio.run(work())
