"""Turnstiles: queues that are served in turn, with a small record for whoever is first.

A `FileTurnstile` is shared by all processes, also those of different users.
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

from rpi_clusterhat._fork import after_fork
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import LockTimeoutError

from .lock_files import SharedFile, is_locked_elsewhere, lock_error, lock_range
from .locks import RECORD_SIZE, RETRY, Patience

if TYPE_CHECKING:
    from rpi_clusterhat.clock import Clock

__all__ = [
    "RECORD_SIZE",
    "FileTurnstile",
    "LocalTurnstile",
    "Ticket",
    "Turnstile",
]


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


# A turnstile's file: the next ticket's number as text, then the record. The kernel's locks lie far beyond
# the file's end, where no content is: one byte to draw a ticket, one for the turn, one
# for each mark, one for each ticket.
_NUMBER_AT, _NUMBER_SIZE = 0, 20
_RECORD_AT = 64
_DRAW = 1 << 32
_TURN = _DRAW + 1
_MARKS = _DRAW + 1024
_TICKETS = 1 << 33


def _write(file: SharedFile, content: bytes, at: int) -> None:
    try:
        os.pwrite(file.fd, content, at)
    except OSError as error:  # such as a full file system
        raise lock_error("write", file.path, error) from error


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
        guarded: Whether strangers must be kept out; see `rpi_clusterhat.hardware.locks.FileLock`.
    """

    def __init__(
        self, path: str, *, timeout: float = 5.0, clock: Clock = SYSTEM, guarded: bool = True
    ) -> None:
        self.path = path
        self._timeout = timeout
        self._clock = clock
        self._guarded = guarded

    def __repr__(self) -> str:
        return f"<FileTurnstile {self.path}>"

    def join(self) -> Ticket:
        return _FileTicket(*self.draw(), turnstile=self)

    def mark(self, number: int) -> SharedFile | None:
        """Sets a mark that all processes see, for as long as the file that is returned is open.

        It has nothing to do with the queue.

        Returns:
            None where another has set this mark.

        Raises:
            LockError: The file cannot be opened or made.
        """
        file = SharedFile(self.path, guarded=self._guarded)
        return file if lock_range(file, fcntl.F_WRLCK, _MARKS + number, 1) else None

    def is_marked(self, number: int) -> bool:
        """Says whether anybody has set this mark. Raises `LockError`."""
        return is_locked_elsewhere(SharedFile(self.path, guarded=self._guarded), _MARKS + number)

    def draw(self) -> tuple[SharedFile, int]:
        """Draws a ticket: opens the file, and locks the byte of the next number in it."""
        file = SharedFile(self.path, guarded=self._guarded)
        try:
            number = self._draw(file)
        except BaseException:
            file.close()  # not left to the traceback: nobody could draw a ticket as long as that lives
            raise
        return file, number

    def _draw(self, file: SharedFile) -> int:
        patience = Patience(self._clock)
        while not lock_range(file, fcntl.F_WRLCK, _DRAW, 1):
            if patience.waited() >= self._timeout:
                raise LockTimeoutError(
                    f"another process has been drawing a ticket from {self.path} for {self._timeout:g} s: "
                    f"see who with 'fuser {self.path}'"
                )
            self._clock.sleep(RETRY)
        text = os.pread(file.fd, _NUMBER_SIZE, _NUMBER_AT)
        number = int(text) if text.isdigit() and int(text) < 1 << 60 else 0
        while not lock_range(file, fcntl.F_WRLCK, _TICKETS + number, 1):
            number += 1
        _write(file, b"%0*d" % (_NUMBER_SIZE, number + 1), _NUMBER_AT)
        lock_range(file, fcntl.F_UNLCK, _DRAW, 1)
        return number


class _FileTicket:
    def __init__(self, file: SharedFile, number: int, *, turnstile: FileTurnstile) -> None:
        self._file = file
        self._number = number
        self._turnstile = turnstile
        self._first = False

    def __repr__(self) -> str:
        return f"<ticket {self._number} of {self._file.path}>"

    def is_first(self) -> bool:
        if self._first:
            return True
        file = self._file
        if self._number:
            if not lock_range(file, fcntl.F_RDLCK, _TICKETS, self._number):
                return False
            # Asked, and let go again: a number that was damaged meanwhile must find its byte free.
            lock_range(file, fcntl.F_UNLCK, _TICKETS, self._number)
        # The turn has a lock of its own, so that a damaged number can spoil the order, never the exclusion.
        if not lock_range(file, fcntl.F_WRLCK, _TURN, 1):
            return False
        if file.replaced():
            file.close()
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
        self._renew()
        after_fork(self, LocalTurnstile._renew)
        self.record = b""

    def _renew(self) -> None:
        """In a forked child nobody waits: those who did are the parent's."""
        self._lock = threading.Lock()
        # As a kernel's lock ends with its file, a place ends with its ticket: a Ctrl-C leaves it to nobody.
        self._queue: weakref.WeakKeyDictionary[_LocalTicket, None] = weakref.WeakKeyDictionary()

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
