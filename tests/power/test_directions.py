"""Lines that are inputs: what they read is no proof that a node was switched."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat import BackendError, Cluster, LineDriven, State, StateChanged
from rpi_clusterhat.hardware.boards import board
from rpi_clusterhat.hardware.turnstile import LocalTurnstile
from rpi_clusterhat.power import plans
from rpi_clusterhat.power.bank import Bank
from rpi_clusterhat.power.inventory import Inventory
from rpi_clusterhat.power.operation import Again, Operation
from rpi_clusterhat.power.plans import Cut, Queue, Read, Seen, SwitchOn, TakeTurn
from rpi_clusterhat.power.rail import Rail
from rpi_clusterhat.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpi_clusterhat.power.plans import Plan, Step
    from tests.lab import Lab

LINES = (5, 6, 13, 19, 26)
POWER = LINES[1:]


class PulledBackend:
    """A bank whose lines begin as inputs, each with a pull."""

    holds_levels = True

    def __init__(self, *pulled_up: int) -> None:
        self.pulls = {offset: offset in pulled_up for offset in LINES}
        self.driven: dict[int, bool] = {}
        self.written: list[dict[int, bool]] = []
        self.inputs: frozenset[int] = frozenset()

    @property
    def pins(self) -> dict[int, bool]:
        return {**self.pulls, **self.driven}

    def read(self) -> dict[int, bool]:
        self.inputs = frozenset(self.pulls.keys() - self.driven.keys())
        return self.pins

    def write(self, levels: Mapping[int, bool]) -> None:
        self.written.append(dict(levels))
        self.driven.update(levels)

    def close(self) -> Mapping[int, bool] | None:
        return None


def opened(lab: Lab, *backends: PulledBackend) -> Cluster:
    return Cluster(lab.banks(*backends, version="1.3"), lab.clock)


def steps(plan: Plan[Any], found: Seen) -> list[Step]:
    assert isinstance(next(plan), Read)
    try:
        return [plan.send(found), *plan]
    except StopIteration:
        return []


# Plans -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("powered", [False, True])
def test_a_line_that_nobody_drives_is_switched_whatever_it_reads(powered: bool) -> None:
    seen = Seen({"p1": powered}, undriven=("p1",))
    assert steps(plans.switch_on(["p1"]), seen) == [Queue(("p1",)), TakeTurn("p1"), SwitchOn("p1")]
    assert steps(plans.switch_off(["p1"]), seen) == [Cut(("p1",), unlocked=True)]


def test_only_the_lines_that_nobody_drives_are_switched_again() -> None:
    on, off = {"p1": True, "p2": True}, {"p1": False, "p2": False}
    assert steps(plans.switch_off(["p1", "p2"]), Seen(off, undriven=("p2",))) == [Cut(("p2",), unlocked=True)]
    assert steps(plans.switch_on(["p1", "p2"]), Seen(on, undriven=("p2",)))[-1] == SwitchOn("p2")


# Nodes -----------------------------------------------------------------------------------------------------


def test_a_node_on_a_line_that_is_only_pulled_up_has_power_and_on_drives_its_line(lab: Lab) -> None:
    backend = PulledBackend(6)
    hat = opened(lab, backend)
    assert hat["p1"].powered
    assert backend.written == []
    events: list[Any] = []
    hat.subscribe(events.append)
    hat.on("p1")
    assert backend.written == [{6: True}]
    assert events == [LineDriven("p1", on=True)]
    backend.pulls[6] = False
    assert hat["p1"].powered
    hat.on("p1")
    assert backend.written == [{6: True}], "now it is on already"


def test_driving_a_line_that_reads_high_takes_a_turn_on_the_rail(lab: Lab) -> None:
    hat = opened(lab, PulledBackend(6, 13))
    start = lab.clock.now()
    hat.on("p1", "p2", "p3")
    assert lab.clock.now() - start == pytest.approx(4.0)


@pytest.mark.parametrize("pulled_up", [False, True])
def test_off_drives_a_line_that_nobody_drives(lab: Lab, pulled_up: bool) -> None:
    backend = PulledBackend(*[6] * pulled_up)
    hat = opened(lab, backend)
    assert hat["p1"].powered is pulled_up
    events: list[Any] = []
    hat.subscribe(events.append)
    hat.off("p1")
    assert backend.written == [{6: False}]
    changed = StateChanged("p1", State.ON, State.OFF, "request")
    assert events == [changed if pulled_up else LineDriven("p1", on=False)]
    backend.pulls[6] = True
    assert not hat["p1"].powered
    hat.off("p1")
    assert backend.written == [{6: False}], "now it is off already"


def test_a_cycle_of_a_line_that_is_only_pulled_up(lab: Lab) -> None:
    backend = PulledBackend(6)
    opened(lab, backend).cycle("p1", "p2")
    assert backend.written == [{6: False}, {6: True}, {13: True}]


def test_a_line_that_another_program_lets_go_of_while_the_node_waits_is_driven_again(lab: Lab) -> None:
    backend = PulledBackend(6, 13)
    hat = opened(lab, backend)
    hat.on("p1")

    def elsewhere() -> None:
        assert [node.powered for node in hat][:2] == [True, True]

    lab.clock.during = [elsewhere]
    hat.on("p2")
    assert backend.written[-1] == {13: True}


def test_a_node_that_another_program_drives_by_now_is_left_alone(lab: Lab) -> None:
    backend = PulledBackend(13)
    hat = opened(lab, backend)
    hat.on("p1")
    lab.clock.during = [lambda: backend.driven.update({13: True})]
    hat.on("p2")
    assert backend.written == [{6: True}]


_CALLS = st.lists(
    st.tuples(st.sampled_from(["on", "off"]), st.sets(st.integers(1, 4), min_size=1)), max_size=8
)


@given(
    calls=_CALLS,
    pulls=st.tuples(*[st.booleans()] * 4),
    driven=st.dictionaries(st.sampled_from(POWER), st.booleans()),
)
def test_what_was_asked_for_holds_whatever_the_pulls_do_and_nothing_is_written_twice(
    calls: list[tuple[str, set[int]]], pulls: tuple[bool, ...], driven: dict[int, bool]
) -> None:
    backend = PulledBackend(*[offset for offset, pull in zip(POWER, pulls, strict=True) if pull])
    backend.driven.update(driven)
    clock = FakeClock()
    bank = Bank(board("1.3"), backend, Rail(LocalTurnstile(), clock, 2.0), ["p1", "p2", "p3", "p4"])
    hat = Cluster([bank], clock)
    expected = dict(driven)
    for word, numbers in calls:
        lines = [POWER[number - 1] for number in sorted(numbers)]
        level = word == "on"
        due = {offset: level for offset in lines if expected.get(offset) is not level}
        backend.written.clear()
        (hat.on if level else hat.off)([f"p{number}" for number in sorted(numbers)])
        assert {o: v for levels in backend.written for o, v in levels.items()} == due
        expected.update(due)
        assert backend.driven == expected
        assert [node.powered for node in hat] == [backend.pins[offset] for offset in POWER]


# Errors ----------------------------------------------------------------------------------------------------


def broken(access: str) -> None:
    if access == "write":
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("word", ["on", "off", "alert"])
def test_an_error_of_the_system_that_a_backend_lets_out_of_a_write_is_told_as_the_backends(
    lab: Lab, word: str
) -> None:
    bad, good = lab.memory(on=(1,)), lab.memory(on=(1,))
    hat = lab.v1(bad, good)
    bad.before = broken
    calls = {"on": lambda: hat.on("p2"), "off": lambda: hat.off("p1", "p5"), "alert": hat.alert.on}
    with pytest.raises(BackendError, match=r"^MemoryBackend: .*Input/output error"):
        calls[word]()
    if word != "on":
        assert good.written == [{6: False} if word == "off" else {5: True}], "the other board was left out"
    assert hat["p1"].powered


def test_a_place_on_the_rail_is_given_up_when_a_write_fails(lab: Lab) -> None:
    bad = lab.memory()
    hat = lab.v1(bad)
    bad.before = broken
    with pytest.raises(BackendError):
        hat.on("p1")
    assert hat["p1"].state is State.OFF
    bad.before = str
    hat.on("p1")
    assert hat["p1"].powered


def test_a_turn_is_not_looked_at_again_and_again_for_a_line_that_nobody_drives(lab: Lab) -> None:
    backend = PulledBackend(6, 13)
    hat = opened(lab, backend)
    hat.on("p1")
    reads = 0
    read = backend.read

    def counted() -> dict[int, bool]:
        nonlocal reads
        reads += 1
        return read()

    backend.read = counted  # type: ignore[method-assign]
    operation = Operation(Inventory(hat.banks, lab.clock))
    operation.perform(Read(("p2",), desired=True))
    assert isinstance(operation.perform(TakeTurn("p2")), Again)
    assert isinstance(operation.perform(TakeTurn("p2")), Again)
    assert reads == 1
    operation.finish()
