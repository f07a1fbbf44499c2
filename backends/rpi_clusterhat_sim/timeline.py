"""The events of a world in their order, and what follows from them and the time alone."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from rpi_clusterhat._fork import after_fork

from .consumer import warmed
from .history import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rpi_clusterhat.clock import Clock

    from .consumer import Consumer
    from .course import Course
    from .supply import Supply

__all__ = ["Timeline"]

# Chosen, not measured: degrees above the ambient in the end, and the seconds for 63 % of the way there.
_CONTROLLER_RISE, _CONTROLLER_RISE_BY_NODES, _CONTROLLER_TAU = 20.0, 8.0, 180.0


class Timeline:
    """What the faces of a world (`World`, `SimBank`, `SimNode`) have in common. Guarded by ``lock``."""

    def __init__(self, clock: Clock, ambient: float, history: int | None) -> None:
        self.clock = clock
        self._renew()
        after_fork(self, Timeline._renew)
        self.supplies: dict[str, Supply] = {}
        self.consumers: list[Consumer] = []
        self.powered = 0
        self.entries: deque[Entry] = deque(maxlen=history)
        self.last = clock.now()
        """When the last event was."""
        self.version = 0
        """How many events there were: whether anything needs to be saved."""
        self.controller_warm_at = self.last
        self.watchers: list[Callable[[], None]] = []
        """Called after power was switched or a node began to halt, with the lock held."""
        self.set_ambient(ambient)

    def _renew(self) -> None:
        self.lock = threading.RLock()

    def set_ambient(self, degrees: float) -> None:
        self.ambient = degrees
        self.controller_warmth = degrees + _CONTROLLER_RISE  # it has been on for long

    def now(self) -> float:
        """The time to answer questions for: never before the last event."""
        return max(self.clock.now(), self.last)

    def event(self) -> float:
        """The time of an event that happens now."""
        self.version += 1
        self.last = max(self.clock.now(), self.last)
        return self.last

    def note(
        self,
        time: float,
        what: str,
        node: str,
        detail: str = "",
        course: Course | None = None,
        until: float | None = None,
    ) -> None:
        self.entries.append(Entry(time, what, node, detail, course, until))

    def switch(self, now: float, supply: Supply, off: Sequence[Consumer], on: Sequence[Consumer]) -> None:
        """Gives power to nodes of one supply and cuts it from others, at one moment."""
        self.controller_warmth = self.controller_temperature(now)
        self.controller_warm_at = now
        for consumer in (*off, *on):
            consumer.sync()
            consumer.warm(now)
        for consumer in off:
            self.note(now, "off", consumer.name)
            if consumer.cut(now):
                self.note(now, "corrupted", consumer.name)
        for consumer in on:
            self.note(now, "on", consumer.name, "", consumer.course)
        self.powered += len(on) - len(off)
        peak = supply.switch(now, off, on)
        if peak is not None:
            self.note(now, "brown-out", f"rail {supply.name}", f"{peak / 1e6:g} A of {supply.capacity:g} A")
        self.tell()

    def tell(self) -> None:
        """Tells who watches."""
        for watcher in tuple(self.watchers):
            watcher()

    def controller_temperature(self, now: float) -> float:
        by_nodes = _CONTROLLER_RISE_BY_NODES * self.powered / (len(self.consumers) or 1)
        toward = self.ambient + _CONTROLLER_RISE + by_nodes
        return warmed(self.controller_warmth, toward, now - self.controller_warm_at, _CONTROLLER_TAU)
