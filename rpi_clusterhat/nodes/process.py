"""A process on the controller, run without a shell, watched by steps, and killed with its group."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from rpi_clusterhat import validate
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.waiting import Pause, Readable, Writable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from rpi_clusterhat.waiting import Steps

__all__ = ["Process", "Tail", "checked_argv", "is_word"]

_AT_ONCE = 64 * 1024
_AFTER_THE_END = 1024 * 1024
"""Bytes that are still read once the process has ended: a child of it may go on writing without end."""


class Process:
    """A process in a group of its own, as a context at whose end it is killed with its group.

    To be used by one thread or task at a time.

    Args:
        argv: The command and its arguments.
        output: Whether standard output is read. Else it is dropped, and standard error too.
        errors: Whether standard error is read as a part of standard output. Else it is dropped.
        fed: Whether something is written to its standard input. Else it has nothing to read.

    Raises:
        OSError: It cannot be run.
    """

    __slots__ = ("_input", "_left_to_read", "_output", "_popen")

    def __init__(
        self, argv: Sequence[str], *, output: bool = False, errors: bool = True, fed: bool = False
    ) -> None:
        import subprocess

        nothing = subprocess.DEVNULL
        self._popen = subprocess.Popen(
            argv,
            bufsize=0,
            stdin=subprocess.PIPE if fed else nothing,
            stdout=subprocess.PIPE if output else nothing,
            stderr=subprocess.STDOUT if output and errors else nothing,
            start_new_session=True,
        )
        self._input, self._output = self._popen.stdin, self._popen.stdout
        self._left_to_read = _AFTER_THE_END
        for pipe in filter(None, (self._input, self._output)):
            os.set_blocking(pipe.fileno(), False)

    @property
    def status(self) -> int | None:
        """Its exit status, below 0 for the signal that ended it; None as far as it is known to run."""
        return self._popen.returncode

    def more(self, deadline: float) -> Steps[bytes]:
        """Makes the steps that wait for output.

        Returns:
            What has come. Nothing, where the process has ended and all was read, which ``status`` tells, or
            where the deadline came first.
        """
        pause = 0.001
        while True:
            ended = self._popen.poll() is not None
            left = 0.0 if ended else deadline - SYSTEM.now()
            if left <= 0 and not ended:  # else a flood would have no end
                return b""
            wait = min(pause, left)
            if self._output is None:
                if wait:
                    yield Pause(wait)
            elif (yield Readable(self._output.fileno(), wait)) and self._left_to_read > 0:
                data = self._output.read(_AT_ONCE)
                if data:
                    if ended:
                        self._left_to_read -= len(data)
                    return bytes(data)
                if data is not None:
                    self._output.close()
                    self._output = None
            if ended:
                return b""
            pause = min(2 * pause, 0.02)

    def ends(self, deadline: float) -> Steps[bool]:
        """Makes the steps that wait for its end and drop its output. False where the deadline came first."""
        while (yield from self.more(deadline)):
            pass
        return self.status is not None

    def feed(self, data: bytes, deadline: float) -> Steps[bool]:
        """Makes the steps that write all of its input, and end it. False where it was not taken in time."""
        assert self._input is not None
        rest = memoryview(data)
        try:
            while rest:
                left = deadline - SYSTEM.now()
                if left <= 0 or not (yield Writable(self._input.fileno(), left)):
                    return False
                rest = rest[self._input.write(rest) or 0 :]
        except BrokenPipeError:
            return False
        finally:
            self._input.close()
            self._input = None
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._kill()
        finally:
            for pipe in filter(None, (self._input, self._output)):
                with suppress(OSError):
                    pipe.close()

    def _kill(self) -> None:
        if self._popen.returncode is not None:
            return
        import signal

        try:
            os.killpg(self._popen.pid, signal.SIGKILL)
        except PermissionError:  # it runs as another user by now: neither to be killed nor to be waited for
            return
        self._popen.wait()


class Tail:
    """The newest bytes of an output.

    Args:
        most: How many are kept.
    """

    __slots__ = ("_data", "_is_cut", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._data = bytearray()
        self._is_cut = False

    def add(self, data: bytes) -> None:
        """Takes what comes next."""
        self._data += data
        if len(self._data) > 2 * self._most:
            self._cut()

    def _cut(self) -> None:
        if len(self._data) > self._most:
            del self._data[: -self._most]
            self._is_cut = True

    @property
    def is_complete(self) -> bool:
        """Whether what is kept is all of it."""
        self._cut()
        return not self._is_cut

    @property
    def text(self) -> str:
        """What is kept, as text with ``\\n`` at the end of each line."""
        self._cut()
        return self._data.decode(errors="replace").replace("\r\n", "\n")

    @property
    def last_line(self) -> str:
        """Its last line with something printable in it, without control characters; else empty."""
        for line in reversed(self.text[-1000:].splitlines()):
            if shown := "".join(c for c in line if c.isprintable()).strip():
                return shown
        return ""


def checked_argv(argv: tuple[str, ...], example: str) -> tuple[str, ...]:
    """Returns a command and its arguments. Raises `SettingError`, with the example, where they are none."""
    if not argv or not argv[0] or not all(is_word(word) for word in argv):
        raise validate.invalid(
            "argv", argv, f"a command and its arguments, each a text of its own without NUL: {example}"
        )
    return argv


def is_word(word: object) -> bool:
    """Whether something can be an argument of a command."""
    return isinstance(word, str) and "\0" not in word
