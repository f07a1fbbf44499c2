"""The file of a lock that processes share: its path, and the small record in it.

It stands apart from what takes the lock, so that a program that only looks at nodes does not load that.
"""

from __future__ import annotations

import os

__all__ = ["RECORD_SIZE", "load_record", "lock_path"]

RECORD_SIZE = 64
"""Bytes that a lock keeps for whoever holds it."""


def lock_path(folder: str, name: str) -> str:
    """Returns the path of a lock's file. Characters that a file name should not have become ``_``."""
    safe = "".join(c if c.isalnum() or c in "-." else "_" for c in name)
    return os.path.join(folder, f"rpi-clusterhat.{safe}.lock")


def load_record(path: str) -> bytes:
    """Returns the record in a lock's file as its last holder stored it, ``b""`` where there is none.

    It takes no lock. Nothing stops a member of the lock's group from writing nonsense: who uses a record
    checks what it says.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.pread(fd, RECORD_SIZE, 0).rstrip(b" \0")
    except OSError:  # such as that of a folder
        return b""
    finally:
        os.close(fd)
