"""An expander on a bench: the backend, and what was done on the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat.hardware.backend import Line, OpenRequest
from rpi_clusterhat.testing import FakeClock, FakeExpander, FakeSMBus
from rpi_clusterhat_i2c.backend import I2CBackend

if TYPE_CHECKING:
    from rpi_clusterhat.clock import Clock


OUTPUT, POLARITY, DIRECTION, PULL_UPS = 1, 2, 3, 4


ADDRESS = 0x20


LINES = (
    *(Line(i, f"p{i + 1}") for i in range(4)),
    Line(4, "led"),
    Line(5, "hub"),
    Line(6, "alert"),
    Line(7, "wp"),
)


IDLE = 0b1001_0000
"""LEDs on, hub on, write-protected: what a v2.3 board is with its nodes off."""


def opening_of(lock_dir: object, clock: Clock | None = None, **changes: Any) -> OpenRequest:
    options = {"bus": 1, "address": ADDRESS, **changes.pop("options", {})}
    opening = OpenRequest(LINES, options, clock or FakeClock(), str(lock_dir), {})
    return opening.replaced(**changes)


def ready(**changes: int) -> FakeExpander:
    """An expander that somebody has set up, with all nodes off."""
    expander = FakeExpander(pins=changes.pop("pins", 0x00))
    expander.output, expander.direction = changes.pop("output", IDLE), changes.pop("direction", 0x00)
    return expander


class Bench:
    """A backend and its expander."""

    def __init__(self, expander: FakeExpander, opening: OpenRequest, *, sysfs: str = "/sys") -> None:
        self.expander = expander
        self.bus = FakeSMBus({ADDRESS: expander})
        self.backend = I2CBackend(self.bus, opening, sysfs=sysfs)

    def count(self) -> tuple[int, int]:
        """Transactions and register writes since the last call."""
        counted = self.expander.transactions, self.expander.writes
        self.expander.reset_counts()
        return counted
