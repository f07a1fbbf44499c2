"""The end of a pool."""

from __future__ import annotations

import asyncio

import pytest

from rpi_clusterhat import (
    PoolClosedError,
    PoolState,
)
from rpi_clusterhat.events import PoweredOff
from tests.pool.lease_users import User, about
from tests.safety.pools import SPACING, House, run


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
