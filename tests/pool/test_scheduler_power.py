"""When nodes go off, and what others switch."""

from __future__ import annotations

import math

from rpi_clusterhat.events import BootFinished, BootStarted, PoweredOff, PowerOffFailed
from rpi_clusterhat.pool.actions import BackOff, Boot, CallOff, Check, CutPower
from rpi_clusterhat.pool.states import PoolState
from tests.pool.desk import Desk

# Going off ----------------------------------------------------------------------------------------------


def test_a_node_goes_off_when_nothing_has_happened_for_long_enough() -> None:
    desk = Desk(1, idle_timeout=100.0, min_on_time=0.0)
    client = desk.ask()
    desk.boot("p1")
    assert desk.arms() == []
    assert desk.core.due_at("p1") == math.inf
    desk.clock.advance(500.0)
    desk.core.release(client)
    assert desk.arms() == ["p1"]
    assert desk.core.due_at("p1") == 600.0
    desk.clock.advance(99.0)
    assert desk.core.check_idle("p1")
    desk.core.active("p1")  # a byte
    desk.clock.advance(1.0)
    assert desk.core.check_idle("p1")
    assert desk.core.due_at("p1") == 699.0
    desk.clock.advance(99.0)
    assert not desk.core.check_idle("p1")
    assert desk.actions() == [CutPower("p1", "idle")]
    assert desk.node("p1").state is PoolState.STOPPING
    assert desk.core.due_at("p1") == math.inf
    assert not desk.core.check_idle("p1")
    desk.core.powered_off("p1", "idle")
    assert desk.node("p1").state is PoolState.OFF
    assert desk.events[-1] == PoweredOff("p1", "idle", 699.0)


def test_the_idle_time_is_looked_at_by_one_and_only_while_nothing_is_in_flight() -> None:
    desk = Desk(1, maxconn=2)
    desk.up("p1")
    assert desk.node("p1").is_watched
    one, two = desk.ask(), desk.ask()
    desk.core.release(one)
    desk.core.release(two)
    assert desk.arms() == []  # who was asked at the boot still looks
    three = desk.ask()
    assert not desk.core.check_idle("p1")  # who looks, gives up
    assert not desk.node("p1").is_watched
    desk.core.release(three)
    assert desk.arms() == ["p1"]


def test_a_check_does_not_make_two_look_at_an_idle_time() -> None:
    desk = Desk(1)
    client = desk.ask()
    desk.boot("p1")
    desk.core.release(client)
    assert desk.arms() == ["p1"]
    desk.core.health_check("p1")
    desk.core.ready("p1")
    assert desk.arms() == []


def test_never() -> None:
    desk = Desk(1, idle_timeout=math.inf)
    client = desk.ask()
    desk.boot("p1")
    desk.core.release(client)
    assert desk.arms() == []
    assert desk.core.due_at("p1") == math.inf


def test_a_node_that_was_switched_on_stays_on_for_the_least_time() -> None:
    desk = Desk(1, idle_timeout=10.0, min_on_time=60.0)
    client = desk.ask()
    desk.boot("p1", 20.0)
    desk.core.release(client)
    assert desk.core.due_at("p1") == 60.0
    desk.clock.advance(39.0)
    assert desk.core.check_idle("p1")
    desk.clock.advance(1.0)
    assert not desk.core.check_idle("p1")


def test_a_lease_that_comes_too_late_waits_for_the_off_and_starts_the_node_again() -> None:
    desk = Desk(1, idle_timeout=10.0, min_on_time=0.0)
    desk.up("p1")
    desk.clock.advance(10.0)
    desk.core.check_idle("p1")
    late = desk.ask()
    assert (late.node, late.answers) == ("p1", 0)
    assert desk.actions() == [CutPower("p1", "idle"), CallOff("p1")]
    desk.core.powered_off("p1", "idle")
    assert desk.actions() == [Boot("p1")]
    desk.boot("p1")
    assert late.answers == 1


