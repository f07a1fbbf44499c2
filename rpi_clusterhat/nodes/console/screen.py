"""What a console's bytes look like as text: without control sequences, as a terminal would show it.

The text is made from the newest bytes each time it is asked for, so that nothing else has to be remembered.
"""

from __future__ import annotations

import re

__all__ = ["Screen", "lines_of", "plain_text"]

_FAR = 256
"""The column beyond which a cursor is not moved to where nothing is written yet."""

_STRING = r"[^\x07\x18\x1a\x1b\x9c\r\n]*(?:\x07|\x1b\\|\x9c)?"  # so does a line's end, else one could eat all
_SEQUENCE = re.compile(
    rf"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]){_STRING}"  # titles, hyperlinks, pictures and other strings
    r"|(?:\x1b\[|\x9b)(?P<numbers>[0-?]*)[ -/]*(?P<final>[@-~]?)"
    r"|\x1b[ -/]*[0-~]?"
)
_NEW_PAGE = re.compile(r"(?:\x1b\[|\x9b)(?:[0-9;]*[Hf]|[23]J)|\x1bc|[\v\f]")
_DROPPED = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_PIECE = re.compile(rf"[^\x00-\x08\x0a-\x1f\x7f-\x9f]+|{_SEQUENCE.pattern}|.", re.DOTALL)


def lines_of(data: bytes) -> list[str]:
    """Returns the lines. In the last one the cursor stands: it is ``""`` after a line's end."""
    text = _NEW_PAGE.sub("\n", data.decode("utf-8", "replace"))
    return [_line(line) for line in text.split("\n")]


def plain_text(data: bytes) -> str:
    """Returns the lines as one text, with ``\\n`` where one ends."""
    return "\n".join(lines_of(data))


def _line(raw: str) -> str:
    raw = raw.rstrip("\r")
    if not _DROPPED.search(raw):
        return raw
    cells: list[str] = []
    column = 0
    for piece in _PIECE.finditer(raw):
        text = piece.group()
        if (final := piece["final"]) is not None:
            column = _edit(cells, column, final, piece["numbers"])
        elif text == "\r":
            column = 0
        elif text == "\b":
            column = max(0, column - 1)
        elif not _DROPPED.match(text):
            cells.extend(" " * (column - len(cells)))
            cells[column : column + len(text)] = text
            column += len(text)
    return "".join(cells)


def _edit(cells: list[str], column: int, final: str, numbers: str) -> int:
    """Does what a sequence says within its line, and returns where the cursor is after it."""
    first = numbers.partition(";")[0]
    count = max(1, min(int(first), 9999)) if first.isascii() and first.isdigit() and len(first) < 9 else 1
    if final in {"K", "J"}:
        if numbers in {"1", "2"}:
            upto = len(cells) if numbers == "2" else min(len(cells), column + 1)
            cells[:upto] = " " * upto
        if numbers != "1":
            del cells[column:]
    elif final == "P":
        del cells[column : column + count]
    elif final == "X":
        cells[column : column + count] = " " * len(cells[column : column + count])
    elif final == "@" and column < len(cells):
        cells[column:column] = " " * min(count, _FAR)
    elif final in {"C", "D", "G", "`"}:
        to = {"C": column + count, "D": column - count}.get(final, count - 1)
        return max(0, min(to, max(len(cells), _FAR)))
    return column


class Screen:
    """Keeps the newest bytes of a console.

    Args:
        limit: How many bytes are kept at least; up to twice as many are.
    """

    __slots__ = ("_kept", "_limit", "received")

    def __init__(self, limit: int = 65536) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.received = 0
        """How many bytes came in all: also a mark to ask for what comes after it."""

    def feed(self, data: bytes) -> None:
        """Takes what came."""
        self.received += len(data)
        self._kept += data
        if len(self._kept) > 2 * self._limit:
            del self._kept[: -self._limit]

    def since(self, mark: int, most: int | None = None) -> bytes:
        """Returns the bytes since a mark, as far as they are kept, or the newest ``most`` of them."""
        count = min(self.received - mark, len(self._kept))
        if most is not None:
            count = min(count, most)
        return bytes(self._kept[len(self._kept) - count :])

    def lines(self, mark: int = 0, most: int = 8192) -> list[str]:
        """Returns the lines of what came since a mark, of its newest ``most`` bytes."""
        return lines_of(self.since(mark, most))
