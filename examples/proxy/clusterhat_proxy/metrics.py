"""What Prometheus is told. One table says each metric's name, kind, labels, meaning, and where it is read.

Most numbers are read when they are asked for, from what the program counts anyway; what only the pool's
events tell is counted here. prometheus_client (27 to 45 ms to import on a PC, many times that on a Pi, and
2 MB) is imported with the first scrape, in a worker thread: the proxy starts without it, and no request
waits for it.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from rpi_clusterhat import State
from rpi_clusterhat.events import BootFailed, BootFinished, BootStarted, PoweredOff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric as Family

    from rpi_clusterhat import AsyncNodePool
    from rpi_clusterhat.events import PoolEvent
    from rpi_clusterhat.pool.scheduler import Member

    from .server import Server
    from .stats import Stats

    Samples = Iterable[tuple[tuple[str, ...], float]]
    """Values by the labels' values."""

__all__ = ["BOOT_BUCKETS", "METRICS", "Metric", "Metrics"]

BOOT_BUCKETS = (1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 90, 120)
"""Seconds: fine where a Pi Zero's boots end (15 to 40 s, by its system), up to the usual ``boot_timeout``."""

_OFF_REASONS = ("idle", "hand", "failure", "outside", "close")
_ON_REASONS = ("lease", "hand")
_STATES = [state for state in State if state is not State.UNKNOWN]  # a pool always has an opinion


