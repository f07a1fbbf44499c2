"""What may be found where a lock's file should be."""

from __future__ import annotations

import errno
import os

__all__ = ["in_place_of", "no_space"]


def in_place_of(path: str, what: str) -> None:
    if what == "folder":
        os.mkdir(path)
    elif what == "pipe":
        os.mkfifo(path)
    else:
        target = f"{path}.target"
        with open(target, "w", encoding="ascii") as file:
            file.write("precious")
        os.symlink(target, path)


def no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
