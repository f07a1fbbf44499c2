"""A world against a model of it that is too simple to be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from rpi_clusterhat.hardware.backend import Line
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_sim.state_file import StateFile
from rpi_clusterhat_sim.supply import NodeModel
from rpi_clusterhat_sim.world import World

if TYPE_CHECKING:
    import pytest


class Op(NamedTuple):
    what: str
    bank: int = 0
    levels: tuple[tuple[int, bool], ...] = ()
    seconds: float = 0.0
    node: int = 0
    fault: tuple[bool, float, float | None, float] = (True, 1.0, None, 0.0)


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


FAULTS = st.tuples(
    st.booleans(),
    st.sampled_from([0.5, 1.0, 4.0]),
    st.sampled_from([None, 0.0, 4.0, 32.0]),
    st.sampled_from([0.0, 2.0]),
)


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
        boots, slow, hang_after, drops = op.fault
        world.node(f"p{op.node + 1}").fail(boots=boots, slow=slow, hang_after=hang_after, drops=drops)


class Brute:
    """One record per node; every sum is taken anew over all nodes of the rail."""

    class Start(NamedTuple):
        at: float
        inrush: bool
        boots: bool
        slow: float
        hang_after: float | None
        drops: float

    def __init__(self) -> None:
        count = len(RAILS) * PER_BANK
        self.now = 1000.0
        self.starts: list[Brute.Start | None] = [None] * count
        self.fault: list[tuple[bool, float, float | None, float]] = [(True, 1.0, None, 0.0)] * count
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
        return model.boot if age < model.boot_time * start.slow + start.drops else model.idle

    def sum(self, rail: str, now: float) -> float:
        return round(sum(self.current(n, now) for n in self.on_rail(rail)), 6)

    def phase(self, n: int, now: float) -> str:
        start, model = self.starts[n], MODELS[n // PER_BANK]
        if start is None:
            return "off"
        age = now - start.at
        if self.hung[n] or (start.hang_after is not None and age >= start.hang_after):
            return "hung"
        if age < model.boot_time * start.slow + start.drops:
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
