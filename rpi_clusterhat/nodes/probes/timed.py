"""Probes with a time-out of their own, and how they wait for something until then."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from rpi_clusterhat import validate
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.waiting import Pause, Readable, Writable

from .probe import Probe, Verdict

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from rpi_clusterhat.waiting import Steps


class DownError(Exception):
    """Ends the steps of a probe whose node is down. The text is the reason."""


class TimedProbe(Probe):
    """A probe with a time-out in seconds, which the time that is left for the probe can shorten."""

    __slots__ = ("timeout",)

    def __init__(self, timeout: float) -> None:
        self.timeout = validate.seconds("timeout", timeout, above=True)

    def steps(self, left: Callable[[], float]) -> Steps[Verdict]:
        seconds = min(self.timeout, left())
        if seconds <= 0:
            return Verdict(False, f"no time was left to ask {self.target}")
        try:
            return Verdict(True, (yield from self._answer(SYSTEM.now() + seconds)))
        except TimeoutError:
            return Verdict(False, f"no answer from {self.target} within {seconds:.3g} s")
        except DownError as down:
            return Verdict(False, str(down))
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                return Verdict(False, f"connection refused by {self.target}")
            return Verdict(False, f"{describe(error)}: {self.target}")

    @property
    def target(self) -> str:
        """What the probe asks, as its reasons name it."""
        raise NotImplementedError

    def _answer(self, deadline: float) -> Steps[str]:
        """Makes the steps that return why the node is up, or raise `DownError`, TimeoutError or OSError."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.target}>"


def wait_for(wait: type[Readable | Writable], connection: socket.socket, deadline: float) -> Steps[None]:
    """Waits until a socket is ready; raises TimeoutError where the deadline comes first."""
    if (left := deadline - SYSTEM.now()) <= 0 or not (yield wait(connection.fileno(), left)):
        raise TimeoutError


def happens(is_so: Callable[[], bool], deadline: float) -> Steps[bool]:
    """Looks again and again, soon at first. Returns False where the deadline came first."""
    pause = 0.001
    while not is_so():
        if (left := deadline - SYSTEM.now()) <= 0:
            return False
        yield Pause(min(pause, left))
        pause = min(2 * pause, 0.02)
    return True


def describe(error: OSError) -> str:
    """The system's text for an error, as a part of a sentence."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]
