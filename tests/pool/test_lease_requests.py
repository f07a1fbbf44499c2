"""How a lease is asked for, what is refused, and what a pool expects."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from rpi_clusterhat import (
    AsyncNodePool,
    BootError,
    Lease,
    LeaseInUseError,
    LeaseTimeoutError,
    NodeNameError,
    NoNodeError,
    NotReadyError,
    PoolClosedError,
    PoolSettings,
    SettingError,
)
from tests.pool.lease_users import User
from tests.safety.pools import BOOT_TIME, House, WorldProbe, run

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
