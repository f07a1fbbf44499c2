"""A pool is told by its cluster what others do: another caller in this program, or another program."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import AsyncNodePool, Cluster, LockTimeoutError, PoolState
from rpi_clusterhat.events import BootFailed, BootFinished, BootStarted, PoweredOff, PowerOffFailed
from rpi_clusterhat.pool.runner import LOOK_INTERVAL
from tests.safety.pools import BOOT_TIME, SPACING, House, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(str(tmp_path))


def state(pool: AsyncNodePool, name: str) -> PoolState:
    return pool.nodes[name].state


def test_another_caller_of_the_cluster_moves_the_nodes_at_once(house: House) -> None:
    async def work() -> None:
        async with house.pool(idle_timeout=100.0) as pool:
            await house.hat.on("p2")
            assert state(pool, "p2") is PoolState.CHECKING
            await house.clock.pass_time(BOOT_TIME)
            assert state(pool, "p2") is PoolState.READY
            assert pool.nodes["p2"].boots == 0
            await house.hat.off("p2")
            assert state(pool, "p2") is PoolState.OFF
            assert house.events == [
                BootStarted("p2", "outside"),
                BootFinished("p2", BOOT_TIME, "outside"),
                PoweredOff("p2", "outside", BOOT_TIME),
            ]

    run(work)


def test_a_read_by_whoever_tells_the_pool(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            house.outside(p3=True)
            assert await house.hat["p3"].powered()
            assert state(pool, "p3") is PoolState.CHECKING
            await house.clock.pass_time(BOOT_TIME)
            house.outside(p3=False)
            await house.hat.status()
            assert state(pool, "p3") is PoolState.OFF

    run(work)


def test_a_node_that_is_lost_while_it_boots_is_not_probed_any_more(house: House) -> None:
    async def work() -> None:
        async with house.pool(boot_timeout=60.0) as pool:
            house.world["p1"].fail(slow=10)
            pool.wake("p1")
            await house.clock.pass_time(1.0)
            assert state(pool, "p1") is PoolState.BOOTING
            tasks = len(asyncio.all_tasks())
            await house.hat.off("p1")
            assert state(pool, "p1") is PoolState.OFF
            await house.clock.pass_time(0.0)
            assert len(asyncio.all_tasks()) < tasks
            await house.clock.pass_time(100.0)
            assert not [event for event in house.events if isinstance(event, BootFailed)]
            assert pool.wake("p1")

    run(work)


def test_a_board_that_loses_power_takes_its_nodes_with_it(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            for name in ("p1", "p2"):
                pool.wake(name)
            await house.clock.pass_time(BOOT_TIME + SPACING)
            house.world.boards[0].lose_power()
            await house.clock.pass_time(LOOK_INTERVAL)
            assert {node.state for node in pool.nodes.values()} == {PoolState.OFF}
            lost = [(event.node, event.reason) for event in house.events if isinstance(event, PoweredOff)]
            assert lost == [("p1", "outside"), ("p2", "outside")]
            async with asyncio.timeout(10):
                lease = pool.lease("p2")
                assert not lease.ask()
                await house.clock.pass_time(BOOT_TIME + SPACING)
                await lease.wait()
            assert house.world["p2"].is_up

    run(work)


def test_another_probe_without_an_answer_has_the_node_checked(house: House) -> None:
    async def work() -> None:
        async with house.pool(boot_timeout=4.0) as pool:
            pool.wake("p1")
            await house.clock.pass_time(2.0)
            await house.hat["p1"].report_probe(up=False)
            assert state(pool, "p1") is PoolState.CHECKING
            await house.clock.pass_time(1.0)
            assert state(pool, "p1") is PoolState.READY
            house.world["p1"].hang()
            await house.hat["p1"].report_probe(up=False)
            await house.clock.pass_time(4.0)
            assert state(pool, "p1") is PoolState.FAILED

    run(work)


def test_the_pools_own_switching_is_not_taken_for_others(house: House) -> None:
    async def work() -> None:
        async with house.pool(idle_timeout=10.0, min_on_time=0.0) as pool:
            for _ in range(3):
                pool.wake("p1")
                await house.clock.pass_time(BOOT_TIME + 2 * SPACING)
                assert pool.power_off("p1")
                late = pool.lease("p1")
                assert not late.ask()
                await house.clock.pass_time(BOOT_TIME + 2 * SPACING)
                assert state(pool, "p1") is PoolState.READY
                late.release()
                await house.clock.pass_time(12.0)
                assert state(pool, "p1") is PoolState.OFF
            kinds = [(type(event), getattr(event, "reason", "")) for event in house.events]
            once = [
                (BootStarted, "hand"),
                (BootFinished, "hand"),
                (PoweredOff, "hand"),
                (BootStarted, "lease"),
                (BootFinished, "lease"),
                (PoweredOff, "idle"),
            ]
            assert kinds == 3 * once
            assert pool.nodes["p1"].boots == 6

    run(work)


def test_a_read_that_fails_moves_nothing(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            pool.wake("p1")
            await house.clock.pass_time(2.0)
            house.world.boards[0].fail_bus(1, times=None)
            await house.clock.pass_time(LOOK_INTERVAL)
            assert state(pool, "p1") is PoolState.READY
            house.world.boards[0].heal_bus()
            await house.clock.pass_time(LOOK_INTERVAL)
            assert state(pool, "p1") is PoolState.READY
            assert len(house.events) == 2

    run(work)


def test_a_power_off_that_fails_is_told_and_the_node_serves_on(house: House) -> None:
    async def work() -> None:
        async with house.pool(idle_timeout=10.0, min_on_time=0.0, retry_after_failure=4.0) as pool:
            pool.wake("p1")
            await house.clock.pass_time(2.0)
            house.world["p1"].stick(level=True)
            assert pool.power_off("p1")
            late = pool.lease("p1")
            assert not late.ask()
            await house.clock.pass_time(1.0)
            await late.wait()
            assert late.node == "p1"
            failed = house.events[2]
            assert isinstance(failed, PowerOffFailed)
            assert (failed.node, failed.retry_after) == ("p1", 4.0)
            assert not [event for event in house.events if isinstance(event, (BootFailed, PoweredOff))]
            assert pool.nodes["p1"].failures == 0
            house.world["p1"].stick(None)  # the line falls to what was written to it last
            await house.clock.pass_time(LOOK_INTERVAL)
            assert state(pool, "p1") is PoolState.OFF
            late.release()
            house.outside(p1=True)  # the cluster has no failure on its mind any more, and tells of it
            await house.clock.pass_time(LOOK_INTERVAL + BOOT_TIME)
            assert state(pool, "p1") is PoolState.READY

    run(work)


def test_a_power_off_that_failed_is_tried_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def off(*_: str) -> None:
        raise LockTimeoutError("another process holds the bus")

    async def work() -> None:
        async with house.pool(idle_timeout=10.0, min_on_time=0.0) as pool:
            pool.wake("p1")
            await house.clock.pass_time(2.0)
            monkeypatch.setattr(house.hat, "off", off)
            await house.clock.pass_time(10.0)
            assert house.events[2] == PowerOffFailed("p1", "another process holds the bus", 1.0)
            assert state(pool, "p1") is PoolState.READY
            monkeypatch.undo()
            await house.clock.pass_time(10.0)
            assert state(pool, "p1") is PoolState.OFF
            assert isinstance(house.events[-1], PoweredOff)
            assert house.events[-1].reason == "idle"

    run(work)


def test_events_that_another_thread_delivers_come_to_the_pools_loop(house: House) -> None:
    """As for a `NodePool`, whose cluster other threads use meanwhile."""
    seen: list[threading.Thread] = []

    async def work() -> None:
        async with house.pool() as pool:
            pool.subscribe(lambda _: seen.append(threading.current_thread()))
            sync = Cluster.of(house.hat)
            thread = threading.Thread(target=sync.on, args=("p4",))
            thread.start()
            thread.join()
            assert state(pool, "p4") is PoolState.OFF  # this loop had no turn yet
            await house.clock.pass_time(BOOT_TIME)
            assert state(pool, "p4") is PoolState.READY
            thread = threading.Thread(target=sync.off, args=("p4",))
            thread.start()
            thread.join()
            await house.clock.pass_time(0.0)
            assert state(pool, "p4") is PoolState.OFF

    run(work)
    assert set(seen) == {threading.current_thread()}


def test_a_closed_pool_hears_nothing(house: House) -> None:
    async def work() -> None:
        pool = house.pool()
        await pool.open()
        await pool.close()
        await house.hat.on("p1")
        assert (state(pool, "p1"), house.events) == (PoolState.OFF, [])

    run(work)


def test_what_a_superseded_task_says_does_not_count(house: House) -> None:
    """A node is lost and booted anew while its first boot is still being probed."""

    async def work() -> None:
        async with house.pool(boot_timeout=3.0) as pool:
            house.world["p1"].fail(slow=1000)
            waits = pool.lease("p1")
            assert not waits.ask()
            await house.clock.pass_time(2.5)
            house.world["p1"].fail()
            await house.hat.off("p1")
            assert state(pool, "p1") is PoolState.QUEUED  # for the one who waits
            await house.clock.pass_time(BOOT_TIME)
            await waits.wait()
            assert waits.node == "p1"
            assert [type(event) for event in house.events if event.node == "p1"] == [
                BootStarted,
                PoweredOff,
                BootStarted,
                BootFinished,
            ]

    run(work)
