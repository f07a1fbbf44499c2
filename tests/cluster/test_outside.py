"""What others do, what fails, and what is told of it."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import (
    BackendError,
    NodeFailedError,
    State,
    StateChanged,
    TransientBusError,
    WaitingForRail,
)
from rpi_clusterhat.testing import FakeExpander
from tests.cluster.looking import ALERT, ALL, OPERATIONS, agrees, seen, states

if TYPE_CHECKING:
    from rpi_clusterhat import Event
    from tests.lab import Lab


# What happens outside --------------------------------------------------------------------------------------


def test_changes_from_outside_are_events(lab: Lab) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)
    events = seen(hat)
    hat.status()
    assert events == [], "the first look is no change"
    expander.output |= 0b0001
    assert hat["p1"].powered
    expander.output &= ~0b0001
    assert hat["p1"].state is State.OFF
    assert events == [
        StateChanged("p1", State.OFF, State.ON, "outside"),
        StateChanged("p1", State.ON, State.OFF, "outside"),
    ]


def test_events_of_switching(lab: Lab) -> None:
    hat = lab.hat(lab.expander())
    hat.status()
    events = seen(hat)
    hat.on("p1", "p2")
    hat.off("all")
    waiting = events.pop(3)
    assert isinstance(waiting, WaitingForRail)
    assert waiting.node == "p2"
    assert waiting.seconds == pytest.approx(2.0)
    assert events == [
        StateChanged("p1", State.OFF, State.QUEUED, "request"),
        StateChanged("p2", State.OFF, State.QUEUED, "request"),
        StateChanged("p1", State.QUEUED, State.ON, "request"),
        StateChanged("p2", State.QUEUED, State.ON, "request"),
        StateChanged("p1", State.ON, State.OFF, "request"),
        StateChanged("p2", State.ON, State.OFF, "request"),
    ]


def test_events_are_told_while_others_wait(lab: Lab) -> None:
    hat = lab.hat(lab.expander())
    events = seen(hat)
    count: list[int] = []
    lab.clock.during = [lambda: count.append(len(events))]
    hat.on("p1", "p2")
    assert count == [4]


def test_a_subscriber_that_raises_disturbs_nobody(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    hat = lab.hat(lab.expander())
    hat.status()

    def broken(event: Event) -> None:
        raise ZeroDivisionError(repr(event))

    end = hat.subscribe(broken)
    events = seen(hat)
    with caplog.at_level(logging.ERROR, logger="rpi_clusterhat"):
        hat.on("p1")
    assert len(events) == 2
    assert [record.exc_info is not None for record in caplog.records] == [True, True]
    end()
    end()
    caplog.clear()
    hat.off("p1")
    assert caplog.records == []


def test_a_subscriber_may_use_the_cluster(lab: Lab) -> None:
    hat = lab.hat(lab.expander())
    hat.status()
    powered: list[bool] = []

    def look(event: Event) -> None:
        if isinstance(event, StateChanged) and event.new is State.ON:
            powered.append(hat[event.node].powered)

    hat.subscribe(look)
    hat.on("p1", "p2")
    assert powered == [True, True]


def test_a_node_that_another_program_switched_on_while_it_waited(lab: Lab) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)

    def outside() -> None:
        expander.output |= 0b0010

    lab.clock.during = [outside]
    hat.on("p1", "p2")
    assert [value & ALL for _, value in expander.log] == [0b0001]
    assert states(hat) == ["on", "on", "off", "off"]


# Failures --------------------------------------------------------------------------------------------------


def test_a_line_stuck_low_fails_its_node_and_the_others_are_on(lab: Lab) -> None:
    expander = lab.expander()
    expander.stuck = {1: False}
    hat = lab.hat(expander)
    with pytest.raises(NodeFailedError, match=r"^p2: .*1 \(p2\) low: look for a short"):
        hat.on("p1", "p2", "p3")
    assert states(hat) == ["on", "failed", "on", "off"]
    assert "low" in (hat["p2"].failure or "")
    hat.status()
    assert hat["p2"].state is State.FAILED, "kept"
    with pytest.raises(NodeFailedError):
        hat.on("p2")
    expander.stuck = {}
    hat.on("p2")
    assert (hat["p2"].state, hat["p2"].failure) == (State.ON, None)


def test_a_failure_is_cleared_by_off(lab: Lab) -> None:
    expander = lab.expander()
    expander.stuck = {1: False}
    hat = lab.hat(expander)
    with pytest.raises(NodeFailedError):
        hat.on("p2")
    expander.stuck = {}
    hat.off("p2")
    assert (hat["p2"].state, hat["p2"].failure) == (State.OFF, None)


def test_a_line_stuck_high_fails_its_node_and_the_others_are_off(lab: Lab) -> None:
    expander = lab.expander(nodes=0b0111)
    expander.stuck = {1: True}
    hat = lab.hat(expander)
    with pytest.raises(NodeFailedError, match=r"^p2: .*1 \(p2\) high"):
        hat.off("all")
    assert states(hat) == ["off", "failed", "off", "off"]
    assert hat.status().nodes["p2"].powered
    expander.stuck = {}
    hat.off("p2")
    assert states(hat) == ["off"] * 4


def test_a_bus_error_does_not_make_a_failure_forgotten(lab: Lab) -> None:
    expander = lab.expander()
    expander.stuck = {1: False}
    hat = lab.hat(expander)
    with pytest.raises(NodeFailedError):
        hat.on("p2")
    expander.fail(times=3)
    with pytest.raises(TransientBusError):
        hat.status()
    assert states(hat) == ["unknown", "failed", "unknown", "unknown"]
    assert hat["p2"].failure


def test_one_board_that_does_not_answer_keeps_no_node_of_another_on(lab: Lab) -> None:
    first, second = lab.expander(nodes=ALL), lab.expander(nodes=ALL)
    hat = lab.hat(first, second)
    first.fail(at=3, times=3)  # all tries of the write
    with pytest.raises(TransientBusError):
        hat.off("all")
    assert (first.levels & ALL, second.levels & ALL) == (ALL, 0)
    assert states(hat) == ["on"] * 4 + ["off"] * 4


@pytest.mark.parametrize("applied", [0, 2])
@pytest.mark.parametrize("number", [errno.EREMOTEIO, errno.ENODEV])
@pytest.mark.parametrize("unset", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_bus_error_at_every_transaction_leaves_truthful_states(
    lab: Lab, operation: str, unset: bool, number: int, applied: int
) -> None:
    for at in range(1, 60):
        expander = FakeExpander() if unset else lab.expander(nodes=0b1100)
        hat = lab.hat(expander)
        before = expander.levels & ALERT
        expander.fail(number, at=at, times=3 if number == errno.EREMOTEIO else 1, applied=applied)
        failed = False
        try:
            OPERATIONS[operation](hat)
        except BackendError:
            failed = True
        due = expander.transactions >= at
        expander.heal()
        agrees(hat, expander)
        if operation != "alert":
            assert expander.levels & ALERT == before
        if failed and operation in ("on", "cycle"):
            lab.clock.advance(2.0)
            start = lab.clock.now()
            lab.hat(expander).on("p4", "p1")
            assert lab.clock.now() - start <= 2.0 + 1e-6, "a place in the queue was left behind"
        lab.clock.advance(10.0)
        if not due:
            return
    pytest.fail("this never ends")


def test_an_error_of_the_system_that_a_backend_lets_out_is_told_as_the_backends(lab: Lab) -> None:
    bank = lab.memory()
    hat = lab.v1(bank)

    def broken(_: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    bank.before = broken
    with pytest.raises(BackendError, match=r"MemoryBackend: .*Input/output error"):
        hat.status()
