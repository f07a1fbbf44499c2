"""A node as a process group, whose life is its power."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from .seat import CONTROLLER

if TYPE_CHECKING:
    from .built import Built
    from .seat import Seat

__all__ = ["Computer"]

_CONSOLE = 3
"""The number of the file in the node's process that is its serial line."""
_LOOK = 0.002
"""Seconds between two looks whether a process group is gone."""


class Computer:
    """A User-Mode Linux, from its power to its end.

    Belongs to the event loop of a process to which all orphans of the group come, and which reaps them. Its
    working folder is the rack's, so that no path of a user's has to be part of the kernel's command line.
    """

    def __init__(self, built: Built, seat: Seat, memory: int, line: int) -> None:
        """Starts it. ``memory`` is in MB, ``line`` a file that is its serial line. Raises `OSError`."""
        arguments = _arguments(built, seat, memory)
        log = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self._pid = os.posix_spawn(
            built.kernel,
            arguments,
            {"HOME": seat.folder, "PATH": os.defpath, "TMPDIR": _memory_folder(seat.folder)},
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, seat.log, log, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, line, _CONSOLE),
            ],
        )

    def is_main(self, pid: int) -> bool:
        """Whether this is the process with which the node ends."""
        return pid == self._pid

    async def cut(self) -> None:
        """Takes its power: when this returns, nothing of it is left, and nothing writes to its disk."""
        while self._kill():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(_LOOK)

    def _kill(self) -> bool:
        """Whether anything was left of it."""
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


def _arguments(built: Built, seat: Seat, memory: int) -> list[str]:
    address = f"{seat.address}::{CONTROLLER}:255.255.255.0:{seat.name}:vec0:off"
    return [
        built.kernel,
        f"mem={memory}M",
        f"ubd0={os.path.relpath(seat.disk, seat.folder)},{built.image}",
        *("root=/dev/ubda", "ro", "fsck.repair=yes"),
        f"vec0:transport=tap,ifname={seat.device},depth=64,mac={seat.mac}",
        *("con=null", "con0=null,fd:1", "ssl=null", f"ssl0=fd:{_CONSOLE}"),
        "uml_dir=./",
        f"umid={seat.name}",
        *("console=ttyS0", "net.ifnames=0", f"ip={address}", f"systemd.hostname={seat.name}"),
    ]


def _memory_folder(otherwise: str) -> str:
    """Where the node's memory is a file: it must be possible to run what is in it."""
    shared = "/dev/shm"  # noqa: S108  # it has no name there
    try:
        allowed = not os.statvfs(shared).f_flag & os.ST_NOEXEC
    except OSError:
        allowed = False
    return shared if allowed else otherwise
