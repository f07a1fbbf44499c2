"""Where a message's body ends (RFC 9112, sections 6 and 7), read strictly.

Bare line feeds and folded lines behind the last chunk, and bare carriage returns in extensions, are refused:
another gateway could see another end there.
"""

from __future__ import annotations

import re

__all__ = ["BodyError", "Chunked", "Sized"]

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?[ \t]*")
_TRAILER = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")


class BodyError(Exception):
    """A body that is not as it must be."""


class Sized:
    """A body of so many bytes."""

    __slots__ = ("_data", "_left", "trailers")

    def __init__(self, length: int) -> None:
        self._data = b""
        self._left = length
        self.trailers: list[tuple[bytes, bytes]] = []

    def receive(self, data: bytes) -> None:
        self._data += data

    def next(self) -> bytes | None:
        """The next part of the body; empty at its end; None until more has come."""
        if not self._left:
            return b""
        if not self._data:
            return None
        part, self._data = self._data[: self._left], self._data[self._left :]
        self._left -= len(part)
        return part

    @property
    def rest(self) -> bytes:
        """What came after the body, once that has ended."""
        return self._data


class Chunked:
    """A body in chunks. limit: bytes of a size's line, and of the trailers."""

    __slots__ = ("_at", "_data", "_left", "_limit", "_next", "trailers")

    def __init__(self, limit: int) -> None:
        self._data = b""
        self._at = 0
        self._left = 0
        self._limit = limit
        self._next = self._size
        self.trailers: list[tuple[bytes, bytes]] = []

    def receive(self, data: bytes) -> None:
        self._data = self._data[self._at :] + data
        self._at = 0

    def next(self) -> bytes | None:
        """The next part of the body; empty at its end; None until more has come. Raises `BodyError`."""
        return self._next()

    @property
    def rest(self) -> bytes:
        """What came after the body, once that has ended."""
        return self._data[self._at :]

    def _line(self) -> bytes | None:
        end = self._data.find(b"\r\n", self._at)
        if (len(self._data) if end < 0 else end) - self._at > self._limit:
            raise BodyError("a line of the chunked body is too long")
        if end < 0:
            if self._data.find(b"\n", self._at) >= 0:
                raise BodyError("invalid end of a line in the chunked body")
            return None
        line = self._data[self._at : end]
        self._at = end + 2
        return line

    def _size(self) -> bytes | None:
        line = self._line()
        if line is None:
            return None
        size = _SIZE.fullmatch(line)
        if size is None:
            raise BodyError("invalid chunk size")
        self._left = int(size[1], 16)
        self._next = self._chunk if self._left else self._trailers
        return self._next()

    def _chunk(self) -> bytes | None:
        part = self._data[self._at : self._at + self._left]
        if not part:
            return None
        self._at += len(part)
        self._left -= len(part)
        if not self._left:
            self._next = self._chunk_end
        return part

    def _chunk_end(self) -> bytes | None:
        end = self._data[self._at : self._at + 2]
        if not b"\r\n".startswith(end):
            raise BodyError("a chunk is longer than it says")
        if len(end) < 2:
            return None
        self._at += 2
        self._next = self._size
        return self._size()

    def _trailers(self) -> bytes | None:
        while line := self._line():
            trailer = _TRAILER.fullmatch(line)
            self._limit -= len(line)
            if trailer is None or self._limit < 0:
                raise BodyError("invalid trailer" if trailer is None else "too many trailers")
            self.trailers.append((trailer[1], trailer[2]))
        if line is None:
            return None
        self._next = self._end
        return b""

    def _end(self) -> bytes:
        return b""
