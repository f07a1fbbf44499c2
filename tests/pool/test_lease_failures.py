"""Leases where a boot, a node or a backend fails."""

from __future__ import annotations

import logging
import math
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    BootError,
    BootTimeoutError,
    NoNodeError,
    PoolState,
)
from rpi_clusterhat.events import BootFailed, BootFinished, BootStarted, PoweredOff
from rpi_clusterhat.nodes.probes import Probe, Verdict
from tests.pool.lease_users import User, about, state
from tests.safety.pools import BOOT_TIME, INTERVAL, SPACING, House, run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rpi_clusterhat.waiting import Step


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
            assert state(pool, "p1") is PoolState.BOOTING  # once more, by itself
            house.world["p1"].fail()
            await house.hat.off("p1")
            assert state(pool, "p1") is PoolState.OFF
            named = User(house, pool, "p1")
            await house.clock.pass_time(BOOT_TIME)
            assert named.granted_at is not None
            assert [type(event) for event in house.events if event.node == "p1"] == [
                BootStarted,
                BootFailed,
                PoweredOff,
                BootStarted,
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
