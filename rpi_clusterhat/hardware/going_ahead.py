"""What must not fail goes ahead without locks that cannot be had: a read, and the power-off of a node."""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from rpi_clusterhat.errors import LockError, LockTimeoutError

    _T = TypeVar("_T")

__all__ = ["MISSED", "going_ahead"]

MISSED: ContextVar[list[LockError | LockTimeoutError] | None] = ContextVar("missed", default=None)
"""Where it is told why locks could not be had; None where an operation may fail for want of a lock."""


def going_ahead(access: Callable[[], _T], missed: list[LockError | LockTimeoutError]) -> _T:
    """Calls a function in which `FileLock.hold` goes ahead without a lock that it cannot get.

    Args:
        access: The function.
        missed: Gets why locks could not be had.

    Returns:
        What the function returns.
    """

    def work() -> _T:
        MISSED.set(missed)
        return access()

    # In a context of its own, which ends with the call: a Ctrl-C at no line can leave this in force.
    return copy_context().run(work)
