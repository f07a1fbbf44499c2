"""What is said with the shell of a node: a command goes there, its output and exit status come back.

The command is no argument of anything. The node's login shell, whichever it is, gets one line that never
changes but for a token, without anything that shells read differently. It starts ``sh``, which says that it
is ready, reads the command from its standard input, runs it with nothing to read, and tells the exit status.
What a login shell prints by itself comes before the first of these, and is dropped.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from rpi_clusterhat import validate
from rpi_clusterhat.nodes.process import Tail, is_word

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["OUTPUT_MOST", "Conversation", "read_command"]

OUTPUT_MOST = 1024 * 1024
_COMMAND_MOST = 1024 * 1024
_BEFORE_MOST = 16 * 1024
# No quote, no backslash and no "!": fish and csh read them differently. A command without the token at its
# end is one of which a part was lost with the connection, and is not run.
_SCRIPT = (
    "echo {0}:ready; c=$(cat); case $c in *{0}) ;; *) exit 1 ;; esac; "
    '(eval "${{c%{0}}}") </dev/null 2>&1; echo {0}:$?'
)


class Conversation:
    """What is said about one command.

    Args:
        command: As `read_command` returns it.
        token: Letters and digits that nothing else says.
    """

    __slots__ = ("_end", "_held", "_ready", "before", "is_ready", "line", "output", "said", "status")

    def __init__(self, command: bytes, token: str) -> None:
        self.line = f"sh -c '{_SCRIPT.format(token)}'"
        """What the login shell is given."""
        self.said = command + b"\n" + token.encode()
        """What is written to the standard input, once the node is ready."""
        self.is_ready = False
        self.status: int | None = None
        """The command's exit status, once it is known."""
        self.before = Tail(_BEFORE_MOST)
        """What came before the node was ready."""
        self.output = Tail(OUTPUT_MOST)
        """What came after that, up to the exit status."""
        self._held = b""
        """What has come and may be the beginning of a token's line."""
        self._ready = f"{token}:ready\n".encode()
        self._end = re.compile(rb"%b:(\d{1,3})\n" % token.encode())

    def take(self, data: bytes) -> None:
        """Takes what comes from the node next. What comes after the exit status is dropped."""
        data = self._held + data
        self._held = b""
        if not self.is_ready:
            before, found, data = data.partition(self._ready)
            if not found:
                self._hold(before, self.before)
                return
            self.before.add(before)
            self.is_ready = True
        if self.status is None:
            if end := self._end.search(data):
                self.output.add(data[: end.start()])
                self.status = int(end[1])
            else:
                self._hold(data, self.output)

    def _hold(self, data: bytes, tail: Tail) -> None:
        keep = len(self._ready)  # at least as long as the line with the status
        tail.add(data[:-keep])
        self._held = data[-keep:]

    def end(self) -> None:
        """Takes the end of what comes."""
        (self.output if self.is_ready else self.before).add(self._held)
        self._held = b""


def read_command(command: str | Sequence[str]) -> bytes:
    """Reads a command for a node's ``sh``.

    Args:
        command: A line for the shell, or words, of which each is an argument as it is.

    Raises:
        SettingError: It is something else, empty, too long, or has a NUL in it.
    """
    line: object = command
    if isinstance(command, list | tuple) and command and all(is_word(word) for word in command):
        line = shlex.join(command)
    try:
        if isinstance(line, str) and line.strip() and "\0" not in line:
            encoded = line.encode(errors="surrogateescape")  # as names of files come from the system
            if len(encoded) <= _COMMAND_MOST:
                return encoded
    except UnicodeEncodeError:
        pass
    raise validate.invalid(
        "command", command, "a line for a shell, or words such as ['ls', '-l'], without NUL, of 1 MiB at most"
    )
