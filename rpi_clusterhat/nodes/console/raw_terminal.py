"""A terminal in which each key goes to the program at once, and nothing is done with it."""

from __future__ import annotations

import os
import signal
import termios
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RawTerminal"]

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _ISPEED, _OSPEED, _CC = range(7)


class RawTerminal:
    """Has a terminal raw for the length of a ``with`` block, but not while the program is suspended.

    It is for the main thread.

    Args:
        fd: The terminal. Where it is none, nothing happens to it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.is_terminal = os.isatty(fd)
        self.is_wanted = False
        """Whether a suspension is asked for; see `suspend`."""
        self.wakes = -1
        """Becomes readable when a suspension is asked for."""
        self._settings: list[Any] = []
        self._former: Any = None

    def __enter__(self) -> Self:
        self.wakes = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        if self.is_terminal:
            self._settings = termios.tcgetattr(self._fd)
            self._former = signal.signal(signal.SIGTSTP, self._ask)
            self._make_raw()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_terminal:
            self._restore()
            signal.signal(signal.SIGTSTP, self._former)
        os.close(self.wakes)

    def _ask(self, *_: object) -> None:
        self.is_wanted = True
        os.eventfd_write(self.wakes, 1)

    def suspend(self, between: Callable[[], None]) -> None:
        """Suspends this program as Ctrl-Z does, and returns when it goes on.

        Args:
            between: Is called while the terminal is as it was before, ahead of the suspension.
        """
        self.is_wanted = False
        with suppress(BlockingIOError):
            os.eventfd_read(self.wakes)
        self._restore()
        between()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._ask)
        self._make_raw()

    def _make_raw(self) -> None:
        raw: list[Any] = [*self._settings[:_CC], list(self._settings[_CC])]
        raw[_IFLAG] &= ~(
            termios.BRKINT | termios.ICRNL | termios.INLCR | termios.IGNCR | termios.ISTRIP | termios.IXON
        )
        raw[_OFLAG] &= ~termios.OPOST
        raw[_LFLAG] &= ~(termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
        raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 1, 0
        self._set(raw)

    def _restore(self) -> None:
        self._set(self._settings)

    def _set(self, settings: list[Any]) -> None:
        with suppress(termios.error):  # it has hung up
            termios.tcsetattr(self._fd, termios.TCSADRAIN, settings)
