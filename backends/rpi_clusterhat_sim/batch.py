"""Nodes that started at the same moment and behave alike: one node, or many after a brown-out."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from .course import Start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .load import Load

__all__ = ["Batch"]


class Batch(Start):
    """Their start, what each of them draws then, and how many there are."""

    __slots__ = ("count", "inrush", "inrush_end", "load")

    def __init__(self, load: Load, start: float, *, inrush: bool) -> None:
        super().__init__(start, load.course)
        self.load = load
        self.count = 0
        self.inrush = inrush
        self.inrush_end = start + load.inrush_time if inrush else start

    def alone(self) -> Batch:
        """One of them by itself, so that something can happen to it that does not happen to the others."""
        batch = Batch(self.load, self.start, inrush=self.inrush)
        batch.boots = self.boots
        batch.hang_at = self.hang_at
        batch.write_until = self.write_until
        batch.halt_at = self.halt_at
        batch.halt_end = self.halt_end
        return batch

    def draws(self, now: float) -> int:
        """What each of the nodes draws, in microamperes."""
        if now < self.inrush_end:
            return self.load.inrush
        if now < self.boot_end:
            return self.load.boot
        return self.load.idle if now < self.halt_end else self.load.halted

    def steps(self) -> Iterator[tuple[float, int]]:
        """When each of them changes by itself, and by how many microamperes."""
        draws = self.draws(self.start)
        changes = {
            self.inrush_end, self.opens_at, self.boot_end, self.hang_at, self.write_until, self.halt_end
        }  # fmt: skip
        for when in sorted(changes):
            if self.start < when < inf:
                before, draws = draws, self.draws(when)
                yield when, draws - before
