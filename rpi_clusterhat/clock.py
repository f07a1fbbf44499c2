"""The one place that asks for the time and that waits."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["SYSTEM", "Clock", "SystemClock", "wall_time"]


class Clock(Protocol):
    """What tells the time and waits. It may be used from any thread."""

    def now(self) -> float:
        """Returns the time in seconds. It only goes forward, and where it starts has no meaning."""
        ...

    def sleep(self, seconds: float) -> None:
        """Blocks for so many seconds."""
        ...

    async def asleep(self, seconds: float) -> None:
        """Waits for so many seconds in the running event loop."""
        ...


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


_now = _boottime if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


_PIECE = 0.25
"""Seconds after which a signal that was missed is seen at the latest."""


class SystemClock:
    """The system's clock: seconds since the controller booted.

    It is the same in every process, does not follow the wall clock, and goes on while the machine is
    suspended (``CLOCK_BOOTTIME``; on other systems than Linux it is the monotonic clock).
    """

    def now(self) -> float:
        """Returns the seconds since the boot."""
        return _now()

    def sleep(self, seconds: float) -> None:
        """Blocks for so many seconds."""
        # In pieces: a signal that comes in the moment before the system's sleep begins does not end it.
        end = _now() + seconds
        while (rest := end - _now()) > 0:
            time.sleep(min(rest, _PIECE))

    async def asleep(self, seconds: float) -> None:
        """Waits for so many seconds in the running event loop."""
        import asyncio  # the dearest import of all, and only this needs it

        await asyncio.sleep(max(0.0, seconds))


SYSTEM: Clock = SystemClock()


def wall_time() -> float:
    """Returns the seconds since 1970, in UTC: a date for records that are kept.

    Somebody may set this clock at any moment, so nothing is timed by it.
    """
    return time.time()
