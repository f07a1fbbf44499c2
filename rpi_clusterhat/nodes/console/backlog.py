"""What somebody who has a console open has not taken so far."""

from __future__ import annotations

from collections import deque

from .packets import CHUNK, Kind, packet

__all__ = ["LIMIT", "Backlog"]

LIMIT = 256 * 1024
"""Bytes of output that are kept for one who is slow."""


class Backlog:
    """Packets that wait to be sent. Of output that does not fit in, the oldest is skipped and counted.

    Not for several threads.

    Args:
        limit: How many bytes of output are kept, at least `CHUNK`.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        assert limit >= CHUNK
        self._limit = limit
        self._size = 0
        self._skipped = 0
        self._waiting: deque[bytearray] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __repr__(self) -> str:
        return f"<Backlog of {self._size} bytes, {self._skipped} skipped>"

    def add_output(self, data: bytes) -> None:
        """Adds what the node wrote, `CHUNK` bytes at most."""
        last = self._waiting[-1] if self._waiting else None
        if last is not None and last.startswith(Kind.OUTPUT) and _fits(last, data):
            last += data
        else:
            self._waiting.append(bytearray(packet(Kind.OUTPUT, data)))
        self._size += len(data)
        while self._size > self._limit:
            self._skip()

    def add_news(self, news: bytes) -> None:
        """Adds another packet. Of the news of the turn only the last are kept."""
        if news.startswith(Kind.TURN):
            for i, found in enumerate(self._waiting):
                if found.startswith(Kind.TURN):
                    del self._waiting[i]
                    self._unite(i)
                    break
        self._waiting.append(bytearray(news))

    def next(self) -> bytes:
        """Returns the packet that is to be sent next, which stays until it is `sent`."""
        if self._skipped:
            return packet(Kind.SKIPPED, b"%d" % self._skipped)
        return bytes(self._waiting[0])

    def sent(self) -> None:
        """Forgets the packet that `next` returned."""
        if self._skipped:
            self._skipped = 0
            return
        first = self._waiting.popleft()
        if first.startswith(Kind.OUTPUT):
            self._size -= len(first) - 1

    def _unite(self, i: int) -> None:
        """Makes one packet of the output before and after a place, if it fits: else there could be many."""
        if 0 < i < len(self._waiting):
            first, second = self._waiting[i - 1], self._waiting[i]
            if first.startswith(Kind.OUTPUT) and second.startswith(Kind.OUTPUT) and _fits(first, second[1:]):
                first += second[1:]
                del self._waiting[i]

    def _skip(self) -> None:
        oldest = next(i for i, found in enumerate(self._waiting) if found.startswith(Kind.OUTPUT))
        skipped = len(self._waiting[oldest]) - 1
        del self._waiting[oldest]
        self._size -= skipped
        self._skipped += skipped


def _fits(output: bytearray, data: bytes | bytearray) -> bool:
    return len(output) - 1 + len(data) <= CHUNK
