"""A supply and the nodes on it: who draws how much, and when it gives way.

Currents are whole microamperes, so that running sums stay exact over any number of events. Nothing here
asks for the time: each event comes with its own, never earlier than the one before.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["CAPACITY", "Batch", "Consumer", "Load", "NodeModel", "Supply", "micro"]

CAPACITY = 5.8
"""Amperes, chosen: less than two inrushes, and enough for the last of 16 nodes two seconds after the 15th."""


class NodeModel(NamedTuple):
    """What a node draws (A), and for how long (s).

    The defaults are chosen, not measured: ``idle`` follows the 2.6 W by which four idle Zeros are said to
    raise a controller's consumption; the others are of a plausible size.
    """

    inrush: float = 3.0
    inrush_time: float = 0.5
    boot: float = 0.2
    idle: float = 0.13
    boot_time: float = 20.0


def micro(amperes: float) -> int:
    return round(amperes * 1e6)


class Load:
    """How a node behaves from its next start on. Nodes of one supply that behave alike share one."""

    __slots__ = (
        "boot", "boot_time", "boots", "count", "drops", "hang_after", "idle", "inrush", "inrush_time",
        "model", "slow",
    )  # fmt: skip

    def __init__(
        self, model: NodeModel, slow: float, *, boots: bool, hang_after: float | None, drops: float
    ) -> None:
        self.model = model
        self.slow = slow
        self.boots = boots
        self.hang_after = hang_after
        self.drops = drops
        """Seconds, at the end of the boot, in which it takes connections and closes them."""
        self.inrush = micro(model.inrush)
        self.boot = micro(model.boot)
        self.idle = micro(model.idle)
        self.inrush_time = model.inrush_time
        self.boot_time = model.boot_time * slow + drops
        self.count = 0
        """How many nodes that have power will start like this next."""


class Batch:
    """Nodes that started at the same moment and behave alike: one node, or many after a brown-out."""

    __slots__ = ("boot_end", "count", "hang_at", "inrush", "inrush_end", "load", "opens_at", "start")

    def __init__(self, load: Load, start: float, count: int, *, inrush: bool) -> None:
        self.load = load
        self.start = start
        self.count = count
        self.inrush = inrush
        self.inrush_end = start + load.inrush_time if inrush else start
        self.boot_end = start + load.boot_time
        self.opens_at = self.boot_end - load.drops
        self.hang_at = None if load.hang_after is None else start + load.hang_after

    def draws(self, now: float) -> int:
        """What each of the nodes draws, in microamperes."""
        if now < self.inrush_end:
            return self.load.inrush
        return self.load.boot if now < self.boot_end else self.load.idle

    def steps(self) -> Iterator[tuple[float, int]]:
        """When each of them changes by itself, and by how many microamperes."""
        load = self.load
        if self.inrush_end > self.start:
            yield self.inrush_end, self.draws(self.inrush_end) - load.inrush
        if self.boot_end > self.inrush_end:
            yield self.boot_end, load.idle - load.boot
        elif self.boot_end > self.start:
            yield self.boot_end, 0  # booted while its capacitors still charge
        if self.opens_at < self.boot_end:
            yield self.opens_at, 0
        if self.hang_at is not None:
            yield self.hang_at, 0


class Consumer:
    """A node as its supply sees it."""

    __slots__ = (
        "batch", "brownouts", "hung", "load", "name", "seen", "starts", "supply", "warm_at", "warmth",
    )  # fmt: skip

    def __init__(self, name: str, supply: Supply, load: Load, warmth: float, now: float) -> None:
        self.name = name
        self.supply = supply
        self.load = load
        self.batch: Batch | None = None
        """None without power; to be read after `sync`."""
        self.seen = supply.brownouts
        self.starts = 0
        self.brownouts = 0
        self.hung = False
        self.warmth = warmth
        """Degrees Celsius, at ``warm_at``: when power was last switched."""
        self.warm_at = now

    def sync(self) -> None:
        """Catches up with the supply's brown-outs.

        They are not applied to each node when they happen: a supply with thousands of nodes may brown out
        each time that a node is switched.
        """
        supply = self.supply
        missed = supply.brownouts - self.seen
        if not missed:
            return
        self.seen = supply.brownouts
        if self.batch is not None:
            self.starts += missed
            self.brownouts += missed
            self.hung = False
            self.batch = supply.restarted[self.load]


class Supply:
    """A rail: its capacity, and the running sum of what the nodes on it draw."""

    __slots__ = (
        "_number", "_steps", "brownouts", "capacity", "loads", "name", "powered", "restarted", "total",
    )  # fmt: skip

    def __init__(self, name: str, capacity: float) -> None:
        self.name = name
        self.capacity = capacity
        self.total = 0
        self.powered = 0
        self.brownouts = 0
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
            consumer.hung = False
        switched_on = False
        for consumer in on:
            consumer.sync()
            consumer.starts += 1
            self.start(consumer, Batch(consumer.load, now, 0, inrush=True), now)
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

    def change_load(self, consumer: Consumer, load: Load) -> None:
        """How the node behaves from its next start on."""
        consumer.sync()
        if consumer.batch is not None:
            consumer.load.count -= 1
            load.count += 1
        consumer.load = load

    def _brown_out(self, now: float) -> None:
        self.brownouts += 1
        self._steps.clear()
        self.restarted = {
            load: Batch(load, now, load.count, inrush=False) for load in self.loads.values() if load.count
        }
        self.total = 0
        for batch in self.restarted.values():
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
