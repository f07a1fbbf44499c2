"""What happened in a world, for tests and people to read."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from rpi_clusterhat.hardware.simulation import SimulatedEvent

from .course import Course, Start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Entry", "with_derived"]


class Entry(NamedTuple):
    """An event as it is kept."""

    time: float
    what: str
    node: str
    detail: str = ""
    course: Course | None = None
    """With ``on``, ``fault`` and ``hung``: how the node's next start will go."""
    until: float | None = None
    """With ``halting`` and ``writing``: when that ends by itself; None for never."""


class _Run:
    """A node that has power."""

    __slots__ = ("corrupt", "next", "start")

    def __init__(self, time: float, course: Course) -> None:
        self.corrupt = course.corrupt
        self.next = course
        self.start: Start | None = Start(time, course)

    def restart(self, time: float) -> None:
        self.start = Start(time, self.next._replace(corrupt=self.corrupt))

    def outcome(self, node: str, end: float) -> Iterator[SimulatedEvent]:
        """What came of it by itself until ``end``."""
        start = self.start
        if start is None:
            return
        if start.boot_end < start.hang_at and start.boot_end <= end:
            yield SimulatedEvent(start.boot_end, "up" if start.boots else "failed", node)
        if start.hang_at <= end:
            yield SimulatedEvent(start.hang_at, "hung", node)
        if start.halt_end <= end:
            yield SimulatedEvent(start.halt_end, "halted", node)

    def cut(self, time: float) -> bool:
        """Whether a loss of power corrupts its card."""
        cut = not self.corrupt and self.start is not None and self.start.is_writing(time)
        self.corrupt |= cut
        return cut


def with_derived(
    entries: Iterable[Entry], rail_of: Callable[[str], str | None], now: float
) -> list[SimulatedEvent]:
    """Lists all events in the order of time, with those that followed by themselves.

    These are a boot that ended, a node that hung, one that was down, a card that a brown-out corrupted. They
    follow from the entries only: nothing is derived for a node whose ``on`` is no longer kept.
    """
    found: list[SimulatedEvent] = []
    runs: dict[str | None, dict[str, _Run]] = {}
    for entry in entries:
        time, what, node, detail, course, _ = entry
        corrupted: list[SimulatedEvent] = []
        if what == "brown-out":
            for name, run in runs.get(node, {}).items():
                found += run.outcome(name, time)
                if run.cut(time):
                    corrupted.append(SimulatedEvent(time, "corrupted", name))
                run.restart(time)
        elif what == "on" and course is not None:
            runs.setdefault(rail_of(node), {})[node] = _Run(time, course)
        elif what == "off":
            ended = runs.get(rail_of(node), {}).pop(node, None)
            if ended is not None:
                found += ended.outcome(node, time)
        elif what in _CHANGES:
            changed = runs.get(rail_of(node), {}).get(node)
            if changed is not None:
                found += _change(changed, entry)
        found.append(SimulatedEvent(time, what, node, detail))
        found += corrupted
    for of_rail in runs.values():
        for name, run in of_rail.items():
            found += run.outcome(name, now)
    found.sort(key=lambda event: event.time)
    return found


_CHANGES = ("fault", "halting", "hung", "repaired", "writing")


def _change(run: _Run, entry: Entry) -> list[SimulatedEvent]:
    found: list[SimulatedEvent] = []
    end = inf if entry.until is None else entry.until
    if entry.course is not None:
        run.next = entry.course
    if entry.what == "hung":
        found += run.outcome(entry.node, entry.time)
        run.start = None
    elif entry.what == "repaired":
        run.corrupt = False
    elif run.start is not None and entry.what == "halting":
        run.start.halt(entry.time, end)
    elif run.start is not None and entry.what == "writing":
        run.start.write(end)
    return found
