"""How a node's start goes, from the moment at which it got power: a function of that and of the time."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

__all__ = ["Course", "Start"]


class Course(NamedTuple):
    """How a start will go."""

    boot_time: float
    """Seconds, with those of ``drops``."""
    boots: bool
    hang_after: float | None
    drops: float = 0.0
    """Seconds, at the end of the boot, in which it takes connections and closes them."""
    writes: bool = False
    """Whether it writes to its card without end while it is up."""
    corrupt_boots: bool = True
    """Whether it boots from a corrupt card, too."""
    corrupt: bool = False
    """Whether its card is corrupt when it starts."""


class Start:
    """One start of a node, and what it was asked to do since."""

    __slots__ = (
        "boot_end", "boots", "course", "halt_at", "halt_end", "hang_at", "opens_at", "start", "write_until",
    )  # fmt: skip

    def __init__(self, start: float, course: Course) -> None:
        self.start = start
        self.course = course
        self.boots = course.boots and (course.corrupt_boots or not course.corrupt)
        self.boot_end = start + course.boot_time
        self.opens_at = self.boot_end - course.drops
        self.hang_at = inf if course.hang_after is None else start + course.hang_after
        self.write_until = -inf
        self.halt_at = inf
        self.halt_end = inf

    def phase(self, now: float) -> str:
        if now >= self.halt_end:
            return "halted"
        if now >= self.hang_at:
            return "hung"
        if now < self.boot_end:
            return "booting"
        if not self.boots:
            return "failed"
        return "halting" if now >= self.halt_at else "up"

    def is_writing(self, now: float) -> bool:
        """Whether a cut would corrupt the card.

        One that does not get as far as to boot, or hangs, writes nothing; nor did one that started just now.
        """
        phase = self.phase(now)
        if phase == "up":
            return self.course.writes or now < self.write_until
        return phase == "halting" or (phase == "booting" and self.boots and now > self.start)

    def write(self, until: float) -> None:
        self.write_until = max(self.write_until, until)

    def halt(self, now: float, end: float) -> None:
        """Begins to halt; it is down at ``end`` unless it hangs before."""
        self.halt_at = now
        self.write_until = -inf
        if self.hang_at < end:
            self.halt_end = inf
        else:
            self.halt_end, self.hang_at = end, inf

    def hang(self, now: float) -> None:
        self.hang_at = min(self.hang_at, now)
        self.halt_end = inf
