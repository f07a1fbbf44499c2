"""The demonstration leaves no process behind, however it ends."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.proxy.running import PATIENCE, ROOT

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs prctl(2) and /proc")

SERVE = [sys.executable, "examples/demo.py", "--serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]

SERVES = b"Ctrl-C ends it"
"""What the demonstration says when it does."""


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [found for child in map(int, children) for found in (child, *descendants(child))]


def read_until(terminal: int, text: bytes) -> bytes:
    said = b""
    while text not in said:
        ready, _, _ = select.select([terminal], [], [], PATIENCE)
        assert ready, said
        said += os.read(terminal, 4096)
    return said


def enter_terminal(inside: int) -> None:
    """As a shell does it; what runs the tests may ignore these signals."""
    os.login_tty(inside)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Running(NamedTuple):
    pid: int
    terminal: int
    """The other end of its terminal."""
    below: list[int]
    """A descriptor of each process below it."""
    said: bytes


@contextmanager
def running(argv: list[str], says: bytes = SERVES, **env: str) -> Generator[Running]:
    """A command on a terminal of its own that has started to serve."""
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
        said = read_until(terminal, says)
        below = descendants(process.pid)
        descriptors = [os.pidfd_open(pid) for pid in below]
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
            stack.callback(end, descriptor)
        yield Running(process.pid, terminal, descriptors, said)


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
    with running(SERVE) as (demo, _, below, _):
        assert len(below) == 1
        os.kill(demo, number)
        all_end(below)


@pytest.mark.slow
def test_nothing_is_left_when_make_is_killed() -> None:
    with running(["sh", "-c", '"$@"; true', "make", *SERVE], MAKELEVEL="1") as (make, _, below, _):
        assert len(below) == 2
        os.kill(make, signal.SIGKILL)
        all_end(below)


@pytest.mark.slow
def test_nothing_is_left_when_the_terminal_is_closed() -> None:
    with running(SERVE) as (_, terminal, below, _):
        hang_up(terminal)
        all_end(below)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("ignored", ["", "trap '' HUP; "])
def test_nothing_is_left_when_the_terminal_of_make_is_closed(tmp_path: Path, ignored: str) -> None:
    """make alone is told of that, and waits for what it has started."""
    (tmp_path / "Makefile").write_text(f"serve:\n\t{shlex.join(SERVE)}\n")
    # These tests may run below a make, whose options are not meant for this one.
    alone = ["env", "--unset=MAKEFLAGS", "--unset=MFLAGS", "--unset=MAKELEVEL"]
    make = [*alone, "sh", "-c", f'{ignored}exec make -f "$1"', "sh", str(tmp_path / "Makefile")]
    with running(make) as (_, terminal, below, _):
        assert len(below) == 2
        hang_up(terminal)
        all_end(below)


@pytest.mark.slow
@pytest.mark.parametrize("argv", [[], ["--serve", *SERVE[3:]]])
def test_it_ends_when_nobody_reads_what_it_says(argv: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    for output, code, said in (
        (write, 141, ""),
        (os.open("/dev/full", os.O_WRONLY), 1, "demo.py: cannot write the output: No space left on device\n"),
    ):
        done = subprocess.run(
            [*SERVE[:2], *argv],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        os.close(output)
        assert (done.returncode, done.stderr) == (code, said)
