"""The simulated world against a second one that works everything out anew at each look."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpi_clusterhat.errors import DeviceGoneError, NodeNameError, StuckLineError, TransientBusError
from rpi_clusterhat.hardware.backend import Line
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_sim.state_file import StateFile
from rpi_clusterhat_sim.supply import NodeModel
from rpi_clusterhat_sim.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

LINES = [Line(0, "p1"), Line(1, "p2"), Line(2, "p3"), Line(3, "p4"), Line(6, "alert")]


def make(nodes: int = 4, **model: float) -> tuple[World, FakeClock]:
    clock = FakeClock()
    world = World(clock=clock)
    lines = [Line(i, f"p{i + 1}") for i in range(nodes)]
    world.add_bank("0", lines, model=NodeModel(**model))
    return world, clock


def about(value: float) -> object:
    return pytest.approx(value)  # pyright: ignore[reportUnknownMemberType] - its types are incomplete


def told(world: World, what: str) -> list[tuple[float, str]]:
    return [(record.time - 1000, record.node) for record in world.history if record.what == what]


# One node ---------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("wrong", [{"slow": 0.0}, {"slow": -1.0}, {"hang_after": -0.5}])
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


# The rail ---------------------------------------------------------------------------------------------


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


# Banks ------------------------------------------------------------------------------------------------


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
    with pytest.raises(StuckLineError, match=r"line p2 .* high and stays low"):
        bank.write({1: True, 2: True})
    assert bank.levels() == {0: True, 1: False, 2: True, 3: False}
    bank.write({1: False})
    bank.write({0: True, 1: False})
    with pytest.raises(StuckLineError, match=r"line p1 .* low and stays high"):
        bank.write({0: False})
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


# History ----------------------------------------------------------------------------------------------


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


# Against a model that is too simple to be wrong ---------------------------------------------------------


class Op(NamedTuple):
    what: str
    bank: int = 0
    levels: tuple[tuple[int, bool], ...] = ()
    seconds: float = 0.0
    node: int = 0
    fault: tuple[bool, float, float | None] = (True, 1.0, None)


RAILS = ("a", "a", "b")
CAPACITIES = {"a": 6.0, "b": 0.5}
PER_BANK = 3
MODELS = (
    NodeModel(),
    NodeModel(inrush=2.5, inrush_time=1.0, boot=0.5, idle=0.25, boot_time=8.0),
    NodeModel(inrush_time=0.0),
)
# Sums and differences of these are exact, so that both sides agree on which side of an edge a moment lies.
SECONDS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 7.75, 20.0, 64.0])
LEVELS = st.one_of(
    st.dictionaries(st.integers(0, PER_BANK - 1), st.booleans(), min_size=1).map(lambda d: tuple(d.items())),
    st.just(tuple((line, True) for line in range(PER_BANK))),
)
NODES = st.integers(0, len(RAILS) * PER_BANK - 1)
BANKS = st.integers(0, len(RAILS) - 1)
FAULTS = st.tuples(st.booleans(), st.sampled_from([0.5, 1.0, 4.0]), st.sampled_from([None, 0.0, 4.0, 32.0]))
OPS = st.one_of(
    st.tuples(BANKS, LEVELS).map(lambda t: Op("write", bank=t[0], levels=t[1])),
    st.tuples(BANKS, LEVELS).map(lambda t: Op("outside", bank=t[0], levels=t[1])),
    SECONDS.map(lambda seconds: Op("wait", seconds=seconds)),
    st.tuples(NODES, FAULTS).map(lambda t: Op("fail", node=t[0], fault=t[1])),
    NODES.map(lambda node: Op("hang", node=node)),
    BANKS.map(lambda bank: Op("lose_power", bank=bank)),
)


def build(clock: FakeClock) -> World:
    world = World(clock=clock, history=None)
    furnish(world)
    return world


def furnish(world: World) -> None:
    for rail, capacity in CAPACITIES.items():
        world.add_rail(rail, capacity)
    for i, rail in enumerate(RAILS):
        lines = [Line(n, f"p{n + 1}") for n in range(PER_BANK)]
        world.add_bank(str(i), lines, rail=rail, model=MODELS[i])


def perform(world: World, op: Op) -> None:
    bank = world.bank(str(op.bank))
    if op.what == "write":
        bank.write(dict(op.levels))
    elif op.what == "outside":
        bank.outside(dict(op.levels))
    elif op.what == "lose_power":
        bank.lose_power()
    elif op.what == "hang":
        world.node(f"p{op.node + 1}").hang()
    elif op.what == "fail":
        boots, slow, hang_after = op.fault
        world.node(f"p{op.node + 1}").fail(boots=boots, slow=slow, hang_after=hang_after)


class Brute:
    """One record per node; every sum is taken anew over all nodes of the rail."""

    class Start(NamedTuple):
        at: float
        inrush: bool
        boots: bool
        slow: float
        hang_after: float | None

    def __init__(self) -> None:
        count = len(RAILS) * PER_BANK
        self.now = 1000.0
        self.starts: list[Brute.Start | None] = [None] * count
        self.fault: list[tuple[bool, float, float | None]] = [(True, 1.0, None)] * count
        self.hung = [False] * count
        self.boots = [0] * count
        self.brownouts = [0] * count
        self.rail_brownouts = {"a": 0, "b": 0}

    def on_rail(self, rail: str) -> list[int]:
        return [n for n in range(len(self.starts)) if RAILS[n // PER_BANK] == rail]

    def current(self, n: int, now: float) -> float:
        start, model = self.starts[n], MODELS[n // PER_BANK]
        if start is None:
            return 0.0
        age = now - start.at
        if start.inrush and age < model.inrush_time:
            return model.inrush
        return model.boot if age < model.boot_time * start.slow else model.idle

    def sum(self, rail: str, now: float) -> float:
        return round(sum(self.current(n, now) for n in self.on_rail(rail)), 6)

    def phase(self, n: int, now: float) -> str:
        start, model = self.starts[n], MODELS[n // PER_BANK]
        if start is None:
            return "off"
        age = now - start.at
        if self.hung[n] or (start.hang_after is not None and age >= start.hang_after):
            return "hung"
        if age < model.boot_time * start.slow:
            return "booting"
        return "up" if start.boots else "failed"

    def start(self, n: int, *, inrush: bool) -> None:
        self.starts[n] = Brute.Start(self.now, inrush, *self.fault[n])
        self.hung[n] = False
        self.boots[n] += 1

    def switch(self, bank: int, levels: dict[int, bool]) -> None:
        rail, on = RAILS[bank], False
        for line, level in levels.items():
            n = bank * PER_BANK + line
            if not level:
                self.starts[n], self.hung[n] = None, False
        for line, level in levels.items():
            n = bank * PER_BANK + line
            if level and self.starts[n] is None:
                self.start(n, inrush=True)
                on = True
        if on and self.sum(rail, self.now) > CAPACITIES[rail]:
            self.rail_brownouts[rail] += 1
            for n in self.on_rail(rail):
                if self.starts[n] is not None:
                    self.start(n, inrush=False)
                    self.brownouts[n] += 1

    def perform(self, op: Op) -> None:
        if op.what in ("write", "outside"):
            self.switch(op.bank, dict(op.levels))
        elif op.what == "lose_power":
            self.switch(op.bank, dict.fromkeys(range(PER_BANK), False))
        elif op.what == "wait":
            self.now += op.seconds
        elif op.what == "hang":
            self.hung[op.node] = self.starts[op.node] is not None
        elif op.what == "fail":
            self.fault[op.node] = op.fault


def check(world: World, brute: Brute, now: float) -> None:
    for n, node in enumerate([world.node(f"p{i + 1}", at=now) for i in range(len(brute.starts))]):
        assert node.phase == brute.phase(n, now)
        assert node.current == brute.current(n, now)
        assert node.powered is (brute.starts[n] is not None)
        assert (node.boots, node.brownouts) == (brute.boots[n], brute.brownouts[n])
    for rail in "ab":
        assert round(world.rail(rail, at=now).current, 6) == brute.sum(rail, now)
        assert world.rail(rail).brownouts == brute.rail_brownouts[rail]
        assert world.rail(rail).powered == sum(brute.starts[n] is not None for n in brute.on_rail(rail))


@settings(max_examples=300, deadline=None)
@given(st.lists(OPS, max_size=40))
def test_running_sums_and_late_bookkeeping_agree_with_working_it_out_anew(ops: list[Op]) -> None:
    clock = FakeClock()
    world, brute = build(clock), Brute()
    for op in ops:
        clock.advance(op.seconds)
        perform(world, op)
        brute.perform(op)
        check(world, brute, clock.now())
        check(world, brute, clock.now() + 0.25)
        check(world, brute, clock.now() + 10)


def tell(world: World) -> object:
    nodes = [
        (n.name, n.phase, n.current, n.boots, n.brownouts, n.temperature, n.up_since) for n in world.nodes
    ]
    rails = [world.rail("a"), world.rail("b")]
    return nodes, rails, world.history, world.controller_temperature, world.next_event()


@settings(max_examples=60, deadline=None)
@given(st.lists(OPS, max_size=30))
def test_asking_changes_nothing(ops: list[Op]) -> None:
    asked_clock, left_clock = FakeClock(), FakeClock()
    asked, left_alone = build(asked_clock), build(left_clock)
    for op in ops:
        for clock, world in ((asked_clock, asked), (left_clock, left_alone)):
            clock.advance(op.seconds)
            perform(world, op)
        tell(asked)
        asked.rail("a", at=asked_clock.now() + 1000)
        asked.next_event(asked_clock.now() + 3)
    assert tell(asked) == tell(left_alone)


@settings(max_examples=40, deadline=None)
@given(ops=st.lists(OPS, max_size=15))
def test_a_world_comes_back_from_a_file_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, ops: list[Op]
) -> None:
    file_clock, memory_clock = FakeClock(), FakeClock()
    state = StateFile(str(tmp_path_factory.mktemp("state") / "world"), clock=file_clock, history=None)
    in_memory = build(memory_clock)
    with state.change() as world:
        furnish(world)
    for op in ops:
        file_clock.advance(op.seconds)
        memory_clock.advance(op.seconds)
        perform(in_memory, op)
        with state.change() as world:
            perform(world, op)
    with state.look() as world:
        assert tell(world) == tell(in_memory)


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
