"""The decisions of a pool, rule by rule, on a clock that is moved."""

from __future__ import annotations

import logging
import math
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import (
    BootError,
    BootTimeoutError,
    LeaseInUseError,
    NodeNameError,
    NoNodeError,
    NotReadyError,
    PoolClosedError,
    PoolError,
    QueueFullError,
    SettingError,
)
from rpi_clusterhat.events import BootFailed, BootFinished, BootStarted, PoolEvent, PoweredOff, PowerOffFailed
from rpi_clusterhat.pool.actions import BackOff, Boot, Check, CutPower, WatchIdle
from rpi_clusterhat.pool.queue import LeaseRequest
from rpi_clusterhat.pool.scheduler import Scheduler
from rpi_clusterhat.pool.settings import PoolSettings
from rpi_clusterhat.pool.states import PoolState
from rpi_clusterhat.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.pool.actions import Action
    from rpi_clusterhat.pool.pooled_node import PooledNode


class Client(LeaseRequest):
    """Counts its answers."""

    def __init__(self, wanted: str | None = None, **how: Any) -> None:
        exclude = how.pop("exclude", None)
        super().__init__(wanted, **how)
        self.exclude = exclude
        self.answers = 0

    def answered(self) -> None:
        self.answers += 1

    @property
    def node(self) -> str | None:
        return None if self.pooled_node is None else self.pooled_node.name


class Desk:
    """A scheduler, and what it has asked for and told."""

    def __init__(self, nodes: int = 2, **settings: Any) -> None:
        self.clock = FakeClock(0.0)
        changes: dict[str, Any] = {"balance": "first", "maxconn": 1, **settings}
        names = [f"p{i}" for i in range(1, nodes + 1)]
        self.core = Scheduler(names, PoolSettings(**changes), self.clock.now, random=Random(1))
        self.events: list[PoolEvent] = []
        self.core.subscribe(self.events.append)

    def node(self, name: str) -> PooledNode:
        return self.core.nodes[name]

    def actions(self) -> list[Action]:
        """Those that are new, but for the watching of idle times."""
        new: list[Action] = [action for action in self.core.actions if not isinstance(action, WatchIdle)]
        self.core.actions.clear()
        return new

    def arms(self) -> list[str]:
        new = [action.node for action in self.core.actions if isinstance(action, WatchIdle)]
        self.core.actions.clear()
        return new

    def ask(self, wanted: str | None = None, **how: Any) -> Client:
        client = Client(wanted, **how)
        self.core.ask(client)
        return client

    def boot(self, name: str, seconds: float = 0.0) -> None:
        self.core.powered(name)
        self.clock.advance(seconds)
        self.core.ready(name)

    def up(self, *names: str) -> None:
        """Switches nodes on by hand, and forgets what was asked and told on the way."""
        for name in names:
            assert self.core.wake(name)
            self.boot(name)
        self.core.actions.clear()
        self.events.clear()


# A boot -------------------------------------------------------------------------------------------------


def test_one_boot_for_all_who_wait_and_none_for_those_who_come_later() -> None:
    desk = Desk(maxconn=3)
    clients = [desk.ask() for _ in range(3)]
    assert desk.actions() == [Boot("p1")]
    assert [(c.node, c.answers) for c in clients] == [("p1", 0)] * 3
    assert (desk.core.waiting, desk.node("p1").in_flight, desk.node("p1").leases) == (3, 3, 0)
    desk.core.powered("p1")
    assert [c.answers for c in clients] == [0, 0, 0]
    desk.core.ready("p1")
    assert [c.answers for c in clients] == [1, 1, 1]
    assert (desk.core.waiting, desk.node("p1").leases) == (0, 3)
    desk.core.release(clients[0])
    late = Client()
    assert desk.core.ask(late)
    assert late.node == "p1"
    assert desk.actions() == []
    assert late.answers == 0  # it was told at once


def test_a_client_that_leaves_does_not_end_the_boot() -> None:
    desk = Desk()
    client = desk.ask()
    assert desk.actions() == [Boot("p1")]
    desk.core.release(client)
    desk.core.release(client)
    assert (desk.core.waiting, desk.node("p1").in_flight, desk.node("p1").state) == (0, 0, PoolState.QUEUED)
    desk.boot("p1")
    assert desk.node("p1").state is PoolState.READY
    assert client.answers == 0
    assert desk.arms() == ["p1"]


