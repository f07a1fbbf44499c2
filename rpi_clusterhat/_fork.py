"""What a forked child has to renew: it has the locks that other threads held, and none of these threads.

``multiprocessing`` forks, and so do programs that start a daemon. A lock that another thread held at that
moment would be held for ever in the child.
"""

from __future__ import annotations

import os
from _weakref import ref  # weakref itself takes longer to import than all that is done here
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _T = TypeVar("_T")

__all__ = ["after_fork"]

_renewals: dict[int, tuple[ref[Any], Callable[[Any], object]]] = {}
"""By the owner's id, which no other object has as long as the owner lives."""


def after_fork(owner: _T, renew: Callable[[_T], object]) -> None:
    """Has something done in each child that this process forks, before anything else runs there.

    It may be called from any thread, and does not keep the owner alive.

    Args:
        owner: What is renewed.
        renew: Renews it. It must not wait for a lock that the parent may have held.
    """
    number = id(owner)
    # Forgotten by the dictionary itself: Python drops a Ctrl-C that meets a finalizer of ours.
    _renewals[number] = ref(owner, partial(_renewals.pop, number)), renew


def _renew() -> None:
    failed: Exception | None = None
    for refers, renew in list(_renewals.values()):
        owner = refers()
        try:
            if owner is not None:
                renew(owner)
        except Exception as error:  # noqa: BLE001 - the others' locks must be free all the same
            failed = error
    if failed is not None:
        raise failed


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_renew)
