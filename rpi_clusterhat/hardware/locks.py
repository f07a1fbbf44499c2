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
import struct
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rpi_clusterhat.clock import SYSTEM, Clock
from rpi_clusterhat.errors import LockError, LockTimeoutError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = [
    "LOCKS_ARE_SHARED",
    "FileLock",
    "FileTurnstile",
    "LocalTurnstile",
    "Ticket",
    "Turnstile",
    "lock_path",
]

LOCKS_ARE_SHARED = hasattr(fcntl, "F_OFD_SETLK")
"""Whether this system has what a `FileTurnstile` needs: Linux has."""

_RETRY = 0.001
_BUSY = (errno.EAGAIN, errno.EACCES)


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
        self._files: weakref.WeakSet[_File] = weakref.WeakSet()
        os.register_at_fork(after_in_child=self._drop)

    def add(self, file: _File) -> None:
        self._files.add(file)

    def _drop(self) -> None:
        for file in list(self._files):
            file.close()


class _File:
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
            raise _cannot("open", path, error) from error
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
        raise _cannot("create", path, error) from error
    try:
        os.fchmod(fd, 0o666)
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was faster: its file is as good
    except OSError as error:
        raise _cannot("create", path, error) from error
    finally:
        os.close(fd)
        os.unlink(draft)


def _cannot(verb: str, path: str, error: OSError) -> LockError:
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
            file = _File(self.path)
            try:
                while not self._try(file):
                    if self._clock.now() >= deadline:
                        raise LockTimeoutError(
                            f"another process has held the lock {self.path} for {self._timeout:g} s: "
                            f"see who with 'fuser {self.path}'"
                        )
                    self._clock.sleep(_RETRY)
                if file.replaced():
                    continue
                yield
                return
            finally:
                file.close()

    @staticmethod
    def _try(file: _File) -> bool:
        try:
            fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class Ticket(Protocol):
    """A place in a turnstile's queue. It belongs to one thread or task at a time."""

    def is_first(self) -> bool:
        """Returns whether all who came before are gone. Once true, it stays true until `close`."""
        ...

    def load(self) -> bytes:
        """Returns the record, at most `RECORD_SIZE` bytes. It counts for the first in the queue only."""
        ...

    def store(self, record: bytes) -> None:
        """Replaces the record. Only the first in the queue may do so."""
        ...

    def close(self) -> None:
        """Leaves the queue. It may be called again."""
        ...


class Turnstile(Protocol):
    """A queue that is served in turn, with a small record that the first in it may read and replace."""

    def join(self) -> Ticket:
        """Joins the end of the queue. It never waits for others to leave.

        Raises:
            LockError: The queue cannot be reached.
            LockTimeoutError: Another process stays in the middle of joining.
        """
        ...


RECORD_SIZE = 64

# A turnstile's file: the next ticket's number as text, then the record. The kernel's locks lie far beyond
# the file's end, where no content is: one byte to draw a ticket, one for the turn, one for each ticket.
_NUMBER_AT, _NUMBER_SIZE = 0, 20
_RECORD_AT = 64
_DRAW = 1 << 32
_TURN = _DRAW + 1
_TICKETS = 1 << 33


def _lock_range(fd: int, kind: int, start: int, length: int) -> bool:
    """Locks bytes for this open file (OFD lock), or returns False at once where another holds them."""
    # struct flock with 64-bit offsets, in this platform's own alignment. Source: fcntl(2).
    request = struct.pack("hhqqi0q", kind, os.SEEK_SET, start, length, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, request)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


def _write(file: _File, content: bytes, at: int) -> None:
    try:
        os.pwrite(file.fd, content, at)
    except OSError as error:  # such as a full file system
        raise _cannot("write", file.path, error) from error