def test_what_is_told_and_counted_of_a_boot() -> None:
    desk = Desk(1, maxconn=2)
    desk.ask()
    desk.clock.advance(4.0)
    desk.core.powered("p1")
    desk.clock.advance(20.0)
    desk.core.ready("p1")
    member = desk.node("p1")
    assert (member.boots, member.last_boot, member.powered_since) == (1, 20.0, 4.0)
    assert desk.events == [BootStarted("p1", "lease"), BootFinished("p1", 24.0, "lease")]
    assert list(desk.core.boots) == [24.0]
    desk.clock.advance(6.0)
    assert member.powered_for(desk.clock.now()) == 26.0
    desk.core.lost("p1")
    desk.clock.advance(100.0)
    assert member.powered_for(desk.clock.now()) == 26.0
    assert desk.events[2:] == [PoweredOff("p1", "outside", 26.0)]
    desk.ask()
    desk.boot("p1", 8.0)
    assert (member.boots, member.last_boot, member.powered_for(desk.clock.now())) == (2, 8.0, 34.0)


def test_what_was_not_asked_for_changes_nothing() -> None:
    desk = Desk()
    for trigger in (desk.core.powered, desk.core.ready, desk.core.health_check, desk.core.back_off_over):
        trigger("p1")
    desk.core.failed("p1", "?")
    assert desk.node("p1").state is PoolState.OFF
    assert desk.actions() == []
    desk.up("p1")
    for trigger in (desk.core.powered, desk.core.ready, desk.core.found_on, desk.core.back_off_over):
        trigger("p1")
    desk.core.failed("p1", "?")
    assert desk.node("p1").state is PoolState.READY
    assert not desk.core.wake("p1")
    assert desk.actions() == []
    assert desk.events == []


def test_estimates_go_by_the_boots_seen() -> None:
    desk = Desk(boot_estimate=30.0, queue=1)
    assert desk.core.estimate() == 30.0
    desk.ask()
    desk.clock.advance(12.0)
    assert desk.core.estimate() == desk.core.estimate(desk.node("p1")) == 18.0
    assert desk.core.estimate(desk.node("p2")) == 30.0
    with pytest.raises(QueueFullError) as refused:
        desk.ask()
    assert refused.value.retry_after == 18.0
    desk.clock.advance(100.0)
    assert desk.core.estimate() == 0.0
    desk.boot("p1", 8.0)
    assert desk.core.estimate() == 120.0  # what it has seen
    for seconds in (1.0, 5.0, *[2.0] * 7):
        desk.core.wake("p2")
        desk.boot("p2", seconds)
        desk.core.lost("p2")
    assert desk.core.estimate() == 5.0  # the slowest of the last eight


# Who gets which -----------------------------------------------------------------------------------------


def test_a_full_node_makes_the_next_one_start_and_a_full_pool_makes_wait() -> None:
    desk = Desk()
    one, two, three, four = (desk.ask() for _ in range(4))
    assert desk.actions() == [Boot("p1"), Boot("p2")]
    assert [c.node for c in (one, two, three, four)] == ["p1", "p2", None, None]
    desk.boot("p2")
    assert (two.answers, three.answers) == (1, 0)
    desk.core.release(two)
    assert (three.node, three.answers) == ("p2", 1)
    desk.core.release(one)  # it leaves while it waits: its place goes to the next
    assert (four.node, four.answers) == ("p1", 0)
    desk.boot("p1")
    assert four.answers == 1
    assert desk.core.waiting == 0


def test_a_node_by_name_and_in_turn_with_those_who_take_any() -> None:
    desk = Desk()
    named = desk.ask("p2")
    assert desk.actions() == [Boot("p2")]
    desk.boot("p2")
    assert (named.node, named.answers) == ("p2", 1)
    desk.up("p1")
    desk.ask()
    first, second, third = desk.ask("p2"), desk.ask(), desk.ask("p2")
    assert first.node is None
    desk.core.release(named)
    assert [c.answers for c in (first, second, third)] == [1, 0, 0]
    desk.core.release(first)
    assert [c.answers for c in (first, second, third)] == [1, 1, 0]
    desk.core.release(second)
    assert third.answers == 1
    with pytest.raises(NodeNameError, match=r"'p9' is no node of this pool: it has p1, p2"):
        desk.ask("p9")


def test_one_who_leaves_any_queue_is_not_served() -> None:
    desk = Desk(1)
    desk.up("p1")
    holder, any_node, named = desk.ask(), desk.ask(), desk.ask("p1")
    assert desk.core.waiting == 2
    desk.core.release(any_node)
    desk.core.release(named)
    assert desk.core.waiting == 0
    desk.core.release(holder)
    assert desk.node("p1").in_flight == any_node.answers == named.answers == 0


