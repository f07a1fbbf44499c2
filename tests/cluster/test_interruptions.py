"""Ctrl-C between the steps of an operation, and several callers at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    SupersededError,
)
from rpi_clusterhat.power import plans
from rpi_clusterhat.power.inventory import Inventory
from rpi_clusterhat.power.operation import Again, Operation
from rpi_clusterhat.waiting import drive
from tests.cluster.looking import ALERT, ALL, OPERATIONS, POWER, agrees, interrupt, states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rpi_clusterhat.power.plans import Plan
    from rpi_clusterhat.testing import FakeExpander
    from tests.lab import Lab, MemoryBackend


# Interruptions ---------------------------------------------------------------------------------------------


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
