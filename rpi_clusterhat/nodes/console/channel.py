"""The steps that read from a console's line and type on it, within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import ConsoleBusyError, ConsoleError
from rpi_clusterhat.waiting import Readable, Writable

if TYPE_CHECKING:
    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.waiting import Steps

    from .line import ConsoleLine
    from .screen import Screen

__all__ = ["Channel"]

_AT_ONCE = 256
"""Bytes typed in one go: what the node echoes meanwhile is read in between."""


class Channel:
    """An open line, and what came over it.

    Args:
        line: The line, which this closes.
        name: What errors call it.
        clock: Says what time it is.
        screen: Keeps what comes.
    """

    def __init__(self, line: ConsoleLine, name: str, clock: Clock, screen: Screen) -> None:
        self._line = line
        self.name = name
        self.now = clock.now
        self.screen = screen
        self.has_hung_up = False

    def receive(self, seconds: float) -> Steps[bytes]:
        """Waits until something comes, and returns it; ``b""`` where nothing came within the time.

        Raises:
            ConsoleError: The line has ended.
        """
        data = self._line.read()
        if data is None:
            if seconds <= 0 or not (yield Readable(self._line.fd, seconds)):
                return b""
            data = self._line.read()
        if data == b"":
            self.has_hung_up = True
            raise ConsoleError(f"the console {self.name} hung up: its node lost power or left USB")
        self.screen.feed(data or b"")
        return data or b""

    def settle(self, quiet: float, deadline: float) -> Steps[bool]:
        """Reads until nothing has come for ``quiet`` seconds. Returns False where the deadline came first."""
        since = self.now()
        while (now := self.now()) < since + quiet:
            if now >= deadline:
                return False
            if (yield from self.receive(min(since + quiet, deadline) - now)):
                since = self.now()
        return True

    def send(self, data: bytes, deadline: float) -> Steps[None]:
        """Sends bytes to the node, when it is this program's turn to.

        Raises:
            ConsoleBusyError: Another program keeps its turn until the deadline.
            ConsoleError: The line has ended, or takes nothing until the deadline.
        """
        while not self._line.has_turn:
            self._line.ask_turn()
            self._check(
                deadline, ConsoleBusyError, "somebody else types on the console {}, and does not stop"
            )
            yield from self.receive(min(0.1, deadline - self.now()))
        while data:
            taken = self._line.write(data[:_AT_ONCE])
            data = data[taken:]
            if not taken:
                self._check(deadline, ConsoleError, "the console {} takes nothing that is typed")
                yield from self.receive(0)
                yield Writable(self._line.fd, min(0.1, deadline - self.now()))

    def _check(self, deadline: float, error: type[ConsoleError], text: str) -> None:
        if self.now() >= deadline:
            raise error(text.format(self.name))

    def interrupt_now(self) -> None:
        """Types Ctrl-C without waiting: for when nobody waits any more."""
        try:
            self._line.write(b"\x03")
        except ConsoleError:
            pass  # it has ended

    def end_turn(self) -> None:
        """Lets others type."""
        self._line.end_turn()

    def close(self) -> None:
        """Closes the line."""
        self._line.close()