def test_a_node_whose_halt_was_called_off_is_checked_and_serves_on() -> None:
    desk = Desk(1, idle_timeout=10.0, min_on_time=0.0)
    desk.up("p1")
    desk.clock.advance(10.0)
    desk.core.check_idle("p1")
    late = desk.ask()
    desk.actions()
    desk.clock.advance(1.0)
    desk.core.called_off("p1")
    assert desk.actions() == [Check("p1")]
    desk.core.ready("p1")
    assert (late.node, late.answers, late.error) == ("p1", 1, None)
    desk.core.release(late)
    assert desk.core.due_at("p1") == 21.0
    desk.core.called_off("p1")  # it says so too late
    assert desk.node("p1").state is PoolState.READY


def test_other_nodes_are_taken_before_one_that_goes_off() -> None:
    desk = Desk(2, maxconn=5)
    desk.up("p1")
    assert desk.core.power_off("p1")
    assert desk.ask().node == "p2"
    assert desk.actions() == [CutPower("p1", "hand"), Boot("p2")]
    assert desk.ask("p1").node == "p1"
    assert desk.actions() == [CallOff("p1")]


def test_a_node_that_cannot_be_switched_off_is_checked_and_serves_on() -> None:
    desk = Desk(1, idle_timeout=10.0, min_on_time=0.0)
    desk.up("p1")
    assert desk.core.power_off("p1")
    late = desk.ask()
    desk.core.power_off_failed("p1", "stuck")
    assert desk.actions() == [CutPower("p1", "hand"), CallOff("p1"), Check("p1")]
    assert desk.events == [PowerOffFailed("p1", "stuck", 30.0), BootStarted("p1", "check")]
    member = desk.node("p1")
    assert (member.state, member.failures, member.failure) == (PoolState.CHECKING, 0, None)
    assert late.answers == 0
    desk.core.ready("p1")
    assert (late.node, late.answers, late.error) == ("p1", 1, None)
    assert member.powered_since == 0.0


def test_a_power_off_that_failed_is_tried_again_when_the_node_is_idle_and_a_back_off_is_over() -> None:
    desk = Desk(1, idle_timeout=10.0, min_on_time=0.0)
    desk.up("p1")
    waits = [30.0, 60.0, 120.0, 240.0, 480.0, 480.0]
    desk.clock.advance(10.0)
    for seconds in waits:
        assert not desk.core.check_idle("p1")
        assert desk.actions() == [CutPower("p1", "idle")]
        desk.core.power_off_failed("p1", "stuck")
        assert desk.events[-2] == PowerOffFailed("p1", "stuck", seconds)
        desk.core.ready("p1")
        assert desk.core.due_at("p1") == desk.clock.now() + seconds
        desk.clock.advance(seconds - 1.0)
        assert desk.core.check_idle("p1")
        desk.clock.advance(1.0)
        desk.actions()
    assert desk.core.power_off("p1")
    desk.core.powered_off("p1", "hand")
    member = desk.node("p1")
    assert (member.state, member.power_off_failures) == (PoolState.OFF, 0)
    desk.up("p1")
    assert desk.core.due_at("p1") == desk.clock.now() + 10.0


def test_a_power_off_by_hand_waits_for_no_back_off_and_a_busy_bus_makes_it_short() -> None:
    desk = Desk(1)
    desk.up("p1")
    for _ in range(2):
        assert desk.core.power_off("p1")
        desk.core.power_off_failed("p1", "busy", may_pass=True)
        desk.core.ready("p1")
    told = [event for event in desk.events if isinstance(event, PowerOffFailed)]
    assert [event.retry_after for event in told] == [1.0, 2.0]


def test_a_failed_node_whose_power_cannot_be_cut_is_checked_after_its_back_off() -> None:
    desk = Desk(1)
    desk.ask("p1")
    desk.core.failed("p1", "no answer")
    assert desk.actions() == [Boot("p1"), BackOff("p1", 30.0, True)]
    desk.core.power_off_failed("p1", "stuck")
    assert desk.events[-1] == PowerOffFailed("p1", "stuck", 30.0)
    assert (desk.node("p1").state, desk.node("p1").failures) == (PoolState.FAILED, 1)
    desk.core.back_off_over("p1")
    assert desk.actions() == [Check("p1")]
    desk.core.lost("p1")
    assert (desk.node("p1").state, desk.node("p1").power_off_failures) == (PoolState.OFF, 0)


