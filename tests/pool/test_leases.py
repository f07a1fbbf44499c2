"""A pool on simulated nodes, on a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import logging
import math
from itertools import pairwise
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    AsyncNodePool,
    BootError,
    BootTimeoutError,
    ClusterHatError,
    Lease,
    LeaseInUseError,
    LeaseTimeoutError,
    NodeNameError,
    NoNodeError,
    NotReadyError,
    PoolClosedError,
    PoolSettings,
    PoolState,
    QueueFullError,
    SettingError,
    State,
)
from rpi_clusterhat.events import BootFailed, BootFinished, BootStarted, PoweredOff
from rpi_clusterhat.nodes.probes import Probe, Verdict
from rpi_clusterhat.pool.activity import Traffic
from rpi_clusterhat.pool.runner import LOOK_INTERVAL
from rpi_clusterhat.pool.traffic_watch import TRAFFIC_INTERVAL
from tests.safety.pools import BOOT_TIME, INTERVAL, SPACING, House, WorldProbe, run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from rpi_clusterhat.pool.scheduler import Scheduler
    from rpi_clusterhat.waiting import Step


def about(value: Any) -> Any:
    return pytest.approx(value, abs=1e-6)  # pyright: ignore[reportUnknownMemberType] - its types are incomplete


def scheduler_of(pool: AsyncNodePool) -> Scheduler:
    scheduler: Scheduler = vars(pool)["_scheduler"]
    return scheduler


def state(pool: AsyncNodePool, name: str) -> PoolState:
    return pool.nodes[name].state


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(str(tmp_path))


class User:
    """Takes a lease, and keeps it until told to leave."""

    def __init__(self, house: House, pool: AsyncNodePool, node: str | None = None, **how: Any) -> None:
        self.lease = pool.lease(node, **how)
        self.granted_at: float | None = None
        self.error: ClusterHatError | None = None
        self.ended_at: float | None = None
        self._house = house
        self._leaves = asyncio.Event()
        self.task = asyncio.create_task(self._use())

    async def _use(self) -> None:
        clock = self._house.clock
        try:
            async with self.lease as lease:
                self.granted_at = clock.now()
                assert self._house.world[lease.node].is_up
                await self._leaves.wait()
        except ClusterHatError as error:
            self.error = error
        finally:
            self.ended_at = clock.now()

    def leave(self) -> None:
        self._leaves.set()


# Boots --------------------------------------------------------------------------------------------------


def test_a_thousand_at_once_on_a_cluster_without_power(house: House) -> None:
    async def work() -> None:
        async with house.pool(balance="random", maxconn=400, queue=1000) as pool:
            users = [User(house, pool) for _ in range(1000)]
            await house.clock.pass_time(0.0)
            assert pool.waiting == 1000
            for user in users:
                user.leave()
            await house.clock.pass_time(BOOT_TIME + 3 * SPACING)
            assert [user.error for user in users] == [None] * 1000
            ups = {node: time for time, node in house.told("on")}
            assert sorted(ups.values()) == about([0.0, SPACING, 2 * SPACING, 3 * SPACING])
            assert len(house.told("on")) == 4
            for user in users:
                assert user.granted_at is not None
            granted = {user.granted_at for user in users}
            assert sorted(granted) == about([BOOT_TIME + up for up in sorted(ups.values())])  # type: ignore[type-var]
            assert pool.waiting == 0
            assert {member.leases for member in pool.nodes.values()} == {0}
            assert [member.boots for member in pool.nodes.values()] == [1, 1, 1, 1]

    run(work)


def test_beyond_the_queue_is_refused_while_the_others_are_served(house: House) -> None:
    async def work() -> None:
        async with house.pool(queue=100) as pool:
            users = [User(house, pool) for _ in range(300)]
            await house.clock.pass_time(BOOT_TIME)
            refused = [user for user in users if isinstance(user.error, QueueFullError)]
            assert (len(refused), {user.ended_at for user in refused}) == (200, {0.0})
            assert len([user for user in users if user.granted_at is not None]) == 100

    run(work)


def test_one_who_waits_too_long_is_told_and_the_boot_goes_on(house: House) -> None:
    async def work() -> None:
        house.world["p1"].fail(slow=10)
        async with house.pool(queue_timeout=5.0, boot_estimate=12.0) as pool:
            user = User(house, pool)
            await house.clock.pass_time(10.0)
            assert user.ended_at == 5.0
            assert isinstance(user.error, LeaseTimeoutError)
            assert isinstance(user.error, TimeoutError)
            assert (str(user.error), user.error.retry_after) == ("p1 was not ready within 5 s", 7.0)
            assert pool.waiting == 0
            await house.clock.pass_time(5.0)
            assert state(pool, "p1") is PoolState.READY
            assert pool.lease().ask()
            assert house.told("on") == [(0.0, "p1")]

    run(work)


def test_one_who_waits_for_a_place_too_long(house: House) -> None:
    async def work() -> None:
        async with house.pool(maxconn=1) as pool:
            holder = User(house, pool, "p2")
            await house.clock.pass_time(2.0)
            lease = pool.lease("p2")
            assert not lease.ask()
            assert repr(lease) == "<Lease of no node yet>"
            waits = asyncio.create_task(lease.wait(timeout=3.0))
            await house.clock.pass_time(3.0)
            with pytest.raises(LeaseTimeoutError, match=r"no node was free within 3 s"):
                await waits
            holder.leave()
            await house.clock.pass_time(0.0)
            assert pool.nodes["p2"].in_flight == 0

    run(work)


def test_one_who_gives_up_does_not_end_the_boot(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            user = User(house, pool)
            await house.clock.pass_time(0.5)
            user.task.cancel()
            await house.clock.pass_time(0.0)
            assert user.task.cancelled()
            assert (pool.waiting, pool.nodes["p1"].in_flight) == (0, 0)
            await house.clock.pass_time(1.0)
            assert state(pool, "p1") is PoolState.READY
            again = User(house, pool)
            await house.clock.pass_time(0.0)
            assert again.granted_at == 1.5
            assert house.told("on") == [(0.0, "p1")]

    run(work)


def test_one_who_gives_up_in_the_moment_of_the_grant_keeps_nothing(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            lease = pool.lease()
            assert not lease.ask()
            waits = asyncio.create_task(lease.wait())
            await house.clock.pass_time(1.0)
            scheduler_of(pool).ready("p1")
            assert pool.nodes["p1"].leases == 1
            waits.cancel()
            await house.clock.pass_time(0.0)
            assert waits.cancelled()
            assert pool.nodes["p1"].in_flight == 0

    run(work)


def test_a_pool_tells_its_subscribers(house: House) -> None:
    async def work() -> None:
        async with house.pool(idle_timeout=10.0, min_on_time=0.0) as pool:
            user = User(house, pool)
            await house.clock.pass_time(2.0)
            user.leave()
            await house.clock.pass_time(10.0)
            assert house.events == [
                BootStarted("p1", "lease"),
                BootFinished("p1", BOOT_TIME, "lease"),
                PoweredOff("p1", "idle", 12.0),
            ]
            assert house.told("off") == [(12.0, "p1")]
            assert repr(pool) == "<AsyncNodePool p1=off p2=off p3=off p4=off>"

    run(work)


def test_the_cluster_knows_that_a_node_is_ready(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            User(house, pool)
            await house.clock.pass_time(BOOT_TIME)
            assert await house.hat["p1"].state() is State.READY

    run(work)


# Failures -----------------------------------------------------------------------------------------------


def test_a_node_that_never_boots_is_left_alone_while_the_others_serve(house: House) -> None:
    async def work() -> None:
        house.world["p1"].fail(boots=False)
        async with house.pool(boot_timeout=4.0, retry_after_failure=20.0, idle_timeout=math.inf) as pool:
            user = User(house, pool)
            await house.clock.pass_time(4.0 + BOOT_TIME)
            assert user.lease.node == "p2"
            assert user.granted_at == about(4.0 - INTERVAL + BOOT_TIME)
            assert state(pool, "p1") is PoolState.FAILED
            assert pool.nodes["p1"].failure == "p1 is failed (tried for 3.88 s)"
            failed_at, _ = house.told("off")[0]
            assert 3.5 < failed_at <= 4.0
            for _ in range(30):
                other = User(house, pool)
                await house.clock.pass_time(0.5)
                other.leave()
                assert other.granted_at is not None
            assert len(house.told("on")) == 2
            with pytest.raises(NoNodeError, match="p1 is failed"):
                pool.lease("p1").ask()
            await house.clock.pass_time(5.0)
            assert state(pool, "p1") is PoolState.OFF
            house.world["p1"].fail()
            named = User(house, pool, "p1")
            await house.clock.pass_time(BOOT_TIME)
            assert named.granted_at is not None
            assert [type(event) for event in house.events if event.node == "p1"] == [
                BootStarted,
                BootFailed,
                PoweredOff,
                BootStarted,
                BootFinished,
            ]

    run(work)


def test_without_another_node_the_failure_is_told_to_all_who_wait(house: House) -> None:
    async def work() -> None:
        house.world["p3"].fail(boots=False)
        async with house.pool(boot_timeout=4.0) as pool:
            users = [User(house, pool, "p3") for _ in range(3)]
            await house.clock.pass_time(4.0)
            for user in users:
                assert isinstance(user.error, BootTimeoutError)
                assert user.error.retry_after == 30.0

    run(work)


def test_an_error_that_many_are_told_does_not_keep_what_each_of_them_was_doing(house: House) -> None:
    async def work() -> None:
        house.world["p3"].fail(boots=False)
        async with house.pool(boot_timeout=4.0) as pool:
            users = [User(house, pool, "p3") for _ in range(50)]
            await house.clock.pass_time(4.0)
            assert len({user.error for user in users}) == 1
            error = users[0].error
            assert error
            assert len(extract_tb(error.__traceback__)) < 10

    run(work)


class Raising(Probe):
    def steps(self, left: Callable[[], float]) -> Generator[Step, Any, Verdict]:
        del left
        yield from ()
        raise ZeroDivisionError("a stranger's mistake")


def test_a_probe_that_raises_is_a_boot_that_failed(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with house.pool(probe=lambda _: Raising(), redispatch=False) as pool:
            user = User(house, pool)
            await house.clock.pass_time(1.0)
            assert isinstance(user.error, BootError)
            assert str(user.error) == "p1: ZeroDivisionError: a stranger's mistake"
            assert house.told("off") == [(0.0, "p1")]

    with caplog.at_level(logging.CRITICAL, "rpi_clusterhat"):
        run(work)


def test_a_node_that_cannot_be_switched_on(house: House) -> None:
    async def work() -> None:
        house.world["p1"].stick(level=False)
        async with house.pool() as pool:
            user = User(house, pool)
            await house.clock.pass_time(SPACING + BOOT_TIME)
            assert user.lease.node == "p2"
            assert user.granted_at is not None
            assert "made to stick" in (pool.nodes["p1"].failure or "")
            house.world["p1"].stick(None)
            await house.clock.pass_time(40.0)
            assert state(pool, "p1") is PoolState.OFF

    run(work)


def test_a_quarantine_ends_also_where_a_strangers_backend_fails(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def off(*_: str) -> None:
        raise ZeroDivisionError("a stranger's mistake")

    async def work() -> None:
        house.world["p1"].fail(boots=False)
        async with house.pool(boot_timeout=4.0) as pool:
            user = User(house, pool, "p1")
            monkeypatch.setattr(house.hat, "off", off)
            await house.clock.pass_time(4.0)
            assert isinstance(user.error, BootError)
            monkeypatch.undo()
            house.world["p1"].fail()
            house.outside(p1=False)
            await house.clock.pass_time(31.0)
            again = User(house, pool, "p1")
            await house.clock.pass_time(10.0)
            assert again.granted_at is not None

    with caplog.at_level(logging.CRITICAL, "rpi_clusterhat"):
        run(work)


def test_a_node_that_dies_under_a_lease_is_looked_at(house: House) -> None:
    async def work() -> None:
        async with house.pool(boot_timeout=4.0) as pool:
            user = User(house, pool)
            await house.clock.pass_time(2.0)
            user.lease.failed()
            await house.clock.pass_time(0.0)
            assert state(pool, "p1") is PoolState.READY  # a false alarm
            house.world["p1"].hang()
            user.lease.failed()
            other = User(house, pool)
            named = User(house, pool, "p1")
            await house.clock.pass_time(1.0)
            assert (other.lease.node, named.lease.node) == ("p2", "p1")  # another one, where that will do
            await house.clock.pass_time(6.0)
            assert isinstance(named.error, BootError)
            assert (other.lease.node, state(pool, "p1")) == ("p2", PoolState.FAILED)
            assert house.told("off") == []  # a lease is on it still
            house.outside(p1=False)
            user.lease.failed()
            user.leave()
            await house.clock.pass_time(40.0)
            assert state(pool, "p1") is PoolState.OFF

    run(work)


def test_a_lease_meets_a_node_without_power(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            user = User(house, pool)
            await house.clock.pass_time(2.0)
            house.outside(p1=False)
            user.lease.failed()
            await house.clock.pass_time(0.0)
            assert state(pool, "p1") is PoolState.OFF
            assert house.events[-1] == PoweredOff("p1", "outside", 2.0)

    run(work)


# What others switch -------------------------------------------------------------------------------------


def test_nodes_with_power_are_taken_over(house: House) -> None:
    async def work() -> None:
        house.outside(p2=True, p3=True)
        async with house.pool(idle_timeout=10.0, min_on_time=0.0) as pool:
            user = User(house, pool)
            await house.clock.pass_time(BOOT_TIME)
            assert (user.lease.node, user.granted_at) == ("p2", BOOT_TIME)
            assert state(pool, "p3") is PoolState.READY
            assert house.told("on") == [(0.0, "p2"), (0.0, "p3")]
            assert [member.boots for member in pool.nodes.values()] == [0, 0, 0, 0]
            await house.clock.pass_time(10.0)
            assert house.told("off") == [(about(BOOT_TIME + 10.0), "p3")]

    run(work)


def test_what_others_switch_is_found(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            user = User(house, pool)
            await house.clock.pass_time(2.0)
            house.outside(p1=False, p4=True)
            await house.clock.pass_time(LOOK_INTERVAL)
            assert state(pool, "p1") is PoolState.OFF
            assert state(pool, "p4") is PoolState.READY
            other = User(house, pool)
            await house.clock.pass_time(0.0)
            assert other.lease.node == "p4"
            user.leave()
            again = User(house, pool, "p1")
            await house.clock.pass_time(BOOT_TIME)
            assert again.granted_at is not None
            assert pool.nodes["p1"].boots == 2

    run(work)


def test_a_node_lost_while_it_boots_is_started_again_for_those_who_wait(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            house.world["p1"].fail(slow=4)
            user = User(house, pool)
            await house.clock.pass_time(4.0)
            house.world["p1"].fail()
            house.outside(p1=False)
            await house.clock.pass_time(1.0 + BOOT_TIME)
            assert user.granted_at == about(LOOK_INTERVAL + BOOT_TIME)

    run(work)


def test_a_board_that_cannot_be_read_for_a_while(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            house.world.boards[0].fail_bus(1, times=1)
            await house.clock.pass_time(LOOK_INTERVAL)
            house.outside(p1=True)
            await house.clock.pass_time(LOOK_INTERVAL)
            assert state(pool, "p1") is PoolState.READY

    run(work)
    assert "the nodes' power cannot be read" in caplog.text


def test_a_strangers_backend_does_not_end_the_looks(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def status() -> None:
        raise ZeroDivisionError("a stranger's mistake")

    async def work() -> None:
        async with house.pool() as pool:
            monkeypatch.setattr(house.hat, "status", status)
            await house.clock.pass_time(LOOK_INTERVAL)
            monkeypatch.undo()
            house.outside(p1=True)
            await house.clock.pass_time(LOOK_INTERVAL)
            assert state(pool, "p1") is PoolState.READY

    run(work)
    assert "a stranger's mistake" in caplog.text


def test_two_programs_on_one_board(tmp_path: Path) -> None:
    options: dict[str, object] = {"state": str(tmp_path / "world.json")}
    one = House(str(tmp_path), options=options)
    two = House(str(tmp_path), options=options, clock=one.clock)

    async def work() -> None:
        async with one.pool(idle_timeout=20.0) as first, two.pool(balance="roundrobin") as second:
            users = [User(one, first, f"p{i}") for i in (1, 2)] + [User(two, second, f"p{i}") for i in (3, 4)]
            await one.clock.pass_time(5.0)
            assert all(user.granted_at is not None for user in users)
            times = sorted(time for time, _ in one.told("on"))
            assert len(times) == 4
            assert all(b - a >= SPACING - 1e-6 for a, b in pairwise(times))
            await one.clock.pass_time(LOOK_INTERVAL)
            assert {m.state for m in (*first.nodes.values(), *second.nodes.values())} == {PoolState.READY}
            assert [m.boots for m in first.nodes.values()] == [1, 1, 0, 0]
        await one.hat.close()
        await two.hat.close()

    run(work)


# Going off ----------------------------------------------------------------------------------------------


def test_a_lease_that_comes_while_the_node_goes_off_starts_it_again(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            assert pool.wake("p1")
            await house.clock.pass_time(2.0)
            assert pool.power_off("p1")
            late = User(house, pool, "p1")
            await house.clock.pass_time(BOOT_TIME)
            assert (house.told("off"), house.told("on")) == ([(2.0, "p1")], [(0.0, "p1"), (2.0, "p1")])
            assert late.granted_at == 2.0 + BOOT_TIME
            assert not pool.power_off("p1")
            assert not pool.wake("p1")

    run(work)


def test_a_lease_taken_in_the_moment_of_a_release_does_not_keep_a_node_up_for_ever(house: House) -> None:
    async def work() -> None:
        async with house.pool(idle_timeout=10.0, min_on_time=0.0) as pool:
            user = User(house, pool)
            await house.clock.pass_time(2.0)
            next_one = pool.lease()
            user.lease.release()
            assert next_one.ask()
            await house.clock.pass_time(20.0)
            assert house.told("off") == []
            next_one.release()
            await house.clock.pass_time(10.0)
            assert house.told("off") == [(32.0, "p1")]
            user.leave()

    run(work)


def test_a_byte_either_way_keeps_a_node_up(house: House) -> None:
    async def work() -> None:
        async with house.pool(idle_timeout=10.0, min_on_time=0.0) as pool:
            lease = pool.lease()
            lease.touch()  # it has no node yet
            lease.ask()
            await house.clock.pass_time(5.0)
            lease.touch()
            assert pool.nodes["p1"].last_active == 5.0
            passive = pool.lease(passive=True)
            assert passive.ask()
            passive.touch()
            lease.release()
            await house.clock.pass_time(3.0)
            passive.touch()
            passive.release()
            assert pool.nodes["p1"].last_active == 5.0
            await house.clock.pass_time(7.0)
            assert house.told("off") == [(15.0, "p1")]

    run(work)


class Bytes:
    """Network counters of nodes."""

    def __init__(self) -> None:
        self.moved = dict.fromkeys(["p1", "p2", "p3", "p4"], 0)

    def read(self, name: str) -> int | None:
        return self.moved[name]


def test_traffic_keeps_a_node_up(house: House) -> None:
    async def work() -> None:
        counters = Bytes()
        traffic = Traffic(counters, 1000, interval=60.0)
        async with house.pool(idle_timeout=100.0, traffic=traffic) as pool:
            pool.wake("p1")
            pool.wake("p2")
            for _ in range(30):
                counters.moved["p1"] += 2000
                counters.moved["p2"] += 200
                await house.clock.pass_time(TRAFFIC_INTERVAL)
            assert [node for _, node in house.told("off")] == ["p2"]
            await house.clock.pass_time(100.0 + TRAFFIC_INTERVAL)
            assert [node for _, node in house.told("off")] == ["p2", "p1"]

    run(work)


def test_traffic_is_asked_before_a_node_goes_off(house: House) -> None:
    async def work() -> None:
        counters = Bytes()
        async with house.pool(idle_timeout=10.0, min_on_time=0.0, traffic=Traffic(counters, 1000)) as pool:
            pool.wake("p1")
            await house.clock.pass_time(TRAFFIC_INTERVAL / 2)
            assert len(house.told("off")) == 1
            pool.wake("p1")
            await house.clock.pass_time(8.0)
            counters.moved["p1"] += 5000
            await house.clock.pass_time(8.0)
            assert len(house.told("off")) == 1

    run(work)


# The end ------------------------------------------------------------------------------------------------


def test_draining_waits_for_the_leases_and_gives_no_more(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            user, waits = User(house, pool), User(house, pool, "p2")
            await house.clock.pass_time(1.0)
            too_short = asyncio.create_task(pool.drain(1.0))
            await house.clock.pass_time(1.0)
            assert await too_short is False
            assert waits.granted_at is not None  # who waited is served still
            with pytest.raises(PoolClosedError):
                pool.lease().ask()
            long = asyncio.create_task(pool.drain(60.0))
            await house.clock.pass_time(5.0)
            user.leave()
            await house.clock.pass_time(5.0)
            assert not long.done()
            waits.leave()
            await house.clock.pass_time(0.1)
            assert await long is True
            assert house.told("off") == []

    run(work)


def test_closing_leaves_the_nodes_as_they_are_and_tells_who_waits(house: House) -> None:
    async def work() -> None:
        pool = house.pool(maxconn=1)
        await pool.open()
        holder, waits = User(house, pool, "p1"), User(house, pool, "p1")
        starting = User(house, pool, "p2")
        await house.clock.pass_time(SPACING)
        await pool.close()
        await house.clock.pass_time(0.0)
        for user in (holder, waits, starting):
            assert isinstance(user.error, PoolClosedError)
        await house.clock.pass_time(1000.0)
        assert house.told("off") == []
        assert len(house.told("on")) == 2
        await pool.close()
        assert len(asyncio.all_tasks()) == 1

    run(work)


def test_a_lease_given_back_after_the_end_switches_nothing(house: House) -> None:
    async def work() -> None:
        pool = house.pool(idle_timeout=10.0, min_on_time=0.0)
        await pool.open()
        user, other = User(house, pool), User(house, pool)
        await house.clock.pass_time(2.0)
        await pool.close()
        user.lease.failed()
        user.leave()
        other.leave()
        assert not pool.wake("p2")
        await house.clock.pass_time(60.0)
        assert house.told("off") == []
        assert len(asyncio.all_tasks()) == 1

    run(work)


def test_closing_can_switch_off(house: House) -> None:
    async def work() -> None:
        pool = house.pool()
        await pool.open()
        user, waits = User(house, pool), User(house, pool, "p2")
        await house.clock.pass_time(1.6)
        await pool.close(off=True)
        user.leave()
        await house.clock.pass_time(60.0)
        assert {node.phase for node in house.world} == {"off"}
        assert {member.state for member in pool.nodes.values()} == {PoolState.OFF}
        assert house.events[-2:] == [PoweredOff("p1", "close", 1.6), PoweredOff("p2", "close", about(1.35))]
        assert isinstance(waits.error, PoolClosedError)

    run(work)


# Asking -------------------------------------------------------------------------------------------------


def test_ask_and_release_step_by_step(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            lease = pool.lease()
            assert isinstance(lease, Lease)
            lease.release()  # nothing was asked for
            assert lease.node == ""
            assert not lease.ask()
            assert (lease.node, repr(lease)) == ("p1", "<Lease p1>")
            await house.clock.pass_time(BOOT_TIME)
            await lease.wait()
            warm = pool.lease()
            assert warm.ask()
            await warm.wait()  # no need to
            for one in (lease, warm, warm):
                one.release()
            assert pool.nodes["p1"].in_flight == 0

    run(work)


def test_a_lease_may_be_taken_again(house: House) -> None:
    async def work() -> None:
        house.world["p1"].fail(boots=False)
        async with house.pool(boot_timeout=2.0, retry_after_failure=1.0) as pool:
            lease = pool.lease("p1")
            lease.ask()
            await house.clock.pass_time(2.0)
            with pytest.raises(BootError):
                await lease.wait()
            house.world["p1"].fail()
            await house.clock.pass_time(2.0)
            assert not lease.ask()
            await house.clock.pass_time(2.0)
            await lease.wait()
            assert lease.node == "p1"

    run(work)


def test_what_is_refused(house: House) -> None:
    async def work() -> None:
        async with house.pool(balance="hash") as pool:
            with pytest.raises(NotReadyError):
                pool.lease(passive=True).ask()
            with pytest.raises(NodeNameError):
                pool.lease("p9").ask()
            with pytest.raises(NoNodeError):
                pool.lease(exclude=set(pool.nodes)).ask()
            assert pool.waiting == 0
            by_key = pool.lease(key="somebody")
            by_key.ask()
            again = pool.lease(key="somebody")
            again.ask()
            assert again.node == by_key.node
        with pytest.raises(PoolClosedError):
            pool.lease().ask()

    run(work)


def test_settings_are_checked(house: House) -> None:
    with pytest.raises(SettingError, match="maxconn"):
        AsyncNodePool(house.hat, probe=house.probe, settings=PoolSettings(maxconn=0))
    assert AsyncNodePool(house.hat, probe=house.probe).settings == PoolSettings()
    assert isinstance(house.probe("p1"), WorldProbe)


@pytest.mark.parametrize("probe", [None, "tcp", str, len])
def test_what_makes_no_probes_is_refused_at_once(house: House, probe: Any) -> None:
    with pytest.raises(
        SettingError,
        match=r"^Invalid value for probe: .*: expected a function from a node's name to a probe$",
    ):
        AsyncNodePool(house.hat, probe=probe)


def test_settings_of_another_kind_are_refused(house: House) -> None:
    wrong: Any = {"maxconn": 3}
    with pytest.raises(SettingError, match="expected PoolSettings"):
        AsyncNodePool(house.hat, probe=house.probe, settings=wrong)


def test_arguments_are_checked_where_they_are_given(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            for call in (pool.wake, pool.power_off, pool.due_at, pool.lease):
                with pytest.raises(NodeNameError, match=r"'p9' is no node of this pool: it has p1, p2"):
                    call("p9")
            for timeout in (-1.0, math.nan, "soon", True):
                wrong: Any = timeout
                with pytest.raises(
                    SettingError, match=r"^Invalid value for timeout: .*: expected seconds, 0 or more$"
                ):
                    pool.lease("p1", timeout=wrong)
                with pytest.raises(SettingError, match=r"^Invalid value for seconds: "):
                    await pool.drain(wrong)
            lease = pool.lease("p1")
            assert not lease.ask()
            with pytest.raises(SettingError, match=r"^Invalid value for timeout: "):
                await lease.wait(-1.0)
            await house.clock.pass_time(BOOT_TIME)
            await lease.wait()  # it waits still
            assert house.told("on") == [(0.0, "p1")]

    run(work)


def test_a_lease_has_a_time_of_its_own(house: House) -> None:
    async def work() -> None:
        async with house.pool(queue_timeout=20.0) as pool:
            house.world["p1"].fail(slow=1000)
            user = User(house, pool, "p1", timeout=3.0)
            await house.clock.pass_time(10.0)
            assert isinstance(user.error, LeaseTimeoutError)
            assert user.ended_at == 3.0

    run(work)


def test_a_second_ask_raises_and_leaks_nothing(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            lease = pool.lease("p1")
            assert not lease.ask()
            waits = asyncio.create_task(lease.wait())
            await house.clock.pass_time(0.0)
            with pytest.raises(LeaseInUseError):
                lease.ask()
            with pytest.raises(LeaseInUseError):
                await lease.__aenter__()
            assert (pool.waiting, pool.nodes["p1"].in_flight) == (1, 1)
            await house.clock.pass_time(BOOT_TIME)
            await waits
            with pytest.raises(LeaseInUseError):
                lease.ask()
            assert (pool.waiting, pool.nodes["p1"].leases) == (0, 1)
            lease.release()
            assert pool.nodes["p1"].in_flight == 0
            assert lease.ask()
            await lease.wait()  # not for the future of the first time
            lease.release()
            assert pool.nodes["p1"].in_flight == 0

    run(work)


# Estimates ----------------------------------------------------------------------------------------------


def test_what_a_pool_expects(house: House) -> None:
    async def work() -> None:
        async with house.pool(boot_estimate=12.0, maxconn=1, idle_timeout=10.0, min_on_time=0.0) as pool:
            assert (pool.boot_time, pool.estimate()) == (12.0, 12.0)
            lease, other = pool.lease("p1"), pool.lease("p1")
            assert not lease.ask()
            assert not other.ask()
            await house.clock.pass_time(1.0)
            assert (lease.estimate(), other.estimate(), pool.estimate()) == (11.0, 11.0, 11.0)
            assert pool.due_at("p1") == math.inf
            await house.clock.pass_time(1.0)
            assert (pool.boot_time, pool.estimate()) == (BOOT_TIME, BOOT_TIME)
            other.release()
            lease.release()
            assert pool.due_at("p1") == pool.now() + 10.0

    run(work)


def test_those_who_wait_can_be_refused_while_leases_go_on(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            holder = User(house, pool, "p1")
            await house.clock.pass_time(2.0)
            waits = User(house, pool, "p2")
            await house.clock.pass_time(0.0)
            pool.refuse_waiting()
            await house.clock.pass_time(0.0)
            assert isinstance(waits.error, PoolClosedError)
            assert (holder.error, pool.nodes["p1"].leases) == (None, 1)
            with pytest.raises(PoolClosedError):
                pool.lease().ask()
            assert not pool.wake("p3")

    run(work)


def test_a_subscription_ends(house: House) -> None:
    async def work() -> None:
        async with house.pool() as pool:
            heard: list[object] = []
            unsubscribe = pool.subscribe(heard.append)
            pool.wake("p1")
            assert len(heard) == 1
            unsubscribe()
            pool.wake("p2")
            assert len(heard) == 1

    run(work)
