"""Which nodes of a state file's world are served, so that whoever cuts their power can wait for its end.

A process that serves a node holds a shared lock on the node's byte of a file beside the state file, as long
as anything of the node may answer. The kernel drops it with the process.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING
from zlib import crc32

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import LockError
from rpi_clusterhat.hardware.lock_files import LOCKS_ARE_SHARED, SharedFile, lock_range
from rpi_clusterhat.hardware.locks import RETRY, Patience

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Served"]

_PATIENCE = 1.0
"""Seconds to wait for a process that serves: one that was stopped answers nothing either."""


class Served:
    """What is served of the world of one state file. May be used from any thread and process."""

    def __init__(self, path: str) -> None:
        self._path = path

    def claim(self, node: str) -> SharedFile | None:
        """Says that a node is served until what this returns is closed.

        It is None where others cannot be told: the folder may only be read, say. What listens then is seen to
        end a moment after the power is cut.
        """
        if not LOCKS_ARE_SHARED:
            return None
        try:
            file = SharedFile(self._path, guarded=False)
            while not lock_range(file, fcntl.F_RDLCK, _byte(node), 1):
                SYSTEM.sleep(RETRY)  # another is just looking
        except LockError:
            return None
        return file

    def await_end(self, nodes: Collection[str]) -> None:
        """Waits until nothing of these nodes answers any more, whoever serves them; for a second at most."""
        if not (nodes and LOCKS_ARE_SHARED and os.path.exists(self._path)):
            return
        try:
            file = SharedFile(self._path, guarded=False)
        except LockError:  # nobody can have claimed anything
            return
        try:
            patience = Patience(SYSTEM)
            for node in nodes:
                while not lock_range(file, fcntl.F_WRLCK, _byte(node), 1):
                    if patience.waited() > _PATIENCE:
                        return
                    SYSTEM.sleep(RETRY)
                lock_range(file, fcntl.F_UNLCK, _byte(node), 1)
        finally:
            file.close()


def _byte(node: str) -> int:
    # Two names of one number wait for each other now and then, which does no harm.
    return crc32(node.encode())
