"""The standard streams of a command that are closed, full, or read by nobody any more."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

__all__ = [
    "READER_LEFT",
    "OutputLostError",
    "complain",
    "discard",
    "fill_closed",
    "flush_errors",
    "output_lost",
    "tell",
]

READER_LEFT = 141
"""The exit code that a shell shows for the end by SIGPIPE, 128 + 13."""


def fill_closed() -> None:
    """Opens the null device for each standard stream that is closed.

    Else the next file that is opened would be that stream: a device, a lock or a connection.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def discard(stream: TextIO) -> None:
    """Throws away what is written to a stream, and what it still holds for the process's end to write."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def complain(text: str) -> None:
    """Prints a line on standard error, if it can be written."""
    if sys.stderr is not None:
        try:
            print(text, file=sys.stderr, flush=True)
        except OSError:  # there is nobody left to tell
            discard(sys.stderr)


def flush_errors() -> None:
    """Has the process's end not fail for what others have written to standard error, as a log does."""
    if sys.stderr is not None:
        try:
            sys.stderr.flush()
        except OSError:
            discard(sys.stderr)


class OutputLostError(Exception):
    """Standard output cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def tell(text: str, end: str = "\n") -> None:
    """Prints on standard output; raises `OutputLostError` where that cannot be written."""
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        discard(sys.stdout)
        raise OutputLostError(error) from error


def output_lost(program: str, error: OSError, code: int = 0) -> int:
    """Says on standard error that standard output cannot be written, unless that is since its reader left.

    Args:
        program: The program's name.
        error: Why it cannot be written.
        code: The exit code so far.

    Returns:
        The exit code.
    """
    if isinstance(error, ConnectionError):  # such as BrokenPipeError
        return code or READER_LEFT
    complain(f"{program}: cannot write the output: {error.strerror}")
    return code or 1
