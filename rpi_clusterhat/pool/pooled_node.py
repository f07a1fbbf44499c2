"""A node of a pool, and what is known of it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .states import PoolState, after, is_starting

if TYPE_CHECKING:
    from .queue import LeaseRequest
    from .states import PoolTrigger

__all__ = ["PooledNode"]

NEVER = float("-inf")


class PooledNode:
    """One node of a pool, and what is known of it.

    Read it in the pool's event loop; single values may be read from any thread. Times are seconds of the
    pool's clock.
    """

    __slots__ = (
        "asked_at",
        "asked_for",
        "assigned",
        "boots",
        "failed_boots",
        "failure",
        "failures",
        "is_being_cut",
        "is_quarantined",
        "is_retried",
        "is_watched",
        "last_active",
        "last_boot",
        "last_used",
        "leases",
        "let_out_for",
        "name",
        "power_off_failures",
        "power_off_retry_at",
        "powered_since",
        "queue",
        "retry_at",
        "seconds_on",
        "state",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        """``p1``, ``p2`` …"""
        self.state = PoolState.OFF
        """What the pool does with it."""
        self.leases = 0
        """Leases in use."""
        self.assigned: dict[LeaseRequest, None] = {}
        """Leases that get this node when it is ready, or are answered when it fails."""
        self.queue: deque[LeaseRequest] = deque()
        """Leases that asked for this very node, and wait for a place on it."""
        self.last_used = NEVER
        """When it was last given to a lease."""
        self.last_active = NEVER
        """When a lease last began or ended, or a byte last went either way."""
        self.powered_since: float | None = None
        """When it got power, as far as the cluster's events say; None while it has none."""
        self.asked_at: float | None = None
        """When the boot or check that is under way was asked for."""
        self.asked_for = ""
        """Why, as in `rpi_clusterhat.events.BootStarted`."""
        self.is_watched = False
        """Whether somebody will look at its idle time."""
        self.boots = 0
        """How often this pool has switched it on."""
        self.last_boot: float | None = None
        """Seconds from power to ready, the last time."""
        self.seconds_on = 0.0
        """Seconds with power, before ``powered_since``."""
        self.failure: str | None = None
        """Why it failed; None once it has answered again."""
        self.failures = 0
        """Failed boots and checks in a row."""
        self.failed_boots = 0
        """Boots in a row that timed out. One that is let out of quarantine by the time has one left."""
        self.retry_at: float | None = None
        """When its back-off or its quarantine ends, ``inf`` for never; None where it is in none."""
        self.is_quarantined = False
        """Whether it timed out so often that it is left alone: see `rpi_clusterhat.events.Quarantined`."""
        self.is_retried = False
        """Whether it boots by itself when its back-off is over."""
        self.is_being_cut = False
        """Whether its power is being cut after a failure."""
        self.let_out_for = ""
        """What a person who let it out meanwhile wants it for once its power is cut: ``hand`` or ``rest``."""
        self.power_off_failures = 0
        """Failed attempts to cut its power in a row."""
        self.power_off_retry_at = NEVER
        """Before this, it is not switched off for being idle."""

    def __repr__(self) -> str:
        return f"<PooledNode {self.name} {self.state!s} leases={self.leases} assigned={len(self.assigned)}>"

    def move(self, trigger: PoolTrigger) -> None:
        """Moves to the state that the table gives.

        Raises:
            TransitionError: The table has none. Nothing has changed.
        """
        self.state = after(self.state, trigger)

    @property
    def in_flight(self) -> int:
        """Leases in use, and those that wait for this node to be ready: its load."""
        return self.leases + len(self.assigned)

    @property
    def waiting(self) -> int:
        """Leases that wait for this node: to be ready, or for a place on it."""
        return len(self.assigned) + len(self.queue)

    @property
    def on_since(self) -> float:
        """When it got power; minus infinity where it has none."""
        return NEVER if self.powered_since is None else self.powered_since

    @property
    def is_doubtful(self) -> bool:
        """Whether it is checked or booted again after a failure, or goes off: others are tried before it."""
        if self.asked_for == "retry":
            return self.is_starting
        return (
            self.asked_for == "check" and self.state is PoolState.CHECKING
        ) or self.state is PoolState.STOPPING

    @property
    def is_starting(self) -> bool:
        """Whether it is on its way to be ready."""
        return is_starting(self.state)

    def powered_for(self, now: float) -> float:
        """Seconds with power in all."""
        return self.seconds_on + (0.0 if self.powered_since is None else now - self.powered_since)
