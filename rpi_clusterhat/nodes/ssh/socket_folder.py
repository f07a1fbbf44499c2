"""The private folder in which the control socket of a connection lies."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from contextlib import suppress

from rpi_clusterhat.errors import NodeAccessError

__all__ = ["SocketFolder"]

_PREFIX = "clusterhat-ssh-"
_BASE_MOST = 56
"""Bytes of the folder's parent: a socket's path has 104 at most, of which ssh's temporary name takes 17."""
_IS_PLAIN = re.compile(r"/[\w./-]*", re.ASCII)


class SocketFolder:
    """A new folder that only this user may enter, and that is removed with what is in it.

    Folders that processes left behind, which were killed, are removed when one is made. May be used from any
    thread.

    Raises:
        NodeAccessError: It cannot be made.
    """

    __slots__ = ("_lock", "_made", "path")

    def __init__(self) -> None:
        bases = [
            base
            for base in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp")  # noqa: S108
            if len(base) <= _BASE_MOST and _IS_PLAIN.fullmatch(base) and os.access(base, os.W_OK | os.X_OK)
        ]
        if not bases:
            raise NodeAccessError(
                "There is no folder for ssh's socket: /tmp cannot be written. Set XDG_RUNTIME_DIR to one "
                f"with a path of {_BASE_MOST} characters at most"
            )
        _sweep(bases[0])
        self._lock, self.path = _make(bases[0])
        self._made = 0

    def next_path(self) -> str:
        """Returns a path in it at which nothing has been yet."""
        self._made += 1
        return os.path.join(self.path, str(self._made))

    def sockets(self) -> list[str]:
        """Returns the paths of what is in it."""
        with suppress(OSError):
            return [os.path.join(self.path, name) for name in os.listdir(self.path)]
        return []

    def remove(self) -> None:
        """Removes it, with what is in it."""
        _empty(self.path)
        self.leave()

    def leave(self) -> None:
        """Leaves it to the process that this one was forked from."""
        os.close(self._lock)


def _make(base: str) -> tuple[int, str]:
    for _ in range(100):
        path = tempfile.mkdtemp(prefix=_PREFIX, dir=base)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink:
                return lock, path
        except BlockingIOError:
            pass  # another process is just removing it, since nobody held it
        os.close(lock)
    raise NodeAccessError(f"Folders in {base} are removed as soon as they are made")


def _sweep(base: str) -> None:
    """Removes the folders of processes that are no more: nobody holds their locks."""
    with suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if not entry.name.startswith(_PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            with suppress(OSError):
                lock = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    if os.fstat(lock).st_uid == os.geteuid():
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        _empty(entry.path)
                finally:
                    os.close(lock)


def _empty(path: str) -> None:
    with suppress(OSError):
        for name in os.listdir(path):
            with suppress(OSError):
                os.unlink(os.path.join(path, name))
        os.rmdir(path)