class FileTurnstile:
    """A turnstile that processes share.

    Each ticket is a byte of the file that its holder has locked. A ticket is first when a shared lock on all
    lower bytes can be had: the kernel grants it when everyone before has left or has died. So the order is
    strict, and nobody waits for a dead process. It needs open file description locks, which Linux has since
    3.15. It may be used from any thread and process.

    Args:
        path: The turnstile's file; see `lock_path`.
        timeout: For how many seconds to wait for another process that is joining.
        clock: What to wait with.
    """

    def __init__(self, path: str, *, timeout: float = 5.0, clock: Clock = SYSTEM) -> None:
        self.path = path
        self._timeout = timeout
        self._clock = clock

    def __repr__(self) -> str:
        return f"<FileTurnstile {self.path}>"

    def join(self) -> Ticket:
        return _FileTicket(*self.draw(), turnstile=self)

    def draw(self) -> tuple[_File, int]:
        """Draws a ticket: opens the file, and locks the byte of the next number in it."""
        file = _File(self.path)
        try:
            number = self._draw(file)
        except BaseException:
            file.close()  # not left to the traceback: nobody could draw a ticket as long as that lives
            raise
        return file, number

    def _draw(self, file: _File) -> int:
        deadline = self._clock.now() + self._timeout
        while not _lock_range(file.fd, fcntl.F_WRLCK, _DRAW, 1):
            if self._clock.now() >= deadline:
                raise LockTimeoutError(
                    f"another process has been drawing a ticket from {self.path} for {self._timeout:g} s: "
                    f"see who with 'fuser {self.path}'"
                )
            self._clock.sleep(_RETRY)
        text = os.pread(file.fd, _NUMBER_SIZE, _NUMBER_AT)
        number = int(text) if text.isdigit() and int(text) < 1 << 60 else 0
        while not _lock_range(file.fd, fcntl.F_WRLCK, _TICKETS + number, 1):
            number += 1
        _write(file, b"%0*d" % (_NUMBER_SIZE, number + 1), _NUMBER_AT)
        _lock_range(file.fd, fcntl.F_UNLCK, _DRAW, 1)
        return number


class _FileTicket:
    def __init__(self, file: _File, number: int, *, turnstile: FileTurnstile) -> None:
        self._file = file
        self._number = number
        self._turnstile = turnstile
        self._first = False

    def __repr__(self) -> str:
        return f"<ticket {self._number} of {self._file.path}>"

    def is_first(self) -> bool:
        if self._first:
            return True
        fd = self._file.fd
        if self._number:
            if not _lock_range(fd, fcntl.F_RDLCK, _TICKETS, self._number):
                return False
            # Asked, and let go again: a number that was damaged meanwhile must find its byte free.
            _lock_range(fd, fcntl.F_UNLCK, _TICKETS, self._number)
        # The turn has a lock of its own, so that a damaged number can spoil the order, never the exclusion.
        if not _lock_range(fd, fcntl.F_WRLCK, _TURN, 1):
            return False
        if self._file.replaced():
            self._file.close()
            self._file, self._number = self._turnstile.draw()
            return False
        self._first = True
        return True

    def load(self) -> bytes:
        return os.pread(self._file.fd, RECORD_SIZE, _RECORD_AT)

    def store(self, record: bytes) -> None:
        _write(self._file, record.ljust(RECORD_SIZE), _RECORD_AT)

    def close(self) -> None:
        self._file.close()


class LocalTurnstile:
    """A turnstile within one process, for a simulated rail that no other process can reach.

    It may be used from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # As a kernel's lock ends with its file, a place ends with its ticket: a Ctrl-C leaves it to nobody.
        self._queue: weakref.WeakKeyDictionary[_LocalTicket, None] = weakref.WeakKeyDictionary()
        self.record = b""

    def join(self) -> Ticket:
        ticket = _LocalTicket(self)
        with self._lock:
            self._queue[ticket] = None
        return ticket

    def is_first(self, ticket: _LocalTicket) -> bool:
        with self._lock:
            return next(iter(self._queue), None) is ticket

    def leave(self, ticket: _LocalTicket) -> None:
        with self._lock:
            self._queue.pop(ticket, None)


class _LocalTicket:
    def __init__(self, turnstile: LocalTurnstile) -> None:
        self._turnstile = turnstile

    def is_first(self) -> bool:
        return self._turnstile.is_first(self)

    def load(self) -> bytes:
        return self._turnstile.record

    def store(self, record: bytes) -> None:
        self._turnstile.record = record

    def close(self) -> None:
        self._turnstile.leave(self)