def test_excluded_nodes_are_not_given() -> None:
    desk = Desk()
    desk.up("p1", "p2")
    assert desk.ask(exclude={"p1"}).node == "p2"
    waits = desk.ask(exclude={"p1"})
    assert waits.node is None
    one = desk.ask()
    assert one.node == "p1"
    desk.core.release(one)
    assert waits.answers == 0
    for wanted, exclude in ((None, {"p1", "p2"}), ("p1", {"p1"})):
        with pytest.raises(NoNodeError) as refused:
            desk.ask(wanted, exclude=exclude)
        assert refused.value.retry_after == 0.0


def test_passive_claims_wake_nothing_wait_for_nothing_and_are_no_activity() -> None:
    desk = Desk(boot_estimate=7.0, idle_timeout=100.0, min_on_time=0.0)
    for wanted in (None, "p1"):
        with pytest.raises(NotReadyError, match="no node is ready") as refused:
            desk.ask(wanted, passive=True)
        assert refused.value.retry_after == 7.0
    assert desk.actions() == []
    desk.up("p2")
    desk.clock.advance(50.0)
    passive = desk.ask(passive=True)
    assert passive.node == "p2"
    assert desk.core.due_at("p2") == math.inf  # and yet it is not cut off
    with pytest.raises(NotReadyError):
        desk.ask(passive=True)  # full
    desk.core.release(passive)
    assert desk.core.due_at("p2") == 100.0
    assert desk.node("p2").last_used == -math.inf


def test_keys_are_for_hash() -> None:
    desk = Desk(4, balance="hash", maxconn=100)
    by_key = {key: desk.ask(key=key).node for key in "abcdefgh"}
    assert {key: desk.ask(key=key).node for key in "abcdefgh"} == by_key
    assert len(set(by_key.values())) > 1


def test_beyond_the_queue_is_refused_at_once() -> None:
    desk = Desk(queue=2, maxconn=10)
    one, _ = desk.ask(), desk.ask()
    with pytest.raises(QueueFullError, match="2 wait for a node already, and no more may"):
        desk.ask()
    with pytest.raises(QueueFullError):
        desk.ask("p2")
    assert desk.actions() == [Boot("p1")]
    desk.core.release(one)
    desk.ask()
    desk.boot("p1")
    desk.ask()  # needs not wait
    assert desk.core.waiting == 0
    none = Desk(queue=0)
    with pytest.raises(QueueFullError):
        none.ask()
    assert none.actions() == []
    none.up("p1")
    assert none.ask().node == "p1"


# Failures -----------------------------------------------------------------------------------------------


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
    assert desk.actions() == [CutPower("p1", "idle")]
    desk.core.powered_off("p1", "idle")
    assert desk.actions() == [Boot("p1")]
    desk.boot("p1")
    assert late.answers == 1


def test_a_node_that_cannot_be_switched_off_is_checked_and_serves_on() -> None:
    desk = Desk(1, idle_timeout=10.0, min_on_time=0.0)
    desk.up("p1")
    assert desk.core.power_off("p1")
    late = desk.ask()
    desk.core.power_off_failed("p1", "stuck")
    assert desk.actions() == [CutPower("p1", "hand"), Check("p1")]
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


# Misuse -------------------------------------------------------------------------------------------------


def test_a_second_ask_raises_and_changes_nothing() -> None:
    desk = Desk(1, maxconn=2)
    waits = desk.ask()
    queued = [desk.ask() for _ in range(2)][-1]
    for client in (waits, queued):
        before = (desk.core.waiting, desk.node("p1").in_flight, client.node, client.number)
        with pytest.raises(LeaseInUseError, match="release it, or take another lease"):
            desk.core.ask(client)
        assert (desk.core.waiting, desk.node("p1").in_flight, client.node, client.number) == before
    desk.boot("p1")
    with pytest.raises(LeaseInUseError):
        desk.core.ask(waits)
    assert (waits.answers, desk.node("p1").leases, desk.core.waiting) == (1, 2, 1)
    desk.core.release(waits)
    assert (queued.answers, desk.node("p1").leases, desk.core.waiting) == (1, 2, 0)
    desk.core.release(queued)
    assert desk.core.ask(queued)  # after a release it may be asked again
    assert desk.node("p1").leases == 2


def test_one_that_was_refused_may_ask_again() -> None:
    desk = Desk(queue=0)
    client = Client()
    for _ in range(2):
        with pytest.raises(QueueFullError):
            desk.core.ask(client)
    desk.up("p1")
    assert desk.core.ask(client)


def test_names_that_are_none() -> None:
    desk = Desk()
    for call in (desk.core.wake, desk.core.power_off, desk.core.due_at):
        with pytest.raises(NodeNameError, match=r"'p9' is no node of this pool: it has p1, p2"):
            call("p9")
    assert desk.actions() == []


