"""Reads a console beside everybody else, for as long as its node boots, and writes nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import ClusterHatError
from rpi_clusterhat.waiting import Call, Pause, Readable

from .screen import Screen

if TYPE_CHECKING:
    from rpi_clusterhat.waiting import Steps

    from .line import ConsoleLine

__all__ = ["ConsoleListener"]

_INTERVAL = 1.0
"""Seconds between two looks for the device, which is there once the node's kernel has started."""
_KEPT = 8192
_LONGEST = 200


class ConsoleListener:
    """Keeps the last lines that a node writes to its console. A console that cannot be read is no error.

    Args:
        path: The device, which may come and go.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._line: ConsoleLine | None = None
        self._screen = Screen(_KEPT)

    def __repr__(self) -> str:
        return f"<ConsoleListener {self.path}>"

    def last_lines(self, count: int = 20) -> tuple[str, ...]:
        """Returns the last lines that are not empty, without control sequences, each of bounded length."""
        lines = [line.rstrip()[:_LONGEST] for line in self._screen.lines(most=_KEPT) if line.strip()]
        return tuple(lines[-count:])

    def steps(self) -> Steps[None]:
        """Opens the console whenever it is there, and reads it. Goes on until an error is thrown in."""
        try:
            while True:
                yield Call(self._open, uninterruptible=True)
                if self._line is not None:
                    yield from self._read(self._line)
                    self._close()
                yield Pause(_INTERVAL)
        finally:
            self._close()

    def _open(self) -> None:
        from .shared_line import SharedLine
        from .turns import Role

        if os.path.exists(self.path):
            try:
                self._line = SharedLine(self.path, Role.WATCHER)
            except (ClusterHatError, OSError):
                pass  # another program has it for itself, or it has just gone

    def _read(self, line: ConsoleLine) -> Steps[None]:
        while True:
            yield Readable(line.fd, _INTERVAL)
            try:
                data = line.read()
            except (ClusterHatError, OSError):
                return
            if data == b"":
                return
            self._screen.feed(data or b"")

    def _close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()
