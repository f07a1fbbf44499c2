"""One node of a rack: the computer, its console, and its ports as long as they answer."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from .computer import Computer
from .console import Console
from .door import Door

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from .built import Built
    from .knock import Knocker
    from .seat import Seat

__all__ = ["Node"]

_SILENT = 30
"""How often nobody answers until a port is taken for closed: a busy node answers late."""


class Node:
    """Belongs to the running event loop."""

    def __init__(self, built: Built, seat: Seat, memory: int, sockets: Mapping[int, socket.socket]) -> None:
        self._built = built
        self.seat = seat
        self._memory = memory
        self._doors = {port: Door(sock, (seat.address, port)) for port, sock in sockets.items()}
        self._silence = dict.fromkeys(self._doors, 0)
        self._computer: Computer | None = None
        self._console: Console | None = None
        self._ending = asyncio.Lock()
        """Held until nothing is left of a computer."""
        self.powered = False

    @property
    def running(self) -> bool:
        """Whether it has power and has not halted."""
        return self._computer is not None

    def on(self) -> None:
        """Gives it power, where it has none: a node that has halted stays down. Raises `OSError`."""
        if self.powered:
            return
        _forget_other_image(self.seat.disk, self._built.image)
        shutil.rmtree(self.seat.control, ignore_errors=True)  # of one that was cut
        console = Console(self.seat.console)
        try:
            self._computer = Computer(self._built, self.seat, self._memory, console.line.fileno())
        except BaseException:
            console.close()
            raise
        finally:
            console.line.close()
        self._console = console
        self.powered = True

    async def off(self) -> None:
        """Cuts its power: when this returns, nothing of it is left."""
        self.powered = False
        await self._end()
        console, self._console = self._console, None
        if console is not None:
            console.close()

    async def ended(self, pid: int) -> None:
        """Looks whether the process that has ended was this node, and clears up after it then."""
        if self._computer is not None and self._computer.is_main(pid):
            console = self._console
            await self._end()
            if console is not None:
                await console.finish()

    async def _end(self) -> None:
        async with self._ending:
            for door in self._doors.values():
                await door.cut()
            if self._computer is not None:
                await self._computer.cut()
                self._computer = None

    def knock(self, knocker: Knocker) -> None:
        """Asks whether its ports are open, if it runs."""
        if self._computer is None:
            return
        for port, door in self._doors.items():
            self._silence[port] += 1
            if self._silence[port] > _SILENT:
                door.shut()
            knocker.knock(*door.target)

    def answered(self, port: int, is_open: bool) -> None:
        door = self._doors.get(port)
        if door is None or self._computer is None:
            return
        self._silence[port] = 0
        if is_open:
            with suppress(OSError):  # out of files, say: it is asked again
                door.open()
        else:
            door.shut()


def _forget_other_image(disk: str, image: str) -> None:
    """Removes a disk that lies over an image that was built anew since: the node would not start with it."""
    with suppress(FileNotFoundError):
        if os.stat(disk).st_mtime < os.stat(image).st_mtime:
            os.remove(disk)
