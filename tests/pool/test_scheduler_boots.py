"""Boots, and who gets which node, on a clock that is moved."""

from __future__ import annotations

import math

import pytest

from rpi_clusterhat.errors import (
    NodeNameError,
    NoNodeError,
    NotReadyError,
    QueueFullError,
)
from rpi_clusterhat.events import BootFinished, BootStarted, PoweredOff
from rpi_clusterhat.pool.actions import Boot
from rpi_clusterhat.pool.states import PoolState
from tests.pool.desk import Client, Desk

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
