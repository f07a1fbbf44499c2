"""What `/status` says: what was last read from the lines, and what the pool and the proxy count now."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from rpi_clusterhat import PoolState

from .options import Address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpi_clusterhat import AsyncNodePool, PooledNode

    from .options import Options
    from .request_metrics import RequestMetrics
    from .server import Server

__all__ = ["ProxyStatus"]


class ProxyStatus:
    """Belongs to the pool's event loop."""

    def __init__(
        self,
        pool: AsyncNodePool,
        requests: RequestMetrics,
        proxy: Server,
        options: Options,
        addresses: Mapping[str, tuple[str, int]],
    ) -> None:
        self._pool = pool
        self._requests = requests
        self._started = asyncio.get_running_loop().time()
        self._proxy = proxy
        self._addresses = {name: str(Address(*address)) for name, address in addresses.items()}
        forever = options.idle_timeout == math.inf
        self._settings = {
            "balance": options.balance,
            "mode": options.mode,
            "cold": options.cold,
            "idle_timeout": None if forever else options.idle_timeout,
        }
        self._lines: dict[str, Any] = {}
        self._reading = asyncio.Lock()
        self._begun = self._read = 0
        """The numbers of the last reading, and of the last one that succeeded."""

    @property
    def is_read(self) -> bool:
        return bool(self._lines)

    async def read(self) -> None:
        """Reads the lines, unless a reading that began after this call has done so.

        Raises:
            ClusterHatError: The lines cannot be read.
        """
        begun = self._begun
        async with self._reading:
            if self._read <= begun:
                self._begun = number = self._begun + 1
                self._lines = (await self._pool.cluster.status()).as_dict()
                self._read = number

    def states(self) -> list[PoolState]:
        return [node.state for node in self._pool.nodes.values()]

    def counts(self) -> tuple[object, ...]:
        """Changes with everything that is shown, but not with the time."""
        nodes = [self._node(node) for node in self._pool.nodes.values()]
        return nodes, self._totals(), self._lines

    def as_dict(self) -> dict[str, Any]:
        """What can be JSON. Times are in seconds; null where there is none. Once the lines were read."""
        now = self._pool.now()
        nodes: dict[str, dict[str, Any]] = {}
        for name, line in self._lines["nodes"].items():
            node = self._pool.nodes[name]
            nodes[name] = {**line, **self._node(node), **self._times(node, now)}
            if _knows_more(node.state, powered=line["powered"]):
                nodes[name]["state"] = str(node.state)
        uptime = asyncio.get_running_loop().time() - self._started
        return {**self._lines, "nodes": nodes, "proxy": {**self._totals(), "uptime": round(uptime, 3)}}

    def _node(self, node: PooledNode) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "in_flight": node.leases,
            "waiting": node.waiting,
            "boots": node.boots,
            "last_boot_seconds": _rounded(node.last_boot),
            "address": self._addresses.get(node.name),
            "quarantined": node.is_quarantined,
        }
        if node.failure is not None:
            facts["failure"] = f"quarantined: {node.failure}" if node.is_quarantined else node.failure
        return facts

    def _times(self, node: PooledNode, now: float) -> dict[str, float | None]:
        due = self._pool.due_at(node.name)
        return {
            "last_activity": _rounded(now - node.last_active),
            "idle_off_in": _rounded(max(0.0, due - now)),
            "seconds_powered": _rounded(node.powered_for(now)),
        }

    def _totals(self) -> dict[str, Any]:
        requests = self._requests
        return {
            "in_flight": requests.in_flight,
            "waiting": self._pool.waiting,
            "tunnels": requests.tunnels,
            "requests": requests.requests,
            "retries": requests.retries,
            "connections": len(self._proxy.connections),
            "draining": self._proxy.draining,
            **self._settings,
        }


def _knows_more(state: PoolState, *, powered: bool) -> bool:
    """Whether the pool's state says more than the line, and is not behind it: others may have switched."""
    return state in (PoolState.QUEUED, PoolState.FAILED) or (
        powered and state in (PoolState.READY, PoolState.STOPPING)
    )


def _rounded(seconds: float | None) -> float | None:
    """None also for what never was, or never will be."""
    return None if seconds is None or math.isinf(seconds) else round(seconds, 3)
