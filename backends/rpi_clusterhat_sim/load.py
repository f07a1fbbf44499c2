"""What a node draws, and how it behaves from its next start on."""

from __future__ import annotations

from typing import NamedTuple

from .course import Course

__all__ = ["Load", "NodeModel", "micro"]


class NodeModel(NamedTuple):
    """What a node draws (A), for how long (s), and what it does with its card.

    The defaults are chosen, not measured: ``idle`` follows the 2.6 W by which four idle Zeros are said to
    raise a controller's consumption; the others are of a plausible size.
    """

    inrush: float = 3.0
    inrush_time: float = 0.5
    boot: float = 0.2
    idle: float = 0.13
    boot_time: float = 20.0
    halted: float = 0.03
    halt_time: float = 2.0
    """Seconds from the request to halt until it is down."""
    writes: bool = False
    corrupt_boots: bool = True


def micro(amperes: float) -> int:
    return round(amperes * 1e6)


class Load:
    """How a node behaves from its next start on. Nodes of one supply that behave alike share one."""

    __slots__ = (
        "boot", "corrupted", "count", "course", "halted", "idle", "inrush", "inrush_time", "model", "slow",
    )  # fmt: skip

    def __init__(
        self, model: NodeModel, slow: float, *, boots: bool, hang_after: float | None, drops: float
    ) -> None:
        self.model = model
        self.slow = slow
        self.course = Course(
            model.boot_time * slow + drops,
            boots,
            hang_after,
            drops,
            writes=model.writes,
            corrupt_boots=model.corrupt_boots,
        )
        self.inrush = micro(model.inrush)
        self.boot = micro(model.boot)
        self.idle = micro(model.idle)
        self.halted = micro(model.halted)
        self.inrush_time = model.inrush_time
        self.count = 0
        """How many nodes that have power will start like this next."""
        self.corrupted = 0
        """The number of the last brown-out that met those that the one before had started as they wrote."""
