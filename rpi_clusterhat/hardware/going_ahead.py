"""What must not fail goes ahead without locks that cannot be had: a read, and the power-off of a node."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from rpi_clusterhat.errors import LockError, LockTimeoutError

__all__ = ["MISSED", "going_ahead"]

MISSED: ContextVar[list[LockError | LockTimeoutError] | None] = ContextVar("missed", default=None)
"""Why locks could not be had; None where an operation may fail for want of a lock."""


@contextmanager
def going_ahead() -> Generator[list[LockError | LockTimeoutError]]:
    """Has `FileLock.hold` go ahead without a lock that it cannot get, in this thread and block.

    Yields:
        Why locks could not be had; empty where all could.
    """
    missed: list[LockError | LockTimeoutError] = []
    token = MISSED.set(missed)
    try:
        yield missed
    finally:
        MISSED.reset(token)