def test_a_power_off_fails_only_where_one_was_tried() -> None:
    desk = Desk(1)
    desk.core.power_off_failed("p1", "?")
    desk.up("p1")
    desk.core.power_off_failed("p1", "?")
    assert desk.events == []
    assert desk.node("p1").state is PoolState.READY


def test_by_hand() -> None:
    desk = Desk()
    assert desk.core.wake("p1")
    assert not desk.core.wake("p1")
    assert not desk.core.power_off("p1")
    assert desk.actions() == [Boot("p1")]
    desk.boot("p1", 3.0)
    assert desk.events == [BootStarted("p1", "hand"), BootFinished("p1", 3.0, "hand")]
    client = desk.ask()
    assert not desk.core.power_off("p1")
    desk.core.release(client)
    assert desk.core.power_off("p1")
    assert not desk.core.power_off("p1")
    desk.core.powered_off("p1", "hand")
    assert desk.events[-1] == PoweredOff("p1", "hand", 3.0)
    assert not desk.core.power_off("p2")


# What others switch -------------------------------------------------------------------------------------


def test_a_node_found_with_power_is_taken_over_and_is_active() -> None:
    desk = Desk(idle_timeout=100.0)
    desk.clock.advance(5.0)
    desk.core.found_on("p1")
    desk.core.found_on("p1")
    assert desk.actions() == [Check("p1")]
    waits = desk.ask()
    assert (waits.node, desk.actions()) == ("p1", [])
    desk.clock.advance(2.0)
    desk.core.ready("p1")
    assert waits.answers == 1
    member = desk.node("p1")
    assert (member.boots, member.last_boot, list(desk.core.boots)) == (0, None, [])
    assert member.powered_since == 5.0
    assert desk.events == [BootStarted("p1", "outside"), BootFinished("p1", 2.0, "outside")]


def test_a_node_lost_with_leases_on_it_starts_again_for_those_who_wait() -> None:
    desk = Desk(1, maxconn=2)
    desk.up("p1")
    held = desk.ask()
    desk.core.lost("p1")
    assert (desk.node("p1").state, desk.node("p1").leases) == (PoolState.OFF, 1)
    assert desk.actions() == []  # nobody asked since
    waits = desk.ask()
    assert desk.actions() == [Boot("p1")]
    desk.core.powered("p1")
    desk.core.lost("p1")
    assert desk.actions() == [Boot("p1")]  # still somebody waits
    desk.boot("p1")
    assert waits.answers == 1
    desk.core.release(held)
    assert desk.node("p1").leases == 1


def test_what_others_switch_while_the_pool_is_at_work_on_a_node_changes_nothing_of_that() -> None:
    desk = Desk(1, idle_timeout=10.0, min_on_time=0.0)
    client = desk.ask()
    desk.core.found_on("p1")  # while it waits for the rail
    assert desk.node("p1").state is PoolState.QUEUED
    desk.core.powered("p1")
    assert desk.node("p1").boots == 0  # it was not this pool's doing
    desk.core.ready("p1")
    desk.core.lost("p1")
    desk.core.release(client)
    desk.up("p1")
    assert desk.core.power_off("p1")
    desk.core.lost("p1")
    desk.core.found_on("p1")
    assert desk.node("p1").state is PoolState.STOPPING
    desk.core.powered_off("p1", "hand")
    desk.core.lost("p1")
    assert desk.node("p1").state is PoolState.OFF
    assert [event.reason for event in desk.events if isinstance(event, PoweredOff)] == ["outside", "hand"]


def test_a_failed_node_stays_so_whatever_others_switch_and_is_checked_where_it_has_power_then() -> None:
    desk = Desk(1)
    desk.ask("p1")
    desk.core.failed("p1", "no answer")
    desk.core.powered_off("p1", "failure")
    desk.core.found_on("p1")
    assert desk.node("p1").state is PoolState.FAILED
    desk.actions()
    desk.core.back_off_over("p1")
    assert desk.actions() == [Check("p1")]
    desk.core.failed("p1", "no answer")
    desk.core.lost("p1")
    assert desk.node("p1").state is PoolState.FAILED
    desk.core.back_off_over("p1")
    assert desk.node("p1").state is PoolState.OFF
