"""Bodies of any size, whose bytes are known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["chunks", "events", "pattern", "pattern_pieces"]

_PATTERN = bytes(range(251)) * 256  # a prime period: no block of a power of two looks like its neighbour


def pattern(size: int) -> bytes:
    """Byte i is i modulo 251."""
    return (_PATTERN * (size // len(_PATTERN) + 1))[:size]


def pattern_pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // len(_PATTERN)):
        yield _PATTERN
    if rest := size % len(_PATTERN):
        yield _PATTERN[:rest]


def chunks(count: int, size: int | None) -> Iterator[bytes]:
    for number in range(1, count + 1):
        yield f"chunk {number} of {count}\n".encode() if size is None else pattern(size)


def events(node: str, count: int) -> Iterator[bytes]:
    """Server-sent events."""
    for number in range(1, count + 1):
        data = json.dumps({"node": node, "event": number}, separators=(",", ":"))
        yield f"id: {number}\ndata: {data}\n\n".encode()
