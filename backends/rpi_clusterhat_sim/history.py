"""What happened in a world, for tests and people to read."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from rpi_clusterhat.hardware.simulation import SimulatedEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Course", "Entry", "with_derived"]


class Course(NamedTuple):
    """How a start will go."""

    boot_time: float
    boots: bool
    hang_after: float | None


class Entry(NamedTuple):
    """An event as it is kept; with ``on`` and ``fault``, how the node's next start will go."""

    time: float
    what: str
    node: str
    detail: str = ""
    course: Course | None = None


class _Run:
    __slots__ = ("course", "next", "start")

    def __init__(self, start: float, course: Course) -> None:
        self.start: float | None = start
        self.course = course
        self.next = course

    def outcome(self, node: str, end: float) -> Iterator[SimulatedEvent]:
        """What came of it by itself until ``end``."""
        if self.start is None:
            return
        hang = inf if self.course.hang_after is None else self.start + self.course.hang_after
        boot = self.start + self.course.boot_time
        if boot < hang and boot <= end:
            yield SimulatedEvent(boot, "up" if self.course.boots else "failed", node)
        if hang <= end:
            yield SimulatedEvent(hang, "hung", node)


def with_derived(entries: Iterable[Entry], rail_of: Callable[[str], str], now: float) -> list[SimulatedEvent]:
    """Lists all events in the order of time, with those that followed by themselves.

    These are a boot that ended or a node that hung. They follow from the entries only: nothing is derived
    for a node whose ``on`` is no longer kept.
    """
    found: list[SimulatedEvent] = []
    runs: dict[str, dict[str, _Run]] = {}
    for entry in entries:
        time, what, node, detail, course = entry
        if what == "brown-out":
            for name, run in runs.get(node, {}).items():
                found += run.outcome(name, time)
                run.start, run.course = time, run.next
        elif what == "on" and course is not None:
            runs.setdefault(rail_of(node), {})[node] = _Run(time, course)
        elif what == "off":
            ended = runs.get(rail_of(node), {}).pop(node, None)
            if ended is not None:
                found += ended.outcome(node, time)
        elif what in ("fault", "hung") and course is not None:
            changed = runs.get(rail_of(node), {}).get(node)
            if changed is not None:
                changed.next = course
                if what == "hung":
                    found += changed.outcome(node, time)
                    changed.start = None
        found.append(SimulatedEvent(time, what, node, detail))
    for of_rail in runs.values():
        for name, run in of_rail.items():
            found += run.outcome(name, now)
    found.sort(key=lambda event: event.time)
    return found
