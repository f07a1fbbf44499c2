"""Keeps the boots of a pool in a history, and learns from it how long they take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rpi_clusterhat.clock import wall_time
from rpi_clusterhat.events import BootFailed, BootFinished, BootStarted, PoweredOff
from rpi_clusterhat.nodes.boots import BootRecord

from .lifecycle import BOOTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.events import PoolEvent
    from rpi_clusterhat.nodes.boots import BootHistory

    from .scheduler import Scheduler

__all__ = ["BootLog"]


class BootLog:
    """Writes the boots of a pool to its history, in worker threads. Belongs to the pool's event loop."""

    def __init__(self, history: BootHistory, scheduler: Scheduler, now: Callable[[], float]) -> None:
        self._history = history
        self._scheduler = scheduler
        self._now = now
        self._begun: dict[str, tuple[float, str]] = {}
        """When the boots under way were asked for, and why."""
        self._writing: set[asyncio.Future[None]] = set()
        self._unsubscribe = scheduler.subscribe(self._take)

    async def begin(self) -> None:
        """Has the pool expect boots to take as long as the last ones did."""
        records = await asyncio.get_running_loop().run_in_executor(None, self._history.records)
        nodes = self._scheduler.nodes
        self._scheduler.remember_boots(
            [r.seconds for r in records if r.outcome == "ready" and r.node in nodes]
        )

    async def end(self) -> None:
        """Returns when all is written. Boots that are still under way are not kept."""
        self._unsubscribe()
        await asyncio.gather(*self._writing, return_exceptions=True)

    def _take(self, event: PoolEvent) -> None:
        if isinstance(event, BootStarted):
            self._begun.pop(event.node, None)
            if event.reason in BOOTS:
                self._begun[event.node] = self._now(), event.reason
        elif event.node not in self._begun:
            pass  # it was only checked
        elif isinstance(event, BootFinished):
            self._keep(event.node, "ready")
        elif isinstance(event, BootFailed):
            self._keep(event.node, "failed", event.reason)
        elif isinstance(event, PoweredOff):
            self._keep(event.node, "lost")

    def _keep(self, node: str, outcome: str, why: str = "") -> None:
        asked_at, asked_for = self._begun.pop(node)
        record = BootRecord(node, wall_time(), self._now() - asked_at, outcome, why or asked_for)
        writing = asyncio.get_running_loop().run_in_executor(None, self._history.add, record)
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
