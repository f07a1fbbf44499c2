"""What the gateway counts. Plain numbers, since they change with each request; `metrics` shows them."""

from __future__ import annotations

from collections import Counter

__all__ = ["Stats"]


class Stats:
    """Belongs to the event loop."""

    def __init__(self, started: float) -> None:
        self.started = started
        """By the event loop's clock."""
        self.requests: Counter[tuple[str, str]] = Counter()
        """By outcome (a status, or ``left`` where the client went first, or ``aborted``) and by ``warm``,
        ``cold`` (its node had to be started or it had to wait) or ``none`` (no node was asked)."""
        self.retries = 0
        """Requests that were sent to a node again, or to another."""
        self.in_flight = 0
        """Requests under way, those that wait for a node and tunnels included."""
        self.tunnels = 0
