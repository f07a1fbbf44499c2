"""Finds the nodes that have been idle for long enough, and computes what an idle time-out costs.

Nothing here asks for the time: the caller says it. All of it may be used from any thread.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, TypeVar

from rpi_clusterhat import validate
from rpi_clusterhat._frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Cost", "Idler", "Occupied", "break_even", "cost"]


_MOST = 1e12


class Occupied(Protocol):
    """What is known of a node that has power. Times are seconds of one clock."""

    @property
    def name(self) -> str:
        """The node's name."""
        ...

    @property
    def in_flight(self) -> int:
        """How many requests and tunnels are not over, those that wait for the node's boot included."""
        ...

    @property
    def last_active(self) -> float:
        """When a request last began or ended, or a byte last went either way; minus infinity for never."""
        ...

    @property
    def on_since(self) -> float:
        """When the node got power."""
        ...


N = TypeVar("N", bound=Occupied)


class Idler(Frozen):
    """Decides when a node goes off.

    A node goes off when nothing is in flight, it has been idle for long enough, and on for long enough.

    Args:
        idle_timeout: How many seconds ago the last activity must have been; ``math.inf`` for never.
        min_on_time: How many seconds the node must have been on.

    Raises:
        SettingError: A time is invalid.
    """

    idle_timeout: float
    min_on_time: float

    def __init__(self, idle_timeout: float = 600.0, min_on_time: float = 60.0) -> None:
        super().__init__(
            _checked("idle_timeout", idle_timeout, "seconds", endless=True),
            _checked("min_on_time", min_on_time, "seconds"),
        )

    def due_at(self, node: Occupied) -> float:
        """Returns when a node goes off if nothing happens until then: look at it again at that time.

        It may be in the past. It is infinity while something is in flight.
        """
        if node.in_flight or self.idle_timeout == math.inf:
            return math.inf
        return max(node.last_active + self.idle_timeout, node.on_since + self.min_on_time)

    def is_due(self, node: Occupied, now: float) -> bool:
        """Returns whether a node is to go off. Ask while nothing can give it a new request."""
        return self.due_at(node) <= now

    def due(self, nodes: Iterable[N], now: float) -> list[N]:
        """Returns the nodes that are to go off, in the order given."""
        return [node for node in nodes if self.is_due(node, now)]


def break_even(boot_energy: float, idle_power: float) -> float:
    """Computes after how many idle seconds going off and booting again takes less energy than staying on.

    As an idle time-out, this time never takes more than twice the energy that one would need who knows when
    the next request comes, and no other fixed time promises less. The problem is known as ski rental
    (A. Karlin, M. Manasse, L. Rudolph, D. Sleator, "Competitive snoopy caching", Algorithmica 3, 1988; for
    power: S. Irani, S. Shukla, R. Gupta, "Online strategies for dynamic power management in systems with
    multiple power-saving states", ACM TECS 2(3), 2003). It counts energy only. The reason to stay on for
    longer is that people wait for a boot.

    Args:
        boot_energy: What a halt and a boot take together, in joules.
        idle_power: What the node takes while it is idle, in watts.

    Returns:
        Seconds.

    Raises:
        SettingError: A number is invalid, or ``idle_power`` is 0.
    """
    energy = _checked("boot_energy", boot_energy, "joules")
    power = _checked("idle_power", idle_power, "watts")
    if power == 0:
        raise validate.invalid(
            "idle_power", idle_power, "more than 0 watts: what takes no power need not go off"
        )
    return energy / power


class Cost(Frozen):
    """What an idle time-out costs in the long run, for one node."""

    mean_power: float
    """The mean power in watts."""
    cold: float
    """The share of requests that wait for a boot, 0 to 1."""
    on: float
    """The share of time with power, 0 to 1."""


def cost(
    rate: float, idle_timeout: float, idle_power: float, boot_energy: float, boot_time: float = 0.0
) -> Cost:
    """Computes what an idle time-out costs for a node whose requests come at random times.

    They are a Poisson process. The energy of serving is left out, since it is the same for any time-out. Each
    time the node goes off, a new round begins, so means over one round are means over all time (renewal
    reward theorem). In a round, the node is off for 1/r until the next request comes, boots for b, in which
    r b more requests come and wait, and is on until no request comes for T: after e^(rT) - 1 requests and
    (e^(rT) - 1)/r seconds in the mean. With D = e^(rT) + r b, the requests of a round::

        cold       = (1 + r b) / D
        on         = 1 - 1 / D
        mean power = (r E + P (e^(rT) - 1)) / D

    In a cluster of n nodes, with ``random`` each node gets r/n; with ``first`` one node gets all while it has
    room.

    Args:
        rate: Requests per second, r.
        idle_timeout: Seconds, T; may be infinite.
        idle_power: What the node takes while it is on, in watts, P.
        boot_energy: What a boot takes, in joules, E.
        boot_time: How long a boot takes, in seconds, b.

    Raises:
        SettingError: A number is invalid.
    """
    rate = _checked("rate", rate, "requests per second")
    timeout = _checked("idle_timeout", idle_timeout, "seconds", endless=True)
    power = _checked("idle_power", idle_power, "watts")
    energy = _checked("boot_energy", boot_energy, "joules")
    came = rate * _checked("boot_time", boot_time, "seconds")
    # All by e^(rT), which may be too large for a float. A node that no request reaches is never on.
    exponent = rate * timeout if rate else 0.0
    off = math.exp(-exponent)
    awake = -math.expm1(-exponent)
    whole = 1.0 + came * off
    return Cost(
        (rate * energy * off + power * awake) / whole,
        (1.0 + came) * off / whole,
        (awake + came * off) / whole,
    )


def _checked(name: str, value: object, unit: str, *, endless: bool = False) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not (0 <= value <= _MOST or (endless and value == math.inf))
    ):
        raise validate.invalid(
            name, value, f"{unit}, a number from 0 to {_MOST:g}{' or inf' if endless else ''}"
        )
    return float(value)