class Metrics:
    """Counts a pool's events, and shows everything in Prometheus's formats. Belongs to the pool's loop."""

    def __init__(self, pool: AsyncNodePool, stats: Stats, proxy: Server) -> None:
        self.pool = pool
        self.stats = stats
        self.proxy = proxy
        # A counter that is there from the beginning has a rate from its first step on.
        nodes = list(pool.members)
        self.power_offs = Counter({(node, reason): 0 for node in nodes for reason in _OFF_REASONS})
        self.boot_failures = Counter(dict.fromkeys(nodes, 0))
        self.power_off_failures = Counter(dict.fromkeys(nodes, 0))
        self.boot_buckets = [0] * (len(BOOT_BUCKETS) + 1)
        self.boot_seconds = 0.0
        self._power_ups = Counter({(node, reason): 0 for node in nodes for reason in _ON_REASONS})
        self._asked_for: dict[str, str] = {}
        self._booting: set[str] = set()
        self._registry: CollectorRegistry | None = None
        pool.subscribe(self._take)

    def _take(self, event: PoolEvent) -> None:
        node = event.node
        if isinstance(event, BootStarted):
            self._count_power_ups(self.pool.members[node])
            self._asked_for[node] = event.reason
            self._booting.add(node)
        elif isinstance(event, BootFinished):
            self._booting.discard(node)
            if event.reason in _ON_REASONS:  # else it was only looked at
                self.boot_buckets[bisect_left(BOOT_BUCKETS, event.seconds)] += 1
                self.boot_seconds += event.seconds
        elif isinstance(event, BootFailed):
            failures = self.boot_failures if node in self._booting else self.power_off_failures
            failures[node] += 1
            self._booting.discard(node)
        else:
            assert isinstance(event, PoweredOff)
            self.power_offs[node, event.reason] += 1

    def _count_power_ups(self, member: Member) -> None:
        """The pool counts them without the reason, and its events tell the reason before there is power: what
        is new since the last look belongs to the reason of that boot."""
        name = member.name
        new = member.boots - sum(self._power_ups[name, reason] for reason in _ON_REASONS)
        if new:
            self._power_ups[name, self._asked_for[name]] += new

    def power_ups(self) -> Samples:
        for member in self.pool.members.values():
            self._count_power_ups(member)
        return self._power_ups.items()

    def states(self) -> Iterator[tuple[tuple[str, ...], float]]:
        for name, member in self.pool.members.items():
            for state in _STATES:
                yield (name, str(state)), member.state is state

    def of_nodes(self, read: Callable[[Member], float]) -> Iterator[tuple[tuple[str, ...], float]]:
        for name, member in self.pool.members.items():
            yield (name,), read(member)

    # As Prometheus reads it -------------------------------------------------------------------------------

    def collect(self) -> Iterator[Family]:
        """For prometheus_client, whose ``Collector`` this is."""
        from prometheus_client.metrics_core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        for metric in METRICS:
            family: Family
            if metric.kind == "histogram":
                bounds = [*(f"{bound:.1f}" for bound in BOOT_BUCKETS), "+Inf"]
                counts = map(float, accumulate(self.boot_buckets))
                buckets = list(zip(bounds, counts, strict=True))
                ((_, seconds),) = metric.read(self)
                family = HistogramMetricFamily(metric.name, metric.help, buckets, seconds)
            else:
                make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                family = make(metric.name, metric.help, labels=metric.labels)
                for labels, value in metric.read(self):
                    family.add_metric(labels, value)
            yield family

    async def text(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format that the scraper's Accept asks for, and its content type."""
        if self._registry is None:
            await asyncio.to_thread(import_module, "prometheus_client")
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder

        if self._registry is None:
            self._registry = CollectorRegistry()
            self._registry.register(self)
        try:
            encode, kind = choose_encoder(accept)
        except TypeError:  # the version asked for is no number
            encode, kind = choose_encoder("")
        return encode(self._registry), kind


# The table --------------------------------------------------------------------------------------------------


def _one(read: Callable[[Metrics], float]) -> Callable[[Metrics], Samples]:
    return lambda metrics: [((), read(metrics))]


def _by_node(read: Callable[[Member], float]) -> Callable[[Metrics], Samples]:
    return lambda metrics: metrics.of_nodes(read)


def _counted(counter: Counter[str]) -> Samples:
    return [((name,), count) for name, count in counter.items()]


@dataclass(frozen=True)
class Metric:
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    read: Callable[[Metrics], Samples]
    """Of a histogram, its sum."""


METRICS: Sequence[Metric] = (
    Metric(
        "clusterhat_requests_total",
        "counter",
        ("outcome", "temperature"),
        "Requests that are over, by status (or left: the client went first; aborted: cut off) and by whether "
        "their node was ready (warm), had to be waited for (cold), or none was asked (none).",
        lambda metrics: metrics.stats.requests.items(),
    ),
    Metric(
        "clusterhat_requests_in_flight",
        "gauge",
        (),
        "Requests under way, those that wait for a node and tunnels included.",
        _one(lambda metrics: metrics.stats.in_flight),
    ),
    Metric(
        "clusterhat_requests_waiting",
        "gauge",
        (),
        "Requests that wait for a node.",
        _one(lambda metrics: metrics.pool.waiting),
    ),
    Metric(
        "clusterhat_tunnels",
        "gauge",
        (),
        "Upgraded connections, such as WebSockets.",
        _one(lambda metrics: metrics.stats.tunnels),
    ),
    Metric(
        "clusterhat_retries_total",
        "counter",
        (),
        "Requests that were sent to a node again, or to another one.",
        _one(lambda metrics: metrics.stats.retries),
    ),
    Metric(
        "clusterhat_connections",
        "gauge",
        (),
        "Connections of clients.",
        _one(lambda metrics: len(metrics.proxy.connections)),
    ),
    Metric(
        "clusterhat_refused_total",
        "counter",
        ("reason",),
        "Connections and requests that were refused before a node was looked for, by why.",
        lambda metrics: [((why.replace(" ", "_"),), n) for why, n in metrics.proxy.refused.items()],
    ),
    Metric(
        "clusterhat_node_state",
        "gauge",
        ("node", "state"),
        # 0 and 1 for all states, and not a label that changes: no series ends with its state, its average is
        # the share of time in that state, and its sum the number of such nodes.
        "1 for the state that the node is in, 0 for the others.",
        lambda metrics: metrics.states(),
    ),
    Metric(
        "clusterhat_node_in_flight",
        "gauge",
        ("node",),
        "Requests that have this node, tunnels included.",
        _by_node(lambda member: member.held),
    ),
    Metric(
        "clusterhat_node_powered_seconds_total",
        "counter",
        ("node",),
        "How long the node has had power.",
        lambda metrics: metrics.of_nodes(lambda member: member.powered_for(metrics.pool.now())),
    ),
    Metric(
        "clusterhat_power_ups_total",
        "counter",
        ("node", "reason"),
        "Times the proxy gave the node power: for a request (lease), or by hand.",
        lambda metrics: metrics.power_ups(),
    ),
    Metric(
        "clusterhat_power_offs_total",
        "counter",
        ("node", "reason"),
        "Times the node's power ended: idle, by hand, after a failure, switched from outside, or as the "
        "proxy closed.",
        lambda metrics: metrics.power_offs.items(),
    ),
    Metric(
        "clusterhat_boot_failures_total",
        "counter",
        ("node",),
        "Times the node could not be switched on, or did not answer in time.",
        lambda metrics: _counted(metrics.boot_failures),
    ),
    Metric(
        "clusterhat_power_off_failures_total",
        "counter",
        ("node",),
        "Times the node's power could not be cut.",
        lambda metrics: _counted(metrics.power_off_failures),
    ),
    Metric(
        "clusterhat_boot_duration_seconds",
        "histogram",
        (),
        "From asking for a node's power to its first answer, the wait for its turn included.",
        _one(lambda metrics: metrics.boot_seconds),
    ),
    Metric(
        "clusterhat_draining",
        "gauge",
        (),
        "1 while the proxy takes nothing new and finishes what it has.",
        _one(lambda metrics: metrics.proxy.draining),
    ),
)
