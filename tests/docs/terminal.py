"""A terminal with one shell in it, at which a test types as a person does.

The shell is an interactive bash on a terminal of its own, with job control. Where the system lets it, it has
a network of its own, too, with nothing but loopback: ports are free there, whatever else runs here.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .sessions import agrees

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Terminal"]

_COLUMNS, _LINES = 80, 50
_END = "\x1e"
"""Around the status of a command, after all that it shows."""

_JOBS = re.compile(r"^\[\d+\](?: \d+|[+-]?  .*)\n", re.MULTILINE)
_OVERWRITTEN = re.compile(r"[^\n]*\r(?:\x1b\[K)?(?!\n)")

_ENTER = """
import fcntl, os, socket, struct, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if sys.argv[1] == "alone":
    with socket.socket() as any:
        fcntl.ioctl(any, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
os.execv("/bin/bash", ["bash", "--noprofile", "--norc", "--noediting", "-i"])
"""
"""Makes the terminal the shell's own, and its loopback work."""


class Terminal:
    """A shell in this folder, with these variables and no others."""

    def __init__(self, folder: Path, environment: Mapping[str, str], patience: float = 10) -> None:
        self._patience = patience
        self._fd, shell = os.openpty()
        fcntl.ioctl(shell, termios.TIOCSWINSZ, struct.pack("4H", _LINES, _COLUMNS, 0, 0))
        attributes = termios.tcgetattr(shell)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(shell, termios.TCSANOW, attributes)
        alone = ["unshare", "--map-root-user", "--net", "--"] if _may_be_alone() else []
        self._shell = subprocess.Popen(
            [*alone, sys.executable, "-c", _ENTER, "alone" if alone else "beside others"],
            stdin=shell,
            stdout=shell,
            stderr=shell,
            cwd=folder,
            env={**environment, "PS1": "", "PS2": "", "PROMPT_COMMAND": r"printf '\036%s\036' $?"},
            start_new_session=True,
        )
        os.close(shell)
        self._came = ""
        self._until_prompt(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the terminal, as a person closes its window, and ends what stayed."""
        self._shell.send_signal(signal.SIGHUP)
        os.close(self._fd)
        self._shell.wait(timeout=30)
        left = self.left(self._patience)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert left == [], "programs outlive their terminal"

    def type(self, command: str, shows: str | None = None, timeout: float = 90) -> tuple[int, str]:
        """Types a command, and waits for its end.

        Of a command that goes on in the background, it waits for what the page shows.

        Returns:
            Its status, and what the terminal shows then.
        """
        os.write(self._fd, command.encode())
        before, stopped, _ = (shows or "").partition("^C\n")
        if stopped:
            self._until_shown(before, timeout)
            time.sleep(0.3)  # nobody is quicker; the shell may be about to start what it interrupts
            os.write(self._fd, b"\x03")
        status, came = self._until_prompt(timeout)
        if stopped:
            came = came.replace("^C", "", 1)
        elif shows is not None and command.rstrip().endswith("&") and not agrees(shows, came):
            self._came = came
            came = self._until_shown(shows, timeout)
            self._came = ""
        return status, came

    def left(self, timeout: float) -> list[int]:
        """The processes that were started at this terminal, and run still after this time."""
        deadline = time.monotonic() + timeout
        while (found := self._running()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _running(self) -> list[int]:
        found: list[int] = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session, *_ = stat.read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            if int(session) == self._shell.pid and state != "Z" and int(stat.parent.name) != self._shell.pid:
                found.append(int(stat.parent.name))
        return found

    def _until_prompt(self, timeout: float) -> tuple[int, str]:
        deadline = time.monotonic() + timeout
        while not (end := re.search(rf"{_END}(\d+){_END}", self._came)):
            self._read(deadline)
        came, self._came = self._came[: end.start()], self._came[end.end() :]
        return int(end[1]), _seen(came)

    def _until_shown(self, shows: str, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        while not agrees(shows, _seen(self._came)):
            self._read(deadline)
        return _seen(self._came)

    def _read(self, deadline: float) -> None:
        if not select.select([self._fd], [], [], max(0, deadline - time.monotonic()))[0]:
            raise AssertionError(f"it goes on, and has shown:\n{_seen(self._came)}")
        self._came += os.read(self._fd, 65536).decode(errors="replace")


def _seen(came: str) -> str:
    """What a person sees: without lines that were overwritten, and what the shell says of jobs."""
    text = came.replace("\r\n", "\n").replace("\x1b[K\n", "\n")
    text = _JOBS.sub("", _OVERWRITTEN.sub("", text))
    return text if text.endswith("\n") or not text else f"{text}\n"


@cache
def _may_be_alone() -> bool:
    try:
        tried = subprocess.run(
            ["unshare", "--map-root-user", "--net", "--", "true"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return tried.returncode == 0
