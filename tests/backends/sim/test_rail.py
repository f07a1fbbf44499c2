"""A simulated rail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_sim.load import NodeModel
from rpi_clusterhat_sim.world import World
from tests.backends.sim.worlds import LINES, make, told

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize("nodes", [4, 8, 16])
def test_two_seconds_between_two_nodes_never_brown_the_rail_out(nodes: int) -> None:
    world, clock = make(nodes)
    for offset in range(nodes):
        world.bank("0").write({offset: True})
        clock.advance(2.0)
    clock.advance(20)
    assert world.brownouts == 0
    assert {(node.phase, node.boots) for node in world.nodes} == {("up", 1)}


def test_two_nodes_at_once_make_every_node_on_the_rail_boot_again() -> None:
    world, clock = make()
    bank = world.bank("0")
    bank.write({0: True})
    clock.advance(60)
    bank.write({1: True})
    clock.advance(0.25)
    assert world.brownouts == 0
    assert world.node("p1").phase == "up"
    bank.write({2: True})
    assert world.brownouts == world.rail().brownouts == 1
    assert [node.phase for node in world.nodes] == ["booting", "booting", "booting", "off"]
    assert [node.brownouts for node in world.nodes] == [1, 1, 1, 0]
    assert [node.boots for node in world.nodes] == [2, 2, 2, 0]
    assert [node.current for node in world.nodes] == [0.2, 0.2, 0.2, 0.0], "no inrush a second time"
    clock.advance(20)
    assert [node.phase for node in world.nodes] == ["up", "up", "up", "off"]
    assert told(world, "brown-out") == [(60.25, "rail main")]
    assert told(world, "up") == [(20.0, "p1"), (80.25, "p1"), (80.25, "p2"), (80.25, "p3")]


def test_the_nodes_of_one_write_get_power_at_one_moment() -> None:
    world, _ = make()
    world.bank("0").write({0: True, 1: True})
    assert world.brownouts == 1
    assert [r.detail for r in world.history if r.what == "brown-out"] == ["6 A of 5.8 A"]


def test_what_a_write_switches_off_no_longer_counts_when_it_switches_on() -> None:
    world, _ = make()
    world.bank("0").write({0: True})
    world.bank("0").write({0: False, 1: True})
    assert world.brownouts == 0
    assert world.rail().current == 3.0


def test_a_sum_of_just_the_capacity_is_not_too_much() -> None:
    clock = FakeClock()
    world = World(clock=clock)
    world.add_rail("main", 0.3)
    world.add_bank("0", LINES, model=NodeModel(inrush=0.1))
    world.bank("0").write({0: True, 1: True, 2: True})
    assert world.brownouts == 0
    world.bank("0").write({3: True})
    assert world.brownouts == 1


def test_a_brown_out_stays_on_its_rail() -> None:
    clock = FakeClock()
    world = World(clock=clock)
    world.add_bank("0", LINES, rail="a")
    world.add_bank("1", LINES, rail="b")
    world.bank("1").write({0: True})
    clock.advance(30)
    world.bank("0").write({0: True, 1: True})
    assert (world.rail("a").brownouts, world.rail("b").brownouts) == (1, 0)
    assert world.node("p5").phase == "up"
    assert world.brownouts == 1


def test_next_event_leads_through_all_that_happens_by_itself() -> None:
    world, clock = make(2)
    world.node("p2").fail(hang_after=40)
    assert world.next_event() is None
    world.bank("0").write({0: True})
    clock.advance(1)
    world.bank("0").write({1: True})
    seen: list[float] = []
    now: float | None = None
    while (now := world.next_event(now)) is not None:
        seen.append(now - 1000)
    assert seen == [1.5, 20.0, 21.0, 41.0]


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(range(8)),
    pauses=st.lists(st.floats(0.5, 100.0), min_size=8, max_size=8),
    inrush_time=st.sampled_from([0.1, 0.25, 0.5]),
)
def test_who_keeps_the_spacing_never_browns_a_rail_out(
    order: Sequence[int], pauses: list[float], inrush_time: float
) -> None:
    world, clock = make(8, inrush_time=inrush_time)
    for offset, pause in zip(order, pauses, strict=True):
        world.bank("0").write({offset: True})
        clock.advance(pause)
    assert world.brownouts == 0


def test_many_switchings_leave_nothing_behind() -> None:
    world, _ = make()
    for _ in range(1000):
        world.bank("0").write({0: True})
        world.bank("0").write({0: False})
    supply = world.bank("0").supply
    assert (supply.total, supply.powered) == (0, 0)
    assert supply.pending < 200
