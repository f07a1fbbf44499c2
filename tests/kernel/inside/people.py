"""Processes of other users, and of other programs: forked, so that they start at once.

A result or an error comes back through a pipe.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pwd
import signal
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from multiprocessing.connection import Connection

_fork = multiprocessing.get_context("fork")


def become(user: str) -> None:
    """Makes this process an ordinary user's, with the groups that the user is in."""
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


class Process:
    """A running child. ``work`` may say with its first argument how far it is."""

    def __init__(self, user: str | None, work: Callable[[Connection], object]) -> None:
        self._ours, theirs = _fork.Pipe()
        self._process = _fork.Process(target=_child, args=(user, work, theirs))
        self._process.start()
        theirs.close()

    def hear(self, seconds: float = 20.0) -> Any:
        """What the child said next: by ``send``, or by returning. Raises what the child raised."""
        assert self._ours.poll(seconds), f"no word from the child within {seconds:g} s"
        told = self._ours.recv()
        if isinstance(told, BaseException):
            raise told
        return told

    def tell(self, what: object = None) -> None:
        self._ours.send(what)

    def kill(self) -> None:
        """SIGKILL; the process is gone on return."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
        self._ours.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid


def _child(user: str | None, work: Callable[[Connection], object], pipe: Connection) -> None:
    try:
        if user is not None:
            become(user)
        answer = work(pipe)
    except BaseException as error:  # noqa: BLE001 (raised again on the other side)
        error.add_note(traceback.format_exc())
        answer = error
    with contextlib.suppress(OSError):  # nobody may be listening any more
        pipe.send(answer)


@contextlib.contextmanager
def process(user: str | None, work: Callable[[Connection], object]) -> Generator[Process]:
    """A child that is killed in the end, wherever it is by then."""
    child = Process(user, work)
    try:
        yield child
    finally:
        child.kill()


def run_as(user: str | None, work: Callable[[], object], seconds: float = 20.0) -> Any:
    """What ``work`` returns or raises when this user calls it."""
    with process(user, lambda _: work()) as child:
        return child.hear(seconds)
