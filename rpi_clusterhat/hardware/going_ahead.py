"""What must not fail goes ahead without locks that cannot be had: a read, and the power-off of a node."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from rpi_clusterhat.errors import LockError, LockTimeoutError

    _T = TypeVar("_T")
    Missed = list[LockError | LockTimeoutError] | None

__all__ = ["HERE", "call"]


class _Here(threading.local):
    """What holds in a thread."""

    missed: Missed = None
    """Where it is told why locks could not be had; None where it may fail for want of a lock."""


HERE = _Here()


def call(access: Callable[[], _T], missed: Missed) -> _T:
    """Calls a function that may hold a `FileLock`.

    Args:
        access: The function.
        missed: None where a lock that cannot be had is an error. Else it goes ahead without, and this gets
            why.

    Returns:
        What the function returns.
    """
    before = HERE.missed
    HERE.missed = missed
    try:
        return access()
    finally:  # a Ctrl-C just here leaves it in force, until the next call says what holds
        HERE.missed = before
