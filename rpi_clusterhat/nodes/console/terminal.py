"""Shows a node's console on a terminal, or copies it from and to files and pipes."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import ConsoleError, ConsoleMissingError
from rpi_clusterhat.streams import OutputLostError

from .keys import Keys, Wish, key_name
from .packets import CHUNK
from .raw_terminal import RawTerminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from .shared_line import SharedLine

__all__ = ["Terminal"]

_RETRY = 0.25
"""Seconds between two attempts to open the console of a node that is away."""

_SILENCE = 1.0
"""Seconds of silence after the end of the input that are the end."""

_AHEAD = 4096
"""Bytes that may be typed ahead."""


class Terminal:
    """A console on a terminal. Where the input is none, it is copied as it is, and so is the output.

    It is for the main thread.

    Args:
        name: The node's name.
        path: The console, for what is told.
        open_line: Opens the console.
        tell: Prints a line beside the output, which is not the node's.
        wait: Makes a call that may wait, which a signal may end by raising.
        escape: The escape key, or ``b""`` for none.
        transcript: Takes what the node writes, or None.
        watch: Whether nothing is read from the input.
        once: Whether the end of the console is the end, and one that is not there is an error.
        keyboard: The input's descriptor.
        screen: The output's.
    """

    def __init__(
        self,
        name: str,
        path: str,
        open_line: Callable[[], SharedLine],
        tell: Callable[[str], None],
        wait: Callable[[Callable[[], object]], object],
        *,
        escape: bytes,
        transcript: Callable[[bytes], None] | None = None,
        watch: bool = False,
        once: bool = False,
        keyboard: int = 0,
        screen: int = 1,
    ) -> None:
        self._name = name
        self._path = path
        self._open_line = open_line
        self._complain = tell
        self._wait = wait
        self._escape = escape
        self._keys = Keys(escape)
        self._transcript = transcript
        self._watch = watch
        self._once = once
        self._keyboard: int | None = keyboard
        self._screen = screen
        self._raw = RawTerminal(keyboard)
        if watch and not self._raw.is_terminal:
            self._keyboard = None
        self._is_shown = os.isatty(screen)
        self._line: SharedLine | None = None
        self._typed = b""
        """What the console has not taken so far."""
        self._skipped = 0
        self._told = ""
        """Why the console is not open, or whose turn it is: told once."""
        self._retry_at = 0.0
        self._ends_at: float | None = None
        """When the output has been silent for long enough, after the end of the input."""
        self._is_over = False

    def run(self) -> None:
        """Shows the console until it is left.

        Raises:
            ConsoleError: It cannot be opened.
            OutputLostError: The output cannot be written.
        """
        try:
            self._open(first=True)
            with self._raw:
                self._greet()
                while not self._is_over:
                    self._round()
        finally:
            self._close()

    def _round(self) -> None:
        poll = select.poll()
        poll.register(self._raw.wakes, select.POLLIN)
        line = self._line
        if line is not None:
            poll.register(line.fd, select.POLLIN | (select.POLLOUT if self._typed else 0))
        if self._keyboard is not None and (self._raw.is_terminal or not self._typed):
            poll.register(self._keyboard, select.POLLIN)
        timeout = self._timeout()
        found: list[tuple[int, int]] = []
        self._wait(lambda: found.extend(poll.poll(timeout)))
        ready = dict(found)
        if self._raw.is_wanted:
            self._suspend()
            return
        if self._keyboard in ready:
            self._read_keyboard()
        if line is not None and self._line is line:
            self._read_line(line)
        elif self._line is None and SYSTEM.now() >= self._retry_at:
            self._open()
        self._send()
        if self._ends_at is not None and not self._typed and SYSTEM.now() >= self._ends_at:
            self._is_over = True

    def _timeout(self) -> float | None:
        """Milliseconds until something is due."""
        due = [self._ends_at] if self._ends_at is not None else []
        if self._line is None:
            due.append(self._retry_at)
        return max(0.0, min(due) - SYSTEM.now()) * 1000 + 1 if due else None

    # The node ---------------------------------------------------------------------------------------------

    def _open(self, *, first: bool = False) -> None:
        try:
            self._line = self._open_line()
        except ConsoleError as error:
            if first and (self._once or not isinstance(error, ConsoleMissingError)):
                raise
            self._retry_at = SYSTEM.now() + _RETRY
            if not first:
                self._tell_once(str(error))
            return
        self._told = ""
        self._skipped = 0
        if not first:
            self._tell(f"{self._name} is there")

    def _greet(self) -> None:
        if self._raw.is_terminal and self._escape:
            how = "watching" if self._watch else "connected to"
            key = key_name(self._escape)
            self._tell(
                f"{how} {self._name} on {self._path}: {key} then . leaves, {key} then ? shows all keys"
            )
        if self._line is None:
            self._tell_once(
                f"there is no console {self._path} so far: waiting for {self._name} to get power and boot"
            )

    def _close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _read_line(self, line: SharedLine) -> None:
        try:
            data = line.read()
        except ConsoleError as error:
            self._lost(str(error))
            return
        if line.skipped != self._skipped:
            self._tell(f"{line.skipped - self._skipped} bytes were skipped")
            self._skipped = line.skipped
        if data == b"":
            self._lost(f"{self._name} went away")
        elif data:
            self._show(data)
            if self._transcript is not None:
                self._transcript(data)
            if self._ends_at is not None:
                self._ends_at = SYSTEM.now() + _SILENCE

    def _lost(self, why: str) -> None:
        self._close()
        self._typed = b""
        if self._once or self._ends_at is not None:
            self._tell(why)
            self._is_over = True
            return
        self._told = ""
        self._tell(f"{why}: waiting for it to come back")
        self._retry_at = SYSTEM.now() + _RETRY
        self._told = "gone"

    def _send(self) -> None:
        line = self._line
        if line is None or not self._typed:
            return
        if line.turn_of and not line.has_turn:
            self._tell_once(f"{line.turn_of} runs a command: what is typed waits for its end")
        try:
            while self._typed and (taken := line.write(self._typed)):
                self._typed = self._typed[taken:]
        except ConsoleError:
            pass  # the next read says so

    # The person -------------------------------------------------------------------------------------------

    def _read_keyboard(self) -> None:
        assert self._keyboard is not None
        try:
            data = os.read(self._keyboard, CHUNK)
        except OSError:  # the terminal has hung up
            data = b""
        if not data:
            self._is_over = self._raw.is_terminal
            self._keyboard = None
            self._ends_at = SYSTEM.now() + _SILENCE
            return
        if not self._raw.is_terminal:
            self._typed += data
            return
        for found in self._keys.typed(data):
            match found:
                case bytes():
                    self._type(found)
                case Wish.LEAVE:
                    self._is_over = True
                    self._tell(f"left {self._name}")
                case Wish.SUSPEND:
                    self._suspend()
                case Wish.HELP:
                    self._help()
            if self._is_over:
                return

    def _type(self, data: bytes) -> None:
        if self._watch or self._line is None:
            return
        if len(self._typed) + len(data) > _AHEAD:
            self._tell_once(f"{self._name} takes no input: what is typed is dropped")
        else:
            self._typed += data

    def _help(self) -> None:
        key = key_name(self._escape)
        self._tell(
            f"{key} and then: . leaves {self._name}; z suspends this program; {key} sends {key}; ? shows this"
        )

    def _suspend(self) -> None:
        # Others go on with the console, which a program that is suspended could not serve.
        self._tell("suspended")
        self._raw.suspend(self._close)
        self._retry_at = 0.0
        self._told = "gone"

    # The screen -------------------------------------------------------------------------------------------

    def _show(self, data: bytes) -> None:
        while data:
            written: list[int] = []
            part = data
            try:
                self._wait(lambda: written.append(os.write(self._screen, part)))  # noqa: B023
            except BlockingIOError:  # another program at this terminal has it so
                self._wait(lambda: select.select([], [self._screen], []))
            except OSError as error:
                raise OutputLostError(error) from error
            data = data[sum(written) :]

    def _tell(self, text: str) -> None:
        if not self._is_shown:
            self._complain(text)
        else:
            self._show(f"\r\n[{text}]\r\n".encode(errors="replace"))

    def _tell_once(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._tell(text)
