"""A world against a model of it that is too simple to be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings

from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_sim.state_file import StateFile
from tests.backends.sim.model import HAPPENINGS, Brute, Op, build, furnish, perform

if TYPE_CHECKING:
    import pytest

    from rpi_clusterhat_sim.world import World


def check(world: World, brute: Brute, now: float) -> None:
    for n, node in enumerate([world.node(f"p{i + 1}", at=now) for i in range(len(brute.starts))]):
        assert node.phase == brute.phase(n, now)
        assert node.current == brute.current(n, now)
        assert node.card == brute.card(n, now)
        assert node.powered is (brute.starts[n] is not None)
        assert (node.boots, node.brownouts) == (brute.boots[n], brute.brownouts[n])
        assert node.corruptions == brute.corruptions[n]
    for rail in "ab":
        assert round(world.rail(rail, at=now).current, 6) == brute.sum(rail, now)
        assert world.rail(rail).brownouts == brute.rail_brownouts[rail]
        assert world.rail(rail).powered == sum(brute.starts[n] is not None for n in brute.on_rail(rail))


def check_history(world: World, brute: Brute) -> None:
    what = ("up", "failed", "hung", "halted", "corrupted")
    told = [(event.time, event.node, event.what) for event in world.history if event.what in what]
    assert sorted(told) == sorted(brute.events + [event for n in brute.nodes for event in brute.outcome(n)])


@settings(max_examples=300, deadline=None)
@given(HAPPENINGS)
def test_running_sums_and_late_bookkeeping_agree_with_working_it_out_anew(ops: list[Op]) -> None:
    clock = FakeClock()
    world, brute = build(clock), Brute()
    for op in ops:
        if op.what == "wait":
            clock.advance(op.seconds)
            brute.now += op.seconds
        perform(world, op)
        brute.perform(op)
        check(world, brute, clock.now())
        check(world, brute, clock.now() + 0.25)
        check(world, brute, clock.now() + 10)
    check_history(world, brute)


@settings(max_examples=300, deadline=None)
@given(HAPPENINGS)
def test_brown_outs_that_are_caught_up_with_at_the_end_did_what_they_do_at_once(ops: list[Op]) -> None:
    """Nothing looks at the nodes meanwhile, so each of them has missed all that its rail went through."""
    clock = FakeClock()
    world, brute = build(clock), Brute()
    for op in ops:
        if op.what == "wait":
            clock.advance(op.seconds)
            brute.now += op.seconds
        perform(world, op)
        brute.perform(op)
    check_history(world, brute)
    check(world, brute, clock.now())


def tell(world: World) -> object:
    nodes = [
        (n.name, n.phase, n.current, n.boots, n.brownouts, n.temperature, n.up_since, n.card, n.corruptions)
        for n in world.nodes
    ]
    rails = [world.rail("a"), world.rail("b")]
    return nodes, rails, world.history, world.controller_temperature, world.next_event()


@settings(max_examples=60, deadline=None)
@given(HAPPENINGS)
def test_asking_changes_nothing(ops: list[Op]) -> None:
    asked_clock, left_clock = FakeClock(), FakeClock()
    asked, left_alone = build(asked_clock), build(left_clock)
    for op in ops:
        for clock, world in ((asked_clock, asked), (left_clock, left_alone)):
            if op.what == "wait":
                clock.advance(op.seconds)
            perform(world, op)
        tell(asked)
        asked.rail("a", at=asked_clock.now() + 1000)
        asked.next_event(asked_clock.now() + 3)
    assert tell(asked) == tell(left_alone)


@settings(max_examples=40, deadline=None)
@given(ops=HAPPENINGS)
def test_a_world_comes_back_from_a_file_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, ops: list[Op]
) -> None:
    file_clock, memory_clock = FakeClock(), FakeClock()
    state = StateFile(str(tmp_path_factory.mktemp("state") / "world"), clock=file_clock, history=None)
    in_memory = build(memory_clock)
    with state.change() as world:
        furnish(world)
    for op in ops:
        if op.what == "wait":
            file_clock.advance(op.seconds)
            memory_clock.advance(op.seconds)
        perform(in_memory, op)
        with state.change() as world:
            perform(world, op)
    with state.look() as world:
        assert tell(world) == tell(in_memory)
