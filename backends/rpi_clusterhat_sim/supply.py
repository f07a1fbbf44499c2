"""A supply and the nodes on it: who draws how much, and when it gives way.

Currents are whole microamperes, so that running sums stay exact over any number of events. Nothing here
asks for the time: each event comes with its own, never earlier than the one before.
"""

from __future__ import annotations

import heapq
from math import inf
from typing import TYPE_CHECKING

from .batch import Batch
from .load import Load, micro

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .consumer import Consumer
    from .load import NodeModel

__all__ = ["CAPACITY", "Period", "Supply"]

CAPACITY = 5.8
"""Amperes, chosen: less than two inrushes, and enough for the last of 16 nodes two seconds after the 15th."""


class Period:
    """The time between two brown-outs of a supply. Nodes that have not caught up yet hold on to theirs."""

    __slots__ = ("end", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        """How many brown-outs there were before."""
        self.end = inf


class Supply:
    """A rail: its capacity, and the running sum of what the nodes on it draw."""

    __slots__ = (
        "_number", "_steps", "capacity", "loads", "name", "period", "powered", "restarted", "total",
    )  # fmt: skip

    def __init__(self, name: str, capacity: float) -> None:
        self.name = name
        self.capacity = capacity
        self.total = 0
        self.powered = 0
        self.period = Period(0)
        self.loads: dict[tuple[NodeModel, float, bool, float | None, float], Load] = {}
        self.restarted: dict[Load, Batch] = {}
        """Whom the last brown-out hit, by what they were going to be at their next start."""
        self._steps: list[tuple[float, int, Batch, int]] = []
        self._number = 0

    def load(
        self,
        model: NodeModel,
        slow: float = 1.0,
        *,
        boots: bool = True,
        hang_after: float | None = None,
        drops: float = 0.0,
    ) -> Load:
        key = (model, slow, boots, hang_after, drops)
        load = self.loads.get(key)
        if load is None:
            load = self.loads[key] = Load(model, slow, boots=boots, hang_after=hang_after, drops=drops)
        return load

    def __repr__(self) -> str:
        return f"<Supply {self.name} {self.powered} nodes on, {self.pending} changes pending>"

    @property
    def brownouts(self) -> int:
        return self.period.number

    @property
    def pending(self) -> int:
        """How many changes are on the list, those of nodes that have been switched off since included."""
        return len(self._steps)

    def draws(self, now: float) -> int:
        """Microamperes at a time, which may lie ahead: asking changes nothing."""
        return self.total + sum(delta * batch.count for when, _, batch, delta in self._steps if when <= now)

    def next_change(self, now: float) -> float | None:
        """When something changes by itself next. Looks at all that is under way."""
        return min((when for when, _, batch, _ in self._steps if when > now and batch.count), default=None)

    def switch(self, now: float, off: Iterable[Consumer], on: Iterable[Consumer]) -> int | None:
        """Cuts power, then gives power, at one moment.

        After a brown-out, every node that has power starts again, at boot current and without an inrush,
        since its capacitors are charged. With an inrush, each brown-out would cause the next one.

        Returns:
            By how many microamperes the current was too high if the supply browns out, else None.
        """
        self._advance(now)
        for consumer in off:
            consumer.sync()
            assert consumer.batch is not None
            self.total -= consumer.batch.draws(now)
            self.powered -= 1
            consumer.load.count -= 1
            consumer.batch.count -= 1
            consumer.batch = None
        switched_on = False
        for consumer in on:
            consumer.sync()
            consumer.starts += 1
            self.start(consumer, Batch(consumer.load, now, inrush=True), now)
            switched_on = True
        peak = self.total
        if switched_on and peak > micro(self.capacity):
            self._brown_out(now)
            return peak
        return None

    def start(self, consumer: Consumer, batch: Batch, now: float) -> None:
        """Puts a node that had no power into a batch."""
        consumer.batch = batch
        consumer.load.count += 1
        batch.count += 1
        self.powered += 1
        self.total += batch.draws(now)
        self._schedule(batch, now)

    def replace(self, consumer: Consumer, batch: Batch, now: float) -> None:
        """Has a node that has power, and has caught up, go on as this batch does, which is its own."""
        self._advance(now)
        old = consumer.batch
        assert old is not None
        self.total += batch.draws(now) - old.draws(now)
        old.count -= 1
        batch.count += 1
        consumer.batch = batch
        self._schedule(batch, now)

    def change_load(self, consumer: Consumer, load: Load) -> None:
        """How the node behaves from its next start on."""
        consumer.sync()
        if consumer.batch is not None:
            consumer.load.count -= 1
            load.count += 1
        consumer.load = load

    def _brown_out(self, now: float) -> None:
        self.period.end = now
        self.period = Period(self.period.number + 1)
        for load, batch in self.restarted.items():
            if batch.is_writing(now):
                load.corrupted = self.period.number
        self._steps.clear()
        self.restarted = {load: Batch(load, now, inrush=False) for load in self.loads.values() if load.count}
        self.total = 0
        for load, batch in self.restarted.items():
            batch.count = load.count
            self.total += batch.draws(now) * batch.count
            self._schedule(batch, now)

    def _schedule(self, batch: Batch, now: float) -> None:
        for when, delta in batch.steps():
            if when > now:
                self._number += 1
                heapq.heappush(self._steps, (when, self._number, batch, delta))
        if len(self._steps) > 64 + 6 * self.powered:  # most are of nodes that were switched off before
            self._steps = [step for step in self._steps if step[2].count]
            heapq.heapify(self._steps)

    def _advance(self, now: float) -> None:
        while self._steps and self._steps[0][0] <= now:
            _, _, batch, delta = heapq.heappop(self._steps)
            self.total += delta * batch.count
