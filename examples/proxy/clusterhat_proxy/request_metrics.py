"""What the gateway and its server count: requests, tunnels, and what was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .instruments import counter, gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter

__all__ = ["RequestMetrics"]


class RequestMetrics:
    """Belongs to the event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.in_flight = 0
        """Requests under way, those that wait for a node and tunnels included."""
        self.tunnels = 0
        self._over = counter("clusterhat_requests_total", registry)
        self._retries = counter("clusterhat_retries_total", registry)
        self._refused = counter("clusterhat_refused_total", registry)
        self._children: dict[tuple[str, str], Counter] = {}
        """Looked up once: labels() costs more than counting does."""
        gauge("clusterhat_requests_in_flight", registry).set_function(lambda: self.in_flight)
        gauge("clusterhat_tunnels", registry).set_function(lambda: self.tunnels)

    def over(self, outcome: str, temperature: str) -> None:
        """Counts a request that is over.

        Args:
            outcome: its status, ``left`` where the client went first, or ``aborted``.
            temperature: ``warm``, ``cold`` (its node had to be started or it had to wait) or ``none`` (no
                node was asked).
        """
        child = self._children.get((outcome, temperature))
        if child is None:
            child = self._children[outcome, temperature] = self._over.labels(outcome, temperature)
        child.inc()

    def retry(self) -> None:
        """Counts a request that is sent to a node again, or to another."""
        self._retries.inc()

    def refuse(self, reason: str) -> None:
        """Counts a connection or a request that was refused before a node was looked for."""
        self._refused.labels(reason.replace(" ", "_")).inc()

    @property
    def requests(self) -> int:
        """How many are over."""
        return _total(self._over)

    @property
    def retries(self) -> int:
        """How many times a request was sent again."""
        return _total(self._retries)


def _total(counter: Counter) -> int:
    return int(sum(sample.value for family in counter.collect() for sample in family.samples))
