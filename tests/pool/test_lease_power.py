"""Leases where others switch nodes, and where nodes go off."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from rpi_clusterhat import (
    PoolState,
)
from rpi_clusterhat.pool.activity import Traffic
from rpi_clusterhat.pool.runner import LOOK_INTERVAL
from rpi_clusterhat.pool.traffic_watch import TRAFFIC_INTERVAL
from tests.pool.lease_users import User, about, state
from tests.safety.pools import BOOT_TIME, SPACING, House, run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


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