def test_a_subscriber_that_raises_disturbs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(1)

    def fail(_: PoolEvent) -> None:
        raise ZeroDivisionError("a subscriber's mistake")

    late: list[PoolEvent] = []
    unsubscribe = desk.core.subscribe(fail)
    desk.core.subscribe(late.append)
    with caplog.at_level(logging.CRITICAL + 1, "rpi_clusterhat"):
        client = desk.ask()
        desk.boot("p1")
    assert (client.answers, desk.node("p1").state) == (1, PoolState.READY)
    assert late == desk.events == [BootStarted("p1", "lease"), BootFinished("p1", 0.0, "lease")]
    with caplog.at_level(logging.ERROR, "rpi_clusterhat"):
        desk.core.lost("p1")
    assert "a subscriber failed on PoweredOff(node='p1'" in caplog.text
    unsubscribe()
    unsubscribe()
    caplog.clear()
    desk.core.wake("p1")
    assert caplog.text == ""


# The end ------------------------------------------------------------------------------------------------


def test_closing_tells_all_who_wait() -> None:
    desk = Desk()
    waiting = [desk.ask(), desk.ask("p1"), desk.ask(), desk.ask()]
    desk.core.refuse_waiting()
    for client in waiting:
        assert client.answers == 1
        assert isinstance(client.error, PoolClosedError)
        desk.core.release(client)
    assert desk.core.waiting == 0
    with pytest.raises(PoolClosedError) as refused:
        desk.ask()
    assert refused.value.retry_after is None
    assert not desk.core.wake("p2")


def test_a_claim_without_an_ending_of_its_own_is_only_kept() -> None:
    desk = Desk()
    claim = LeaseRequest()
    assert not desk.core.ask(claim)
    desk.boot("p1")
    assert claim.pooled_node is desk.node("p1")
    assert repr(desk.node("p1")) == "<PooledNode p1 ready leases=1 assigned=0>"


# Settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"maxconn": 0}, "Invalid value for maxconn: 0: expected a whole number from 1 to 1000000"),
        ({"maxconn": 1.5}, "Invalid value for maxconn: 1.5: expected a whole number from 1 to 1000000"),
        ({"maxconn": True}, "Invalid value for maxconn: True: expected a whole number from 1 to 1000000"),
        ({"queue": -1}, "Invalid value for queue: -1: expected a whole number from 0 to 1000000"),
        ({"queue": "9"}, "Invalid value for queue: '9': expected a whole number from 0 to 1000000"),
        ({"queue_timeout": 0}, "Invalid value for queue_timeout: 0: expected seconds, above 0"),
        ({"boot_timeout": math.inf}, "Invalid value for boot_timeout: inf: expected seconds, above 0"),
        ({"boot_timeout": "x"}, "Invalid value for boot_timeout: 'x': expected seconds, above 0"),
        ({"redispatch": 3}, "Invalid value for redispatch: 3: expected True or False"),
        ({"probe_interval": math.nan}, "Invalid value for probe_interval: nan: expected seconds, above 0"),
        ({"ready_after": -1.0}, "Invalid value for ready_after: -1.0: expected seconds, 0 or more"),
        (
            {"retry_after_failure": True},
            "Invalid value for retry_after_failure: True: expected seconds, 0 or more",
        ),
        ({"boot_estimate": None}, "Invalid value for boot_estimate: None: expected seconds, 0 or more"),
        (
            {"balance": "best"},
            "Invalid value for balance: 'best': expected one of random, roundrobin, leastconn, first, hash",
        ),
        (
            {"idle_timeout": -1},
            "Invalid value for idle_timeout: -1: expected seconds, a number from 0 to 1e+12 or inf",
        ),
        (
            {"min_on_time": math.inf},
            "Invalid value for min_on_time: inf: expected seconds, a number from 0 to 1e+12",
        ),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingError) as wrong:
        Scheduler(["p1"], PoolSettings(**changes), FakeClock().now)
    assert str(wrong.value) == text


def test_the_smallest_and_the_default_settings_are_taken() -> None:
    least: dict[str, Any] = {
        "queue": 0,
        "maxconn": 1,
        "ready_after": 0,
        "retry_after_failure": 0,
        "idle_timeout": 0,
    }
    assert PoolSettings(**least).replaced(**least) == PoolSettings(**least)
    assert (PoolSettings().balance, PoolSettings().idle_timeout) == ("random", 600.0)


def test_every_refusal_is_a_pool_error() -> None:
    refusals: list[Callable[[], object]] = [
        lambda: Desk(queue=0).ask(),
        lambda: Desk().ask(passive=True),
        lambda: Desk().ask(exclude={"p1", "p2"}),
    ]
    for refusal in refusals:
        with pytest.raises(PoolError):
            refusal()
