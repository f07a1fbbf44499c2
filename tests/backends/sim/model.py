"""A model of a world that is too simple to be wrong, and what may happen to both."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

from rpi_clusterhat.errors import BackendError
from rpi_clusterhat.hardware.backend import Line
from rpi_clusterhat_sim.load import NodeModel
from rpi_clusterhat_sim.world import World

if TYPE_CHECKING:
    from rpi_clusterhat.testing import FakeClock
    from rpi_clusterhat_sim.node import SimNode


class Op(NamedTuple):
    what: str
    bank: int = 0
    levels: tuple[tuple[int, bool], ...] = ()
    seconds: float = 0.0
    node: int = 0
    fault: tuple[bool, float, float | None, float] = (True, 1.0, None, 0.0)
    halting: tuple[bool, bool, float | None] = (False, False, None)


RAILS = ("a", "a", "b")


CAPACITIES = {"a": 3.0, "b": 0.3}


PER_BANK = 2


MODELS = (
    NodeModel(),
    NodeModel(
        inrush=2.5, inrush_time=1.0, boot=0.5, idle=0.25, boot_time=8.0, halt_time=0.5, corrupt_boots=False
    ),
    NodeModel(inrush_time=0.0, writes=True),
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


HALTING = st.tuples(st.booleans(), st.booleans(), st.sampled_from([None, 0.0, 8.0]))


FAILS = st.tuples(NODES, FAULTS).map(lambda t: Op("fail", node=t[0], fault=t[1]))


HALTS = st.tuples(NODES, HALTING).map(lambda t: Op("fail_halting", node=t[0], halting=t[1]))


ON_NODES = st.one_of(
    FAILS,
    HALTS,
    st.tuples(NODES, SECONDS).map(lambda t: Op("scribble", node=t[0], seconds=t[1])),
    st.tuples(st.sampled_from(["halt", "hang", "repair"]), NODES).map(lambda t: Op(t[0], node=t[1])),
    st.tuples(NODES, st.booleans()).map(
        lambda t: Op("write", bank=t[0] // PER_BANK, levels=((t[0] % PER_BANK, t[1]),))
    ),
)


OPS = st.one_of(
    ON_NODES,
    st.tuples(BANKS, LEVELS).map(lambda t: Op("write", bank=t[0], levels=t[1])),
    st.tuples(BANKS, LEVELS).map(lambda t: Op("outside", bank=t[0], levels=t[1])),
    SECONDS.map(lambda seconds: Op("wait", seconds=seconds)),
    BANKS.map(lambda bank: Op("lose_power", bank=bank)),
)


@st.composite
def _stories(draw: st.DrawFn) -> list[Op]:
    """What happens to one node from before its start on: what matters needs several such in a row."""
    node = draw(NODES)
    bank, line = divmod(node, PER_BANK)
    neighbour = (line + 1) % PER_BANK
    shake = [Op("write", bank=bank, levels=((neighbour, level),)) for level in (False, True)]
    story = [op._replace(node=node) for op in draw(st.lists(st.one_of(FAILS, HALTS), max_size=2))]
    story += [Op("write", bank=bank, levels=((line, True),)), Op("wait", seconds=draw(SECONDS))]
    for op in draw(st.lists(st.one_of(ON_NODES, st.none()), max_size=5)):
        if op is None:
            story += shake
        else:
            story.append(op._replace(bank=bank) if op.what == "write" else op._replace(node=node))
        story.append(Op("wait", seconds=draw(SECONDS)))
    return story


HAPPENINGS = st.lists(st.one_of(OPS.map(lambda op: [op]), _stories()), max_size=12).map(
    lambda parts: [op for part in parts for op in part]
)
"""Lists of `Op`."""


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
    else:
        perform_on_node(world.node(f"p{op.node + 1}"), op)


def perform_on_node(node: SimNode, op: Op) -> None:
    if op.what == "hang":
        node.hang()
    elif op.what == "fail":
        boots, slow, hang_after, drops = op.fault
        node.fail(boots=boots, slow=slow, hang_after=hang_after, drops=drops)
    elif op.what == "fail_halting":
        ignored, hangs, seconds = op.halting
        node.fail_halting(ignored=ignored, hangs=hangs, seconds=seconds)
    elif op.what == "halt":
        with suppress(BackendError):
            node.halt()
    elif op.what == "scribble":
        node.write(op.seconds)
    elif op.what == "repair":
        node.repair()


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
        self.nodes = range(count)
        self.now = 1000.0
        self.starts: list[Brute.Start | None] = [None] * count
        self.fault: list[tuple[bool, float, float | None, float]] = [(True, 1.0, None, 0.0)] * count
        self.halting: list[tuple[bool, bool, float | None]] = [(False, False, None)] * count
        self.hung = [inf] * count
        self.halts = [(inf, inf)] * count
        self.writes_until = [0.0] * count
        self.corrupt = [False] * count
        self.corruptions = [0] * count
        self.boots = [0] * count
        self.brownouts = [0] * count
        self.rail_brownouts = {"a": 0, "b": 0}
        self.events: list[tuple[float, str, str]] = []
        """What followed by itself, and what was corrupted: when, the node, what."""

    def on_rail(self, rail: str) -> list[int]:
        return [n for n in range(len(self.starts)) if RAILS[n // PER_BANK] == rail]

    def current(self, n: int, now: float) -> float:
        start, model = self.starts[n], MODELS[n // PER_BANK]
        if start is None:
            return 0.0
        age = now - start.at
        if start.inrush and age < model.inrush_time:
            return model.inrush
        if age < model.boot_time * start.slow + start.drops:
            return model.boot
        return model.halted if self.phase(n, now) == "halted" else model.idle

    def sum(self, rail: str, now: float) -> float:
        return round(sum(self.current(n, now) for n in self.on_rail(rail)), 6)

    def phase(self, n: int, now: float) -> str:
        start, model = self.starts[n], MODELS[n // PER_BANK]
        if start is None:
            return "off"
        hangs = self.hung[n] if start.hang_after is None else min(self.hung[n], start.at + start.hang_after)
        asked, down = self.halts[n]
        if down <= min(now, hangs):
            return "halted"
        if hangs <= now:
            return "hung"
        if now - start.at < model.boot_time * start.slow + start.drops:
            return "booting"
        if not start.boots:
            return "failed"
        return "halting" if now >= asked else "up"

    def card(self, n: int, now: float) -> str:
        start, phase = self.starts[n], self.phase(n, now)
        if self.corrupt[n]:
            return "corrupt"
        writes = (
            phase == "halting"
            or (phase == "up" and (MODELS[n // PER_BANK].writes or now < self.writes_until[n]))
            or (phase == "booting" and start is not None and start.boots and now > start.at)
        )
        return "dirty" if writes else "clean"

    def outcome(self, n: int) -> list[tuple[float, str, str]]:
        """What came of its start by itself."""
        start, model, name = self.starts[n], MODELS[n // PER_BANK], f"p{n + 1}"
        if start is None:
            return []
        found: list[tuple[float, str, str]] = []
        hangs = inf if start.hang_after is None else start.at + start.hang_after
        booted = start.at + model.boot_time * start.slow + start.drops
        down = self.halts[n][1]
        if booted < hangs and booted <= min(self.now, self.hung[n]):
            found.append((booted, name, "up" if start.boots else "failed"))
        if down <= min(self.now, hangs, self.hung[n]):
            found.append((down, name, "halted"))
        elif min(hangs, self.hung[n]) <= self.now:
            found.append((min(hangs, self.hung[n]), name, "hung"))
        return found

    def cut(self, n: int) -> None:
        self.events += self.outcome(n)
        if self.card(n, self.now) == "dirty":
            self.corrupt[n] = True
            self.corruptions[n] += 1
            self.events.append((self.now, f"p{n + 1}", "corrupted"))
        self.starts[n] = None

    def start(self, n: int, *, inrush: bool) -> None:
        boots, slow, hang_after, drops = self.fault[n]
        boots = boots and (MODELS[n // PER_BANK].corrupt_boots or not self.corrupt[n])
        self.starts[n] = Brute.Start(self.now, inrush, boots, slow, hang_after, drops)
        self.hung[n], self.halts[n], self.writes_until[n] = inf, (inf, inf), 0.0
        self.boots[n] += 1

    def switch(self, bank: int, levels: dict[int, bool]) -> None:
        rail, on = RAILS[bank], False
        for line, level in levels.items():
            n = bank * PER_BANK + line
            if not level:
                self.cut(n)
        for line, level in levels.items():
            n = bank * PER_BANK + line
            if level and self.starts[n] is None:
                self.start(n, inrush=True)
                on = True
        if on and self.sum(rail, self.now) > CAPACITIES[rail]:
            self.rail_brownouts[rail] += 1
            for n in self.on_rail(rail):
                if self.starts[n] is not None:
                    self.cut(n)
                    self.start(n, inrush=False)
                    self.brownouts[n] += 1

    def perform(self, op: Op) -> None:
        if op.what in ("write", "outside"):
            self.switch(op.bank, dict(op.levels))
        elif op.what == "lose_power":
            self.switch(op.bank, dict.fromkeys(range(PER_BANK), False))
        elif op.what == "fail":
            self.fault[op.node] = op.fault
        elif op.what == "fail_halting":
            self.halting[op.node] = op.halting
        elif op.what == "repair":
            self.corrupt[op.node] = False
        else:
            self.perform_on_node(op.node, self.phase(op.node, self.now), op)

    def perform_on_node(self, n: int, phase: str, op: Op) -> None:
        if op.what == "hang" and phase not in ("halted", "hung"):
            self.hung[n] = self.now
        elif op.what == "scribble" and phase in ("booting", "up"):
            self.writes_until[n] = max(self.writes_until[n], self.now + op.seconds)
        elif op.what == "halt" and phase == "up":
            ignored, hangs, seconds = self.halting[n]
            lasts = MODELS[n // PER_BANK].halt_time if seconds is None else seconds
            if not ignored:
                self.halts[n] = self.now, inf if hangs else self.now + lasts
