"""The stream of events: the status again and again, made once for all who watch."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from rpi_clusterhat import ClusterHatError

from .answers import as_json, one_line

if TYPE_CHECKING:
    from rpi_clusterhat import PoolState

    from .status import ProxyStatus

__all__ = ["Live"]

LOOK_INTERVAL = 0.2
"""Seconds between two looks at what the pool and the proxy count, while somebody watches."""

READ_INTERVAL = 0.5
"""Seconds between two readings of the lines then, which find what others have switched."""

TICK = 1.0
"""Seconds after which a message is sent though nothing but the time has changed."""

HEARTBEAT = 15.0
"""Seconds of silence, as when a reading hangs, after which a comment shows whether the viewer is there."""


class Live:
    """Makes messages while there are viewers. Belongs to the pool's event loop."""

    def __init__(self, state: ProxyStatus) -> None:
        self.viewers = 0
        self.changed = asyncio.Event()
        """To be set when something has happened; what is only counted is looked for."""
        self._state = state
        self._number = 0
        self._message = b""
        self._next = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def enter(self) -> None:
        self.viewers += 1
        if self._task is None:
            self._number = 0
            self._task = asyncio.get_running_loop().create_task(self._watch())

    def leave(self) -> None:
        self.viewers -= 1
        if not self.viewers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def after(self, seen: int) -> tuple[int, bytes]:
        """The newest message and its number, as soon as that is not the one seen last; else a comment."""
        if self._number == seen and not await _is_set(self._next, HEARTBEAT):
            if self._task is not None and self._task.done():
                self._task.result()  # what it raised: there will be no more messages
            return seen, b":\n\n"
        return self._number, self._message

    async def _watch(self) -> None:
        state = self._state
        now = asyncio.get_running_loop().time
        read_at = sent_at = -math.inf
        states: list[PoolState] = []
        shown: object = None
        trouble: str | None = None
        while True:
            self.changed.clear()
            if state.states() != states or now() - read_at >= READ_INTERVAL:
                states = state.states()
                trouble = await self._read()
                read_at = now()
            counts = (trouble, state.counts())
            if counts != shown or now() - sent_at >= TICK:
                self._send(trouble)
                shown, sent_at = counts, now()
            await _is_set(self.changed, LOOK_INTERVAL)

    async def _read(self) -> str | None:
        """What went wrong."""
        try:
            await self._state.read()
        except ClusterHatError as error:
            return one_line(error)
        return None

    def _send(self, trouble: str | None) -> None:
        more = {} if trouble is None else {"trouble": trouble}
        if self._state.is_read:
            self._message = b"data: " + as_json({**self._state.as_dict(), **more}) + b"\n\n"
        else:
            self._message = b"event: trouble\ndata: " + as_json(more) + b"\n\n"
        self._number += 1
        news, self._next = self._next, asyncio.Event()
        news.set()


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    """Whether it is, within so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
