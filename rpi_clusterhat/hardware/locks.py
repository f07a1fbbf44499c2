"""Locks that all processes share, also those of different users.

A lock is a small file in the system's lock folder. Everyone may read and write it: two users who may both
switch nodes must use the same lock. The kernel holds the locks, so a lock ends with its process, however that
ends. Nothing here trusts what a file contains.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rpi_clusterhat.clock import SYSTEM, Clock
from rpi_clusterhat.errors import LockError, LockTimeoutError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["RECORD_SIZE", "FileLock", "lock_path"]

RECORD_SIZE = 64
"""Bytes that a lock keeps for whoever holds it."""

RETRY = 0.001
"""Seconds between two attempts to get a lock."""


def lock_path(folder: str, name: str) -> str:
    """Returns the path of a lock's file. Characters that a file name should not have become ``_``."""
    safe = "".join(c if c.isalnum() or c in "-." else "_" for c in name)
    return os.path.join(folder, f"rpi-clusterhat.{safe}.lock")


class _Descriptors:
    """The open files of a process's locks, so that a forked child can drop its copies.

    A kernel lock belongs to the open file, which a fork shares: a child that lives on would hold the
    locks of a parent that was killed.
    """

    def __init__(self) -> None:
        self._files: weakref.WeakSet[SharedFile] = weakref.WeakSet()
        os.register_at_fork(after_in_child=self._drop)

    def add(self, file: SharedFile) -> None:
        self._files.add(file)

    def _drop(self) -> None:
        for file in list(self._files):
            file.close()


class SharedFile:
    """One opening of a lock file, closed with its last reference."""

    fd = -1

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = _open_shared(path)
        _descriptors.add(self)

    def replaced(self) -> bool:
        """Whether the path names another file by now: whoever opens it next would not meet us."""
        try:
            ours, theirs = os.fstat(self.fd), os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return True
        return (ours.st_ino, ours.st_dev) != (theirs.st_ino, theirs.st_dev)

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


_descriptors = _Descriptors()


def _open_shared(path: str) -> int:
    for _ in range(100):
        try:
            # Never O_CREAT on a path that may exist: the kernel's fs.protected_regular refuses that for
            # another user's file in a sticky folder, even where plain opening is allowed.
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            _create_shared(path)
        except OSError as error:
            raise lock_error("open", path, error) from error
        else:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return fd
            os.close(fd)
            raise LockError(errno.EINVAL, f"{path} is not a regular file: remove it")
    raise LockError(errno.EAGAIN, f"{path} is removed as fast as it is made: find out by whom")


def _create_shared(path: str) -> None:
    """Makes the file whole under another name first: it appears with its mode, or not at all."""
    draft = f"{path}.{os.getpid()}.{threading.get_ident()}"
    try:
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:  # left by a process of the same number that was killed right here
        os.unlink(draft)
        return
    except OSError as error:
        raise lock_error("create", path, error) from error
    try:
        os.fchmod(fd, 0o666)
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was faster: its file is as good
    except OSError as error:
        raise lock_error("create", path, error) from error
    finally:
        os.close(fd)
        os.unlink(draft)


def lock_error(verb: str, path: str, error: OSError) -> LockError:
    folder = os.path.dirname(path)
    if isinstance(error, PermissionError):
        hint = f"make {folder} writable for this user, or name another folder with lock_dir"
    elif isinstance(error, FileNotFoundError):
        hint = f"{folder} does not exist: create it, or name another folder with lock_dir"
    else:
        hint = error.strerror or "unknown error"
    return LockError(error.errno or errno.EIO, f"cannot {verb} the lock {path}: {hint}")


class FileLock:
    """An exclusive lock for moments, such as the read-modify-write of a register or the rewrite of a file.

    It may be used from any thread and process. Two calls of `hold` exclude each other within one process too.

    Args:
        path: The lock's file; see `lock_path`.
        timeout: For how many seconds to wait for another holder.
        clock: What to wait with.
    """

    def __init__(self, path: str, *, timeout: float = 5.0, clock: Clock = SYSTEM) -> None:
        self.path = path
        self._timeout = timeout
        self._clock = clock
        self._held: SharedFile | None = None

    def __repr__(self) -> str:
        return f"<FileLock {self.path}>"

    @contextmanager
    def hold(self) -> Generator[None]:
        """Holds the lock for the length of a ``with`` block.

        Raises:
            LockTimeoutError: Another holder has kept it for the whole time-out.
            LockError: The file cannot be opened or made.
        """
        deadline = self._clock.now() + self._timeout
        while True:
            file = SharedFile(self.path)
            try:
                while not self._try(file):
                    if self._clock.now() >= deadline:
                        raise LockTimeoutError(
                            f"another process has held the lock {self.path} for {self._timeout:g} s: "
                            f"see who with 'fuser {self.path}'"
                        )
                    self._clock.sleep(RETRY)
                if file.replaced():
                    continue
                self._held = file
                yield
                return
            finally:
                if self._held is file:
                    self._held = None
                file.close()

    def load(self) -> bytes:
        """Returns the record as its last holder stored it, ``b""`` where there is none.

        It may be called without holding the lock. Nothing stops a member of the lock's group from writing
        nonsense: who uses a record checks what it says.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return b""
        try:
            return os.pread(fd, RECORD_SIZE, 0).rstrip(b" \0")
        except OSError:  # such as that of a folder
            return b""
        finally:
            os.close(fd)

    def store(self, record: bytes) -> None:
        """Replaces the record. Only who holds the lock may do so.

        Args:
            record: At most `RECORD_SIZE` bytes.

        Raises:
            LockError: The file cannot be written.
        """
        assert len(record) <= RECORD_SIZE
        assert self._held is not None, "a record is stored by who holds the lock"
        try:
            os.pwrite(self._held.fd, record.ljust(RECORD_SIZE), 0)
        except OSError as error:
            raise lock_error("write", self.path, error) from error

    @staticmethod
    def _try(file: SharedFile) -> bool:
        try:
            fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
