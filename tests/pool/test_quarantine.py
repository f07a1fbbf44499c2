"""Nodes that do not boot: each is booted again so often, then left alone until it is let out."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import NoNodeError, PoolState
from rpi_clusterhat.errors import BootTimeoutError
from rpi_clusterhat.events import (
    BootFailed,
    BootFinished,
    BootStarted,
    PoweredOff,
    PowerOffFailed,
    Quarantined,
)
from rpi_clusterhat.pool.actions import BackOff, Boot, Check
from tests.pool.desk import Desk
from tests.pool.lease_users import User, state
from tests.safety.pools import BOOT_TIME, House, run

if TYPE_CHECKING:
    from rpi_clusterhat.pool.actions import Action


def time_out(desk: Desk, name: str = "p1", *, cut: bool = True) -> list[Action]:
    """A boot that is under way times out, and the power is cut."""
    desk.core.powered(name)
    desk.clock.advance(120.0)
    desk.core.failed(name, "no answer", timed_out=True, last_lines=("Kernel panic",))
    actions = desk.actions()
    if cut:
        desk.core.powered_off(name, "failure")
    return actions


def quarantined(desk: Desk, *, cut: bool = True) -> None:
    """Has p1 fail until it is quarantined, as seldom as may be."""
    desk.core.wake("p1")
    for _ in range(desk.core.settings.boot_attempts - 1):
        time_out(desk)
        desk.core.back_off_over("p1")
    time_out(desk, cut=cut)
    assert desk.node("p1").is_quarantined
    desk.events.clear()


def test_it_is_booted_again_by_itself_and_then_quarantined() -> None:
    desk = Desk(1, retry_after_failure=10.0, quarantine=1000.0)
    one = desk.ask()
    assert desk.actions() == [Boot("p1")]
    assert time_out(desk) == [BackOff("p1", 10.0, True)]
    assert isinstance(one.error, BootTimeoutError)
    for seconds in (20.0, 1000.0):
        desk.core.back_off_over("p1")  # nobody waits any more
        assert desk.actions() == [Boot("p1")]
        assert desk.node("p1").state is PoolState.QUEUED
        assert time_out(desk) == [BackOff("p1", seconds, True)]
    node = desk.node("p1")
    assert (node.state, node.is_quarantined, node.failed_boots) == (PoolState.FAILED, True, 3)
    assert node.retry_at == desk.clock.now() + 1000.0
    assert desk.events == [
        BootStarted("p1", "lease"),
        BootFailed("p1", "no answer", 10.0),
        PoweredOff("p1", "failure", 120.0),
        BootStarted("p1", "retry"),
        BootFailed("p1", "no answer", 20.0),
        PoweredOff("p1", "failure", 120.0),
        BootStarted("p1", "retry"),
        BootFailed("p1", "no answer", 1000.0),
        Quarantined("p1", "no answer", 1000.0, ("Kernel panic",)),
        PoweredOff("p1", "failure", 120.0),
    ]
    with pytest.raises(NoNodeError, match="p1 is quarantined: no answer") as refused:
        desk.ask()
    assert refused.value.retry_after == 1000.0


def test_with_one_attempt_none_is_repeated() -> None:
    desk = Desk(1, boot_attempts=1, quarantine=1000.0)
    desk.ask()
    assert time_out(desk)[-1] == BackOff("p1", 1000.0, True)
    assert desk.node("p1").is_quarantined


def test_a_boot_that_works_is_the_first_one_again() -> None:
    desk = Desk(1, boot_attempts=2)
    desk.core.wake("p1")
    time_out(desk)
    desk.core.back_off_over("p1")
    desk.boot("p1", 20.0)
    assert (desk.node("p1").failed_boots, desk.core.boots) == (0, (20.0,))  # it counts as a boot
    assert desk.events[-1] == BootFinished("p1", 20.0, "retry")
    desk.core.lost("p1")
    desk.core.wake("p1")
    time_out(desk)
    assert not desk.node("p1").is_quarantined


def test_what_is_no_boot_that_timed_out_does_not_count_and_is_not_repeated() -> None:
    desk = Desk(1, boot_attempts=2)
    for _ in range(5):
        desk.core.wake("p1")
        desk.core.failed("p1", "the bus is busy", may_pass=True)
        desk.actions()
        desk.core.back_off_over("p1")
        assert (desk.actions(), desk.node("p1").state) == ([], PoolState.OFF)
    desk.up("p1")
    desk.core.health_check("p1")
    desk.core.failed("p1", "silent", timed_out=True)  # it was ready once since it got its power
    desk.actions()
    desk.core.powered_off("p1", "failure")
    desk.core.back_off_over("p1")
    assert (desk.actions(), desk.node("p1").failed_boots) == ([], 0)
    assert not desk.node("p1").is_quarantined


def test_a_boot_that_cannot_be_switched_on_ends_the_row_without_counting() -> None:
    desk = Desk(1, boot_attempts=3)
    desk.core.wake("p1")
    time_out(desk)
    desk.core.back_off_over("p1")
    desk.core.failed("p1", "the bus is busy", may_pass=True)
    desk.actions()
    desk.core.back_off_over("p1")
    assert (desk.actions(), desk.node("p1").failed_boots) == ([], 1)


def test_others_are_tried_before_one_that_is_booted_again() -> None:
    desk = Desk(2, maxconn=5)
    desk.core.wake("p1")
    time_out(desk)
    desk.core.back_off_over("p1")
    desk.core.powered("p1")
    one = desk.ask()
    assert one.node == "p2"
    desk.boot("p1")
    two = desk.ask()
    assert two.node == "p1"


def test_a_closed_pool_boots_none_again() -> None:
    desk = Desk(1)
    desk.core.wake("p1")
    time_out(desk)
    desk.core.closed = True
    desk.core.back_off_over("p1")
    assert (desk.actions(), desk.node("p1").state) == ([], PoolState.OFF)


def test_the_time_lets_it_out_for_one_boot() -> None:
    desk = Desk(1, boot_attempts=3)
    quarantined(desk)
    for _ in range(2):
        desk.clock.advance(desk.core.settings.quarantine)
        desk.core.back_off_over("p1")
        assert desk.actions() == [Boot("p1")]
        assert not desk.node("p1").is_quarantined
        time_out(desk)
        assert desk.node("p1").is_quarantined
    assert [type(event) for event in desk.events].count(Quarantined) == 2
    desk.clock.advance(desk.core.settings.quarantine)
    desk.core.back_off_over("p1")
    desk.boot("p1")
    assert desk.node("p1").failed_boots == 0


def test_without_end_only_a_person_lets_it_out() -> None:
    desk = Desk(1, boot_attempts=1, quarantine=math.inf)
    one = desk.ask()
    assert time_out(desk) == [Boot("p1"), BackOff("p1", math.inf, True)]
    assert one.error is not None
    assert one.error.retry_after is None
    with pytest.raises(NoNodeError, match="quarantined") as refused:
        desk.ask("p1")
    assert refused.value.retry_after is None
    assert desk.core.reinstate("p1")
    node = desk.node("p1")
    assert (node.state, node.is_quarantined, node.failed_boots, node.failures) == (PoolState.OFF, False, 0, 0)
    assert desk.actions() == []
    assert not desk.core.reinstate("p1")
    desk.ask()
    assert desk.actions() == [Boot("p1")]


def test_switched_on_by_hand_it_is_let_out_and_boots() -> None:
    desk = Desk(1, boot_attempts=2)
    quarantined(desk)
    assert desk.core.wake("p1")
    assert desk.actions() == [Boot("p1")]
    assert desk.events == [BootStarted("p1", "hand")]
    time_out(desk)
    assert not desk.node("p1").is_quarantined  # with as many attempts as any other
    assert not desk.core.reinstate("p1")
    assert not desk.core.wake("p1")


@pytest.mark.parametrize("works", [True, False])
@pytest.mark.parametrize("purpose", ["hand", "rest"])
def test_one_whose_power_is_just_being_cut_is_let_out_after_that(purpose: str, works: bool) -> None:
    desk = Desk(1, boot_attempts=2)
    quarantined(desk, cut=False)
    for _ in range(2):
        assert desk.core.wake("p1") if purpose == "hand" else desk.core.reinstate("p1")
        assert (desk.actions(), desk.node("p1").state) == ([], PoolState.FAILED)
    if works:
        desk.core.powered_off("p1", "failure")
        assert desk.actions() == ([Boot("p1")] if purpose == "hand" else [])
    else:
        desk.core.power_off_failed("p1", "the bus is busy")
        assert desk.actions() == [Check("p1")]
        assert isinstance(desk.events[0], PowerOffFailed)
    node = desk.node("p1")
    assert (node.is_quarantined, node.failed_boots, node.let_out_for) == (False, 0, "")
    desk.core.back_off_over("p1")  # of the one that is over
    assert desk.actions() == []


def test_one_that_somebody_else_switched_on_is_checked() -> None:
    desk = Desk(1, boot_attempts=1)
    quarantined(desk)
    desk.core.found_on("p1")
    assert desk.node("p1").state is PoolState.FAILED  # whoever looks for the trouble is not disturbed
    assert desk.core.wake("p1")
    assert desk.actions() == [Check("p1")]
    desk.core.ready("p1")
    assert desk.node("p1").state is PoolState.READY


def test_a_closed_pool_lets_none_out() -> None:
    desk = Desk(1, boot_attempts=1)
    quarantined(desk)
    desk.core.refuse_waiting()
    assert not desk.core.reinstate("p1")
    assert not desk.core.wake("p1")


def test_it_keeps_its_power_under_a_lease_and_loses_it_with_the_last() -> None:
    desk = Desk(1, boot_attempts=1, maxconn=2, quarantine=1000.0)
    desk.up("p1")
    leases = [desk.ask(), desk.ask()]
    desk.core.lost("p1")
    desk.core.wake("p1")
    assert time_out(desk, cut=False)[-1] == BackOff("p1", 1000.0, False)
    desk.core.release(leases[0])
    assert desk.actions() == []
    desk.clock.advance(400.0)
    desk.core.release(leases[1])
    assert desk.actions() == [BackOff("p1", 600.0, True)]


def test_a_power_cut_that_fails_is_tried_again_within_the_quarantine() -> None:
    desk = Desk(1, boot_attempts=1, quarantine=math.inf, retry_after_failure=10.0)
    quarantined(desk, cut=False)
    for seconds in (10.0, 20.0):
        desk.core.power_off_failed("p1", "the bus is busy")
        assert desk.events[-1] == PowerOffFailed("p1", "the bus is busy", seconds)
        assert desk.actions() == [BackOff("p1", seconds, False)]
        desk.clock.advance(seconds)
        desk.core.back_off_over("p1")
        assert desk.actions() == [BackOff("p1", math.inf, True)]
        assert desk.node("p1").is_quarantined
    desk.core.powered_off("p1", "failure")
    assert isinstance(desk.events[-1], PoweredOff)
    assert desk.actions() == []


# A whole pool -----------------------------------------------------------------------------------------------


def test_a_node_that_never_boots_is_power_cycled_so_often(house: House) -> None:
    async def work() -> None:
        house.world["p1"].fail(boots=False)
        async with house.pool(boot_timeout=4.0, retry_after_failure=2.0, quarantine=100.0) as pool:
            assert pool.wake("p1")
            await house.clock.pass_time(3 * 4.0 + 2.0 + 4.0)
            assert [name for _, name in house.told("on")] == ["p1"] * 3
            assert [name for _, name in house.told("off")] == ["p1"] * 3
            assert pool.nodes["p1"].is_quarantined
            assert house.world["p1"].phase == "off"
            quarantine = [event for event in house.events if isinstance(event, Quarantined)]
            assert [(e.node, e.retry_after, e.last_lines) for e in quarantine] == [("p1", 100.0, ())]
            user = User(house, pool)
            await house.clock.pass_time(50.0)
            assert user.lease.node == "p2"
            assert len(house.told("on")) == 4
            house.world["p1"].fail()
            await house.clock.pass_time(52.0)
            assert state(pool, "p1") is PoolState.READY
            user.leave()

    run(work)


def test_a_person_lets_it_out(house: House) -> None:
    async def work() -> None:
        for name in ("p1", "p2"):
            house.world[name].fail(boots=False)
        async with house.pool(boot_timeout=4.0, boot_attempts=1, quarantine=math.inf) as pool:
            pool.wake("p1")
            pool.wake("p2")
            await house.clock.pass_time(10_000.0)
            assert [pool.nodes[name].is_quarantined for name in ("p1", "p2")] == [True, True]
            for name in ("p1", "p2"):
                house.world[name].fail()
            assert pool.reinstate("p1")
            assert pool.wake("p2")
            assert not pool.reinstate("p1")
            await house.clock.pass_time(2 * BOOT_TIME)
            assert [state(pool, name) for name in ("p1", "p2")] == [PoolState.OFF, PoolState.READY]
            user = User(house, pool, "p1")
            await house.clock.pass_time(BOOT_TIME)
            assert user.granted_at is not None
            user.leave()

    run(work)


def test_one_that_is_let_out_while_its_power_is_cut_boots_after_that(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = house.hat.off

    async def slow_off(*names: str) -> None:
        await house.clock.asleep(5.0)  # as a halt takes
        await off(*names)

    async def work() -> None:
        house.world["p1"].fail(boots=False)
        monkeypatch.setattr(house.hat, "off", slow_off)
        async with house.pool(boot_timeout=4.0, boot_attempts=1) as pool:
            pool.wake("p1")
            await house.clock.pass_time(6.0)
            assert pool.nodes["p1"].is_quarantined
            assert house.world["p1"].powered
            house.world["p1"].fail()
            assert pool.wake("p1")
            await house.clock.pass_time(5.0)
            assert state(pool, "p1") is PoolState.READY
            assert [name for _, name in house.told("on")] == ["p1", "p1"]
            tasks = asyncio.all_tasks()
            await house.clock.pass_time(10_000.0)
            assert len(asyncio.all_tasks()) <= len(tasks)

    run(work)
