"""The demonstration leaves no process behind, however it ends."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.proxy.running import PATIENCE, ROOT

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs prctl(2) and /proc")

SERVE = [sys.executable, "examples/demo.py", "--serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [found for child in map(int, children) for found in (child, *descendants(child))]


def read_until(terminal: int, text: bytes) -> None:
    said = b""
    while text not in said:
        ready, _, _ = select.select([terminal], [], [], PATIENCE)
        assert ready, said
        said += os.read(terminal, 4096)


def enter_terminal(inside: int) -> None:
    """As a shell does it; what runs the tests may ignore these signals."""
    os.login_tty(inside)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def running(argv: list[str], **env: str) -> Generator[tuple[int, int, list[int]]]:
    """A command on a terminal of its own that has started to serve: its process, the terminal's other end,
    and a descriptor of each process below it."""
    terminal, inside = pty.openpty()
    with ExitStack() as stack:
        stack.callback(os.close, terminal)
        process = stack.enter_context(
            subprocess.Popen(
                argv,
                cwd=ROOT,
                env={**os.environ, **env},
                preexec_fn=partial(enter_terminal, inside),  # noqa: PLW1509  # no thread holds a lock of Python's
                pass_fds=[inside],
            )
        )
        stack.callback(process.kill)
        os.close(inside)
        read_until(terminal, b"Ctrl-C ends it")
        below = descendants(process.pid)
        descriptors = [os.pidfd_open(pid) for pid in below]
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
            stack.callback(end, descriptor)
        yield process.pid, terminal, descriptors


def end(descriptor: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)


def hang_up(terminal: int) -> None:
    """Closes it; its number stays in use."""
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), terminal)


def all_end(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        ended, _, _ = select.select([descriptor], [], [], PATIENCE)
        assert ended


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_when_it_is_killed(number: int) -> None:
    with running(SERVE) as (demo, _, below):
        assert len(below) == 1
        os.kill(demo, number)
        all_end(below)


@pytest.mark.slow
def test_nothing_is_left_when_make_is_killed() -> None:
    with running(["sh", "-c", '"$@"; true', "make", *SERVE], MAKELEVEL="1") as (make, _, below):
        assert len(below) == 2
        os.kill(make, signal.SIGKILL)
        all_end(below)


@pytest.mark.slow
def test_nothing_is_left_when_the_terminal_is_closed() -> None:
    with running(SERVE) as (_, terminal, below):
        hang_up(terminal)
        all_end(below)
