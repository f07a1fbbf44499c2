"""An upgraded connection: bytes both ways, as they come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .wire import Wire

__all__ = ["tunnel"]


class _Direction:
    """What comes from one side goes to the other, and no faster than that takes it."""

    def __init__(
        self, source: Wire, target: Wire, moved: Callable[[int], object], done: Callable[[bool], object]
    ) -> None:
        self._source = source
        self._target = target
        self._moved = moved
        self._done = done
        self._held = False
        self.over = False
        source.on_bytes = self._bytes
        source.on_end = self.end
        target.on_room = self._room

    def _bytes(self, data: bytes) -> None:
        self._moved(len(data))
        self._target.write(data)
        if self._target.paused and not self._held:
            self._held = True
            self._source.transport.pause_reading()

    def _room(self) -> None:
        if self._held:
            self._held = False
            if not self._source.lost:
                self._source.transport.resume_reading()

    def end(self) -> None:
        if self.over and not self._source.lost:
            return
        self.over = True
        half = not (self._source.lost or self._target.lost) and self._target.transport.can_write_eof()
        if half:
            try:
                self._target.transport.write_eof()
            except OSError:  # it is gone, and the loop has not seen it yet
                half = False
        self._done(not half)  # TLS knows no half-closing: the end of one side is that of both


async def tunnel(
    client: Wire, node: Wire, to_node: bytes, to_client: bytes, moved: Callable[[int], object], silence: float
) -> None:
    """Passes bytes on until both sides have ended, one is lost, or nothing has come for too long.

    Args:
        client: One side.
        node: The other side.
        to_node: Bytes of the client that have come already.
        to_client: Bytes of the node that have come already.
        moved: Is called with each number of bytes.
        silence: Seconds without a byte after which the tunnel ends; 0 for no limit.
    """
    over = asyncio.Event()
    loop = client.loop
    last = loop.time()

    def seen(count: int) -> None:
        nonlocal last
        last = loop.time()
        moved(count)

    def done(at_once: bool) -> None:
        if at_once or (up.over and down.over):
            over.set()

    up = _Direction(client, node, seen, done)
    down = _Direction(node, client, seen, done)
    if to_node:
        seen(len(to_node))
        node.write(to_node)
    if to_client:
        seen(len(to_client))
        client.write(to_client)
    for direction, wire in ((up, client), (down, node)):
        if wire.ended:
            direction.end()
    while not over.is_set():
        try:
            async with asyncio.timeout_at(last + silence if silence else None):
                await over.wait()
        except TimeoutError:
            if loop.time() >= last + silence:
                return
