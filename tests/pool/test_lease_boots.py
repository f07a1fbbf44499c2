"""Leases and the boots they start, on a clock that is moved by hand."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    LeaseTimeoutError,
    PoolState,
    QueueFullError,
    State,
)
from rpi_clusterhat.events import BootFinished, BootStarted, PoweredOff
from rpi_clusterhat.nodes.probes import Probe, Verdict
from rpi_clusterhat.waiting import Call
from tests.pool.lease_users import User, about, scheduler_of, state
from tests.safety.pools import BOOT_TIME, INTERVAL, SPACING, House, run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rpi_clusterhat.waiting import Step


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


class Restarted(Probe):
    """The node is switched off and on by others while it is asked first, and was up until then."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.asked = 0

    def steps(self, left: Callable[[], float]) -> Generator[Step, Any, Verdict]:
        self.asked += 1
        if self.asked == 1:
            for on in (False, True):
                self._house.outside(p1=on)
                yield Call(
                    partial(vars(self._house.hat)["_inventory"].refresh, ("p1",)), uninterruptible=True
                )
            return Verdict(True, "up, before it was restarted")
        return (yield from self._house.probe("p1").steps(left))


def test_no_probe_that_began_before_the_power_up_counts(house: House) -> None:
    async def work() -> None:
        probe = Restarted(house)
        async with house.pool(probe=lambda _: probe) as pool:
            user = User(house, pool, "p1")
            await house.clock.pass_time(BOOT_TIME - INTERVAL)
            assert (await house.hat["p1"].state(), user.granted_at) == (State.ON, None)
            await house.clock.pass_time(2 * INTERVAL)
            assert user.granted_at == about(BOOT_TIME)
            assert await house.hat["p1"].state() is State.READY
            user.leave()

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
