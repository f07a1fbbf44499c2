"""How a command travels over a console, and how its output and status are found in what comes back.

What is typed into the interactive shell, whichever it is, is one short line that starts ``/bin/sh``. That one
does not echo, and reads the rest itself: first a script whose length is checked, then the command in numbered
pieces whose lengths are checked, so that nothing runs of which a character was lost or added on the way. No
line is near the 4,095 bytes that a terminal takes.

Each step answers with a mark: a letter and a random token, which stand apart in what is typed, so that no
echo of it looks like a mark. Marks, from first to last: R (ready for the script), A (asks for a piece), S
(the command starts; its output follows), E (its end, with the exit status, three times since a message of the
kernel may split one), X (back in the interactive shell).
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from rpi_clusterhat import validate

from .screen import plain_text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MOST_BYTES", "Answers", "Question", "is_left_behind", "shell_line", "typed_check"]

MOST_BYTES = 65536
"""The longest command. Linux gives a program no argument above 128 KiB."""

_PIECE = 800
"""Characters of the command in one line."""

_MARK_LONGEST = 32

_OPENING = (
    """ /bin/sh -c 'o=$(stty -g);stty -echo;printf "\\nR%sZ\\n" {token};read -r x;"""
    """[ ${{#x}} = {length} ]&&eval "$x";printf "\\nX%sZ\\n" {token};stty $o'"""
)
_SCRIPT = (
    "i={token};c=;k=0;while [ $k -lt {count} ];do "
    'printf "\\nA%s:%sZ\\n" $i $k;IFS= read -r l||exit;d=${{l#$k:}};n=${{d%%:*}};d=${{d#*:}};'
    'if [ "$l" = "$k:$n:$d" ]&&[ ${{#d}} = "$n" ];then c=$c$d;k=$((k+1));fi;done;'
    'c=$(printf %b "$c");exec 4>&1;trap : INT QUIT;printf "\\nS%sZ\\n" $i;'
    # Through `cat`, so that no program takes the console for a screen: no pager, no colours, no 80 columns.
    's=$({{ {{ (exec /bin/sh -c "$c" </dev/null 2>&1 3>&- 4>&-);echo $? >&3;}} 2>/dev/null'
    "|cat >&4 3>&-;}} 3>&1);"
    'trap - INT QUIT;e=E$i:${{s:-130}}Z;printf "%s\\n%s\\n%s\\n" $e $e $e'
)


def shell_line(command: str | Sequence[str]) -> str:
    """Returns a command as a line for a shell: a text as it is, words quoted where they need it.

    Raises:
        SettingError: It is empty, too long, or has a NUL in it.
    """
    line = command if isinstance(command, str) else _joined(command)
    if not line.strip() or "\0" in line:
        raise validate.invalid("command", command, "a line for a shell, or words: ['systemctl', 'poweroff']")
    if len(line.encode("utf-8", "surrogateescape")) > MOST_BYTES:
        raise validate.invalid("command", command, f"at most {MOST_BYTES} bytes")
    return line


def _joined(words: Sequence[str]) -> str:
    try:
        return shlex.join(words) if words and words[0] else ""
    except (TypeError, KeyError):
        return ""


def typed_check(token: str) -> tuple[bytes, bytes]:
    """Returns what to type into any shell to find out whether it is one, and what it prints then."""
    return f" printf 'R%sZ\\n' {token}\r".encode(), f"R{token}Z".encode()


_ASKS = re.compile(r"A[0-9a-f]{12}:\d+Z$")


def is_left_behind(lines: Sequence[str]) -> bool:
    """Whether a shell asks there for a command that nobody will send: who began to is gone."""
    last = next((line for line in reversed(lines) if line.strip()), "")
    return bool(_ASKS.search(last))


class Question:
    """What is sent to have a command run.

    Args:
        line: The command, a line for a shell.
        token: Random letters and digits, of this command alone.
    """

    __slots__ = ("opening", "pieces", "script")

    def __init__(self, line: str, token: str) -> None:
        coded = _coded(line)
        parts = [coded[at : at + _PIECE] for at in range(0, len(coded), _PIECE)]
        self.pieces = tuple(f"{k}:{len(part)}:{part}\n".encode() for k, part in enumerate(parts))
        """The command, to be sent piece by piece as each is asked for."""
        script = _SCRIPT.format(token=token, count=len(parts))
        self.script = f"{script}\n".encode()
        """What reads the pieces and runs the command, to be sent when the shell is ready for it."""
        self.opening = f"{_OPENING.format(token=token, length=len(script))}\r".encode()
        """What is typed into the interactive shell."""


def _coded(line: str) -> str:
    """The line for ``printf %b``: printable ASCII as it is, all else as octal numbers."""
    # The space keeps a command that begins with a dash from being an option of the shell.
    data = b" " + line.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\0{byte:03o}" for byte in data)


class Answers:
    """Reads what comes back. It keeps the newest ``keep`` bytes of output, up to twice as many for a while.

    Args:
        token: The same as the `Question` has.
        keep: How many bytes of output are kept.
    """

    def __init__(self, token: str, keep: int) -> None:
        self._mark = re.compile(rf"([RASEX]){token}(?::(\d{{1,3}}))?Z".encode())
        self._keep = keep
        self._rest = b""
        self._output = bytearray()
        self.is_ready = False
        """Whether the shell waits for the script."""
        self.asked: list[int] = []
        """The numbers of the pieces that were asked for since this was last emptied."""
        self.has_started = False
        self.status: int | None = None
        """The command's exit status, None until it has ended."""
        self.is_over = False
        """Whether the interactive shell is back."""
        self._is_cut = False
        self._is_in_line = True  # that of the mark before the output

    @property
    def has_begun(self) -> bool:
        """Whether no more pieces will be asked for."""
        return self.has_started or self.status is not None or self.is_over

    @property
    def is_complete(self) -> bool:
        """Whether all of the output is kept."""
        return not self._is_cut and len(self._output) <= self._keep

    def feed(self, data: bytes) -> None:
        """Takes what came."""
        data = self._rest + data
        at = 0
        for mark in self._mark.finditer(data):
            self._take(data[at : mark.start()])
            at = mark.end()
            self._note(mark[1], mark[2])
        # The beginning of a mark may be here, and its end yet to come.
        upto = max(at, len(data) - _MARK_LONGEST)
        self._take(data[at:upto])
        self._rest = data[upto:]

    def _note(self, kind: bytes, number: bytes | None) -> None:
        if kind == b"E" and number is not None:
            if self.status is None:
                self.status = int(number)
                self._is_cut = self._is_cut or not self.has_started
        elif kind == b"A" and number is not None:
            self.asked.append(int(number))
        elif kind == b"R":
            self.is_ready = True
        elif kind == b"S":
            self.has_started = True
        elif kind == b"X":
            self.is_over = True

    def _take(self, data: bytes) -> None:
        if self.has_started and self.status is None:
            if self._is_in_line and data:
                data = data.lstrip(b"\r")
                self._is_in_line = not data
                data = data.removeprefix(b"\n")
            self._output += data
            if len(self._output) > 2 * self._keep:
                del self._output[: -self._keep]
                self._is_cut = True

    def output(self) -> str:
        """Returns what the command wrote so far, as plain text."""
        rest = self._rest if self.has_started and self.status is None else b""
        if self._is_in_line:
            rest = rest.lstrip(b"\r").removeprefix(b"\n")
        return plain_text(bytes(self._output[-self._keep :]) + rest)[-self._keep :]
