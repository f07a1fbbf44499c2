"""The events of a world in their order, and what follows from them and the time alone."""

from __future__ import annotations

import threading
from collections import deque
from math import exp
from typing import TYPE_CHECKING

from rpi_clusterhat._fork import after_fork

from .history import Course, Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rpi_clusterhat.clock import Clock

    from .supply import Consumer, Load, Supply

__all__ = ["VOLTS", "Timeline"]

VOLTS = 5.0

# Chosen, not measured: degrees above the ambient in the end, and the seconds for 63 % of the way there.
_NODE_RISE_PER_WATT, _NODE_TAU = 30.0, 90.0
_CONTROLLER_RISE, _CONTROLLER_RISE_BY_NODES, _CONTROLLER_TAU = 20.0, 8.0, 180.0


def _warmed(was: float, toward: float, seconds: float, tau: float) -> float:
    return toward + (was - toward) * exp(-max(0.0, seconds) / tau)


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
        """Called after power was switched, with the lock held."""
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

    def note(self, time: float, what: str, node: str, detail: str = "", course: Course | None = None) -> None:
        self.entries.append(Entry(time, what, node, detail, course))

    def switch(self, now: float, supply: Supply, off: Sequence[Consumer], on: Sequence[Consumer]) -> None:
        """Gives power to nodes of one supply and cuts it from others, at one moment."""
        self.controller_warmth = self.controller_temperature(now)
        self.controller_warm_at = now
        for consumer in (*off, *on):
            consumer.warmth = self.temperature(consumer, now)
            consumer.warm_at = now
        for consumer in off:
            self.note(now, "off", consumer.name)
        for consumer in on:
            self.note(now, "on", consumer.name, "", course_of(consumer.load))
        self.powered += len(on) - len(off)
        peak = supply.switch(now, off, on)
        if peak is not None:
            self.note(now, "brown-out", f"rail {supply.name}", f"{peak / 1e6:g} A of {supply.capacity:g} A")
        for watcher in tuple(self.watchers):
            watcher()

    def temperature(self, consumer: Consumer, now: float) -> float:
        """Degrees Celsius. A node warms up by what it draws when idle: its boot is short beside that."""
        rise = _NODE_RISE_PER_WATT * VOLTS * consumer.load.model.idle if consumer.batch is not None else 0.0
        return _warmed(consumer.warmth, self.ambient + rise, now - consumer.warm_at, _NODE_TAU)

    def controller_temperature(self, now: float) -> float:
        by_nodes = _CONTROLLER_RISE_BY_NODES * self.powered / (len(self.consumers) or 1)
        toward = self.ambient + _CONTROLLER_RISE + by_nodes
        return _warmed(self.controller_warmth, toward, now - self.controller_warm_at, _CONTROLLER_TAU)


def course_of(load: Load) -> Course:
    return Course(load.boot_time, load.boots, load.hang_after)
