"""A simulated node, as users and tests look at it and break it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from .timeline import course_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from .supply import Consumer
    from .timeline import Timeline

__all__ = ["SimNode", "node_number"]


def node_number(line_name: str) -> int | None:
    """3 for a line that is named ``p3``; None for one that switches no node."""
    digits = line_name[1:]
    return int(digits) if line_name[:1] == "p" and digits.isascii() and digits.isdigit() else None


class SimNode:
    """A look at a node, at the time of its world's clock or at a time that is asked for.

    May be kept: it shows what holds when it is asked. May be used from any thread.
    """

    __slots__ = ("_at", "_consumer", "_timeline")

    def __init__(self, timeline: Timeline, consumer: Consumer, at: float | None = None) -> None:
        self._timeline = timeline
        self._consumer = consumer
        self._at = at

    def __repr__(self) -> str:
        return f"<SimNode {self.name} {self.phase}>"

    @property
    def name(self) -> str:
        """``p1`` …, numbered on over the banks in the order in which they came into the world."""
        return self._consumer.name

    @contextmanager
    def _look(self) -> Generator[tuple[Consumer, float]]:
        timeline = self._timeline
        with timeline.lock:
            self._consumer.sync()
            yield self._consumer, timeline.now() if self._at is None else max(self._at, timeline.last)

    @property
    def powered(self) -> bool:
        with self._look() as (consumer, _):
            return consumer.batch is not None

    @property
    def phase(self) -> str:
        """``off``, ``booting``, ``up``, ``hung`` or ``failed``.

        A node is ``failed`` when it did not boot. It draws current all the same, as does one that hangs.
        """
        with self._look() as (consumer, now):
            batch = consumer.batch
            if batch is None:
                return "off"
            if consumer.hung or (batch.hang_at is not None and now >= batch.hang_at):
                return "hung"
            if now < batch.boot_end:
                return "booting"
            return "up" if batch.load.boots else "failed"

    @property
    def is_up(self) -> bool:
        """Whether it would answer a probe."""
        return self.phase == "up"

    @property
    def is_dropping(self) -> bool:
        """Whether its port takes connections and closes them, as its boot is about to end."""
        with self._look() as (consumer, now):
            batch = consumer.batch
            return batch is not None and self.phase == "booting" and now >= batch.opens_at < batch.boot_end

    @property
    def up_since(self) -> float | None:
        """When it had booted, in the clock's seconds; None where it is not up."""
        with self._look() as (consumer, _):
            return consumer.batch.boot_end if consumer.batch is not None and self.phase == "up" else None

    @property
    def boots(self) -> int:
        """How often it started to boot: at each power-up, and once more at each brown-out."""
        with self._look() as (consumer, _):
            return consumer.starts

    @property
    def brownouts(self) -> int:
        """How often a brown-out made it start anew."""
        with self._look() as (consumer, _):
            return consumer.brownouts

    @property
    def current(self) -> float:
        """Amperes."""
        with self._look() as (consumer, now):
            return consumer.batch.draws(now) / 1e6 if consumer.batch is not None else 0.0

    @property
    def temperature(self) -> float:
        """Degrees Celsius."""
        with self._look() as (consumer, now):
            return self._timeline.temperature(consumer, now)

    def hang(self) -> None:
        """Hangs now, until its next start. Nothing happens to a node without power."""
        with self._look() as (consumer, _):
            if consumer.batch is not None and self.phase != "hung":
                time = self._timeline.event()
                consumer.hung = True
                self._timeline.note(time, "hung", self.name, "asked for", course_of(consumer.load))

    def fail(
        self, *, boots: bool = True, slow: float = 1.0, hang_after: float | None = None, drops: float = 0.0
    ) -> None:
        """Has it fail from its next start on. Without arguments it works again.

        Args:
            boots: Whether it boots at all.
            slow: How many times longer its boot takes.
            hang_after: How many seconds after each start it hangs; None for never.
            drops: For how many seconds more it boots, in which it takes connections and closes them.

        Raises:
            ValueError: ``slow`` is not positive, or ``hang_after`` or ``drops`` is negative.
        """
        if not slow > 0 or not (hang_after is None or hang_after >= 0):
            raise ValueError("slow must be a positive factor, hang_after None or a number of seconds")
        if not drops >= 0:
            raise ValueError("drops must be a number of seconds")
        with self._look() as (consumer, _):
            model = consumer.load.model
            load = consumer.supply.load(model, slow, boots=boots, hang_after=hang_after, drops=drops)
            if load is not consumer.load:
                time = self._timeline.event()
                consumer.supply.change_load(consumer, load)
                words = [] if boots else ["no-boot"]
                words += [f"slow={slow:g}"] if slow != 1 else []
                words += [f"hang={hang_after:g}"] if hang_after is not None else []
                words += [f"drops={drops:g}"] if drops else []
                self._timeline.note(time, "fault", self.name, " ".join(words) or "ok", course_of(load))
