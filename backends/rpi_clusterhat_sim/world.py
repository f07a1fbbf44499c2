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

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import NodeNameError
from rpi_clusterhat.hardware.simulation import SimulatedRail

from .bank import SimBank
from .consumer import Consumer
from .history import with_derived
from .load import NodeModel
from .node import SimNode, node_number
from .supply import CAPACITY, Supply
from .timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.hardware.backend import Line
    from rpi_clusterhat.hardware.simulation import SimulatedEvent


__all__ = ["AMBIENT", "HISTORY", "RAIL", "World", "WorldSource"]

AMBIENT = 22.0
HISTORY = 10_000
RAIL = "main"


class WorldSource(Protocol):
    """Where a world is: a `World` itself, or a `rpi_clusterhat_sim.state_file.StateFile`."""

    def rail_lock(self, rail: str) -> str | None: ...
    def look(self) -> AbstractContextManager[World]: ...
    def change(self) -> AbstractContextManager[World]: ...
    def watch(self, callback: Callable[[World], None]) -> Callable[[], None]: ...


class World:
    """Banks, nodes and rails of one simulation. May be used from any thread.

    ``history`` is how many events are kept; None for all.
    """

    def __init__(
        self, *, clock: Clock = SYSTEM, ambient: float = AMBIENT, history: int | None = HISTORY
    ) -> None:
        self.timeline = Timeline(clock, ambient, history)
        """For the modules of this package."""
        self.banks: dict[str, SimBank] = {}

    def rail_lock(self, rail: str) -> None:
        """None: nobody outside this process can reach its rails."""
        del rail

    def __repr__(self) -> str:
        return f"<World of {len(self.banks)} banks and {len(self.timeline.consumers)} nodes>"

    @contextmanager
    def look(self) -> Generator[World]:
        """This world, with all other threads kept out."""
        with self.timeline.lock:
            yield self

    change = look

    def watch(self, callback: Callable[[World], None]) -> Callable[[], None]:
        """Calls back with this world each time that power was switched or a node began to halt.

        All other threads are kept out meanwhile. Returns a function that ends this.
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
        model: NodeModel = NodeModel(),  # noqa: B008 - immutable
        set_up: bool = True,
        pos: bool = False,
    ) -> SimBank:
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
            consumers: dict[int, Consumer] = {}
            numbered = [
                (number, line.offset) for line in lines if (number := node_number(line.name)) is not None
            ]
            for _, offset in sorted(numbered):
                consumer = Consumer(
                    f"p{len(timeline.consumers) + 1}", supply, supply.load(model), timeline.ambient, time
                )
                consumers[offset] = consumer
                timeline.consumers.append(consumer)
            bank = SimBank(timeline, name, lines, consumers, supply, model, is_set_up=set_up, pos=pos)
            self.banks[name] = bank
            if not set_up and pos:
                timeline.switch(time, supply, [], list(consumers.values()))
            return bank

    def bank(self, name: str) -> SimBank:
        """The bank of this name; a `LookupError` where there is none."""
        return self.banks[name]

    def node(self, name: str, *, at: float | None = None) -> SimNode:
        """Returns a node.

        Args:
            name: Its number over all banks (``p5`` is the first node of the second board of four), or its
                bank and line (``1/p1``).
            at: The time at which to look at it, if nothing else happens until then; None for now. A time
                before the last event counts as that.

        Raises:
            NodeNameError: There is no such node.
        """
        with self.timeline.lock:
            consumer = self._find(name)
        if consumer is None:
            raise NodeNameError(f"the simulated world has no node {name!r}: it has {self._names()}")
        return SimNode(self.timeline, consumer, at)

    def _find(self, name: str) -> Consumer | None:
        bank_name, slash, line_name = name.rpartition("/")
        if slash:
            bank = self.banks.get(bank_name)
            line = bank.line(line_name) if bank else None
            return bank.consumers.get(line.offset) if bank and line else None
        number = node_number(name)
        consumers = self.timeline.consumers
        return consumers[number - 1] if number is not None and 1 <= number <= len(consumers) else None

    def _names(self) -> str:
        count = len(self.timeline.consumers)
        return f"p1 to p{count}" if count else "none"

    @property
    def nodes(self) -> list[SimNode]:
        """All nodes, in the order of their numbers."""
        with self.timeline.lock:
            return [SimNode(self.timeline, consumer) for consumer in self.timeline.consumers]

    def rail(self, name: str = RAIL, *, at: float | None = None) -> SimulatedRail:
        """A rail now, or ``at`` a time as in `node`."""
        timeline = self.timeline
        with timeline.lock:
            supply = timeline.supplies[name]
            time = timeline.now() if at is None else max(at, timeline.last)
            current = supply.draws(time) / 1e6
            return SimulatedRail(name, supply.capacity, current, supply.powered, supply.brownouts)

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
    def history(self) -> list[SimulatedEvent]:
        """What happened, oldest first, with what followed by itself until now. A copy."""
        with self.timeline.lock:
            rails = {consumer.name: f"rail {consumer.supply.name}" for consumer in self.timeline.consumers}
            return with_derived(self.timeline.entries, rails.get, self.timeline.now())

    def next_event(self, now: float | None = None) -> float | None:
        """Returns when something changes by itself after ``now``, or None if nothing does.

        That is the end of an inrush, a boot, a halt or a writing, or a node that hangs. It looks at all nodes
        that have some of this ahead.
        """
        with self.timeline.lock:
            after = self.timeline.now() if now is None else max(now, self.timeline.last)
            changes = [supply.next_change(after) for supply in self.timeline.supplies.values()]
            return min((change for change in changes if change is not None), default=None)
