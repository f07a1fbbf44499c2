"""Prints lines on standard output, a passing line among them, and errors on standard error."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from rpi_clusterhat.streams import complain, discard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["PROGRAM", "Output", "Told", "columns", "listed", "terminal_width"]

PROGRAM = "rpi-clusterhat"
_CLEAR_LINE = "\r\x1b[K"


def terminal_width() -> int:
    """Returns the columns of the terminal on standard output, or 80 where there is none."""
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


class Told(BaseException):
    """The text of ``--help`` or ``--version``. Like `SystemExit`, it is no `Exception`."""


class Output:
    """The output of one run of the command.

    It never raises for an output that cannot be written, so that switching goes on.
    """

    def __init__(self) -> None:
        self.lost: OSError | None = None
        """The error after which standard output takes nothing more."""
        self._passing = False
        self._warned: set[str] = set()

    @property
    def terminal(self) -> bool:
        """Whether standard output is a terminal on which a line can be overwritten."""
        return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") not in (None, "dumb")

    def line(self, text: str) -> None:
        """Prints a line, or several."""
        self._write(f"{self._clear()}{text}\n")

    def passing(self, text: str) -> None:
        """Prints a line that the next output overwrites. It is for terminals only."""
        self._passing = True  # first: a signal may end the wait during which this is written
        self._write(_CLEAR_LINE + text[: terminal_width() - 1])

    def over(self, text: str, above: int) -> None:
        """Prints lines over so many lines above. It is for terminals only."""
        self._write(f"\x1b[{above}F\x1b[J{text}\n" if above else f"{text}\n")

    def error(self, text: str) -> None:
        """Prints one line on standard error, after the program's name."""
        self.end()
        complain(f"{PROGRAM}: {' '.join(text.splitlines())}")

    def warning(self, text: str) -> None:
        """Prints a line on standard error that says what may be wrong, once however often it is met."""
        if text not in self._warned:
            self._warned.add(text)
            self.error(f"warning: {text}")

    def watch_reader(self) -> Callable[[], bool] | None:
        """Returns what notices, without anything being written, that nobody reads standard output any more.

        Returns:
            A function that looks, and returns whether standard output takes nothing more; None where the
            output has no descriptor.
        """
        import select

        try:
            poll = select.poll()
            poll.register(sys.stdout, 0)  # that alone reports errors and hang-ups
        except (AttributeError, TypeError, ValueError):
            return None

        def look() -> bool:
            if self.lost is None and poll.poll(0):
                self.lost = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
                discard(sys.stdout)
            return self.lost is not None

        return look

    def end(self) -> None:
        """Removes a passing line."""
        if text := self._clear():
            self._write(text)

    def _clear(self) -> str:
        passing, self._passing = self._passing, False
        return _CLEAR_LINE if passing else ""

    def _write(self, text: str) -> None:
        stream = sys.stdout
        if self.lost is not None:
            return
        if stream is None:
            self.lost = OSError(errno.EBADF, "standard output is closed")
            return
        try:
            try:
                stream.write(text)
            except UnicodeEncodeError:
                stream.write(text.encode("ascii", "backslashreplace").decode("ascii"))
            stream.flush()
        except OSError as error:
            self.lost = error
            discard(stream)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Aligns rows of cells. The last cell of a row may have any length."""
    widths: dict[int, int] = {}
    for row in rows:
        for i, cell in enumerate(row[:-1]):
            widths[i] = max(widths.get(i, 0), len(cell))
    return "\n".join(
        "  ".join([f"{cell:{widths.get(i, 0)}}" for i, cell in enumerate(row)]).rstrip() for row in rows
    )


def listed(names: Sequence[str], verb: str = "") -> str:
    """Lists names with what they are: ``p1, p2 are on`` or ``p1 is on``."""
    return f"{', '.join(names)}{verb and (' is ' if len(names) == 1 else ' are ')}{verb}"
