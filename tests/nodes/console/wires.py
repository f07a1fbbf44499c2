"""A node's console made of two pseudo-terminals: a program on one, the path that is opened on the other."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import tty
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Wire:
    """Runs a program on a terminal of its own, and carries bytes between it and the terminal at ``path``.

    Args:
        argv: The program.
        env: Its environment, beside a plain one.
        pace: Seconds after each byte that the node sends.
        size: The terminal's rows and columns.
        change: What becomes of a piece that the node sends.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        pace: float = 0.0,
        size: tuple[int, int] = (24, 80),
        change: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self._pace = pace
        self._change = change
        self.typed = b""
        """All that was typed by us."""
        self.said = bytearray()
        """What the node sent, the newest MiB at least."""
        self._node, terminal = os.openpty()
        import termios

        termios.tcsetwinsize(terminal, size)
        self._ours, path = os.openpty()
        self.path = os.ttyname(path)
        os.set_blocking(self._ours, False)
        tty.setraw(path)
        os.close(path)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *argv],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={
                "PATH": os.environ["PATH"],
                "TERM": "linux",
                "LANG": "C.UTF-8",
                "HOME": "/nonexistent",
                **(env or {}),
            },
        )
        os.close(terminal)
        self._wake, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        poll = select.poll()
        for fd in (self._wake, self._node, self._ours):
            poll.register(fd, select.POLLIN)
        waiting = b""
        while True:
            ready = dict(poll.poll(self._pace * 1000 if waiting else None))
            if self._wake in ready:
                return
            if ready.get(self._ours, 0) & select.POLLIN:
                typed = os.read(self._ours, 4096)
                self.typed += typed
                self.write(typed)
            elif self._ours in ready:
                select.select([], [], [], 0.005)  # nobody has it open
            if self._node in ready and len(waiting) < 4096:
                try:
                    said = os.read(self._node, 4096)
                except OSError:
                    poll.unregister(self._node)
                    continue
                waiting += self._change(said)
            if waiting:
                count = 1 if self._pace else len(waiting)
                self.say(waiting[:count])
                waiting = waiting[count:]
                if self._pace:
                    select.select([], [], [], self._pace)

    def say(self, data: bytes) -> None:
        """Shows bytes on our end, as a kernel does that writes to its console."""
        self.said += data
        if len(self.said) > 2 << 20:
            del self.said[: -1 << 20]
        poll = select.poll()
        poll.register(self._ours, select.POLLOUT)
        poll.register(self._wake, select.POLLIN)
        while data:
            try:
                data = data[os.write(self._ours, data) :]
            except BlockingIOError:
                if self._wake in dict(poll.poll()):
                    return

    def write(self, data: bytes) -> None:
        """Types on the node's terminal, as somebody else who has the same console."""
        os.write(self._node, data)

    def hang_up(self) -> None:
        """Takes our end away, as a gadget does that loses power."""
        self._end()

    def _end(self) -> None:
        if self._thread.is_alive():
            os.write(self._stop, b".")
            self._thread.join()
            for fd in (self._wake, self._stop, self._node, self._ours):
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.kill()
        self.process.wait()
        self._end()


PYTHON = sys.executable
