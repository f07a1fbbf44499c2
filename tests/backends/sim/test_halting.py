"""Simulated nodes that are asked to halt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import BackendError, ClosedError
from rpi_clusterhat.hardware.backend import SupportsHalting
from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.world import World
from tests.backends.sim.boards import LINES, opened, world_of
from tests.backends.sim.worlds import about, make, told

if TYPE_CHECKING:
    from rpi_clusterhat.testing import FakeClock
    from rpi_clusterhat_sim.node import SimNode


def up(**model: Any) -> tuple[World, FakeClock, SimNode]:
    world, clock = make(**model)
    world.bank("0").write({0: True})
    clock.advance(20)
    return world, clock, world.node("p1")


def test_a_node_halts_and_stays_down_until_its_power_was_cut() -> None:
    world, clock, node = up()
    node.halt()
    assert (node.phase, node.is_up, node.current) == ("halting", False, 0.13)
    clock.advance(1.75)
    assert node.phase == "halting"
    clock.advance(0.25)
    assert (node.phase, node.powered, node.is_up, node.current) == ("halted", True, False, 0.03)
    clock.advance(10_000)
    assert (node.phase, node.boots, node.up_since) == ("halted", 1, None)
    assert world.rail().current == 0.03
    world.bank("0").write({0: False})
    world.bank("0").write({0: True})
    clock.advance(20)
    assert (node.phase, node.boots, node.card) == ("up", 2, "clean")
    assert told(world, "halting") == [(20.0, "p1")]
    assert told(world, "halted") == [(22.0, "p1")]
    assert told(world, "corrupted") == []


def test_a_brown_out_boots_a_node_that_had_halted() -> None:
    world, clock, node = up()
    node.halt()
    clock.advance(5)
    world.bank("0").write({1: True, 2: True})
    assert (world.brownouts, node.phase, node.boots) == (1, "booting", 2)
    clock.advance(20)
    assert (node.phase, node.card) == ("up", "clean")


def test_a_node_that_has_halted_cools_down() -> None:
    world, clock, node = up(halted=0.0)
    clock.advance(10_000)
    warm = node.temperature
    node.halt()
    clock.advance(2)
    assert node.temperature == about(warm)
    clock.advance(90)
    cooler = node.temperature
    assert cooler == about(22 + (warm - 22) / 2.718281828459045)
    world.bank("0").write({1: True, 2: True})
    assert world.brownouts == 1
    assert node.temperature == about(cooler)


@pytest.mark.parametrize(
    ("phase", "says"),
    [
        ("off", "has no power"),
        ("booting", "has not booted yet; wait"),
        ("failed", "did not boot"),
        ("hung", "hangs; cut its power"),
    ],
)
def test_a_node_that_cannot_listen_says_why(phase: str, says: str) -> None:
    world, clock = make()
    node = world.node("p1")
    node.fail(boots=phase != "failed")
    if phase != "off":
        world.bank("0").write({0: True})
        clock.advance(2 if phase == "booting" else 30)
    if phase == "hung":
        node.hang()
    assert node.phase == phase
    before = world.history
    with pytest.raises(BackendError, match=rf"the simulated node p1 cannot be asked to halt: it {says}"):
        node.halt()
    assert world.history == before
    assert node.phase == phase


def test_asking_again_changes_nothing() -> None:
    world, clock, node = up()
    node.halt()
    clock.advance(1)
    node.halt()
    clock.advance(1)
    assert node.phase == "halted"
    node.halt()
    assert told(world, "halting") == [(20.0, "p1")]


def test_one_that_ignores_it_one_that_takes_long_and_one_that_gets_stuck() -> None:
    world, clock = make()
    for offset in range(4):
        world.bank("0").write({offset: True})
        clock.advance(20)
    ignores, slow, stuck, fine = world.nodes
    ignores.fail_halting(ignored=True)
    slow.fail_halting(seconds=30)
    stuck.fail_halting(hangs=True)
    for node in world.nodes:
        node.halt()
    assert [node.phase for node in world.nodes] == ["up", "halting", "halting", "halting"]
    assert [node.card for node in world.nodes] == ["clean", "dirty", "dirty", "dirty"]
    clock.advance(29)
    assert [node.phase for node in world.nodes] == ["up", "halting", "halting", "halted"]
    clock.advance(1)
    assert [node.phase for node in world.nodes] == ["up", "halted", "halting", "halted"]
    clock.advance(10_000)
    assert (stuck.phase, stuck.card, stuck.current) == ("halting", "dirty", 0.13)
    assert told(world, "no-halt") == [(80.0, "p1")]
    world.bank("0").write(dict.fromkeys(range(4), False))
    assert [node.corruptions for node in world.nodes] == [0, 0, 1, 0]
    assert told(world, "corrupted") == [(10_110.0, "p3")]
    assert fine.card == "clean"
    assert [r.detail for r in world.history if r.what == "fault"] == ["no-halt", "halt=30", "halt-hangs"]


def test_a_halt_that_works_again() -> None:
    world, clock, node = up()
    node.fail_halting(ignored=True)
    node.halt()
    assert node.phase == "up"
    node.fail_halting()
    node.fail_halting()
    node.halt()
    clock.advance(2)
    assert node.phase == "halted"
    assert [r.detail for r in world.history if r.what == "fault"] == ["no-halt", "halts"]


def test_a_node_that_hangs_while_it_halts_never_gets_down() -> None:
    world, clock, node = up()
    node.halt()
    clock.advance(1)
    node.hang()
    clock.advance(100)
    assert (node.phase, node.card, node.current) == ("hung", "clean", 0.13)
    assert told(world, "halted") == []


def test_a_hang_that_was_to_come_comes_before_the_end_of_the_halt_or_not_at_all() -> None:
    world, clock = make()
    early, late, just = world.nodes[:3]
    early.fail(hang_after=21)
    late.fail(hang_after=30)
    just.fail(hang_after=22)
    for offset in range(3):
        world.bank("0").outside({offset: True})
        clock.advance(20)
        world.nodes[offset].halt()
        clock.advance(20)
    assert [node.phase for node in (early, late, just)] == ["hung", "halted", "halted"]
    assert told(world, "hung") == [(21.0, "p1")]
    assert told(world, "halted") == [(62.0, "p2"), (102.0, "p3")]


def test_a_node_that_has_halted_does_not_hang() -> None:
    world, clock, node = up(halt_time=0.0)
    node.halt()
    assert (node.phase, node.current) == ("halted", 0.03)
    assert world.rail().current == 0.03
    node.hang()
    clock.advance(1)
    assert node.phase == "halted"


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_a_time_that_is_none_is_refused(seconds: float) -> None:
    _, _, node = up()
    with pytest.raises(ValueError, match="seconds"):
        node.fail_halting(seconds=seconds)
    with pytest.raises(ValueError, match="seconds"):
        node.write(seconds)


def test_faults_as_text(clock: FakeClock) -> None:
    backend = opened(clock, fault="p1:no-halt,p2:halt=5,p3:halt-hangs,p4:halt=9", inrush="0", halt_time="1")
    with backend.change() as (world, bank):
        world.node("p4").fail_halting()
        bank.write(dict.fromkeys(range(4), True))
    clock.advance(20)
    for offset in range(4):
        backend.ask_to_halt(offset)
    seen: dict[float, list[str]] = {}
    for _ in range(6):
        clock.advance(1)
        seen[clock.now() - 1020] = [node.phase for node in world_of(backend).nodes]
    assert seen[1.0] == ["up", "halting", "halting", "halted"]
    assert seen[5.0] == ["up", "halted", "halting", "halted"]


def test_ok_ends_the_faults_of_halting_and_repairs_the_card(clock: FakeClock) -> None:
    shared: dict[str, Any] = {}
    backend = opened(clock, shared, fault="p1:halt-hangs,p1:no-boot", corrupt_boots="no")
    world = world_of(backend)
    node = world.node("p1")
    node.fail()
    backend.write({0: True})
    clock.advance(20)
    backend.ask_to_halt(0)
    backend.write({0: False})
    assert node.card == "corrupt"
    SimBackend(world, LINES, faults=plugin_faults("p1:ok"))
    assert node.card == "clean"
    backend.write({0: True})
    clock.advance(20)
    backend.ask_to_halt(0)
    clock.advance(2)
    assert (node.phase, node.corruptions) == ("halted", 1)


def plugin_faults(text: str) -> Any:
    from rpi_clusterhat_sim.faults import parse_faults

    return parse_faults(text)


def test_a_backend_asks_and_tells_of_its_own_nodes_only(clock: FakeClock) -> None:
    world = World(clock=clock)
    world.add_bank("0", LINES)
    backend = SimBackend(world, LINES[:2] + LINES[4:])
    assert isinstance(backend, SupportsHalting)
    assert backend.has_halted(0), "it has no power"
    with pytest.raises(BackendError, match="no power"):
        backend.ask_to_halt(0)
    backend.write({0: True})
    assert not backend.has_halted(0)
    clock.advance(20)
    levels = backend.read()
    backend.ask_to_halt(0)
    assert not backend.has_halted(0)
    clock.advance(2)
    assert backend.has_halted(0)
    assert backend.read() == levels
    for offset, says in ((2, "line 2 was not opened"), (4, "no node is on line 4")):
        with pytest.raises(ValueError, match=says):
            backend.ask_to_halt(offset)
        with pytest.raises(ValueError, match=says):
            backend.has_halted(offset)
    backend.close()
    with pytest.raises(ClosedError):
        backend.ask_to_halt(0)
    with pytest.raises(ClosedError):
        backend.has_halted(0)


def test_a_hung_node_was_never_seen_to_end(clock: FakeClock) -> None:
    backend = opened(clock)
    backend.write({0: True})
    clock.advance(20)
    world_of(backend).node("p1").hang()
    assert not backend.has_halted(0)
    with pytest.raises(BackendError, match="hangs"):
        backend.ask_to_halt(0)


def test_processes_that_share_a_world_see_one_halt(clock: FakeClock, path: str) -> None:
    asks, sees = opened(clock, state=path, halt_time="4"), opened(clock, state=path)
    asks.write({0: True})
    clock.advance(20)
    asks.ask_to_halt(0)
    clock.advance(3)
    assert world_of(sees).node("p1").phase == "halting"
    assert not sees.has_halted(0)
    clock.advance(1)
    assert sees.has_halted(0)
    assert world_of(sees).node("p1").card == "clean"
    assert told(world_of(sees), "halted") == [(24.0, "p1")]
