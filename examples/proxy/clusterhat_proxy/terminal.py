"""Whether the terminal that this process was started on is gone."""

from __future__ import annotations

import errno
import os
import select

__all__ = ["Terminal"]


class Terminal:
    """The terminal of the standard streams. Where there is none, it never hangs up."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._was_gone = False
        for number in range(3):
            try:
                os.get_terminal_size(number)
            except OSError as error:
                self._was_gone |= error.errno == errno.EIO
            else:
                self._poll.register(number, 0)  # that alone reports a hang-up

    def has_hung_up(self) -> bool:
        return self._was_gone or bool(self._poll.poll(0))
