"""What a pool tells and knows: states of nodes, power-ups and power-offs, boots."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from rpi_clusterhat import PoolState
from rpi_clusterhat.events import BootFailed, BootFinished, BootStarted, PoweredOff, PowerOffFailed

from .instruments import BOOT_BUCKETS, METRICS, counter, gauge, histogram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry

    from rpi_clusterhat import AsyncNodePool, PooledNode
    from rpi_clusterhat.events import PoolEvent

__all__ = ["PoolMetrics"]

_OFF_REASONS = ("idle", "hand", "failure", "outside", "close")
_ON_REASONS = ("lease", "hand", "retry")
_STATES = list(PoolState)


class PoolMetrics:
    """Counts a pool's events, and reads its nodes. Belongs to the pool's loop."""

    def __init__(self, pool: AsyncNodePool, registry: CollectorRegistry) -> None:
        self._pool = pool
        self._power_ups = counter("clusterhat_power_ups_total", registry)
        self._power_offs = counter("clusterhat_power_offs_total", registry)
        self._boot_failures = counter("clusterhat_boot_failures_total", registry)
        self._power_off_failures = counter("clusterhat_power_off_failures_total", registry)
        self._boots = histogram("clusterhat_boot_duration_seconds", registry, BOOT_BUCKETS)
        self._counted = dict.fromkeys(pool.nodes, 0)
        """How many power-ups of each node are counted."""
        self._asked_for: dict[str, str] = {}
        self._show(registry)
        pool.subscribe(self._take)

    def _show(self, registry: CollectorRegistry) -> None:
        state = gauge("clusterhat_node_state", registry)
        quarantined = gauge("clusterhat_node_quarantined", registry)
        in_flight = gauge("clusterhat_node_in_flight", registry)
        gauge("clusterhat_requests_waiting", registry).set_function(lambda: self._pool.waiting)
        registry.register(_PoweredSeconds(self._pool))
        for name, node in self._pool.nodes.items():
            in_flight.labels(name).set_function(partial(_in_flight, node))
            quarantined.labels(name).set_function(partial(_is_quarantined, node))
            for one in _STATES:
                state.labels(name, str(one)).set_function(partial(_is_in, one, node))
            # A counter that is there from the beginning has a rate from its first step on.
            for reason in _ON_REASONS:
                self._power_ups.labels(name, reason)
            for reason in _OFF_REASONS:
                self._power_offs.labels(name, reason)
            self._boot_failures.labels(name)
            self._power_off_failures.labels(name)

    def _take(self, event: PoolEvent) -> None:
        node = event.node
        if isinstance(event, BootStarted):
            self._count_power_ups(self._pool.nodes[node])
            self._asked_for[node] = event.reason
        elif isinstance(event, BootFinished):
            if event.reason in _ON_REASONS:  # else it was only looked at
                self._boots.observe(event.seconds)
        elif isinstance(event, BootFailed):
            self._boot_failures.labels(node).inc()
        elif isinstance(event, PowerOffFailed):
            self._power_off_failures.labels(node).inc()
        elif isinstance(event, PoweredOff):
            self._power_offs.labels(node, event.reason).inc()

    def count_power_ups(self) -> None:
        """Counts the power-ups since the last look; to be called before the counters are read."""
        for node in self._pool.nodes.values():
            self._count_power_ups(node)

    def _count_power_ups(self, node: PooledNode) -> None:
        """Counts power-ups by their reason.

        The pool counts them without it, and its events have the reason before there is power. So power-ups
        since the last look belong to the reason of the boot that was announced.
        """
        name = node.name
        new = node.boots - self._counted[name]
        if new:
            self._power_ups.labels(name, self._asked_for[name]).inc(new)
            self._counted[name] += new


def _in_flight(node: PooledNode) -> float:
    return node.leases


def _is_quarantined(node: PooledNode) -> float:
    return node.is_quarantined


def _is_in(state: PoolState, node: PooledNode) -> float:
    return node.state is state


class _PoweredSeconds(Collector):
    """Read from the pool at each scrape: time passes by itself."""

    def __init__(self, pool: AsyncNodePool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[CounterMetricFamily]:
        name = "clusterhat_node_powered_seconds_total"
        (metric,) = (metric for metric in METRICS if metric.name == name)
        family = CounterMetricFamily(name, metric.help, labels=metric.labels)
        now = self._pool.now()
        for name, node in self._pool.nodes.items():
            family.add_metric((name,), node.powered_for(now))
        yield family
