"""The cards of simulated nodes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.errors import BackendUnavailableError
from rpi_clusterhat_sim.load import NodeModel
from rpi_clusterhat_sim.state_file import StateFile
from rpi_clusterhat_sim.world import World
from tests.backends.sim.boards import LINES, opened, world_of
from tests.backends.sim.worlds import make, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.testing import FakeClock


def test_a_card_is_written_while_its_node_boots_and_halts() -> None:
    world, clock = make()
    node = world.node("p1")
    assert node.card == "clean"
    world.bank("0").write({0: True})
    assert node.card == "clean", "nothing was written yet"
    clock.advance(0.25)
    assert node.card == "dirty"
    clock.advance(19.75)
    assert node.card == "clean"
    node.halt()
    assert node.card == "dirty"
    clock.advance(2)
    assert node.card == "clean"
    world.bank("0").write({0: False})
    assert (node.card, node.corruptions) == ("clean", 0)


@pytest.mark.parametrize("way", ["cut", "brown-out", "board", "stuck", "released", "outside"])
@pytest.mark.parametrize("writing", [True, False])
def test_a_loss_of_power_corrupts_a_card_that_is_being_written(way: str, *, writing: bool) -> None:
    world, clock = make()
    bank, node = world.bank("0"), world.node("p1")
    bank.write({0: True}, holder="somebody")
    clock.advance(20)
    node.write(5 if writing else 4)
    clock.advance(4)
    if way == "cut":
        bank.write({0: False})
    elif way == "brown-out":
        bank.write({1: True, 2: True})
    elif way == "board":
        bank.lose_power()
    elif way == "stuck":
        bank.stick(0, level=False)
    elif way == "released":
        bank.release(["somebody"])
    else:
        bank.outside({0: False})
    assert (node.card, node.corruptions) == (("corrupt", 1) if writing else ("clean", 0))
    assert told(world, "corrupted") == ([(24.0, "p1")] if writing else [])


def test_a_node_that_writes_without_end_is_safe_only_once_it_has_halted() -> None:
    world, clock = make(writes=True)
    first, second = world.node("p1"), world.node("p2")
    for offset in range(2):
        world.bank("0").write({offset: True})
        clock.advance(1000)
    assert (first.card, second.card) == ("dirty", "dirty")
    first.halt()
    clock.advance(2)
    world.bank("0").write({0: False, 1: False})
    assert (first.card, second.card) == ("clean", "corrupt")


def test_one_that_hangs_or_does_not_boot_writes_nothing() -> None:
    world, clock = make(writes=True)
    world.node("p1").fail(boots=False)
    world.node("p2").fail(hang_after=5.0)
    for offset in range(3):
        world.bank("0").write({offset: True})
        clock.advance(6)
    world.node("p3").hang()
    assert [node.card for node in world.nodes] == ["clean"] * 4
    world.bank("0").lose_power()
    assert [node.corruptions for node in world.nodes] == [0] * 4


def test_writing_ends_with_a_halt_and_does_not_begin_without_power() -> None:
    world, clock = make()
    node = world.node("p1")
    node.write(100)
    world.bank("0").write({0: True})
    clock.advance(10)
    node.write(30)
    node.write(1)
    clock.advance(20)
    assert node.card == "dirty"
    node.halt()
    clock.advance(2)
    node.write(100)
    assert node.card == "clean"
    assert told(world, "writing") == [(10.0, "p1"), (10.0, "p1")]


def test_next_event_leads_to_the_end_of_writing_and_halting() -> None:
    world, clock = make()
    world.bank("0").write({0: True})
    clock.advance(20)
    world.node("p1").write(3)
    assert world.next_event() == 1023.0
    world.node("p1").halt()
    assert world.next_event() == 1022.0
    clock.advance(2)
    assert world.next_event() is None


def test_a_corrupt_card_boots_all_the_same_and_is_not_corrupted_twice() -> None:
    world, clock = make()
    bank, node = world.bank("0"), world.node("p1")
    for _ in range(3):
        bank.write({0: True})
        clock.advance(5)
        bank.write({0: False})
    assert (node.card, node.corruptions) == ("corrupt", 1)
    bank.write({0: True})
    clock.advance(20)
    assert (node.phase, node.card) == ("up", "corrupt")
    node.repair()
    node.repair()
    assert node.card == "clean"
    node.write(1)
    bank.write({0: False})
    assert (node.card, node.corruptions) == ("corrupt", 2)
    assert told(world, "repaired") == [(35.0, "p1")]


@pytest.mark.parametrize("when", ["off", "booting", "failed"])
def test_where_a_corrupt_card_does_not_boot_a_repaired_one_does(when: str) -> None:
    world, clock = make(corrupt_boots=False)
    bank, node = world.bank("0"), world.node("p1")
    bank.write({0: True})
    clock.advance(5)
    bank.write({0: False})
    bank.write({0: True})
    clock.advance(20)
    assert (node.phase, node.up_since, node.current) == ("failed", None, 0.13)
    bank.write({0: False})
    if when == "off":
        node.repair()
    else:
        bank.write({0: True})
        clock.advance(5 if when == "booting" else 20)
        node.repair()
        assert node.card == "clean"
        clock.advance(20)
        assert node.phase == "failed", "that start went wrong already"
        bank.write({0: False})
    assert (node.card, node.corruptions) == ("clean", 1)
    bank.write({0: True})
    clock.advance(20)
    assert node.phase == "up"


def test_every_node_that_wrote_in_one_of_many_brown_outs_is_corrupted() -> None:
    """Also one that nobody has looked at since the first of them."""
    world, clock = make()
    bank = world.bank("0")
    bank.write({0: True})
    clock.advance(30)
    for _ in range(3):
        bank.write({1: True, 2: True})
        bank.write({1: False, 2: False})
        clock.advance(30)
    assert world.brownouts == 3
    bank.write({1: True, 2: True})
    clock.advance(5)
    bank.write({3: True, 1: False, 2: False})
    bank.write({1: True, 2: True})
    clock.advance(30)
    assert world.brownouts == 5
    assert (world.node("p1").card, world.node("p1").corruptions) == ("corrupt", 1)
    assert told(world, "corrupted")[-1] == (125.0, "p1")
    assert {name for _, name in told(world, "corrupted")} == {"p1", "p2", "p3"}


def test_options_say_what_nodes_do_with_their_cards(clock: FakeClock, path: str) -> None:
    told_so = {"halted": "0.05", "halt_time": "7", "writes": "yes", "corrupt_boots": "no"}
    backend = opened(clock, state=path, **told_so)
    assert world_of(backend).bank("0").model == NodeModel(
        halted=0.05, halt_time=7.0, writes=True, corrupt_boots=False
    )
    opened(clock, state=path)
    opened(clock, state=path, **told_so)
    for option, value in (("halted", "1"), ("halt_time", "8"), ("writes", "no"), ("corrupt_boots", "yes")):
        with pytest.raises(BackendUnavailableError, match=f"was made with {option}="):
            opened(clock, state=path, **{option: value})


def test_a_halt_and_a_writing_go_on_over_a_reboot_of_the_machine(path: str, clock: FakeClock) -> None:
    before = StateFile(path, clock=clock, boot="one")
    with before.change() as world:
        world.add_bank("0", LINES)
        world.bank("0").write({0: True})
        clock.advance(2)
        world.bank("0").write({1: True})
        clock.advance(20)
        world.node("p1").halt()
        world.node("p2").write(5)
    clock.advance(-clock.now() + 1.5)
    after = StateFile(path, clock=clock, boot="two")
    with after.look() as world:
        assert [node.phase for node in world.nodes[:2]] == ["halting", "up"]
    clock.advance(0.5)
    with after.look() as world:
        assert [node.phase for node in world.nodes[:2]] == ["halted", "up"]
        assert [node.card for node in world.nodes[:2]] == ["clean", "dirty"]
    clock.advance(3)
    with after.look() as world:
        assert world.node("p2").card == "clean"


def test_a_card_that_was_repaired_under_way_is_the_same_in_a_file(path: str, clock: FakeClock) -> None:
    model = NodeModel(writes=True, corrupt_boots=False)
    in_memory = World(clock=clock)
    in_memory.add_bank("0", LINES, model=model)
    state = StateFile(path, clock=clock, history=None)
    with state.change() as world:
        world.add_bank("0", LINES, model=model)

    def then(seconds: float, change: Callable[[World], object]) -> World:
        change(in_memory)
        with state.change() as world:
            change(world)
        clock.advance(seconds)
        with state.look() as world:
            assert world.history == in_memory.history
            assert [(n.phase, n.card) for n in world.nodes] == [(n.phase, n.card) for n in in_memory.nodes]
            return world

    then(5, lambda world: world.bank("0").write({0: True}))
    then(5, lambda world: world.bank("0").write({0: False}))
    world = then(5, lambda world: world.bank("0").write({0: True}))
    assert (world.node("p1").phase, world.node("p1").card) == ("booting", "corrupt")
    world = then(1, lambda world: world.node("p1").repair())
    assert (world.node("p1").phase, world.node("p1").card) == ("booting", "clean")
    world = then(20, lambda world: world.node("p1").write(100))
    assert (world.node("p1").phase, world.node("p1").card) == ("failed", "clean")
    world = then(25, lambda world: world.bank("0").write({1: True, 2: True}))
    assert (world.node("p1").phase, world.node("p1").card) == ("up", "dirty"), "the rail browned out"
    then(25, lambda world: world.bank("0").write({1: False, 2: False}))
    world = then(25, lambda world: world.bank("0").write({1: True, 2: True}))
    assert world.brownouts == 2
    assert [node.phase for node in world.nodes] == ["failed"] * 3 + ["off"]
    assert told(world, "corrupted") == [(5.0, "p1"), (61.0, "p2"), (61.0, "p3"), (86.0, "p1")]
    assert [name for _, name in told(world, "failed")] == ["p1", "p1", "p2", "p3"]


def test_a_file_of_before_there_were_cards_is_read(path: str, clock: FakeClock) -> None:
    state = StateFile(path, clock=clock)
    with state.change() as world:
        world.add_bank("0", LINES)
        world.bank("0").write({0: True})
        clock.advance(20)
        world.bank("0").write({1: True})
    with open(path, encoding="utf-8") as file:
        old = json.load(file)
    bank = old["banks"][0]
    bank["model"] = bank["model"][:5]
    for hung, line in enumerate(bank["lines"][:4]):
        node = line["node"]
        del node["card"], node["halting"]
        node["hung"] = bool(hung)
        node["on"] = node["on"] and {key: node["on"][key] for key in ("at", "inrush", "load")}
    old["history"] = [[*entry[:4], entry[4] and entry[4][:3]] for entry in old["history"]]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(old, file)
    with state.look() as read:
        assert [node.phase for node in read.nodes] == ["up", "hung", "off", "off"]
        assert [node.card for node in read.nodes] == ["clean"] * 4
        assert read.bank("0").model == NodeModel()
        assert told(read, "up") == [(20.0, "p1")]


def test_the_cards_of_two_worlds_are_apart() -> None:
    first, clock = make()
    second = World(clock=clock)
    second.add_bank("0", LINES)
    first.bank("0").write({0: True})
    second.bank("0").write({0: True})
    clock.advance(1)
    first.bank("0").write({0: False})
    assert (first.node("p1").card, second.node("p1").card) == ("corrupt", "dirty")
