"""A simulated node, as users and tests look at it and break it."""

from __future__ import annotations

from contextlib import contextmanager
from math import inf, isfinite
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import BackendError

from .consumer import Halting

if TYPE_CHECKING:
    from collections.abc import Generator

    from .batch import Batch
    from .consumer import Consumer
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
        """``off``, ``booting``, ``up``, ``hung``, ``failed``, ``halting`` or ``halted``.

        A node is ``failed`` when it did not boot. It draws current all the same, as does one that hangs. One
        that has halted draws little, and boots again when its power was cut and given, or browned out.
        """
        with self._look() as (consumer, now):
            return consumer.phase(now)

    @property
    def is_up(self) -> bool:
        """Whether it would answer a probe."""
        return self.phase == "up"

    @property
    def is_dropping(self) -> bool:
        """Whether its port takes connections and closes them, as its boot is about to end."""
        with self._look() as (consumer, now):
            batch = consumer.batch
            return batch is not None and batch.phase(now) == "booting" and now >= batch.opens_at

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
            return consumer.temperature(now)

    @property
    def card(self) -> str:
        """``clean``, ``dirty`` while it is being written, or ``corrupt``.

        A node writes to its card while it boots, while it halts, and when it was told to (`write`, the option
        ``writes``). A cut, a brown-out or a board's loss of power meanwhile corrupts the card.
        """
        with self._look() as (consumer, now):
            return consumer.card(now)

    @property
    def corruptions(self) -> int:
        """How often its card was corrupted; a corrupt one is not corrupted again before it is repaired."""
        with self._look() as (consumer, _):
            return consumer.corruptions

    def hang(self) -> None:
        """Hangs now, until its next start. Nothing happens to a node that has halted or has no power."""
        with self._look() as (consumer, now):
            if consumer.phase(now) not in ("off", "hung", "halted"):
                time, batch = self._alone(consumer)
                batch.hang(time)
                consumer.supply.replace(consumer, batch, time)
                self._timeline.note(time, "hung", self.name, "asked for", consumer.load.course)

    def halt(self) -> None:
        """Asks its operating system to halt. Nothing happens to a node that is halting or has halted already.

        Raises:
            BackendError: Nobody there listens: it has no power, has not booted, or hangs.
        """
        with self._look() as (consumer, now):
            phase = consumer.phase(now)
            if phase in _DEAF:
                raise BackendError(f"the simulated node {self.name} cannot be asked to halt: {_DEAF[phase]}")
            if phase != "up":
                return
            if consumer.halting.ignored:
                self._timeline.note(self._timeline.event(), "no-halt", self.name)
                return
            time, batch = self._alone(consumer)
            lasts = consumer.load.model.halt_time if consumer.halting.time is None else consumer.halting.time
            batch.halt(time, inf if consumer.halting.hangs else time + lasts)
            consumer.supply.replace(consumer, batch, time)
            until = batch.halt_end if isfinite(batch.halt_end) else None
            self._timeline.note(time, "halting", self.name, until=until)
            self._timeline.tell()

    def write(self, seconds: float) -> None:
        """Writes to its card from now on, for so long, or until it halts, hangs or loses its power.

        Nothing happens to a node that is not up and will not be by itself.

        Raises:
            ValueError: That is no time.
        """
        if not (isfinite(seconds) and seconds >= 0):
            raise ValueError("seconds must be a number of seconds")
        with self._look() as (consumer, now):
            if consumer.phase(now) in ("booting", "up"):
                time, batch = self._alone(consumer)
                batch.write(time + seconds)
                consumer.supply.replace(consumer, batch, time)
                self._timeline.note(time, "writing", self.name, until=batch.write_until)

    def repair(self) -> None:
        """Has its card written anew. A node that did not boot from it boots at its next start."""
        with self._look() as (consumer, _):
            if not consumer.corrupt:
                return
            time = self._timeline.event()
            if consumer.batch is not None and not consumer.batch.course.corrupt_boots:
                batch = consumer.batch.alone()
                batch.boots = False
                consumer.supply.replace(consumer, batch, time)
            consumer.corrupt = False
            self._timeline.note(time, "repaired", self.name)

    def _alone(self, consumer: Consumer) -> tuple[float, Batch]:
        """The time of an event that happens to it now, and its batch without the others, to be put there."""
        assert consumer.batch is not None
        return self._timeline.event(), consumer.batch.alone()

    def fail(
        self, *, boots: bool = True, slow: float = 1.0, hang_after: float | None = None, drops: float = 0.0
    ) -> None:
        """Has it fail from its next start on. Without arguments it boots as it should again.

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
                self._timeline.note(time, "fault", self.name, " ".join(words) or "ok", load.course)

    def fail_halting(
        self, *, ignored: bool = False, hangs: bool = False, seconds: float | None = None
    ) -> None:
        """Has its halts fail from the next request on. Without arguments it halts as it should again.

        Args:
            ignored: Whether it ignores that it is asked to.
            hangs: Whether it begins to halt, writes to its card, and never gets down.
            seconds: How long it takes; None for what the option ``halt_time`` says.

        Raises:
            ValueError: ``seconds`` is no time.
        """
        if seconds is not None and not (isfinite(seconds) and seconds >= 0):
            raise ValueError("seconds must be None or a number of seconds")
        halting = Halting(ignored, hangs, seconds)
        with self._look() as (consumer, _):
            if halting != consumer.halting:
                consumer.halting = halting
                words = ["no-halt"] if ignored else []
                words += ["halt-hangs"] if hangs else []
                words += [f"halt={seconds:g}"] if seconds is not None else []
                time = self._timeline.event()
                self._timeline.note(
                    time, "fault", self.name, " ".join(words) or "halts", consumer.load.course
                )


_DEAF = {
    "off": "it has no power",
    "booting": "it has not booted yet; wait until it is up",
    "failed": "it did not boot; cut its power",
    "hung": "it hangs; cut its power",
}
