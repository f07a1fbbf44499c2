"""How a pool behaves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rpi_clusterhat import validate
from rpi_clusterhat._frozen import Frozen

from .balance import balancer
from .idle import Idler

__all__ = ["PoolSettings"]


class PoolSettings(Frozen):
    """How a pool behaves, by the field's names. Times in seconds; the defaults are chosen, not measured.

    Raises `SettingError` for a value that is not allowed. May be shared between threads.
    """

    balance: str = "random"
    """``random``, ``roundrobin``, ``leastconn``, ``first`` or ``hash``."""
    maxconn: int = 100
    """Leases on one node at a time. Those beyond wait."""
    queue: int = 1024
    """Leases that may wait, for a boot or for a place. Those beyond are refused at once."""
    queue_timeout: float = 50.0
    """How long a lease waits: below the minute after which many clients and proxies give up."""
    boot_timeout: float = 120.0
    """From power to an answering probe; a node that takes longer has failed."""
    boot_estimate: float = 30.0
    """What a boot is thought to take as long as none has been seen."""
    probe_interval: float = 0.05
    """Between two probes of a node that is starting."""
    ready_after: float = 0.0
    """For how long the probe must have answered before the node is used."""
    idle_timeout: float = 600.0
    """A node without activity for so long is switched off; ``inf`` for never."""
    min_on_time: float = 60.0
    """A node that was switched on stays on for so long at least."""
    retry_after_failure: float = 30.0
    """For how long a node that failed backs off; twice as long each time it fails again."""
    redispatch: bool = True
    """Whether a lease whose node fails to boot goes on to another node."""
    boot_attempts: int = 3
    """Boots of a node that may time out in a row until it is quarantined; each but the first is by itself."""
    quarantine: float = 3600.0
    """For how long a node is quarantined; ``inf`` for until a person lets it out."""

    if not TYPE_CHECKING:  # for type checkers the arguments are the fields

        def __init__(self, *values: Any, **named: Any) -> None:
            super().__init__(*values, **named)
            self._check()

    def _check(self) -> None:
        for name, low in (("maxconn", 1), ("queue", 0), ("boot_attempts", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= 10**6:
                raise validate.invalid(name, value, f"a whole number from {low} to 1000000")
        for name in ("queue_timeout", "boot_timeout", "probe_interval"):
            validate.seconds(name, getattr(self, name), above=True)
        validate.flag("redispatch", self.redispatch)
        for name in ("ready_after", "retry_after_failure", "boot_estimate"):
            validate.seconds(name, getattr(self, name))
        if self.quarantine != math.inf:
            validate.seconds("quarantine", self.quarantine)
        balancer(self.balance)
        Idler(self.idle_timeout, self.min_on_time)
