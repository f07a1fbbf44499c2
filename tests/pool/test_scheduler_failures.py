"""What a scheduler does when a node fails."""

from __future__ import annotations

import pytest

from rpi_clusterhat.errors import (
    BootError,
    BootTimeoutError,
    NoNodeError,
)
from rpi_clusterhat.events import BootFailed, BootFinished, BootStarted, PoweredOff
from rpi_clusterhat.pool.actions import BackOff, Boot, Check
from rpi_clusterhat.pool.states import PoolState
from tests.pool.desk import Desk


def test_those_who_waited_go_on_to_another_node() -> None:
    desk = Desk(maxconn=2)
    desk.up("p2")
    desk.core.lost("p2")
    desk.events.clear()
    one, two = desk.ask(), desk.ask()
    assert (one.node, two.node) == ("p1", "p1")
    desk.actions()
    desk.core.failed("p1", "no answer")
    assert desk.actions() == [BackOff("p1", 30.0, True), Boot("p2")]
    assert [(c.node, c.answers) for c in (one, two)] == [("p2", 0)] * 2
    assert desk.core.waiting == 2
    assert desk.events[1:] == [BootFailed("p1", "no answer", 30.0), BootStarted("p2", "lease")]
    desk.boot("p2")
    assert [c.answers for c in (one, two)] == [1, 1]
    assert (desk.node("p1").failure, desk.node("p1").retry_at) == ("no answer", 30.0)


def test_one_that_is_ready_takes_them_over_at_once() -> None:
    desk = Desk()
    desk.up("p2")
    held = desk.ask()
    one = desk.ask()
    desk.core.release(held)
    assert one.answers == 0
    desk.core.failed("p1", "no answer")
    assert (one.node, one.answers) == ("p2", 1)


def test_where_no_other_is_left_the_failure_is_told() -> None:
    desk = Desk()
    one = desk.ask()
    desk.core.failed("p1", "no answer")
    desk.core.failed("p2", "burnt")
    assert one.answers == 1
    assert isinstance(one.error, BootError)
    assert (str(one.error), one.error.retry_after) == ("p2: burnt", 30.0)
    desk.clock.advance(10.0)
    with pytest.raises(NoNodeError, match="no node can be used now: p1: no answer") as refused:
        desk.ask()
    assert refused.value.retry_after == 20.0
    with pytest.raises(NoNodeError, match="p2: burnt"):
        desk.ask("p2")
    assert desk.core.waiting == 0


def test_without_redispatch_the_failure_is_told_at_once() -> None:
    desk = Desk(redispatch=False)
    one = desk.ask()
    desk.core.failed("p1", "no answer")
    assert (one.answers, str(one.error)) == (1, "p1: no answer")
    assert desk.node("p2").state is PoolState.OFF


def test_who_wants_this_very_node_is_told_even_while_waiting_for_a_place() -> None:
    desk = Desk()
    first, second = desk.ask("p1"), desk.ask("p1")
    desk.core.failed("p1", "no answer")
    for one in (first, second):
        assert (one.answers, str(one.error)) == (1, "p1: no answer")
    assert desk.core.waiting == 0


def test_who_waits_for_a_place_is_told_when_all_that_it_may_use_have_failed() -> None:
    desk = Desk(3)
    desk.up("p3")
    for name in ("p1", "p2", "p3"):
        desk.ask(name)
    picky, easy = desk.ask(exclude={"p3"}), desk.ask()
    assert (picky.node, easy.node) == (None, None)
    desk.core.failed("p1", "no answer")
    assert (picky.answers, easy.answers) == (0, 0)
    desk.core.failed("p2", "burnt")
    assert (picky.answers, str(picky.error)) == (1, "p2: burnt")
    assert easy.answers == 0
    assert desk.core.waiting == 1


def test_the_back_off_doubles_to_sixteen_times_and_ends_with_a_boot_that_works() -> None:
    desk = Desk(1, retry_after_failure=10.0)
    seen: list[float] = []
    for _ in range(7):
        desk.ask()
        desk.core.failed("p1", "no answer")
        _boot, recover = desk.actions()
        assert isinstance(recover, BackOff)
        seen.append(recover.seconds)
        assert not desk.core.wake("p1")
        desk.clock.advance(recover.seconds)
        desk.core.back_off_over("p1")
        assert (desk.node("p1").state, desk.node("p1").retry_at) == (PoolState.OFF, None)
    assert seen == [10.0, 20.0, 40.0, 80.0, 160.0, 160.0, 160.0]
    desk.ask()
    desk.boot("p1")
    assert (desk.node("p1").failure, desk.node("p1").failures) == (None, 0)
    desk.core.health_check("p1")
    desk.core.failed("p1", "no answer")
    assert desk.actions()[-1] == BackOff("p1", 10.0, False)  # a lease is on it


def test_what_may_pass_is_tried_again_soon() -> None:
    desk = Desk(1)
    one = desk.ask("p1")
    desk.core.failed("p1", "the bus is busy", may_pass=True)
    assert isinstance(one.error, BootError)
    assert not isinstance(one.error, TimeoutError)
    assert one.error.retry_after == 1.0
    assert desk.actions()[-1] == BackOff("p1", 1.0, True)
    desk.core.back_off_over("p1")
    two = desk.ask("p1")
    desk.core.failed("p1", "no answer", timed_out=True)
    assert isinstance(two.error, BootTimeoutError)
    assert isinstance(two.error, TimeoutError)


def test_a_failed_node_that_is_used_keeps_its_power_and_is_looked_at_again() -> None:
    desk = Desk(1)
    desk.up("p1")
    lease = desk.ask()
    desk.core.health_check("p1")
    assert desk.actions() == [Check("p1")]
    desk.core.failed("p1", "silent")
    assert desk.actions() == [BackOff("p1", 30.0, False)]
    desk.core.release(lease)
    assert desk.node("p1").state is PoolState.FAILED
    desk.core.back_off_over("p1")
    assert desk.actions() == [Check("p1")]
    assert desk.node("p1").state is PoolState.CHECKING
    desk.core.failed("p1", "silent")
    assert desk.actions() == [BackOff("p1", 60.0, True)]
    desk.core.powered_off("p1", "failure")
    assert desk.events[-1] == PoweredOff("p1", "failure", 0.0)
    desk.core.back_off_over("p1")
    assert (desk.node("p1").state, desk.actions()) == (PoolState.OFF, [])


def test_a_node_whose_quarantine_ends_serves_those_who_still_wait() -> None:
    desk = Desk()
    desk.up("p2")
    held = desk.ask("p2")
    gone = desk.ask("p1")
    desk.core.failed("p1", "no answer")
    assert gone.answers == 1
    desk.actions()
    waits = desk.ask()
    assert (waits.node, held.node) == (None, "p2")
    desk.core.powered_off("p1", "failure")
    desk.core.back_off_over("p1")
    assert desk.actions() == [Boot("p1")]
    desk.boot("p1")
    assert (waits.node, waits.answers) == ("p1", 1)


def test_a_suspect_gets_no_lease_until_it_has_been_looked_at() -> None:
    desk = Desk(1, maxconn=5)
    desk.up("p1")
    held = desk.ask()
    desk.core.health_check("p1")
    desk.core.health_check("p1")
    late = desk.ask()
    assert desk.actions() == [Check("p1")]
    assert (late.answers, held.node) == (0, "p1")
    desk.core.ready("p1")
    assert late.answers == 1
    assert (desk.node("p1").boots, list(desk.core.boots)) == (1, [0.0])  # a look is no boot
    assert desk.events == [BootStarted("p1", "check"), BootFinished("p1", 0.0, "check")]
