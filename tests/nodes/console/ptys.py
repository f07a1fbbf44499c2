"""Consoles as pseudo-terminals, and programs that have them open."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.waiting import Readable, drive

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rpi_clusterhat.nodes.console.line import ConsoleLine
    from rpi_clusterhat.waiting import Steps


class Pair(NamedTuple):
    """A pseudo-terminal: the node's end, and the path of ours."""

    node: int
    path: str

    def said(self, size: int = 65536) -> bytes:
        """What came to the node."""

        def steps() -> Steps[bytes]:
            assert (yield Readable(self.node, 10)), "nothing came to the node"
            return os.read(self.node, size)

        return drive(steps())

    def said_all(self, size: int) -> bytes:
        """So many bytes that came to the node."""
        came = b""
        while len(came) < size:
            came += self.said(size - len(came))
        return came

    def hears_nothing(self, seconds: float = 0.2) -> bool:
        def steps() -> Steps[bool]:
            return bool((yield Readable(self.node, seconds)))

        return not drive(steps())


@contextlib.contextmanager
def pair_of_ends() -> Generator[Pair]:
    """Both ends stay open here, as a node's end would see a hang-up whenever ours is closed."""
    node, ours = os.openpty()
    try:
        yield Pair(node, os.ttyname(ours))
    finally:
        os.close(ours)
        with contextlib.suppress(OSError):
            os.close(node)


def came(line: ConsoleLine, size: int = 0, seconds: float = 10) -> bytes | None:
    """What the node writes next, so many bytes of it at least; None where that is nothing."""

    def steps() -> Steps[bytes | None]:
        whole = b""
        deadline = SYSTEM.now() + seconds
        while (left := deadline - SYSTEM.now()) > 0:
            yield Readable(line.fd, left)
            data = line.read()
            if data == b"":
                return whole
            whole += data or b""
            if whole and len(whole) >= size:
                return whole
        return whole or None

    return drive(steps())


def until(happened: Callable[[], bool], line: ConsoleLine | None = None, seconds: float = 10) -> None:
    """Waits until something has happened, and brings a line up to date meanwhile."""
    deadline = SYSTEM.now() + seconds
    while not happened():
        assert SYSTEM.now() < deadline, "it does not happen"
        if line is not None:
            line.read()
        SYSTEM.sleep(0.005)


@contextlib.contextmanager
def program(code: str, *argv: str) -> Generator[subprocess.Popen[bytes]]:
    """A program of Python that does something, and stays until its input ends."""
    command = [sys.executable, "-c", f"import sys, os\n{code}\nprint(flush=True)\nsys.stdin.read()", *argv]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.communicate(timeout=30)


OPENS_LINE = "from rpi_clusterhat.nodes.console.line import open_line; line = open_line(sys.argv[1])"
"""A program that has a console open, and shares it."""
