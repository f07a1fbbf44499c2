"""A simulated world: banks of lines, the nodes that they switch, and the rails that feed the nodes.

All that a world says is a function of the events so far and the time: nothing waits, and asking changes
nothing. Its time is that of its clock, so a test moves a `rpi_clusterhat.testing.FakeClock`.

    clock = FakeClock()
    world = World(clock=clock)
    world.add_bank("0", lines)
    cluster, or SimBackend(world, lines).write({0: True})
    clock.advance(20)
    world.node("p1").phase          # "up"
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import DeviceGoneError, NodeNameError, StuckLineError, TransientBusError

from .history import with_derived
from .supply import CAPACITY, Cell, Model, Supply
from .timeline import Timeline, course_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.hardware.backend import Line

    from .history import Record

__all__ = [
    "AMBIENT",
    "HISTORY",
    "RAIL",
    "Bank",
    "BusFault",
    "Node",
    "RailState",
    "World",
    "node_number",
]

AMBIENT = 22.0
HISTORY = 10_000
RAIL = "main"


def node_number(line_name: str) -> int | None:
    """3 for a line that is named ``p3``; None for one that switches no node."""
    digits = line_name[1:]
    return int(digits) if line_name[:1] == "p" and digits.isascii() and digits.isdigit() else None


class Node:
    """A look at a node, at the time of its world's clock or at a time that is asked for.

    May be kept: it shows what holds when it is asked. May be used from any thread.
    """

    __slots__ = ("_at", "_cell", "_timeline")

    def __init__(self, timeline: Timeline, cell: Cell, at: float | None = None) -> None:
        self._timeline = timeline
        self._cell = cell
        self._at = at

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.phase}>"

    @property
    def name(self) -> str:
        """``p1`` …, numbered on over the banks in the order in which they came into the world."""
        return self._cell.name

    @contextmanager
    def _look(self) -> Generator[tuple[Cell, float]]:
        timeline = self._timeline
        with timeline.lock:
            self._cell.sync()
            yield self._cell, timeline.now() if self._at is None else max(self._at, timeline.last)

    @property
    def powered(self) -> bool:
        with self._look() as (cell, _):
            return cell.batch is not None

    @property
    def phase(self) -> str:
        """``off``, ``booting``, ``up``, ``hung`` or ``failed``. The last is a node whose boot came to
        nothing; it draws current all the same, as does one that hangs."""
        with self._look() as (cell, now):
            batch = cell.batch
            if batch is None:
                return "off"
            if cell.hung or (batch.hang_at is not None and now >= batch.hang_at):
                return "hung"
            if now < batch.boot_end:
                return "booting"
            return "up" if batch.load.boots else "failed"

    @property
    def is_up(self) -> bool:
        """Whether it would answer a probe."""
        return self.phase == "up"

    @property
    def up_since(self) -> float | None:
        """When it had booted, in the clock's seconds; None where it is not up."""
        with self._look() as (cell, _):
            return cell.batch.boot_end if cell.batch is not None and self.phase == "up" else None

    @property
    def boots(self) -> int:
        """How often it started to boot: at each power-up, and once more at each brown-out."""
        with self._look() as (cell, _):
            return cell.starts

    @property
    def brownouts(self) -> int:
        """How often a brown-out made it start anew."""
        with self._look() as (cell, _):
            return cell.brownouts

    @property
    def current(self) -> float:
        """Amperes."""
        with self._look() as (cell, now):
            return cell.batch.draws(now) / 1e6 if cell.batch is not None else 0.0

    @property
    def temperature(self) -> float:
        """Degrees Celsius."""
        with self._look() as (cell, now):
            return self._timeline.temperature(cell, now)

    def hang(self) -> None:
        """Hangs now, until its next start. Nothing happens to a node without power."""
        with self._look() as (cell, _):
            if cell.batch is not None and self.phase != "hung":
                time = self._timeline.event()
                cell.hung = True
                self._timeline.note(time, "hung", self.name, "asked for", course_of(cell.load))

    def fail(self, *, boots: bool = True, slow: float = 1.0, hang_after: float | None = None) -> None:
        """From its next start on: whether it boots, how many times longer that takes, and how many seconds
        after each start it hangs. Without arguments it is sound again."""
        if not slow > 0 or not (hang_after is None or hang_after >= 0):
            raise ValueError("slow must be a positive factor, hang_after None or a number of seconds")
        with self._look() as (cell, _):
            load = cell.supply.load(cell.load.model, slow, boots=boots, hang_after=hang_after)
            if load is not cell.load:
                time = self._timeline.event()
                cell.supply.change_load(cell, load)
                words = [] if boots else ["no-boot"]
                words += [f"slow={slow:g}"] if slow != 1 else []
                words += [f"hang={hang_after:g}"] if hang_after is not None else []
                self._timeline.note(time, "fault", self.name, " ".join(words) or "ok", course_of(load))


