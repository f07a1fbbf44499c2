"""Simulated banks, and the history of a world."""

from __future__ import annotations

import pytest

from rpi_clusterhat.errors import DeviceGoneError, NodeNameError, StuckLineError, TransientBusError
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_sim.world import World
from tests.backends.sim.worlds import LINES, make


def test_nodes_are_numbered_on_over_the_banks() -> None:
    clock = FakeClock()
    world = World(clock=clock)
    world.add_bank("left", LINES)
    world.add_bank("right", list(reversed(LINES)))
    world.bank("right").write({1: True})
    assert world.node("p6").powered
    assert world.node("right/p2").name == "p6"
    assert world.bank("right").node_names == ["p5", "p6", "p7", "p8"]
    for name in ("p0", "p9", "x", "p", "right/p9", "right/alert", "middle/p1"):
        with pytest.raises(NodeNameError, match="p1 to p8"):
            world.node(name)
    with pytest.raises(ValueError, match="already"):
        world.add_bank("left", LINES)
    with pytest.raises(ValueError, match="already"):
        world.add_rail("main")
    with pytest.raises(ValueError, match="positive"):
        world.add_rail("other", 0)
    with pytest.raises(ValueError, match="before"):
        world.set_ambient(3)


def test_a_stuck_line_does_not_follow_and_follows_again() -> None:
    world, _ = make()
    bank = world.bank("0")
    bank.stick(0, level=True)
    assert world.node("p1").powered
    bank.stick(1, level=False)
    with pytest.raises(StuckLineError, match=r"made to stick: p2 low$"):
        bank.write({1: True, 2: True})
    assert bank.levels() == {0: True, 1: False, 2: True, 3: False}
    bank.write({1: False})
    bank.write({0: True, 1: False})
    with pytest.raises(StuckLineError, match=r"made to stick: p1 high$"):
        bank.write({0: False})
    with pytest.raises(StuckLineError, match=r"made to stick: p1 high, p2 low$"):
        bank.write({0: False, 1: True, 2: True})
    bank.stick(0, None)
    assert not world.node("p1").powered
    with pytest.raises(ValueError, match="no line 9"):
        bank.stick(9, level=True)


def test_the_bus_fails_when_asked_to() -> None:
    world, _ = make()
    bank = world.bank("0")
    bank.fail_bus(3, times=2)
    bank.read()
    bank.write({0: True})
    with pytest.raises(TransientBusError) as caught:
        bank.write({1: True})
    assert caught.value.errno == 121
    with pytest.raises(TransientBusError):
        bank.read()
    assert bank.read() == {0: True, 1: False, 2: False, 3: False}
    bank.fail_bus(2, gone=True)
    bank.read()
    for _ in range(3):
        with pytest.raises(DeviceGoneError):
            bank.read()
    bank.heal_bus()
    bank.read()
    bank.fail_bus(times=None)
    for _ in range(3):
        with pytest.raises(TransientBusError):
            bank.read()
    with pytest.raises(ValueError):
        bank.fail_bus(0)


@pytest.mark.parametrize("pos", [False, True])
def test_a_bank_that_loses_power_is_unset_and_its_nodes_go_off(pos: bool) -> None:
    clock = FakeClock()
    world = World(clock=clock)
    bank = world.add_bank("0", LINES, pos=pos)
    bank.write({0: True, 6: True})
    clock.advance(30)
    bank.lose_power()
    assert not bank.is_set_up
    assert bank.levels() == {**dict.fromkeys(range(4), pos), 6: False}
    assert [node.powered for node in world.nodes] == [pos] * 4
    assert world.node("p1").boots == (3 if pos else 1), "four at once brown the rail out"
    bank.write({0: False})
    assert world.bank("0").is_set_up
    assert bank.levels() == {0: False, 1: pos, 2: pos, 3: pos, 6: False}


def test_an_outside_change_is_no_access() -> None:
    world, _ = make()
    world.bank("0").outside({2: True})
    assert world.node("p3").powered
    assert [record.what for record in world.history] == ["outside", "on"]
    with pytest.raises(ValueError, match="no line 77"):
        world.bank("0").outside({77: True})


def test_a_released_holder_takes_its_lines_down_and_no_others() -> None:
    world, _ = make()
    bank = world.bank("0")
    bank.write({0: True, 1: True}, holder="a")
    bank.write({1: True}, holder="b")
    bank.write({2: True})
    bank.release(["a"])
    assert bank.levels() == {0: False, 1: True, 2: True, 3: False}
    bank.write({1: True})
    bank.release(["a", "b"])
    assert bank.levels()[1]


def test_the_history_tells_accesses_and_what_came_of_them() -> None:
    world, clock = make()
    world.bank("0").write({0: True})
    clock.advance(25)
    world.bank("0").read()
    world.bank("0").write({0: False})
    assert [(r.time, r.what, r.node, r.detail) for r in world.history] == [
        (1000.0, "write", "bank 0", "0=1"),
        (1000.0, "on", "p1", ""),
        (1020.0, "up", "p1", ""),
        (1025.0, "read", "bank 0", ""),
        (1025.0, "write", "bank 0", "0=0"),
        (1025.0, "off", "p1", ""),
    ]


@pytest.mark.parametrize(("limit", "kept"), [(None, 300), (40, 40), (0, 0)])
def test_the_history_is_bounded_as_asked(limit: int | None, kept: int) -> None:
    world = World(clock=FakeClock(), history=limit)
    world.add_bank("0", LINES)
    for _ in range(300):
        world.bank("0").read()
    assert len(world.history) == kept


def test_time_that_runs_backwards_is_taken_as_the_last_events() -> None:
    world, clock = make()
    world.bank("0").write({0: True})
    clock.advance(-500)
    assert world.node("p1").phase == "booting"
    world.bank("0").write({1: True})
    assert {record.time for record in world.history} == {1000.0}
