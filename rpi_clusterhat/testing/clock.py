"""A clock that tests move."""

from __future__ import annotations

import heapq
import threading
from itertools import count

__all__ = ["FakeClock"]


class FakeClock:
    """A `rpi_clusterhat.clock.Clock` on which waiting takes no time: who sleeps moves it.

    Of several tasks that sleep, the one that is due first moves the clock and wakes first. May be used from
    any thread; ``asleep`` from one event loop at a time.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._lock = threading.Lock()
        self._due: list[tuple[float, int]] = []
        self._number = count()
        self.sleeps: list[float] = []
        """What was slept, in order: an assertion on it says who waited for how long."""

    def __repr__(self) -> str:
        return f"<FakeClock {self._now:g}>"

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Lets this many seconds pass."""
        with self._lock:
            self._now += seconds

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self.sleeps.append(seconds)
            self.advance(seconds)

    async def asleep(self, seconds: float) -> None:
        import asyncio

        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self.sleeps.append(seconds)
        due = (self._now + seconds, next(self._number))
        heapq.heappush(self._due, due)
        try:
            while self._now < due[0]:
                await asyncio.sleep(0)  # whoever else is about to sleep comes first to its place in the queue
                if self._due[0] == due:
                    with self._lock:
                        self._now = max(self._now, due[0])
        finally:
            self._due.remove(due)
            heapq.heapify(self._due)
