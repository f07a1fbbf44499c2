"""Processes that switch, are killed and are stopped: forked, so that no other user need read the library."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from rpi_clusterhat import Cluster
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.hardware.boards import board, node_names
from rpi_clusterhat.hardware.locks import lock_path
from rpi_clusterhat.hardware.turnstile import FileTurnstile
from rpi_clusterhat.power.bank import Bank
from rpi_clusterhat.power.rail import Rail

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

__all__ = ["USERS", "Child", "Entry", "Journal", "LoggingBackend", "forked", "lock_folder", "open_logging"]

BOARD = board("1.2")
USERS = (65534, 12345) if os.getuid() == 0 else (os.getuid(),)
"""Who the processes are: two ordinary users where this one may become any, else only this one."""
GROUP = 54321 if os.getuid() == 0 else os.getgid()
"""Those who may switch: these users are in it, with no other group in common."""


class Entry(NamedTuple):
    """A write, at the moment at which the line changed."""

    at: float
    pid: int
    node: str
    on: bool


class Journal:
    """What was written to lines, by all processes. Lines of text that are appended whole."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.fchmod(self._fd, 0o666)

    def note(self, node: str, *, on: bool) -> None:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        os.write(self._fd, f"{now!r} {os.getpid()} {node} {int(on)}\n".encode())

    def entries(self) -> list[Entry]:
        with open(self.path, encoding="ascii") as file:
            rows = [line.split() for line in file]
        return sorted(Entry(float(at), int(pid), node, on == "1") for at, pid, node, on in rows)

    def power_ups(self) -> list[Entry]:
        return [entry for entry in self.entries() if entry.on]

    def close(self) -> None:
        os.close(self._fd)


class LoggingBackend:
    """Lines that are in this object only, and a journal of what was written to them.

    ``dawdle`` is how many seconds at most pass within a write before and after the line changes.
    """

    holds_levels = True

    def __init__(self, journal: Journal, *, dawdle: float = 0.0, name: str = "") -> None:
        self._journal = journal
        self._dawdle = dawdle
        self._name = name
        self._levels = {line.offset: False for line in BOARD.lines}
        self._random = random.Random()

    def read(self) -> Mapping[int, bool]:
        return dict(self._levels)

    def write(self, levels: Mapping[int, bool]) -> None:
        self._wait()
        for offset, level in levels.items():
            if level is not self._levels[offset]:
                self._journal.note(f"{self._name}{offset}", on=level)
                self._levels[offset] = level
        self._wait()

    def _wait(self) -> None:
        if self._dawdle:
            SYSTEM.sleep(self._random.uniform(0.0, self._dawdle))

    def close(self) -> None:
        pass


def open_logging(
    journal: Journal, lock_dir: str, spacing: float, *, dawdle: float = 0.0, name: str = ""
) -> list[Bank]:
    """A board on the rail that processes share, whose writes are noted."""
    rail = Rail(FileTurnstile(lock_path(lock_dir, "rail-main")), SYSTEM, spacing)
    [names] = node_names([BOARD])
    return [Bank(BOARD, LoggingBackend(journal, dawdle=dawdle, name=name), rail, names)]


def open_cluster(
    journal: Journal, lock_dir: str, spacing: float, *, dawdle: float = 0.0, name: str = ""
) -> Cluster:
    return Cluster(open_logging(journal, lock_dir, spacing, dawdle=dawdle, name=name))


class Child:
    """A forked process that runs a function and then ends, with code 0 where it raised nothing.

    ``user`` is in the `GROUP` unless it is a ``stranger``.
    """

    def __init__(
        self, work: Callable[[], object], user: int | None = None, *, stranger: bool = False
    ) -> None:
        self._ended: int | None = None
        self.stopped = False
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                if user is not None and user != os.getuid():
                    os.setgroups([] if stranger else [GROUP])
                    os.setgid(user)
                    os.setuid(user)
                work()
                code = 0
            except BaseException:  # noqa: BLE001 (a fork must not return into the test)
                os.write(2, traceback.format_exc().encode())
            finally:
                os._exit(code)

    def kill(self) -> None:
        """SIGKILL; it is gone on return. May be called again."""
        if self._ended is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
            self.stopped = False

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        self.stopped = True

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self.stopped = False

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        if self._ended is None:
            self._ended = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._ended

    @property
    def has_ended(self) -> bool:
        if self._ended is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ended = os.waitstatus_to_exitcode(status)
        return self._ended is not None


@contextmanager
def forked(works: Sequence[Callable[[], object]]) -> Generator[list[Child]]:
    """Children, of all users in turn, that are killed in the end."""
    children: list[Child] = []
    try:
        for i, work in enumerate(works):
            children.append(Child(work, USERS[i % len(USERS)]))
        yield children
    finally:
        for child in children:
            child.kill()


@contextmanager
def lock_folder() -> Generator[str]:
    """A folder such as /run/rpi-clusterhat: a group's, closed to all others."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, -1, GROUP)
        os.chmod(folder, 0o2770)
        yield folder