class BusFault:
    """Accesses that fail: after ``wait`` more that work, ``times`` of them, or all where that is None."""

    __slots__ = ("gone", "times", "wait")

    def __init__(self, wait: int, times: int | None, *, gone: bool) -> None:
        self.wait = wait
        self.times = times
        self.gone = gone


class Bank:
    """The lines of one board. Come by it through `World.add_bank` and `World.bank`; may be used from any
    thread."""

    def __init__(
        self,
        timeline: Timeline,
        name: str,
        lines: Sequence[Line],
        cells: Mapping[int, Cell],
        supply: Supply,
        model: Model,
        *,
        is_set_up: bool,
        pos: bool,
    ) -> None:
        self.name = name
        self.lines = tuple(lines)
        self.model = model
        self.supply = supply
        self.pos = pos
        """Whether the jumper says that nodes get power before anybody sets the bank up."""
        self.is_set_up = is_set_up
        self.cells = dict(cells)
        self.driven = dict.fromkeys([line.offset for line in lines], False)
        """What was written last, by offset."""
        self.stuck: dict[int, bool] = {}
        self.holders: dict[int, str] = {}
        """By offset, the holder with whom a line's level ends; no entry for lines that keep theirs."""
        self.bus_faults: list[BusFault] = []
        self._timeline = timeline

    def __repr__(self) -> str:
        return f"<Bank {self.name} {self.levels()}>"

    @property
    def node_names(self) -> list[str]:
        return [cell.name for cell in self.cells.values()]

    def levels(self) -> dict[int, bool]:
        """What a meter at the pins shows, by offset. No access to the bus."""
        with self._timeline.lock:
            if self.is_set_up and not self.stuck:
                return dict(self.driven)
            return {offset: self._pin(offset) for offset in self.driven}

    def _pin(self, offset: int) -> bool:
        stuck = self.stuck.get(offset)
        if stuck is not None:
            return stuck
        return self.driven[offset] if self.is_set_up else self.pos and offset in self.cells

    # Accesses ---------------------------------------------------------------------------------------------

    def read(self) -> dict[int, bool]:
        """The levels at the pins, over the bus."""
        with self._timeline.lock:
            self._access("read", "")
            return self.levels()

    def write(self, levels: Mapping[int, bool], holder: str | None = None) -> None:
        """One transaction. On a bank that nobody has set up, the other lines keep what their pins show.

        Raises `StuckLineError` when all is written and a line does not follow.
        """
        with self._timeline.lock:
            self._write("write", levels, holder)

    def set_up(self, levels: Mapping[int, bool], holder: str | None = None) -> None:
        """As `write`, on whatever was there before."""
        with self._timeline.lock:
            self._write("set-up", levels, holder)

    def _write(self, what: str, levels: Mapping[int, bool], holder: str | None) -> None:
        self._access(what, self._describe(levels))
        self._drive(self._timeline.event(), levels, holder)
        for offset, level in levels.items():
            if self.stuck.get(offset, level) is not level:
                raise StuckLineError(
                    f"line {self._line_name(offset)} of the simulated bank {self.name} was set "
                    f"{_word(level)} and stays {_word(not level)}: it was made to stick"
                )

    def _access(self, what: str, detail: str) -> None:
        timeline = self._timeline
        if not self.bus_faults:
            timeline.note(timeline.now(), what, f"bank {self.name}", detail)
            return
        time = timeline.event()
        hit: BusFault | None = None
        for fault in self.bus_faults:
            if fault.wait:
                fault.wait -= 1
            elif hit is None:
                hit = fault
        timeline.note(time, what, f"bank {self.name}", "bus error" if hit else detail)
        if hit is None:
            return
        if hit.gone:
            raise DeviceGoneError(
                errno.ENODEV,
                f"the bus of the simulated bank {self.name} is gone, as was asked for: open it anew",
            )
        if hit.times is not None:
            hit.times -= 1
            if not hit.times:
                self.bus_faults.remove(hit)
        raise TransientBusError(
            errno.EREMOTEIO,
            f"the simulated bank {self.name} does not acknowledge, as was asked for: try again",
        )

    def _drive(self, time: float, levels: Mapping[int, bool], holder: str | None) -> None:
        if not self.is_set_up:
            self.driven = {offset: self._pin(offset) for offset in self.driven}
            self.is_set_up = True
        self.driven.update(levels)
        if holder is not None:
            self.holders.update(dict.fromkeys(levels, holder))
        elif self.holders:
            for offset in levels:
                self.holders.pop(offset, None)
        self._settle(time, levels)

    def _settle(self, time: float, offsets: Iterable[int]) -> None:
        """Brings the nodes' power in line with the pins."""
        off: list[Cell] = []
        on: list[Cell] = []
        for offset in offsets:
            cell = self.cells.get(offset)
            if cell is not None and self._pin(offset) is not (cell.batch is not None):
                (off if cell.batch is not None else on).append(cell)
        if off or on:
            self._timeline.switch(time, self.supply, off, on)

    # What happens to it -----------------------------------------------------------------------------------

    def outside(self, levels: Mapping[int, bool]) -> None:
        """Another program switches lines, without an access of ours."""
        self._check(levels)
        with self._timeline.lock:
            time = self._note("outside", self._describe(levels))
            self._drive(time, levels, None)

    def release(self, holders: Collection[str]) -> None:
        """These holders are gone: the lines that they had written drop back to low."""
        with self._timeline.lock:
            lines = [offset for offset, holder in self.holders.items() if holder in holders]
            if lines:
                low = dict.fromkeys(lines, False)
                time = self._note("released", self._describe(low))
                self._drive(time, low, None)

    def lose_power(self) -> None:
        """The bank loses power for a moment and comes back as nobody has set it up: all lines off, but those
        of nodes whose jumper says on."""
        with self._timeline.lock:
            time = self._note("power-lost", "")
            self.holders.clear()
            self.driven = dict.fromkeys(self.driven, False)
            pos, self.pos = self.pos, False
            self.is_set_up = False
            self._settle(time, self.cells)
            self.pos = pos
            self._settle(time, self.cells)

    def stick(self, offset: int, level: bool | None) -> None:
        """Makes a line stick at a level; with None it follows again what was written last."""
        self._check([offset])
        with self._timeline.lock:
            if self.stuck.get(offset) is level:
                return
            time = self._note(
                "fault", self._line_name(offset) + (" ok" if level is None else f" stuck {_word(level)}")
            )
            if level is None:
                del self.stuck[offset]
            else:
                self.stuck[offset] = level
            self._settle(time, [offset])

    def fail_bus(self, access: int = 1, times: int | None = 1, *, gone: bool = False) -> None:
        """The so many-th access from now fails with `TransientBusError`, and as many in all as ``times`` says
        (None: from then on all); with ``gone``, from then on all with `DeviceGoneError`."""
        if access < 1 or not (times is None or times >= 1):
            raise ValueError("access and times count from 1")
        with self._timeline.lock:
            self._note("fault", f"bus {'gone' if gone else 'error'} at access {access}")
            self.bus_faults.append(BusFault(access - 1, None if gone else times, gone=gone))

    def heal_bus(self) -> None:
        """Accesses work again."""
        with self._timeline.lock:
            if self.bus_faults:
                self._note("fault", "bus ok")
                self.bus_faults.clear()

    def line(self, name: str) -> Line | None:
        """The line of this name."""
        return next((line for line in self.lines if line.name == name), None)

    def _note(self, what: str, detail: str) -> float:
        time = self._timeline.event()
        self._timeline.note(time, what, f"bank {self.name}", detail)
        return time

    def _check(self, offsets: Iterable[int]) -> None:
        for offset in offsets:
            if offset not in self.driven:
                raise ValueError(f"bank {self.name} has no line {offset}: it has {sorted(self.driven)}")

    def _line_name(self, offset: int) -> str:
        return next(line.name for line in self.lines if line.offset == offset)

    def _describe(self, levels: Mapping[int, bool]) -> str:
        return " ".join([f"{offset}={'1' if level else '0'}" for offset, level in levels.items()])


