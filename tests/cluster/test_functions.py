"""The board's functions, and an expander that nobody has set up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import (
    BoardSetUp,
    PowerLost,
    PowerLostError,
    State,
    StateChanged,
    UnsupportedError,
)
from rpi_clusterhat.testing import FakeExpander
from tests.cluster.looking import ALERT, ALL, DIRECTION, IDLE, OUTPUT, agrees, interrupt, seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab import Lab


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
        StateChanged("p1", State.ON, State.OFF, "power lost"),
        StateChanged("p2", State.ON, State.OFF, "power lost"),
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
    between_the_registers_of_one_read = at in (2, 8)
    assert {e.cause for e in lost} == {"outside" if between_the_registers_of_one_read else "power lost"}
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
    assert events == [PowerLost(0), StateChanged("p1", State.ON, State.OFF, "power lost")]
    assert hat["p1"].desired is False
