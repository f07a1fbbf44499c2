"""The order in which a node is halted, with ways and signs that a test plays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import (
    CommandTimeoutError,
    ConsoleError,
    HaltRefusedError,
    SupersededError,
    TransitionError,
)
from rpi_clusterhat.nodes.halt import halter as halter_module
from rpi_clusterhat.nodes.halt.halter import POLL, Halted, Halter
from rpi_clusterhat.nodes.halt.phases import TABLE, HaltPhase, HaltTrigger, after
from rpi_clusterhat.nodes.halt.way import HaltWay, NotWantedError, Sighting, Sign
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat.waiting import Sleep, drive, drive_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.waiting import Steps


class Node:
    """A node that needs some time to halt, of which only some things can be told."""

    def __init__(self, clock: FakeClock, *, halts_in: float | None = 3.0) -> None:
        self.clock = clock
        self.halts_in = halts_in
        self.asked_at: float | None = None
        self.asked_by: list[str] = []
        self.powered = True

    @property
    def is_down(self) -> bool:
        asked, needs = self.asked_at, self.halts_in
        return asked is not None and needs is not None and self.clock.now() >= asked + needs


class Way(HaltWay):
    """Asks the node, which takes ``seconds``; or fails with ``error`` until ``from_`` on the clock."""

    def __init__(
        self, node: Node, name: str, seconds: float = 0.0, error: str = "", from_: float = float("inf")
    ) -> None:
        self.node, self.name, self.seconds, self.error, self.from_ = node, name, seconds, error, from_
        self.closed = 0

    def ask(self, left: Callable[[], float], go: Callable[[], None]) -> Steps[None]:
        yield Sleep(min(self.seconds, max(0.0, left())))
        if self.error and self.node.clock.now() < self.from_:
            raise ConsoleError(self.error)
        go()
        self.node.asked_by.append(self.name)
        if self.node.asked_at is None:
            self.node.asked_at = self.node.clock.now()

    def close(self) -> None:
        self.closed += 1


class Look(Sign):
    def __init__(self, node: Node, *, sure: bool = True, there_from: float = 0.0) -> None:
        self.node, self.sure, self.there_from = node, sure, there_from

    def begin(self) -> Steps[bool]:
        yield from ()
        return self.node.clock.now() >= self.there_from

    def look(self) -> Steps[Sighting | None]:
        yield from ()
        return Sighting(self.node.is_down, "gone" if self.node.is_down else "still there", self.sure)


def halt(
    halter: Halter,
    clock: FakeClock,
    go: Callable[[], None] = lambda: None,
    is_over: Callable[[], bool] = lambda: False,
) -> Halted:
    return drive(halter.steps(clock, Gate(go, is_over)), clock)


class Gate:
    def __init__(
        self,
        go: Callable[[], None] = lambda: None,
        is_over: Callable[[], bool] = lambda: False,
        is_wanted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._go, self._is_over, self._is_wanted = go, is_over, is_wanted
        self.passed: list[str] = []

    def go(self) -> None:
        self._go()
        self.passed.append("go")

    def back(self) -> None:
        self.passed.append("back")

    def is_wanted(self) -> bool:
        return self._is_wanted()

    def is_over(self) -> bool:
        return self._is_over()


@pytest.fixture(name="clock")
def _clock() -> FakeClock:
    return FakeClock(100.0)


def test_it_is_asked_is_down_and_is_left_alone_for_a_moment(clock: FakeClock) -> None:
    node = Node(clock)
    halted = halt(Halter("p1", [Way(node, "ssh")], [Look(node)], settle=2.0), clock)
    assert halted == Halted(True, "ssh", halted.seconds, "gone")
    assert 3.0 <= halted.seconds <= 3.0 + POLL
    assert clock.now() == 100.0 + halted.seconds + 2.0


@given(
    halts_in=st.floats(0.0, 80.0), sure=st.booleans(), quiet=st.floats(0.0, 10.0), settle=st.floats(0.0, 5.0)
)
def test_it_takes_the_nodes_own_time_and_little_more(
    halts_in: float, quiet: float, settle: float, *, sure: bool
) -> None:
    clock = FakeClock(0.0)
    node = Node(clock, halts_in=halts_in)
    halted = halt(Halter("p1", [Way(node, "x")], [Look(node, sure=sure)], quiet=quiet, settle=settle), clock)
    needed = halts_in + (0.0 if sure else quiet)
    if halted:
        assert needed - 1e-6 <= halted.seconds <= needed + 2 * POLL
        assert clock.now() <= halted.seconds + settle + 1e-6
    else:
        assert needed > 60.0 - 2 * POLL
        assert clock.now() <= 60.0 + POLL


def test_the_next_way_is_taken_where_one_does_not_work(clock: FakeClock) -> None:
    node = Node(clock)
    ways = [Way(node, "console", error="no such device"), Way(node, "ssh")]
    assert halt(Halter("p1", ways, [Look(node)]), clock).way == "ssh"
    assert [way.closed for way in ways] == [1, 1]


def test_the_gate_knows_whether_the_node_was_told(clock: FakeClock) -> None:
    node = Node(clock)

    class Tells(Way):
        def ask(self, left: Callable[[], float], go: Callable[[], None]) -> Steps[None]:
            go()
            yield from super().ask(left, lambda: None)

    gate = Gate()
    halter = Halter("p1", [Tells(node, "console", error="it hung up"), Tells(node, "ssh")], [Look(node)])
    drive(halter.steps(clock, gate), clock)
    assert gate.passed == ["go", "back", "go"]


def test_a_way_whose_time_is_over_may_have_told_the_node(clock: FakeClock) -> None:
    node = Node(clock)

    class Tells(Way):
        def ask(self, left: Callable[[], float], go: Callable[[], None]) -> Steps[None]:
            go()
            yield from super().ask(left, lambda: None)
            raise CommandTimeoutError("it did not end in time")

    gate = Gate()
    halter = Halter("p1", [Tells(node, "http")], [Look(node, sure=False)], quiet=10.0)
    halted = drive(halter.steps(clock, gate), clock)
    assert "back" not in gate.passed
    assert halted.is_down
    assert halted.seconds == pytest.approx(13.0, abs=2 * POLL)


def test_a_way_that_hangs_leaves_time_for_the_next(clock: FakeClock) -> None:
    node = Node(clock)
    ways = [Way(node, "ssh", seconds=1000, error="it does not answer"), Way(node, "console")]
    halted = halt(Halter("p1", ways, [Look(node)], timeout=60), clock)
    assert (halted.way, halted.is_down) == ("console", True)
    assert halted.seconds < 30


def test_a_node_that_boots_is_asked_again_until_it_listens(clock: FakeClock) -> None:
    node = Node(clock)
    way = Way(node, "console", error="nobody listens", from_=115.0)
    halted = halt(Halter("p1", [way], [Look(node, there_from=110.0)]), clock)
    assert halted.is_down
    assert 18.0 <= halted.seconds <= 21.0


@pytest.mark.parametrize(
    ("ways", "halts_in", "reason"),
    [
        ("no", 1.0, "it could not be asked to halt within 60 s: console: no such device"),
        ("yes", None, "it was asked to halt (by console), and was not down within 60 s: still there"),
    ],
)
def test_it_gives_up_when_the_time_is_over(
    clock: FakeClock, ways: str, halts_in: float | None, reason: str
) -> None:
    node = Node(clock, halts_in=halts_in)
    way = Way(node, "console", error="no such device" if ways == "no" else "")
    halted = halt(Halter("p1", [way], [Look(node)], timeout=60.0), clock)
    assert not halted
    assert halted.reason == reason
    assert 60.0 <= clock.now() - 100.0 <= 60.0 + POLL


def test_without_a_sign_of_life_nothing_is_taken_for_a_halt(clock: FakeClock) -> None:
    node = Node(clock)
    halted = halt(Halter("p1", [Way(node, "ssh")], [Look(node, there_from=1e9)]), clock)
    assert not halted
    assert halted.reason == "it was asked to halt (by ssh), and nothing tells whether it is down"


def test_one_sure_sign_counts_more_than_others_that_are_silent(clock: FakeClock) -> None:
    node = Node(clock)
    other = Node(clock, halts_in=None)
    signs = [Look(other, sure=False), Look(node, sure=True)]
    assert halt(Halter("p1", [Way(node, "ssh")], signs), clock).seconds < 3.5


def test_what_answers_again_was_not_down(clock: FakeClock) -> None:
    class Flickers(Look):
        def look(self) -> Steps[Sighting]:
            yield from ()
            second = int(clock.now() - 100.0)
            return Sighting(second % 5 != 0 or second > 40, "gone from the network", is_sure=False)

    node = Node(clock)
    halted = halt(Halter("p1", [Way(node, "ssh")], [Flickers(node)], quiet=10.0), clock)
    assert halted.seconds == pytest.approx(51.0, abs=2 * POLL)


def test_a_guard_may_refuse(clock: FakeClock) -> None:
    def guard(name: str) -> Steps[str | None]:
        yield Sleep(1.0)
        return f"a job runs on {name}"

    node = Node(clock)
    with pytest.raises(HaltRefusedError, match="p1 is not halted: a job runs on p1"):
        halt(Halter("p1", [Way(node, "ssh")], [Look(node)], guards=[guard]), clock)
    assert node.asked_by == []


def test_it_is_called_off_as_long_as_it_was_not_asked(clock: FakeClock) -> None:
    node = Node(clock)

    def go() -> None:
        raise NotWantedError

    way = Way(node, "ssh")
    with pytest.raises(SupersededError, match="the halt of p1 was called off: it is to stay on"):
        halt(Halter("p1", [way], [Look(node)]), clock, go)
    assert node.asked_by == []
    assert way.closed == 1


def test_it_is_called_off_where_no_way_comes_so_far_as_to_ask(clock: FakeClock) -> None:
    way = Way(Node(clock), "console", error="nobody answers")
    gate = Gate(is_wanted=lambda: clock.now() > 105.0)
    with pytest.raises(SupersededError, match="called off"):
        drive(Halter("p1", [way], [Look(way.node)]).steps(clock, gate), clock)
    assert clock.now() < 105.0 + 2 * POLL


def test_whoever_wants_it_at_the_last_moment_gets_it(clock: FakeClock) -> None:
    def go() -> None:
        assert clock.now() >= 160.0
        raise NotWantedError

    way = Way(Node(clock), "console", error="nobody answers")
    with pytest.raises(SupersededError, match="called off"):
        halt(Halter("p1", [way], [Look(way.node)], timeout=60.0), clock, go)


def test_silence_of_a_node_that_was_not_asked_is_no_halt(clock: FakeClock) -> None:
    node, network = Node(clock), Node(clock, halts_in=5.0)
    network.asked_at = clock.now()  # its cable is pulled, and its console is broken
    halted = halt(
        Halter("p1", [Way(node, "console", error="nobody answers")], [Look(network, sure=False)]), clock
    )
    assert halted.reason == "it could not be asked to halt within 60 s: console: nobody answers"


def test_silence_counts_from_when_it_was_asked(clock: FakeClock) -> None:
    node, network = Node(clock), Node(clock, halts_in=1.0)
    network.asked_at = clock.now()
    way = Way(node, "console", error="nobody answers", from_=130.0)
    halted = halt(Halter("p1", [way], [Look(network, sure=False)], quiet=10.0), clock)
    assert (halted.is_down, halted.way) == (True, "console")
    assert node.asked_at is not None
    assert clock.now() >= node.asked_at + 10.0


def test_there_is_nothing_to_halt_once_its_power_was_cut(clock: FakeClock) -> None:
    node = Node(clock, halts_in=None)
    halted = halt(Halter("p1", [Way(node, "ssh")], [Look(node)]), clock, is_over=lambda: clock.now() > 105.0)
    assert halted.reason == "its power was cut"
    assert clock.now() < 105.0 + 2 * POLL


def test_an_event_loop_drives_the_same_steps() -> None:
    clock = FakeClock(0.0)
    node = Node(clock)
    halter = Halter("p1", [Way(node, "ssh")], [Look(node)])
    halted: Any = asyncio.run(drive_async(halter.steps(clock, Gate()), clock))
    assert halted.is_down


# The table -------------------------------------------------------------------------------------------------


def test_every_row_is_reached_by_something_that_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: set[tuple[HaltPhase, HaltTrigger]] = set()

    def noted(phase: HaltPhase, trigger: HaltTrigger) -> HaltPhase:
        rows.add((phase, trigger))
        return after(phase, trigger)

    monkeypatch.setattr(halter_module, "after", noted)
    for test in (
        test_it_is_asked_is_down_and_is_left_alone_for_a_moment,
        test_a_guard_may_refuse,
        test_it_is_called_off_as_long_as_it_was_not_asked,
        test_there_is_nothing_to_halt_once_its_power_was_cut,
        test_what_is_down_already_needs_no_way,
        test_what_loses_its_power_before_it_was_asked_is_over,
    ):
        test(FakeClock(100.0))
    for ways, halts_in in (("no", 1.0), ("yes", None)):
        clock = FakeClock(100.0)
        node = Node(clock, halts_in=halts_in)
        assert not halt(
            Halter("p1", [Way(node, "x", error="no" if ways == "no" else "")], [Look(node)]), clock
        )
    assert rows == {(phase, trigger) for phase, row in TABLE.items() for trigger in row}


def test_what_is_down_already_needs_no_way(clock: FakeClock) -> None:
    node = Node(clock)
    node.asked_at = 0.0
    halted = halt(Halter("p1", [Way(node, "console", error="nobody answers")], [Look(node)]), clock)
    assert (halted.is_down, halted.way, halted.seconds) == (True, None, 0.0)


def test_what_loses_its_power_before_it_was_asked_is_over(clock: FakeClock) -> None:
    node = Node(clock)
    way = Way(node, "console", error="nobody answers")
    halted = halt(Halter("p1", [way], [Look(node)]), clock, is_over=lambda: clock.now() > 101.0)
    assert halted.reason == "its power was cut"


@pytest.mark.parametrize("phase", list(HaltPhase))
@pytest.mark.parametrize("trigger", list(HaltTrigger))
def test_what_the_table_does_not_have_is_an_error(phase: HaltPhase, trigger: HaltTrigger) -> None:
    if trigger in TABLE[phase]:
        assert after(phase, trigger) is TABLE[phase][trigger]
    else:
        with pytest.raises(TransitionError, match=f"{trigger} is not allowed for a halt that is {phase}"):
            after(phase, trigger)
