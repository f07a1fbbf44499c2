"""A lock for moments that all processes share."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rpi_clusterhat.clock import SYSTEM, Clock
from rpi_clusterhat.errors import LockError, LockTimeoutError

from .going_ahead import HERE
from .lock_files import SharedFile, lock_error
from .lock_record import RECORD_SIZE, load_record, lock_path

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["RECORD_SIZE", "RETRY", "FileLock", "Patience", "lock_path"]

RETRY = 0.001
"""Seconds between two attempts to get a lock."""

_HURRY = 2.0
"""Seconds to wait for a lock without which it goes ahead: longer than any holder needs who is alive."""


class Patience:
    """How long one has waited for others.

    A moment in which nobody could act does not count: while the machine was suspended, no other program could
    give way.
    """

    MOMENT = 1.0
    """Seconds that count at most between two looks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock.now()
        self._waited = 0.0

    def waited(self) -> float:
        """Returns the seconds since this was made, as far as they count."""
        now = self._clock.now()
        self._waited += min(now - self._last, self.MOMENT)
        self._last = now
        return self._waited


class FileLock:
    """An exclusive lock for moments, such as the read-modify-write of a register or the rewrite of a file.

    It may be used from any thread and process. Two calls of `hold` exclude each other within one process too.

    Args:
        path: The lock's file; see `lock_path`.
        timeout: For how many seconds to wait for another holder.
        clock: What to wait with.
        guarded: Whether strangers must be kept out: False for what no strangers can be harmed by.
    """

    def __init__(
        self, path: str, *, timeout: float = 5.0, clock: Clock = SYSTEM, guarded: bool = True
    ) -> None:
        self.path = path
        self._timeout = timeout
        self._clock = clock
        self._guarded = guarded
        self._held: SharedFile | None = None

    def __repr__(self) -> str:
        return f"<FileLock {self.path}>"

    @contextmanager
    def hold(self) -> Generator[None]:
        """Holds the lock for the length of a ``with`` block.

        Raises:
            LockTimeoutError: Another holder has kept it for the whole time-out.
            LockError: The file cannot be opened or made, or others could forge it.
        """
        missed = HERE.missed
        try:
            file = self._take(self._timeout if missed is None else min(self._timeout, _HURRY))
        except (LockError, LockTimeoutError) as error:
            if missed is None:
                raise
            missed.append(error)
            yield
            return
        try:
            self._held = file
            yield
        finally:
            if self._held is file:
                self._held = None
            file.close()

    def _take(self, timeout: float) -> SharedFile:
        patience = Patience(self._clock)
        while True:
            file = SharedFile(self.path, guarded=self._guarded)
            try:
                while not self._try(file):
                    if patience.waited() >= timeout:
                        raise LockTimeoutError(
                            f"another process has held the lock {self.path} for {timeout:g} s: "
                            f"see who with 'fuser {self.path}'"
                        )
                    self._clock.sleep(RETRY)
                if not file.replaced():
                    return file
            except BaseException:
                file.close()
                raise
            file.close()

    def _try(self, file: SharedFile) -> bool:
        try:
            fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise lock_error("take", self.path, error) from error
        return True

    def load(self) -> bytes:
        """Returns the record as its last holder stored it, ``b""`` where there is none.

        It may be called without holding the lock. Nothing stops a member of the lock's group from writing
        nonsense: who uses a record checks what it says.
        """
        return load_record(self.path)

    def store(self, record: bytes) -> None:
        """Replaces the record, in the block of `hold`.

        It never fails: where the record cannot be kept, such as on a full file system, there is none then.
        Where `hold` went ahead without the lock, the record is replaced all the same if the file can be
        written: an old one would tell of what is not so any more.

        Args:
            record: At most `RECORD_SIZE` bytes.
        """
        assert len(record) <= RECORD_SIZE
        file = self._held
        if file is None:
            assert HERE.missed, "a record is stored by who holds the lock"
            with suppress(OSError):
                fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    os.pwrite(fd, record.ljust(RECORD_SIZE), 0)
                finally:
                    os.close(fd)
            return
        try:
            os.pwrite(file.fd, record.ljust(RECORD_SIZE), 0)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file.fd, 0)
