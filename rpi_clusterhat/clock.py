"""The one place that asks for the time and that waits."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["SYSTEM", "Clock", "SystemClock"]


class Clock(Protocol):
    """Seconds that only go forward, and two ways to let them pass. May be used from any thread."""

    def now(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...
    async def asleep(self, seconds: float) -> None: ...


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


_now = _boottime if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


_PIECE = 0.25
"""Seconds after which a signal that was missed is seen at the latest."""


class SystemClock:
    """Seconds since the controller booted: the same in every process, blind to the wall clock, and
    counting on while the machine sleeps (``CLOCK_BOOTTIME``; elsewhere than on Linux the monotonic clock)."""

    def now(self) -> float:
        return _now()

    def sleep(self, seconds: float) -> None:
        # In pieces: a signal that comes in the moment before the system's sleep begins does not end it.
        end = _now() + seconds
        while (rest := end - _now()) > 0:
            time.sleep(min(rest, _PIECE))

    async def asleep(self, seconds: float) -> None:
        import asyncio  # the dearest import of all, and only this needs it

        await asyncio.sleep(max(0.0, seconds))


SYSTEM: Clock = SystemClock()
