"""A node as its supply sees it, with its card."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .batch import Batch
    from .course import Course
    from .load import Load
    from .supply import Supply

__all__ = ["VOLTS", "Consumer", "Halting", "warmed"]

VOLTS = 5.0

# Chosen, not measured: degrees above the ambient in the end, and the seconds for 63 % of the way there.
_RISE_PER_WATT, _TAU = 30.0, 90.0


def warmed(was: float, toward: float, seconds: float, tau: float) -> float:
    return toward + (was - toward) * exp(-max(0.0, seconds) / tau)


class Halting(NamedTuple):
    """What comes of it when a node is asked to halt."""

    ignored: bool = False
    hangs: bool = False
    """It begins to halt, writes to its card, and never gets down."""
    time: float | None = None
    """Seconds; None for those of its model."""


_HALTS = Halting()


class Consumer:
    """A node as its supply sees it."""

    __slots__ = (
        "ambient", "batch", "brownouts", "corrupt", "corruptions", "halting", "load", "name", "period",
        "starts", "supply", "warm_at", "warmth",
    )  # fmt: skip

    def __init__(self, name: str, supply: Supply, load: Load, ambient: float, now: float) -> None:
        self.name = name
        self.supply = supply
        self.load = load
        self.batch: Batch | None = None
        """None without power; to be read after `sync`."""
        self.period = supply.period
        self.starts = 0
        self.brownouts = 0
        self.halting = _HALTS
        self.corrupt = False
        """Whether its card is."""
        self.corruptions = 0
        self.ambient = ambient
        self.warmth = ambient
        """Degrees Celsius, at ``warm_at``: when power was last switched."""
        self.warm_at = now

    @property
    def course(self) -> Course:
        """How its next start will go."""
        course = self.load.course
        return course._replace(corrupt=True) if self.corrupt else course

    def phase(self, now: float) -> str:
        """See `rpi_clusterhat_sim.node.SimNode.phase`."""
        if self.batch is None:
            return "off"
        phase = self.batch.phase(now)
        if phase == "up" and self.corrupt and not self.batch.course.corrupt_boots:
            return "failed"
        return phase

    def card(self, now: float) -> str:
        """See `rpi_clusterhat_sim.node.SimNode.card`."""
        if self.corrupt:
            return "corrupt"
        return "dirty" if self.batch is not None and self.batch.is_writing(now) else "clean"

    def cut(self, now: float) -> bool:
        """What the loss of power does to its card. Tells whether it corrupts it."""
        if self.card(now) != "dirty":
            return False
        self.corrupt = True
        self.corruptions += 1
        return True

    def sync(self) -> None:
        """Catches up with the supply's brown-outs.

        They are not applied to each node when they happen: a supply with thousands of nodes may brown out
        each time that a node is switched.
        """
        if self.period is self.supply.period:
            return
        period, self.period = self.period, self.supply.period
        if self.batch is None:
            return
        missed = self.period.number - period.number
        self.starts += missed
        self.brownouts += missed
        if self.batch.halt_end < period.end:
            self.warm(period.end)
        # The first of them met this batch; the others met nodes that the one before had started.
        self.cut(period.end)
        if self.load.corrupted > period.number + 1 and not self.corrupt:
            self.corrupt = True
            self.corruptions += 1
        self.batch = self.supply.restarted[self.load]

    def temperature(self, now: float) -> float:
        """Degrees Celsius. It warms up by what it draws when idle: its boot is short beside that."""
        batch = self.batch
        if batch is None:
            return warmed(self.warmth, self.ambient, now - self.warm_at, _TAU)
        model = batch.load.model
        down = min(now, batch.halt_end)
        warmth = warmed(self.warmth, self._toward(model.idle), down - self.warm_at, _TAU)
        return warmth if down == now else warmed(warmth, self._toward(model.halted), now - down, _TAU)

    def warm(self, now: float) -> None:
        """Keeps how warm it is where what it draws changes."""
        self.warmth, self.warm_at = self.temperature(now), now

    def _toward(self, amperes: float) -> float:
        return self.ambient + _RISE_PER_WATT * VOLTS * amperes