def _word(level: bool) -> str:
    return "high" if level else "low"


class RailState(NamedTuple):
    """A rail at a time."""

    name: str
    capacity: float
    """Amperes."""
    current: float
    """Amperes that all its nodes draw together."""
    powered: int
    """How many nodes have power."""
    brownouts: int


class World:
    """Banks, nodes and rails of one simulation. May be used from any thread.

    ``history`` is how many records are kept; None for all.
    """

    private_rail: str | None = None
    """Nobody outside this process can reach its rails."""

    def __init__(
        self, *, clock: Clock = SYSTEM, ambient: float = AMBIENT, history: int | None = HISTORY
    ) -> None:
        self.timeline = Timeline(clock, ambient, history)
        """For the modules of this package."""
        self.banks: dict[str, Bank] = {}

    def __repr__(self) -> str:
        return f"<World of {len(self.banks)} banks and {len(self.timeline.cells)} nodes>"

    @contextmanager
    def look(self) -> Generator[World]:
        """This world, with all other threads kept out."""
        with self.timeline.lock:
            yield self

    change = look

    def watch(self, callback: Callable[[World], None]) -> Callable[[], None]:
        """Calls back with this world each time that power was switched, with all other threads kept out.

        Returns a function that ends this.
        """
        watchers = self.timeline.watchers
        watcher = partial(callback, self)
        watchers.append(watcher)
        return partial(watchers.remove, watcher)

    def set_ambient(self, degrees: float) -> None:
        """Degrees Celsius around everything. For a world in which nothing has warmed up yet."""
        with self.timeline.lock:
            if self.banks:
                raise ValueError("the ambient temperature is set before the first bank")
            self.timeline.set_ambient(degrees)

    def add_rail(self, name: str, capacity: float = CAPACITY) -> None:
        """A supply that gives so many amperes before it browns out."""
        with self.timeline.lock:
            if name in self.timeline.supplies:
                raise ValueError(f"there is a rail {name} already")
            if not capacity > 0:
                raise ValueError("a capacity is a positive number of amperes")
            self.timeline.supplies[name] = Supply(name, capacity)

    def add_bank(
        self,
        name: str,
        lines: Sequence[Line],
        *,
        rail: str = RAIL,
        model: Model = Model(),  # noqa: B008 - immutable
        set_up: bool = True,
        pos: bool = False,
    ) -> Bank:
        """A board whose lines ``p1`` … switch nodes on a rail, which is made where it is not there yet.

        ``set_up`` false is a board as it comes out of a power loss; with ``pos`` its nodes have power then.
        """
        timeline = self.timeline
        with timeline.lock:
            if name in self.banks:
                raise ValueError(f"there is a bank {name} already")
            if rail not in timeline.supplies:
                self.add_rail(rail)
            time = timeline.event()
            timeline.controller_warmth = timeline.controller_temperature(time)
            timeline.controller_warm_at = time
            supply = timeline.supplies[rail]
            cells: dict[int, Cell] = {}
            numbered = [
                (number, line.offset) for line in lines if (number := node_number(line.name)) is not None
            ]
            for _, offset in sorted(numbered):
                cell = Cell(f"p{len(timeline.cells) + 1}", supply, supply.load(model), timeline.ambient, time)
                cells[offset] = cell
                timeline.cells.append(cell)
            bank = Bank(timeline, name, lines, cells, supply, model, is_set_up=set_up, pos=pos)
            self.banks[name] = bank
            if not set_up and pos:
                timeline.switch(time, supply, [], list(cells.values()))
            return bank

    def bank(self, name: str) -> Bank:
        """The bank of this name; a `LookupError` where there is none."""
        return self.banks[name]

    def node(self, name: str, *, at: float | None = None) -> Node:
        """A node by its number over all banks (``p5`` is the first of the second board of four), or by bank
        and line: ``1/p1``. With ``at`` as it is at that time if nothing else happens; a time before the last
        event counts as that. Raises `NodeNameError`."""
        with self.timeline.lock:
            cell = self._find(name)
        if cell is None:
            raise NodeNameError(f"the simulated world has no node {name!r}: it has {self._names()}")
        return Node(self.timeline, cell, at)

    def _find(self, name: str) -> Cell | None:
        bank_name, slash, line_name = name.rpartition("/")
        if slash:
            bank = self.banks.get(bank_name)
            line = bank.line(line_name) if bank else None
            return bank.cells.get(line.offset) if bank and line else None
        number = node_number(name)
        cells = self.timeline.cells
        return cells[number - 1] if number is not None and 1 <= number <= len(cells) else None

    def _names(self) -> str:
        count = len(self.timeline.cells)
        return f"p1 to p{count}" if count else "none"

    @property
    def nodes(self) -> list[Node]:
        with self.timeline.lock:
            return [Node(self.timeline, cell) for cell in self.timeline.cells]

    def rail(self, name: str = RAIL, *, at: float | None = None) -> RailState:
        """A rail now, or ``at`` a time as in `node`."""
        timeline = self.timeline
        with timeline.lock:
            supply = timeline.supplies[name]
            time = timeline.now() if at is None else max(at, timeline.last)
            current = supply.draws(time) / 1e6
            return RailState(name, supply.capacity, current, supply.powered, supply.brownouts)

    @property
    def brownouts(self) -> int:
        """How often any rail browned out."""
        with self.timeline.lock:
            return sum(supply.brownouts for supply in self.timeline.supplies.values())

    @property
    def controller_temperature(self) -> float:
        """Degrees Celsius: above the ambient, and more so the more of the nodes have power."""
        with self.timeline.lock:
            return self.timeline.controller_temperature(self.timeline.now())

    @property
    def history(self) -> list[Record]:
        """What happened, oldest first, with what followed by itself until now. A copy."""
        with self.timeline.lock:
            rails = {cell.name: f"rail {cell.supply.name}" for cell in self.timeline.cells}
            return with_derived(self.timeline.entries, rails.__getitem__, self.timeline.now())

    def next_event(self, now: float | None = None) -> float | None:
        """When something changes by itself after ``now``: an inrush or a boot ends, a node hangs. None where
        all is settled. Looks at all that is under way."""
        with self.timeline.lock:
            after = self.timeline.now() if now is None else max(now, self.timeline.last)
            changes = [supply.next_change(after) for supply in self.timeline.supplies.values()]
            return min((change for change in changes if change is not None), default=None)
