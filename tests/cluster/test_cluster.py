"""Cluster and Node on expanders at register level and on banks in memory."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    BackendError,
    BoardSetUp,
    ClosedError,
    Cluster,
    NodeFailedError,
    NodeNameError,
    PowerLost,
    PowerLostError,
    SettingError,
    State,
    StateChanged,
    SupersededError,
    TransientBusError,
    UnsupportedError,
    WaitingForRail,
)
from rpi_clusterhat.power import plans
from rpi_clusterhat.power.inventory import Inventory
from rpi_clusterhat.power.operation import Again, Operation
from rpi_clusterhat.testing import FakeExpander
from rpi_clusterhat.waiting import drive

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rpi_clusterhat import Event
    from rpi_clusterhat.power.plans import Plan
    from tests.lab import Lab, MemoryBackend

ALL = 0x0F
IDLE = 0b1001_0000
"""A v2.3 board with its nodes off: LEDs on, hub on, write-protected."""
OUTPUT, DIRECTION = 1, 3
ALERT = 0x40


def states(hat: Any) -> list[str]:
    """As reported, without another look."""
    return [part.partition("=")[2] for part in repr(hat)[1:-1].split(": ")[1].split()]


def seen(hat: Any) -> list[Event]:
    events: list[Event] = []
    hat.subscribe(events.append)
    return events


def agrees(hat: Cluster, expander: FakeExpander) -> None:
    """What the cluster says without another look is what a meter shows, or it says that it does not know."""
    for i, (name, state) in enumerate(zip(hat.names, states(hat), strict=True)):
        if state != "unknown":
            assert (state == "on") is bool(expander.levels >> i & 1), (name, state, expander)


# Switching -------------------------------------------------------------------------------------------------


def test_on_switches_one_after_the_other_with_the_spacing_between(lab: Lab) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)
    start = lab.clock.now()
    hat.on("all")
    assert expander.levels == IDLE | ALL
    assert [value for register, value in expander.log if register == OUTPUT] == [
        IDLE | 0b0001,
        IDLE | 0b0011,
        IDLE | 0b0111,
        IDLE | 0b1111,
    ]
    assert lab.clock.now() - start == pytest.approx(6.0), (
        "three spacings, none before the first or after the last"
    )
    assert states(hat) == ["on"] * 4


def test_on_in_the_order_asked_for(lab: Lab) -> None:
    expander = lab.expander()
    lab.hat(expander).on("p3", "p[1-2]")
    assert [value & ALL for _, value in expander.log] == [0b0100, 0b0101, 0b0111]


def test_off_is_one_write_and_no_wait(lab: Lab) -> None:
    expander = lab.expander(nodes=ALL)
    hat = lab.hat(expander)
    hat.off("all")
    assert [value for _, value in expander.log] == [IDLE]
    assert lab.clock.sleeps == []
    assert states(hat) == ["off"] * 4


def test_asking_for_what_holds_writes_nothing_and_costs_no_wait(lab: Lab) -> None:
    expander = lab.expander(nodes=0b0101)
    hat = lab.hat(expander)
    hat.on("p1", "p3")
    hat.off("p2", "p4")
    assert (expander.writes, lab.clock.sleeps) == (0, [])


def test_a_node_that_is_on_costs_the_others_no_wait(lab: Lab) -> None:
    hat = lab.hat(lab.expander(nodes=0b0010))
    hat.on("p1", "p2", "p3")
    assert sum(lab.clock.sleeps) == pytest.approx(2.0)


def test_a_second_program_keeps_the_spacing_too(lab: Lab) -> None:
    expander = lab.expander()
    lab.hat(expander).on("p1")
    lab.clock.advance(0.5)
    lab.hat(expander).on("p2")
    assert sum(lab.clock.sleeps) == pytest.approx(1.5)


def test_cycle(lab: Lab) -> None:
    expander = lab.expander(nodes=0b0011)
    hat = lab.hat(expander)
    hat.cycle("p[1-3]", pause=0.25)
    assert [value & ALL for _, value in expander.log] == [0b0000, 0b0001, 0b0011, 0b0111]
    assert sum(lab.clock.sleeps) == pytest.approx(4.25)
    assert lab.clock.sleeps[0] == 0.25


def test_nodes_as_objects(lab: Lab) -> None:
    expander = lab.expander(nodes=0b0010)
    hat = lab.hat(expander)
    node = hat["p1"]
    assert (node.name, node.powered, node.state, node.desired, node.failure) == (
        *("p1", False, State.OFF),
        *(None, None),
    )
    node.on()
    assert (node.powered, node.state, node.desired) == (True, State.ON, True)
    node.cycle(pause=0.1)
    node.off()
    assert (node.powered, node.state, node.desired) == (False, State.OFF, False)
    assert [n.name for n in hat if n.powered] == ["p2"]
    assert (len(hat), "p4" in hat, "p5" in hat, 4 in hat) == (4, True, False, False)
    assert hat.names == hat.select("all") == ["p1", "p2", "p3", "p4"]
    assert repr(hat["p2"]) == "<Node p2 on>"


def test_a_name_that_is_none_switches_nothing(lab: Lab) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)
    calls: list[Callable[[], object]] = [
        lambda: hat.on("p1", "p9"),
        lambda: hat.off("p1,p9"),
        lambda: hat.cycle(""),
        lambda: hat["p9"],
        lambda: hat["all"],
    ]
    for call in calls:
        with pytest.raises(NodeNameError):
            call()
    assert expander.transactions == 0


def test_opening_and_closing_switch_nothing(lab: Lab) -> None:
    expander = lab.expander(nodes=0b0110)
    with lab.hat(expander) as hat:
        assert repr(hat) == "<Cluster 2.3: p1=unknown p2=unknown p3=unknown p4=unknown>"
        assert expander.transactions == 0
        hat.status()
        assert states(hat) == ["off", "on", "on", "off"]
    assert expander.writes == 0
    assert expander.levels & ALL == 0b0110


def test_repr_of_many_nodes_is_short(lab: Lab) -> None:
    text = repr(lab.v1(*(lab.memory() for _ in range(63))))
    assert text.endswith("p16=unknown …>")
    assert len(text) < 300


# Transactions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.0", "2.3", "3.1"])
def test_transactions_of_a_board_that_is_set_up(lab: Lab, version: str) -> None:
    expander = lab.expander(version)
    hat = lab.hat(expander, version=version)
    operations: list[tuple[Callable[[], object], int]] = [
        (lambda: hat.on("p1"), 4),
        (lambda: hat.on("p1"), 2),
        (lambda: hat.off("p1"), 4),
        (lambda: hat.on("all"), 22),
        (lambda: hat.off("all"), 4),
        (lambda: hat.off("all"), 2),
        (hat.alert.on, 4),
        (hat.hub.reset, 6),
        (hat.init, 2),
    ]
    for operation, at_most in operations:
        expander.reset_counts()
        operation()
        assert expander.transactions <= at_most, operation
        lab.clock.advance(2.0)


def test_status_never_writes(lab: Lab) -> None:
    for expander in (lab.expander(nodes=0b0101), FakeExpander(pins=0x0F)):
        hat = lab.hat(expander)
        hat.status()
        assert expander.transactions <= 3
        assert expander.writes == 0


def test_boards_are_numbered_on_and_off_is_one_write_for_each(lab: Lab) -> None:
    first, second = lab.expander(), lab.expander()
    hat = lab.hat(first, second)
    assert hat.names == [f"p{i}" for i in range(1, 9)]
    hat.on("p4", "p5")
    assert (first.levels & ALL, second.levels & ALL) == (0b1000, 0b0001)
    assert sum(lab.clock.sleeps) == pytest.approx(2.0), "one rail"
    hat.on("p1", "p8")
    for expander in (first, second):
        expander.reset_counts()
    hat.off("all")
    assert [expander.log for expander in (first, second)] == [[(OUTPUT, IDLE)]] * 2
    assert [expander.transactions for expander in (first, second)] == [4, 4]


# Status ----------------------------------------------------------------------------------------------------


def test_status_of_one_board(lab: Lab) -> None:
    hat = lab.hat(lab.expander(nodes=0b0001))
    status = hat.status()
    assert (status.nodes["p1"].powered, status.nodes["p1"].state) == (True, State.ON)
    board = {
        "board": "2.3",
        "backend": "I2CBackend",
        "nodes": ["p1", "p2", "p3", "p4"],
        "functions": {"alert": False, "led": True, "hub": True, "wp": True},
        "set_up": True,
    }
    assert status.as_dict() == {
        "boards": [board],
        "nodes": {
            "p1": {"powered": True, "state": "on"},
            **{name: {"powered": False, "state": "off"} for name in ("p2", "p3", "p4")},
        },
    }


def test_status_of_several_boards_and_of_one_that_is_not_set_up(lab: Lab) -> None:
    hat = lab.hat(lab.expander("3.1"), FakeExpander(), version="3.1", size=1)
    boards = [
        {
            "board": "3.1",
            "backend": "I2CBackend",
            "nodes": [name],
            "functions": {"alert": False, "hub": True},
            "set_up": set_up,
        }
        for name, set_up in (("p1", True), ("p2", False))
    ]
    assert hat.status().as_dict() == {
        "boards": boards,
        "nodes": {name: {"powered": False, "state": "off"} for name in ("p1", "p2")},
    }


def test_status_tells_of_failures(lab: Lab) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)
    expander.stuck = {0: False}
    with pytest.raises(NodeFailedError):
        hat.on("p1")
    assert hat.status().as_dict()["nodes"]["p1"] == {
        "powered": False,
        "state": "failed",
        "failure": hat["p1"].failure,
    }


# Functions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.0", "2.3"])
def test_functions(lab: Lab, version: str) -> None:
    expander = lab.expander(version, nodes=0b0001)
    hat = lab.hat(expander, version=version)
    before = expander.levels
    for function, bit in ((hat.alert, 6), (hat.led, 4), (hat.hub, 5), (hat.write_protect, 7)):
        assert function.supported
        was_on = function.is_on
        function.on()
        assert function.is_on is True
        high = bool(expander.levels >> bit & 1)
        function.off()
        assert [function.is_on] == [False]
        assert bool(expander.levels >> bit & 1) is not high
        if was_on:
            function.on()
        assert expander.levels == before


def test_a_function_that_the_board_does_not_have(lab: Lab) -> None:
    hat = lab.hat(lab.expander("3.1"), version="3.1")
    assert not hat.led.supported
    for call in (hat.led.on, hat.led.off, lambda: hat.led.is_on):
        with pytest.raises(UnsupportedError, match=r"^a Cluster HAT 3\.1 has no LED control$"):
            call()
    with pytest.raises(UnsupportedError, match="has no USB hub control"):
        lab.v1(lab.memory()).hub.reset()


def test_functions_of_several_boards_are_switched_together(lab: Lab) -> None:
    first, second = lab.expander(), lab.expander()
    hat = lab.hat(first, second)
    hat.alert.on()
    assert first.levels & second.levels & ALERT
    second.output &= ~ALERT
    assert not hat.alert.is_on


def test_hub_reset(lab: Lab) -> None:
    expander = lab.expander(nodes=0b0011)
    lab.hat(expander).hub.reset(pause=0.75)
    assert [value >> 5 & 1 for _, value in expander.log] == [1, 0], "low is on"
    assert lab.clock.sleeps == [0.75]
    assert expander.levels == IDLE | 0b0011


def test_a_hub_reset_that_is_interrupted_leaves_the_hub_on(lab: Lab) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)
    lab.clock.during = [interrupt]
    with pytest.raises(KeyboardInterrupt):
        hat.hub.reset()
    assert expander.levels == IDLE
    expander.reset_counts()
    expander.before(interrupt, at=5)  # in the write that switches it on again
    with pytest.raises(KeyboardInterrupt):
        hat.hub.reset()
    assert expander.levels == IDLE


# An expander that nobody has set up ------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["init", "on", "off", "cycle", "alert", "hub"])
def test_what_switches_sets_up_first(lab: Lab, operation: str) -> None:
    expander = FakeExpander()
    hat = lab.hat(expander)
    events = seen(hat)
    calls: dict[str, Callable[[], object]] = {
        "init": hat.init,
        "on": lambda: hat.on("p1"),
        "off": lambda: hat.off("p1"),
        "cycle": lambda: hat.cycle("p1"),
        "alert": hat.alert.on,
        "hub": hat.hub.reset,
    }
    calls[operation]()
    assert expander.log[1] == (OUTPUT, IDLE), "the levels before the direction"
    assert [register for register, _ in expander.log[:3]] == [2, OUTPUT, DIRECTION]
    assert [e for e in events if isinstance(e, BoardSetUp)] == [BoardSetUp(0)]
    assert not any(isinstance(e, PowerLost) for e in events)
    expected = {"on": IDLE | 1, "cycle": IDLE | 1, "alert": IDLE | ALERT}.get(operation, IDLE)
    assert expander.levels == expected
    assert not hat.init(), "it is set up now"


def test_the_jumper_switches_on_at_set_up_and_on_waits_for_none_of_them(lab: Lab) -> None:
    expander = FakeExpander(pins=0x0F)
    hat = lab.hat(expander)
    hat.on("all")
    assert expander.levels == IDLE | ALL
    assert lab.clock.sleeps == []


def test_off_cuts_what_the_jumper_switched_on(lab: Lab) -> None:
    expander = FakeExpander(pins=0x0F)
    hat = lab.hat(expander)
    hat.off("p2")
    assert expander.levels == IDLE | 0b1101


def test_a_power_loss_is_noticed_at_the_next_read(lab: Lab) -> None:
    expander = lab.expander(nodes=0b0011)
    hat = lab.hat(expander)
    hat.status()
    events = seen(hat)
    expander.lose_power()
    hat.status()
    assert events == [
        PowerLost(0),
        StateChanged("p1", State.ON, State.OFF, "outside"),
        StateChanged("p2", State.ON, State.OFF, "outside"),
    ]
    assert isinstance(events[0], PowerLost)
    hat.status()
    assert len(events) == 3, "once"
    hat.on("p1")
    assert expander.levels == IDLE | 0b0001


@pytest.mark.parametrize("at", range(1, 13))
def test_a_power_loss_in_the_middle_of_switching_on_ends_it(lab: Lab, at: int) -> None:
    expander = lab.expander(nodes=0b1000)
    hat = lab.hat(expander)
    hat.status()
    events = seen(hat)
    expander.reset_counts()
    expander.before(expander.lose_power, at=at)
    try:
        hat.on("p1", "p2", "p3")
    except PowerLostError:
        assert expander.direction == 0xFF, "nothing is set up behind one's back"
        assert any(isinstance(e, PowerLost) for e in events)
    else:
        assert at == 1, "before the first look, it is set up anew"
    lost = [e for e in events if isinstance(e, StateChanged) and e.new is State.OFF and e.old is State.ON]
    assert {e.cause for e in lost} == {"outside"}
    agrees(hat, expander)
    hat.on("p1")
    assert expander.levels & 1


@pytest.mark.parametrize("at", [3, 4])
def test_what_went_off_with_the_expander_was_not_the_requests_doing(lab: Lab, at: int) -> None:
    expander = lab.expander(nodes=0b0001)
    hat = lab.hat(expander)
    hat.status()
    events = seen(hat)
    expander.reset_counts()
    expander.before(expander.lose_power, at=at)
    with pytest.raises(PowerLostError):
        hat.off("p1")
    assert events == [PowerLost(0), StateChanged("p1", State.ON, State.OFF, "outside")]
    assert hat["p1"].desired is False


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


OPERATIONS: dict[str, Callable[[Cluster], object]] = {
    "on": lambda hat: hat.on("p1", "p2"),
    "off": lambda hat: hat.off("p2", "p3"),
    "cycle": lambda hat: hat.cycle("p1", "p3"),
    "alert": lambda hat: hat.alert.on(),
    "hub": lambda hat: hat.hub.reset(),
    "init": lambda hat: hat.init(),
    "status": lambda hat: hat.status(),
}


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


# Interruptions ---------------------------------------------------------------------------------------------


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("operation", OPERATIONS)
def test_ctrl_c_in_every_transaction(lab: Lab, operation: str) -> None:
    for at in range(1, 60):
        expander = lab.expander(nodes=0b1100)
        hat = lab.hat(expander)
        expander.before(interrupt, at=at)
        try:
            OPERATIONS[operation](hat)
        except KeyboardInterrupt:
            assert expander.transactions >= at
        else:
            assert expander.transactions < at
            return
        agrees(hat, expander)
        if operation != "alert":
            assert not expander.levels & ALERT
        nothing_is_left_behind(lab, expander)
    pytest.fail("this never ends")


def nothing_is_left_behind(lab: Lab, expander: FakeExpander) -> None:
    """Another program can switch on as soon as the spacing has passed."""
    lab.clock.advance(2.0)
    start = lab.clock.now()
    other = lab.hat(expander)
    other.off("p4")
    other.on("p4")
    assert lab.clock.now() == start
    lab.clock.advance(2.0)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("access", range(1, 12))
def test_ctrl_c_around_every_access_of_a_backend(lab: Lab, when: str, access: int) -> None:
    bank = lab.memory(on=(4,))
    hat = lab.v1(bank)
    counted = 0

    def count(_: str) -> None:
        nonlocal counted
        counted += 1
        if counted == access:
            raise KeyboardInterrupt

    setattr(bank, when, count)
    try:
        hat.cycle("p1", "p4")
    except KeyboardInterrupt:
        pass
    else:
        assert counted < access
    truthful(hat, bank)
    assert all(
        hat[name].desired in (None, bank.levels[line]) for name, line in zip(hat.names, POWER, strict=True)
    )
    setattr(bank, when, str)
    lab.clock.advance(2.0)
    slept = len(lab.clock.sleeps)
    lab.v1(bank).on("p2")
    assert len(lab.clock.sleeps) == slept


POWER = (6, 13, 19, 26)


def truthful(hat: Any, bank: MemoryBackend) -> None:
    for state, line in zip(states(hat), POWER, strict=True):
        assert state == "unknown" or (state == "on") is bank.levels[line]


@pytest.mark.parametrize("sleep", range(1, 4))
def test_ctrl_c_while_waiting(lab: Lab, sleep: int) -> None:
    bank = lab.memory(on=(1,))
    hat = lab.v1(bank)
    lab.clock.during = [*[str] * (sleep - 1), interrupt]
    with pytest.raises(KeyboardInterrupt):
        hat.cycle("p1", "p2", "p3")
    assert sum(bank.levels[line] for line in POWER) == sleep - 1
    assert states(hat) == ["on"] * (sleep - 1) + ["off"] * (5 - sleep)
    assert [hat[name].desired for name in ("p1", "p2", "p3")] == [True] * (sleep - 1) + [False] * (4 - sleep)
    start = lab.clock.now()
    lab.v1(bank).on("p4")
    assert lab.clock.now() - start <= 2.0 + 1e-6


def careless(nodes: Sequence[str], *_: object, **__: object) -> Plan[None]:
    """As if Ctrl-C came between two steps, where no plan can see it."""
    yield plans.Read(tuple(nodes), desired=True)
    yield plans.Queue(tuple(nodes))
    yield plans.TakeTurn(nodes[0])
    raise KeyboardInterrupt


def test_ctrl_c_between_two_steps_keeps_no_place_on_the_rail(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    hat = lab.v1(lab.memory())
    monkeypatch.setattr(plans, "switch_on", careless)
    with pytest.raises(KeyboardInterrupt) as held:  # as an interactive interpreter holds the last one
        hat.on("p1")
    monkeypatch.undo()
    assert states(hat) == ["off"] * 4
    lab.v1(lab.memory()).on("p1")
    assert lab.clock.sleeps == []
    assert held.value


# Several callers -------------------------------------------------------------------------------------------


def test_off_while_queued_supersedes(lab: Lab) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)
    queued: list[list[str]] = []

    def other() -> None:
        queued.append(states(hat))
        hat.off("p2")
        queued.append(states(hat))

    lab.clock.during = [other]
    with pytest.raises(SupersededError, match=r"^another caller switched p2 off"):
        hat.on("p1", "p2", "p3")
    assert queued == [["on", "queued", "queued", "off"], ["on", "off", "queued", "off"]]
    assert states(hat) == ["on", "off", "on", "off"]
    assert [value & ALL for _, value in expander.log] == [0b0001, 0b0101]
    assert hat["p2"].desired is False


def switched_on(lab: Lab, bank: MemoryBackend) -> list[tuple[float, list[int]]]:
    """A list that gets what is switched on at a bank, and when."""
    found: list[tuple[float, list[int]]] = []

    def note(_: str) -> None:
        if len(bank.written) > len(found):
            found.append(
                (lab.clock.now() - 1000.0, [line for line, level in bank.written[-1].items() if level])
            )

    bank.after = note
    return found


def test_a_node_that_is_wanted_again_is_switched_on_in_turn(lab: Lab) -> None:
    bank = lab.memory()
    hat = lab.v1(bank)
    found = switched_on(lab, bank)

    def other() -> None:
        lab.clock.sleep(1.0)
        hat.off("p2")
        hat.on("p2")

    assert lab.clock.run(lambda: hat.on("p1", "p2", "p3"), other) == []
    on = [(when, lines) for when, lines in found if lines]
    assert [lines for _, lines in on] == [[6], [13], [19]]
    assert [when for when, _ in on] == pytest.approx([0.0, 2.0, 4.0])


def test_a_node_that_is_wanted_again_between_two_steps_is_left_to_who_wants_it(lab: Lab) -> None:
    bank = lab.memory()
    lab.v1(lab.memory()).on("p4")
    inventory = Inventory(lab.banks(bank, version="1.3"), lab.clock)
    first = Operation(inventory)
    plan = plans.switch_on(["p1"])
    seen = first.perform(next(plan))
    assert first.perform(plan.send(seen)) is None
    waits = first.perform(next(plan))
    assert isinstance(waits, Again)
    drive(Operation(inventory).steps(plans.switch_off(["p1"])), lab.clock)
    assert first.perform(plans.TakeTurn("p1")) is True, "no longer wanted: nothing to wait for"
    Operation(inventory).perform(next(plans.switch_on(["p1"])))
    assert first.perform(plans.SwitchOn("p1")) is False
    assert bank.written == [{6: False}], "it was not its turn"


def test_two_callers_want_one_node_and_it_is_switched_on_once(lab: Lab) -> None:
    bank = lab.memory()
    hat = lab.v1(bank)
    lab.v1(lab.memory()).on("p4")  # so that the first has to wait, and the second is there in time
    done: list[float] = []

    def want() -> None:
        hat.on("p1")
        done.append(lab.clock.now() - 1000.0)

    assert lab.clock.run(want, want) == []
    assert bank.written == [{6: True}]
    assert done == pytest.approx([2.0, 2.0], abs=0.1), "the second spacing is for nobody"


def test_many_threads_keep_the_spacing(lab: Lab) -> None:
    bank = lab.memory()
    hat = lab.v1(bank)
    found = switched_on(lab, bank)
    assert lab.clock.run(*(hat[name].on for name in hat.names * 2)) == []
    assert sorted(line for _, lines in found for line in lines) == [6, 13, 19, 26]
    assert [when for when, _ in found] == pytest.approx([0.0, 2.0, 4.0, 6.0])
    assert states(hat) == ["on"] * 4


def test_several_programs_keep_the_spacing(lab: Lab) -> None:
    banks = [lab.memory() for _ in range(3)]
    found = [switched_on(lab, bank) for bank in banks]
    hats = [lab.v1(bank) for bank in banks]
    assert lab.clock.run(*(partial(hat.on, "p1", "p2") for hat in hats)) == []
    when = sorted(when for each in found for when, _ in each)
    assert when == pytest.approx([0.0, 2.0, 4.0, 6.0, 8.0, 10.0])


# The end ---------------------------------------------------------------------------------------------------


def test_holds_levels_where_all_boards_do(lab: Lab) -> None:
    holds, drops = lab.memory(), lab.memory(holds_levels=False)
    assert lab.v1(holds).holds_levels
    assert not lab.v1(holds, drops).holds_levels


def test_what_was_opened_can_be_seen(lab: Lab) -> None:
    hat = lab.hat(lab.expander(), lab.expander(), spacing=3.5, size=2)
    assert hat.spacing == 3.5
    assert [(b.version, b.size) for b in hat.boards] == [("2.3", 2)] * 2
    assert repr(hat.banks) == "[<Bank 2.3 I2CBackend p1…p2>, <Bank 2.3 I2CBackend p3…p4>]"


def test_a_closed_cluster_says_so(lab: Lab) -> None:
    expander = lab.expander(nodes=ALL)
    with lab.hat(expander) as hat:
        pass
    hat.close()
    calls: list[Callable[[], object]] = [
        *(lambda: hat.on("all"), lambda: hat.off("all"), lambda: hat.cycle("all")),
        *(hat.init, hat.status, hat.alert.on, hat.hub.reset),
        *(lambda: hat.alert.is_on, lambda: hat["p1"].powered, lambda: hat["p1"].state),
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()
    assert (expander.transactions, expander.levels) == (0, IDLE | ALL)


def test_closing_while_another_thread_waits_ends_its_wait(lab: Lab) -> None:
    bank = lab.memory()
    hat = lab.v1(bank)
    lab.clock.during = [hat.close]
    with pytest.raises(ClosedError):
        hat.on("p1", "p2")
    assert [bank.levels[line] for line in POWER] == [True, False, False, False]
    lab.v1(lab.memory()).on("p1")


def test_every_board_is_closed_even_if_one_cannot_be(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = lab.memory(), lab.memory()
    broken = lab.memory()

    def refuse() -> None:
        raise BackendError("it will not close")

    monkeypatch.setattr(broken, "close", refuse)
    hat = lab.v1(first, broken, second)
    with pytest.raises(BackendError, match="it will not close"):
        hat.close()
    assert (first.closed, second.closed) == (1, 1)


# What importing costs --------------------------------------------------------------------------------------

PROBE = """
import sys
before = set(sys.modules)
import rpi_clusterhat
rpi_clusterhat.Cluster
loaded = set(sys.modules) - before
third = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"rpi_clusterhat"}
dear = {"asyncio", "dataclasses", "importlib.metadata", "argparse", "inspect", "json", "subprocess"} & loaded
print(sorted(third), sorted(dear))
assert "AsyncCluster" in dir(rpi_clusterhat) and rpi_clusterhat.AsyncCluster.__name__ == "AsyncCluster"
missing = [name for name in rpi_clusterhat.__all__ if not hasattr(rpi_clusterhat, name)]
print(missing, "asyncio" in sys.modules)
"""


def test_importing_the_library_imports_nothing_dear_and_nothing_strange() -> None:
    done = subprocess.run([sys.executable, "-I", "-c", PROBE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[] []\n[] True\n", "")


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import rpi_clusterhat

    with pytest.raises(AttributeError, match="has no attribute 'Clutser'"):
        getattr(rpi_clusterhat, "Clutser")  # noqa: B009 - what a typo does


def test_a_node_that_waits_still_waits_after_a_failed_look(lab: Lab) -> None:
    expander = FakeExpander()
    hat = lab.hat(expander)
    hat.on("p1")
    inventory = Inventory(hat.banks, lab.clock)
    operation = Operation(inventory)
    plan = plans.switch_on(["p2"])
    seen = operation.perform(next(plan))
    assert operation.perform(plan.send(seen)) is None
    assert isinstance(operation.perform(plan.send(None)), Again)
    expander.fail(errno.EREMOTEIO, times=None)
    with pytest.raises(TransientBusError):
        inventory.refresh()
    assert str(inventory.entries["p2"].state) == "unknown"
    expander.heal()
    inventory.refresh()
    assert str(inventory.entries["p2"].state) == "queued"
    operation.finish()
    assert str(inventory.entries["p2"].state) == "off"


@pytest.mark.parametrize("pause", ["x", -1, float("nan"), float("inf"), None, True])
def test_a_wrong_pause_switches_nothing(lab: Lab, pause: Any) -> None:
    expander = FakeExpander()
    hat = lab.hat(expander)
    hat.on("p1")
    before = expander.writes
    with pytest.raises(SettingError, match="pause"):
        hat["p1"].cycle(pause=pause)
    with pytest.raises(SettingError, match="pause"):
        hat.hub.reset(pause=pause)
    assert expander.writes == before
