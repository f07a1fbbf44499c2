"""Lets Ctrl-C and other signals end the command where it waits, never between accesses of one operation."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.clock import Clock

__all__ = ["Signalled", "Signals"]

_T = TypeVar("_T")
_TICK = 0.1


class Signalled(BaseException):
    """A signal asked the command to end. Like `KeyboardInterrupt`, it is no `Exception`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.standing = "nothing was switched"
        """What the nodes are like now, for the user."""


class Signals:
    """A clock whose waiting ends with `Signalled` when SIGINT, SIGTERM or SIGHUP comes.

    A signal that comes at another time is raised by the next wait or `check`. A second one before that is
    raised at once. Signals that were ignored when the command was started stay ignored.

    Args:
        clock: What to wait with.
        last: Whether the process ends with the command. Then signals are ignored when it is over, and cannot
            change its exit code.
    """

    def __init__(self, clock: Clock, *, last: bool = False) -> None:
        self._clock = clock
        self._last = last
        self._waiting = False
        self._pending: int | None = None
        self._former: dict[int, Any] = {}
        self.tick: Callable[[], bool | None] | None = None
        """Is called again and again during a wait, which ends when it returns True."""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if (former := signal.getsignal(number)) not in (signal.SIG_IGN, None):
                    self._former[number] = former
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, signal.SIG_IGN if self._last else former)

    def _handle(self, number: int, _: object) -> None:
        if self._waiting or self._pending is not None:
            raise Signalled(number)
        self._pending = number

    def check(self) -> None:
        """Raises `Signalled` if a signal has come."""
        if self._pending is not None:
            number, self._pending = self._pending, None
            raise Signalled(number)

    # A clock ----------------------------------------------------------------------------------------------

    def now(self) -> float:
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        end = self.now() + seconds
        self._waiting = True
        try:
            self.check()
            while (rest := end - self.now()) > 0:
                if self.tick is not None:
                    if self.tick():
                        return
                    rest = min(rest, _TICK)
                self._clock.sleep(rest)
        finally:
            self._waiting = False

    async def asleep(self, seconds: float) -> None:
        await self._clock.asleep(seconds)

    def interrupt(self, call: Callable[[], _T]) -> _T:
        """Makes a call that waits for something else, such as an answer. Signals end it, too."""
        self._waiting = True
        try:
            self.check()
            return call()
        finally:
            self._waiting = False

    def wait(self) -> None:
        """Waits for a signal."""
        while True:
            self.sleep(3600)
