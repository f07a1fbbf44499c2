"""Takes what moves on the nodes' networks as activity."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rpi_clusterhat.clock import Clock

    from .activity import Traffic
    from .scheduler import Scheduler

__all__ = ["TRAFFIC_INTERVAL", "TrafficWatch"]

TRAFFIC_INTERVAL = 30.0
"""Seconds between two looks at the network counters: chosen, not measured."""

_log = logging.getLogger("rpi_clusterhat")


class TrafficWatch:
    """Looks at the counters of nodes that have power. Belongs to one event loop."""

    def __init__(self, traffic: Traffic, scheduler: Scheduler, clock: Clock) -> None:
        self._traffic = traffic
        self._scheduler = scheduler
        self._clock = clock

    async def run(self) -> None:
        """Looks at all nodes now and then."""
        while True:
            await self._clock.asleep(TRAFFIC_INTERVAL)
            for name, node in self._scheduler.nodes.items():
                if node.powered_since is not None:
                    self.look(name)

    def look(self, name: str) -> None:
        """Looks at one node's counters."""
        try:
            if self._traffic.active(name, self._clock.now()):
                self._scheduler.active(name)
        except Exception as error:  # noqa: BLE001 - a stranger's counter may raise anything: leases count then
            _log.warning("the traffic of %s cannot be read: %s", name, error)
