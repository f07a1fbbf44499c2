"""What tests of the front door look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat import Cluster, Event
    from rpi_clusterhat.testing import FakeExpander

ALL = 0x0F
IDLE = 0b1001_0000
"""A v2.3 board with its nodes off: LEDs on, hub on, write-protected."""
OUTPUT, DIRECTION = 1, 3
ALERT = 0x40


def states(hat: Any) -> list[str]:
    """As reported, without another look."""
    return [part.partition("=")[2] for part in repr(hat)[1:-1].split(": ")[1].split()]


def seen(hat: Any) -> list[Event]:
    events: list[Event] = []
    hat.subscribe(events.append)
    return events


def agrees(hat: Cluster, expander: FakeExpander) -> None:
    """What the cluster says without another look is what a meter shows, or it says that it does not know."""
    for i, (name, state) in enumerate(zip(hat.names, states(hat), strict=True)):
        if state != "unknown":
            assert (state == "on") is bool(expander.levels >> i & 1), (name, state, expander)


POWER = (6, 13, 19, 26)


OPERATIONS: dict[str, Callable[[Cluster], object]] = {
    "on": lambda hat: hat.on("p1", "p2"),
    "off": lambda hat: hat.off("p2", "p3"),
    "cycle": lambda hat: hat.cycle("p1", "p3"),
    "alert": lambda hat: hat.alert.on(),
    "hub": lambda hat: hat.hub.reset(),
    "init": lambda hat: hat.init(),
    "status": lambda hat: hat.status(),
}


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt
