"""Talks with a node over its console, as a person does."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

from .machine.image import PASSWORDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

BOOT = 120.0
"""Seconds: far more than a boot takes, beside other tests too."""


class Terminal:
    """An open console. It remembers the last of what it has read, also after the console's end."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.read = b""
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)

    def say(self, line: str) -> None:
        self.read = b""
        os.write(self._fd, f"{line}\n".encode())

    def wait_for(self, *words: str, seconds: float = BOOT) -> None:
        """Reads until one of these was said, since the last `say`."""
        assert until(lambda: self._has(words) or self.ended, seconds), self.read[-2000:]
        assert self._has(words), self.read[-2000:]

    def wait_for_end(self, seconds: float = BOOT) -> None:
        def ended() -> bool:
            self._look()
            return self.ended

        assert until(ended, seconds), self.read[-2000:]

    def log_in(self, user: str = "root") -> None:
        self.say("")  # who comes late has not seen the prompt
        self.wait_for("login: ")
        self.say(user)
        self.wait_for("Password: ")
        self.say(PASSWORDS[user])
        self.wait_for("# ", "$ ")

    def _has(self, words: tuple[str, ...]) -> bool:
        self._look()
        return any(word.encode() in self.read for word in words)

    def _look(self) -> None:
        try:
            while not self.ended and select.select([self._fd], [], [], 0)[0]:
                data = os.read(self._fd, 4096)
                self.read = (self.read + data)[-100_000:]
                self.ended = not data
        except OSError:
            self.ended = True


def until(holds: Callable[[], bool], seconds: float = BOOT) -> bool:
    """Waits until something holds; whether it came to that."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
