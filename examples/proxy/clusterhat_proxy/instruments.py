"""The table of the metrics: one row says a metric's name, kind, labels and meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["BOOT_BUCKETS", "METRICS", "Metric", "counter", "gauge", "histogram"]

BOOT_BUCKETS = (1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 90, 120)
"""Seconds: fine where a Pi Zero's boots end (15 to 40 s, by its system), up to the usual ``boot_timeout``."""

# A second series for each that counts, which tells when this process started.
disable_created_metrics()  # type: ignore[no-untyped-call]  # its author left the type out


class Metric(NamedTuple):
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


METRICS = (
    Metric(
        "clusterhat_requests_total",
        "counter",
        ("outcome", "temperature"),
        "Requests that are over, by status (or left: the client went first; aborted: cut off) and by whether "
        "their node was ready (warm), had to be waited for (cold), or none was asked (none).",
    ),
    Metric(
        "clusterhat_requests_in_flight",
        "gauge",
        (),
        "Requests under way, those that wait for a node and tunnels included.",
    ),
    Metric("clusterhat_requests_waiting", "gauge", (), "Requests that wait for a node."),
    Metric("clusterhat_tunnels", "gauge", (), "Upgraded connections, such as WebSockets."),
    Metric(
        "clusterhat_retries_total",
        "counter",
        (),
        "Requests that were sent to a node again, or to another one.",
    ),
    Metric("clusterhat_connections", "gauge", (), "Connections of clients."),
    Metric(
        "clusterhat_refused_total",
        "counter",
        ("reason",),
        "Connections and requests that were refused before a node was looked for, by why.",
    ),
    Metric(
        "clusterhat_node_state",
        "gauge",
        ("node", "state"),
        # 0 and 1 for all states, and not a label that changes: no series ends with its state, its average is
        # the share of time in that state, and its sum the number of such nodes.
        "1 for the state that the node is in, 0 for the others.",
    ),
    Metric(
        "clusterhat_node_quarantined",
        "gauge",
        ("node",),
        "1 while the node is left alone, since it did not boot as often as may be.",
    ),
    Metric(
        "clusterhat_node_in_flight",
        "gauge",
        ("node",),
        "Requests that have this node, tunnels included.",
    ),
    Metric("clusterhat_node_powered_seconds_total", "counter", ("node",), "How long the node has had power."),
    Metric(
        "clusterhat_power_ups_total",
        "counter",
        ("node", "reason"),
        "Times the proxy gave the node power: for a request (lease), by hand, or once more after a boot that "
        "timed out (retry).",
    ),
    Metric(
        "clusterhat_power_offs_total",
        "counter",
        ("node", "reason"),
        "Times the node's power ended: idle, by hand, after a failure, switched from outside, or as the "
        "proxy closed.",
    ),
    Metric(
        "clusterhat_boot_failures_total",
        "counter",
        ("node",),
        "Times the node could not be switched on, or did not answer in time.",
    ),
    Metric(
        "clusterhat_power_off_failures_total",
        "counter",
        ("node",),
        "Times the node's power could not be cut.",
    ),
    Metric(
        "clusterhat_boot_duration_seconds",
        "histogram",
        (),
        "From asking for a node's power to its first answer, the wait for its turn included.",
    ),
    Metric(
        "clusterhat_draining",
        "gauge",
        (),
        "1 while the proxy takes nothing new and finishes what it has.",
    ),
)

_BY_NAME = {metric.name: metric for metric in METRICS}


def counter(name: str, registry: CollectorRegistry) -> Counter:
    """Makes the counter of that name in the table."""
    metric = _BY_NAME[name]
    return Counter(name, metric.help, metric.labels, registry=registry)


def gauge(name: str, registry: CollectorRegistry) -> Gauge:
    """Makes the gauge of that name in the table."""
    metric = _BY_NAME[name]
    return Gauge(name, metric.help, metric.labels, registry=registry)


def histogram(name: str, registry: CollectorRegistry, buckets: tuple[float, ...]) -> Histogram:
    """Makes the histogram of that name in the table."""
    metric = _BY_NAME[name]
    return Histogram(name, metric.help, metric.labels, registry=registry, buckets=buckets)
