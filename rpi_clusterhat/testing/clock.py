"""A clock that tests move."""

from __future__ import annotations

import heapq
import threading
from itertools import count
from typing import TYPE_CHECKING

from rpi_clusterhat._fork import after_fork

if TYPE_CHECKING:
    import asyncio

__all__ = ["FakeClock"]


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class FakeClock:
    """A `rpi_clusterhat.clock.Clock` on which waiting takes no time: a sleep moves the clock.

    Of several tasks that sleep, the one that is due first moves the clock and wakes first. It may be used
    from any thread, but `asleep` and `pass_time` from one event loop at a time.

    Args:
        start: What the clock shows at first, in seconds.
        by_hand: Whether time stands still until `advance` or `pass_time`, also while tasks sleep. This is for
            programs that wait for things that may happen.
    """

    def __init__(self, start: float = 1000.0, *, by_hand: bool = False) -> None:
        self._now = start
        self._by_hand = by_hand
        self._renew()
        after_fork(self, FakeClock._renew)
        self._due: list[tuple[float, int]] = []
        self._sleepers: dict[tuple[float, int], tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = {}
        self._number = count()
        self.sleeps: list[float] = []
        """The seconds of each sleep, in order."""

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<FakeClock {self._now:g}>"

    def now(self) -> float:
        """Returns what the clock shows, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Lets time pass, and wakes the tasks that are due.

        Args:
            seconds: How many seconds pass.
        """
        with self._lock:
            self._now += seconds
            woken = [self._sleepers.pop(due) for due in sorted(self._sleepers) if due[0] <= self._now]
        for loop, future in woken:
            loop.call_soon_threadsafe(_wake, future)

    async def pass_time(self, seconds: float, *, turns: int = 50) -> None:
        """Lets time pass in steps, from one sleeper's end to the next. All tasks run after each step.

        Args:
            seconds: How many seconds pass in all.
            turns: How many turns of the event loop tasks get after each step.
        """
        import asyncio

        end = self._now + seconds
        while True:
            for _ in range(turns):
                await asyncio.sleep(0)
            due = min(self._sleepers, default=(end, 0))[0]
            if due >= end and self._now >= end:
                return
            self.advance(max(0.0, min(due, end) - self._now))

    def sleep(self, seconds: float) -> None:
        """Moves the clock by so many seconds."""
        if seconds > 0:
            self.sleeps.append(seconds)
            self.advance(seconds)

    async def asleep(self, seconds: float) -> None:
        """Lets other tasks run until the clock has moved by so many seconds."""
        import asyncio

        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self.sleeps.append(seconds)
        due = (self._now + seconds, next(self._number))
        if self._by_hand:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            with self._lock:
                self._sleepers[due] = loop, future
            try:
                await future
            finally:
                self._sleepers.pop(due, None)
            return
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
