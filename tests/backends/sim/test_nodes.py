"""A simulated node."""

from __future__ import annotations

from math import exp
from typing import Any

import pytest

from tests.backends.sim.worlds import about, make, told


def test_a_node_draws_inrush_then_boot_then_idle_current() -> None:
    world, clock = make()
    node = world.node("p2")
    assert (node.powered, node.phase, node.current, node.boots) == (False, "off", 0.0, 0)
    world.bank("0").write({1: True})
    assert (node.powered, node.phase, node.current, node.boots) == (True, "booting", 3.0, 1)
    clock.advance(0.5)
    assert (node.phase, node.current) == ("booting", 0.2)
    clock.advance(19.0)
    assert node.phase == "booting"
    clock.advance(0.5)
    assert (node.phase, node.current, node.is_up, node.up_since) == ("up", 0.13, True, 1020.0)
    world.bank("0").write({1: False})
    assert (node.powered, node.phase, node.current, node.up_since) == (False, "off", 0.0, None)
    assert repr(node) == "<SimNode p2 off>"


def test_writing_what_holds_starts_nothing_anew() -> None:
    world, clock = make()
    world.bank("0").write({0: True})
    clock.advance(20)
    world.bank("0").write({0: True})
    assert world.node("p1").phase == "up"
    assert world.node("p1").boots == 1


def test_a_node_can_be_asked_about_at_a_time() -> None:
    world, clock = make()
    world.bank("0").write({0: True})
    assert world.node("p1", at=1020.0).phase == "up"
    assert world.rail(at=1020.0).current == 0.13
    assert world.rail().current == 3.0
    clock.advance(5)
    world.bank("0").write({0: False})
    assert world.node("p1", at=1001.0).phase == "off", "what was before the last event is in the history"


def test_a_node_that_does_not_boot_a_slow_one_and_one_that_hangs() -> None:
    world, clock = make()
    world.node("p1").fail(boots=False)
    world.node("p2").fail(slow=3.0)
    world.node("p3").fail(hang_after=30.0)
    for offset in range(4):
        world.bank("0").write({offset: True})
        clock.advance(2)
    clock.advance(20)
    assert [node.phase for node in world.nodes] == ["failed", "booting", "up", "up"]
    world.node("p4").hang()
    clock.advance(40)
    assert [node.phase for node in world.nodes] == ["failed", "up", "hung", "hung"]
    assert world.rail().current == about(4 * 0.13)
    assert told(world, "failed") == [(20.0, "p1")]
    assert told(world, "up") == [(24.0, "p3"), (26.0, "p4"), (62.0, "p2")]
    assert told(world, "hung") == [(28.0, "p4"), (34.0, "p3")]


def test_a_node_that_opens_its_port_before_it_is_up() -> None:
    world, clock = make()
    world.node("p1").fail(slow=2.0, drops=5.0)
    world.bank("0").write({0: True})
    seen: dict[float, tuple[str, bool]] = {}
    while (then := world.next_event()) is not None:
        clock.advance(then - clock.now())
        seen[clock.now() - 1000] = world.node("p1").phase, world.node("p1").is_dropping
    assert list(seen.items())[-2:] == [(40.0, ("booting", True)), (45.0, ("up", False))]
    assert told(world, "up") == [(45.0, "p1")]
    world.node("p1").hang()
    assert not world.node("p1").is_dropping


def test_faults_are_of_the_next_start_and_can_be_taken_back() -> None:
    world, clock = make()
    bank, node = world.bank("0"), world.node("p1")
    bank.write({0: True})
    node.fail(boots=False, slow=2)
    clock.advance(20)
    assert node.phase == "up"
    bank.write({0: False})
    bank.write({0: True})
    clock.advance(20)
    assert node.phase == "booting"
    clock.advance(20)
    assert node.phase == "failed"
    node.fail()
    bank.write({0: False})
    bank.write({0: True})
    clock.advance(20)
    assert node.phase == "up"


def test_a_brown_out_is_a_start_with_the_faults_of_now() -> None:
    world, clock = make()
    world.bank("0").write({0: True})
    clock.advance(30)
    world.node("p1").fail(boots=False, slow=2)
    world.bank("0").write({1: True, 2: True})
    world.node("p1").hang()
    world.bank("0").write({1: False, 2: False})
    world.bank("0").write({1: True, 2: True})
    assert (world.brownouts, world.node("p1").boots, world.node("p1").phase) == (2, 3, "booting")
    clock.advance(40)
    assert [node.phase for node in world.nodes] == ["failed", "up", "up", "off"]
    assert world.rail().current == 3 * 0.13
    assert told(world, "up") == [(20.0, "p1"), (50.0, "p2"), (50.0, "p3")]
    assert told(world, "failed") == [(70.0, "p1")]


def test_a_hang_ends_with_the_next_start() -> None:
    world, clock = make()
    bank, node = world.bank("0"), world.node("p1")
    node.hang()
    assert node.phase == "off"
    bank.write({0: True})
    node.hang()
    assert node.phase == "hung"
    bank.write({0: False})
    bank.write({0: True})
    clock.advance(20)
    assert node.phase == "up"


@pytest.mark.parametrize("wrong", [{"slow": 0.0}, {"slow": -1.0}, {"hang_after": -0.5}, {"drops": -0.5}])
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    world, _ = make()
    with pytest.raises(ValueError):
        world.node("p1").fail(**wrong)


def test_a_node_warms_up_and_cools_down() -> None:
    world, clock = make()
    node = world.node("p1")
    before = world.controller_temperature
    assert node.temperature == 22.0
    world.bank("0").write({0: True})
    clock.advance(90)
    assert node.temperature == about(22 + 30 * 5 * 0.13 * (1 - exp(-1)))
    assert world.controller_temperature > before
    clock.advance(10_000)
    assert node.temperature == about(22 + 30 * 5 * 0.13)
    world.bank("0").write({0: False})
    assert node.temperature == about(22 + 30 * 5 * 0.13)
    clock.advance(10_000)
    assert node.temperature == about(22)
    assert world.controller_temperature == about(before)
