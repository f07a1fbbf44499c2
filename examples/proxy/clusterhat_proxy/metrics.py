"""What Prometheus is told, and in which of its formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from .instruments import gauge
from .pool_metrics import PoolMetrics
from .request_metrics import RequestMetrics

if TYPE_CHECKING:
    from rpi_clusterhat import AsyncNodePool

    from .server import Server

__all__ = ["Metrics"]


class Metrics:
    """All metrics of one proxy, in a registry of their own. Belongs to the pool's loop."""

    def __init__(self, pool: AsyncNodePool) -> None:
        self._registry = CollectorRegistry()
        self.requests = RequestMetrics(self._registry)
        self._pool = PoolMetrics(pool, self._registry)

    def watch(self, proxy: Server) -> None:
        """Shows the connections of the proxy's server, too."""
        gauge("clusterhat_connections", self._registry).set_function(lambda: len(proxy.connections))
        gauge("clusterhat_draining", self._registry).set_function(lambda: proxy.draining)

    def text(self, accept: str) -> tuple[bytes, str]:
        """Returns all metrics in the format that a scraper's Accept asks for, and its content type."""
        try:
            encode, kind = choose_encoder(accept)
        except TypeError:  # the version asked for is no number
            encode, kind = choose_encoder("")
        self._pool.count_power_ups()
        return encode(self._registry), kind
