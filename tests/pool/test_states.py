"""A pooled node's transition table, cell by cell, against one that is written out here by hand; and that
something reaches each row of it."""

from __future__ import annotations

import copy
from random import Random
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.errors import PoolError, TransitionError
from rpi_clusterhat.pool.pooled_node import PooledNode
from rpi_clusterhat.pool.queue import LeaseRequest
from rpi_clusterhat.pool.scheduler import Scheduler
from rpi_clusterhat.pool.settings import PoolSettings
from rpi_clusterhat.pool.states import TABLE, PoolState, PoolTrigger, after, is_starting
from rpi_clusterhat.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = "BOOT POWER ANSWER FAIL CHECK STOP CUT RETRY FOUND_ON LOST"
EXPECTED = """
OFF       QUEUED -       -     -      -        -        OFF    -    CHECKING OFF
QUEUED    -      BOOTING -     FAILED -        -        OFF    -    QUEUED   QUEUED
BOOTING   -      -       READY FAILED -        -        OFF    -    BOOTING  OFF
CHECKING  -      -       READY FAILED -        -        OFF    -    CHECKING OFF
READY     -      -       -     -      CHECKING STOPPING OFF    -    READY    OFF
STOPPING  -      -       -     -      CHECKING -        OFF    -    STOPPING STOPPING
FAILED    -      -       -     -      CHECKING -        FAILED OFF  FAILED   FAILED
"""
CELLS = [
    (PoolState[row[0]], PoolTrigger[column], None if cell == "-" else PoolState[cell])
    for row in (line.split() for line in EXPECTED.strip().splitlines())
    for column, cell in zip(COLUMNS.split(), row[1:], strict=True)
]
ROWS = {(state, trigger) for state, trigger, target in CELLS if target is not None}


def test_the_expectation_is_complete() -> None:
    assert {(state, trigger) for state, trigger, _ in CELLS} == {
        (s, t) for s in PoolState for t in PoolTrigger
    }
    assert len(CELLS) == len(PoolState) * len(PoolTrigger)


@pytest.mark.parametrize(("state", "trigger", "expected"), CELLS)
def test_each_cell(state: PoolState, trigger: PoolTrigger, expected: PoolState | None) -> None:
    node = PooledNode("p1")
    node.state = state
    before = copy.deepcopy(TABLE)
    if expected is not None:
        assert after(state, trigger) is expected
        node.move(trigger)
        assert node.state is expected
    else:
        with pytest.raises(TransitionError) as caught:
            node.move(trigger)
        assert node.state is state
        assert f"{trigger!s} is not allowed for a node of a pool that is {state!s}: only" in str(caught.value)
        assert all(str(allowed) in str(caught.value) for allowed in TABLE[state])
    assert before == TABLE


def test_what_is_on_its_way_to_be_ready() -> None:
    assert {state for state in PoolState if is_starting(state)} == {
        PoolState.QUEUED,
        PoolState.BOOTING,
        PoolState.CHECKING,
    }


def test_an_answer_makes_ready_and_what_was_lost_is_never_ready() -> None:
    for state in PoolState:
        row = TABLE[state]
        assert row.get(PoolTrigger.ANSWER, PoolState.READY) is PoolState.READY
        assert row[PoolTrigger.LOST] not in (PoolState.READY, PoolState.CHECKING, PoolState.BOOTING)
        assert row[PoolTrigger.CUT] in (PoolState.OFF, PoolState.FAILED)


class Walk:
    """A pool to which anything happens, at random, by what its users and its driver may call."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.clock = FakeClock(0.0)
        settings = PoolSettings("first", maxconn=2, idle_timeout=10.0, min_on_time=0.0)
        self.pool = Scheduler(["p1", "p2"], settings, self.clock.now, random=random)
        self.leases: list[LeaseRequest] = []

    def step(self) -> None:
        name = self.random.choice(["p1", "p2"])
        pool = self.pool
        calls: list[Callable[[], object]] = [
            self.ask,
            self.leave,
            lambda: pool.wake(name),
            lambda: pool.power_off(name),
            lambda: pool.powered(name),
            lambda: pool.ready(name),
            lambda: pool.health_check(name),
            lambda: pool.failed(name, "?"),
            lambda: pool.back_off_over(name),
            lambda: pool.check_idle(name),
            lambda: pool.powered_off(name, "idle"),
            lambda: pool.power_off_failed(name, "?"),
            lambda: pool.found_on(name),
            lambda: pool.lost(name),
            lambda: self.clock.advance(20.0),
        ]
        self.random.choice(calls)()
        pool.actions.clear()

    def ask(self) -> None:
        lease = LeaseRequest()
        try:
            self.pool.ask(lease)
        except PoolError:
            return
        self.leases.append(lease)

    def leave(self) -> None:
        if self.leases:
            self.pool.release(self.leases.pop(self.random.randrange(len(self.leases))))


def test_something_reaches_every_row_and_nothing_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: set[tuple[PoolState, PoolTrigger]] = set()
    move = PooledNode.move

    def noted(node: PooledNode, trigger: PoolTrigger) -> None:
        before = node.state
        move(node, trigger)  # raises where the table has no such row
        reached.add((before, trigger))

    monkeypatch.setattr(PooledNode, "move", noted)
    for seed in range(20):
        walk = Walk(Random(seed))
        for _ in range(2000):
            walk.step()
    assert reached == ROWS
