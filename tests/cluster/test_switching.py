"""Switching nodes on and off, what it costs, and what is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import (
    NodeFailedError,
    NodeNameError,
    State,
)
from rpi_clusterhat.errors import TransientBusError
from rpi_clusterhat.testing import FakeExpander
from tests.cluster.looking import ALL, IDLE, OUTPUT, states

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab import Lab


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
        (lambda: hat.on("p1"), 6),
        (lambda: hat.on("p1"), 2),
        (lambda: hat.off("p1"), 6),
        (lambda: hat.on("all"), 24),
        (lambda: hat.off("all"), 6),
        (lambda: hat.off("all"), 2),
        (hat.alert.on, 6),
        (hat.hub.reset, 10),
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
    assert [expander.transactions for expander in (first, second)] == [6, 6]


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


def test_an_on_that_cannot_read_takes_back_only_what_it_asked_itself(lab: Lab) -> None:
    """While it reads the second board, another caller asks for a node of the first one."""
    first, second = lab.memory(on=(1,)), lab.memory()
    hat = lab.v1(first, second)

    def act(_: str) -> None:
        second.before = str
        hat.off("p1")
        raise TransientBusError(121, "gone")

    hat.on("p1")
    second.before = act
    with pytest.raises(TransientBusError):
        hat.on("p1", "p5")
    assert (hat["p1"].powered, hat["p1"].desired) == (False, False)
